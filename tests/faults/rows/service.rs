//! The service itself: nothing breaks, it dies, it forgets; two of them get in each other's way.

use std::time::Duration;

use super::Row;
use crate::oracle::Figures;
use crate::scene::Scene;
use crate::support::load::client;
use crate::support::proxy::Line;

pub const ROWS: &[Row] = &[
    Row::new("calm", "nothing breaks", |scene| Box::pin(none(scene)), Figures::UNHARMED),
    Row::new("kill", "the service is killed (-9) every 0.2-2 s, and started again", |scene| Box::pin(kill(scene)), Figures::DOWN),
    Row::new("cache-off", "no cache of recent keys", |scene| Box::pin(none(scene)), Figures::UNHARMED)
        .with(|setup| setup.set("dedup.cache_entries", 0)),
    Row::new("cache-one", "a cache of one key", |scene| Box::pin(none(scene)), Figures::UNHARMED)
        .with(|setup| setup.set("dedup.cache_entries", 1)),
    Row::new("cache-wiped", "a cache that forgets everything 20 times a second", |scene| Box::pin(wiped(scene)), Figures::UNHARMED),
    Row::new("panic", "an actor panics", |scene| Box::pin(panic(scene)), Figures::DOWN)
        .with(|setup| setup.environment.push(("FAILPOINTS", "dedup_committed=100*off->panic".into()))),
    Row::new("race", "two instances get every delivery at the same time", |scene| Box::pin(none(scene)), Figures::UNHARMED)
        .with(|setup| (setup.instances, setup.everywhere) = (2, true)),
    Row::new("two-kill", "two instances, one of them killed again and again", |scene| Box::pin(kill(scene)), Figures::DOWN)
        .with(|setup| setup.instances = 2),
    Row::new(
        "two-frozen",
        "two instances, one frozen (SIGSTOP) for longer than its lease",
        |scene| Box::pin(frozen(scene)),
        Figures { in_time: false, ..Figures::DOWN },
    )
    .with(|setup| setup.instances = 2),
    Row::new(
        "two-cut-off",
        "two instances, one cut off from PostgreSQL",
        |scene| Box::pin(cut_off(scene)),
        Figures { accepted_twice: true, ..Figures::HARDLY },
    )
    // Of two bodies under one id, the one that reaches PostgreSQL first goes to the queue: not that of the spool.
    .with(|setup| (setup.instances, setup.proxy_postgres, setup.other_body) = (2, true, 0)),
];

async fn none(scene: &mut Scene<'_>) {
    scene.calm().await;
    scene.calm().await;
}

async fn kill(scene: &mut Scene<'_>) {
    for _ in 0..10 {
        scene.wait(200..2000).await;
        scene
            .fault(async |scene| {
                scene.kill(0);
                scene.apps[0].start_again().await;
            })
            .await;
    }
    scene.apps[0].ready().await;
}

async fn wiped(scene: &mut Scene<'_>) {
    let (client, forget) = (client(), format!("http://{}/control/forget", scene.apps[0].admin));
    for _ in 0..80 {
        let answer = client.post(&forget).send().await.expect("the admin port answers");
        assert!(answer.status().is_success(), "a build without the feature failpoints cannot forget");
        scene.wait(40..60).await;
    }
}

/// The process has to end by itself; the campaign is its service manager.
async fn panic(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let status = scene.apps[0].ended(Duration::from_secs(60)).await;
            scene.demand("ends with exit code 70", status.code() == Some(70), status.to_string());
            scene.apps[0].clear_environment();
            scene.apps[0].start_again().await;
            scene.apps[0].ready().await;
        })
        .await;
}

async fn frozen(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            scene.apps[0].signal("STOP");
            scene.wait(7000..9000).await;
            scene.apps[0].signal("CONT");
        })
        .await;
}

async fn cut_off(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            scene.to_postgres[0].set(Line::Cut);
            scene.wait(7000..9000).await;
            scene.to_postgres[0].set(Line::Open);
        })
        .await;
}
