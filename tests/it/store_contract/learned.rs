//! Secrets that providers hand over: the first one stays.

use std::thread;

use hookweir::config::secret::Secret;
use hookweir::store::{Learned, RELEARN_AFTER};

use super::{Place, source};

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes())
}

pub(crate) fn the_first_secret_stays_until_it_is_forgotten(place: &impl Place) {
    let (store, other) = (place.store(), place.store());
    let shop = source();
    assert!(store.learned().expect("read").is_empty());
    assert_eq!(store.forget(&shop), Ok(false));
    assert_eq!(store.learn(&shop, &secret("first")), Ok(Learned::Kept));
    assert_eq!(
        other.learn(&shop, &secret("first")),
        Ok(Learned::Kept),
        "the same again, on another instance"
    );
    assert_eq!(other.learn(&shop, &secret("second")), Ok(Learned::Another));
    let learned = other.learned().expect("read");
    assert_eq!(
        (
            learned.len(),
            learned[0].source.as_str(),
            &learned[0].secret
        ),
        (1, "shop", &Some(secret("first")))
    );

    assert_eq!(other.forget(&shop), Ok(true));
    assert_eq!(store.learned().expect("read")[0].secret, None);
    assert_eq!(
        store.learn(&shop, &secret("second")),
        Ok(Learned::NotYet),
        "until every instance knows"
    );
    thread::sleep(RELEARN_AFTER + std::time::Duration::from_millis(200));
    assert_eq!(store.learn(&shop, &secret("second")), Ok(Learned::Kept));
    assert_eq!(other.learn(&shop, &secret("first")), Ok(Learned::Another));
}

pub(crate) fn of_many_at_once_one_is_learned(place: &impl Place) {
    let shop = source();
    let kept = thread::scope(|scope| {
        let one = |n: usize| {
            let (store, shop) = (place.store(), &shop);
            scope.spawn(move || {
                store
                    .learn(shop, &secret(&format!("secret {n}")))
                    .expect("an answer")
            })
        };
        let all: Vec<_> = (0..8).map(one).collect();
        all.into_iter()
            .map(|one| one.join().expect("no panic"))
            .filter(|learned| *learned == Learned::Kept)
            .count()
    });
    assert_eq!(kept, 1);
}
