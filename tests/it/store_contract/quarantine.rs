//! Refused deliveries in the store.

use std::time::Duration;

use bytes::Bytes;
use hookweir::domain::delivery::{InstanceId, SourceName, UnixMillis};
use hookweir::store::quarantine::{NewRefused, RefusedBounds, RefusedPlace, RefusedQuery};
use hookweir::store::{AuditAction, AuditEntry, Retention, Store};

use super::Place;

fn refused(source: &str, at: i64, body: &[u8]) -> NewRefused {
    NewRefused {
        source: SourceName::parse(source).expect("a name"),
        received_at: UnixMillis(at),
        request_id: format!("request {at}"),
        reason: "signature_mismatch",
        detail: "a detail with \0 and ü".to_owned(),
        method: "POST".to_owned(),
        target: format!("/ingest/{source}?a=1"),
        peer: (at % 2 == 0).then(|| "10.0.0.7".to_owned()),
        is_cut: at % 3 == 0,
        headers: b"x-a: \xff\nx-b: \n".to_vec(),
        body: Bytes::copy_from_slice(body),
    }
}

fn entry() -> AuditEntry {
    AuditEntry {
        instance: InstanceId::random(),
        caller: "token ann".to_owned(),
        action: AuditAction::DiscardRefused,
        subject: "refused deliveries: 1".to_owned(),
        count: 0,
        reason: Some("a scanner".to_owned()),
    }
}

/// Times of receipt of a source's deliveries, the newest first.
fn times(store: &dyn Store, source: &str) -> Vec<i64> {
    let query = RefusedQuery {
        source: SourceName::parse(source).ok(),
        ..RefusedQuery::default()
    };
    let found = store.refused(&query, RefusedPlace::Below(i64::MAX), 100);
    let found = found.expect("read").into_iter();
    found.map(|found| found.received_at.0).collect()
}

pub(crate) fn refused_deliveries_come_back_byte_for_byte_in_pages_and_by_filter(
    place: &impl Place,
) {
    let store = place.store();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let batch = [
        refused("shop", 1000, &all_bytes),
        refused("bank", 2000, b""),
        refused("shop", 3000, b"{}"),
    ];
    store.keep_refused(&batch).expect("kept");
    let all = RefusedQuery::default();
    let page = |place, limit| store.refused(&all, place, limit).expect("read");
    let newest = page(RefusedPlace::Below(i64::MAX), 2);
    assert_eq!(newest.len(), 2);
    let rest = page(RefusedPlace::Below(newest[1].number), 2);
    assert_eq!(rest.len(), 1);
    let oldest = page(RefusedPlace::Above(i64::MIN), 10);
    let numbers: Vec<i64> = oldest.iter().map(|of| of.number).collect();
    assert_eq!(
        numbers,
        [rest[0].number, newest[1].number, newest[0].number]
    );

    let first = store.refused_delivery(rest[0].number).expect("read");
    let first = first.expect("it is there");
    assert_eq!(first.body, all_bytes);
    assert_eq!(first.headers, batch[0].headers);
    let of = first.summary;
    assert_eq!(
        (of.source.as_str(), of.received_at),
        ("shop", UnixMillis(1000))
    );
    assert_eq!(of.reason, "signature_mismatch");
    assert!(of.detail.contains('ü') && of.detail.starts_with("a detail"));
    assert_eq!(
        (of.method.as_str(), of.target.as_str()),
        ("POST", "/ingest/shop?a=1")
    );
    assert_eq!(of.peer.as_deref(), Some("10.0.0.7"));
    assert_eq!((of.is_cut, of.bytes), (false, 256));

    assert_eq!(times(&*store, "shop"), [3000, 1000]);
    let middle = RefusedQuery {
        from: Some(UnixMillis(1001)),
        until: Some(UnixMillis(3000)),
        ..RefusedQuery::default()
    };
    let found = store
        .refused(&middle, RefusedPlace::Above(0), 10)
        .expect("read");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].source, "bank");
    assert!(
        store
            .refused_delivery(numbers[2] + 1)
            .expect("read")
            .is_none()
    );
}

pub(crate) fn a_full_source_loses_its_oldest_and_no_other_source_any(place: &impl Place) {
    let store = place.store();
    store
        .keep_refused(&[refused("quiet", 1, b"{}")])
        .expect("kept");
    let flood: Vec<NewRefused> = (2..52)
        .map(|at| refused("flooded", at, &[b'x'; 1000]))
        .collect();
    store.keep_refused(&flood).expect("kept");
    let size = flood[0].size();
    let bounds = |rows, bytes| RefusedBounds { rows, bytes };
    let evict = |bounds, limit| store.evict_refused("flooded", bounds, limit).expect("done");
    assert_eq!(
        evict(bounds(50, 50 * size), 100),
        0,
        "it is full, and not beyond"
    );
    assert_eq!(evict(bounds(40, u64::MAX), 4), 4, "bounded");
    assert_eq!(evict(bounds(40, u64::MAX), 100), 6);
    assert_eq!(
        times(&*store, "flooded"),
        (12..52).rev().collect::<Vec<i64>>()
    );
    assert_eq!(evict(bounds(40, 10 * size + size / 2), 100), 30);
    assert_eq!(
        times(&*store, "flooded"),
        (42..52).rev().collect::<Vec<i64>>()
    );
    assert_eq!(times(&*store, "quiet"), [1]);
    let usage = store.refused_usage().expect("measured");
    let usage: Vec<_> = usage
        .iter()
        .map(|of| (of.source.as_str(), of.rows, of.bytes))
        .collect();
    let quiet = refused("quiet", 1, b"{}").size();
    assert_eq!(usage, [("flooded", 10, 10 * size), ("quiet", 1, quiet)]);
}

pub(crate) fn refused_deliveries_go_by_an_operators_decision_or_after_their_time(
    place: &impl Place,
) {
    let store = place.store();
    let batch = [1, 2, 3].map(|at| refused("shop", at, b"{}"));
    store.keep_refused(&batch).expect("kept");
    let all = store.refused(&RefusedQuery::default(), RefusedPlace::Above(i64::MIN), 10);
    let numbers: Vec<i64> = all.expect("read").iter().map(|of| of.number).collect();
    let first = [numbers[0], numbers[2] + 1000];
    assert_eq!(store.discard_refused(&first, &entry()), Ok(1));
    assert_eq!(store.discard_refused(&first, &entry()), Ok(0));
    let recorded = "audit WHERE action = 'discard refused' AND count = 1 AND reason = 'a scanner'";
    assert_eq!(place.count(recorded), 1);
    assert_eq!(times(&*store, "shop"), [3, 2]);

    let day = 24 * 3600 * 1000;
    place.shift("quarantine", "at", -15 * day);
    store
        .keep_refused(&[refused("shop", 4, b"{}")])
        .expect("kept");
    let long = Duration::from_secs(100 * 24 * 3600);
    let retention = |days: u64| Retention {
        events: long,
        conflicts: long,
        refused: Duration::from_secs(days * 24 * 3600),
        keys: long,
    };
    store.prune(retention(16), 100).expect("pruned");
    assert_eq!(times(&*store, "shop"), [4, 3, 2]);
    store.prune(retention(14), 1).expect("pruned");
    assert_eq!(times(&*store, "shop").len(), 2, "bounded");
    store.prune(retention(14), 100).expect("pruned");
    assert_eq!(times(&*store, "shop"), [4]);
}

pub(crate) fn what_is_refused_is_not_among_the_bytes_by_which_events_go(place: &impl Place) {
    let store = place.store();
    let before = store.size().expect("measured");
    let body: Vec<u8> = (0..1_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for at in 0..4 {
        store
            .keep_refused(&[refused("shop", at, &body)])
            .expect("kept");
    }
    let after = store.size().expect("measured");
    let grown = after.in_use.saturating_sub(before.in_use);
    assert!(grown < 500_000, "{grown}");
    let on_disk = after.on_disk - before.on_disk;
    assert!(on_disk >= 500_000, "{on_disk}");
}
