//! `hookweir reload`, SIGHUP and the route behind them: a configuration that is read again while deliveries come.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use fastrand::Rng;
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{Load, client, post};
use hookweir_testkit::provider::{Event, Provider, now};
use serde_json::{Value, json};

use super::{hookweir, send, told};
use crate::signals::logs;

/// Reloads that are made while deliveries come.
const RELOADS: usize = 200;

const OTHER: &str = "whsec_YSByb3RhdGlvbiBvZiBzZWNyZXRzIGluIHRlc3Rz";

/// Replaces the configuration of a running service.
fn write(app: &App, config: &str) {
    fs::write(app.folder().join("config.toml"), config).expect("written");
}

/// Has the service read its configuration again, by the route.
fn reload(app: &App) -> Value {
    let (status, view) = told(app, "/api/v1/reload", &json!({}));
    assert_eq!(status, 200, "{view}");
    view
}

/// Names of the options in a list of changes.
fn options(changes: &Value) -> Vec<&str> {
    let changes = changes.as_array().expect("a list").iter();
    changes
        .map(|change| change["option"].as_str().expect("a name"))
        .collect()
}

/// Sends an event that is signed with `secret`.
async fn deliver(app: &App, path: &str, event: &Event, secret: &str) -> Answer {
    let headers = event.signed(secret, now());
    post(&client(), app.listen, path, headers, event.body.clone()).await
}

fn github_event(seed: u64) -> Event {
    github(&mut Rng::with_seed(seed))
}

fn github(rng: &mut Rng) -> Event {
    Provider::Github.event(rng)
}

/// A source of GitHub's with these secrets.
fn source(secrets: &str) -> String {
    format!("[[source]]\nname = \"github\"\nprovider = \"github\"\nsecrets = [{secrets}]\n")
}

fn plain(secret: &str) -> String {
    source(&format!("\"plain:{secret}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_under_load_give_no_wrong_answer() {
    let app = App::start(&patient_sources()).await;
    let load = Load {
        connections: 8,
        ..Load::on(&[app.listen])
    }
    .start();
    let extra = plain(OTHER).replace("\"github\"\nprov", "\"extra\"\nprov");
    let two = format!("secrets = [\"plain:{OTHER}\", ");
    let configs = [
        format!("[limits]\ndeadline_ms = 2400\n{}", patient_sources()),
        format!("{}{extra}", patient_sources()),
        patient_sources().replace("secrets = [", &two),
        format!(
            "[publisher]\nexcept_event_types = [\"nothing\"]\n{}",
            patient_sources()
        ),
        patient_sources(),
    ];
    let mut changed = 0;
    for round in 0..RELOADS {
        write(&app, &configs[round % configs.len()]);
        changed += usize::from(!options(&reload(&app)["changed"]).is_empty());
        load.until_taken(1).await;
    }
    assert_eq!(changed, RELOADS, "each of them had a change");
    load.finish().await.check_faultless();
    app.drained().await;
}

/// Ids of the events that a file sink has.
fn ids_in(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).into_iter().flatten();
    let lines = files.map(|file| fs::read_to_string(file.expect("an entry").path()).expect("text"));
    let lines: Vec<String> = lines
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let id = |line: &String| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        event["headers"]["cloudEvents:id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {event}"))
            .to_owned()
    };
    lines.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_sees_one_configuration_from_its_secret_to_its_sink() {
    let sinks = "[[sink]]\nname = \"one\"\nurl = \"file://data/one\"\n[[sink]]\nname = \"two\"\nurl = \"file://data/two\"\n";
    let of = |secret: &str, sink: &str| {
        let source = plain(secret);
        format!("{sinks}{source}deadline_ms = 15000\nsinks = [\"{sink}\"]\n")
    };
    let (first, second) = (Provider::Github.secret(), OTHER);
    let app = App::start(&of(first, "one")).await;
    let begin = |secret: &'static str, seed| {
        let listen = app.listen;
        tokio::spawn(async move {
            let (client, mut rng, mut taken) = (client(), Rng::with_seed(seed), BTreeSet::new());
            for _ in 0..400 {
                let event = github(&mut rng);
                let headers = event.signed(secret, now());
                match post(&client, listen, "github", headers, event.body.clone()).await {
                    Answer::Taken { .. } => drop(taken.insert(event.id)),
                    Answer::Status(401) => {}
                    other => panic!("{other:?}"),
                }
            }
            taken
        })
    };
    let senders = [
        begin(first, 1),
        begin(second, 2),
        begin(first, 3),
        begin(second, 4),
    ];
    let mut round = 0;
    while senders.iter().any(|sender| !sender.is_finished()) {
        let (secret, sink) = [(second, "two"), (first, "one")][round % 2];
        write(&app, &of(secret, sink));
        reload(&app);
        round += 1;
    }
    let mut taken = Vec::new();
    for sender in senders {
        taken.push(sender.await.expect("a sender"));
    }
    app.drained().await;
    let (one, two) = (&taken[0] | &taken[2], &taken[1] | &taken[3]);
    assert!(!one.is_empty() && !two.is_empty(), "{round} reloads");
    assert_eq!(
        ids_in(&app.folder().join("data/one")),
        one,
        "signed with the first secret"
    );
    assert_eq!(
        ids_in(&app.folder().join("data/two")),
        two,
        "signed with the second"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_with_line_and_column_and_the_old_configuration_goes_on() {
    let app = App::start(&plain(Provider::Github.secret())).await;
    let before = app.metrics().await;
    assert_eq!(before.get("hookweir_config_last_reload_successful"), 1.0);
    write(&app, &format!("{}[limits]\ndeadlin_ms = 1\n", plain(OTHER)));
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(
        error.contains("config.toml:6:1: limits.deadlin_ms"),
        "{error}"
    );
    assert!(error.contains("did you mean limits.deadline_ms"), "{error}");
    logs(&app, "config.toml:6:1: limits.deadlin_ms").await;
    logs(
        &app,
        "refused, 1 mistake in the configuration; the one in force goes on",
    )
    .await;
    let after = app.metrics().await;
    assert_eq!(after.get("hookweir_config_last_reload_successful"), 0.0);
    let time = "hookweir_config_last_reload_success_timestamp_seconds";
    assert_eq!(before.get(time).to_bits(), after.get(time).to_bits());

    write(&app, "[[source]\n");
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(error.contains("config.toml:1:"), "{error}");
    write(&app, &source("\"file:not-there\""));
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(error.contains("config.toml:4:"), "{error}");
    app.signal("HUP");
    logs(&app, "reload by SIGHUP: refused").await;

    let event = github(&mut Rng::with_seed(5));
    let answer = deliver(&app, "github", &event, Provider::Github.secret()).await;
    assert!(
        matches!(answer, Answer::Taken { new: true, .. }),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_source_is_live_a_removed_one_is_gone_and_others_go_on() {
    let app = App::start(&plain(Provider::Github.secret())).await;
    send(&app, Provider::Github, "before");
    let config = Provider::Github
        .config()
        .replace("\"github\"\nprov", "\"shop\"\nprov");
    write(&app, &config);
    let printed = hookweir(&app, &["reload", "--dry-run"]).good();
    assert!(printed.contains("would be in force"), "{printed}");
    let event = github(&mut Rng::with_seed(6));
    let secret = Provider::Github.secret();
    assert_eq!(
        deliver(&app, "shop", &event, secret).await,
        Answer::Status(404)
    );

    let printed = hookweir(&app, &["reload"]).good();
    for change in [
        "source.shop: added  (config.toml:2:1)",
        "source.github: removed",
    ] {
        assert!(printed.contains(change), "{printed}");
    }
    let answer = deliver(&app, "shop", &event, secret).await;
    assert!(
        matches!(answer, Answer::Taken { new: true, .. }),
        "{answer:?}"
    );
    assert_eq!(
        deliver(&app, "github", &event, secret).await,
        Answer::Status(404)
    );
    let listed = hookweir(&app, &["sources", "--json"]).good();
    assert!(
        listed.contains("\"shop\"") && !listed.contains("\"github\",\"prov"),
        "{listed}"
    );
    assert!(
        reload(&app)["changed"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );
    logs(&app, "nothing changed").await;

    let path = app.folder().join("data/hookweir.db");
    let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
    let since = Instant::now();
    loop {
        let rows = "SELECT count(*) AS n FROM audit WHERE action = 'reload' AND count = 2";
        let rows = diesel::sql_query(rows).get_result::<Count>(&mut database);
        match rows.expect("read").n {
            1 => break,
            n => assert!(since.elapsed() < Duration::from_secs(60), "{n} rows"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_file_is_rotated_without_a_restart() {
    let secret = Provider::Github.secret();
    let app = App::start(&plain(OTHER)).await;
    fs::write(app.folder().join("secret"), secret).expect("written");
    write(&app, &source("\"file:secret\""));
    app.signal("HUP");
    logs(
        &app,
        "reload by SIGHUP: 1 change in force: source.github.secrets",
    )
    .await;
    let mut rng = Rng::with_seed(7);
    let answer = deliver(&app, "github", &github(&mut rng), secret).await;
    assert!(matches!(answer, Answer::Taken { .. }), "{answer:?}");

    fs::write(app.folder().join("secret"), OTHER).expect("written");
    let view = reload(&app);
    assert_eq!(
        options(&view["changed"]),
        ["source.github.secrets"],
        "{view}"
    );
    assert!(!view.to_string().contains(OTHER), "{view}");
    assert_eq!(
        deliver(&app, "github", &github(&mut rng), secret).await,
        Answer::Status(401)
    );
    let answer = deliver(&app, "github", &github(&mut rng), OTHER).await;
    assert!(matches!(answer, Answer::Taken { .. }), "{answer:?}");
    assert!(!app.log().contains(OTHER), "{}", app.log());
    let metrics = app.metrics().await;
    let verified = metrics.sum("hookweir_secret_verified_total", &["file:secret"]);
    assert_eq!(verified, 1, "by the secret that is there now");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_needs_a_restart_is_named_each_time_and_limits_are_in_force() {
    let github = plain(Provider::Github.secret());
    let app = App::start(&github).await;
    let limits =
        "[limits]\nin_flight_requests = 77\n[dedup]\nwriters = 3\n[log]\nfilter = \"warn\"\n";
    write(&app, &format!("{limits}{github}"));
    let printed = hookweir(&app, &["reload"]).good();
    let (done, waits) = printed
        .split_once("not in force: needs a restart")
        .expect("both");
    assert!(
        done.contains("limits.in_flight_requests: 2048 -> 77  (config.toml:2:"),
        "{printed}"
    );
    assert!(done.contains("log.filter"), "{printed}");
    assert!(waits.contains("dedup.writers: "), "{printed}");
    let view = reload(&app);
    assert_eq!(options(&view["changed"]), [""; 0], "{view}");
    assert_eq!(options(&view["needs_restart"]), ["dedup.writers"], "{view}");
    let bound = app.metrics().await.get("hookweir_in_flight_requests_max");
    assert_eq!(bound as i64, 77);
    assert!(
        !app.log().contains("nothing changed"),
        "INFO lines are off by now"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_for_a_sink_that_is_not_there_yet_waits_for_a_restart() {
    let github = plain(Provider::Github.secret());
    let app = App::start(&github).await;
    let sink = "[publisher]\nurl = \"file://data/events\"\n[[sink]]\nname = \"new\"\nurl = \"file://data/new\"\n";
    write(&app, &format!("{sink}{github}sinks = [\"new\"]\n"));
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(
        error.contains("config.toml:10:") && error.contains("restart the service"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_in_a_folder_come_and_go_and_their_mistakes_are_told_with_their_file() {
    let github = plain(Provider::Github.secret());
    let app = App::start(&github).await;
    let folder = app.folder().join("sources.d");
    fs::create_dir(&folder).expect("made");
    let shop = github.replace("\"github\"\nprov", "\"shop\"\nprov");
    fs::write(folder.join("shop.toml"), &shop).expect("written");
    fs::write(folder.join(".hidden.toml"), "no TOML").expect("written");
    fs::write(folder.join("notes.txt"), "no TOML").expect("written");
    let printed = hookweir(&app, &["reload"]).good();
    assert!(
        printed.contains("read config.toml, sources.d/shop.toml"),
        "{printed}"
    );
    assert!(
        printed.contains("source.shop: added  (sources.d/shop.toml:2:1)"),
        "{printed}"
    );
    let event = github_event(8);
    let answer = deliver(&app, "shop", &event, Provider::Github.secret()).await;
    assert!(
        matches!(answer, Answer::Taken { new: true, .. }),
        "{answer:?}"
    );

    for (text, mistake) in [
        (
            &*github,
            "sources.d/bad.toml:2:1: source.github.name: another source has this name too (config.toml:2:1)",
        ),
        (
            "[limits]\ndeadline_ms = 2400\n",
            "sources.d/bad.toml:2:1: limits.deadline_ms: a file in sources.d holds [[source]] only",
        ),
        ("[[source]\n", "sources.d/bad.toml:1:"),
        (
            &shop.replace("\"shop\"\nprov", "\"shop2\"\npath = \"shop\"\nprov"),
            "is the path of the source \"shop",
        ),
    ] {
        fs::write(folder.join("bad.toml"), text).expect("written");
        let error = hookweir(&app, &["reload"]).bad(78);
        assert!(error.contains(mistake), "{mistake}: {error}");
    }
    fs::remove_file(folder.join("bad.toml")).expect("removed");
    fs::remove_file(folder.join("shop.toml")).expect("removed");
    let printed = hookweir(&app, &["reload"]).good();
    assert!(printed.contains("source.shop: removed"), "{printed}");
    let answer = deliver(&app, "shop", &event, Provider::Github.secret()).await;
    assert_eq!(answer, Answer::Status(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_sources_whose_disk_is_away_takes_no_source_with_it() {
    let github = plain(Provider::Github.secret());
    let app = App::start(&github).await;
    let (folder, disk) = (app.folder().join("sources.d"), app.folder().join("disk"));
    fs::create_dir(&disk).expect("made");
    fs::write(disk.join("github.toml"), &github).expect("written");
    std::os::unix::fs::symlink(&disk, &folder).expect("linked");
    write(&app, "");
    reload(&app);
    let away = app.folder().join("away");
    fs::rename(&disk, &away).expect("moved");
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(error.contains("cannot read the folder"), "{error}");
    fs::create_dir(&disk).expect("an empty folder to mount on");
    for arguments in [&["reload"][..], &["reload", "--dry-run"]] {
        let error = hookweir(&app, arguments).bad(78);
        assert!(error.contains("no source is left"), "{error}");
    }
    let secret = Provider::Github.secret();
    let answer = deliver(&app, "github", &github_event(12), secret).await;
    assert!(matches!(answer, Answer::Taken { .. }), "{answer:?}");
    fs::remove_dir(&disk).expect("removed");
    fs::rename(&away, &disk).expect("moved back");
    let view = reload(&app);
    assert!(options(&view["changed"]).is_empty(), "{view}");
    let answer = deliver(&app, "github", &github_event(13), secret).await;
    assert!(matches!(answer, Answer::Taken { .. }), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_beside_the_socket_is_told_though_the_service_cannot_be_asked() {
    let github = plain(Provider::Github.secret());
    let mut app = App::start(&github).await;
    write(
        &app,
        &format!("[admin]\nsockt = \"data/own.sock\"\n{github}"),
    );
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(error.contains("admin.sockt"), "{error}");
    app.stop().await;
    let error = hookweir(&app, &["reload"]).bad(78);
    assert!(error.contains("admin.sockt"), "{error}");
    assert!(!error.contains("start the service"), "{error}");
    write(&app, &github);
    let error = hookweir(&app, &["reload"]).bad(69);
    assert!(error.contains("start the service"), "{error}");
}

/// Serves a key set on this machine. Returns its URL, and the number of its answers.
fn key_set() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answers = Arc::new(AtomicUsize::new(0));
    let count = answers.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = BufReader::new(stream.try_clone().expect("a handle")).lines();
            while head
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
            count.fetch_add(1, Ordering::SeqCst);
            let length = keys.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{keys}"
            );
            stream.write_all(answer.as_bytes()).expect("sent");
        }
    });
    (url, answers)
}

/// Number of threads of this name that a service has.
fn threads(app: &App, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", app.pid())).expect("threads");
    // A thread may end while it is looked at.
    let names = tasks.map(|task| fs::read_to_string(task.expect("one").path().join("comm")));
    let names = names.filter_map(Result::ok);
    names.filter(|comm| comm.trim_end() == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_asked_for_its_keys_once_however_often_other_things_are_reloaded() {
    let (url, answers) = key_set();
    let kinde =
        format!("[[source]]\nname = \"kinde\"\nprovider = \"kinde\"\njwks = \"{url}/keys\"\n");
    let github = plain(Provider::Github.secret());
    let app = App::start(&format!("{kinde}{github}")).await;
    logs(&app, "key set fetched").await;
    for round in 0..20 {
        let limits = format!("[limits]\ndeadline_ms = {}\n", 2400 + round);
        let secret = format!("whsec_of_the_round_with_the_number_{round}");
        write(&app, &format!("{limits}{kinde}{}", plain(&secret)));
        let changed = reload(&app);
        let options = options(&changed["changed"]);
        assert_eq!(options, ["limits.deadline_ms", "source.github.secrets"]);
    }
    assert_eq!(threads(&app, "key-set"), 1);
    assert_eq!(answers.load(Ordering::SeqCst), 1);
    write(
        &app,
        &format!("{}{github}", kinde.replace("/keys", "/others")),
    );
    reload(&app);
    let since = Instant::now();
    while answers.load(Ordering::SeqCst) < 2 || threads(&app, "key-set") > 1 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_shows_which_secret_verifies_and_warns_while_only_the_old_one_does() {
    let old = Provider::Github.secret();
    let app = App::start(&plain(old)).await;
    let mut rng = Rng::with_seed(9);
    deliver(&app, "github", &github(&mut rng), old).await;
    fs::write(app.folder().join("new"), OTHER).expect("written");
    let rotating = format!(
        "{}retiring_secrets = [\"plain:{old}\"]\n",
        source("\"file:new\"")
    );
    write(&app, &rotating);
    reload(&app);
    let answer = deliver(&app, "github", &github(&mut rng), old).await;
    assert!(matches!(answer, Answer::Taken { .. }), "{answer:?}");
    logs(&app, "signed with the retiring secret").await;

    let shown = |app: &App| -> Value {
        let printed = hookweir(app, &["sources", "github", "--json"]).good();
        let list: Value = serde_json::from_str(&printed).expect("JSON");
        list["sources"][0].clone()
    };
    let view = shown(&app);
    let secrets = view["secrets"].as_array().expect("secrets");
    assert_eq!(secrets[0]["secret"], "file:new", "{view}");
    assert!(secrets[0]["last_verified"].is_null(), "{view}");
    assert_eq!(secrets[1]["retiring"], true, "{view}");
    assert!(secrets[1]["last_verified"].is_string(), "{view}");
    assert!(
        view["warning"]
            .as_str()
            .is_some_and(|text| text.contains("only a retiring secret")),
        "{view}"
    );
    let answer = hookweir(&app, &["sources", "github"]);
    assert!(
        answer.err.contains("only a retiring secret"),
        "{}",
        answer.err
    );
    assert!(answer.good().contains("retiring, and in use within 3 days"));

    let answer = deliver(&app, "github", &github(&mut rng), OTHER).await;
    assert!(matches!(answer, Answer::Taken { .. }), "{answer:?}");
    let view = shown(&app);
    assert!(view["warning"].is_null(), "{view}");
    let metrics = app.metrics().await;
    let verified = |secret: &str| metrics.sum("hookweir_secret_verified_total", &[secret]);
    assert_eq!(verified("secret=\"file:new\""), 1);
    assert_eq!(verified("secret=\"secret 2\""), 1);
    for secret in [old, OTHER] {
        assert!(!view.to_string().contains(secret) && !app.log().contains(secret));
    }
}
