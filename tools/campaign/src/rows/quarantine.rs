//! Forged deliveries fill the quarantine: it keeps its bounds, and genuine deliveries go on.

use std::time::{Duration, Instant};

use super::{Row, crowd};
use crate::scene::Scene;
use crate::verdict::Figures;

pub const ROWS: &[Row] = &[Row::new(
    "quarantine-flooded",
    "2,000 forged deliveries a second, into a quarantine that is full",
    |scene| Box::pin(flooded(scene)),
    Figures::UNHARMED,
)
.with(|setup| {
    setup.set("quarantine.source_rows", MOST);
    setup.set("quarantine.source_bytes", 1_048_576);
    setup.set("quarantine.source_per_sec", 1000);
})];

/// Deliveries of one source that are kept, at most.
const MOST: i64 = 200;

async fn flooded(scene: &mut Scene<'_>) {
    crowd::forgers(scene).await;
    // What is in the queue still comes, and what is beyond the bounds goes with the next batch or measure.
    let beyond = "select count(*) as value from (select source from quarantine group by source
         having count(*) > 200 or sum(size) > 1048576) as beyond";
    let since = Instant::now();
    let mut sources = scene.place.number(beyond);
    while sources > 0 && since.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sources = scene.place.number(beyond);
    }
    scene.demand(
        "no source is beyond its bounds in the quarantine",
        sources == 0,
        format!("{sources} sources are"),
    );
    let kept = scene
        .place
        .number("select count(*) as value from quarantine");
    scene.demand(
        "felt: forged deliveries are kept",
        kept > 0,
        format!("{kept} are"),
    );
    scene.demand_in_time(
        "felt: more are kept than one source may have",
        kept > MOST,
        format!("{kept} are"),
    );
}
