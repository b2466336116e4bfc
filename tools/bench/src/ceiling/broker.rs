//! RabbitMQ alone: one channel with confirms, a sliding window, persistent messages, no consumer.

use std::collections::VecDeque;
use std::error::Error;
use std::time::Instant;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};

use super::Options;
use crate::requests::Requests;
use crate::servers::Rabbit;

/// Messages under way.
pub(super) const WINDOW: usize = 256;

/// Messages a second.
pub(super) fn measure(
    rabbit: &Rabbit,
    kind: &str,
    options: Options<'_>,
) -> Result<f64, Box<dyn Error>> {
    rabbit.block_on(async {
        let (connection, channel) = rabbit.channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        channel
            .queue_delete("ceiling".into(), QueueDeleteOptions::default())
            .await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        channel
            .queue_declare(
                "ceiling".into(),
                QueueDeclareOptions {
                    durable: true,
                    ..Default::default()
                },
                arguments,
            )
            .await?;
        let (body, properties) = (
            Requests::new(options.body).body(0),
            BasicProperties::default().with_delivery_mode(2),
        );
        let window = WINDOW.min((64 << 20) / options.body).max(1);
        let (mut under_way, mut confirmed, began) =
            (VecDeque::with_capacity(window), 0_u64, Instant::now());
        while began.elapsed() < options.time {
            while under_way.len() < window {
                let publish = channel.basic_publish(
                    "".into(),
                    "ceiling".into(),
                    BasicPublishOptions::default(),
                    &body,
                    properties.clone(),
                );
                under_way.push_back(publish.await?);
            }
            if let Some(confirm) = under_way.pop_front() {
                match confirm.await? {
                    Confirmation::Ack(None) => confirmed += 1,
                    other => return Err(format!("a message was not confirmed: {other:?}").into()),
                }
            }
        }
        let rate = confirmed as f64 / began.elapsed().as_secs_f64();
        channel
            .queue_delete("ceiling".into(), QueueDeleteOptions::default())
            .await?;
        connection.close(200, "done".into()).await?;
        Ok(rate)
    })
}
