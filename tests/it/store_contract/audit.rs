//! The record of what operators did.

use std::time::Duration;

use hookweir::domain::delivery::{InstanceId, UnixMillis};
use hookweir::domain::pause::{Pause, PauseKind};
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
        refused: hour,
        keys: hour,
    };
    store.prune(retention, 100).expect("pruned");
    assert_eq!(place.count("audit"), 1);
    assert_eq!(place.count("audit WHERE subject = 'second'"), 1);
}

pub(crate) fn a_pause_is_there_for_all_until_it_is_resumed_and_each_change_is_recorded_once(
    place: &impl Place,
) {
    let (store, other) = (place.store(), place.store());
    let entry = |action| AuditEntry {
        instance: InstanceId::random(),
        caller: "token ann".to_owned(),
        action,
        subject: "source shop".to_owned(),
        count: 1,
        reason: None,
    };
    let pause = |kind, reason: &str| Pause {
        kind,
        name: "shop".to_owned(),
        caller: "token ann".to_owned(),
        reason: Some(reason.to_owned()),
        at: UnixMillis(1_764_000_000_000),
    };
    let source = pause(PauseKind::Source, "first");
    assert!(
        store
            .pause(&source, &entry(AuditAction::Pause))
            .expect("paused")
    );
    let again = pause(PauseKind::Source, "second");
    assert!(
        !other
            .pause(&again, &entry(AuditAction::Pause))
            .expect("known")
    );
    let sink = pause(PauseKind::Sink, "third");
    assert!(
        other
            .pause(&sink, &entry(AuditAction::Pause))
            .expect("paused")
    );
    let reasons = |pauses: Vec<Pause>| {
        let reason = |pause: Pause| (pause.kind, pause.reason.expect("a reason"));
        pauses.into_iter().map(reason).collect::<Vec<_>>()
    };
    let (kind, third) = (PauseKind::Sink, "third".to_owned());
    let first = (PauseKind::Source, "first".to_owned());
    assert_eq!(
        reasons(store.paused().expect("read")),
        [(kind, third.clone()), first]
    );
    let resume = |name| {
        let entry = entry(AuditAction::Resume);
        other
            .resume(PauseKind::Source, name, &entry)
            .expect("resumed")
    };
    assert!(!resume("stripe"));
    assert!(resume("shop"));
    assert!(!resume("shop"));
    assert_eq!(reasons(store.paused().expect("read")), [(kind, third)]);
    assert_eq!(place.count("audit WHERE action = 'pause'"), 2);
    assert_eq!(place.count("audit WHERE action = 'resume'"), 1);
}
