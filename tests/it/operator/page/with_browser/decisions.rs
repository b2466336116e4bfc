//! Decisions in a real browser: screens with other bodies and parked events on them, and deletions by the keyboard.

use hookweir_testkit::app::{App, patient_sources};

use super::{enter, forge, place};
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
    let app = App::start(&format!("{SINKS}{}", patient_sources())).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_published_a_parked_event_put_back_and_a_job_cancelled_by_the_keyboard_alone()
{
    let app = App::start(&format!("{SINKS}{}", patient_sources())).await;
    conflicts(&app, 7, 1).await;
    park(&app, &sqlite(&app), "evt_101").await;
    let browser = enter(&app).await;
    // Another body: read beside the first one, and published.
    browser.enter_on("Conflicts").await;
    browser.until("The first one is an event").await;
    browser.enter_on("Open this body").await;
    browser.until("Other body, kept here").await;
    browser.enter_on("All conflicts").await;
    browser.until("The first one is an event").await;
    browser.tab_to("Choose evt").await;
    browser.press(" ").await;
    browser.tab_to("Reason, for the record").await;
    browser.press("it is another payment").await;
    browser.enter_on("Publish the chosen ones").await;
    browser.say_yes().await;
    browser.until("1 put into the outbox").await;
    browser.until("There is no conflict.").await;
    // A parked event: put back.
    browser.enter_on("Parked").await;
    browser.until("evt_101").await;
    browser.tab_to("Choose evt_101").await;
    browser.press(" ").await;
    browser.enter_on("Put the chosen ones back").await;
    browser.say_yes().await;
    browser.until("1 put back").await;
    // A job: cancelled. It begins here, so that it still runs when the browser comes to it.
    slow_job(&app, &Visit::enter(&app).await).await;
    browser.enter_on("System").await;
    browser.until("Configuration in force").await;
    browser.enter_on("Jobs").await;
    browser.until("source github").await;
    browser.enter_on("source github").await;
    browser.until("Cancel the job").await;
    browser.enter_on("Cancel the job").await;
    browser.until("cancelled").await;
    assert_eq!(json(&app, &["jobs"])[0]["state"], "cancelled");
    let record = raw(&app, "GET", "/api/v1/audit").1;
    for word in ["send back conflicts", "retry parked", "cancel job"] {
        assert!(record.contains(word), "{word}: {record}");
    }
    assert_eq!(browser.errors().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_deliveries_are_judged_verified_again_and_deleted_by_the_keyboard_alone() {
    let app = App::start(&patient_sources()).await;
    forge(&app).await;
    let visit = Visit::enter(&app).await;
    visit.until("/page/quarantine", "Find the cause of 1").await;
    let browser = enter(&app).await;
    browser.enter_on("Quarantine").await;
    browser.until("signature_mismatch").await;
    browser.enter_on("Find the cause of 1").await;
    browser.until("What was tried").await;
    browser.enter_on("Verify it again: dry run").await;
    browser.until("Still refused").await;
    browser.enter_on("Quarantine").await;
    browser.until("signature_mismatch").await;
    browser.tab_to("Choose number 1").await;
    browser.press(" ").await;
    browser
        .enter_on("Verify the chosen ones again: dry run")
        .await;
    browser.until("Proven now").await;
    browser.enter_on("Quarantine").await;
    browser.until("signature_mismatch").await;
    browser.tab_to("All 1 of this page").await;
    browser.press(" ").await;
    browser.tab_to("Reason, for the record").await;
    browser.press("a forgery").await;
    browser.enter_on("Delete the chosen ones for good").await;
    browser.say_yes().await;
    browser.until("1 deleted").await;
    browser.until("No refused delivery is kept here").await;
    let record = raw(&app, "GET", "/api/v1/audit").1;
    assert!(
        record.contains("discard refused") && record.contains("a forgery"),
        "{record}"
    );
    assert_eq!(browser.errors().await, [] as [String; 0]);
}
