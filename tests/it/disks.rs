//! The operator's disks: a second process on the same file, a file that is deleted while in use, permissions, memory in a disk's place, and
//! a spool that cannot be used at start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::load::Load;
use hookweir_testkit::oracle::Account;
use hookweir_testkit::sink::{files, files_hold};

use crate::signals::logs;

mod clocks;
mod with_servers;

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o7777
}

/// The program, run to its end in `folder` with these arguments, and with the umask that most have.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("bash")
        .args([
            "-c",
            "umask 022; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_hookweir"),
        ])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Waits until `/readyz` says this.
async fn says(app: &App, wanted: &[&str]) -> String {
    let since = Instant::now();
    loop {
        let health = app.health().await;
        if wanted.iter().all(|word| health.contains(word)) {
            return health;
        }
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "not {wanted:?} after a minute: {health}\n{}",
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_orderly_stop_the_db_alone_is_the_whole_database() {
    let mut app = App::start(&format!(
        "[publisher]\nurl = \"amqp://127.0.0.1:9\"\n{}",
        five_sources()
    ))
    .await;
    let ledger = Load::on(&[app.listen]).send(300).await;
    ledger.check_faultless();
    assert!(app.stop().await.success(), "{}", app.log());
    let copy = tempfile::tempdir().expect("a folder");
    fs::copy(
        app.folder().join("data/hookweir.db"),
        copy.path().join("hookweir.db"),
    )
    .expect("copied");
    // The copy goes on by itself, with nothing beside it.
    let config = format!(
        "[store]\nurl = \"sqlite://{}\"\n{}",
        copy.path().join("hookweir.db").display(),
        five_sources()
    );
    let mut restored = App::start(&config).await;
    files_hold(&restored.events(), ledger.genuine().count()).await;
    restored.stop().await;
    Account::of(&ledger, &files(&restored.events())).check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_sqlite_file_is_refused_with_words() {
    let mut app = App::start(&five_sources()).await;
    let other = [
        "--set",
        "server.listen=127.0.0.1:0",
        "--set",
        "server.admin_listen=127.0.0.1:0",
        "--set",
        "publisher.url=file://other",
    ];
    let refused = run(
        app.folder(),
        &[&["serve", "--config", "config.toml"][..], &other].concat(),
    );
    assert_eq!(refused.status.code(), Some(75), "{}", words(&refused));
    let said = words(&refused);
    assert!(
        said.contains("another process")
            && said.contains(&app.pid().to_string())
            && said.contains("hookweir.db"),
        "{said}"
    );
    // What is no service works beside it.
    for command in [&["check"][..], &["migrate"], &["learned"]] {
        let done = run(
            app.folder(),
            &[command, &["--config", "config.toml"]].concat(),
        );
        assert!(done.status.success(), "{command:?}: {}", words(&done));
    }
    app.ready().await;
    // The kernel frees the file of one that was killed.
    app.kill();
    app.start_again().await;
    app.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_deleted_while_in_use_is_noticed() {
    for what in ["data", "data/hookweir.db", "data/hookweir.db-wal"] {
        let mut app = App::start(&five_sources()).await;
        Load::on(&[app.listen]).send(20).await.check_faultless();
        let path = app.folder().join(what);
        if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        }
        .expect("removed");
        let since = Instant::now();
        let ledger = Load {
            seed: 2,
            patience: Duration::from_millis(300),
            forged: 0,
            ..Load::on(&[app.listen])
        }
        .send(5)
        .await;
        let answers = ledger.answers(false);
        assert!(
            answers.keys().all(|label| label.starts_with("503")),
            "{what}: {answers:?}"
        );
        let why = app.not_ready().await;
        assert!(
            why.contains("deleted") && why.contains("restart"),
            "{what}: {why}"
        );
        assert!(since.elapsed() < Duration::from_secs(60), "{what}");
        app.stop().await;
        app.start_again().await;
        app.ready().await;
        Load {
            seed: 3,
            ..Load::on(&[app.listen])
        }
        .send(5)
        .await
        .check();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_folder_that_is_deleted_while_in_use_is_made_again_and_nothing_is_lost() {
    let mut app = App::start(&five_sources()).await;
    Load::on(&[app.listen]).send(20).await.check_faultless();
    app.drained().await;
    let before = files(&app.events());
    fs::remove_dir_all(app.events()).expect("removed");
    let ledger = Load {
        seed: 2,
        ..Load::on(&[app.listen])
    }
    .send(50)
    .await;
    ledger.check_faultless();
    files_hold(&app.events(), ledger.genuine().count()).await;
    app.drained().await;
    app.stop().await;
    // Of what was in the deleted folder copies may be there.
    let mut after = files(&app.events());
    after.retain(|message| !before.iter().any(|old| old.id == message.id));
    Account::of(&ledger, &after).check();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_every_file_of_the_event_folder_finds_events_only() {
    let mut app = App::start(&five_sources()).await;
    let ledger = Load::on(&[app.listen]).send(20).await;
    app.drained().await;
    app.stop().await;
    // Of an earlier release.
    fs::write(app.events().join(".lock"), "pid 17\n").expect("written");
    app.start_again().await;
    app.ready().await;
    app.until_healthy().await;
    let entries = fs::read_dir(app.events()).expect("a folder");
    let files = entries.map(|entry| fs::read_to_string(entry.expect("an entry").path()));
    let content = files
        .collect::<Result<String, _>>()
        .expect("the file sink writes text");
    assert_eq!(
        content.lines().count(),
        ledger.genuine().count(),
        "{content}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_read_bodies_or_secrets_whatever_the_umask() {
    let mut app = App::start(&five_sources()).await;
    Load::on(&[app.listen]).send(20).await.check_faultless();
    app.drained().await;
    let data = app.folder().join("data");
    assert_eq!((mode(&data), mode(&app.events())), (0o700, 0o700));
    for folder in [&data, &app.events()] {
        for entry in fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_file())
        {
            assert_eq!(mode(&entry), 0o600, "{}", entry.display());
        }
    }
    app.stop().await;
    // Of an earlier release.
    fs::set_permissions(data.join("hookweir.db"), fs::Permissions::from_mode(0o644)).expect("set");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("set");
    app.start_again().await;
    app.ready().await;
    assert_eq!(
        (mode(&data.join("hookweir.db")), mode(&data)),
        (0o600, 0o755),
        "the file is tightened, the folder may be others' too"
    );
    logs(&app, "hookweir.db: its permissions were 644").await;
    logs(&app, "chmod 700").await;
}

#[test]
fn memory_in_the_place_of_a_disk_is_refused_and_check_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let database = format!("store.url=sqlite://{}/a.db", memory.path().display());
    let events = format!("publisher.url=file://{}/events", memory.path().display());
    let listen = [
        "--set",
        "server.listen=127.0.0.1:0",
        "--set",
        "server.admin_listen=127.0.0.1:0",
    ];
    for place in [&database, &events] {
        for command in ["check", "serve"] {
            let refused = run(
                folder.path(),
                &[&[command, "--set", place][..], &listen].concat(),
            );
            assert_eq!(
                refused.status.code(),
                Some(78),
                "{command} {place}: {}",
                words(&refused)
            );
            let said = words(&refused);
            assert!(
                said.contains("tmpfs") && said.contains("allow_unsafe_durability"),
                "{said}"
            );
        }
    }
    let both = [
        "--set",
        &database,
        "--set",
        &events,
        "--set",
        "store.allow_unsafe_durability=true",
    ];
    let allowed = run(folder.path(), &[&["check"][..], &both, &listen].concat());
    assert!(allowed.status.success(), "{}", words(&allowed));
}

#[test]
fn check_names_the_file_systems_that_everything_lies_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let spool = format!("spool.path={}/spool.db", memory.path().display());
    let config = [
        "check",
        "--offline",
        "--set",
        "store.url=postgres://nobody@127.0.0.1:9/none",
        "--set",
        "publisher.url=amqp://127.0.0.1:9",
        "--set",
        &spool,
    ];
    let checked = run(folder.path(), &config);
    assert!(checked.status.success(), "{}", words(&checked));
    let line = format!(
        "disks          the spool {}/spool.db on tmpfs (memory)\n",
        memory.path().display()
    );
    assert!(words(&checked).contains(&line), "{}", words(&checked));
    // Of what is refused, too.
    let database = format!("store.url=sqlite://{}/a.db", memory.path().display());
    let checked = run(folder.path(), &["check", "--offline", "--set", &database]);
    let said = words(&checked);
    assert!(
        said.contains("the database ")
            && said.contains("a.db on tmpfs (memory); the event folder "),
        "{said}"
    );
}

/// In a mount namespace of its own, which only root may make.
#[test]
fn a_container_s_own_layer_is_warned_of_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    // An upper layer cannot lie on an overlay, which this disk may be.
    let in_a_container = "mount -t tmpfs none . && cd . && mkdir lower upper work layer \
        && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work layer || exit 99
        cd layer && exec \"$0\" check --set spool.path=";
    let checked = Command::new("unshare")
        .args(["--mount", "bash", "-c", in_a_container])
        .arg(env!("CARGO_BIN_EXE_hookweir"))
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    let Ok(checked) = checked else {
        return;
    };
    let said = words(&checked);
    if checked.status.code() == Some(99) || said.starts_with("unshare:") {
        return;
    }
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains("on overlayfs (gone with the container)")
            && said.contains("store.url: the database ")
            && said.contains("Mount a volume there"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garbage_store_file_is_refused_loudly_and_stays_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    fs::write(&path, "this is no database, it only looks like a file").expect("written");
    let app = App::launch(&format!(
        "[store]\nurl = \"sqlite://{}\"\n{}",
        path.display(),
        five_sources()
    ))
    .await;
    let why = says(&app, &["not a SQLite database"]).await;
    assert!(
        why.contains("backup") && why.contains("move it away"),
        "{why}"
    );
    let ledger = Load {
        patience: Duration::from_millis(300),
        forged: 0,
        ..Load::on(&[app.listen])
    }
    .send(5)
    .await;
    assert!(
        ledger
            .answers(false)
            .keys()
            .all(|label| label.starts_with("503")),
        "{:?}",
        ledger.answers(false)
    );
    assert!(
        fs::read_to_string(&path)
            .expect("it is there")
            .starts_with("this is no database")
    );
    // Mended by the operator, without a restart.
    fs::remove_file(&path).expect("removed");
    app.ready().await;
    Load::on(&[app.listen]).send(5).await.check();
}
