//! Kafka goes away, or refuses, in each of the ways it does. No sender notices any of it, and nothing is written twice.

use super::{Row, answers_are_cut, line_is};
use crate::scene::{Felt, KafkaSink, SECOND, Scene};
use crate::verdict::Figures;
use crate::world::blocking;
use hookweir_testkit::kafka::{create_topic, leader};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::proxy::{Line, Proxy};
use hookweir_testkit::servers::Server;

/// Nothing went out.
const WAITING: Felt = Felt::Waiting(100);

pub const ROWS: &[Row] = &[
    Row::new(
        "kafka-kill",
        "Kafka's only node is killed, and started again after a second",
        |scene| Box::pin(kill(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Node)),
    Row::new(
        "kafka-stop",
        "Kafka is stopped for the outage",
        |scene| Box::pin(stop(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Node)),
    Row::new(
        "kafka-frozen",
        "Kafka is frozen (SIGSTOP)",
        |scene| Box::pin(frozen(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Node)),
    Row::new(
        "kafka-silent",
        "the line to Kafka passes nothing on",
        |scene| Box::pin(silent(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Proxied)),
    Row::new(
        "kafka-half-open",
        "the line to Kafka keeps the answers back",
        |scene| Box::pin(half_open(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Proxied)),
    Row::new(
        "kafka-slow",
        "the line to Kafka passes 50 KB a second",
        |scene| Box::pin(slow(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Proxied)),
    Row::new(
        "kafka-cut",
        "the line to Kafka is cut after some bytes of its answers",
        |scene| Box::pin(cut(scene)),
        Figures::UNCOPIED,
    )
    .with(|setup| setup.kafka = Some(KafkaSink::Proxied)),
    Row::new(
        "kafka-leader",
        "of three Kafka nodes the leader of a partition is killed, and started again",
        |scene| Box::pin(leader_killed(scene)),
        Figures::UNCOPIED,
    )
    .with(|setup| setup.kafka = Some(KafkaSink::Cluster)),
    Row::new(
        "kafka-leader-frozen",
        "of three Kafka nodes the leader of a partition is frozen (SIGSTOP) until another leads",
        |scene| Box::pin(leader_frozen(scene)),
        Figures::UNCOPIED,
    )
    .with(|setup| setup.kafka = Some(KafkaSink::Cluster)),
    Row::new(
        "kafka-too-few",
        "of three Kafka nodes two are killed: fewer than an event needs to be confirmed",
        |scene| Box::pin(too_few(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Cluster)),
    Row::new(
        "kafka-leader-alone",
        "of three Kafka nodes the leader is killed while it alone has events, and comes back behind another leader",
        |scene| Box::pin(leader_alone(scene)),
        Figures::UNCOPIED,
    )
    .with(|setup| setup.kafka = Some(KafkaSink::Led)),
    Row::new(
        "kafka-follower",
        "of three Kafka nodes one that leads no partition is killed: two have each event, as many as it needs",
        |scene| Box::pin(follower_killed(scene)),
        Figures::UNCOPIED,
    )
    .with(|setup| setup.kafka = Some(KafkaSink::Led)),
    Row::new(
        "kafka-second",
        "Kafka, a second sink beside RabbitMQ, is stopped for the outage",
        |scene| Box::pin(second_stopped(scene)),
        Figures::UNCOPIED,
    )
    .felt(WAITING)
    .with(|setup| setup.kafka = Some(KafkaSink::Beside)),
    Row::new(
        "kafka-denied",
        "the right to write to two of five topics is taken from the service, and given back",
        |scene| Box::pin(denied(scene)),
        Figures::UNCOPIED,
    )
    .felt(Felt::Counter(
        "hookweir_published_total",
        &["result=\"nacked\""],
        20,
    ))
    .with(|setup| setup.kafka = Some(KafkaSink::LoggedIn)),
    Row::new(
        "kafka-fatal",
        "a service that may write to no topic starts: every new producer ends with a fatal error",
        |scene| Box::pin(fatal(scene)),
        Figures::DOWN,
    )
    .with(|setup| setup.kafka = Some(KafkaSink::LoggedIn)),
    Row::new(
        "kafka-topic",
        "a topic is deleted, and made again",
        |scene| Box::pin(made_again(scene)),
        Figures::UNCOPIED,
    )
    .felt(Felt::Counter(
        "hookweir_published_total",
        &["result=\"unroutable\""],
        20,
    ))
    .with(|setup| setup.kafka = Some(KafkaSink::LoggedIn)),
    Row::new(
        "kafka-too-large",
        "a topic takes no record over 16 KB for a while",
        |scene| Box::pin(too_large(scene)),
        Figures::UNCOPIED,
    )
    .felt(Felt::Counter(
        "hookweir_published_total",
        &["result=\"refused\""],
        2,
    ))
    .with(|setup| {
        setup.kafka = Some(KafkaSink::Node);
        // A compressed body would be smaller than it is.
        setup.set("publisher.compression", "\"none\"");
    }),
    Row::new(
        "kafka-service",
        "the service is killed, and its sink is Kafka",
        |scene| Box::pin(service(scene)),
        Figures::DOWN,
    )
    .with(|setup| setup.kafka = Some(KafkaSink::Node)),
];

fn server<'s>(scene: &'s mut Scene<'_>) -> &'s mut Server {
    scene.kafka.as_mut().expect("a row with a Kafka")
}

fn line<'s>(scene: &'s Scene<'_>) -> &'s Proxy {
    scene.to_kafka.as_ref().expect("a row with a proxy")
}

async fn kill(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| server(scene).kill());
            scene.wait(500..1500).await;
            scene.note_waiting();
            blocking(|| server(scene).start());
        })
        .await;
}

async fn stop(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| server(scene).stop());
            tokio::time::sleep(scene.options.outage()).await;
            scene.note_waiting();
            blocking(|| server(scene).start());
        })
        .await;
}

/// Longer than the client waits for one answer.
async fn frozen(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| server(scene).pause());
            scene.wait(12_000..15_000).await;
            scene.note_waiting();
            blocking(|| server(scene).resume());
        })
        .await;
}

async fn silent(scene: &mut Scene<'_>) {
    line_is(scene, line, Line::Silent, 4000..6000).await;
}

/// Kafka hears, keeps what it heard, and is not heard.
async fn half_open(scene: &mut Scene<'_>) {
    line_is(scene, line, Line::HalfOpen, 4000..6000).await;
}

async fn slow(scene: &mut Scene<'_>) {
    line_is(scene, line, Line::Slow(50), 6000..8000).await;
}

async fn cut(scene: &mut Scene<'_>) {
    answers_are_cut(scene, line, 1..2000).await;
}

fn leader_of_one(scene: &Scene<'_>) -> i32 {
    let topics = scene.place.topics.as_ref().expect("topics");
    blocking(|| leader(&topics.url, &topics.of(Provider::ALL[0])))
}

async fn leader_killed(scene: &mut Scene<'_>) {
    let node = leader_of_one(scene);
    scene
        .fault(async |scene| {
            blocking(|| server(scene).kill_node(node));
            scene.wait(5000..7000).await;
            blocking(|| server(scene).start_node(node));
        })
        .await;
    let now = leader_of_one(scene);
    scene.demand(
        "felt: another node leads",
        now != node,
        format!("{node}, then {now}"),
    );
}

async fn leader_frozen(scene: &mut Scene<'_>) {
    let node = leader_of_one(scene);
    scene
        .fault(async |scene| {
            blocking(|| server(scene).pause_node(node));
            scene.wait(8000..12_000).await;
            blocking(|| server(scene).resume_node(node));
        })
        .await;
    let now = leader_of_one(scene);
    scene.demand(
        "felt: another node leads",
        now != node,
        format!("{node}, then {now}"),
    );
}

/// Two of three nodes are the majority, so nobody elects a leader either.
async fn too_few(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| server(scene).kill_node(2));
            blocking(|| server(scene).kill_node(3));
            scene.wait(5000..7000).await;
            // Each needs the other to start.
            let server = &*server(scene);
            blocking(|| {
                std::thread::scope(|scope| {
                    scope.spawn(|| server.start_node(2));
                    scope.spawn(|| server.start_node(3));
                });
            });
        })
        .await;
}

/// Denies the service to write to topics, or ends that.
fn deny(scene: &mut Scene<'_>, names: &[String], verb: &str, more: &[&str]) {
    for name in names {
        let topic = ["acls", verb, "--topic", name];
        let whom = ["--deny-principal", "User:hookweir", "--operation", "Write"];
        blocking(|| server(scene).ctl(&[&topic[..], &whom, more].concat()));
    }
}

/// The events of the other topics go on.
async fn denied(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let topics = scene.place.topics.as_ref().expect("topics");
            let names = [0, 1].map(|at| topics.of(Provider::ALL[at]));
            deny(scene, &names, "--add", &[]);
            scene.wait(5000..7000).await;
            deny(scene, &names, "--remove", &["--force"]);
        })
        .await;
}

/// Takes the rights that a new producer needs from the service, or gives them back. Its topics can be looked up meanwhile.
fn may_number_producers(scene: &mut Scene<'_>, verb: &str, more: &[&str]) {
    let denied = ["--deny-principal", "User:hookweir"];
    let allowed = ["--allow-principal", "User:hookweir"];
    for (resource, operation, whom) in [
        (&["--topic", "*"][..], "Describe", allowed),
        (&["--topic", "*"], "Write", denied),
        (&["--cluster"], "IdempotentWrite", denied),
    ] {
        let what = [&["acls", verb], resource, &["--operation", operation]].concat();
        blocking(|| server(scene).ctl(&[&what[..], &whom, more].concat()));
    }
}

/// The broker refuses to number the producers: that is fatal for each of them, and heals with the right.
async fn fatal(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            may_number_producers(scene, "--add", &[]);
            scene.kill(0);
            scene.apps[0].start_again().await;
            scene.wait(7000..9000).await;
            let labels = ["result=\"nacked\""];
            let metrics = scene.apps[0].metrics().await;
            let nacked = metrics.sum("hookweir_published_total", &labels);
            let advised = scene.apps[0].log().contains("grant it WRITE on its topics");
            scene.demand(
                "felt: events are refused, with advice",
                nacked > 0 && advised,
                format!("{nacked} refused, advised: {advised}"),
            );
            may_number_producers(scene, "--remove", &["--force"]);
        })
        .await;
}

/// Before the topic is deleted, its records are read, and no more may be written: what an operator deletes is not lost by the service.
async fn made_again(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let provider = Provider::ALL[0];
            let topics = scene.place.topics.as_ref().expect("topics");
            let names = [topics.of(provider)];
            deny(scene, &names, "--add", &[]);
            // What is under way is confirmed, or refused.
            scene.wait(2000..3000).await;
            scene.place.keep(provider);
            let delete = ["topics", "--delete", "--topic", &names[0]];
            blocking(|| server(scene).ctl(&delete));
            deny(scene, &names, "--remove", &["--force"]);
            scene.wait(8000..10_000).await;
            let topics = scene.place.topics.as_ref().expect("topics");
            blocking(|| create_topic(&topics.url, &names[0], 3, &[]));
        })
        .await;
}

/// Events over the limit: each is refused twice when alone, and parked. All others pass.
async fn too_large(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let topics = scene.place.topics.as_ref().expect("topics");
            let names = Provider::ALL.map(|provider| topics.of(provider));
            for bytes in ["16384", "1048588"] {
                let limit = format!("max.message.bytes={bytes}");
                for name in &names {
                    let entity = ["configs", "--alter", "--entity-type", "topics"];
                    let change = ["--entity-name", name, "--add-config", &limit];
                    blocking(|| server(scene).ctl(&[entity, change].concat()));
                }
                scene.wait(4000..6000).await;
            }
        })
        .await;
    let parked = scene.place.number("select count(*) as value from parked");
    scene.demand(
        "what is too large is parked",
        parked > 0,
        parked.to_string(),
    );
    // Key and headers take no more than the difference.
    let small =
        "select count(*) as value from parked join event using (seq) where length(body) < 12000";
    let small = scene.place.number(small);
    scene.demand("nothing else is parked", small == 0, small.to_string());
}

/// The followers are frozen, so that the leader has what it takes alone, and dies with it. They elect another leader, which never saw
/// those events; the old one throws them away when it is back. They were not confirmed, and come again.
async fn leader_alone(scene: &mut Scene<'_>) {
    let leader = leader_of_one(scene);
    let followers: Vec<i32> = (1..=3).filter(|node| *node != leader).collect();
    scene
        .fault(async |scene| {
            for node in &followers {
                blocking(|| server(scene).pause_node(*node));
            }
            // Shorter than the time after which the leader goes on without them.
            scene.wait(1500..2500).await;
            blocking(|| server(scene).kill_node(leader));
            for node in &followers {
                blocking(|| server(scene).resume_node(*node));
            }
            scene.wait(5000..7000).await;
            blocking(|| server(scene).start_node(leader));
        })
        .await;
    let now = leader_of_one(scene);
    scene.demand(
        "felt: another node leads",
        now != leader,
        format!("{leader}, then {now}"),
    );
}

/// Events of all topics that went out.
async fn confirmed(scene: &Scene<'_>) -> usize {
    scene
        .felt(Felt::Counter(
            "hookweir_published_total",
            &["result=\"confirmed\""],
            0,
        ))
        .await
}

async fn follower_killed(scene: &mut Scene<'_>) {
    let leader = leader_of_one(scene);
    let follower = 1 + leader % 3;
    scene
        .fault(async |scene| {
            blocking(|| server(scene).kill_node(follower));
            // Until the leader counts it out.
            scene.wait(7000..9000).await;
            let before = confirmed(scene).await;
            scene.wait(2000..3000).await;
            let more = confirmed(scene).await - before;
            scene.demand(
                "events go out while a follower is down",
                more >= 100,
                more.to_string(),
            );
            blocking(|| server(scene).start_node(follower));
        })
        .await;
    let now = leader_of_one(scene);
    scene.demand(
        "the leader stays",
        now == leader,
        format!("{leader}, then {now}"),
    );
}

async fn second_stopped(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| server(scene).stop());
            tokio::time::sleep(scene.options.outage()).await;
            let waiting = |sink: &str| {
                let sql = format!("select count(*) as value from outbox where sink = '{sink}'");
                scene.place.number(&sql)
            };
            let (first, second) = (waiting("default"), waiting(SECOND));
            scene.demand(
                "only the backlog of the sink that is down grows",
                second >= 100 && first * 5 < second,
                format!("{first} wait for RabbitMQ, {second} for Kafka"),
            );
            scene.note_waiting();
            blocking(|| server(scene).start());
        })
        .await;
}

async fn service(scene: &mut Scene<'_>) {
    for _ in 0..5 {
        scene.wait(200..2000).await;
        scene
            .fault(async |scene| {
                scene.kill(0);
                scene.apps[0].start_again().await;
            })
            .await;
    }
    scene.apps[0].ready().await;
}
