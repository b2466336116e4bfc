//! Decisions in a real browser: screens with other bodies and parked events on them, and deletions by the keyboard.

use hookweir_testkit::app::{App, five_sources};

use super::{enter, place};
use crate::operator::page::Visit;
use crate::operator::page::decisions::{conflicts, park, slow_job, sqlite};
use crate::operator::{SINKS, json, raw};

/// Has an event parked, another body come and a job begin. Returns the screens that show them.
pub(super) async fn fill(app: &App, visit: &Visit) -> [(&'static str, String); 5] {
    conflicts(app, 7, 1).await;
    let number = park(app, &sqlite(app), "evt_101").await;
    let conflict = conflict(app);
    [
        ("sides", format!("/page/conflicts/{conflict}/body")),
        (
            "sides-hex",
            format!("/page/conflicts/{conflict}/body?form=hex"),
        ),
        (
            "delete-conflict",
            format!("/page/conflicts/discard?id={conflict}"),
        ),
        (
            "delete-parked",
            format!("/page/parked/discard?sink=dead&number={number}"),
        ),
        ("job", slow_job(app, visit).await),
    ]
}

/// The name of the only conflict.
fn conflict(app: &App) -> String {
    let listed = json(app, &["conflicts"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn enter_in_the_reason_deletes_after_the_question_only_and_publishes_nothing() {
    let app = App::start(&format!("{SINKS}{}", five_sources())).await;
    conflicts(&app, 7, 1).await;
    park(&app, &sqlite(&app), "evt_101").await;
    let browser = enter(&app).await;
    let events = json(&app, &["events"]).len();
    let parked = || raw(&app, "GET", "/api/v1/parked?sink=dead").1;
    for (path, reason) in [
        ("/page/conflicts", "the provider has repeated it"),
        ("/page/parked?sink=dead", "a test event"),
    ] {
        browser.open(&place(&app, path)).await;
        browser.tab_to("Choose evt").await;
        browser.press(" ").await;
        browser.enter_on("Delete the chosen ones").await;
        browser.until("Reason of the deletion").await;
        // Without a reason, the browser asks for one.
        browser.tab_to("Reason of the deletion").await;
        browser.press("\u{e007}").await;
        let missing =
            "return document.querySelector('main input[name=reason]').matches(':invalid')";
        assert_eq!(browser.run(missing).await, true);
        browser.press(reason).await;
        browser.press("\u{e007}").await;
        browser.say_no().await;
        let still = parked().contains("evt_101");
        assert!(still, "deleted in spite of the no");
        browser.press("\u{e007}").await;
        browser.say_yes().await;
        browser.until("1 deleted").await;
        assert_eq!(json(&app, &["conflicts"]).len(), 0);
    }
    assert!(!parked().contains("evt_101"));
    assert_eq!(
        json(&app, &["events"]).len(),
        events - 1,
        "the parked one went, and nothing was published"
    );
    assert_eq!(browser.errors().await, [] as [String; 0]);
}
