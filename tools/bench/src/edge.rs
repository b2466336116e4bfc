//! TLS and traces: what a service needs for them.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use hookweir_testkit::tls::{Authority, client_config};
use rustls::ClientConfig;

/// A certificate, and senders that trust it.
pub(crate) struct Certified {
    folder: tempfile::TempDir,
    senders: Arc<ClientConfig>,
}

impl Certified {
    /// Writes a key and its certificate for loopback.
    pub(crate) fn create() -> Result<Self, Box<dyn Error>> {
        let (authority, folder) = (Authority::create(), tempfile::tempdir()?);
        let pair = authority.key_and_certificate(&["127.0.0.1"]);
        std::fs::write(folder.path().join("pair.pem"), pair)?;
        let senders = client_config(authority.pem(), rustls::ALL_VERSIONS, &["http/1.1"]);
        Ok(Self { folder, senders })
    }

    /// Returns the settings of a service.
    pub(crate) fn settings(&self) -> [String; 2] {
        let path = self.folder.path().join("pair.pem");
        ["certificate", "key"].map(|part| format!("tls.{part}=file:{}", path.display()))
    }

    pub(crate) fn senders(&self) -> Arc<ClientConfig> {
        self.senders.clone()
    }
}

/// Starts a collector that takes all spans and keeps none. It runs until the process ends.
pub(crate) fn collector() -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // The exporter hangs up when it likes.
            thread::spawn(move || while take(&stream).is_ok() {});
        }
    });
    Ok(address)
}

/// Reads a request, and answers it.
fn take(mut stream: &TcpStream) -> std::io::Result<()> {
    let (mut reader, mut line, mut length) = (BufReader::new(stream), String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    if line.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
    )
}
