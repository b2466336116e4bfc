//! The real program as a process of its own.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::requests::SECRET;
use hookweir_testkit::ports::free_address;

/// A running Hookweir, in a folder of its own. Dropped, it is killed.
pub(crate) struct Service {
    process: Child,
    pub(crate) listen: SocketAddr,
    admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Service {
    /// Starts `program`, by means of `wrapper` if that is not empty, with the default configuration but for `settings`, and waits until it
    /// is ready and its queue is up.
    pub(crate) fn start(
        wrapper: &[&str],
        program: &Path,
        settings: &[String],
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

    pub(crate) fn is_up(&self) -> bool {
        self.get("/readyz")
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && !answer.contains("degraded"))
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

    /// What it has to say, warnings and errors only.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where its files are.
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

    /// Events that the queue has confirmed.
    pub(crate) fn confirmed(&self) -> u64 {
        self.get("hookweir_published_total{result=\"confirmed\"}") as u64
    }
}
