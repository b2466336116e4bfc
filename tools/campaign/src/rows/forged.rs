//! Forged deliveries of a crowd, and the answers to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;

use super::crowd::STAY;
use crate::scene::Scene;
use hookweir_testkit::ledger::Answer;
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now, small};

/// Sends forged deliveries while the crowd stays. Returns the numbers of those answered 401, of those that had no room or no answer,
/// and of all others.
pub async fn forge(scene: &mut Scene<'_>) -> [usize; 3] {
    let (target, client, since) = (scene.apps[0].listen, client(), Instant::now());
    let counts: Arc<[AtomicUsize; 3]> = Arc::default();
    let mut forgers = JoinSet::new();
    for number in 0..32 {
        let (client, counts, mut rng) = (
            client.clone(),
            counts.clone(),
            Rng::with_seed(scene.rng.u64(..) + number),
        );
        forgers.spawn(async move {
            while since.elapsed() < STAY {
                let provider = Provider::ALL[rng.usize(..Provider::ALL.len())];
                let size = small(&mut rng);
                let (headers, body) = provider.event_of(&mut rng, size).forged(&mut rng, now());
                let answer = post(&client, target, provider.name(), headers, body).await;
                counts[kind_of(&answer)].fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(rng.u64(5..25))).await;
            }
        });
    }
    forgers.join_all().await;
    [0, 1, 2].map(|which| counts[which].load(Ordering::Relaxed))
}

/// Place of an answer to a forged delivery in the counts of [`forge`].
fn kind_of(answer: &Answer) -> usize {
    match answer {
        Answer::Status(401) => 0,
        Answer::Status(503) => 1,
        // Without a head of an answer; a 200 is never excused.
        Answer::Broken(why) if why.starts_with("error sending request") => 1,
        refused if *refused == Answer::refused() => 1,
        _ => 2,
    }
}
