//! Refusals by the stages: each is listed with a configuration's other mistakes, with its place.

use super::*;
use crate::source::{Sources, max_body_bytes};
use crate::telemetry::Metrics;

fn load_text(text: &str) -> Result<Config, Vec<ConfigError>> {
    check(Draft::of(Some(("config", text)), &Inputs::default()))
}

fn mistakes(text: &str) -> Vec<String> {
    load_text(text)
        .expect_err("mistakes")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn mistakes_in_sources_have_their_line_and_show_no_secret() {
    let file = r#"
source = 1
"#;
    assert_eq!(
        mistakes(file),
        ["config:2:1: source: expected a table [[source]], found a whole number"]
    );
    let file = r#"[[source]]
name = "a"
provider = "stripe"
secrets = [
  "whsec_hunter2hunter2",
  "env:MISSING",
  7,
]
[[source]]
name = "a"
provider = "stripe"
colour = "hunter2"
secret = "hunter2"
[[source]]
name = "B"
path = "/b"
provider = ""
forward_headers = ["x y"]
[[source]]
path = "c"
public_url = "ftp://c"
routing_key = "{sauce}"
batch = "splt"
[[source]]
name = "d"
path = "a"
provider = "x"
max_body_bytes = 1073741824
params = { audience = 1, key = "env:GONE" }
"#;
    let errors = mistakes(file);
    let expected = [
        "config:5:3: source.a.secrets: expected \"env:NAME\", \"file:PATH\", \"credential:NAME\" or \"plain:TEXT\", found a string that \
         begins with none of these",
        "config:6:3: source.a.secrets: the environment variable MISSING is not set",
        "config:7:3: source.a.secrets: expected \"env:NAME\", \"file:PATH\", \"credential:NAME\" or \"plain:TEXT\", found a whole number",
        "config:10:1: source.a.name: another source has this name too (config:2:1); names are unique, since they label metrics and logs",
        "config:12:1: source.a.colour: no such option",
        "config:13:1: source.a.secret: no such option; did you mean source.a.secrets?",
        "config:17:1: source.B.provider: expected a name, found an empty string",
        "config:18:20: source.B.forward_headers: \"x y\": invalid HTTP header name",
        "config:19:1: source.?.name: every [[source]] needs a name, such as name = \"stripe\"",
        "config:19:1: source.?.provider: a source needs a provider (`hookweir providers` lists them) or a [source.scheme] of its own",
        "config:21:1: source.?.public_url: expected a URL that begins with https://, found \"ftp:\"",
        "config:22:1: source.?.routing_key: routing key \"{sauce}\" has an unknown part {sauce}: use {source}, {type} and {id}",
        "config:23:1: source.?.batch: expected one of \"whole\", \"split\", found \"splt\"; did you mean \"split\"?",
        "config:25:1: source.d.secrets: missing; this provider signs with a secret, so give at least one",
        "config:26:1: source.d.path: /ingest/a is the path of the source \"a\" too (config:10:1)",
        "config:28:1: source.d.max_body_bytes: larger than limits.in_flight_bytes, so that no such body would ever be taken in",
        "config:29:12: source.d.params.audience: expected a string, found a whole number",
        "config:29:26: source.d.params.key: the environment variable GONE is not set",
    ];
    for line in expected {
        assert!(
            errors.iter().any(|error| error == line),
            "{line}\nis not in\n{}",
            errors.join("\n")
        );
    }
    for start in [
        "config:15:1: source.B.name: \"B\" is not a source name",
        "config:16:1: source.B.path: expected what follows /ingest/",
    ] {
        assert!(
            errors.iter().any(|error| error.starts_with(start)),
            "{start}\nis not in\n{}",
            errors.join("\n")
        );
    }
    assert_eq!(errors.len(), expected.len() + 2, "{}", errors.join("\n"));
    assert!(!errors.concat().contains("hunter2"));
}

#[test]
fn what_the_verifier_refuses_is_among_the_mistakes() {
    let errors = mistakes(
        r#"[server]
worker = 1
[[source]]
name = "a"
provider = "strpe"
secrets = ["plain:0123456789abcdef"]
[[source]]
name = "b"
provider = "github"
secrets = [
  "plain:0123456789abcdef",
  "plain:hunter2",
]
[[source]]
name = "c"
provider = "github"
"#,
    );
    assert!(
        errors[0].starts_with("config:2:1: server.worker: no such option"),
        "{errors:#?}"
    );
    assert_eq!(
        errors[1],
        "config:5:1: source.a.provider: no provider \"strpe\"; did you mean \"stripe\"?"
    );
    assert!(
        errors[2].starts_with("config:12:3: source.b.secrets[1]: is 7 bytes long"),
        "{errors:#?}"
    );
    assert!(
        errors[3].starts_with("config:15:1: source.c.secrets: "),
        "{errors:#?}"
    );
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

#[test]
fn a_source_with_one_bracket_is_told_to_have_two() {
    let two = "a source is written with two brackets";
    let errors = mistakes("[server]\nworkers = 1\n[source]\nname = \"s\"\nprovider = \"strpe\"\n");
    assert_eq!(
        errors[0],
        format!("config:3:2: source: {two}: [[source]]"),
        "{errors:#?}"
    );
    assert!(
        errors[1].starts_with("config:5:1: source.s.provider: no provider \"strpe\"; did you mean"),
        "{errors:#?}"
    );
    let errors = mistakes("[source.stripe]\nprovider = \"stripe\"\nsecret = \"x\"\n");
    assert!(
        errors[0].starts_with("config:1:")
            && errors[0].contains(two)
            && errors[0].contains("name = \"stripe\""),
        "{errors:#?}"
    );
    assert!(
        errors[1].starts_with("config:3:1: source.stripe.secret: no such option; did you mean"),
        "{errors:#?}"
    );
    let errors = mistakes("[source]\nname = \"s\"\nkind = 1\n[source.scheme]\nkind = \"none\"\n");
    assert!(
        errors
            .iter()
            .any(|error| error.contains("source.s.kind: no such option")),
        "{errors:#?}"
    );
    assert!(
        mistakes("source = 1")[0].contains("expected a table [[source]], found a whole number")
    );
}

#[test]
fn topics_keys_and_properties_of_kafka_are_checked_where_they_are_written() {
    let errors = mistakes(
        r#"[publisher]
url = "kafka://localhost"
topic = "{id}"
record_key = "{key}"
[publisher.kafka]
acks = "1"
[[source]]
name = "a"
provider = "none"
topic = ""
"#,
    );
    let expected = [
        "config:3:1: publisher.topic: topic \"{id}\" has an unknown part {id}: use {source} and {type}",
        "config:4:1: publisher.record_key: key \"{key}\" has an unknown part {key}: use {message_id}, {id}, {source} and {type}",
        "config:10:1: source.a.topic: the topic is empty: use for example \"hookweir.{source}\"",
    ];
    for line in expected {
        assert!(
            errors.iter().any(|error| error == line),
            "{line}\n{errors:#?}"
        );
    }
    assert!(
        errors.iter().any(|error| error.contains("acks")),
        "{errors:#?}"
    );
}

#[test]
fn mistakes_of_a_source_do_not_hide_each_other() {
    let errors = mistakes(
        r#"[[source]]
name = "a"
provider = "strpe"
secrets = ["env:NOT_SET"]
[[source]]
name = "b"
provider = "hmac"
public_url = "hooks.example.com/x"
secrets = ["plain:short", "env:NOT_SET"]
[source.scheme]
messge = "{body}"
signature = { from = "header:x", encodng = "hex" }
timestamp = { from = "header:t", toleranse_secs = 5 }
"#,
    );
    for line in [
        "config:3:1: source.a.provider: no provider \"strpe\"; did you mean \"stripe\"?",
        "config:4:12: source.a.secrets: the environment variable NOT_SET is not set",
        "config:8:1: source.b.public_url: expected a URL such as \"https://your.host/ingest/stripe\": put https:// in front",
        "config:9:27: source.b.secrets: the environment variable NOT_SET is not set",
        "config:11:1: source.b.scheme.messge: no such key; did you mean message?",
        "config:12:34: source.b.scheme.signature[0].encodng: no such key; did you mean encoding?",
        "config:13:34: source.b.scheme.timestamp.toleranse_secs: no such key; did you mean tolerance_secs?",
    ] {
        assert!(
            errors.iter().any(|error| error == line),
            "{line}\nis not in\n{}",
            errors.join("\n")
        );
    }
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("config:9:12: source.b.secrets[0]: is 5 bytes long")),
        "{errors:#?}"
    );
    assert_eq!(errors.len(), 8, "{}", errors.join("\n"));
}

#[test]
fn no_body_is_taken_that_the_broker_would_never_take() {
    let text = r#"
publisher.url = "amqp://127.0.0.1/v"
[[source]]
name = "whole"
provider = "none"
[[source]]
name = "own"
provider = "none"
max_body_bytes = 20000000
[[source]]
name = "small"
provider = "none"
max_body_bytes = 1000
[[source]]
name = "hub"
provider = "github"
secrets = ["plain:s3cr3t-of-github"]
"#;
    let config = load_text(text).expect("valid");
    let limits: Vec<usize> = config
        .sources
        .iter()
        .map(|source| max_body_bytes(&config, source))
        .collect();
    assert_eq!(limits, [16_777_216, 16_777_216, 1000, 16_777_216]);
    let about = |config: &Config| -> Vec<String> {
        let of_sizes = |text: &&String| text.contains("(publisher.max_message_bytes)");
        let warnings = config.warnings.iter().filter(of_sizes);
        let start = |text: &String| text.split_once(", and").map(|(start, _)| start.to_owned());
        warnings.filter_map(start).collect()
    };
    assert_eq!(
        about(&config),
        [
            "source own: max_body_bytes is 20000000",
            "source hub: its provider sends bodies of up to 26214400 bytes"
        ],
        "not of a default that no provider is known to need"
    );
    let raised = load_text(&format!("limits.max_body_bytes = 30000000\n{text}")).expect("valid");
    assert_eq!(about(&raised)[0], "limits.max_body_bytes is 30000000");

    let unbounded = load_text(&format!("publisher.max_message_bytes = 0\n{text}")).expect("valid");
    assert_eq!(
        max_body_bytes(&unbounded, &unbounded.sources[0]),
        26_214_400
    );
    let files = load_text("[[source]]\nname = \"s\"\nprovider = \"none\"").expect("valid");
    assert_eq!(max_body_bytes(&files, &files.sources[0]), 26_214_400);
    assert!(
        !files
            .warnings
            .iter()
            .any(|warning| warning.contains("max_message_bytes"))
    );
}

#[test]
fn a_tool_does_without_the_secrets_that_only_the_service_can_read() {
    let file = r#"
store.url = "env:DATABASE_URL"
publisher.url = "credential:amqp"
[[source]]
name = "s"
provider = "stripe"
secrets = ["credential:stripe"]
[[source]]
name = "p"
provider = "discord"
public_keys = ["file:/nonexistent/key"]
[[source]]
name = "m"
provider = "meta"
secrets = ["plain:0123456789abcdef"]
params = { verify_token = "env:TOKEN" }
"#;
    let inputs = |lenient| Inputs {
        lenient,
        ..Inputs::default()
    };
    let strict =
        check(Draft::of(Some(("h.toml", file)), &inputs(false))).expect_err("a service needs them");
    assert_eq!(strict.len(), 5, "{strict:#?}");
    let config = check(Draft::of(Some(("h.toml", file)), &inputs(true))).expect("a tool does not");
    let keys: Vec<_> = config
        .untried
        .iter()
        .filter_map(|why| why.key.clone())
        .collect();
    assert_eq!(
        keys,
        [
            "store.url",
            "publisher.url",
            "source.s.secrets",
            "source.p.public_keys",
            "source.m.params.verify_token"
        ]
    );
    let metrics = Metrics::new().expect("metrics");
    let refused = Sources::compile(&config, &metrics).expect_err("nothing is served with them");
    assert_eq!(refused.len(), 2, "{refused:?}");

    let wrong = file
        .replace("\"stripe\"", "\"strpe\"")
        .replace("credential:amqp", "file://x y");
    let errors = check(Draft::of(Some(("h.toml", &wrong)), &inputs(true)))
        .expect_err("mistakes are mistakes everywhere");
    assert!(
        errors
            .iter()
            .any(|error| error.to_string().contains("did you mean \"stripe\"?")),
        "{errors:#?}"
    );
}

#[test]
fn a_secret_that_is_very_likely_another_one_is_warned_about() {
    let warnings = |provider: &str, secret: &str| {
        let text = format!(
            "[[source]]\nname = \"s\"\nprovider = \"{provider}\"\nsecrets = ['plain:{secret}']\n"
        );
        load_text(&text).expect("valid").warnings.join("\n")
    };
    assert!(
        warnings("stripe", "sk_live_0123456789abcdef")
            .contains("source s: secrets[0] begins with sk_, as an API key of Stripe does")
    );
    assert!(
        warnings("stripe", "\"whsec_0123456789abcdef\"")
            .contains("source s: secrets[0] is in quotes")
    );
    assert!(
        warnings("github", "ghp_0123456789abcdef").contains("a personal access token of GitHub")
    );
    assert!(!warnings("stripe", "whsec_0123456789abcdef").contains("secrets[0]"));
}

#[test]
fn a_quarantine_that_keeps_longer_than_dedup_or_less_than_a_body_is_warned_of() {
    let source = "[[source]]\nname = \"a\"\nprovider = \"stripe\"\nsecrets = [\"plain:whsec_hunter2hunter2\"]\n";
    let warned = |quarantine: &str, own: &str| {
        let text = format!("{quarantine}\n{source}{own}\n");
        let config = load_text(&text).expect("sound");
        config.warnings.join("\n")
    };
    let quiet = warned("", "");
    assert!(!quiet.contains("quarantine"), "{quiet}");
    let long = warned("[quarantine]\nkeep_days = 30", "window_days = 20");
    assert!(
        long.contains("keep_days is 30, and its dedup window is 20"),
        "{long}"
    );
    let small = warned(
        "[quarantine]\nmax_bytes = 4_000_000\nsource_bytes = 4_000_000",
        "max_body_bytes = 3_000_000",
    );
    assert!(
        small.contains("above 2000000 bytes") && small.contains("first is a"),
        "{small}"
    );
    let off = warned(
        "[quarantine]\nenabled = false\nkeep_days = 30",
        "window_days = 20",
    );
    assert!(!off.contains("quarantine"), "{off}");
}
