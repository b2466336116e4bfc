//! Speed of the publisher: rows in the outbox until the last one is confirmed and gone. Run it with
//! `cargo bench --bench publish -- [EVENTS]`.
//!
//! Without HOOKWEIR_TEST_AMQP, only the file sink is measured. Ratios between the lines of one run
//! mean something. The figures themselves belong to the machine.

#![expect(clippy::print_stdout, reason = "it is a command line program")]
#![expect(
    unreachable_pub,
    dead_code,
    reason = "what it shares with the tests has more than it needs"
)]

#[path = "../tests/it/publish_rig.rs"]
mod publish_rig;

use std::time::{Duration, Instant};

use hookweir::config::model::{Publisher, QueueType};

use publish_rig::{Rig, amqp, event, file};

const BODY: usize = 1200;

fn main() {
    let count = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(50_000);
    println!("{count} events of {BODY} bytes from the outbox; events/s");
    let folder = tempfile::tempdir().expect("a folder");
    let mut lines = vec![("file".to_owned(), measure(&file(folder.path()), count))];
    if let Ok(url) = std::env::var("HOOKWEIR_TEST_AMQP") {
        for (name, queue_type) in [
            ("classic", QueueType::Classic),
            ("quorum", QueueType::Quorum),
            ("stream", QueueType::Stream),
        ] {
            for (channels, window) in [(1, 1), (1, 256), (4, 256), (8, 256), (4, 1024)] {
                let exchange = format!("bench-{}", uuid::Uuid::now_v7().simple());
                let count = if window == 1 { count / 50 } else { count };
                let mut config = Publisher {
                    channels,
                    window,
                    ..amqp(&url, &exchange)
                };
                config.rabbitmq.queue_type = queue_type;
                lines.push((
                    format!("{name}, {channels} x {window}"),
                    measure(&config, count),
                ));
                delete(&url, &exchange);
            }
        }
    }
    let base = lines[0].1;
    for (name, rate) in lines {
        println!("{name:<20} {rate:>8.0}   {:.2} x file", rate / base);
    }
}

fn measure(config: &Publisher, count: usize) -> f64 {
    let config = Publisher {
        queue_events: 16_384,
        queue_bytes: 64 << 20,
        relay_interval: Duration::from_millis(1000),
        ..config.clone()
    };
    let rig = Rig::start(&config);
    rig.up();
    let body = vec![b'x'; BODY];
    let events: Vec<_> = (0..count)
        .map(|n| event("bench", &n.to_string(), &body))
        .collect();
    let began = Instant::now();
    for event in events {
        rig.outbox.put(event);
    }
    rig.drained();
    count as f64 / began.elapsed().as_secs_f64()
}

fn delete(url: &str, exchange: &str) {
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(async {
            let connection = lapin::Connection::connect(url, Default::default())
                .await
                .expect("RabbitMQ");
            let channel = connection.create_channel().await.expect("a channel");
            for queue in ["events", "unrouted"] {
                channel
                    .queue_delete(format!("{exchange}.{queue}").into(), Default::default())
                    .await
                    .expect("deleted");
            }
            for exchange in [exchange.to_owned(), format!("{exchange}.unrouted")] {
                channel
                    .exchange_delete(exchange.into(), Default::default())
                    .await
                    .expect("deleted");
            }
            connection.close(200, "done".into()).await.expect("closed");
        });
}
