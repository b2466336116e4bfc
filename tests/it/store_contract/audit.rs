//! The record of what operators did.

use std::time::Duration;

use hookweir::domain::delivery::InstanceId;
use hookweir::store::{AuditAction, AuditEntry, Retention};

use super::Place;

pub(crate) fn an_opened_body_is_recorded_and_the_entry_goes_after_its_time(place: &impl Place) {
    let store = place.store();
    let entry = |subject: &str| AuditEntry {
        instance: InstanceId::random(),
        caller: "token ann".to_owned(),
        action: AuditAction::OpenBody,
        subject: subject.to_owned(),
        count: 1,
        reason: None,
    };
    store.record(&entry("first")).expect("recorded");
    let day = 24 * 3600 * 1000;
    place.shift("audit", "at", -401 * day);
    store.record(&entry("second")).expect("recorded");
    let who = "audit WHERE caller = 'token ann' AND action = 'open body' AND count = 1";
    assert_eq!(place.count(who), 2);
    let hour = Duration::from_secs(3600);
    let retention = Retention {
        events: hour,
        conflicts: hour,
        keys: hour,
    };
    store.prune(retention, 100).expect("pruned");
    assert_eq!(place.count("audit"), 1);
    assert_eq!(place.count("audit WHERE subject = 'second'"), 1);
}
