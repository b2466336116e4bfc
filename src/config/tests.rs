//! The configuration as a whole: layers and mistakes.

use std::time::Duration;

use super::model::{Compression, Migrate, PublisherUrl, StoreUrl};
use super::*;
use crate::domain::delivery::SourceName;
use crate::domain::outcome::ShedReason;

/// `config.toml` with its commented source made real.
fn reference_with_source() -> String {
    let reference = reference();
    let (options, source) = reference
        .split_once("# [[source]]\n")
        .expect("config.toml shows a source");
    let source: Vec<&str> = source
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect();
    format!("{options}[[source]]\n{}\n", source.join("\n"))
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.into()))
        .collect()
}

fn mistakes(text: &str) -> Vec<String> {
    Config::from_toml(text)
        .expect_err("mistakes")
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn load(file: &str, variables: &[(&str, &str)], settings: &[&str]) -> Result<Config, Vec<String>> {
    let inputs = Inputs {
        file: None,
        environment: environment(variables),
        settings: settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect(),
        lenient: false,
    };
    Draft::of(Some(("h.toml", file)), &inputs)
        .finish()
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn the_reference_is_valid_with_and_without_its_source() {
    let config = Config::from_toml("").expect("the defaults");
    assert_eq!(config.server.keep_alive, Duration::from_secs(75));
    assert_eq!(config.dedup.window, Duration::from_secs(7 * 86_400));
    assert!(
        matches!(&config.store.url, StoreUrl::Sqlite(path) if path.ends_with("data/hookweir.db"))
    );
    assert!(
        matches!(&config.sinks[0].url, PublisherUrl::File(path) if path.ends_with("data/events"))
    );
    assert!(config.warnings.is_empty() && config.sources.is_empty());

    let config = load(
        &reference_with_source(),
        &[("STRIPE_SECRET", "whsec_0123456789abcdef")],
        &[],
    )
    .expect("valid");
    let source = &config.sources[0];
    assert_eq!(
        (
            source.name.as_str(),
            source.path.as_str(),
            source.provider.as_deref()
        ),
        ("stripe", "stripe", Some("stripe"))
    );
    assert_eq!(source.secrets[0].expose(), b"whsec_0123456789abcdef");
    assert_eq!(source.deadline, Some(Duration::from_millis(2500)));
    assert_eq!(
        source.scheme.as_ref().expect("a scheme")["timestamp"]["tolerance_secs"].as_integer(),
        Some(60)
    );
}

#[test]
fn the_last_layer_wins_and_words_are_read_as_the_option_needs_them() {
    let file = "limits.deadline_ms = 1000\nserver = { workers = 1, keep_alive_secs = 10 }\n";
    let variables = [
        ("HOOKWEIR__LIMITS__DEADLINE_MS", "2000"),
        ("HOOKWEIR__SERVER__WORKERS", "2"),
        ("HOOKWEIRLESS", "x"),
    ];
    let settings = [
        "server.workers=3",
        "store.migrate=check",
        "publisher.declare=false",
        "publisher.queue=",
        "server.listen=localhost:9000",
        "source.gh.provider=github",
        "source.gh.secrets=[\"plain:0123456789abcdef\", \"env:OTHER\"]",
        "source.gh.forward_headers=x-one",
    ];
    let variables = [variables.as_slice(), &[("OTHER", "fedcba9876543210")]].concat();
    let config = load(file, &variables, &settings).expect("valid");
    assert_eq!(config.limits.deadline, Duration::from_secs(2));
    assert_eq!(
        (config.server.workers, config.server.keep_alive),
        (3, Duration::from_secs(10))
    );
    assert_eq!(config.store.migrate, Migrate::Check);
    assert!(!config.sinks[0].rabbitmq.declare && config.sinks[0].rabbitmq.queue.is_none());
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(
        (
            config.sources[0].secrets.len(),
            config.sources[0].forward_headers.len()
        ),
        (2, 1)
    );

    let shown = config.to_toml();
    for line in [
        "workers = 3  # --set server.workers",
        "deadline_ms = 2000  # environment HOOKWEIR__LIMITS__DEADLINE_MS",
        "keep_alive_secs = 10  # h.toml:2:25",
        "head_timeout_ms = 5000  # default",
        "secrets = [\"plain:***\", \"env:OTHER\"]",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    shown.parse::<toml::Table>().expect("what is shown is TOML");
    assert!(
        !shown.contains("0123456789abcdef") && !format!("{config:?}").contains("0123456789abcdef")
    );
}

#[test]
fn words_lie_over_a_source_of_the_file() {
    let file = "[[source]]\nname = \"s\"\nprovider = \"stripe\"\nsecrets = [\"env:NOT_SET\"]\n";
    let config = load(
        file,
        &[("HOOKWEIR__SOURCE__S__SECRETS", "plain:0123456789abcdef")],
        &["source.s.path=x/y"],
    )
    .expect("valid");
    assert_eq!(
        (config.sources.len(), config.sources[0].path.as_str()),
        (1, "x/y")
    );
    assert_eq!(config.sources[0].provider.as_deref(), Some("stripe"));
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_its_place() {
    let file = r#"[server]
listen = "localhost"
lisen = "127.0.0.1:1"
workers = "two"
max_body_bytes = 1
[limits]
deadline_ms = 10
max_body_bytes = 2.5
[store]
migrate = "atuo"
schema = "Bad Name"
[publisher]
declare = "yes"
[shutdown]
drain_secs = -1
[colour]
red = 1
[log]
filter = "info,hookweir=louder"
"#;
    let errors = load(
        file,
        &[
            ("HOOKWEIR__SERVER__LISEN", "x"),
            ("HOOKWEIR__LIMITS__DEADLINE_MS", "soon"),
        ],
        &["stor.url=x", "nonsense"],
    )
    .expect_err("mistakes");
    let address = "expected an address and port such as \"127.0.0.1:8420\", \"0.0.0.0:8420\" or \"[::]:8420\", found \"localhost\"";
    let expected = [
        &format!("h.toml:2:1: server.listen: {address}"),
        "h.toml:3:1: server.lisen: no such option; did you mean server.listen?",
        "h.toml:4:1: server.workers: expected a whole number from 0 to 1024, found \"two\"",
        "h.toml:5:1: server.max_body_bytes: no such option; did you mean limits.max_body_bytes?",
        "h.toml:7:1: limits.deadline_ms: expected a whole number of milliseconds from 100 to 60000, found 10",
        "h.toml:8:1: limits.max_body_bytes: expected a whole number of bytes from 1 to 1073741824, found 2.5",
        "h.toml:10:1: store.migrate: expected one of \"auto\", \"check\", found \"atuo\"; did you mean \"auto\"?",
        "h.toml:11:1: store.schema: expected a schema name of 1 to 63 characters of a-z, 0-9 and \"_\", not starting with a digit",
        "h.toml:13:1: publisher.declare: expected true or false, found \"yes\"",
        "h.toml:15:1: shutdown.drain_secs: expected a whole number of seconds from 1 to 3600, found -1",
        "h.toml:17:1: colour.red: no such option",
        "environment HOOKWEIR__LIMITS__DEADLINE_MS: limits.deadline_ms: expected a whole number of milliseconds from 100 to 60000, \
         found \"soon\"",
        "environment HOOKWEIR__SERVER__LISEN: server.lisen: no such option; did you mean HOOKWEIR__SERVER__LISTEN?",
        "--set stor.url: no such option; did you mean store.url?",
        "--set: expected key=value, such as --set server.listen=127.0.0.1:8420",
    ];
    for line in expected {
        assert!(
            errors.iter().any(|error| error == line),
            "{line}\nis not in\n{}",
            errors.join("\n")
        );
    }
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("h.toml:19:1: log.filter: ")),
        "{errors:?}"
    );
    assert_eq!(errors.len(), expected.len() + 1, "{}", errors.join("\n"));
}

#[test]
fn errors_of_syntax_do_not_hide_the_others_nor_repeat_themselves() {
    let errors =
        mistakes("[server]\nlisten = 127.0.0.1:80\nworkers = = 1\n[limits]\ndeadline = 5\n");
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("config:2:") && error.contains("not TOML")),
        "{errors:#?}"
    );
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("config:3:") && error.contains("not TOML")),
        "{errors:#?}"
    );
    assert!(
        errors.contains(
            &"config:5:1: limits.deadline: no such option; did you mean limits.deadline_ms?"
                .to_owned()
        ),
        "{errors:#?}"
    );
    assert!(
        !errors
            .iter()
            .any(|error| error.contains("expected an address")),
        "{errors:#?}"
    );
    assert!(
        mistakes("a = 1\na = 2")
            .iter()
            .any(|error| error.contains("duplicate"))
    );
}

#[test]
fn urls_may_be_elsewhere_and_are_never_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("url");
    std::fs::write(&path, "postgres://u:hunter2@h/d\n").expect("written");
    let url = format!("store.url=file:{}", path.display());
    let config = load(
        "",
        &[("Q", "amqp://u:hunter2@q/v")],
        &[&url, "publisher.url=env:Q"],
    )
    .expect("valid");
    assert_eq!(config.store.url.to_string(), "postgres://u:***@h/d");
    assert_eq!(config.sinks[0].url.to_string(), "amqp://u:***@q/v");
    let shown = config.to_toml();
    assert!(
        shown.contains("url = \"env:Q\"")
            && !shown.contains("hunter2")
            && !format!("{config:?}").contains("hunter2")
    );

    let errors = load(
        "[store]\nurl = \"mysql://u:hunter2@h/d\"\n[publisher]\nurl = [\"amqp://u:hunter2@q\"]\n",
        &[("HOOKWEIR__PUBLISHER__URL", "u:hunter2@q")],
        &["publisher.url=env:NONE"],
    )
    .expect_err("mistakes");
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(
        errors[0].starts_with("h.toml:2:1: store.url: expected")
            && errors[1].ends_with("found a list"),
        "{errors:#?}"
    );
    assert_eq!(
        errors[2],
        "--set publisher.url: the environment variable NONE is not set"
    );
    assert!(!errors.concat().contains("hunter2"), "{errors:#?}");
}

#[test]
fn options_are_checked_together() {
    let refused = |text: &str, said: &str| {
        let errors = mistakes(text);
        assert!(
            errors.iter().any(|error| error.contains(said)),
            "{text}: {errors:?}"
        );
    };
    refused(
        "server.admin_listen = \"127.0.0.1:8420\"",
        "server.admin_listen: the same address",
    );
    refused(
        "[[source]]\nname = \"a\"\nprovider = \"none\"\nclient_rate_limit_burst = 5",
        "source.a.client_rate_limit_burst: without client_rate_limit_per_sec",
    );
    refused(
        "limits.in_flight_bytes = 1024",
        "limits.max_body_bytes: larger than limits.in_flight_bytes",
    );
    refused(
        "publisher.queue_events = 10",
        "publisher.window: more events",
    );
    refused(
        "publisher.retry_min_ms = 70000",
        "publisher.retry_min_ms: longer than",
    );
    refused(
        "publisher.queue = \"hookweir.unrouted\"",
        "publisher.unrouted_queue: the same as",
    );
    refused(
        "publisher.exchange = \"\"",
        "publisher.exchange: expected a name",
    );
    refused(
        "server.listen = \"0.0.0.0:8420\"",
        "config:1:8: server.listen: a public address, but no source is configured",
    );
}

#[test]
fn without_verification_only_on_loopback_or_when_asked_for() {
    let source = "[[source]]\nname = \"s\"\nprovider = \"none\"\n";
    let public = format!("server.listen = \"[::]:8420\"\n{source}");
    assert!(Config::from_toml(source).is_ok());
    assert!(
        mistakes(&public)[0]
            .starts_with("config:4:1: source.s.provider: \"none\" accepts anything from anybody")
    );
    assert!(Config::from_toml(&format!("{public}allow_unverified_public = true\n")).is_ok());
}

#[test]
fn what_is_allowed_but_risky_is_warned_about() {
    let config = Config::from_toml(
        "server.admin_listen = \"0.0.0.0:8421\"\nstore.allow_unsafe_durability = true",
    )
    .expect("valid");
    assert!(
        config.warnings[0].contains("admin_listen")
            && config.warnings[1].contains("allow_unsafe_durability")
    );
}

#[test]
fn variables_with_too_few_underscores_are_not_passed_over_in_silence() {
    let config = load(
        "",
        &[
            ("HOOKWEIR_SERVER_LISTEN", "x"),
            ("HOOKWEIR_TEST_POSTGRES", "x"),
        ],
        &[],
    )
    .expect("valid");
    assert_eq!(
        config.warnings,
        [
            "the environment variable HOOKWEIR_SERVER_LISTEN is not read; did you mean HOOKWEIR__SERVER__LISTEN?"
        ]
    );
}

#[test]
fn those_who_use_a_source_can_point_to_its_line() {
    let source = r#"[[source]]
name = "s"
provider = "stripe"
secrets = [
  "plain:0123456789abcdef",
  "plain:fedcba9876543210",
]
[source.scheme]
timestamp = { tolerance_secs = 1 }
"#;
    let config = Config::from_toml(source).expect("read soundly");
    let at = |key| {
        config
            .source_error(&config.sources[0], key, "wrong")
            .to_string()
    };
    assert_eq!(at("provider"), "config:3:1: source.s.provider: wrong");
    assert_eq!(at("secrets[1]"), "config:6:3: source.s.secrets[1]: wrong");
    assert_eq!(
        at("scheme.timestamp.tolerance_secs"),
        "config:9:15: source.s.scheme.timestamp.tolerance_secs: wrong"
    );
    assert_eq!(
        at("scheme.signature[0].from"),
        "config:8:9: source.s.scheme.signature[0].from: wrong",
        "left out: its table"
    );
    assert_eq!(
        at("public_keys[0]"),
        "config:2:1: source.s.public_keys[0]: wrong",
        "left out: the source's name"
    );
}

#[test]
fn a_url_that_postgres_can_never_use_is_a_mistake_without_its_password() {
    for url in [
        "postgres://u:100%hunter2@h/d",
        "postgres://u:x@hunter2%2Fq@h/d",
        "postgres://u:a/b?hunter2@h/d",
        "postgres://h/d?sslmode=on",
    ] {
        let errors = mistakes(&format!("[store]\nurl = \"{url}\"\n"));
        assert!(
            errors[0]
                .starts_with("config:2:1: store.url: no URL that PostgreSQL's client can use: "),
            "{errors:#?}"
        );
        assert!(
            errors.len() == 1 && !errors[0].contains("hunter2"),
            "{errors:#?}"
        );
    }
}

#[test]
fn what_goes_over_a_network_unencrypted_is_warned_about() {
    let warnings = |text: &str| Config::from_toml(text).expect("valid").warnings.join("\n");
    let remote = warnings(
        "store.url = \"postgres://u:hunter2@db.example/d\"\npublisher.url = \"amqp://u:hunter2@mq.example/v\"",
    );
    assert!(
        remote.contains("store.url: the connection to db.example may be unencrypted"),
        "{remote}"
    );
    assert!(
        remote.contains("publisher.url: the connection to mq.example is unencrypted")
            && !remote.contains("hunter2"),
        "{remote}"
    );
    let safe = "store.url = \"postgres://u@db.example/d?sslmode=verify-full\"\npublisher = { url = \"amqps://u@mq.example/v\", max_message_bytes = 0 }";
    assert_eq!(warnings(safe), "");
    assert_eq!(
        warnings(
            "store.url = \"postgres://u@[::1]/d\"\npublisher = { url = \"amqp://u@127.0.0.1/v\", max_message_bytes = 0 }"
        ),
        ""
    );
}

#[test]
fn every_shed_delivery_names_an_option_that_is_in_the_reference() {
    let reference: toml::Table = reference().parse().expect("TOML");
    for reason in ShedReason::ALL {
        let (section, key) = reason.option().split_once('.').expect("section.key");
        let of_source = || {
            let mut options = super::model::Source::SECTION.options.iter();
            section == "source" && options.any(|option| option.key == key)
        };
        let of_all = reference.get(section).and_then(|of| of.get(key));
        assert!(
            of_all.is_some() || of_source(),
            "{reason:?}: there is no option {}",
            reason.option()
        );
    }
}

#[test]
fn a_misspelt_source_is_told_the_right_name_and_its_other_mistakes() {
    for head in ["[[sources]]", "[sorce]", "[[Source]]"] {
        let errors = mistakes(&format!(
            "{head}\nname = \"s\"\nprovider = \"none\"\ncolour = 1\n"
        ));
        assert!(
            errors[0].starts_with("config:1:")
                && errors[0].ends_with("no such option; did you mean [[source]]?"),
            "{head}: {errors:#?}"
        );
        assert_eq!(
            errors[1], "config:4:1: source.s.colour: no such option",
            "{head}: {errors:#?}"
        );
    }
    assert_eq!(
        mistakes("[stor]\nurl = \"x\"\n"),
        ["config:2:1: stor.url: no such option; did you mean store.url?"]
    );
}

/// Name, section and URL of each sink.
fn sinks(config: &Config) -> Vec<String> {
    let sinks = config.sinks.iter();
    sinks
        .map(|sink| format!("{} {} {}", sink.name, sink.section, sink.url))
        .collect()
}

#[test]
fn a_publisher_with_a_url_is_a_sink_beside_the_others() {
    let alone = Config::from_toml("").expect("the defaults");
    assert_eq!(sinks(&alone), ["default publisher file://data/events"]);
    let kafka = "[[sink]]\nname = \"kafka\"\nurl = \"kafka://b1,b2\"\n";
    let only = Config::from_toml(kafka).expect("valid");
    assert_eq!(sinks(&only), ["kafka sink.kafka kafka://b1:9092,b2:9092"]);
    assert!(
        !only.to_toml().contains("data/events"),
        "{}",
        only.to_toml()
    );
    let both = format!("[publisher]\nurl = \"amqp://u:p@q/v\"\n{kafka}");
    let both = Config::from_toml(&both).expect("valid");
    assert_eq!(
        sinks(&both),
        [
            "default publisher amqp://u:***@q/v",
            "kafka sink.kafka kafka://b1:9092,b2:9092"
        ]
    );
}

#[test]
fn a_sink_takes_from_publisher_what_it_does_not_name() {
    let file = r#"
[publisher]
window = 100
retry_max_ms = 90000
routing_key = "{type}"
[[sink]]
name = "a"
url = "file:///a"
window = 50
event_types = ["order.*"]
[[sink]]
name = "b"
url = "env:B"
retry_max_ms = 5000
"#;
    let config = load(
        file,
        &[("B", "amqp://q"), ("HOOKWEIR__SINK__A__CHANNELS", "2")],
        &["sink.b.exchange=events"],
    )
    .expect("valid");
    let (a, b) = (&config.sinks[0], &config.sinks[1]);
    assert_eq!(
        (a.window, b.window, a.channels, b.channels),
        (50, 100, 2, 4)
    );
    assert_eq!(
        (&*a.routing_key, &*b.routing_key, &*b.rabbitmq.exchange),
        ("{type}", "{type}", "events")
    );
    assert_eq!(
        config.store.longest_retry,
        Duration::from_secs(90),
        "of any sink"
    );
    assert_eq!((a.event_types.len(), b.event_types.len()), (1, 0));
    let shown = config.to_toml();
    for part in [
        "[[sink]]\nname = \"a\"",
        "window = 50  # h.toml:9",
        "url = \"env:B\"",
        "exchange = \"events\"  # --set sink.b.exchange",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn a_filter_of_publisher_is_that_of_its_own_sink_and_no_other_takes_it_over_unseen() {
    let kafka = "[[sink]]\nname = \"kafka\"\nurl = \"kafka://b1\"\n";
    let filtered = "except_event_types = [\"*\"]\n";
    let both = format!("[publisher]\nurl = \"file:///a\"\n{filtered}{kafka}");
    let both = Config::from_toml(&both).expect("valid");
    let sinks = both.routes().expect("routes");
    let source = SourceName::parse("s").expect("a name");
    let wanting = sinks.names(sinks.wanting(&source, None));
    let wanting: Vec<&str> = wanting.map(|sink| sink.as_str()).collect();
    assert_eq!(wanting, ["kafka"]);
    assert_eq!(
        mistakes(&format!("[publisher]\n{filtered}{kafka}")),
        [
            "config:2:1: publisher.except_event_types: [publisher] has no url, so it is no sink, and no [[sink]] takes its \
             filters: move them to the [[sink]]"
        ]
    );
}

#[test]
fn a_sink_of_kafka_has_a_section_of_its_own_beside_one_of_rabbitmq() {
    let file = r#"
[publisher]
url = "amqp://q"
topic = "all.{source}"
[publisher.kafka]
"client.rack" = "a"
[[sink]]
name = "kafka"
url = "kafkas://b1:9093"
topic = "own.{source}"
record_key = "{source}"
compression = "gzip"
partitions = 6
[sink.kafka]
"client.rack" = "b"
[[sink]]
name = "second"
url = "kafka://b2"
"#;
    let config = Config::from_toml(file).expect("valid");
    let kafka = |name: &str| {
        let sink = config.sinks.iter().find(|sink| sink.name.as_str() == name);
        sink.expect("a sink").kafka.clone()
    };
    let (own, second) = (kafka("kafka"), kafka("second"));
    assert_eq!(
        (&*own.topic, &*own.record_key),
        ("own.{source}", "{source}")
    );
    assert_eq!((own.partitions, own.compression), (6, Compression::Gzip));
    assert_eq!(own.properties["client.rack"], "b");
    assert_eq!(
        (&*second.topic, &*second.record_key),
        ("all.{source}", "{message_id}")
    );
    assert_eq!(second.properties["client.rack"], "a");
    let wrong = file.replace("gzip", "zip");
    assert_eq!(
        mistakes(&wrong),
        [
            "config:12:1: sink.kafka.compression: expected one of \"lz4\", \"snappy\", \"gzip\", \"none\", found \"zip\"; did \
             you mean \"gzip\"?"
        ]
    );
}

#[test]
fn a_sasl_mechanism_that_is_not_in_this_build_says_what_to_use_instead() {
    let file = "[publisher]\nurl = \"kafka://u:p@b1\"\nsasl_mechanism = \"OAUTHBEARER\"\n";
    assert_eq!(
        mistakes(file),
        [
            "config:3:1: publisher.sasl_mechanism: \"OAUTHBEARER\" is not in this build, since librdkafka fetches tokens by libcurl: set \
             \"SCRAM-SHA-512\" or \"PLAIN\" and a login in the sink's URL, or use kafkas:// with a certificate of your own (certificate_file \
             and key_file)"
        ]
    );
}

#[test]
fn mistakes_in_sinks_have_their_line_and_are_reported_once() {
    let errors = mistakes(
        r#"sink = 1
[publisher]
window = "many"
url = "file:///same"
[[sink]]
name = "A"
url = "file:///a"
[[sink]]
url = "file:///b"
[[sink]]
name = "c"
chanels = 4
[[sink]]
name = "d"
url = "http://hunter2"
queue_events = 10
[[sink]]
name = "d"
url = "file:///same"
event_types = [""]
"#
        .trim_start_matches("sink = 1\n"),
    );
    let expected = [
        "config:2:1: publisher.window: expected a whole number from 1 to 65535, found \"many\"",
        "config:7:1: sink.?.name: every [[sink]] needs a name, such as name = \"kafka\"",
        "config:9:1: sink.c.url: every [[sink]] needs a url, such as url = \"kafka://localhost:9092\"",
        "config:11:1: sink.c.chanels: no such option; did you mean sink.c.channels?",
        "config:17:1: sink.d.name: [sink.d] is the sink \"d\" too; names are unique, since rows of the outbox have them",
        "config:18:1: sink.d.url: another sink writes to this folder; each needs one of its own",
        "config:19:16: sink.d.event_types: \"\": expected a type such as \"order.*\", found an empty string",
    ];
    for line in expected {
        assert!(
            errors.iter().any(|error| error == line),
            "{line}\nis not in\n{}",
            errors.join("\n")
        );
    }
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("config:14:1: sink.d.url:")),
        "{errors:#?}"
    );
    assert!(!errors.concat().contains("hunter2"), "{errors:#?}");
    assert_eq!(
        errors.iter().filter(|error| error.contains("many")).count(),
        1
    );
    assert_eq!(
        mistakes("sink = 1"),
        ["config:1:1: sink: expected a table [[sink]], found a whole number"]
    );
    let unknown = "[[source]]\nname = \"s\"\nprovider = \"none\"\nsinks = [\"default\", \"lake\"]";
    assert_eq!(
        mistakes(unknown),
        ["config:4:1: source.s.sinks: there is no sink \"lake\""]
    );
}

#[test]
fn a_source_stores_the_headers_that_any_of_its_sinks_wants() {
    let file = r#"
[publisher]
url = "file:///a"
[[sink]]
name = "b"
url = "file:///b"
forward_headers = ["x-b"]
[[source]]
name = "s"
provider = "none"
forward_headers = ["x-s"]
[[source]]
name = "t"
provider = "none"
forward_headers = ["x-t"]
sinks = ["default"]
"#;
    let config = Config::from_toml(file).expect("valid");
    assert_eq!(config.sources[0].stored_headers, ["x-s", "x-b"]);
    assert_eq!(config.sources[1].stored_headers, ["x-t"]);
    let sinks = config.routes().expect("sinks");
    assert!(sinks.is_selective());
    let to = sinks.wanting(&config.sources[1].name, None);
    assert_eq!(sinks.only_in(to).map(|sink| sink.as_str()), Some("default"));
}

#[test]
fn the_lakehouse_reads_the_sink_that_is_named_and_takes_no_unknown_name() {
    let text = |name: &str| {
        format!(
            "[publisher]\nurl = \"file:///a\"\n[[sink]]\nname = \"b\"\nurl = \"kafka://b1\"\n[lakehouse]\nsink = \"{name}\"\n"
        )
    };
    for (name, read) in [("b", "b"), ("", "default")] {
        let config = Config::from_toml(&text(name)).expect("valid");
        assert_eq!(config.lakehouse_sink().name.as_str(), read);
    }
    assert_eq!(
        mistakes(&text("c")),
        ["config:7:1: lakehouse.sink: no sink has the name \"c\""]
    );
}
