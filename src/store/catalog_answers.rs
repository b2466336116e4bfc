//! Methods of the read-only catalog, the same for each kind of store.

/// Defines the methods of the role that only read, over the functions of `catalog_reads`. `$run` is
/// the store's method that lends a connection.
macro_rules! catalog_answers {
    ($run:ident) => {
        fn events(&self, query: &catalog::EventQuery) -> Result<catalog::EventPage, StoreError> {
            self.$run(|connection| read_events(connection, query))
        }

        fn number_of(&self, name: catalog::EventName) -> Result<Option<Seq>, StoreError> {
            self.$run(|connection| read_number(connection, name))
        }

        fn conflicts(
            &self,
            after: Option<catalog::ConflictPlace>,
            limit: usize,
        ) -> Result<Vec<catalog::ConflictSummary>, StoreError> {
            self.$run(|connection| read_conflicts(connection, after, limit))
        }

        fn conflict(&self, place: &catalog::ConflictPlace) -> Result<Option<NewEvent>, StoreError> {
            let found = self.$run(|connection| read_conflict(connection, place))?;
            found
                .map(|row| row.into_event(place))
                .transpose()
                .map_err(StoreError::Unavailable)
        }

        fn conflict_body(
            &self,
            place: &catalog::ConflictPlace,
        ) -> Result<Option<Vec<u8>>, StoreError> {
            self.$run(|connection| read_conflict_body(connection, place))
        }
    };
}
pub(super) use catalog_answers;
