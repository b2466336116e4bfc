//! The rig itself: an account that cannot tell a loss from a success would prove nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::ledger::{Answer, Attempt, Entry, Ledger};
use crate::support::provider::Provider;
use crate::support::proxy::{Line, Proxy};
use crate::support::sink::{Account, Message};

fn taken(provider: Provider, seed: u64, id: &str) -> Entry {
    let event = provider.event(&mut fastrand::Rng::with_seed(seed));
    let answer = Answer::Taken { id: id.into(), new: true };
    Entry { event, forged: false, attempts: vec![Attempt { other_body: false, answer }] }
}

fn message(entry: &Entry, id: &str) -> Message {
    let event = &entry.event;
    Message {
        id: id.into(),
        source: event.provider.name().into(),
        event_id: event.id.clone(),
        attempt: "1".into(),
        body: event.body.to_vec(),
    }
}

#[test]
fn the_account_finds_what_is_lost_copied_corrupt_or_a_stranger() {
    let ledger = Ledger { entries: (0..5).map(|n| taken(Provider::ALL[n], n as u64, &format!("m{n}"))).collect() };
    let mut messages: Vec<_> = ledger.entries.iter().enumerate().map(|(n, entry)| message(entry, &format!("m{n}"))).collect();
    assert_eq!(Account::of(&ledger, &messages), Account::default());

    messages[1].body[3] ^= 0x20;
    messages[2].id = "another".into();
    messages.push(messages[3].clone());
    messages[4].event_id = "nobody's".into();
    messages.remove(0);
    let account = Account::of(&ledger, &messages);
    assert_eq!((account.lost.len(), account.copies.len(), account.corrupt.len(), account.strangers.len()), (2, 1, 2, 1), "{account:?}");
}

#[test]
#[should_panic(expected = "genuine events were refused")]
fn the_ledger_does_not_let_a_wrong_refusal_pass() {
    let mut entry = taken(Provider::Stripe, 1, "m");
    entry.attempts.insert(0, Attempt { other_body: false, answer: Answer::Status(401) });
    Ledger { entries: vec![entry] }.check();
}

#[test]
#[should_panic(expected = "forgeries were taken")]
fn the_ledger_does_not_let_a_forgery_pass() {
    let entry = Entry { forged: true, ..taken(Provider::Github, 1, "m") };
    Ledger { entries: vec![entry] }.check();
}

#[tokio::test]
async fn the_proxy_passes_silences_and_cuts() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let proxy = Proxy::to(listener.local_addr().expect("address")).await;
    let mut client = tokio::net::TcpStream::connect(proxy.address).await.expect("connects");
    let (mut server, _) = listener.accept().await.expect("accepts");
    let mut buffer = [0; 3];
    client.write_all(b"one").await.expect("writes");
    server.read_exact(&mut buffer).await.expect("passes");
    proxy.set(Line::Silent);
    client.write_all(b"two").await.expect("writes");
    assert!(tokio::time::timeout(Duration::from_millis(200), server.read_exact(&mut buffer)).await.is_err(), "silent");
    proxy.set(Line::Open);
    proxy.cut_back_after(3);
    server.write_all(b"answer").await.expect("writes");
    assert_eq!(client.read(&mut buffer).await.unwrap_or(0), 0, "cut before the answer");
}

mod with_servers {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, PgConnection};

    use crate::support::servers::{Server, address, postgres};
    use crate::support::sink::Queues;

    #[test]
    fn a_private_postgres_keeps_its_port_and_its_data() {
        let mut server = Server::postgres();
        assert_ne!(server.url, postgres());
        let query = |url: &str, sql: &str| PgConnection::establish(url).map(|mut connection| connection.batch_execute(sql));
        query(&server.url, "create table t (a int); insert into t values (1)").expect("connects").expect("creates");
        let before = server.url.clone();
        server.stop();
        assert!(query(&server.url, "select 1").is_err(), "it was stopped");
        server.start();
        server.kill();
        server.start();
        assert_eq!(server.url, before);
        query(&server.url, "select a / a from t").expect("connects").expect("the table is there");
    }

    #[tokio::test]
    async fn a_private_rabbitmq_starts_and_stops() {
        let server = tokio::task::spawn_blocking(Server::rabbitmq).await.expect("starts");
        let queues = Queues::new(&server.url);
        drop(queues.channel().await);
        assert!(server.ctl(&["list_connections"]).contains("Listing connections"));
        server.stop();
        assert!(tokio::net::TcpStream::connect(address(&server.url)).await.is_err(), "it was stopped");
    }
}
