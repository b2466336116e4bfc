//! Contract of every store: the same tests on SQLite and on PostgreSQL.

mod audit;
mod catalog;
mod claims;
mod clocks;
mod cursor;
mod fetched;
mod finder;
mod identity;
mod inserts;
mod learned;
mod order;
mod parked;
mod places;
mod quarantine;
mod republish;
mod sinks;
mod size;
mod upkeep;
mod with_servers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, InstanceId, Marks, MessageKey, SourceName, UnixMillis,
};
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::store::{
    Backlog, Confirms, Inserted, NewEvent, Room, Seq, Store, StoreError, StoredEvent,
};

pub(crate) use places::{Place, Postgres, Sqlite};

/// Runs each test on a fresh place of its own.
macro_rules! contract {
    ($place:ty) => {
        $crate::store_contract::contract!($place: inserts
            new_events_are_accepted_and_come_out_of_the_outbox_as_they_went_in
            a_known_event_is_a_duplicate_also_for_another_store
            a_known_id_with_another_body_is_a_conflict_and_kept_once
            the_very_same_signed_request_is_a_duplicate_whatever_its_id
            one_signed_request_twice_in_a_batch_is_accepted_once
            bodies_and_texts_come_back_byte_for_byte
            a_row_that_the_database_refuses_leaves_its_neighbours_alone
            nothing_is_refused_row_by_row_when_it_is_not_the_rows
            overlapping_batches_from_all_sides_accept_each_key_once
            overlapping_signed_requests_from_all_sides_are_accepted_once
            nothing_is_stored_before_the_store_is_prepared
            an_empty_batch_is_nothing);
        $crate::store_contract::contract!($place: claims
            rows_are_claimed_in_order_within_the_room
            rows_in_memory_are_left_out_however_many
            events_wait_until_they_are_confirmed_or_parked
            confirmed_rows_are_gone_and_may_be_confirmed_again
            confirms_ride_on_the_commit_of_new_events
            confirms_on_a_commit_that_fails_are_to_be_told_again
            postponed_rows_wait_and_count_their_attempts
            parked_rows_leave_the_outbox_and_are_counted
            rows_of_the_living_are_left_alone_and_those_of_the_dead_taken_over
            an_owner_that_was_never_seen_alive_is_dead
            an_instance_without_a_lease_takes_nothing_over
            released_rows_are_free_at_once
            two_that_take_over_share_the_rows
            in_any_order_of_things_a_row_has_one_owner);
        $crate::store_contract::contract!($place: upkeep
            expired_keys_go_and_may_come_again
            a_key_stays_for_as_long_as_its_event_waits
            published_events_go_after_their_time
            conflicts_go_after_their_time
            pruning_is_bounded
            migrations_are_applied_once
            migrations_of_many_at_once_are_applied_once
            a_schema_that_is_not_up_to_date_is_refused_when_only_checking
            a_schema_that_a_later_release_has_taken_from_is_refused
            migrations_can_be_undone
            the_keeper_prepares_renews_prunes_and_releases);
        $crate::store_contract::contract!($place: finder
            a_text_is_found_in_bodies_by_its_bytes_and_only_in_the_events_asked_for
            leases_are_listed_with_their_ends);
        $crate::store_contract::contract!($place: fetched
            a_fetched_key_is_there_for_every_instance
            of_many_fetched_keys_the_newest_are_kept);
        $crate::store_contract::contract!($place: clocks
            what_came_while_the_clock_was_ahead_is_due_once_it_is_right
            rows_of_an_instance_that_died_while_the_clock_was_ahead_are_taken_over
            a_clock_that_is_ahead_deletes_nothing
            a_clock_that_is_behind_deletes_and_cuts_nothing
            keys_that_came_while_the_clock_was_ahead_are_not_kept_for_ever
            two_confirms_of_an_event_that_the_clock_put_ahead_do_not_end_all_deletion
            an_age_is_never_negative
            a_secret_forgotten_while_the_clock_was_ahead_makes_room_for_another);
        $crate::store_contract::contract!($place: identity
            a_signed_id_decides_alone
            an_unsigned_id_with_another_body_is_a_marked_event_once
            equal_bytes_under_another_id_are_a_marked_event
            an_object_has_many_events_and_a_redelivery_is_known_for_its_span
            without_an_id_equal_bytes_are_marked_events
            equal_bytes_are_dropped_for_as_long_as_the_operator_says
            past_its_window_an_event_with_an_id_comes_again_under_the_same_message_id
            past_its_span_an_event_comes_again_though_the_first_still_waits
            of_many_at_once_one_takes_the_place_of_a_key_past_its_time
            marks_and_message_ids_are_the_same_for_another_instance
            rows_of_the_release_before_are_known_and_published
            a_release_before_reads_the_same_message_ids);
        $crate::store_contract::contract!($place: learned
            the_first_secret_stays_until_it_is_forgotten
            of_many_at_once_one_is_learned);
        $crate::store_contract::contract!($place: parked
            a_parked_event_comes_back_under_the_same_message_id
            a_discarded_event_is_gone_and_its_redelivery_a_duplicate);
        $crate::store_contract::contract!($place: sinks
            each_sink_has_a_row_of_its_own_and_none_holds_up_another
            an_event_stays_until_no_sink_has_a_row_of_it
            a_parked_event_is_parked_for_one_sink
            an_event_that_waits_where_it_is_parked_can_be_refused_again
            an_event_that_waits_where_it_is_parked_is_counted_when_it_is_put_back
            two_sinks_that_confirm_at_once_both_count
            a_trace_shows_both_confirms_of_two_sinks_at_one_time
            confirms_of_the_release_before_are_stored_traced_and_deleted
            rows_of_a_dead_instance_are_taken_over_by_the_same_sink
            rows_of_a_sink_that_was_taken_out_are_listed_moved_and_discarded
            rows_without_a_sink_belong_to_the_default_one
            an_event_waits_for_the_sinks_that_want_it_and_is_kept_if_none_does);
        $crate::store_contract::contract!($place: order
            of_each_key_the_events_come_in_order_and_one_that_waits_holds_its_key_alone
            a_parked_event_holds_its_key_until_it_is_sent_back_or_discarded
            many_keys_are_claimed_part_by_part_and_a_long_one_holds_up_no_other
            rows_without_a_key_are_claimed_apart_and_an_order_that_was_ended_holds_nothing);
        $crate::store_contract::contract!($place: catalog
            the_secret_that_verified_an_event_is_kept_and_may_be_unknown
            events_are_found_by_source_id_type_message_time_and_state
            events_are_found_by_the_sink_that_has_a_row_of_them
            a_trace_has_attempts_reason_and_confirms_with_their_times
            a_page_is_bounded_and_the_next_one_goes_on
            conflicts_are_listed_with_their_bodies);
        $crate::store_contract::contract!($place: cursor
            events_after_a_position_come_in_order_in_pages_and_by_filter
            a_position_whose_event_was_deleted_says_so_and_one_of_another_history_is_refused
            ten_readers_see_each_event_of_eight_writers_once_in_one_order);
        $crate::store_contract::contract!($place: republish
            events_are_published_again_under_the_same_message_ids_and_marked
            what_waits_or_is_parked_is_left_to_that_and_a_second_job_doubles_nothing
            a_choice_by_numbers_source_or_sink_copies_no_other_event
            a_job_that_finds_little_pauses_between_steps_and_finds_all
            a_cancelled_job_puts_nothing_more_into_the_outbox
            a_job_that_is_asked_for_its_steps_at_once_copies_nothing_before_its_pace_allows
            two_instances_that_step_at_once_make_each_step_once
            an_event_that_is_published_again_is_not_deleted_before_it_has_left);
        $crate::store_contract::contract!($place: size
            the_size_is_that_of_the_rows_and_shrinks_with_them
            the_oldest_published_events_go_first_and_what_waits_stays
            an_event_that_another_sink_waits_for_keeps_its_confirm
            the_oldest_conflicts_go_first_and_no_more_than_are_above_the_bound
            conflicts_above_their_bound_shrink_below_it_by_themselves
            conflicts_are_counted_whoever_stores_changes_or_deletes_them
            conflicts_that_were_there_before_the_upgrade_are_counted
            a_store_above_its_bound_shrinks_below_it_by_itself);
        $crate::store_contract::contract!($place: audit
            an_opened_body_is_recorded_and_the_entry_goes_after_its_time
            a_pause_is_there_for_all_until_it_is_resumed_and_each_change_is_recorded_once);
        $crate::store_contract::contract!($place: quarantine
            refused_deliveries_come_back_byte_for_byte_in_pages_and_by_filter
            what_is_refused_is_not_among_the_bytes_by_which_events_go
            a_full_source_loses_its_oldest_and_no_other_source_any
            refused_deliveries_go_by_an_operators_decision_or_after_their_time);
    };
    ($place:ty: $module:ident $($test:ident)*) => {
        $(#[test]
        fn $test() {
            $crate::store_contract::$module::$test(&<$place as $crate::store_contract::Place>::fresh());
        })*
    };
}
pub(crate) use contract;

mod sqlite {
    super::contract!(super::Sqlite);

    use super::{Place, Sqlite, alive, insert, many};

    /// Whoever copies it: a log that only grows would fill the disk.
    #[test]
    fn the_log_starts_over_while_events_come_without_a_pause() {
        let place = Sqlite::fresh();
        let store = place.store();
        let owner = alive(&*store);
        let mut log = 0;
        for part in 0..80 {
            insert(&*store, owner, &many("a", part * 500..part * 500 + 500));
            log = log.max(place.log_bytes());
        }
        assert_eq!(place.count("event"), 40_000);
        assert!((1 << 20..140 << 20).contains(&log), "{log} bytes");
    }
}

const LONG: Duration = Duration::from_secs(3600);
const ROOM: Room = Room {
    events: 10_000,
    bytes: 1 << 30,
};

fn source() -> SourceName {
    SourceName::parse("shop").expect("a name")
}

fn key_of(id: &str) -> DedupKey {
    DedupKey::new(&source(), "id", &[id.as_bytes()])
}

fn event(id: &str, body: impl Into<Bytes>) -> NewEvent {
    let body = body.into();
    NewEvent {
        key: key_of(id),
        message: MessageKey::of(&key_of(id)),
        class: IdClass::Signed,
        bytes_key: None,
        drop_same_bytes: None,
        replay: None,
        marks: Marks::default(),
        digest: BodyDigest::of(&body),
        source: source(),
        event_id: EventId::new(id),
        event_type: Some("order.created".into()),
        content_type: Some("application/json".into()),
        headers: vec![
            ("X-Shop-Topic".into(), "orders".into()),
            ("traceparent".into(), "00-\"ä\"".into()),
        ],
        body,
        received_at: UnixMillis(1_700_000_000_123),
        verified_by: None,
        window: LONG,
        sinks: None,
    }
}

fn sink() -> SinkName {
    SinkName::default()
}

fn sinks() -> Sinks {
    Sinks::default()
}

fn confirms<'a>(sink: &'a SinkName, rows: &'a [Seq]) -> Option<Confirms<'a>> {
    Some(Confirms { sink, rows })
}

/// Returns the backlog of the default sink.
fn backlog(store: &dyn Store) -> Backlog {
    let backlogs = store.backlog().expect("a backlog");
    let of_sink = backlogs.into_iter().find(|of| of.sink == sink());
    of_sink.unwrap_or_default()
}

/// As the dedup actor makes a batch: sorted by key.
fn batch(events: impl IntoIterator<Item = NewEvent>) -> Vec<Arc<NewEvent>> {
    let mut events: Vec<_> = events.into_iter().map(Arc::new).collect();
    events.sort_by_key(|event| event.key);
    events
}

fn many(prefix: &str, ids: std::ops::Range<usize>) -> Vec<Arc<NewEvent>> {
    batch(ids.map(|n| event(&format!("{prefix}{n}"), format!("body of {n}"))))
}

fn insert(store: &dyn Store, owner: InstanceId, events: &[Arc<NewEvent>]) -> Vec<Inserted> {
    let inserted = store
        .insert(owner, &sinks(), events)
        .expect("the batch is stored");
    assert_eq!(inserted.len(), events.len());
    inserted
}

/// As [`insert`], again and again while the store cannot tell what is to blame. Returns the number of attempts too.
fn insert_patiently(
    store: &dyn Store,
    owner: InstanceId,
    events: &[Arc<NewEvent>],
) -> (Vec<Inserted>, usize) {
    let until = Instant::now() + Duration::from_secs(120);
    for attempts in 1.. {
        match store.insert(owner, &sinks(), events) {
            Err(StoreError::Unavailable(_) | StoreError::Ambiguous(_))
                if Instant::now() < until => {}
            inserted => {
                let inserted = inserted.expect("the batch is stored");
                assert_eq!(inserted.len(), events.len());
                return (inserted, attempts);
            }
        }
    }
    unreachable!("the time ends first")
}

fn insert_one(store: &dyn Store, owner: InstanceId, event: NewEvent) -> Inserted {
    insert(store, owner, &[Arc::new(event)]).remove(0)
}

fn accepted(inserted: &Inserted) -> Option<Seq> {
    match inserted {
        Inserted::Accepted(seq) => Some(*seq),
        _ => None,
    }
}

fn alive(store: &dyn Store) -> InstanceId {
    let instance = InstanceId::random();
    store.renew_lease(instance, LONG).expect("a lease");
    instance
}

fn claim_all(store: &dyn Store, owner: InstanceId) -> Vec<StoredEvent> {
    store
        .claim(owner, &sink(), ROOM, &|_| false)
        .expect("a claim")
}

fn seqs(rows: &[StoredEvent]) -> Vec<Seq> {
    rows.iter().map(|row| row.seq).collect()
}
