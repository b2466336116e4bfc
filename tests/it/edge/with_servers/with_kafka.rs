//! Kafka behind a private authority, which demands a certificate of its client.

use std::fs;

use hookweir_testkit::app::App;
use hookweir_testkit::servers::Server;

use super::{Files, append, is_refused, works};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_that_demands_a_client_certificate_of_a_private_authority_takes_ours() {
    let files = Files::create();
    let pair = files
        .authority
        .key_and_certificate(&["localhost", "127.0.0.1"]);
    let mut server = Server::kafka_with_tls(&pair);
    server.stop();
    let authority = server.files().join("ca.pem");
    fs::write(&authority, files.authority.pem()).expect("written");
    append(
        &server.files().join("server.properties"),
        &format!(
            "listener.name.tls.ssl.client.auth=required\nssl.truststore.type=PEM\nssl.truststore.location={}",
            authority.display()
        ),
    );
    server.start();
    let url = format!("kafkas://localhost:{}", server.listener("tls"));
    let config = |authority: &str, pair: &str| files.publisher(&url, authority, pair);
    let pair = files.pair();
    let app = App::start(&config("ca.pem", &pair)).await;
    works(&app).await;
    for (wrong, why) in [
        (config("ca.pem", ""), "certificate_file"),
        (config("other.pem", &pair), "ca_file"),
        (config("absent.pem", &pair), "absent.pem"),
    ] {
        is_refused(&app, &wrong, why);
    }
}
