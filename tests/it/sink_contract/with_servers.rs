//! The contract over RabbitMQ.

use std::time::Duration;

use futures_util::StreamExt as _;
use hookweir::config::model::Publisher;
use lapin::ExchangeKind;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};

use super::{
    Blocks, Harness, LimitsSize, Refuses, contract, contract_of_blocking, contract_of_limited,
    contract_of_refusing, run,
};
use crate::publish_rig::{amqp, with_rabbitmq};
use hookweir_testkit::servers::{Server, amqp as shared};
use hookweir_testkit::sink::{Message, Queues, amqp_message};

/// An exchange with its queues, on the shared broker or on one of its own.
pub struct RabbitmqHarness {
    queues: Queues,
    /// None on the shared broker.
    own: Option<Server>,
    url: String,
    /// A second queue, with room for a hundred messages, beside that of the good source.
    full: Option<String>,
}

impl RabbitmqHarness {
    fn on_own() -> Self {
        let server = Server::rabbitmq();
        Self {
            queues: Queues::new(&server.url),
            url: server.url.clone(),
            own: Some(server),
            full: None,
        }
    }

    fn own(&self) -> &Server {
        self.own.as_ref().expect("a broker that the test may break")
    }

    fn own_mut(&mut self) -> &mut Server {
        self.own.as_mut().expect("a broker that the test may break")
    }
}

impl Harness for RabbitmqHarness {
    fn start() -> Self {
        Self {
            queues: Queues::new(&shared()),
            own: None,
            url: shared(),
            full: None,
        }
    }

    fn start_own() -> Self {
        let harness = Self::on_own();
        // RabbitMQ 3.10 forgets a quorum queue, with all that it confirmed, when it is killed
        // within seconds of the queue's declaration: the name is not on disk yet. The contract is
        // not about that.
        run(async {
            let sink = harness.sink();
            super::connect(&*sink).await.close().await;
        });
        let sync = "[dets:sync(Table) || Table <- dets:all()].";
        harness.own().ctl(&["eval", sync]);
        harness
    }

    fn config(&self) -> Publisher {
        with_rabbitmq(amqp(&self.url, &self.queues.exchange), |rabbitmq| {
            rabbitmq.declare = self.full.is_none()
        })
    }

    fn break_off(&mut self) {
        self.own().kill();
    }

    fn mend(&mut self) {
        self.own_mut().start();
    }

    fn read(&self) -> Vec<Message> {
        run(async {
            let mut there = drain(&self.queues, &self.queues.events).await;
            if let Some(full) = &self.full {
                there.extend(drain(&self.queues, full).await);
            }
            there
        })
    }
}

/// Takes all messages out of a queue, until the broker has none after two seconds of silence.
pub async fn drain(queues: &Queues, queue: &str) -> Vec<Message> {
    let (connection, channel) = queues.channel().await;
    let no_ack = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let consumer =
        channel.basic_consume(queue.into(), "drain".into(), no_ack, FieldTable::default());
    let mut consumer = consumer.await.expect("the queue exists");
    let mut messages = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(2), consumer.next());
        let delivery = if let Ok(delivery) = next.await {
            delivery.expect("the consumer stays").expect("a delivery")
        } else {
            let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true });
            let Some(message) = got.await.expect("the queue exists") else {
                break;
            };
            message.delivery
        };
        messages.push(amqp_message(delivery));
    }
    // What was on its way already comes before the end.
    let cancelled = channel.basic_cancel("drain".into(), BasicCancelOptions::default());
    cancelled.await.expect("cancelled");
    while let Some(delivery) = consumer.next().await {
        messages.push(amqp_message(delivery.expect("a delivery")));
    }
    let _ = connection.close(200, "done".into()).await;
    messages
}

impl Blocks for RabbitmqHarness {
    fn block(&self) {
        self.own().ctl(&["set_vm_memory_high_watermark", "0"]);
    }

    fn unblock(&self) {
        self.own().ctl(&["set_vm_memory_high_watermark", "0.6"]);
    }
}

impl LimitsSize for RabbitmqHarness {
    fn start_limited() -> (Self, usize) {
        let harness = Self::on_own();
        let limit = "application:set_env(rabbit, max_message_size, 65536).";
        harness.own().ctl(&["eval", limit]);
        (harness, 65_536)
    }
}

impl Refuses for RabbitmqHarness {
    fn start_refusing() -> Self {
        let mut harness = Self::start();
        let full = format!("{}.full", harness.queues.exchange);
        run(async {
            let (connection, channel) = harness.queues.channel().await;
            let exchange = harness.queues.exchange.as_str();
            let durable = ExchangeDeclareOptions {
                durable: true,
                ..Default::default()
            };
            channel
                .exchange_declare(
                    exchange.into(),
                    ExchangeKind::Topic,
                    durable,
                    FieldTable::default(),
                )
                .await
                .expect("declared");
            let mut limits = FieldTable::default();
            limits.insert("x-max-length".into(), AMQPValue::LongInt(100));
            limits.insert(
                "x-overflow".into(),
                AMQPValue::LongString("reject-publish".into()),
            );
            let events = harness.queues.events.as_str();
            for (queue, source, arguments) in [
                (events, Self::GOOD, FieldTable::default()),
                (full.as_str(), Self::FULL, limits),
            ] {
                let declared =
                    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments);
                declared.await.expect("declared");
                channel
                    .queue_bind(
                        queue.into(),
                        exchange.into(),
                        format!("{source}.#").into(),
                        QueueBindOptions::default(),
                        FieldTable::default(),
                    )
                    .await
                    .expect("bound");
            }
            let _ = connection.close(200, "done".into()).await;
        });
        harness.full = Some(full);
        harness
    }
}

impl Drop for RabbitmqHarness {
    fn drop(&mut self) {
        // A broker of its own goes with its data. A failed test leaves its queues.
        if self.own.is_some() || std::thread::panicking() {
            return;
        }
        run(async {
            if let Some(full) = &self.full {
                let (connection, channel) = self.queues.channel().await;
                let deleted = channel.queue_delete(full.as_str().into(), Default::default());
                deleted.await.expect("deleted");
                let _ = connection.close(200, "done".into()).await;
            }
            self.queues.delete().await;
        });
    }
}

contract!(RabbitmqHarness);
contract_of_blocking!(RabbitmqHarness);
contract_of_limited!(RabbitmqHarness);
contract_of_refusing!(RabbitmqHarness);
