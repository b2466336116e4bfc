//! The cost of a live page. Its bounds are asserted: rows in a message, messages in a time, and no outcome that is
//! neither shown nor counted. Processor time of the service for each accepted delivery, with browsers that listen and without, is
//! printed when asked for: `cargo test --test it -- --ignored --nocapture prints_what_a_delivery_costs`.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};
use reqwest::{Method, Response};

use super::Visit;
use crate::operator::send;

const ROUNDS: usize = 5;
const SENDERS: u64 = 16;
const EACH: usize = 250;

/// Rows in a message, at most.
const ROWS: u64 = 50;

/// Messages of the stream to one browser, and the outcomes in them.
#[derive(Debug, Default)]
struct Heard {
    messages: u64,
    shown: u64,
    /// Outcomes that the page says are not shown.
    told: u64,
    place: String,
}

/// A browser's stream of outcomes.
struct Stream {
    answer: Response,
    text: String,
    since: std::time::Instant,
    heard: Heard,
}

impl Stream {
    /// Begins to listen after a place.
    async fn open(visit: &Visit, after: &str) -> Self {
        let since = std::time::Instant::now();
        let headers = [("last-event-id", after)];
        let headers = if after.is_empty() { &[][..] } else { &headers };
        let answer = visit.ask(Method::GET, "/page/live/stream", headers, String::new());
        Self {
            answer: answer.await,
            text: String::new(),
            since,
            heard: Heard::default(),
        }
    }

    /// Reads one message. It shows as many rows as a browser can take, and comes no earlier than it may.
    async fn message(&mut self) {
        let message = loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let message = message.to_owned();
                self.text = rest.to_owned();
                break message;
            }
            let chunk = self.answer.chunk().await.expect("a message");
            let chunk = chunk.expect("the stream goes on");
            self.text
                .push_str(std::str::from_utf8(&chunk).expect("text"));
        };
        let heard = &mut self.heard;
        let place = message.lines().find_map(|line| line.strip_prefix("id: "));
        place.expect("a place").clone_into(&mut heard.place);
        let data = message.lines().find_map(|line| line.strip_prefix("data: "));
        if message.contains("event: missed") {
            let missed: serde_json::Value =
                serde_json::from_str(data.expect("data")).expect("JSON");
            assert!(missed["says"].as_str().is_some_and(|says| !says.is_empty()));
            heard.told += missed["count"].as_u64().expect("a number");
            return;
        }
        let rows = data.unwrap_or_default().matches("<tr>").count() as u64;
        assert!(rows <= ROWS, "{rows} rows at once");
        heard.messages += 1;
        heard.shown += rows;
        // Between two messages the service waits 250 ms, so this cannot fail on a slow machine.
        let most = self.since.elapsed().as_millis() as u64 / 250 + 1;
        assert!(
            heard.messages <= most,
            "{} messages of {most}",
            heard.messages
        );
    }

    /// Reads until so many outcomes were shown, or told to be left out.
    async fn until(&mut self, outcomes: u64) {
        while self.heard.shown + self.heard.told < outcomes {
            self.message().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooded_stream_shows_fifty_at_once_and_counts_each_one_that_it_leaves_out() {
    let app = App::start(&five_sources()).await;
    let visit = Visit::enter(&app).await;
    let mut first = Stream::open(&visit, "").await;
    send(&app, Provider::Stripe, "evt_first");
    first.until(1).await;
    let place = first.heard.place.clone();
    // While it listens: all are accounted for, at the pace of a reader.
    let flood = (EACH / 8) as u64 * SENDERS;
    let loading = load(&app, 1, EACH / 8);
    let reading = first.until(1 + flood);
    let (_, ()) = tokio::join!(loading, reading);
    assert_eq!(
        first.heard.shown + first.heard.told,
        1 + flood,
        "{:?}",
        first.heard
    );
    drop(first);
    // All at once: the newest are shown, and the number of the others is told.
    let mut again = Stream::open(&visit, &place).await;
    again.until(flood).await;
    let heard = &again.heard;
    assert_eq!((heard.shown, heard.told), (ROWS, flood - ROWS), "{heard:?}");
}

/// Sends new events. Returns the microseconds of processor time that each has cost, and how many were accepted a second.
async fn load(app: &App, round: u64, each: usize) -> (f64, f64) {
    let cpu = async || app.metrics().await.get("process_cpu_seconds_total");
    let (before, since) = (cpu().await, std::time::Instant::now());
    let (client, listen) = (client(), app.listen);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(round * SENDERS + sender);
                for _ in 0..each {
                    let event = Provider::Stripe.event_of(&mut rng, 1000);
                    let headers = event.signed(Provider::Stripe.secret(), now());
                    post(&client, listen, "stripe", headers, event.body.clone()).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.expect("sent");
    }
    let count = (SENDERS as usize * each) as f64;
    let rate = count / since.elapsed().as_secs_f64();
    ((cpu().await - before) * 1e6 / count, rate)
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures, for a minute"]
async fn prints_what_a_delivery_costs_with_live_pages_and_without() {
    let mut apps = Vec::new();
    let mut listeners = Vec::new();
    for browsers in [0, 1, 10] {
        let app = App::start(&five_sources()).await;
        let visit = Visit::enter(&app).await;
        for _ in 0..browsers {
            let mut stream = Stream::open(&visit, "").await;
            let all = ((ROUNDS + 1) * EACH) as u64 * SENDERS;
            listeners.push(tokio::spawn(async move {
                stream.until(all).await;
                stream.heard
            }));
        }
        load(&app, 0, EACH).await;
        apps.push((browsers, app, Vec::new(), Vec::new()));
    }
    for round in 1..=ROUNDS {
        for (_, app, costs, rates) in &mut apps {
            let (cost, rate) = load(app, round as u64, EACH).await;
            costs.push(cost);
            rates.push(rate);
        }
    }
    let mut first = None;
    for (browsers, _, costs, rates) in apps {
        let (cost, rate) = (middle(costs), middle(rates));
        let (alone, alone_rate) = *first.get_or_insert((cost, rate));
        println!(
            "{browsers} listen: {cost:.0} us of processor for a delivery ({:.3} of nobody), {rate:.0} accepted/s ({:.3})",
            cost / alone,
            rate / alone_rate
        );
    }
    for listener in listeners {
        let heard = listener.await.expect("a bounded stream");
        println!("{heard:?}");
    }
}
