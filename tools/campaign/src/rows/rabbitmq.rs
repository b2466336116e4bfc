//! RabbitMQ goes away, or refuses, in each of the ways it does. No sender notices any of it.

use lapin::options::ExchangeDeleteOptions;
use lapin::types::FieldTable;

use super::{Row, answers_are_cut, line_is};
use crate::scene::{Felt, Scene};
use crate::verdict::{CHANNELS, Figures};
use crate::world::blocking;
use hookweir_testkit::proxy::Line;

/// Nothing went out.
const WAITING: Felt = Felt::Waiting(100);
/// A batch failed, or nobody knows whether it did.
const FAILED: Felt = Felt::Counter("hookweir_published_total", &["result=\"unknown\""], 1);

pub const ROWS: &[Row] = &[
    Row::new(
        "mq-kill",
        "RabbitMQ is killed, and started again after a second",
        |scene| Box::pin(kill(scene)),
        Figures::HARDLY,
    )
    .felt(WAITING),
    Row::new(
        "mq-stop",
        "RabbitMQ is stopped for the outage",
        |scene| Box::pin(stop(scene)),
        Figures::HARDLY,
    )
    .felt(WAITING),
    Row::new(
        "mq-frozen",
        "RabbitMQ is frozen (SIGSTOP)",
        |scene| Box::pin(frozen(scene)),
        Figures::HARDLY,
    )
    .felt(WAITING),
    Row::new(
        "mq-alarm",
        "RabbitMQ's memory alarm blocks all who publish",
        |scene| Box::pin(alarm(scene)),
        Figures::HARDLY,
    )
    .felt(WAITING),
    Row::new(
        "mq-unbound",
        "the queue is unbound in mid-run, and bound again",
        |scene| Box::pin(unbound(scene)),
        Figures::HARDLY,
    ),
    Row::new(
        "mq-unrouted",
        "no queue is bound for some sources, and no alternate exchange is there",
        |scene| Box::pin(unrouted(scene)),
        Figures::HARDLY,
    )
    .felt(Felt::Counter(
        "hookweir_published_total",
        &["result=\"unroutable\""],
        100,
    ))
    // As fast as it goes, so that batches are long and both kinds are in one.
    .with(|setup| (setup.own_topology, setup.rate) = (true, Some(0.0))),
    Row::new(
        "mq-exchange",
        "the exchange is deleted",
        |scene| Box::pin(exchange(scene)),
        Figures::HARDLY,
    )
    .felt(FAILED),
    Row::new(
        "mq-silent",
        "the line to RabbitMQ passes nothing on",
        |scene| Box::pin(silent(scene)),
        Figures::HARDLY,
    )
    .felt(WAITING)
    .with(|setup| setup.proxy_rabbitmq = true),
    Row::new(
        "mq-cut",
        "the line to RabbitMQ is cut after some bytes",
        |scene| Box::pin(cut(scene)),
        Figures::HARDLY,
    )
    .felt(FAILED)
    .with(|setup| setup.proxy_rabbitmq = true),
    Row::new(
        "mq-half-open",
        "the line to RabbitMQ keeps the answers back",
        |scene| Box::pin(half_open(scene)),
        Figures::HARDLY,
    )
    .felt(WAITING)
    .with(|setup| setup.proxy_rabbitmq = true),
    Row::new(
        "mq-slow",
        "the line to RabbitMQ passes 100 KB a second",
        |scene| Box::pin(slow(scene)),
        Figures::HARDLY,
    )
    .felt(WAITING)
    .with(|setup| setup.proxy_rabbitmq = true),
    Row::new(
        "mq-nack",
        "the queue refuses what comes (a policy: reject-publish)",
        |scene| Box::pin(nack(scene)),
        Figures::HARDLY,
    )
    .felt(Felt::Counter(
        "hookweir_published_total",
        &["result=\"nacked\""],
        100,
    )),
    Row::new(
        "mq-too-large",
        "RabbitMQ takes no message over 16 KB for a while",
        |scene| Box::pin(too_large(scene)),
        Figures::HARDLY,
    )
    .felt(Felt::Counter(
        "hookweir_published_total",
        &["result=\"refused\""],
        2,
    )),
];

async fn kill(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.kill());
            scene.wait(500..1500).await;
            scene.note_waiting();
            blocking(|| scene.servers.rabbitmq.start());
        })
        .await;
}

async fn stop(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.stop());
            tokio::time::sleep(scene.options.outage()).await;
            scene.note_waiting();
            blocking(|| scene.servers.rabbitmq.start());
        })
        .await;
}

async fn frozen(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.pause());
            scene.wait(4000..6000).await;
            scene.note_waiting();
            blocking(|| scene.servers.rabbitmq.resume());
        })
        .await;
}

async fn alarm(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| {
                scene
                    .servers
                    .rabbitmq
                    .ctl(&["set_vm_memory_high_watermark", "absolute", "1000000"])
            });
            scene.wait(4000..6000).await;
            scene.note_waiting();
            blocking(|| {
                scene
                    .servers
                    .rabbitmq
                    .ctl(&["set_vm_memory_high_watermark", "0.4"])
            });
        })
        .await;
}

async fn unbound(scene: &mut Scene<'_>) {
    rebound(scene, &[]).await;
    let unrouted = scene.place.queues.count(&scene.place.queues.unrouted).await;
    scene.demand(
        "felt: the alternate exchange keeps what is not routed",
        unrouted > 0,
        unrouted.to_string(),
    );
}

/// What is returned comes between what is confirmed, and either has to be told of its own message.
async fn unrouted(scene: &mut Scene<'_>) {
    let newest = scene.place.newest();
    rebound(scene, &["github.#", "slack.#"]).await;
    let (waiting, all) = (
        scene.place.number(ROUTED_WAITING),
        scene.place.number(&format!("{ROUTED} and seq > {newest}")),
    );
    scene.demand("felt by some sources only", all > 0, all.to_string());
    scene.demand_in_time(
        "the other sources go on: at most 5 % of theirs wait",
        waiting * 20 <= all,
        format!("{waiting} of {all}"),
    );
}

const ROUTED: &str = "select count(*) as value from event where source in ('github', 'slack')";
const ROUTED_WAITING: &str = "select count(*) as value from outbox join event using (seq) where source in ('github', 'slack')";

/// Binds the queue to these keys only, for a while.
async fn rebound(scene: &mut Scene<'_>, keys: &[&str]) {
    scene
        .fault(async |scene| {
            let queues = &scene.place.queues;
            let (connection, channel) = queues.channel().await;
            let (queue, exchange) = (queues.events.as_str(), queues.exchange.as_str());
            let bind = async |key: &str| {
                let bind = channel.queue_bind(
                    queue.into(),
                    exchange.into(),
                    key.into(),
                    Default::default(),
                    FieldTable::default(),
                );
                bind.await.expect("bound");
            };
            for key in keys {
                bind(key).await;
            }
            channel
                .queue_unbind(
                    queue.into(),
                    exchange.into(),
                    "#".into(),
                    FieldTable::default(),
                )
                .await
                .expect("unbound");
            tokio::time::sleep(scene.options.outage() / 3).await;
            bind("#").await;
            for key in keys {
                channel
                    .queue_unbind(
                        queue.into(),
                        exchange.into(),
                        (*key).into(),
                        FieldTable::default(),
                    )
                    .await
                    .expect("unbound");
            }
            let _ = connection.close(200, "done".into()).await;
        })
        .await;
}

async fn exchange(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let (connection, channel) = scene.place.queues.channel().await;
            let delete = channel.exchange_delete(
                scene.place.queues.exchange.as_str().into(),
                ExchangeDeleteOptions::default(),
            );
            delete.await.expect("deleted");
            let _ = connection.close(200, "done".into()).await;
            scene.wait(2000..3000).await;
        })
        .await;
}

async fn silent(scene: &mut Scene<'_>) {
    line_is(
        scene,
        |scene| &scene.to_rabbitmq[0],
        Line::Silent,
        4000..6000,
    )
    .await;
}

/// RabbitMQ hears, keeps what it heard, and is not heard.
async fn half_open(scene: &mut Scene<'_>) {
    line_is(
        scene,
        |scene| &scene.to_rabbitmq[0],
        Line::HalfOpen,
        4000..6000,
    )
    .await;
}

async fn slow(scene: &mut Scene<'_>) {
    line_is(
        scene,
        |scene| &scene.to_rabbitmq[0],
        Line::Slow(100),
        6000..8000,
    )
    .await;
}

async fn nack(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let pattern = format!("^{}$", scene.place.queues.events);
            // A queue that is over its length when it has no overflow rule yet drops what it holds.
            for length in [1_000_000, 1] {
                let policy = format!(r#"{{"max-length":{length},"overflow":"reject-publish"}}"#);
                blocking(|| {
                    scene.servers.rabbitmq.ctl(&[
                        "set_policy",
                        "--apply-to",
                        "queues",
                        "refuse",
                        &pattern,
                        &policy,
                    ])
                });
                scene.wait(500..600).await;
            }
            scene.wait(4000..6000).await;
            blocking(|| scene.servers.rabbitmq.ctl(&["clear_policy", "refuse"]));
        })
        .await;
}

/// Events over the limit: each is refused twice when alone, and parked. All others pass.
const PARKED: &str = "select count(*) as value from parked";

async fn too_large(scene: &mut Scene<'_>) {
    let before = scene.place.number(PARKED);
    scene
        .fault(async |scene| {
            let limit =
                |bytes: usize| format!("application:set_env(rabbit, max_message_size, {bytes}).");
            blocking(|| scene.servers.rabbitmq.ctl(&["eval", &limit(16 << 10)]));
            // Channels ask for the limit when they are opened.
            blocking(|| {
                scene
                    .servers
                    .rabbitmq
                    .ctl(&["close_all_connections", "so that the new limit holds"])
            });
            scene.wait(4000..6000).await;
            blocking(|| scene.servers.rabbitmq.ctl(&["eval", &limit(128 << 20)]));
            blocking(|| {
                scene
                    .servers
                    .rabbitmq
                    .ctl(&["close_all_connections", "so that the old limit holds"])
            });
        })
        .await;
    let parked = scene.place.number(PARKED) - before;
    // All channels are closed a second time for the old limit, and one for each message that is found to be too large.
    scene.further_closings += CHANNELS + usize::try_from(parked).unwrap_or_default();
    scene.demand(
        "what is too large is parked",
        parked > 0,
        parked.to_string(),
    );
}

async fn cut(scene: &mut Scene<'_>) {
    answers_are_cut(scene, |scene| &scene.to_rabbitmq[0], 1..2000).await;
}
