//! The lakehouse while its disk is full, or its catalog away.

use std::time::{Duration, Instant};

use hookweir_testkit::app::App;

use crate::service::PATIENCE;

/// Waits until the gauge says that the lakehouse cannot be written to, and `/readyz` that it is degraded.
async fn until_away(app: &App) {
    let since = Instant::now();
    while app.metrics().await.get("hookweir_lakehouse_up") > 0.0 {
        assert!(since.elapsed() < PATIENCE, "{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let health: serde_json::Value = serde_json::from_str(&app.health().await).expect("JSON");
    let lakehouse = &health["components"]["lakehouse"];
    assert_eq!(lakehouse["status"], "degraded", "{health}");
    assert_eq!(health["status"], "ready", "{health}");
}

mod with_mount {
    mod with_readers {
        use hookweir_testkit::app::{App, Launch, five_sources};
        use hookweir_testkit::disk::SmallDisk;
        use hookweir_testkit::load::Load;

        use crate::service::{check, until_all_rows};

        #[tokio::test(flavor = "multi_thread")]
        async fn while_its_disk_is_full_events_wait_and_each_is_one_row_afterwards() {
            let disk = SmallDisk::mount(16 << 10)
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
            let config = format!("[lakehouse]\ncommit_secs = 1\n{}", five_sources());
            let mut app = App::launch_as(&config, launch).await;
            app.ready().await;
            let before = Load::on(&[app.listen]).send(100).await;
            app.drained().await;
            until_all_rows(&app).await;
            disk.fill();
            let more = Load::on(&[app.listen]).send(100).await;
            more.check();
            super::super::until_away(&app).await;
            disk.free();
            app.drained().await;
            until_all_rows(&app).await;
            app.until_healthy().await;
            app.stop().await;
            check(&app, &before);
            check(&app, &more);
        }
    }
}

mod with_servers {
    mod with_readers {
        use hookweir_testkit::app::{App, five_sources};
        use hookweir_testkit::load::Load;
        use hookweir_testkit::servers::Server;

        use crate::service::{check, until_all_rows};

        #[tokio::test(flavor = "multi_thread")]
        async fn while_its_catalog_is_away_events_wait_and_each_is_one_row_afterwards() {
            let mut server = Server::postgres();
            let config = format!(
                "[lakehouse]\ncatalog = \"{}\"\ncommit_secs = 1\n{}",
                server.url,
                five_sources()
            );
            let mut app = App::start_with_lakehouse(&config).await;
            let before = Load::on(&[app.listen]).send(100).await;
            app.drained().await;
            until_all_rows(&app).await;
            server.kill();
            let more = Load::on(&[app.listen]).send(100).await;
            more.check();
            super::super::until_away(&app).await;
            server.revive();
            app.drained().await;
            until_all_rows(&app).await;
            app.until_healthy().await;
            app.stop().await;
            check(&app, &before);
            check(&app, &more);
        }
    }
}
