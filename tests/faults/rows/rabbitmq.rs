//! RabbitMQ goes away, or refuses, in each of the ways it does. No sender notices any of it.

use lapin::options::ExchangeDeleteOptions;
use lapin::types::FieldTable;

use super::Row;
use crate::oracle::Figures;
use crate::scene::Scene;
use crate::support::proxy::Line;
use crate::world::blocking;

pub const ROWS: &[Row] = &[
    Row::new("mq-kill", "RabbitMQ is killed, and started again after a second", |scene| Box::pin(kill(scene)), Figures::HARDLY),
    Row::new("mq-stop", "RabbitMQ is stopped for the outage", |scene| Box::pin(stop(scene)), Figures::HARDLY),
    Row::new("mq-frozen", "RabbitMQ is frozen (SIGSTOP)", |scene| Box::pin(frozen(scene)), Figures::HARDLY),
    Row::new("mq-alarm", "RabbitMQ's memory alarm blocks all who publish", |scene| Box::pin(alarm(scene)), Figures::HARDLY),
    Row::new("mq-unbound", "the queue is unbound in mid-run, and bound again", |scene| Box::pin(unbound(scene)), Figures::HARDLY),
    Row::new("mq-exchange", "the exchange is deleted", |scene| Box::pin(exchange(scene)), Figures::HARDLY),
    Row::new("mq-silent", "the line to RabbitMQ passes nothing on", |scene| Box::pin(silent(scene)), Figures::HARDLY)
        .with(|setup| setup.proxy_rabbitmq = true),
    Row::new("mq-cut", "the line to RabbitMQ is cut after some bytes", |scene| Box::pin(cut(scene)), Figures::HARDLY)
        .with(|setup| setup.proxy_rabbitmq = true),
];

async fn kill(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.kill());
            scene.wait(500..1500).await;
            blocking(|| scene.servers.rabbitmq.start());
        })
        .await;
}

async fn stop(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.stop());
            tokio::time::sleep(scene.options.outage()).await;
            blocking(|| scene.servers.rabbitmq.start());
        })
        .await;
}

async fn frozen(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.pause());
            scene.wait(4000..6000).await;
            blocking(|| scene.servers.rabbitmq.resume());
        })
        .await;
}

async fn alarm(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.ctl(&["set_vm_memory_high_watermark", "absolute", "1000000"]));
            scene.wait(4000..6000).await;
            blocking(|| scene.servers.rabbitmq.ctl(&["set_vm_memory_high_watermark", "0.4"]));
        })
        .await;
}

async fn unbound(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let queues = &scene.place.queues;
            let (connection, channel) = queues.channel().await;
            let (queue, exchange) = (queues.events.as_str(), queues.exchange.as_str());
            channel.queue_unbind(queue.into(), exchange.into(), "#".into(), FieldTable::default()).await.expect("unbound");
            tokio::time::sleep(scene.options.outage() / 3).await;
            let bind = channel.queue_bind(queue.into(), exchange.into(), "#".into(), Default::default(), FieldTable::default());
            bind.await.expect("bound again");
            let _ = connection.close(200, "done".into()).await;
        })
        .await;
}

async fn exchange(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let (connection, channel) = scene.place.queues.channel().await;
            let delete = channel.exchange_delete(scene.place.queues.exchange.as_str().into(), ExchangeDeleteOptions::default());
            delete.await.expect("deleted");
            let _ = connection.close(200, "done".into()).await;
            scene.wait(2000..3000).await;
        })
        .await;
}

async fn silent(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            scene.to_rabbitmq[0].set(Line::Silent);
            scene.wait(4000..6000).await;
            scene.to_rabbitmq[0].set(Line::Cut);
            scene.to_rabbitmq[0].set(Line::Open);
        })
        .await;
}

async fn cut(scene: &mut Scene<'_>) {
    for _ in 0..8 {
        scene
            .fault(async |scene| {
                let bytes = scene.rng.i64(1..2000);
                scene.to_rabbitmq[0].cut_back_after(bytes);
                scene.wait(300..600).await;
            })
            .await;
    }
}
