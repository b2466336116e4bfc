//! Live outcomes in a real browser: as they come, in a flood, and in more tabs than a browser has connections.

use std::net::SocketAddr;
use std::time::Instant;

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};

use super::{enter, place};
use crate::operator::page::link;
use crate::operator::{hookweir, send};

/// Delivers 320 events, from 16 senders at once.
async fn deliver(listen: SocketAddr, seed: u64) {
    let client = client();
    let senders = (0..16).map(|sender| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed * 16 + sender);
            for _ in 0..20 {
                let event = Provider::Stripe.event(&mut rng);
                let headers = event.signed(Provider::Stripe.secret(), now());
                post(&client, listen, "stripe", headers, event.body.clone()).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_sees_an_event_as_it_comes_and_the_page_outlives_a_reload_and_a_restart() {
    let mut app = App::start(&five_sources()).await;
    let browser = enter(&app).await;
    browser.open(&place(&app, "/page/live")).await;
    browser.until("connected").await;
    send(&app, Provider::Stripe, "evt_live_1");
    let since = Instant::now();
    browser.until("evt_live_1").await;
    println!(
        "an event was on the screen {} ms after its answer",
        since.elapsed().as_millis()
    );
    hookweir(&app, &["reload"]).good();
    send(&app, Provider::Stripe, "evt_live_2");
    browser.until("evt_live_2").await;
    browser.enter_on("Pause").await;
    send(&app, Provider::Stripe, "evt_live_3");
    browser.until("paused: 1 newer ones are not shown").await;
    browser.enter_on("Follow").await;
    browser.until("1 came while paused").await;
    app.kill();
    browser.until("reconnecting").await;
    app.start_again().await;
    app.ready().await;
    // Sessions are in memory: the open page says so, and another one leads to the login.
    browser.until("logged out: log in again").await;
    browser.open(&place(&app, "/page/live")).await;
    browser.until("On the machine of the service, type:").await;
    browser.open(&link(&app)).await;
    browser.until("Deliveries").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_sampled_and_the_page_says_so_and_takes_a_click_meanwhile() {
    let app = App::start(&five_sources()).await;
    let browser = enter(&app).await;
    browser.open(&place(&app, "/page/live")).await;
    browser.until("connected").await;
    // More than one look takes, however slow the machine is: they come while nobody looks.
    let shown = browser.tab().await;
    let hidden = browser.new_tab().await;
    deliver(app.listen, 1).await;
    let flood = tokio::spawn({
        let listen = app.listen;
        async move {
            for seed in 2.. {
                deliver(listen, seed).await;
            }
        }
    });
    browser.show_tab(&shown).await;
    browser.until("too many to show: the newest 50 are").await;
    let click = "const done = arguments[arguments.length - 1], since = performance.now();
        document.querySelector('[data-pause]').click();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - since)))";
    println!(
        "a click was answered in {} ms",
        browser.run_later(click).await
    );
    let pressed =
        "return document.querySelector('[data-pause]').getAttribute('aria-pressed') === 'true'";
    browser.until_true(pressed).await;
    let rows = browser
        .run("return document.querySelectorAll('#outcomes tr').length")
        .await;
    assert!(
        rows.as_u64().is_some_and(|rows| (1..=200).contains(&rows)),
        "{rows}"
    );
    flood.abort();
    browser.show_tab(&hidden).await;
    assert_eq!(browser.errors().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_live_tabs_leave_a_connection_and_a_tab_that_is_seen_again_goes_on() {
    let app = App::start(&five_sources()).await;
    let browser = enter(&app).await;
    let first = browser.tab().await;
    browser.open(&place(&app, "/page/live")).await;
    browser.until("connected").await;
    send(&app, Provider::Stripe, "evt_seen");
    browser.until("evt_seen").await;
    // A browser has six connections to one service.
    for _ in 0..8 {
        browser.new_tab().await;
        browser.open(&place(&app, "/page/live")).await;
        browser
            .until_true("return document.getElementById('connection').textContent === 'connected'")
            .await;
    }
    send(&app, Provider::Stripe, "evt_while_hidden");
    browser.until("evt_while_hidden").await;
    browser.show_tab(&first).await;
    browser.until("evt_while_hidden").await;
    let rows = "return document.querySelectorAll('#outcomes tr').length === 2";
    assert_eq!(browser.run(rows).await, true, "each outcome once");
    assert_eq!(browser.errors().await, [] as [String; 0]);
}
