//! `server.respond_after = "published"`: 200 says that the event is in the queue.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{Load, client, post};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::provider::{Provider, now};
use hookweir_testkit::sink::files;

const PUBLISHED: &str = "[server]\nrespond_after = \"published\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_200_is_in_the_queue_at_that_moment() {
    let mut app = App::start(&format!("{PUBLISHED}{}", five_sources())).await;
    let (client, mut rng) = (client(), fastrand::Rng::with_seed(1));
    for provider in Provider::ALL {
        let event = provider.event(&mut rng);
        let answer = post(
            &client,
            app.listen,
            provider.name(),
            event.signed(provider.secret(), now()),
            event.body.clone(),
        )
        .await;
        let Answer::Taken { id, new: true } = answer else {
            panic!("{answer:?}")
        };
        assert!(
            files(&app.events()).iter().any(|message| message.id == id),
            "{id} was answered 200 and is not there"
        );
    }
    let before = app.metrics().await;
    let ledger = Load::on(&[app.listen]).send(1000).await;
    // Each was in the queue when it was answered, so nothing is waited for.
    let messages = files(&app.events());
    // A redelivery that came while its event left memory may have been answered 503, and was sent again.
    ledger.check();
    assert_eq!(
        before.sum("hookweir_outcomes_total", &["outcome=\"accepted\""]),
        5
    );
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    let of_load: Vec<_> = messages.into_iter().skip(5).collect();
    Account::of(&ledger, &of_load).check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_queue_is_away_503_and_200_to_the_redelivery_once_it_is_there() {
    let config = format!(
        "{PUBLISHED}[limits]\ndeadline_ms = 400\n[publisher]\nurl = \"file://blocked\"\n{}",
        five_sources()
    );
    let mut app = App::launch_with(&config, &[]).await;
    // A file where the folder should be.
    let blocked = app.folder().join("blocked");
    let _ = std::fs::remove_dir_all(&blocked);
    std::fs::write(&blocked, "in the way").expect("written");
    app.kill();
    app.start_again().await;
    app.ready().await;
    let (client, mut rng) = (client(), fastrand::Rng::with_seed(2));
    let event = Provider::Stripe.event(&mut rng);
    let send = async || {
        post(
            &client,
            app.listen,
            "stripe",
            event.signed(Provider::Stripe.secret(), now()),
            event.body.clone(),
        )
        .await
    };
    assert_eq!(
        send().await,
        Answer::Status(503),
        "stored, and not confirmed by the deadline"
    );
    assert_eq!(
        send().await,
        Answer::Status(503),
        "known, and still not in the queue"
    );
    std::fs::remove_file(&blocked).expect("removed");
    let id = loop {
        match send().await {
            Answer::Status(503) => {}
            Answer::Taken { id, new: false } => break id,
            other => panic!("{other:?}"),
        }
    };
    let messages = files(&blocked);
    assert_eq!(
        messages.iter().filter(|message| message.id == id).count(),
        1,
        "there, and once"
    );
    let metrics = app.metrics().await;
    assert!(
        metrics.sum("hookweir_outcomes_total", &["reason=\"unpublished\""]) > 0,
        "counted as what it was"
    );
    assert!(app.stop().await.success());
}
