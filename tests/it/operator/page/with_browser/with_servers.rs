//! Unrouted messages of a real RabbitMQ in a real browser, by the keyboard.

use std::time::{Duration, Instant};

use hookweir_testkit::app::App;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::amqp;
use hookweir_testkit::sink::Queues;

use super::driver::Browser;
use super::{axe, enter, keep, place};
use crate::operator::send;
use crate::operator::unrouted::{bind, config, until};

/// Waits until the list has all three: after a look, messages are on their way back into the queue for a moment.
async fn until_all(browser: &Browser) {
    let since = Instant::now();
    loop {
        let text = browser.text().await;
        if text.contains("The first 3 of 3") {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{text}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        browser.run("location.reload()").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_went_nowhere_are_seen_deleted_and_sent_again_by_the_keyboard_alone() {
    let queues = Queues::new(&amqp());
    let app = App::start(&config(&queues)).await;
    for id in ["evt_121", "evt_122", "evt_123"] {
        send(&app, Provider::Stripe, id);
    }
    until(&queues, &queues.unrouted, 3).await;
    let browser = enter(&app).await;
    browser.set_size(1024, 680).await;
    for scheme in ["light", "dark"] {
        browser.set_scheme(scheme).await;
        browser.open(&place(&app, "/page/unrouted")).await;
        until_all(&browser).await;
        assert_eq!(axe(&browser).await, [] as [String; 0], "{scheme}");
        keep("unrouted", scheme, &browser.picture().await);
        until(&queues, &queues.unrouted, 3).await;
    }
    browser.enter_on("Unrouted").await;
    until_all(&browser).await;
    until(&queues, &queues.unrouted, 3).await;
    browser.tab_to("Choose evt_122").await;
    browser.press(" ").await;
    browser.enter_on("Delete the chosen ones").await;
    browser.until("Reason of the deletion").await;
    for scheme in ["light", "dark"] {
        browser.set_scheme(scheme).await;
        assert_eq!(axe(&browser).await, [] as [String; 0], "{scheme}");
    }
    browser.tab_to("Reason of the deletion").await;
    browser.press("a test event\u{e007}").await;
    browser.say_yes().await;
    browser.until("1 deleted. 2 in the queue now.").await;
    bind(&queues).await;
    until(&queues, &queues.unrouted, 2).await;
    browser.tab_to("All 2 of this page").await;
    browser.press(" ").await;
    browser.enter_on("Send the chosen ones again").await;
    browser.say_yes().await;
    browser
        .until("2 sent to the exchange. 0 in the queue now.")
        .await;
    browser.until("No message is in queue").await;
    until(&queues, &queues.events, 2).await;
    assert_eq!(browser.errors().await, [] as [String; 0]);
    queues.delete().await;
}
