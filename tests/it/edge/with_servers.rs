//! PostgreSQL and RabbitMQ behind a private authority, which demand a certificate of their client.

mod with_kafka;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use hookweir_testkit::app::App;
use hookweir_testkit::load::Load;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::{self, Server};
use hookweir_testkit::tls::Authority;

use crate::operator::hookweir;

/// Files of a client and of a server, made by one authority.
struct Files {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn create() -> Self {
        let files = Self {
            folder: tempfile::tempdir().expect("a folder"),
            authority: Authority::create(),
        };
        files.write("ca.pem", files.authority.pem());
        files.write("other.pem", Authority::create().pem());
        let pair = files.authority.key_and_certificate(&["hookweir"]);
        let (key, certificate) = parts(&pair);
        files.write("client.key", &key);
        files.write("client.pem", &certificate);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        private(&self.path(name), text);
    }

    /// The configuration of a sink at `url` behind that authority, and of a source.
    fn publisher(&self, url: &str, authority: &str, pair: &str) -> String {
        format!(
            "[publisher]\nurl = \"{url}\"\nca_file = \"{}\"\n{pair}\n{}",
            self.path(authority).display(),
            Provider::Github.config()
        )
    }

    /// The options of a sink that name the client's certificate and key.
    fn pair(&self) -> String {
        format!(
            "certificate_file = \"{}\"\nkey_file = \"{}\"",
            self.path("client.pem").display(),
            self.path("client.key").display()
        )
    }

    /// Puts the certificate, the key and the authority of a server into its folder.
    fn give_to(&self, folder: &Path) {
        let owner = fs::metadata(folder).expect("a folder");
        let pair = self
            .authority
            .key_and_certificate(&["localhost", "127.0.0.1"]);
        let (key, certificate) = parts(&pair);
        for (name, text) in [
            ("server.key", &*key),
            ("server.pem", &*certificate),
            ("ca.pem", self.authority.pem()),
        ] {
            let path = folder.join(name);
            private(&path, text);
            chown(path, Some(owner.uid()), Some(owner.gid())).expect("given");
        }
    }
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("private");
}

/// Key and certificate of a pair.
fn parts(pair: &str) -> (String, String) {
    let certificate = pair.find("-----BEGIN CERTIFICATE").expect("a certificate");
    let (key, certificate) = pair.split_at(certificate);
    (key.to_owned(), certificate.to_owned())
}

fn append(path: &Path, lines: &str) {
    let text = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, format!("{text}\n{lines}\n")).expect("written");
}

/// Sends events, and waits until none is left in the outbox.
async fn works(app: &App) {
    app.until_healthy().await;
    Load {
        providers: vec![Provider::Github],
        ..Load::on(&[app.listen])
    }
    .send(20)
    .await
    .check_faultless();
    app.drained().await;
}

/// Asserts that `hookweir check` finds a fault in a configuration, and says these words.
fn is_refused(app: &App, config: &str, why: &str) {
    fs::write(app.folder().join("config.toml"), config).expect("written");
    let checked = hookweir(app, &["check"]);
    assert_ne!(checked.code, Some(0), "{}", checked.out);
    let said = format!("{}{}", checked.out, checked.err);
    assert!(said.contains(why), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_that_demands_a_client_certificate_of_a_private_authority_takes_ours() {
    let (files, mut server) = (Files::create(), Server::postgres());
    server.stop();
    let data = server.files().join("data");
    files.give_to(&data);
    append(
        &data.join("postgresql.conf"),
        "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\nssl_ca_file = 'ca.pem'",
    );
    fs::write(
        data.join("pg_hba.conf"),
        "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n",
    )
    .expect("written");
    server.start();
    let address = servers::address(&server.url);
    let at = |name: &str| files.path(name).display().to_string();
    let url = |authority: &str, pair: &str| {
        format!(
            "postgres://postgres@localhost:{}/postgres?sslmode=verify-full&sslrootcert={}{pair}",
            address.port(),
            at(authority)
        )
    };
    let pair = format!("&sslcert={}&sslkey={}", at("client.pem"), at("client.key"));
    let config = |url: &str| format!("[store]\nurl = \"{url}\"\n{}", Provider::Github.config());
    let app = App::start(&config(&url("ca.pem", &pair))).await;
    works(&app).await;
    for (url, why) in [
        (url("ca.pem", ""), "valid client certificate"),
        // Both authorities have the same name, so that OpenSSL finds a signature that does not fit.
        (url("other.pem", &pair), "SSL error"),
    ] {
        is_refused(&app, &config(&url), why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_that_demands_a_client_certificate_of_a_private_authority_takes_ours() {
    let (files, mut server) = (Files::create(), Server::rabbitmq());
    server.stop();
    files.give_to(server.files());
    let tls = hookweir_testkit::ports::free_address().port();
    let folder = server.files().display().to_string();
    append(
        &server.files().join("rabbitmq.conf"),
        &format!(
            "listeners.ssl.1 = 127.0.0.1:{tls}\nssl_options.cacertfile = {folder}/ca.pem\n\
             ssl_options.certfile = {folder}/server.pem\nssl_options.keyfile = {folder}/server.key\n\
             ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true"
        ),
    );
    server.start();
    let url = format!("amqps://localhost:{tls}");
    let config = |authority: &str, pair: &str| files.publisher(&url, authority, pair);
    let pair = files.pair();
    let app = App::start(&config("ca.pem", &pair)).await;
    works(&app).await;
    for (wrong, why) in [
        // The broker refuses after the handshake, so that its word or a reset comes first.
        (config("ca.pem", ""), "FAILED"),
        (config("other.pem", &pair), "ertificate"),
        (config("absent.pem", &pair), "cannot read"),
    ] {
        is_refused(&app, &wrong, why);
    }
}
