//! The real program and Apache Kafka: a new user's first commands, and a source whose topic is missing.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use hookweir_testkit::app::App;
use hookweir_testkit::kafka::{Record, create_topic, records, unique};
use hookweir_testkit::servers;

use crate::publish_rig::wait;

/// Runs the program in the folder of `app`, on its configuration.
async fn hookweir(app: &App, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookweir"));
    command
        .args(args)
        .args(["--config", "config.toml"])
        .args(["--set", &format!("server.listen={}", app.listen)])
        .current_dir(app.folder())
        .env_clear();
    tokio::task::spawn_blocking(move || command.output().expect("the program runs"))
        .await
        .expect("no panic")
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn config(topic: &str, more: &str) -> String {
    let url = servers::kafka();
    format!(
        "[publisher]\nurl = \"{url}\"\ntopic = \"{topic}.{{source}}\"\n{more}\n[[source]]\nname = \"s\"\nprovider = \"github\"\n\
         secrets = [\"plain:0123456789abcdef0123456789abcdef\"]\n"
    )
}

fn read(topic: &str) -> Vec<Record> {
    tokio::task::block_in_place(|| records(&servers::kafka(), topic))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_events_sent_twice_are_there_once_and_one_is_seen_arriving() {
    let topic = unique();
    let app = App::start(&config(&topic, "")).await;
    let check = hookweir(&app, &["check"]).await;
    assert!(check.status.success(), "{check:?}");
    let found = format!("topic \"{topic}.s\" is there");
    assert!(text(&check).contains(&found), "{check:?}");

    let args = ["send", "--count", "2000", "--duplicate", "--parallel", "16"];
    let sent = hookweir(&app, &args).await;
    assert!(sent.status.success(), "{sent:?}");
    let sent = hookweir(&app, &["send", "--wait"]).await;
    assert!(sent.status.success(), "{sent:?}");
    let said = text(&sent);
    let id = said
        .strip_prefix("200 accepted ")
        .and_then(|rest| rest.split(',').next())
        .expect("an accepted event");
    for part in [
        format!("\"message_id\":\"{id}\""),
        format!("\"key\":\"{id}\""),
        format!("\"topic\":\"{topic}.s\""),
        "\"ce_source\":\"s\"".to_owned(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }

    let there = read(&format!("{topic}.s"));
    let ids: BTreeSet<&str> = there.iter().map(|record| &*record.key).collect();
    assert_eq!((there.len(), ids.len()), (2001, 2001), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_publishing_means_that_the_event_is_in_the_topic() {
    let topic = unique();
    let more = "[server]\nrespond_after = \"published\"\n";
    let app = App::start(&config(&topic, more)).await;
    for n in 1..=20 {
        let sent = hookweir(&app, &["send"]).await;
        assert!(text(&sent).starts_with("200 accepted"), "{sent:?}");
        assert_eq!(read(&format!("{topic}.s")).len(), n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_topic_wait_and_check_says_which_is_missing() {
    let topic = unique();
    let app = App::launch(&config(&topic, "declare = false\nretry_max_ms = 1000\n")).await;
    let check = hookweir(&app, &["check"]).await;
    assert_eq!(check.status.code(), Some(69), "{check:?}");
    let missing = format!("topic \"{topic}.s\" is missing");
    assert!(text(&check).contains(&missing), "{check:?}");
    let waits = hookweir(&app, &["send", "--wait"]).await;
    assert_eq!(waits.status.code(), Some(69), "{waits:?}");
    assert!(text(&waits).contains("The topic must exist"), "{waits:?}");

    let sent = hookweir(&app, &["send", "--count", "50"]).await;
    assert!(sent.status.success(), "accepted, and kept: {sent:?}");
    let name = format!("{topic}.s");
    tokio::task::block_in_place(|| {
        create_topic(&servers::kafka(), &name, 1, &[]);
        wait("the events", || {
            records(&servers::kafka(), &name).len() == 50
        });
    });
}
