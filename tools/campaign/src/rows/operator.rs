//! Work of an operator under load: reloads, a backup and its way back, a move, and a retention that falls behind.

use std::ops::Range;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Row;
use crate::scene::{Scene, Setup};
use crate::verdict::Figures;
use crate::world::blocking;
use hookweir_testkit::provider::Provider;

pub const ROWS: &[Row] = &[
    Row::new(
        "reloads",
        "the configuration is reloaded 60 times, each third time with a mistake",
        |scene| Box::pin(reloads(scene)),
        Figures::UNHARMED,
    ),
    Row::new(
        "backup-restore",
        "a backup under load, the store is lost, restored, and everything sent again",
        |scene| Box::pin(backup_restore(scene)),
        // What came after the backup is new to the store that came back.
        Figures {
            accepted_twice: true,
            ..Figures::DOWN
        },
    )
    .with(|setup| setup.redeliver_all = true),
    Row::new(
        "move-killed",
        "SQLite is moved to PostgreSQL, and command and service are killed (-9) meanwhile",
        |scene| Box::pin(move_killed(scene)),
        Figures::DOWN,
    )
    .with(|setup| setup.sqlite = true),
    Row::new(
        "retention-slow",
        "old events are deleted more slowly than new ones come",
        |scene| Box::pin(retention_slow(scene)),
        Figures::UNHARMED,
    )
    .with(|setup| {
        setup.without_spool();
        setup.activated = true;
        setup.set("store.keep_events_days", 0);
        setup.set("store.prune_interval_secs", 2);
        setup.set("store.prune_rows", 1);
    }),
];

/// Exit code of a command of the program, and what it said.
type Ended = (Option<i32>, String);

/// A command of the program, in the folder of an instance and with its configuration.
fn command(scene: &Scene<'_>, args: &[&str]) -> Command {
    let mut command = Command::new(hookweir_testkit::program());
    command
        .args(args)
        .args(["--config", "config.toml"])
        .current_dir(scene.apps[0].folder())
        .stdin(Stdio::null());
    command
}

/// Runs a command of the program to its end.
fn run(scene: &Scene<'_>, args: &[&str]) -> Ended {
    let output = blocking(|| command(scene, args).output()).expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs a command that has to do what it is asked to.
fn run_well(scene: &mut Scene<'_>, args: &[&str]) {
    let (code, said) = run(scene, args);
    let what = format!("hookweir {} succeeds", args[0]);
    scene.demand(what, code == Some(0), format!("{code:?} {said}"));
}

fn config(scene: &Scene<'_>) -> String {
    std::fs::read_to_string(scene.apps[0].folder().join("config.toml")).expect("readable")
}

fn configure(scene: &Scene<'_>, text: &str) {
    std::fs::write(scene.apps[0].folder().join("config.toml"), text).expect("written");
}

/// The secret of a rotation that has begun.
const NEW_SECRET: &str = "\"plain:a new secret of github\"";

/// A change, a mistake, and the way back, again and again. The mistake of the control is a secret that is left out.
async fn reloads(scene: &mut Scene<'_>) {
    let first = config(scene);
    let secret = format!("\"plain:{}\"", Provider::Github.secret());
    let rotated = match scene.careless {
        false => format!("{NEW_SECRET}, {secret}"),
        true => NEW_SECRET.to_owned(),
    };
    let changed = first.replace(&secret, &rotated);
    let mistaken = format!("{first}\n[limts]\nx = 1\n");
    let (mut wrong, mut said) = (0, String::new());
    for text in [&changed, &mistaken, &first].into_iter().cycle().take(60) {
        configure(scene, text);
        let (code, words) = run(scene, &["reload"]);
        if (code == Some(0)) == std::ptr::eq(text, &mistaken) {
            (wrong, said) = (wrong + 1, words);
        }
        scene.wait(40..120).await;
    }
    scene.demand(
        "each reload succeeds, and fails with a mistake",
        wrong == 0,
        format!("{wrong} do not: {said}"),
    );
    let counts = scene.apps[0].metrics().await;
    let at = counts.get("hookweir_config_last_reload_successful");
    scene.demand(
        "the last configuration is in force",
        at == 1.0,
        at.to_string(),
    );
}

/// The load sends each event once more at its end: what came after the backup is known to nobody else.
async fn backup_restore(scene: &mut Scene<'_>) {
    scene.calm().await;
    scene
        .fault(async |scene| {
            run_well(scene, &["backup", "backup.db"]);
            // Events that neither the backup nor the queue has.
            blocking(|| scene.servers.rabbitmq.pause());
            scene.load().until_taken(200).await;
            scene.kill(0);
            blocking(|| scene.servers.rabbitmq.resume());
            let gone = format!("drop schema {} cascade", scene.place.schema);
            scene.place.execute(&gone);
            run_well(scene, &["restore", "backup.db"]);
            scene.place.is_restored = true;
            scene.apps[0].start_again().await;
            scene.apps[0].ready().await;
        })
        .await;
    let events = scene.place.newest();
    scene.demand(
        "felt: the store has the events of the backup",
        events > 100,
        events.to_string(),
    );
}

/// Kills the command, or the service, at any time of the move; then lets the move end. The mistake of the control is to start with
/// the new store without one.
async fn move_killed(scene: &mut Scene<'_>) {
    let (to, schema) = (scene.place.postgres.clone(), scene.place.schema.clone());
    let args = ["move", "--to", to.as_str(), "--schema", schema.as_str()];
    let mut killed = 0;
    scene
        .fault(async |scene| {
            for is_command in [true, false, true, false, true] {
                if scene.careless {
                    break;
                }
                let mut child = command(scene, &args)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("the program runs");
                scene.wait(50..700).await;
                if is_command {
                    // None: it has ended before.
                    killed += usize::from(child.try_wait().expect("asked").is_none());
                    child.kill().expect("killed");
                } else {
                    scene.kill(0);
                    scene.apps[0].start_again().await;
                }
                blocking(|| child.wait()).expect("it has ended");
            }
            if !scene.careless {
                run_well(scene, &args);
            }
            let store = format!("store.url = \"{to}\"\nstore.schema = \"{schema}\"");
            let text = config(scene);
            let moved = text.replace("store.url = \"sqlite://data/hookweir.db\"", &store);
            assert_ne!(text, moved, "the configuration names the file");
            configure(scene, &moved);
            scene.kill(0);
            scene.apps[0].start_again().await;
            scene.apps[0].ready().await;
            scene.place.sqlite = None;
        })
        .await;
    scene.demand(
        "felt: a command is killed before its end",
        killed > 0,
        format!("{killed} are"),
    );
    scene.calm().await;
}

/// Rows of confirms that are older than the interval of deletion.
const OLD: &str = "select count(*) as value from published where at < now() - interval '6 seconds'";

/// Time that the oldest events are kept too long by, until the row goes on.
const BEHIND: Range<u64> = 14_000..15_000;

/// Deletes a row at a time, and then as many as by default. The mistake of the control is to leave it at that.
async fn retention_slow(scene: &mut Scene<'_>) {
    scene.wait(BEHIND).await;
    let old = scene.place.number(OLD);
    scene.demand("felt: old events are left", old > 100, old.to_string());
    restart(scene).await;
    let overdue = overdue(scene).await;
    scene.demand(
        "hookweir_prune_overdue_seconds says so",
        overdue >= OVERDUE,
        overdue.to_string(),
    );
    if !scene.careless {
        let text = config(scene);
        let faster = text.replace("store.prune_rows = 1\n", "store.prune_rows = 5000\n");
        assert_ne!(text, faster, "the configuration has the option");
        configure(scene, &faster);
    }
    restart(scene).await;
    // The mistake shows at once.
    let patience = Duration::from_secs(if scene.careless { 20 } else { 60 });
    let since = Instant::now();
    let mut old = scene.place.number(OLD);
    while old > 0 && since.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(200)).await;
        old = scene.place.number(OLD);
    }
    scene.demand(
        "old events are gone once more are deleted at a time",
        old == 0,
        format!("{old} are left"),
    );
}

/// Seconds from which on events count as kept too long.
const OVERDUE: f64 = 2.0;

/// Returns the seconds by which events are kept too long, by the service's own measure. Waits for [`OVERDUE`], for 30 s at most.
async fn overdue(scene: &Scene<'_>) -> f64 {
    let since = Instant::now();
    loop {
        let metrics = scene.apps[0].metrics().await;
        let overdue = metrics.get("hookweir_prune_overdue_seconds");
        if overdue >= OVERDUE || since.elapsed() > Duration::from_secs(30) {
            return overdue;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Restarts the service on the held socket.
async fn restart(scene: &mut Scene<'_>) {
    scene.weigh(0);
    let status = scene.apps[0].stop().await;
    scene.demand("stops in order", status.success(), status.to_string());
    scene.apps[0].start_again().await;
    scene.apps[0].ready().await;
}

/// Lets the operator of a row make the mistake of its control, or a row bring out that of the program.
pub fn careless(setup: &mut Setup) {
    setup.careless = true;
}
