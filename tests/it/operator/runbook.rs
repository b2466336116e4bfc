//! The tasks of `docs/operations/runbook.md`, each by its command as it stands there.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::Provider;

use super::{hookweir, send, traced};

/// Tasks of the page, each with its command.
fn tasks() -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/runbook.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let section = page
        .split("## An operator's tasks")
        .nth(1)
        .expect("the tasks");
    let section = section.split("\n## ").next().expect("a section");
    let rows = section.lines().filter(|line| line.contains("| `hookweir "));
    let tasks = rows.map(|row| {
        let (task, command) = row.rsplit_once("| `hookweir ").expect("a command");
        let command = command.split('`').next().expect("its end");
        (task.to_owned(), command.to_owned())
    });
    tasks.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_task_of_the_runbook_is_done_by_its_command() {
    let app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_123");
    traced(&app, "evt_123", "default", "confirmed").await;
    let tasks = tasks();
    assert!(tasks.len() >= 14, "{tasks:?}");
    for (task, command) in tasks {
        let args: Vec<&str> = command.split(' ').collect();
        let answer = hookweir(&app, &args);
        assert_eq!(answer.code, Some(0), "{task}: {}{}", answer.out, answer.err);
        let said = format!("{}{}", answer.out, answer.err);
        assert!(!said.trim().is_empty(), "{task}: it says nothing");
        if command.contains("evt_123") || command.starts_with("events") {
            let shows = said.contains("evt_123") || said.contains("job ");
            assert!(shows, "{task}: {said}");
        }
    }
}
