//! The cost of a live page: processor time of the service for each accepted delivery, with browsers that listen and
//! without. It prints figures, so it runs when asked for: `cargo test --test it -- --ignored --nocapture prints_what_a_delivery_costs`.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};
use reqwest::Method;

use super::Visit;

const ROUNDS: usize = 5;
const SENDERS: u64 = 16;
const EACH: usize = 250;

/// Sends new events. Returns the microseconds of processor time that each has cost, and how many were accepted a second.
async fn load(app: &App, round: u64) -> (f64, f64) {
    let cpu = async || app.metrics().await.get("process_cpu_seconds_total");
    let (before, since) = (cpu().await, std::time::Instant::now());
    let (client, listen) = (client(), app.listen);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(round * SENDERS + sender);
                for _ in 0..EACH {
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
    let count = (SENDERS as usize * EACH) as f64;
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
            let stream = visit.ask(Method::GET, "/page/live/stream", &[], String::new());
            let mut stream = stream.await;
            listeners.push(tokio::spawn(async move {
                while stream.chunk().await.ok().flatten().is_some() {}
            }));
        }
        load(&app, 0).await;
        apps.push((browsers, app, Vec::new(), Vec::new()));
    }
    for round in 1..=ROUNDS {
        for (_, app, costs, rates) in &mut apps {
            let (cost, rate) = load(app, round as u64).await;
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
        listener.abort();
    }
}
