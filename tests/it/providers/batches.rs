//! Several events in one POST: a retry that is batched differently still comes out once.

use std::collections::BTreeMap;

use super::{SECRET, post, signed, source};
use hookweir_testkit::app::App;
use hookweir_testkit::servers::postgres;
use hookweir_testkit::sink::{files, files_hold};

/// Batches of overlapping events, as a provider makes them that had no answer to some. One event is sent twice within one POST.
const BATCHES: [&[&str]; 6] = [
    &["a", "b", "c"],
    &["b", "c", "d"],
    &["d"],
    &["c", "a"],
    &["e", "e", "b"],
    &["a", "b", "c", "d", "e"],
];

fn line(ids: &[&str]) -> String {
    let events: Vec<_> = ids
        .iter()
        .map(|id| format!(r#"{{"webhookEventId":"{id}","type":"message","note":"{id}"}}"#))
        .collect();
    format!(r#"{{"destination":"U1","events":[{}]}}"#, events.join(", "))
}

async fn come_out_once(store: &str) {
    let of = |name: &str, more: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\nprovider = \"line\"\nsecrets = [\"plain:{SECRET}\"]\n{more}\n"
        )
    };
    let (whole, split) = (of("whole", ""), of("split", "batch = \"split\""));
    let mut app = App::start(&format!("{store}{whole}{split}")).await;
    for ids in BATCHES {
        for (name, config) in [("whole", &whole), ("split", &split)] {
            let request = signed(&source(config), &line(ids));
            assert_eq!(
                post(&app, name, &request).await.status(),
                200,
                "{name} {ids:?}"
            );
            // And once more, as it was.
            assert_eq!(
                post(&app, name, &request).await.status(),
                200,
                "{name} {ids:?}"
            );
        }
    }
    // The "verify" button sends a batch without events: answered, and nothing is stored.
    for (name, config) in [("whole", &whole), ("split", &split)] {
        assert_eq!(
            post(&app, name, &signed(&source(config), &line(&[])))
                .await
                .status(),
            200
        );
    }
    files_hold(&app.events(), 5 + BATCHES.len()).await;
    app.drained().await;
    assert!(app.stop().await.success());
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in files(&app.events()) {
        if message.source == "split" {
            let alone = format!(
                r#"{{"webhookEventId":"{0}","type":"message","note":"{0}"}}"#,
                message.event_id
            );
            assert_eq!(message.body, alone.as_bytes(), "an event's own bytes");
        }
        out.entry(message.source)
            .or_default()
            .push(message.event_id);
    }
    out.values_mut().for_each(|ids| ids.sort());
    assert_eq!(
        out["split"],
        ["a", "b", "c", "d", "e"],
        "each event once, however it was batched"
    );
    let mut posts: Vec<_> = BATCHES.iter().map(|ids| ids.join(",")).collect();
    posts.sort();
    assert_eq!(out["whole"], posts, "each POST once");
}

#[tokio::test(flavor = "multi_thread")]
async fn batched_differently_each_event_comes_out_once() {
    come_out_once("").await;
}

mod with_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn batched_differently_each_event_comes_out_once() {
        let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
        come_out_once(&format!(
            "[store]\nurl = \"{}\"\nschema = \"{schema}\"\n",
            postgres()
        ))
        .await;
    }
}

/// Meaning of an empty batch: the preset decides.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_is_a_health_check_or_a_refusal() {
    let hex = "00112233445566778899aabbccddeeff";
    let of = |provider: &str, secret: &str| {
        format!(
            "[[source]]\nname = \"{provider}\"\nprovider = \"{provider}\"\nsecrets = [\"plain:{secret}\"]\n"
        )
    };
    let cases = [
        ("line", SECRET, r#"{"events":[]}"#, 200),
        ("gocardless", SECRET, r#"{"events":[]}"#, 200),
        ("xero", SECRET, r#"{"events":[]}"#, 200),
        (
            "adyen",
            hex,
            r#"{"live":"false","notificationItems":[]}"#,
            401,
        ),
    ];
    let app = App::start(
        &cases
            .map(|(provider, secret, ..)| of(provider, secret))
            .concat(),
    )
    .await;
    for (provider, secret, body, status) in cases {
        let answer = post(
            &app,
            provider,
            &signed(&source(&of(provider, secret)), body),
        )
        .await;
        assert_eq!(answer.status(), status, "{provider}");
        if provider == "xero" {
            assert!(
                answer.bytes().await.expect("a body").is_empty(),
                "Xero wants an empty answer"
            );
        }
    }
    // Probes with a bad signature must be refused, with or without events in them.
    let mut forged = signed(&source(&of("xero", SECRET)), r#"{"events":[]}"#);
    forged.body = r#"{"events":[] }"#.into();
    assert_eq!(post(&app, "xero", &forged).await.status(), 401);
    // A lock lies beside the files of events.
    let files = std::fs::read_dir(app.events())
        .into_iter()
        .flatten()
        .flatten();
    let files = files.filter(|file| {
        file.path()
            .extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    let written: u64 = files
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    assert_eq!(written, 0, "nothing of it is an event");
}
