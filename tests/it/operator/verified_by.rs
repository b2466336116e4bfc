//! The secret by which an event was verified, as a trace shows it.

use hookweir_testkit::app::App;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};

use super::decisions::in_database;
use super::{hookweir, json, traced};

const FIRST: &str = "whsec_canary_first_0123456789abcdef";
const SECOND: &str = "whsec_canary_second_0123456789abcde";

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_names_which_of_the_two_secrets_has_verified_the_event_and_shows_neither() {
    let config = "[[source]]\nname = \"stripe\"\nprovider = \"stripe\"\nsecrets = [\"env:STRIPE_NEW\"]\nretiring_secrets = [\"env:STRIPE_OLD\"]\ndeadline_ms = 15000\n";
    let environment = [
        ("STRIPE_NEW", FIRST.to_owned()),
        ("STRIPE_OLD", SECOND.to_owned()),
    ];
    let app = App::launch_with(config, &environment).await;
    app.ready().await;
    let mut rng = fastrand::Rng::with_seed(4);
    let mut ids = Vec::new();
    for secret in [FIRST, SECOND, SECOND] {
        let event = Provider::Stripe.event(&mut rng);
        let headers = event.signed(secret, now());
        let answer = post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
        assert!(answer.is_taken(), "{answer:?}");
        traced(&app, &event.id, "default", "confirmed").await;
        ids.push(event.id);
    }
    let [new, old, older] = &ids[..] else {
        panic!("three events");
    };
    // An event of the release before has no name.
    in_database(
        &app,
        &format!("UPDATE event SET verified_by = NULL WHERE event_id = '{older}'"),
    );
    for (id, name) in [
        (new, "env:STRIPE_NEW"),
        (old, "env:STRIPE_OLD"),
        (older, "not recorded"),
    ] {
        for command in ["trace", "show"] {
            let shown = hookweir(&app, &[command, id]).good();
            let line = shown.lines().find(|line| line.contains("verified by"));
            let line = line.expect("a line").trim_end();
            assert!(line.ends_with(name), "{line}");
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
    let listed = json(&app, &["events"]);
    let of = |id: &str| {
        let mut rows = listed.iter();
        let found = rows.find(|event| event["event_id"] == *id);
        found.expect("listed")["verified_by"].clone()
    };
    assert_eq!(of(old), "env:STRIPE_OLD");
    assert!(of(older).is_null());
}
