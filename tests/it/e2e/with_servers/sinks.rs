//! Several sinks: two RabbitMQ brokers and a folder, of which one is away.

use super::*;
use crate::e2e::sinks::{shown, waits};
use hookweir_testkit::sink::{files, files_hold};

#[tokio::test(flavor = "multi_thread")]
async fn while_one_of_three_sinks_is_away_the_others_get_each_event_once_and_it_gets_all_later() {
    let mut second = blocking(Server::rabbitmq);
    let place = Place::on(&postgres(), &amqp());
    let others = Queues::new(&second.url);
    let second_sink = others
        .config()
        .replace("[publisher]", "[[sink]]\nname = \"second\"");
    let config = format!(
        "{second_sink}[[sink]]\nname = \"folder\"\nurl = \"file://data/events\"\n{}",
        place.config()
    );
    let mut app = App::start(&config).await;
    app.until_healthy().await;
    let load = steady(&app);
    load.until_taken(200).await;
    blocking(|| second.stop());
    let before = load.taken();
    load.until_taken(before + 600).await;
    let ledger = load.finish().await;
    ledger.check();
    let expected = ledger.genuine().count();
    // The others go on, and nothing of theirs waits.
    files_hold(&app.events(), expected).await;
    waits(&app, "default", 0).await;
    waits(&app, "folder", 0).await;
    let away = shown(&app, "second").await;
    assert_eq!(away["up"], false, "{away}");
    assert!(away["outbox_rows"].as_u64() >= Some(600), "{away}");
    assert!(app.health().await.contains("\"status\":\"ready\""));

    blocking(|| second.start());
    waits(&app, "second", 0).await;
    let messages = place.collect(&ledger, std::slice::from_mut(&mut app)).await;
    Account::of(&ledger, &messages).check_once();
    Account::of(&ledger, &files(&app.events())).check_once();
    // Copies only of what was under way when it went.
    Account::of(&ledger, &others.rest(&others.events).await).check();
    others.delete().await;
    place.remove().await;
}
