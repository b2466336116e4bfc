//! PostgreSQL is there, and the spool cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{mode, says};
use hookweir_testkit::app::{App, Launch, five_sources};
use hookweir_testkit::disk::SmallDisk;
use hookweir_testkit::load::Load;
use hookweir_testkit::servers::Server;

fn config(postgres: &str, spool: &Path, options: &str) -> String {
    format!(
        "[store]\nurl = \"{postgres}\"\nlease_secs = 5\n{options}\n[spool]\npath = \"{}\"\n{}",
        spool.display(),
        five_sources()
    )
}

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// With the store away, what comes now is taken by the spool.
async fn is_in_use(app: &App, database: &mut Server, seed: u64) {
    blocking(|| database.stop());
    Load {
        seed,
        forged: 0,
        ..Load::on(&[app.listen])
    }
    .send(10)
    .await
    .check();
    let spooled = app.metrics().await.get("hookweir_spooled_total");
    blocking(|| database.start());
    assert!(spooled > 0.0, "{}", app.log());
    app.drained().await;
}

fn broken_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.to_string_lossy().contains(".broken-"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_garbage_spool_is_set_aside_and_the_service_starts() {
    let mut database = blocking(Server::postgres);
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().join("spool.db");
    fs::write(&spool, "garbage of some length, and no database").expect("written");
    fs::write(folder.path().join("spool.db-wal"), "its log").expect("written");
    let app = App::start(&config(&database.url, &spool, "")).await;
    let health = says(&app, &["degraded", "broken-", "set aside"]).await;
    let mut aside = broken_files(folder.path());
    aside.sort();
    assert_eq!(aside.len(), 2, "{aside:?}");
    assert!(
        fs::read_to_string(&aside[0])
            .expect("it is there")
            .starts_with("garbage")
            && aside[1].to_string_lossy().ends_with("-wal")
    );
    assert!(app.log().contains("ERROR"), "{}", app.log());
    assert_eq!(mode(&spool), 0o600, "{health}");
    is_in_use(&app, &mut database, 1).await;
    aside
        .iter()
        .for_each(|path| fs::remove_file(path).expect("removed"));
    app.until_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_the_place_of_the_spool_is_waited_out() {
    let mut database = blocking(Server::postgres);
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().join("spool.db");
    fs::create_dir(&spool).expect("a folder");
    let app = App::start(&config(&database.url, &spool, "")).await;
    says(&app, &["degraded", "the spool cannot be used", "no file"]).await;
    Load::on(&[app.listen]).send(20).await.check_faultless();
    fs::remove_dir(&spool).expect("removed");
    app.until_healthy().await;
    is_in_use(&app, &mut database, 2).await;
    assert!(broken_files(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_deleted_while_in_use_is_begun_anew() {
    let mut database = blocking(Server::postgres);
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().join("deep/spool.db");
    let app = App::start(&config(&database.url, &spool, "")).await;
    app.until_healthy().await;
    fs::remove_dir_all(folder.path().join("deep")).expect("removed");
    let since = std::time::Instant::now();
    while !spool.exists() {
        assert!(
            since.elapsed() < std::time::Duration::from_secs(30),
            "{}",
            app.health().await
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    app.until_healthy().await;
    is_in_use(&app, &mut database, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_in_memory_is_not_used_and_the_service_says_so() {
    let database = blocking(Server::postgres);
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let spool = memory.path().join("spool.db");
    let app = App::start(&config(&database.url, &spool, "")).await;
    says(&app, &["degraded", "the spool cannot be used", "tmpfs"]).await;
    assert!(!spool.exists());
    Load::on(&[app.listen]).send(20).await.check_faultless();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_on_a_full_disk_is_used_once_there_is_room() {
    let Some(disk) = SmallDisk::mount(4096) else {
        return;
    };
    let mut database = blocking(Server::postgres);
    let spool = disk.path().join("spool.db");
    disk.fill();
    let app = App::start(&config(
        &database.url,
        &spool,
        "allow_unsafe_durability = true",
    ))
    .await;
    says(&app, &["degraded", "the spool cannot be used"]).await;
    Load::on(&[app.listen]).send(20).await.check_faultless();
    disk.free();
    app.until_healthy().await;
    is_in_use(&app, &mut database, 4).await;
    assert!(broken_files(disk.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_spool_keeps_what_it_holds_and_drains_once_it_can() {
    let Some(disk) = SmallDisk::mount(8192) else {
        return;
    };
    let remount = |how: &str| {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(disk.path())
            .status();
        assert!(done.is_ok_and(|status| status.success()), "remount,{how}");
    };
    let mut database = blocking(Server::postgres);
    let spool = disk.path().join("spool.db");
    let config = config(&database.url, &spool, "allow_unsafe_durability = true");
    let mut app = App::start(&config).await;
    blocking(|| database.stop());
    let ledger = Load {
        forged: 0,
        ..Load::on(&[app.listen])
    }
    .send(20)
    .await;
    ledger.check();
    // It is to keep them: the store comes back only after the end.
    app.stop().await;
    remount("ro");
    blocking(|| database.start());
    app.start_again().await;
    app.ready().await;
    says(&app, &["degraded", "the spool cannot be used"]).await;
    Load {
        seed: 2,
        ..Load::on(&[app.listen])
    }
    .send(20)
    .await
    .check_faultless();
    remount("rw");
    app.until_healthy().await;
    assert!(
        app.metrics().await.get("hookweir_drained_total") >= ledger.genuine().count() as f64,
        "{}",
        app.log()
    );
}

/// Only root can start a process as somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_spool_of_another_owner_stays_as_it_is_and_is_used_once_it_is_ours() {
    const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let program = env!("CARGO_BIN_EXE_hookweir");
    let may = Command::new("bash")
        .args(["-c", &format!("{NOBODY} test -x {program}")])
        .status();
    if !may.is_ok_and(|status| status.success()) {
        return;
    }
    let mut database = blocking(Server::postgres);
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("set");
    let spool = folder.path().join("spool.db");
    fs::write(&spool, "").expect("written");
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o600)).expect("set");
    let launch = Launch {
        // Its own folder is root's.
        before: Some(format!(
            "chmod 755 . && install -d -o 65534 data && exec {NOBODY} \"$0\" \"$@\""
        )),
        ..Launch::default()
    };
    let app = App::launch_as(&config(&database.url, &spool, ""), launch).await;
    app.ready().await;
    let why = "Permission denied (os error 13); its owner is user 0 and its permissions are 600";
    says(&app, &["degraded", "the spool cannot be used", why]).await;
    Load::on(&[app.listen]).send(20).await.check_faultless();
    assert!(broken_files(folder.path()).is_empty(), "it may be whole");
    std::os::unix::fs::chown(&spool, Some(65534), Some(65534)).expect("root may");
    app.until_healthy().await;
    is_in_use(&app, &mut database, 5).await;
}
