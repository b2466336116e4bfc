//! A node of a cluster goes away: the service goes on with the others.

use super::Row;
use crate::scene::{Felt, Scene};
use crate::verdict::Figures;
use crate::world::blocking;
use hookweir_testkit::servers::Server;

pub const ROWS: &[Row] = &[
    Row::new(
        "cluster-mq-leader",
        "of three RabbitMQ nodes the leader of the quorum queue is killed, and started again",
        |scene| Box::pin(leader_killed(scene)),
        Figures::HARDLY,
    )
    .with(|setup| setup.rabbitmq_cluster = true),
    Row::new(
        "cluster-mq-cut",
        "of three RabbitMQ nodes the one that the service uses is cut off from the others",
        |scene| Box::pin(minority_cut_off(scene)),
        Figures::HARDLY,
    )
    .with(|setup| setup.rabbitmq_cluster = true),
    Row::new(
        "cluster-mq-rolling",
        "three RabbitMQ nodes are stopped and started again, one after the other",
        |scene| Box::pin(rolling_restart(scene)),
        Figures::HARDLY,
    )
    .with(|setup| setup.rabbitmq_cluster = true),
    Row::new(
        "cluster-mq-few",
        "of three RabbitMQ nodes two are killed: fewer than an event needs to be confirmed",
        |scene| Box::pin(too_few(scene)),
        Figures::HARDLY,
    )
    .felt(Felt::Waiting(100))
    .with(|setup| setup.rabbitmq_cluster = true),
    Row::new(
        "cluster-pg",
        "the PostgreSQL primary is killed, and its synchronous standby is promoted",
        |scene| Box::pin(standby_promoted(scene)),
        // By the spools of two instances that cannot ask the database.
        Figures {
            accepted_twice: true,
            ..Figures::HARDLY
        },
    )
    .felt(Felt::Counter("hookweir_spooled_total", &[], 1))
    .with(|setup| {
        setup.postgres_pair = true;
        setup.instances = 2;
    }),
];

fn rabbitmq<'s>(scene: &'s Scene<'_>) -> &'s Server {
    scene.rabbitmq_cluster.as_ref().expect("three nodes")
}

/// The number of the node in a line of `rabbitmqctl` about `name`, asked of `node`.
fn node_of(scene: &Scene<'_>, ask: i32, what: &[&str], name: &str) -> Option<i32> {
    let plain = ["-q", "--no-table-headers"];
    let lines = blocking(|| rabbitmq(scene).ctl_node(ask, &[what, &plain].concat()));
    let line = lines.lines().find(|line| line.contains(name))?;
    let (before, _) = line.split_once("@localhost")?;
    before.rsplit_once('n')?.1.parse().ok()
}

fn leader_of_queue(scene: &Scene<'_>, ask: i32) -> i32 {
    let name = scene.place.queues.events.clone();
    node_of(scene, ask, &["list_queues", "name", "leader"], &name).expect("the queue has a leader")
}

fn node_of_service(scene: &Scene<'_>, ask: i32) -> Option<i32> {
    let what = ["list_connections", "pid", "client_properties"];
    node_of(scene, ask, &what, "hookweir")
}

/// A node that is not `node`.
fn other(node: i32) -> i32 {
    if node == 1 { 2 } else { 1 }
}

async fn leader_killed(scene: &mut Scene<'_>) {
    let leader = leader_of_queue(scene, 1);
    scene
        .fault(async |scene| {
            blocking(|| rabbitmq(scene).kill_node(leader));
            scene.wait(4000..6000).await;
        })
        .await;
    let now = leader_of_queue(scene, other(leader));
    scene.demand(
        "felt: another node leads",
        now != leader,
        format!("{leader}, then {now}"),
    );
    scene.recovered().await;
    // With two of three nodes all goes on; the third comes back beside the load.
    scene
        .fault(async |scene| blocking(|| rabbitmq(scene).start_node(leader)))
        .await;
}

async fn minority_cut_off(scene: &mut Scene<'_>) {
    let node = node_of_service(scene, 1).expect("the service is connected");
    scene
        .fault(async |scene| {
            blocking(|| rabbitmq(scene).cut_node(node));
            scene.wait(6000..8000).await;
        })
        .await;
    scene.recovered().await;
    let now = node_of_service(scene, other(node));
    scene.demand(
        "felt: the service goes on with another node",
        now.is_some_and(|now| now != node),
        format!("{node}, then {now:?}"),
    );
    scene
        .fault(async |scene| blocking(|| rabbitmq(scene).heal_node(node)))
        .await;
    scene.calm().await;
}

async fn rolling_restart(scene: &mut Scene<'_>) {
    for node in 1..=3 {
        scene
            .fault(async |scene| {
                blocking(|| rabbitmq(scene).stop_node(node));
                blocking(|| rabbitmq(scene).start_node(node));
            })
            .await;
        scene.recovered().await;
        scene.calm().await;
    }
}

/// One of three nodes is the minority: it takes no more.
async fn too_few(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| rabbitmq(scene).kill_node(2));
            blocking(|| rabbitmq(scene).kill_node(3));
            scene.wait(5000..7000).await;
            scene.note_waiting();
            let server = rabbitmq(scene);
            blocking(|| {
                std::thread::scope(|scope| {
                    scope.spawn(|| server.start_node(2));
                    scope.spawn(|| server.start_node(3));
                });
            });
        })
        .await;
}

async fn standby_promoted(scene: &mut Scene<'_>) {
    let (primary, standby) = match scene.promotions % 2 {
        0 => (1, 2),
        _ => (2, 1),
    };
    scene.promotions += 1;
    scene
        .fault(async |scene| {
            let pair = scene.postgres_pair.as_ref().expect("two nodes");
            blocking(|| pair.kill_node(primary));
            scene.wait(1000..3000).await;
            let pair = scene.postgres_pair.as_ref().expect("two nodes");
            blocking(|| pair.promote_node(standby));
        })
        .await;
    scene.recovered().await;
    // Ready for the next round: each commit waits for a standby again.
    scene
        .fault(async |scene| {
            let pair = scene.postgres_pair.as_ref().expect("two nodes");
            blocking(|| pair.follow_node(primary, standby));
        })
        .await;
}
