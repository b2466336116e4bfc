//! One to seven events in an outage. PostgreSQL answers and refuses all of them, so that no row may be taken to be at fault.

use std::time::{Duration, Instant};

use super::Row;
use crate::scene::{Felt, Scene, Setup};
use crate::verdict::Figures;

const SPOOLED: Felt = Felt::Counter("hookweir_spooled_total", &[], 2);

pub const ROWS: &[Row] = &[
    Row::new(
        "pg-few",
        "1 to 7 events in an outage: a sequence, then a table is gone",
        |scene| Box::pin(gone(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED)
    .with(few),
    Row::new(
        "pg-read-only",
        "1 to 7 events while PostgreSQL is read-only",
        |scene| Box::pin(read_only(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED)
    .with(few),
    Row::new(
        "pg-revoked",
        "1 to 7 events while a right on table, sequence or schema is revoked",
        |scene| Box::pin(revoked(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED)
    .with(|setup| {
        few(setup);
        // Nothing can be revoked from a superuser.
        setup.plain_role = true;
    }),
];

fn few(setup: &mut Setup) {
    setup.rate = Some(2.0);
}

async fn gone(scene: &mut Scene<'_>) {
    outage(
        scene,
        1,
        "alter sequence event_seq rename to gone",
        "alter sequence gone rename to event_seq",
    )
    .await;
    outage(
        scene,
        3,
        "alter table event rename to gone",
        "alter table gone rename to event",
    )
    .await;
}

/// As a managed server does when its storage is full.
async fn read_only(scene: &mut Scene<'_>) {
    for events in [1, 3] {
        outage(
            scene,
            events,
            "alter system set default_transaction_read_only = on",
            "alter system reset default_transaction_read_only",
        )
        .await;
    }
}

async fn revoked(scene: &mut Scene<'_>) {
    let schema = scene.place.schema.clone();
    for (events, what) in [
        (1, "insert on event"),
        (3, "all on sequence event_seq"),
        (2, &format!("usage on schema {schema}")),
    ] {
        outage(
            scene,
            events,
            &format!("revoke {what} from {schema}_role"),
            &format!("grant {what} to {schema}_role"),
        )
        .await;
    }
}

/// From a look of the drain to its second attempt, which finds all that came after the first.
const TWO_ATTEMPTS: Duration = Duration::from_millis(1600);
/// Of more than this many that fail, an earlier release believed that it was not their fault.
const MOST: usize = 7;

/// `events` come after the harm, and those that follow until the drain has tried them.
async fn outage(scene: &mut Scene<'_>, events: usize, harm: &str, undo: &str) {
    scene
        .fault(async |scene| {
            let begun = || scene.load().counts().begun();
            scene.place.execute(harm);
            scene.place.execute("select pg_reload_conf()");
            let before = begun();
            let mut came = None;
            while begun() - before < MOST
                && came.is_none_or(|came: Instant| came.elapsed() < TWO_ATTEMPTS)
            {
                if begun() - before >= events {
                    came.get_or_insert_with(Instant::now);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let came = begun() - before;
            scene.place.execute(undo);
            scene.place.execute("select pg_reload_conf()");
            scene.demand(
                "felt: events come in the outage",
                came >= 1,
                came.to_string(),
            );
            scene.demand_in_time(
                "felt: at most 7 events come in the outage",
                came <= MOST,
                came.to_string(),
            );
        })
        .await;
    scene.recovered().await;
    scene.wait(300..800).await;
}
