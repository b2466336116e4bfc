//! Keys that were fetched because deliveries named them: kept for every instance, and not too many.

use std::time::Duration;

use hookweir::store::{FETCHED_KEYS, FetchedKey};

use super::Place;

fn key(source: &str, name: &str, answer: &str) -> FetchedKey {
    FetchedKey {
        source: source.into(),
        name: name.into(),
        place: vec![1, 2],
        answer: answer.into(),
        age: Duration::ZERO,
    }
}

pub(crate) fn a_fetched_key_is_there_for_every_instance(place: &impl Place) {
    let (store, other) = (place.store(), place.store());
    assert!(store.fetched().expect("read").is_empty());
    store.keep_fetched(&key("sns", "k", "old")).expect("kept");
    other.keep_fetched(&key("sns", "k", "new")).expect("kept");
    other
        .keep_fetched(&key("plaid", "k", "another's"))
        .expect("kept");
    let known: Vec<_> = store
        .fetched()
        .expect("read")
        .into_iter()
        .map(|key| FetchedKey {
            age: Duration::ZERO,
            ..key
        })
        .collect();
    assert_eq!(
        known,
        [key("plaid", "k", "another's"), key("sns", "k", "new")]
    );
    std::thread::sleep(Duration::from_millis(50));
    assert!(
        store
            .fetched()
            .expect("read")
            .iter()
            .all(|key| key.age >= Duration::from_millis(50) && key.age < Duration::from_secs(60))
    );
}

pub(crate) fn of_many_fetched_keys_the_newest_are_kept(place: &impl Place) {
    let store = place.store();
    store
        .keep_fetched(&key("sns", "another's", "a"))
        .expect("kept");
    for number in 0..FETCHED_KEYS + 5 {
        store
            .keep_fetched(&key("plaid", &format!("k{number:03}"), "a"))
            .expect("kept");
        // Times are told apart by the millisecond.
        std::thread::sleep(Duration::from_millis(2));
    }
    let names: Vec<_> = store
        .fetched()
        .expect("read")
        .into_iter()
        .map(|key| key.name)
        .collect();
    assert_eq!(names.len(), FETCHED_KEYS + 1);
    assert!(
        !names.contains(&"k004".to_owned())
            && names.contains(&"k005".to_owned())
            && names.contains(&"another's".to_owned())
    );
}
