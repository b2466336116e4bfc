//! The real program as a process of its own.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::Value;

use super::requests::SECRET;
use super::wire::Target;
use hookweir_testkit::ports::free_address;

/// A running Hookweir, in a folder of its own. Dropped, it is killed.
pub(crate) struct Service {
    process: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    folder: tempfile::TempDir,
    program: PathBuf,
    /// Names of sinks that are expected to be down.
    down: Vec<String>,
    /// TLS that its ingest listener wants.
    tls: Option<Arc<ClientConfig>>,
}

impl Service {
    /// Starts `program`, by means of `wrapper` if that is not empty, with the default configuration but for `settings`. Waits until it is
    /// ready and its sinks are up, but for those in `down`.
    pub(crate) fn start(
        wrapper: &[&str],
        program: &Path,
        settings: &[String],
        down: &[String],
    ) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let source = format!(
            "[[source]]\nname = \"stripe\"\nprovider = \"stripe\"\nsecrets = [\"plain:{SECRET}\"]\n"
        );
        fs::write(folder.path().join("hookweir.toml"), source)?;
        let (listen, admin) = (free_address(), free_address());
        let own = [
            format!("server.listen={listen}"),
            format!("server.admin_listen={admin}"),
            "log.filter=warn".to_owned(),
            // Without the lines for people at start.
            "log.format=json".to_owned(),
        ];
        let mut command: Vec<&OsStr> = wrapper.iter().map(OsStr::new).collect();
        command.push(program.as_os_str());
        let process = Command::new(command[0])
            .args(&command[1..])
            .args(["serve", "--config", "hookweir.toml"])
            .args(
                own.iter()
                    .chain(settings)
                    .flat_map(|setting| ["--set", setting]),
            )
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .map_err(|error| format!("{}: {error}", command[0].display()))?;
        let mut service = Self {
            process,
            listen,
            admin,
            folder,
            program: program.to_owned(),
            down: down.to_vec(),
            tls: None,
        };
        service.wait_until_up()?;
        Ok(service)
    }

    fn wait_until_up(&mut self) -> Result<(), Box<dyn Error>> {
        let since = Instant::now();
        while !self.is_up() {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("hookweir ended at start, {status}:\n{}", self.log()).into());
            }
            if since.elapsed() > Duration::from_secs(60) {
                return Err(format!("hookweir is not up after a minute:\n{}", self.log()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Returns true if it takes deliveries, and each component is ready or off but for those of sinks that are expected to be down.
    fn is_up(&self) -> bool {
        let Ok(answer) = self.get("/readyz") else {
            return false;
        };
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            return false;
        };
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let Some(components) = body["components"].as_object() else {
            return false;
        };
        let is_down = |name: &str| {
            let mut down = self.down.iter();
            down.any(|sink| name.ends_with(&format!("-{sink}")))
        };
        head.starts_with("HTTP/1.1 200")
            && components.iter().all(|(name, state)| {
                state["status"] == "ready" || state["status"] == "off" || is_down(name)
            })
    }

    /// Has senders speak TLS to it, as its settings want.
    pub(crate) fn with_tls(mut self, tls: Option<Arc<ClientConfig>>) -> Self {
        self.tls = tls;
        self
    }

    /// Returns its ingest listener.
    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.listen,
            tls: self.tls.clone(),
        }
    }

    /// Stops it in order.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<(), Box<dyn Error>> {
        Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()?;
        let since = Instant::now();
        while self.process.try_wait()?.is_none() {
            if since.elapsed() > patience {
                return Err("hookweir does not stop".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Returns the log, which has warnings and errors only.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Returns a link that lets a browser into the page, once.
    pub(crate) fn link(&self) -> Result<String, Box<dyn Error>> {
        let asked = Command::new(&self.program)
            .args(["page", "--config", "hookweir.toml"])
            .args(["--set", &format!("server.admin_listen={}", self.admin)])
            .current_dir(self.folder.path())
            .output()?;
        if !asked.status.success() {
            return Err(String::from_utf8_lossy(&asked.stderr).into());
        }
        Ok(String::from_utf8(asked.stdout)?.trim().to_owned())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the folder of the service's files.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Its metrics, as `name{labels}` → value.
    pub(crate) fn metrics(&self) -> Result<Metrics, Box<dyn Error>> {
        let text = self.get("/metrics")?;
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            });
        Ok(Metrics(samples.collect()))
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Samples of `/metrics`.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Events that the queue has confirmed; those of other sinks are not among them.
    pub(crate) fn confirmed(&self) -> u64 {
        let of_sink = "hookweir_sink_published_total{result=\"confirmed\",sink=\"default\"}";
        // A release from before there were several sinks.
        let of_all = "hookweir_published_total{result=\"confirmed\"}";
        let known = self.0.get(of_sink).or_else(|| self.0.get(of_all));
        known.copied().unwrap_or_default() as u64
    }
}
