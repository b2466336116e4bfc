//! The rig itself: an account that cannot tell a loss from a success would prove nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use hookweir_testkit::ledger::{Answer, Attempt, Entry, Ledger, digest};
use hookweir_testkit::oracle::{Account, Arrivals, Kept};
use hookweir_testkit::provider::{Event, Headers, Provider};
use hookweir_testkit::proxy::{Line, Proxy};
use hookweir_testkit::sink::Message;

fn answered(answer: Answer) -> Attempt {
    Attempt::since(Instant::now(), answer)
}

/// An event that was taken, and its message.
fn taken(provider: Provider, seed: u64, id: &str) -> (Entry, Message) {
    let event = provider.event(&mut fastrand::Rng::with_seed(seed));
    let message = Message {
        id: id.into(),
        source: provider.name().into(),
        event_id: event.id.clone(),
        attempt: "1".into(),
        properties: BTreeMap::from([("type".into(), "ping".into())]),
        body: event.body.to_vec(),
    };
    (
        Entry::new(
            &event,
            vec![answered(Answer::Taken {
                id: id.into(),
                new: true,
            })],
        ),
        message,
    )
}

#[test]
fn the_account_finds_what_is_lost_copied_corrupt_or_a_stranger() {
    let (entries, mut messages): (_, Vec<_>) = (0..5)
        .map(|n| taken(Provider::ALL[n], n as u64, &format!("m{n}")))
        .unzip();
    let ledger = Ledger { entries };
    assert_eq!(Account::of(&ledger, &messages), Account::default());

    messages[1].body[3] ^= 0x20;
    messages[2].id = "another".into();
    // One copy that is one, and one that differs in a header.
    messages.push(messages[3].clone());
    assert_eq!(Account::of(&ledger, &messages).corrupt.len(), 1);
    messages.push(Message {
        properties: BTreeMap::new(),
        ..messages[3].clone()
    });
    messages[4].event_id = "nobody's".into();
    messages.remove(0);
    let account = Account::of(&ledger, &messages);
    assert_eq!(
        (
            account.lost.len(),
            account.copies.len(),
            account.corrupt.len(),
            account.strangers.len()
        ),
        (3, 2, 2, 2),
        "{account:?}"
    );
}

#[test]
fn the_account_wants_a_second_body_marked() {
    let (first, first_message) = taken(Provider::Github, 1, "m1");
    let (second, second_message) = taken(Provider::Github, 2, "m2");
    let second = Entry {
        id: first.id.clone(),
        second: true,
        ..second
    };
    let mut second_message = Message {
        event_id: first.id.clone(),
        ..second_message
    };
    let ledger = Ledger {
        entries: vec![first, second],
    };
    let account = |second: &Message| Account::of(&ledger, &[first_message.clone(), second.clone()]);
    assert_eq!(account(&second_message).corrupt.len(), 1);
    second_message
        .properties
        .insert("x-hookweir-conflict-of".into(), "m1".into());
    assert_eq!(account(&second_message), Account::default());
    second_message.id = "m1".into();
    assert_eq!(
        account(&second_message).corrupt.len(),
        1,
        "not the one it was answered with"
    );
    assert_eq!(
        Account::of(&ledger, std::slice::from_ref(&first_message))
            .lost
            .len(),
        1
    );
}

#[test]
fn the_account_lets_a_parked_message_be_the_first_of_a_mark() {
    let (first, first_message) = taken(Provider::Github, 1, "m1");
    let (second, second_message) = taken(Provider::Github, 2, "m2");
    let parked = vec![format!("{} {}", first.provider.name(), first.id)];
    let second = Entry {
        id: first.id.clone(),
        second: true,
        ..second
    };
    let ledger = Ledger {
        entries: vec![first, second],
    };
    let corrupt = |mark: Option<&str>, parked: &[String]| {
        let mut arrivals = Arrivals::default();
        let mut message = Message {
            event_id: first_message.event_id.clone(),
            ..second_message.clone()
        };
        if let Some(mark) = mark {
            message
                .properties
                .insert("x-hookweir-conflict-of".into(), mark.into());
        }
        arrivals.add(&message);
        let kept = Kept {
            parked: parked.to_vec(),
            ..Kept::default()
        };
        Account::between(&ledger, arrivals, &kept).corrupt.len()
    };
    assert_eq!(corrupt(Some("m1"), &parked), 0);
    assert_eq!(corrupt(Some("m1"), &[]), 1, "nobody has the first");
    assert_eq!(corrupt(Some("m2"), &parked), 1, "names itself");
    assert_eq!(corrupt(Some("m3"), &parked), 1, "names a stranger");
}

#[test]
fn the_account_lets_the_other_signed_body_stand_for_the_one_that_is_kept() {
    let (first, message) = taken(Provider::Stripe, 1, "m1");
    let (_, other) = taken(Provider::Stripe, 2, "m2");
    let (name, event_id) = (first.provider.name().to_owned(), first.id.clone());
    let own = first.body;
    let ledger = Ledger {
        entries: vec![Entry {
            other: Some(digest(&other.body)),
            ..first
        }],
    };
    let account = |bodies: &[&Message], kept: Kept| {
        let mut arrivals = Arrivals::default();
        for body in bodies {
            arrivals.add(&Message {
                event_id: event_id.clone(),
                ..(*body).clone()
            });
        }
        let account = Account::between(&ledger, arrivals, &kept);
        (
            account.lost.len(),
            account.exchanged.len(),
            account.strangers.len(),
        )
    };
    let kept = || Kept {
        conflicts: [(name.clone(), event_id.clone(), own)].into(),
        ..Kept::default()
    };
    assert_eq!(account(&[&other], kept()), (0, 1, 0));
    assert_eq!(
        account(&[&other], Kept::default()),
        (1, 0, 1),
        "its own body is nowhere"
    );
    assert_eq!(account(&[], kept()), (1, 0, 0), "neither was published");
    assert_eq!(
        account(&[&message, &other], kept()),
        (0, 0, 1),
        "both were published"
    );
}

#[test]
#[should_panic(expected = "genuine events were refused")]
fn the_ledger_does_not_let_a_wrong_refusal_pass() {
    let (mut entry, _) = taken(Provider::Stripe, 1, "m");
    entry.attempts.insert(0, answered(Answer::Status(401)));
    Ledger {
        entries: vec![entry],
    }
    .check();
}

#[test]
#[should_panic(expected = "forgeries were taken")]
fn the_ledger_does_not_let_a_forgery_pass() {
    let entry = Entry {
        forged: true,
        ..taken(Provider::Github, 1, "m").0
    };
    Ledger {
        entries: vec![entry],
    }
    .check();
}

#[tokio::test]
async fn the_proxy_passes_silences_and_cuts() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("binds");
    let proxy = Proxy::to(listener.local_addr().expect("address")).await;
    let mut client = tokio::net::TcpStream::connect(proxy.address)
        .await
        .expect("connects");
    let (mut server, _) = listener.accept().await.expect("accepts");
    let mut buffer = [0; 3];
    client.write_all(b"one").await.expect("writes");
    server.read_exact(&mut buffer).await.expect("passes");
    proxy.set(Line::Silent);
    client.write_all(b"two").await.expect("writes");
    assert!(
        tokio::time::timeout(Duration::from_millis(200), server.read_exact(&mut buffer))
            .await
            .is_err(),
        "silent"
    );
    proxy.set(Line::Open);
    proxy.cut_back_after(3);
    server.write_all(b"answer").await.expect("writes");
    assert_eq!(
        client.read(&mut buffer).await.unwrap_or(0),
        0,
        "cut before the answer"
    );
}

/// Each against an example that its documentation publishes.
#[test]
fn the_senders_sign_as_documented() {
    let event = |provider, id: &str, body: &'static str| Event {
        provider,
        id: id.into(),
        kind: "ping",
        body: body.into(),
    };
    let header = |headers: &Headers, name: &str| {
        headers
            .iter()
            .find(|(n, _)| *n == name)
            .expect("header")
            .1
            .clone()
    };

    let github =
        event(Provider::Github, "1", "Hello, World!").signed("It's a Secret to Everybody", 0);
    let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(header(&github, "X-Hub-Signature-256"), expected);

    let svix = event(
        Provider::StandardWebhooks,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "{\"test\": 2432232314}",
    )
    .signed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_614_265_330);
    assert_eq!(
        header(&svix, "webhook-signature"),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );

    let slack = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar\
         &user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com\
         %2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let slack = event(Provider::Slack, "1", slack)
        .signed("8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618);
    assert_eq!(
        header(&slack, "X-Slack-Signature"),
        "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    );
}

mod with_servers {
    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, PgConnection};

    use hookweir_testkit::servers::{Server, address, postgres};
    use hookweir_testkit::sink::Queues;

    #[test]
    fn a_private_postgres_keeps_its_port_and_its_data() {
        let mut server = Server::postgres();
        assert_ne!(server.url, postgres());
        let query = |url: &str, sql: &str| {
            PgConnection::establish(url).map(|mut connection| connection.batch_execute(sql))
        };
        query(
            &server.url,
            "create table t (a int); insert into t values (1)",
        )
        .expect("connects")
        .expect("creates");
        let before = server.url.clone();
        server.stop();
        assert!(query(&server.url, "select 1").is_err(), "it was stopped");
        server.start();
        server.kill();
        server.start();
        assert_eq!(server.url, before);
        query(&server.url, "select a / a from t")
            .expect("connects")
            .expect("the table is there");
    }

    #[tokio::test]
    async fn a_private_rabbitmq_starts_and_stops() {
        let server = tokio::task::spawn_blocking(Server::rabbitmq)
            .await
            .expect("starts");
        let queues = Queues::new(&server.url);
        drop(queues.channel().await);
        assert!(
            server
                .ctl(&["list_connections"])
                .contains("Listing connections")
        );
        server.stop();
        assert!(
            tokio::net::TcpStream::connect(address(&server.url))
                .await
                .is_err(),
            "it was stopped"
        );
    }
}
