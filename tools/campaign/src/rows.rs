//! The rows of the table. A row is a setup, a round of its fault, and the figures to reach; the harness repeats the round, with calm
//! before and after, until enough was sent.

mod bodies;
mod cluster;
mod crowd;
mod few;
mod forged;
mod host;
mod kafka;
pub mod operator;
mod postgres;
mod quarantine;
mod rabbitmq;
mod service;

use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;

use crate::scene::{Felt, Scene, Setup};
use crate::verdict::Figures;
use hookweir_testkit::proxy::{Line, Proxy};

/// A fault, once.
pub type Round = for<'a, 'b> fn(&'a mut Scene<'b>) -> LocalBoxFuture<'a, ()>;

/// One kind of fault.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub about: &'static str,
    pub setup: fn(&mut Setup),
    pub round: Round,
    pub figures: Figures,
    pub felt: Felt,
    /// What a negative control changes in the setup.
    pub mistake: Option<fn(&mut Setup)>,
}

impl Row {
    const fn new(name: &'static str, about: &'static str, round: Round, figures: Figures) -> Self {
        Self {
            name,
            about,
            setup: |_| {},
            round,
            figures,
            felt: Felt::Itself,
            mistake: None,
        }
    }

    const fn felt(self, felt: Felt) -> Self {
        Self { felt, ..self }
    }

    const fn with(self, setup: fn(&mut Setup)) -> Self {
        Self { setup, ..self }
    }
}

/// The rows that were asked for.
pub fn chosen(wanted: &str) -> Result<Vec<Row>, String> {
    let all: Vec<Row> = [
        service::ROWS,
        host::ROWS,
        postgres::ROWS,
        few::ROWS,
        bodies::ROWS,
        rabbitmq::ROWS,
        kafka::ROWS,
        cluster::ROWS,
        crowd::ROWS,
        quarantine::ROWS,
        operator::ROWS,
    ]
    .concat();
    crate::options::choose(&all, |row| row.name, wanted)
}

/// A line is like that for a while. At its end it is cut, so that what was kept back on it is gone.
async fn line_is(
    scene: &mut Scene<'_>,
    proxy: for<'s> fn(&'s Scene<'_>) -> &'s Proxy,
    line: Line,
    millis: std::ops::Range<u64>,
) {
    scene
        .fault(async |scene| {
            proxy(scene).set(line);
            scene.wait(millis).await;
            scene.note_waiting();
            proxy(scene).set(Line::Cut);
            proxy(scene).set(Line::Open);
        })
        .await;
}

/// A line is cut at some byte of the answers, eight times: what they told was done, and nobody heard it.
async fn answers_are_cut(
    scene: &mut Scene<'_>,
    proxy: for<'s> fn(&'s Scene<'_>) -> &'s Proxy,
    bytes: std::ops::Range<i64>,
) {
    for _ in 0..8 {
        scene
            .fault(async |scene| {
                let bytes = scene.rng.i64(bytes.clone());
                proxy(scene).cut_back_after(bytes);
                let since = Instant::now();
                // A cut that came after the window would make its copies outside of it.
                while proxy(scene).has_to_cut() && since.elapsed() < Duration::from_secs(10) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                proxy(scene).cut_back_after(i64::MAX);
                scene.wait(300..600).await;
            })
            .await;
    }
}
