//! A login that has the rights that `hookweir check` asks for, and no others.

use hookweir::config::model;
use hookweir::store::{StoreError, check};

use super::faults::WithRole;
use crate::store_contract::{Place, Postgres, contract};
use hookweir_testkit::servers;

/// A schema of another login, and a role with these rights.
struct Granted {
    /// The schema as the role sees it. Dropped, it drops the schema.
    login: Postgres,
    with_role: WithRole,
}

impl Granted {
    /// Grants what the check says is lacking, right by right.
    fn grant(&self) {
        let Err(StoreError::Unfit(said)) = check(&self.config()) else {
            panic!("a role without rights is fit");
        };
        let (_, after) = said
            .split_once(" lacks ")
            .unwrap_or_else(|| panic!("it does not say what is lacking: {said}"));
        let (lacking, _) = after.split_once(": ").expect("how to grant it");
        for right in lacking.split(", ") {
            let (right, object) = right.split_once(" on ").expect("a right on an object");
            let kind = if object == "event_seq" {
                "SEQUENCE"
            } else {
                "TABLE"
            };
            let role = &self.with_role.role;
            self.execute(&format!("GRANT {right} ON {kind} {object} TO {role}"));
        }
        check(&self.config()).expect("nothing is lacking");
    }
}

impl Place for Granted {
    fn fresh() -> Self {
        let with_role = WithRole::new(&servers::postgres());
        with_role.place.store();
        let role = &with_role.role;
        with_role.place.execute(&format!(
            "GRANT SELECT ON __diesel_schema_migrations TO {role}"
        ));
        let login = with_role.login();
        let granted = Self { login, with_role };
        granted.grant();
        granted
    }

    fn config(&self) -> model::Store {
        model::Store {
            migrate: model::Migrate::Check,
            ..self.login.config()
        }
    }

    fn execute(&self, sql: &str) {
        self.with_role.place.execute(sql);
    }

    fn count(&self, what: &str) -> i64 {
        self.with_role.place.count(what)
    }

    fn refuse(&self, prefix: &str) {
        self.with_role.place.refuse(prefix);
    }

    fn shift(&self, table: &str, column: &str, millis: i64) {
        self.with_role.place.shift(table, column, millis);
    }

    fn later(&self, column: &str, millis: i64) -> String {
        self.with_role.place.later(column, millis)
    }

    fn down(&self) -> &'static str {
        self.with_role.place.down()
    }
}

contract!(Granted: inserts a_known_id_with_another_body_is_a_conflict_and_kept_once);
contract!(Granted: claims confirms_ride_on_the_commit_of_new_events parked_rows_leave_the_outbox_and_are_counted);
contract!(Granted: upkeep
    expired_keys_go_and_may_come_again
    published_events_go_after_their_time
    conflicts_go_after_their_time
    the_keeper_prepares_renews_prunes_and_releases);
contract!(Granted: clocks
    keys_that_came_while_the_clock_was_ahead_are_not_kept_for_ever
    two_confirms_of_an_event_that_the_clock_put_ahead_do_not_end_all_deletion
    a_secret_forgotten_while_the_clock_was_ahead_makes_room_for_another);
contract!(Granted: fetched of_many_fetched_keys_the_newest_are_kept);
contract!(Granted: sinks rows_of_a_sink_that_was_taken_out_are_listed_moved_and_discarded);
contract!(Granted: order a_parked_event_holds_its_key_until_it_is_sent_back_or_discarded);
contract!(Granted: republish
    events_are_published_again_under_the_same_message_ids_and_marked
    a_cancelled_job_puts_nothing_more_into_the_outbox);
contract!(Granted: size
    the_oldest_published_events_go_first_and_what_waits_stays
    the_oldest_conflicts_go_first_and_no_more_than_are_above_the_bound);
contract!(Granted: audit
    an_opened_body_is_recorded_and_the_entry_goes_after_its_time
    a_pause_is_there_for_all_until_it_is_resumed_and_each_change_is_recorded_once);
contract!(Granted: quarantine
    a_full_source_loses_its_oldest_and_no_other_source_any
    refused_deliveries_go_by_an_operators_decision_or_after_their_time);
