//! The host under the service: its clock, and the file of the spool.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Row;
use crate::scene::{Felt, Scene, Setup};
use crate::verdict::Figures;
use crate::world::blocking;
use hookweir_testkit::load::client;
use hookweir_testkit::provider::Provider;

pub const ROWS: &[Row] = &[
    Row::new(
        "clock-ahead-pg",
        "PostgreSQL's clock is 2 h, then 400 days ahead; the service is killed, the clock set right (what was stored is moved ahead by SQL)",
        |scene| Box::pin(clock_ahead(scene)),
        Figures::DOWN,
    ),
    Row::new(
        "clock-ahead-host",
        "PostgreSQL is stopped, the host's clock is 2 h, then 400 days ahead, and is set right",
        |scene| Box::pin(host_clock_ahead(scene)),
        Figures::DOWN,
    )
    .felt(Felt::Counter("hookweir_spooled_total", &[], 100))
    .with(without_times),
    Row::new(
        "clock-ahead-sqlite",
        "the store is SQLite, the host's clock is 2 h, then 400 days ahead; the service is killed, the clock set right",
        |scene| Box::pin(sqlite_clock_ahead(scene)),
        Figures::DOWN,
    )
    .with(|setup| {
        without_times(setup);
        setup.sqlite = true;
    }),
    Row::new(
        "spool-garbage",
        "the spool's file is garbage at a start: all of it, then all but its first page",
        |scene| Box::pin(spool_garbage(scene)),
        Figures::DOWN,
    )
    .felt(Felt::Counter("hookweir_spooled_total", &[], 50)),
];

/// Signatures with a time are refused by a clock that is off.
fn without_times(setup: &mut Setup) {
    setup.providers = vec![Provider::Github, Provider::Shopify];
}

const HOUR: i64 = 3_600_000;
const AHEAD: [i64; 2] = [2 * HOUR, 400 * 24 * HOUR];

/// Sets the clock of the service, until its process ends.
pub async fn set_clock(scene: &Scene<'_>, ahead: i64) {
    let answer = client()
        .post(format!(
            "http://{}/control/clock/{ahead}",
            scene.apps[0].admin
        ))
        .send()
        .await
        .expect("the admin port answers");
    assert!(
        answer.status().is_success(),
        "a build without the feature failpoints has no clock to set"
    );
}

/// What was stored while the clock was ahead lies in the future once it is right: rows, leases and keys.
async fn clock_ahead(scene: &mut Scene<'_>) {
    for hours in [2, 400 * 24] {
        scene
            .fault(async |scene| {
                blocking(|| scene.servers.rabbitmq.pause());
                scene.wait(1000..1500).await;
                scene.kill(0);
                let ahead = format!("interval '{hours} hours'");
                for moved in [
                    format!("update outbox set due_at = due_at + {ahead}, since = since + {ahead}"),
                    format!("update instance set alive_until = alive_until + {ahead}"),
                    format!("update dedup set expires_at = expires_at + {ahead} where seq in (select seq from outbox)"),
                ] {
                    blocking(|| scene.place.execute(&moved));
                }
                let waiting = scene.place.number("select count(*) as value from outbox");
                scene.demand("felt: rows wait", waiting > 0, waiting.to_string());
                scene.apps[0].start_again().await;
                blocking(|| scene.servers.rabbitmq.resume());
            })
            .await;
        scene.recovered().await;
        if is_stranded(scene) {
            return;
        }
    }
}

/// What waited did not go away: no need to wait for more of it.
fn is_stranded(scene: &Scene<'_>) -> bool {
    let last = scene.windows.last();
    last.is_some_and(|window| window.drained >= scene.patience)
}

/// The spool has events from before, takes events meanwhile, and is drained by a clock that is right again.
async fn host_clock_ahead(scene: &mut Scene<'_>) {
    for ahead in AHEAD {
        scene
            .fault(async |scene| {
                blocking(|| scene.servers.postgres.stop());
                scene.wait(800..1200).await;
                set_clock(scene, ahead).await;
                // Answers that are under way are not counted.
                scene.wait(300..400).await;
                let more = taken_meanwhile(scene).await;
                scene.demand(
                    "takes events in an outage with its clock ahead",
                    more > ENOUGH,
                    more.to_string(),
                );
                // By a restart, as after a long sleep of the machine, or while it runs.
                if ahead == AHEAD[0] {
                    scene.kill(0);
                    scene.apps[0].start_again().await;
                } else {
                    set_clock(scene, 0).await;
                }
                blocking(|| scene.servers.postgres.start());
                scene.apps[0].ready().await;
            })
            .await;
        scene.recovered().await;
        scene.wait(200..1000).await;
    }
}

/// Events that show that a service takes any.
const ENOUGH: usize = 50;

/// Returns the number of events that are taken in a while. Where [`ENOUGH`] take longer than 2 s, it waits for 15 s at most.
async fn taken_meanwhile(scene: &mut Scene<'_>) -> usize {
    let (taken, since) = (scene.load().taken(), Instant::now());
    scene.wait(1500..2000).await;
    while scene.load().taken() - taken <= ENOUGH && since.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.load().taken() - taken
}

async fn sqlite_clock_ahead(scene: &mut Scene<'_>) {
    for ahead in AHEAD {
        scene
            .fault(async |scene| {
                blocking(|| scene.servers.rabbitmq.pause());
                set_clock(scene, ahead).await;
                scene.wait(1000..1500).await;
                scene.kill(0);
                let waiting = scene.place.waiting(i64::MAX);
                scene.demand("felt: rows wait", waiting > 0, waiting.to_string());
                scene.apps[0].start_again().await;
                blocking(|| scene.servers.rabbitmq.resume());
                scene.apps[0].ready().await;
            })
            .await;
        scene.recovered().await;
        if is_stranded(scene) {
            return;
        }
    }
}

/// The spool is empty when it breaks. It is needed right after the start that finds it so.
async fn spool_garbage(scene: &mut Scene<'_>) {
    let file = scene.apps[0].folder().join("data/spool.db");
    for kept in [0, 4096] {
        scene
            .fault(async |scene| {
                scene.weigh(0);
                scene.apps[0].stop().await;
                let before = aside(&file).len();
                blocking(|| spoil(&file, kept));
                scene.apps[0].start_again().await;
                scene.apps[0].ready().await;
                let health = scene.apps[0].health().await;
                scene.demand(
                    "is degraded with a broken spool",
                    health.contains("degraded") && health.contains("spool"),
                    health,
                );
                let set_aside = aside(&file).len() - before;
                scene.demand(
                    "sets the broken spool aside",
                    set_aside == 1,
                    format!("{set_aside} of 1"),
                );
                blocking(|| scene.servers.postgres.stop());
                let more = taken_meanwhile(scene).await;
                scene.demand(
                    "takes events into the new spool",
                    more > ENOUGH,
                    more.to_string(),
                );
                blocking(|| scene.servers.postgres.start());
            })
            .await;
        scene.recovered().await;
        scene.wait(200..1000).await;
    }
}

/// Broken files beside the spool, without what SQLite keeps beside them.
fn aside(file: &std::path::Path) -> Vec<PathBuf> {
    let folder = file.parent().expect("a folder");
    let entries = fs::read_dir(folder).expect("it is there");
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.contains(".broken-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .collect()
}

/// Overwrites the file but for its first bytes.
fn spoil(file: &std::path::Path, kept: usize) {
    let mut content = fs::read(file).expect("a spool");
    content[kept..].fill(b'?');
    fs::write(file, content).expect("written");
}
