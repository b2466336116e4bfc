//! A provider's web server with TLS, and the authority that vouches for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

/// A certificate authority of a test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Creates an authority with a key of its own.
    pub fn create() -> Self {
        let key = KeyPair::generate().expect("randomness");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than that of its certificates: OpenSSL takes equal ones for a self-signed certificate.
        params.distinguished_name = DistinguishedName::new();
        let name = "authority of a test";
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns a key and its certificate for `names`, in PEM.
    pub fn key_and_certificate(&self, names: &[&str]) -> String {
        self.signed(names, |_| ())
    }

    /// The same, and its time is over.
    pub fn expired_key_and_certificate(&self, names: &[&str]) -> String {
        self.signed(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    fn signed(&self, names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> String {
        let key = KeyPair::generate().expect("randomness");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        adjust(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }

    /// Writes its certificate as a file of trusted ones, for `SSL_CERT_FILE`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authorities.pem");
        std::fs::write(&path, &self.pem).expect("the certificate is written");
        path
    }
}

/// A session of a client that trusts these authorities in PEM, with the bytes on the wire in its own hands.
pub type TlsSession = StreamOwned<ClientConnection, TcpStream>;

/// Returns a client that trusts these authorities in PEM, speaks these versions of TLS, and offers these protocols.
pub fn client_config(
    authorities: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Arc::new(config)
}

/// Connects a client that speaks these versions of TLS, and offers these protocols. Fails if the handshake does.
pub fn connect(
    address: SocketAddr,
    authorities: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsSession> {
    connect_after(address, b"", authorities, versions, protocols)
}

/// The same, after these bytes in plain text.
pub fn connect_after(
    address: SocketAddr,
    first: &[u8],
    authorities: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsSession> {
    let config = client_config(authorities, versions, protocols);
    let connection =
        ClientConnection::new(config, ServerName::from(address.ip())).expect("a client");
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(first)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut session = StreamOwned::new(connection, socket);
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock)?;
    }
    Ok(session)
}

/// A web server for `localhost` that counts what it is asked for.
pub struct TlsServer {
    /// Address of the listener.
    pub address: SocketAddr,
    pages: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl TlsServer {
    /// Starts a server with a certificate of that authority.
    pub fn start(authority: &Authority) -> Self {
        let key = KeyPair::generate().expect("randomness");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("a name");
        let certificate = params
            .signed_by(&key, &authority.issuer)
            .expect("a certificate");
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("TLS")
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                )
                .expect("a certificate and its key");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            pages: Arc::default(),
            asked: Arc::default(),
        };
        let (config, pages, asked) = (Arc::new(config), server.pages.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .expect("a timeout");
                let Ok(connection) = ServerConnection::new(config.clone()) else {
                    continue;
                };
                // A client that trusts nobody here hangs up in the middle.
                let _ = answer(StreamOwned::new(connection, stream), &pages, &asked);
            }
        });
        server
    }

    /// Host and port, as in a URL.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Puts a page at a path; everything else is not found.
    pub fn put(&self, path: &str, body: impl Into<String>) {
        self.pages
            .lock()
            .expect("pages")
            .insert(path.into(), body.into());
    }

    /// The bodies of the requests whose path starts with this.
    pub fn asked(&self, path: &str) -> Vec<String> {
        let asked = self.asked.lock().expect("requests");
        asked
            .iter()
            .filter(|(asked, _)| asked.starts_with(path))
            .map(|(_, body)| body.clone())
            .collect()
    }
}

fn answer(
    mut stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    pages: &Mutex<BTreeMap<String, String>>,
    asked: &Mutex<Vec<(String, String)>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(&mut stream);
    let (mut line, mut length, mut path) = (String::new(), 0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().into();
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let page = pages.lock().expect("pages").get(&path).cloned();
    asked
        .lock()
        .expect("requests")
        .push((path, String::from_utf8_lossy(&body).into_owned()));
    let (status, page) = page.map_or(("404 Not Found", String::new()), |page| ("200 OK", page));
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}
