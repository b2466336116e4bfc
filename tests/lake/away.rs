//! The lakehouse while its disk is full, or its catalog away.

use std::time::{Duration, Instant};

use hookweir_testkit::app::App;
use hookweir_testkit::load::Load;

use crate::service::{PATIENCE, check, until_all_rows};

/// Waits until the gauge says that the lakehouse cannot be written to, and `/readyz` that it is degraded, for this reason.
async fn until_away(app: &App, reason: &str) {
    let since = Instant::now();
    while app.metrics().await.get("hookweir_lakehouse_up") > 0.0 {
        assert!(since.elapsed() < PATIENCE, "{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let health: serde_json::Value = serde_json::from_str(&app.health().await).expect("JSON");
    let lakehouse = &health["components"]["lakehouse"];
    assert_eq!(lakehouse["status"], "degraded", "{health}");
    assert!(lakehouse.to_string().contains(reason), "{health}");
    assert_eq!(health["status"], "ready", "{health}");
}

/// Sends events while the lakehouse cannot be written to, and others before. Each is one row once it can be.
async fn events_wait<P>(
    mut app: App,
    part: &mut P,
    reason: &str,
    take_away: fn(&mut P),
    bring_back: fn(&mut P),
) {
    let before = Load::on(&[app.listen]).send(100).await;
    app.drained().await;
    until_all_rows(&app).await;
    take_away(part);
    let load = Load {
        seed: 2,
        ..Load::on(&[app.listen])
    };
    let more = load.send(100).await;
    more.check();
    until_away(&app, reason).await;
    until_lagging(&app).await;
    bring_back(part);
    app.drained().await;
    until_all_rows(&app).await;
    app.until_healthy().await;
    app.stop().await;
    check(&app, &before);
    check(&app, &more);
}

/// Waits until the lag says that events wait.
async fn until_lagging(app: &App) {
    let since = Instant::now();
    while app.metrics().await.get("hookweir_lakehouse_lag_seconds") < 1.0 {
        assert!(since.elapsed() < PATIENCE, "{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

mod with_mount {
    mod with_readers {
        use hookweir_testkit::app::{App, Launch, five_sources};
        use hookweir_testkit::disk::SmallDisk;

        use super::super::events_wait;

        /// Starts a service whose lakehouse is on a disk of its own.
        async fn on_a_small_disk(lakehouse: &str) -> (App, SmallDisk) {
            let disk = SmallDisk::mount(32 << 10)
                .expect("tests/run leaves this out where it cannot mount");
            let link = format!(
                "mkdir -p data {0}/lake && ln -sfn {0}/lake data/lake",
                disk.path().display()
            );
            let launch = Launch {
                before: Some(link),
                lakehouse: true,
                ..Launch::default()
            };
            let config = format!(
                "[lakehouse]\ncommit_secs = 1\n{lakehouse}\n{}",
                five_sources()
            );
            let app = App::launch_as(&config, launch).await;
            app.ready().await;
            (app, disk)
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn while_its_disk_is_full_events_wait_and_each_is_one_row_afterwards() {
            let (app, mut disk) = on_a_small_disk("min_free_bytes = 0").await;
            let fill = |disk: &mut SmallDisk| disk.fill();
            events_wait(app, &mut disk, "cannot", fill, |disk| disk.free()).await;
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn a_writer_leaves_the_last_bytes_of_a_disk_and_its_events_wait_for_more() {
            let (app, mut disk) = on_a_small_disk("min_free_bytes = 16777216").await;
            let take = |disk: &mut SmallDisk| disk.take(24 << 20);
            events_wait(app, &mut disk, "min_free_bytes", take, |disk| disk.free()).await;
        }
    }
}

mod with_servers {
    mod with_readers {
        use hookweir_testkit::app::{App, five_sources};
        use hookweir_testkit::servers::Server;

        use super::super::events_wait;

        #[tokio::test(flavor = "multi_thread")]
        async fn while_its_catalog_is_away_events_wait_and_each_is_one_row_afterwards() {
            let mut server = Server::postgres();
            let config = format!(
                "[lakehouse]\ncatalog = \"{}\"\ncommit_secs = 1\n{}",
                server.url,
                five_sources()
            );
            let app = App::start_with_lakehouse(&config).await;
            let kill = |server: &mut Server| server.kill();
            events_wait(app, &mut server, "catalog", kill, Server::revive).await;
        }
    }
}
