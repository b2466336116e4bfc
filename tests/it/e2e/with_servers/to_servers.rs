//! The guide's way from SQLite and files to PostgreSQL and RabbitMQ.

use std::collections::BTreeSet;

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::servers::{Server, amqp};
use hookweir_testkit::sink::{Message, Queues, files};

use super::{blocking, steady};
use crate::e2e::guides::{paste, recipe};

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_way_from_the_embedded_default_to_servers_loses_no_event_under_load() {
    let (database, queues) = (blocking(Server::postgres), Queues::new(&amqp()));
    // Exchange and queues are the test's own; the sink is that of the embedded default.
    let own = queues.config();
    let own = own.lines().filter(|line| !line.starts_with("url = "));
    let own: Vec<&str> = own.collect();
    let config = format!(
        "{}\nurl = \"file://data/events\"\nretry_max_ms = 2000\n{}",
        own.join("\n"),
        five_sources()
    );
    let mut app = App::start(&config).await;
    let secrets = app.folder().join("secrets");
    std::fs::create_dir(&secrets).expect("a folder");
    for (name, url) in [("store-url", &database.url), ("publisher-url", &amqp())] {
        std::fs::write(secrets.join(name), format!("{url}\n")).expect("a secret");
    }
    app.set_environment(&[("CREDENTIALS_DIRECTORY", secrets.display().to_string())]);

    let load = steady(&app);
    load.until_taken(200).await;
    let mut printed = Vec::new();
    for block in recipe("embedded-to-servers.md") {
        printed.push(paste(&mut app, &block, &[]).await);
        load.until_taken(200).await;
    }
    let ledger = load.finish().await;
    // While the store is closed, senders get 503 and send again.
    ledger.check();
    app.until_healthy().await;
    app.drained().await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    assert_eq!(printed.len(), 3, "{printed:#?}");
    assert!(printed[1].contains("amqp://"), "{printed:#?}");

    let (in_files, in_queue) = (files(&app.events()), queues.rest(&queues.events).await);
    let ids = |messages: &[Message]| -> BTreeSet<String> {
        messages.iter().map(|message| message.id.clone()).collect()
    };
    let known = ids(&in_files);
    assert_eq!(known.len(), in_files.len(), "each once in the files");
    assert_eq!(
        ids(&in_queue).len(),
        in_queue.len(),
        "each once in the queue"
    );
    assert!(in_files.len() >= 200 && in_queue.len() >= 400);
    let once = in_queue
        .into_iter()
        .filter(|message| !known.contains(&message.id));
    let all: Vec<Message> = in_files.into_iter().chain(once).collect();
    Account::of(&ledger, &all).check_once();
    queues.delete().await;
}
