//! Several bodies under one id that is not signed, while PostgreSQL is away: each is an event, and nobody can tell which came first.

use std::time::Duration;

use futures_util::future::join_all;

use super::Row;
use crate::scene::{Felt, Scene};
use crate::verdict::Figures;
use crate::world::blocking;
use hookweir_testkit::ledger::{Answer, Attempt, Entry, Ledger};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Event, Provider, now};

pub const ROWS: &[Row] = &[Row::new(
    "pg-other-bodies",
    "ids come with four bodies each while PostgreSQL is stopped; half of the ids are known to it",
    |scene| Box::pin(other_bodies(scene)),
    Figures {
        copies: false,
        // A first body that only the store knows.
        accepted_twice: true,
        ..Figures::HARDLY
    },
)
.felt(Felt::Counter(
    "hookweir_spooled_total",
    &[],
    IDS * BODIES - IDS / 2,
))
.with(|setup| setup.rate = Some(100.0))];

const IDS: usize = 40;
const BODIES: usize = 4;

/// An id with its bodies, and what each was answered.
struct Id {
    bodies: Vec<(Event, Vec<Attempt>)>,
}

async fn other_bodies(scene: &mut Scene<'_>) {
    let mut ids: Vec<Id> = (0..IDS).map(|number| Id::new(scene, number)).collect();
    let target = scene.apps[0].listen;
    let client = client();
    let known = IDS / 2;
    deliver(&client, target, ids[..known].iter_mut().map(Id::first)).await;
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.postgres.stop());
            deliver(&client, target, ids[known..].iter_mut().map(Id::first)).await;
            // At the same time, and then each once more.
            for _ in 0..2 {
                deliver(&client, target, ids.iter_mut().flat_map(Id::others)).await;
            }
            // The spool takes it for another body.
            deliver(&client, target, ids[..known].iter_mut().map(Id::first)).await;
            blocking(|| scene.servers.postgres.start());
        })
        .await;
    scene.recovered().await;
    deliver(
        &client,
        target,
        ids.iter_mut().flat_map(|id| &mut id.bodies),
    )
    .await;
    let is_known = |attempt: &Attempt| matches!(attempt.answer, Answer::Taken { new: false, .. });
    let last = ids
        .iter()
        .flat_map(|id| &id.bodies)
        .filter_map(|(_, attempts)| attempts.last());
    let news = last.filter(|attempt| !is_known(attempt)).count();
    scene.demand(
        "every body is known afterwards",
        news == 0,
        format!("{news} of {} redeliveries were news", IDS * BODIES),
    );
    let entries = ids.into_iter().flat_map(Id::entries).collect();
    scene.further.push(Ledger { entries });
}

impl Id {
    fn new(scene: &mut Scene<'_>, number: usize) -> Self {
        let provider = [Provider::Github, Provider::Shopify][number % 2];
        let first = provider.event(&mut scene.rng);
        let others = (1..BODIES).map(|_| first.with_another_body(&mut scene.rng));
        let events: Vec<Event> = [first.clone()].into_iter().chain(others).collect();
        Self {
            bodies: events
                .into_iter()
                .map(|event| (event, Vec::new()))
                .collect(),
        }
    }

    fn first(&mut self) -> &mut (Event, Vec<Attempt>) {
        &mut self.bodies[0]
    }

    fn others(&mut self) -> impl Iterator<Item = &mut (Event, Vec<Attempt>)> {
        self.bodies.iter_mut().skip(1)
    }

    fn entries(self) -> impl Iterator<Item = Entry> {
        let entry = |(number, (event, attempts)): (usize, (Event, Vec<Attempt>))| Entry {
            second: number > 0,
            ..Entry::new(&event, attempts)
        };
        self.bodies.into_iter().enumerate().map(entry)
    }
}

/// Delivers them all at the same time, each until it is taken.
async fn deliver<'a>(
    client: &reqwest::Client,
    target: std::net::SocketAddr,
    which: impl Iterator<Item = &'a mut (Event, Vec<Attempt>)>,
) {
    join_all(which.map(async |(event, attempts)| {
        for _ in 0..40 {
            let began = std::time::Instant::now();
            let headers = event.signed(event.provider.secret(), now());
            let body = event.body.clone();
            let answer = post(client, target, event.provider.name(), headers, body).await;
            let taken = answer.is_taken();
            attempts.push(Attempt::since(began, answer));
            if taken {
                return;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }))
    .await;
}
