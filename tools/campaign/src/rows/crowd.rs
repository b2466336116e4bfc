//! Too many come: forgers, the slow and the rude, or simply three times as many as there is room for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Row;
use crate::scene::{Scene, sizes};
use crate::verdict::Figures;
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::Load;
use hookweir_testkit::provider::Provider;

pub const ROWS: &[Row] = &[
    Row::new(
        "forgers",
        "2,000 forged deliveries a second",
        |scene| Box::pin(forgers(scene)),
        Figures::UNHARMED,
    ),
    Row::new(
        "hostile",
        "2,000 connections that are slow, silent or rude",
        |scene| Box::pin(hostile(scene)),
        Figures::UNHARMED,
    ),
    Row::new(
        "held-open",
        "more bodies than there is room for are held open at one source",
        |scene| Box::pin(held_open(scene)),
        Figures::UNHARMED,
    )
    .with(|setup| {
        setup.providers = OTHERS.to_vec();
        setup.set("limits.in_flight_bytes", 33_554_432);
    }),
    Row::new(
        "idle",
        "three times as many idle connections as there is room for",
        |scene| Box::pin(idle(scene)),
        Figures::UNHARMED,
    )
    .with(|setup| setup.set("server.max_connections", 256)),
    Row::new(
        "overload",
        "three times as many deliveries as it can take",
        |scene| Box::pin(overload(scene)),
        OVERLOAD,
    ),
];

/// Those whose sources are not attacked.
const OTHERS: [Provider; 4] = [
    Provider::Stripe,
    Provider::Github,
    Provider::Shopify,
    Provider::Slack,
];

/// More than it can take is refused with 503, and comes again. Answers are late: most of all in the load itself, which has no core left, and
/// where there are more connections than are admitted.
const OVERLOAD: Figures = Figures {
    copies: false,
    taken: 0.0,
    in_time: false,
    ..Figures::UNHARMED
};

/// Times count with the release build only: unoptimised, it is the crowd itself that takes the cores.
fn in_time(scene: &mut Scene<'_>, what: &str, held: bool, saw: String) {
    scene.demand_in_time(what, held || cfg!(debug_assertions), saw);
}

/// How long a crowd stays.
pub const STAY: Duration = Duration::from_secs(10);

/// p99 of the answers to genuine deliveries in a while without the crowd, and with it.
async fn with_and_without(scene: &mut Scene<'_>, crowd: impl AsyncFnOnce(&mut Scene<'_>)) {
    let p99 = |from: Instant, scene: &Scene<'_>| {
        let mut took = scene.load().took_since(from);
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    };
    let from = Instant::now();
    tokio::time::sleep(STAY).await;
    let without = p99(from, scene);
    let from = Instant::now();
    crowd(scene).await;
    let with = p99(from, scene);
    // Below some milliseconds it is the scheduler that is measured.
    let limit = 2 * without.max(Duration::from_millis(25));
    in_time(
        scene,
        "p99 of good clients is less than twice that without",
        with < limit,
        format!("{with:.1?} after {without:.1?}"),
    );
}

pub(super) async fn forgers(scene: &mut Scene<'_>) {
    with_and_without(scene, async |scene| {
        let rows = "select count(*) as value from event";
        let keys = scene.apps[0].metrics().await.get("hookweir_cache_entries");
        let (before, begun) = (scene.place.number(rows), scene.load().counts().begun());
        let [refused, late, else_answered] = super::forged::forge(scene).await;
        scene.demand(
            "felt: forged deliveries are answered 401",
            refused > 0,
            refused.to_string(),
        );
        in_time(
            scene,
            "felt: forged deliveries",
            refused > 5000,
            refused.to_string(),
        );
        scene.demand(
            "each forged delivery is answered 401",
            else_answered == 0,
            format!("{else_answered} of {refused} not"),
        );
        scene.demand_in_time(
            "each forged delivery is answered in time",
            late == 0,
            format!("{late} of {refused} not"),
        );
        // Those under way at either look may be on the wrong side of it.
        let slack = scene.options.connections as i64 * 2;
        let genuine = (scene.load().counts().begun() - begun) as i64 + slack;
        let rows = scene.place.number(rows) - before;
        let keys = (scene.apps[0].metrics().await.get("hookweir_cache_entries") - keys) as i64;
        scene.demand(
            "forged: no rows",
            rows <= genuine,
            format!("{rows} rows, {genuine} genuine events"),
        );
        // The cache counts late, and an event whose id is not signed has two keys.
        scene.demand(
            "forged: no cache entries",
            keys <= 2 * genuine,
            format!("{keys} keys, {genuine} genuine events"),
        );
    })
    .await;
}

async fn hostile(scene: &mut Scene<'_>) {
    with_and_without(scene, async |scene| {
        let (target, since) = (scene.apps[0].listen, Instant::now());
        let mut clients = JoinSet::new();
        for number in 0..2000 {
            clients.spawn(async move {
                while since.elapsed() < STAY {
                    let _ = tokio::time::timeout(
                        STAY.saturating_sub(since.elapsed()),
                        rude(target, number % 5),
                    )
                    .await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
        tokio::time::sleep(STAY / 2).await;
        let open = scene.apps[0].metrics().await.get("hookweir_connections");
        in_time(scene, "felt: connections", open >= 1000.0, open.to_string());
        clients.join_all().await;
    })
    .await;
}

/// One connection, until the service has had enough of it.
async fn rude(target: SocketAddr, manner: u32) -> std::io::Result<()> {
    let head = "POST /ingest/github HTTP/1.1\r\nhost: h\r\n";
    let mut stream = TcpStream::connect(target).await?;
    let (pause, piece) = match manner {
        // Says nothing.
        0 => {
            let _ = stream.read(&mut [0; 256]).await?;
            return Ok(());
        }
        // Never ends its head.
        1 => (Duration::from_millis(200), "x-more: yes\r\n"),
        // Promises a body, and drips it.
        2 => {
            stream
                .write_all(format!("{head}content-length: 60000\r\n\r\n").as_bytes())
                .await?;
            (Duration::from_millis(200), "x")
        }
        // No HTTP at all.
        3 => (
            Duration::from_millis(100),
            "\u{1}\u{2}\u{3} nonsense \r\n\r\n",
        ),
        // Asks, and does not read the answers.
        _ => (
            Duration::from_secs(1),
            "POST /ingest/github HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}",
        ),
    };
    if manner == 1 {
        stream.write_all(head.as_bytes()).await?;
    }
    loop {
        stream.write_all(piece.as_bytes()).await?;
        tokio::time::sleep(pause).await;
    }
}

/// Bodies of which the last byte is kept back, at a source that nobody else sends to.
async fn held_open(scene: &mut Scene<'_>) {
    let (target, since, mut most) = (scene.apps[0].listen, Instant::now(), 0.0_f64);
    let mut holders = JoinSet::new();
    // As large as the broker's messages may be, and so many of each smaller size that what is left holds none of them.
    for length in [
        [15_000_000; 4].as_slice(),
        &[1_000_000; 30],
        &[60_000; 60],
        &[4000; 100],
        &[500; 100],
    ]
    .concat()
    {
        holders.spawn(async move {
            while since.elapsed() < STAY {
                let _ = tokio::time::timeout(
                    STAY.saturating_sub(since.elapsed()),
                    hold_back(target, length),
                )
                .await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    while since.elapsed() < STAY {
        most = most.max(
            scene.apps[0]
                .metrics()
                .await
                .get("hookweir_in_flight_bytes"),
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holders.join_all().await;
    let shed = shed_for_bytes(scene).await;
    scene.demand(
        "felt: bytes are held open",
        most > 15e6,
        format!("{most:.0}"),
    );
    scene.demand(
        "the other sources find room",
        shed == 0,
        format!("{shed} of their deliveries were shed, {most:.0} bytes were held open"),
    );
}

/// Returns the deliveries of [`OTHERS`] for whose bytes there was no room. Too slow a store sheds them for other reasons.
async fn shed_for_bytes(scene: &Scene<'_>) -> usize {
    let metrics = scene.apps[0].metrics().await;
    let mut shed = 0;
    for provider in OTHERS {
        let source = format!("source=\"{}\"", provider.name());
        for reason in ["reason=\"bytes\"", "reason=\"source_bytes\""] {
            let labels = ["outcome=\"shed\"", reason, source.as_str()];
            shed += metrics.sum("hookweir_outcomes_total", &labels);
        }
    }
    shed
}

async fn hold_back(target: SocketAddr, length: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(format!("POST /ingest/standardwebhooks HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await?;
    let piece = vec![b'x'; 1 << 20];
    let mut left = length - 1;
    while left > 0 {
        stream.write_all(&piece[..left.min(piece.len())]).await?;
        left -= left.min(piece.len());
    }
    let _ = stream.read(&mut [0; 256]).await?;
    Ok(())
}

/// Time for which idle connections are held.
const HELD: Duration = Duration::from_secs(30);

/// Connections that did one request each and stay, while others come and want an answer.
async fn idle(scene: &mut Scene<'_>) {
    const GET: &[u8] = b"GET /ingest/github HTTP/1.1\r\nhost: h\r\n\r\n";
    let (target, since) = (scene.apps[0].listen, Instant::now());
    let mut holders = JoinSet::new();
    for _ in 0..768 {
        holders.spawn(async move {
            let hold = async {
                let mut stream = TcpStream::connect(target).await?;
                stream.write_all(GET).await?;
                // Until it is closed.
                while stream.read(&mut [0; 1024]).await? > 0 {}
                std::io::Result::Ok(())
            };
            let _ = tokio::time::timeout(HELD, hold).await;
        });
    }
    let mut longest = Duration::ZERO;
    while since.elapsed() < HELD {
        let asked = Instant::now();
        let ask = async {
            let mut stream = TcpStream::connect(target).await?;
            stream.write_all(GET).await?;
            stream.read(&mut [0; 12]).await
        };
        let answered = tokio::time::timeout(HELD, ask)
            .await
            .is_ok_and(|read| read.is_ok_and(|bytes| bytes > 0));
        longest = longest.max(if answered { asked.elapsed() } else { HELD });
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holders.join_all().await;
    let closed = scene.apps[0]
        .metrics()
        .await
        .get("hookweir_connections_closed_total");
    let saw = format!("{longest:.1?}; {closed} idle ones were closed");
    scene.demand(
        "a newcomer is answered while others idle",
        longest < HELD / 2,
        &saw,
    );
    scene.demand_in_time("a newcomer is answered at once", longest < STAY / 2, saw);
}

/// What it can take is what it takes from as many connections as keep it busy. Then three times that, whether or not it answers.
async fn overload(scene: &mut Scene<'_>) {
    let load = Load {
        rate: None,
        at_once: 0,
        later: 0,
        forged: 0,
        other_body: 0,
        sizes,
        ..Load::on(&[scene.apps[0].listen])
    };
    let as_many_as_it_takes = Load {
        connections: 64,
        ..load.clone()
    };
    measured(scene, as_many_as_it_takes.clone(), STAY / 4).await;
    let (capacity, _) = measured(scene, as_many_as_it_takes, STAY).await;
    let (goodput, answers) = measured(
        scene,
        Load {
            connections: 3000,
            rate: Some(3.0 * capacity),
            ..load
        },
        STAY,
    )
    .await;
    let saw = format!("{goodput:.0} of {capacity:.0} events/s; {answers}");
    in_time(
        scene,
        "goodput is at least 90 % of capacity",
        goodput >= 0.9 * capacity,
        saw,
    );
}

/// Events taken a second.
async fn measured(scene: &mut Scene<'_>, load: Load, time: Duration) -> (f64, String) {
    let running = Load {
        seed: scene.rng.u64(..),
        ..load
    }
    .start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (from, since) = (running.taken(), Instant::now());
    tokio::time::sleep(time).await;
    let rate = (running.taken() - from) as f64 / since.elapsed().as_secs_f64();
    let ledger: Ledger = running.finish().await;
    let answers = format!("{:?}", ledger.answers(false));
    scene.further.push(ledger);
    (rate, answers)
}
