//! The steps between a proof and a commit, each by itself: an event's id out of its body, a redelivery found in memory, folding events
//! into a batch, and a message from one actor to the next. `cargo bench --bench parts`
//!
//! One proof is in `verify`; what a commit and a confirm cost is in `store` and `publish`. Ratios between the lines of one run mean
//! something, the figures themselves belong to the machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use actix::{Actor, Arbiter, Context, Handler, System};
use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use hookweir::config::Config;
use hookweir::dedup::batch::{BatchLimits, Batcher};
use hookweir::dedup::cache::DedupCache;
use hookweir::dedup::router::{Destination, Destinations};
use hookweir::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageKey, SourceName, UnixMillis,
};
use hookweir::domain::request::Request;
use hookweir::runtime::mailbox::{Mail, Mailbox};
use hookweir::store::{Inserted, NewEvent, Seq};
use hookweir_signatures::{KeyRing, Scheme, verify};
use http::{HeaderName, HeaderValue};
use tokio::sync::oneshot;

fn main() {
    divan::main();
}

/// The default of `dedup.batch_events`.
const BATCH: usize = 512;

fn event(number: usize) -> NewEvent {
    let source = SourceName::parse("bench").expect("a name");
    let id = format!("evt_{number}");
    NewEvent {
        key: DedupKey::new(&source, "id", &[id.as_bytes()]),
        message: MessageKey::of(&DedupKey::new(&source, "id", &[id.as_bytes()])),
        class: IdClass::Signed,
        bytes_key: None,
        drop_same_bytes: None,
        replay: None,
        marks: Marks::default(),
        digest: BodyDigest::of(id.as_bytes()),
        source,
        event_id: EventId::new(&id),
        event_type: None,
        content_type: None,
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
        received_at: UnixMillis(0),
        verified_by: None,
        window: Duration::from_secs(86_400),
        sinks: None,
    }
}

/// All that a delivery takes whose proof is the comparison of a token: reading its id, which stands at the end of the body, and its key.
#[divan::bench(args = [1 << 10, 16 << 10, 256 << 10])]
fn id_at_the_end_of(bencher: Bencher<'_, '_>, bytes: usize) {
    let toml = "[[source]]\nname = \"s\"\nsecrets = [\"plain:0123456789abcdef\"]\n\
                [source.scheme]\nkind = \"token\"\ntoken = \"header:x-token\"\nevent = { id = \"{json:/id}\" }";
    let source = Config::from_toml(toml)
        .expect("a configuration")
        .sources
        .remove(0);
    let scheme = Scheme::compile(&source.spec(), 1000).expect("a scheme");
    let line = r#"{"sku":"item","amount":4200,"currency":"eur","note":null,"description":"T-shirt, \"large\""}"#;
    let lines = vec![line; (bytes / (line.len() + 1)).max(1)].join(",");
    let request = Request {
        method: http::Method::POST,
        target: "/ingest/s".into(),
        headers: [(
            HeaderName::from_static("x-token"),
            HeaderValue::from_static("0123456789abcdef"),
        )]
        .into_iter()
        .collect(),
        body: format!(r#"{{"lines":[{lines}],"id":"evt_1"}}"#).into(),
        received_at: UnixMillis(0),
    };
    let check = || {
        verify(
            black_box(&scheme),
            &KeyRing::EMPTY,
            black_box(&request),
            UnixMillis(0),
        )
    };
    assert!(check().is_ok());
    bencher.bench(check);
}

/// A redelivery whose key is in memory, among so many.
#[divan::bench(args = [10_000, 200_000])]
fn cache_hit_among(bencher: Bencher<'_, '_>, entries: usize) {
    let recent = DedupCache::new(entries as u64, Duration::from_secs(3600));
    let events: Vec<_> = (0..entries).map(event).collect();
    events
        .iter()
        .for_each(|event| recent.remember(event, Instant::now()));
    let mut next = events.iter().rev().take(1000).cycle();
    assert!(recent.known(&events[entries - 1], Instant::now()).is_some());
    bencher.bench_local(|| recent.known(black_box(next.next().expect("a cycle")), Instant::now()));
}

/// So many deliveries of one new event through the state of dedup: offered, taken as one batch for a writer, committed, resolved.
#[divan::bench]
fn batch_of_512(bencher: Bencher<'_, '_>) {
    let places = Destinations {
        writers: 1,
        spool_after: None,
    };
    let mut batcher = Batcher::new(
        BatchLimits {
            events: BATCH,
            bytes: 1 << 20,
        },
        places,
    );
    let mut number = 0;
    let seqs: Vec<_> = (0..BATCH as i64)
        .map(|seq| Inserted::Accepted(Seq(seq)))
        .collect();
    let result = Ok(seqs);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            number += BATCH;
            (number - BATCH..number).map(event).collect::<Vec<_>>()
        })
        .bench_local_values(|events| {
            for event in events {
                batcher.offer((), vec![event], |_| None);
            }
            let now = Instant::now();
            let next = batcher.next(now, |_| false).expect("a batch");
            assert!(
                batcher
                    .done(next.id, Destination::Store, &result, now)
                    .is_some_and(|settled| settled.accepted.len() == BATCH)
            );
            batcher.take_resolved().len()
        });
}

struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Mail<oneshot::Sender<()>>> for Echo {
    type Result = ();

    fn handle(&mut self, mail: Mail<oneshot::Sender<()>>, _: &mut Self::Context) {
        // The bench waits for it.
        let _ = mail.open().send(());
    }
}

/// Messages to an actor on another thread and their answers, so many under way at once: two hops each.
#[divan::bench(args = [1, 64, 512])]
fn mailbox_and_back(bencher: Bencher<'_, '_>, under_way: usize) {
    let system = System::new();
    let arbiter = Arbiter::new();
    let mailbox = Mailbox::new(
        &Echo::start_in_arbiter(&arbiter.handle(), |_| Echo),
        under_way,
    );
    bencher.counter(ItemsCount::new(under_way)).bench_local(|| {
        system.block_on(async {
            let (senders, answers): (Vec<_>, Vec<_>) =
                (0..under_way).map(|_| oneshot::channel()).unzip();
            senders
                .into_iter()
                .for_each(|sender| mailbox.try_send(sender).expect("room"));
            for answer in answers {
                answer.await.expect("an answer");
            }
        });
    });
    arbiter.stop();
}
