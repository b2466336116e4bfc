//! The page in a real browser: the flows of an operator by the keyboard alone, accessibility, and pictures.

mod decisions;
mod driver;
mod live;
mod with_servers;

use std::path::Path;

use bytes::Bytes;
use hookweir_testkit::app::{App, five_sources, patient_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};
use serde_json::Value;

use self::driver::Browser;
use super::link;
use crate::operator::backup::sql;
use crate::operator::{SINKS, json, send, traced};

const AXE: &str = include_str!("../../../data/axe-4.14.1.min.js");

/// Every screen: its name in pictures, and its path.
const SCREENS: [(&str, &str); 17] = [
    ("overview", "/page"),
    ("live", "/page/live"),
    ("events", "/page/events"),
    ("event", "/page/events/evt_123"),
    ("body", "/page/events/evt_123/body"),
    ("sources", "/page/sources/stripe"),
    ("quarantine", "/page/quarantine"),
    ("doctor", "/page/quarantine/1"),
    ("parked", "/page/parked?sink=dead"),
    ("conflicts", "/page/conflicts"),
    ("republish", "/page/republish?source=stripe"),
    ("actors", "/page/actors"),
    ("system", "/page/system/audit"),
    ("instances", "/page/system/instances"),
    ("configuration", "/page/system"),
    ("search", "/page/search?contains=charge"),
    ("lakehouse", "/page/lakehouse"),
];

/// Goes in by a link, with the keyboard or by the script of the page.
async fn enter(app: &App) -> Browser {
    let browser = Browser::start().await;
    browser.open(&link(app)).await;
    browser.until("Deliveries").await;
    browser
}

fn place(app: &App, path: &str) -> String {
    format!("http://{}{path}", app.admin)
}

/// Delivers an event that is signed with a secret of nobody.
async fn forge(app: &App) {
    let event = Provider::Stripe.event(&mut fastrand::Rng::with_seed(7));
    let forged = event.signed("whsec_another_secret_of_nobody", now());
    post(&client(), app.listen, "stripe", forged, event.body.clone()).await;
}

/// Returns what axe finds on the screen: rules that are broken, serious or worse, with the elements.
async fn axe(browser: &Browser) -> Vec<String> {
    let run = "const done = arguments[arguments.length - 1];
        axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
            .then((found) => done(found.violations), (error) => done([{ id: String(error), impact: 'critical', nodes: [] }]))";
    browser.run(AXE).await;
    let found = browser.run_later(run).await;
    let found = found.as_array().expect("a list");
    let serious = found
        .iter()
        .filter(|rule| rule["impact"] == "serious" || rule["impact"] == "critical");
    serious
        .map(|rule| {
            let nodes: Vec<&Value> = rule["nodes"].as_array().into_iter().flatten().collect();
            let first = nodes.first().map(|node| node["html"].to_string());
            format!(
                "{}: {} ({})",
                rule["id"],
                first.unwrap_or_default(),
                nodes.len()
            )
        })
        .collect()
}

/// Keeps a picture for the guide, if it is asked for.
fn keep(name: &str, scheme: &str, picture: &[u8]) {
    assert!(picture.starts_with(b"\x89PNG"), "no picture of {name}");
    if std::env::var_os("HOOKWEIR_UPDATE_PICTURES").is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations/page");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(format!("{name}-{scheme}.png")), picture).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_is_accessible_dark_and_light_wide_and_narrow_and_breaks_no_policy() {
    let app = App::start_with_lakehouse(&format!("{SINKS}{}", five_sources())).await;
    let browser = enter(&app).await;
    browser.open(&place(&app, "/page/live")).await;
    browser.until("connected").await;
    for id in ["evt_121", "evt_122", "evt_123"] {
        send(&app, Provider::Stripe, id);
    }
    send(&app, Provider::StandardWebhooks, "msg_1");
    forge(&app).await;
    traced(&app, "evt_123", "default", "confirmed").await;
    let visit = super::Visit::enter(&app).await;
    visit.until("/page/quarantine", "Find the cause of 1").await;
    visit.until("/page/lakehouse", "Last commit").await;
    let screens = SCREENS.map(|(name, path)| (name, path.to_owned()));
    let filled = decisions::fill(&app, &visit).await;
    for scheme in ["light", "dark"] {
        browser.set_scheme(scheme).await;
        for (name, path) in screens.iter().chain(&filled) {
            let name = *name;
            browser.set_size(1024, 680).await;
            browser.open(&place(&app, path)).await;
            if name == "actors" {
                browser
                    .until_true("return document.querySelectorAll('#charts canvas').length >= 4")
                    .await;
            }
            assert_eq!(axe(&browser).await, [] as [String; 0], "{name}, {scheme}");
            if SCREENS.iter().any(|(kept, _)| *kept == name) {
                keep(name, scheme, &browser.picture().await);
            }
            // 200 % zoom of a window of 1280, and a narrow telephone.
            for width in [640, 360] {
                browser.set_size(width, 700).await;
                let wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
                assert_eq!(
                    browser.run(wide).await,
                    false,
                    "{name} at {width} scrolls sideways"
                );
            }
        }
    }
    assert_eq!(browser.errors().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_opens_and_publishes_an_event_by_the_keyboard_alone() {
    let app = App::start(&format!("{SINKS}{}", five_sources())).await;
    for id in ["evt_122", "evt_123"] {
        send(&app, Provider::Stripe, id);
    }
    forge(&app).await;
    traced(&app, "evt_123", "default", "confirmed").await;
    let browser = enter(&app).await;
    // A search from anywhere.
    browser.press("/evt_123\u{e007}").await;
    browser.until("received, verified and stored").await;
    // The body.
    browser.enter_on("Open headers and body").await;
    browser.until("\"id\": \"evt_123\"").await;
    browser.enter_on("hex").await;
    browser.until("00000000").await;
    browser.enter_on("Way of the event").await;
    browser.until("Publish it again").await;
    // Published again, after a dry run.
    browser.enter_on("Publish this event again").await;
    browser.until("Dry run").await;
    browser.tab_to("Reason, for the record").await;
    browser.press("a consumer lost it").await;
    browser.enter_on("Publish 1 events again").await;
    browser.say_yes().await;
    browser.until("done").await;
    assert_eq!(json(&app, &["jobs"]).len(), 1);
    // A filter by a name in a list.
    browser.enter_on("Events").await;
    browser.until("evt_122").await;
    browser.enter_on("stripe").await;
    browser
        .until_true("return location.search === '?source=stripe'")
        .await;
    // The reason of a refusal.
    browser.enter_on("Sources").await;
    browser.until("signature_mismatch").await;
    browser.enter_on("stripe").await;
    browser.until("URL to enter at the provider").await;
    // A pause, and its end.
    browser.enter_on("Pause this source").await;
    browser.tab_to("Reason").await;
    browser.press("its secret leaked").await;
    browser.enter_on("Pause").await;
    browser.until("answered 503, and providers").await;
    browser.enter_on("End the pause").await;
    browser.until("Pause this source").await;
    // Who did that.
    browser.enter_on("System").await;
    browser.until("Configuration in force").await;
    browser.enter_on("Show what would change").await;
    browser.until("Nothing is different").await;
    browser.open(&place(&app, "/page/system/audit")).await;
    browser.until("a consumer lost it").await;
    browser.enter_on("Log out").await;
    browser.until("On the machine of the service, type:").await;
    assert_eq!(browser.errors().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_finds_the_events_that_are_no_row_of_the_lakehouse_by_the_keyboard_alone() {
    let app = App::start_with_lakehouse(&format!("{SINKS}{}", five_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    traced(&app, "evt_1", "default", "confirmed").await;
    let visit = super::Visit::enter(&app).await;
    visit.until("/page/lakehouse", "Last commit").await;
    // No row is of the hour in which the store has received it.
    let path = app.folder().join("data/hookweir.db");
    sql(
        &path,
        "UPDATE event SET received_at = received_at - 7200000",
    );
    let browser = enter(&app).await;
    browser.enter_on("Lakehouse").await;
    browser.until("Is every event a row?").await;
    browser.enter_on("Compare").await;
    browser.until("Missing: taken by the sink").await;
    assert_eq!(axe(&browser).await, [] as [String; 0]);
    assert_eq!(browser.errors().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_megabyte_is_cut_and_leads_to_its_next_part() {
    let app = App::start(&patient_sources()).await;
    let browser = enter(&app).await;
    let filling = "x".repeat(1 << 20);
    let mut event = Provider::Stripe.event(&mut fastrand::Rng::with_seed(9));
    event.body = Bytes::from(format!(
        "{{\"id\":\"evt_large\",\"type\":\"t\",\"data\":\"{filling}\"}}"
    ));
    let headers = event.signed(Provider::Stripe.secret(), now());
    post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
    browser
        .open(&place(&app, "/page/events/evt_large/body"))
        .await;
    browser
        .until("The rest is not shown here, and kept whole.")
        .await;
    let shown = browser
        .run("return document.querySelector('pre.body').textContent.length")
        .await;
    assert!(
        shown.as_u64().is_some_and(|shown| shown < 70_000),
        "{shown}"
    );
    let click = browser.run_later(
        "const done = arguments[arguments.length - 1], since = performance.now();
         requestAnimationFrame(() => setTimeout(() => done(performance.now() - since)))",
    );
    println!("a frame took {} ms", click.await);
    browser.enter_on("Next part").await;
    browser.until("Bytes 65536 to 131072").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_lists_search_and_detail_work() {
    let app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_123");
    let browser = Browser::start().await;
    let off = serde_json::json!({ "value": true });
    browser
        .tools("Emulation.setScriptExecutionDisabled", off)
        .await;
    browser.open(&link(&app)).await;
    browser.until("Open the page").await;
    browser.press("\u{e007}").await;
    browser.until("Deliveries").await;
    browser.open(&place(&app, "/page/find?id=evt_123")).await;
    browser.until("received, verified and stored").await;
    browser.enter_on("Open headers and body").await;
    browser.until("\"id\": \"evt_123\"").await;
    browser
        .open(&place(&app, "/page/events?source=stripe"))
        .await;
    browser.until("evt_123").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_cannot_make_the_browser_of_an_operator_change_anything() {
    let app = App::start(&five_sources()).await;
    let browser = enter(&app).await;
    let action = place(&app, "/page/pause");
    let evil = format!(
        "data:text/html,<form method=post action={action}><input name=source value=stripe><input name=reason value=evil><button>Win</button></form><script>document.forms[0].submit()</script>"
    );
    browser.open(&evil).await;
    browser.until("made by a page of another site").await;
    let sources = json(&app, &["sources"]);
    let sources = sources[0]["sources"].as_array().expect("sources");
    assert!(!sources.is_empty() && sources.iter().all(|source| source["paused"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_without_rights_sees_lists_and_no_body_and_no_button() {
    let tokens = "[admin.tokens.ann]\nsecret = \"plain:0123456789abcdef\"\nmay = [\"look\"]\n[store]\nallow_unsafe_durability = true\n";
    let app = App::start(&format!("{tokens}{}", five_sources())).await;
    send(&app, Provider::Stripe, "evt_123");
    let browser = Browser::start().await;
    browser.open(&place(&app, "/page")).await;
    browser.tab_to("Or the secret of a token").await;
    browser.press("0123456789abcdef\u{e007}").await;
    browser.until("token ann").await;
    browser.press("/evt_123\u{e007}").await;
    browser.until("which you do not have").await;
    let text = browser.text().await;
    assert!(!text.contains("Publish this event again"), "{text}");
    browser
        .open(&place(&app, "/page/events/evt_123/body"))
        .await;
    browser.until("lacks the right").await;
    assert!(!browser.text().await.contains("\"id\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_change_in_place_and_the_focus_of_the_keyboard_stays() {
    let app = App::start(&five_sources()).await;
    let browser = enter(&app).await;
    browser.tab_to("stripe").await;
    browser.run("window.kept = document.activeElement").await;
    send(&app, Provider::Stripe, "evt_1");
    let accepted = "return [...document.querySelectorAll('#figures tr')].some((row) => /^stripe\\s+\\S+\\s+1\\s/.test(row.innerText))";
    browser.until_true(accepted).await;
    let kept = "return document.activeElement === window.kept && window.kept.isConnected";
    assert_eq!(browser.run(kept).await, true, "the focus was lost");
    assert_eq!(browser.errors().await, [] as [String; 0]);
}

#[test]
fn axe_is_the_copy_that_was_checked() {
    use sha2::{Digest, Sha256};
    let digest = hex::encode(Sha256::digest(AXE));
    // axe-core 4.14.1, `axe.min.js` of the package, MPL 2.0, unchanged. Not part of the program.
    let known = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c";
    assert_eq!(digest, known);
}
