//! Unrouted messages of a real RabbitMQ in a real browser, by the keyboard.

use hookweir_testkit::app::App;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::amqp;
use hookweir_testkit::sink::Queues;

use super::{axe, enter, keep, place};
use crate::operator::send;
use crate::operator::unrouted::{bind, config, until};

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
        browser.until("The first 3 of 3").await;
        assert_eq!(axe(&browser).await, [] as [String; 0], "{scheme}");
        keep("unrouted", scheme, &browser.picture().await);
        until(&queues, &queues.unrouted, 3).await;
    }
    browser.enter_on("Unrouted").await;
    browser.until("The first 3 of 3").await;
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
