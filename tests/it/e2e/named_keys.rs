//! Certificates, keys and key sets that the real program fetches over TLS from a provider on this machine.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hookweir::config::Config;
use hookweir::domain::delivery::wall_clock;
use hookweir_signatures::sign::{SignInputs, sign};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RsaKeyPair};

use crate::operator::hookweir;
use hookweir_testkit::app::App;
use hookweir_testkit::load::client;
use hookweir_testkit::sink::{files, files_hold};
use hookweir_testkit::tls::{Authority, TlsServer};

const RSA: &[u8] = include_bytes!("../../../crates/signatures/tests/data/rsa-for-tests.pk8");
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:weir";
const SECRET: &str = "0123456789abcdef0123456789abcd";

/// Sources whose keys are at `ours`, and one whose certificates are at a server that nobody vouches for.
fn config(ours: &str, strange: &str) -> String {
    format!(
        r#"
[[source]]
name = "sns"
provider = "aws-sns"
params = {{ topic_arn = "{TOPIC}", confirm = "on" }}
[source.scheme]
cert_url = {{ hosts = ["{ours}"], path = "/certs/*.pem" }}
[[source.scheme.handshake]]
when = {{ json = "/Type", equals = "SubscriptionConfirmation" }}
signed = true
switch = "confirm"
visit = {{ from = "json:/SubscribeURL", hosts = ["{ours}"], path = "/?Action=ConfirmSubscription&TopicArn=*&Token=*" }}

[[source]]
name = "plaid"
provider = "plaid"
secrets = ["plain:{SECRET}"]
params = {{ client_id = "c1" }}
[source.scheme]
jwt = {{ key_api = {{ url = "https://{ours}/webhook_verification_key/get" }}, header = {{ kid = "k-1" }} }}

[[source]]
name = "kinde"
provider = "kinde"
jwks = "https://{ours}/jwks"

[[source]]
name = "strange"
provider = "paypal"
params = {{ webhook_id = "w1", api_host = "{strange}" }}
"#
    )
}

/// A delivery to a source of the configuration, as its provider would sign it.
struct Delivery {
    source: &'static str,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

impl Delivery {
    fn signed(
        config: &str,
        source: &'static str,
        private_key: &[u8],
        id: &str,
        body: &serde_json::Value,
    ) -> Self {
        let config = Config::from_toml(config).expect("a configuration");
        let model = config
            .sources
            .iter()
            .find(|known| known.name.as_str() == source)
            .expect("a source");
        let inputs = SignInputs {
            body: body.to_string().into(),
            id: id.into(),
            event_type: "example".into(),
            at: wall_clock(),
            secret: 0,
            private_key: Some(private_key.to_vec()),
        };
        let signed = sign(&model.spec(), &inputs).expect("signed");
        let headers = signed
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        Self {
            source,
            headers,
            body: signed.body,
        }
    }

    async fn post(&self, client: &reqwest::Client, app: &App) -> u16 {
        let mut request = client
            .post(format!("http://{}/ingest/{}", app.listen, self.source))
            .body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value.as_slice());
        }
        request.send().await.expect("an answer").status().as_u16()
    }

    /// Sends it again and again, as its provider would, until it is taken.
    async fn deliver(&self, client: &reqwest::Client, app: &App) {
        let since = Instant::now();
        loop {
            match self.post(client, app).await {
                200 => return,
                503 => assert!(
                    since.elapsed() < Duration::from_secs(60),
                    "{} is not taken:\n{}",
                    self.source,
                    app.log()
                ),
                other => panic!("{}: {other}\n{}", self.source, app.log()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn sns(config: &str, host: &str, id: &str, certificate: &str, kind: &str) -> Delivery {
    let mut body = serde_json::json!({
        "Type": kind, "MessageId": id, "TopicArn": TOPIC, "Message": "hello", "Timestamp": "2025-06-15T15:06:40.000Z",
    });
    if kind == "SubscriptionConfirmation" {
        body["Token"] = "t0ken".into();
        body["SubscribeURL"] =
            format!("https://{host}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t0ken")
                .into();
    }
    let mut delivery = Delivery::signed(config, "sns", RSA, id, &body);
    let mut body: serde_json::Value = serde_json::from_slice(&delivery.body).expect("JSON");
    body["SigningCertURL"] = format!("https://{host}/certs/{certificate}.pem").into();
    delivery.body = body.to_string().into();
    delivery
}

/// Waits until the store has a key that was fetched for the source.
async fn until_stored(app: &App, source: &str) {
    use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};
    #[derive(diesel::QueryableByName)]
    struct Keys {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    let path = app.folder().join("data/hookweir.db");
    let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
    let keys = format!("SELECT count(*) AS count FROM fetched_key WHERE source = '{source}'");
    let since = Instant::now();
    loop {
        let Keys { count } = diesel::sql_query(&keys)
            .get_result(&mut database)
            .expect("read");
        if count >= 1 {
            return;
        }
        let patient = since.elapsed() < Duration::from_secs(60);
        assert!(patient, "no key of {source} is stored:\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn certificate() -> String {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&RSA.into(), &PKCS_RSA_SHA256).expect("a key");
    CertificateParams::new(vec!["sns.amazonaws.com".into()])
        .expect("a name")
        .self_signed(&key)
        .expect("a certificate")
        .pem()
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_deliveries_name_is_fetched_over_tls_and_their_redeliveries_are_verified() {
    let (authority, stranger) = (Authority::create(), Authority::create());
    let (ours, strange) = (TlsServer::start(&authority), TlsServer::start(&stranger));
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = authority.write(folder.path()).display().to_string();
    let config = config(&ours.host(), &strange.host());
    let app = App::launch_with(&config, &[("SSL_CERT_FILE", trusted)]).await;
    app.ready().await;
    let client = client();

    // A certificate: fetched once, for all that it signs.
    ours.put("/certs/good.pem", certificate());
    for id in ["m1", "m2", "m3"] {
        sns(&config, &ours.host(), id, "good", "Notification")
            .deliver(&client, &app)
            .await;
    }
    assert_eq!(ours.asked("/certs/good.pem").len(), 1);

    // A subscription: confirmed once, however often it is asked for.
    let confirmation = sns(
        &config,
        &ours.host(),
        "c1",
        "good",
        "SubscriptionConfirmation",
    );
    let visit = format!("/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t0ken");
    ours.put(&visit, "<ConfirmSubscriptionResponse/>");
    for _ in 0..20 {
        confirmation.deliver(&client, &app).await;
    }
    assert_eq!(ours.asked("/?Action=").len(), 1);

    // A key by its id, of an API that wants a secret.
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .expect("randomness");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .expect("a key");
    let point = key.public_key().as_ref();
    let jwk = serde_json::json!({ "kty": "EC", "crv": "P-256", "kid": "k-1", "x": text(&point[1..33]), "y": text(&point[33..]) });
    ours.put(
        "/webhook_verification_key/get",
        serde_json::json!({ "key": jwk }).to_string(),
    );
    let item = serde_json::json!({ "webhook_type": "ITEM", "webhook_code": "ERROR" });
    Delivery::signed(&config, "plaid", pkcs8.as_ref(), "1", &item)
        .deliver(&client, &app)
        .await;
    let asked = ours.asked("/webhook_verification_key/get");
    let asked: serde_json::Value = serde_json::from_str(&asked[0]).expect("JSON");
    assert_eq!(
        asked,
        serde_json::json!({ "client_id": "c1", "secret": SECRET, "key_id": "k-1" })
    );

    // A key set.
    let key = RsaKeyPair::from_pkcs8(RSA).expect("a key");
    let modulus = &key.public_key().as_ref()[9..265];
    let jwks = serde_json::json!({ "keys": [{ "kty": "RSA", "n": text(modulus), "e": "AQAB" }] });
    ours.put("/jwks", jwks.to_string());
    let user = serde_json::json!({ "event_id": "e1", "type": "user.created" });
    Delivery::signed(&config, "kinde", RSA, "e1", &user)
        .deliver(&client, &app)
        .await;

    // A server that nobody vouches for is asked for nothing.
    let sale = Delivery::signed(
        &config,
        "strange",
        RSA,
        "WH-1",
        &serde_json::json!({ "id": "WH-1", "event_type": "SALE" }),
    );
    let since = Instant::now();
    while !app.log().contains("invalid peer certificate") {
        assert_eq!(sale.post(&client, &app).await, 503);
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "the certificate is not refused:\n{}",
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(strange.asked("/").is_empty());

    // A flood of names that nobody has: the fetches are few, and what is known is verified as before.
    let since = Instant::now();
    for number in 0..300 {
        let forged = sns(
            &config,
            &ours.host(),
            "f",
            &format!("none-{number}"),
            "Notification",
        );
        assert_eq!(forged.post(&client, &app).await, 503);
    }
    sns(&config, &ours.host(), "m4", "good", "Notification")
        .deliver(&client, &app)
        .await;
    let (tried, may) = (
        ours.asked("/certs/none-").len(),
        5 + since.elapsed().as_secs() / 2 + 1,
    );
    assert!(
        tried as u64 <= may,
        "{tried} fetches for 300 forged requests, {may} are allowed"
    );

    files_hold(&app.events(), 6).await;
    let mut ids: Vec<_> = files(&app.events())
        .into_iter()
        .map(|message| message.event_id)
        .collect();
    ids.retain(|id| !id.contains('-'));
    ids.sort();
    assert_eq!(
        ids,
        ["e1", "m1", "m2", "m3", "m4"],
        "and one of Plaid's, which have no id"
    );
    assert!(
        !app.log().contains(SECRET) && !app.log().contains("t0ken"),
        "nothing secret is logged:\n{}",
        app.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_names_starve_no_genuine_one_and_a_restart_fetches_nothing() {
    let authority = Authority::create();
    let ours = TlsServer::start(&authority);
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = authority.write(folder.path()).display().to_string();
    // A host that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let config = config(
        &ours.host(),
        &format!(
            "localhost:{}",
            silent.local_addr().expect("an address").port()
        ),
    );
    let mut app = App::launch_with(&config, &[("SSL_CERT_FILE", trusted)]).await;
    app.ready().await;
    let client = client();
    ours.put("/certs/good.pem", certificate());

    // 164 forged names a second, and a genuine one that comes again as its provider sends it.
    let (forged, target, stop) = (
        sns(&config, &ours.host(), "f", "none-0", "Notification"),
        app.listen,
        tokio::time::Instant::now(),
    );
    let flood = tokio::spawn({
        let (client, headers) = (client.clone(), forged.headers.clone());
        let body = String::from_utf8(forged.body.to_vec()).expect("text");
        async move {
            let mut sent = 0;
            while stop.elapsed() < Duration::from_secs(60) {
                let mut posts = tokio::task::JoinSet::new();
                for _ in 0..16 {
                    sent += 1;
                    let mut post = client
                        .post(format!("http://{target}/ingest/sns"))
                        .body(body.replace("none-0", &format!("none-{sent}")));
                    for (name, value) in &headers {
                        post = post.header(name, &value[..]);
                    }
                    posts.spawn(
                        async move { post.send().await.map(|answer| answer.status().as_u16()) },
                    );
                }
                posts.join_all().await;
                tokio::time::sleep(Duration::from_millis(80)).await;
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The other source's fetch hangs meanwhile, and holds up nobody else's.
    let sale = Delivery::signed(
        &config,
        "strange",
        RSA,
        "WH-1",
        &serde_json::json!({ "id": "WH-1", "event_type": "SALE" }),
    );
    assert_eq!(sale.post(&client, &app).await, 503);
    let since = Instant::now();
    sns(&config, &ours.host(), "m1", "good", "Notification")
        .deliver(&client, &app)
        .await;
    let took = since.elapsed();
    assert!(
        took < Duration::from_secs(30),
        "the genuine name was fetched after {took:?}"
    );
    flood.abort();
    assert!(ours.asked("/certs/none-").len() > 4, "the flood was felt");
    assert_eq!(ours.asked("/certs/good.pem").len(), 1);

    // What was fetched is in the store: after a restart it is not asked for again, and its place may be gone.
    ours.put("/certs/good.pem", "gone");
    until_stored(&app, "sns").await;
    app.kill();
    app.start_again().await;
    app.ready().await;
    sns(&config, &ours.host(), "m2", "good", "Notification")
        .deliver(&client, &app)
        .await;
    assert_eq!(ours.asked("/certs/good.pem").len(), 1);
    files_hold(&app.events(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_refused_delivery_needs_is_fetched_when_it_is_verified_again() {
    let authority = Authority::create();
    let ours = TlsServer::start(&authority);
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = authority.write(folder.path()).display().to_string();
    let right = config(&ours.host(), "localhost:1");
    let wrong = "[[source]]\nname = \"sns\"\nprovider = \"github\"\nsecrets = [\"plain:a secret of GitHub's\"]\n";
    let mut app = App::launch_with(wrong, &[("SSL_CERT_FILE", trusted)]).await;
    app.ready().await;
    ours.put("/certs/good.pem", certificate());
    let sent = sns(&right, &ours.host(), "m1", "good", "Notification");
    assert_eq!(sent.post(&client(), &app).await, 401);
    let since = Instant::now();
    while hookweir(&app, &["quarantine", "--json"]).good().is_empty() {
        let patient = since.elapsed() < Duration::from_secs(60);
        assert!(patient, "it is not kept:\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.stop().await;
    std::fs::write(app.folder().join("config.toml"), &right).expect("written");
    app.start_again().await;
    app.ready().await;
    let plan = hookweir(&app, &["quarantine", "verify", "--dry-run"]).good();
    assert!(plan.contains("0 proven, 1 that are handshakes"), "{plan}");
    assert!(
        ours.asked("/certs/").is_empty(),
        "a dry run fetches nothing"
    );
    let first = hookweir(&app, &["quarantine", "verify"]);
    assert!(
        first.out.contains("1 could not be stored now"),
        "{}",
        first.out
    );
    loop {
        let again = hookweir(&app, &["quarantine", "verify"]);
        if again.out.contains("1 accepted") {
            break;
        }
        let patient = since.elapsed() < Duration::from_secs(120);
        assert!(patient, "{}{}\n{}", again.out, again.err, app.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(ours.asked("/certs/good.pem").len(), 1);
    files_hold(&app.events(), 1).await;
}
