//! The lakehouse on the page: its state, and events that are no row.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::Provider;
use serde_json::Value;

use super::Visit;
use crate::operator::backup::sql;
use crate::operator::{SINKS, raw, send, traced};

#[tokio::test(flavor = "multi_thread")]
async fn the_lakehouse_shows_its_table_and_names_the_events_that_are_no_row() {
    let tokens = "[admin.tokens.ann]\nsecret = \"plain:0123456789abcdef\"\nmay = [\"look\"]\n";
    let often = "[lakehouse]\ncommit_secs = 1\n";
    let app = App::start_with_lakehouse(&format!("{tokens}{often}{SINKS}{}", five_sources())).await;
    for id in ["evt_1", "evt_2"] {
        send(&app, Provider::Stripe, id);
        traced(&app, id, "default", "confirmed").await;
    }
    let visit = Visit::enter(&app).await;
    let shown = visit.until("/page/lakehouse", "<dd>2</dd>").await;
    for words in ["ready", "Last commit", "Days of receipt", "Lag", "bytes"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let same = visit.screen("/page/lakehouse/compare?hours=2").await;
    assert!(same.contains("Every event is a row, once."), "{same}");
    // Received two hours ago by the store: no row is of that hour.
    let path = app.folder().join("data/hookweir.db");
    sql(
        &path,
        "UPDATE event SET received_at = received_at - 7200000 WHERE event_id = 'evt_2'",
    );
    let differs = visit.screen("/page/lakehouse/compare?hours=5").await;
    assert!(differs.contains("1 events, 0 rows"), "{differs}");
    assert!(differs.contains("Missing: taken by the sink"), "{differs}");
    assert!(
        differs.contains("/page/events?source=stripe&amp;from="),
        "{differs}"
    );
    for wrong in ["0", "9999", "two"] {
        let (status, text) = visit
            .get(&format!("/page/lakehouse/compare?hours={wrong}"))
            .await;
        assert_eq!(status, 400, "{wrong}: {text}");
    }
    let (status, text) = raw(&app, "GET", "/api/v1/lakehouse/compare?hours=5");
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer["all"]["missing"], 1, "{text}");
    assert_eq!(
        answer["missing"].as_array().map(Vec::len),
        Some(1),
        "{text}"
    );

    let ann = Visit::with(&app, &[("token", "0123456789abcdef")]).await;
    assert!(ann.screen("/page/lakehouse").await.contains("Last commit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_lakehouse_the_screen_says_why_and_teaches_the_command() {
    let app = App::start(&format!("{SINKS}{}", five_sources())).await;
    let visit = Visit::enter(&app).await;
    let shown = visit.screen("/page/lakehouse").await;
    assert!(shown.contains("<code>hookweir lakehouse</code>"), "{shown}");
    assert!(shown.contains("lakehouse.in_serve is"), "{shown}");
    let none = visit.screen("/page/lakehouse/compare").await;
    assert!(none.contains("nothing was compared"), "{none}");
}
