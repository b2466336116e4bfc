//! Events that are erased by the command of an operator: bodies go, keys stay.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::{Event, Provider};

use super::backup::{Kind, deliver, sql};
use super::{hookweir, ids, json, traced};

/// Files of the sink are closed after each line.
const FILES: &str = "[publisher]\nurl = \"file://data/events\"\nfile_max_bytes = 1024\n[[sink]]\nname = \"dead\"\nurl = \"amqp://127.0.0.1:1\"\n";

/// Text of all files of the sink.
fn lines(app: &App) -> String {
    let files = std::fs::read_dir(app.events()).expect("readable");
    let mut text = String::new();
    for file in files {
        let path = file.expect("a file").path();
        text += &std::fs::read_to_string(path).unwrap_or_default();
    }
    text
}

async fn erased(kind: Kind) {
    let mut app = App::start(&format!("{}{FILES}{}", kind.config(), five_sources())).await;
    let stripe = |id: &str, customer: &str| {
        Event {
        provider: Provider::Stripe,
        id: id.to_owned(),
        kind: "ping",
        body: format!(
            "{{\"id\":\"{id}\",\"type\":\"ping\",\"data\":{{\"customer\":\"{customer}\"}},\"filler\":\"{}\"}}",
            "x".repeat(900)
        )
        .into(),
    }
    };
    let first = stripe("evt_1", "cus_secret");
    deliver(&app, &first).await;
    deliver(&app, &stripe("evt_2", "cus_other")).await;
    deliver(&app, &stripe("evt_3", "cus_secret")).await;
    deliver(&app, &stripe("evt_4", "cus_other")).await;
    for id in ["evt_1", "evt_2", "evt_3", "evt_4"] {
        traced(&app, id, "default", "confirmed").await;
        traced(&app, id, "dead", "waiting").await;
    }
    let choice = [
        "erase",
        "--source",
        "stripe",
        "--subject",
        "/data/customer=cus_secret",
    ];
    let would = hookweir(&app, &choice).good();
    assert!(
        would.contains("2 events would be erased")
            && would.contains("evt_1")
            && would.contains("evt_3"),
        "{would}"
    );
    hookweir(&app, &["show", "evt_1", "--body"]).good();
    hookweir(&app, &[&choice[..], &["--start"]].concat()).bad(64);

    let done = hookweir(
        &app,
        &[&choice[..], &["--start", "--reason", "the customer asked"]].concat(),
    );
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(
        done.out.contains("2 events erased from the store"),
        "{}",
        done.out
    );
    assert!(done.out.contains("2 lines taken out"), "{}", done.out);
    assert!(
        done.err.contains("RabbitMQ of sink dead") && done.err.contains("lakehouse"),
        "{}",
        done.err
    );
    assert!(!lines(&app).contains("cus_secret") && lines(&app).contains("cus_other"));
    assert_eq!(ids(&json(&app, &["events"])), ["evt_4", "evt_2"]);
    assert_eq!(hookweir(&app, &["show", "evt_1", "--body"]).code, Some(1));
    let waits = json(&app, &["events", "--sink", "dead", "--state", "waiting"]);
    assert_eq!(ids(&waits), ["evt_4", "evt_2"]);

    // A redelivery is a duplicate, and is not stored again.
    let (_, is_new) = deliver(&app, &first).await;
    assert!(!is_new, "it is stored again");
    assert_eq!(ids(&json(&app, &["events"])), ["evt_4", "evt_2"]);
    // An erasure by id, of an event whose line the service may still write beside.
    let by_id = [
        "erase", "evt_4", "--source", "stripe", "--start", "--reason", "asked",
    ];
    let done = hookweir(&app, &by_id);
    assert!(
        done.out.contains("1 events erased"),
        "{}{}",
        done.out,
        done.err
    );
    let again = hookweir(&app, &by_id);
    assert!(
        again.out.contains("0 events erased") && again.err.contains("no stored event"),
        "{}{}",
        again.out,
        again.err
    );
    if kind == Kind::Sqlite {
        app.stop().await;
        // Free space may hold parts until then, as the runbook says.
        sql(&app.folder().join("data/hookweir.db"), "VACUUM");
        let file = std::fs::read(app.folder().join("data/hookweir.db")).expect("readable");
        let holds = |text: &[u8]| file.windows(text.len()).any(|part| part == text);
        assert!(!holds(b"cus_secret"), "the file still has the body");
        assert!(holds(b"cus_other"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_event_is_gone_from_store_and_closed_files_and_its_redelivery_a_duplicate() {
    erased(Kind::Sqlite).await;
}

/// Tests that need a server.
mod with_servers {
    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgresql_an_erased_event_is_gone_and_its_redelivery_a_duplicate() {
        super::erased(super::Kind::Postgres).await;
    }
}
