//! The real program: started, watched, killed and started again by tests.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::load::client;
use super::log_reader::{self, LogReader};
use super::metrics::Metrics;
use super::ports::free_address;
use super::program;
use super::provider::Provider;

/// A running Hookweir with a folder of its own. Dropped, it is killed.
pub struct App {
    folder: Arc<tempfile::TempDir>,
    /// Address to which providers POST; the same after a restart.
    pub listen: SocketAddr,
    /// Health and metrics; the same after a restart.
    pub admin: SocketAddr,
    environment: Vec<(&'static str, String)>,
    /// The listening socket that its service manager holds, over all its lives.
    socket: Option<TcpListener>,
    process: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
    log_to: LogTo,
    /// Shell command that runs before the shell becomes the program.
    before: Option<String>,
    lakehouse: bool,
    /// Program of its next start.
    program: PathBuf,
}

/// Destination of the service's standard error.
#[derive(Clone)]
pub enum LogTo {
    /// To a reader that keeps it.
    Reader(LogReader),
    /// To the end of a file.
    File(PathBuf),
}

/// Options for the start of the program.
#[derive(Clone)]
pub struct Launch {
    /// Environment variables, and no others of ours.
    pub environment: Vec<(&'static str, String)>,
    /// Its log.
    pub log_to: LogTo,
    /// Shell command that runs before the shell becomes the program ("ulimit -n 128").
    pub before: Option<String>,
    /// False to run no writer of the lakehouse, whatever is configured.
    pub lakehouse: bool,
    /// Another program than the one under test: that of a release before.
    pub program: Option<PathBuf>,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            log_to: LogTo::Reader(LogReader::default()),
            before: None,
            lakehouse: false,
            program: None,
        }
    }
}

/// The five sources of the five providers, as configuration.
pub fn five_sources() -> String {
    Provider::ALL.map(Provider::config).join("\n")
}

/// The same, with so much time for an answer that a slow machine refuses nothing.
pub fn patient_sources() -> String {
    let patient = |of: Provider| of.config() + "deadline_ms = 15000\n";
    Provider::ALL.map(patient).join("\n")
}

impl App {
    /// Starts with this configuration and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        let app = Self::launch(config).await;
        app.ready().await;
        app
    }

    /// As [`start`](Self::start), with the lakehouse as configured.
    pub async fn start_with_lakehouse(config: &str) -> Self {
        let launch = Launch {
            lakehouse: true,
            ..Launch::default()
        };
        let app = Self::launch_as(config, launch).await;
        app.ready().await;
        app
    }

    /// Starts with this configuration and waits until it answers on the admin port, ready or not.
    pub async fn launch(config: &str) -> Self {
        Self::launch_with(config, &[]).await
    }

    /// As [`launch`](Self::launch), with these environment variables and no others of ours.
    pub async fn launch_with(config: &str, environment: &[(&'static str, String)]) -> Self {
        Self::launch_as(
            config,
            Launch {
                environment: environment.to_vec(),
                ..Launch::default()
            },
        )
        .await
    }

    /// As [`launch`](Self::launch), in that way.
    pub async fn launch_as(config: &str, launch: Launch) -> Self {
        Self::launch_on(None, config, launch).await
    }

    /// As systemd's socket activation starts it: with a listening socket that outlives it, so that nobody is refused between two lives.
    pub async fn launch_activated(config: &str) -> Self {
        Self::launch_on(
            Some(TcpListener::bind("127.0.0.1:0").expect("a free port")),
            config,
            Launch::default(),
        )
        .await
    }

    /// As [`launch`](Self::launch), and it may open this many files at once.
    pub async fn launch_with_descriptors(config: &str, descriptors: u32) -> Self {
        Self::launch_as(
            config,
            Launch {
                before: Some(format!("ulimit -n {descriptors}")),
                ..Launch::default()
            },
        )
        .await
    }

    async fn launch_on(socket: Option<TcpListener>, config: &str, launch: Launch) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        std::fs::write(folder.path().join("config.toml"), config)
            .expect("the configuration is written");
        for attempt in 1.. {
            let listen = socket.as_ref().map_or_else(free_address, |socket| {
                socket.local_addr().expect("an address")
            });
            let (
                admin,
                Launch {
                    environment,
                    log_to,
                    before,
                    lakehouse,
                    program: another,
                },
            ) = (free_address(), launch.clone());
            let socket = socket
                .as_ref()
                .map(|socket| socket.try_clone().expect("a second handle"));
            let (folder, log) = (folder.clone(), Arc::default());
            let mut app = Self {
                folder,
                listen,
                admin,
                environment,
                socket,
                process: None,
                log,
                log_to,
                before,
                lakehouse,
                program: another.unwrap_or_else(program),
            };
            match app.spawn().await {
                Ok(()) => return app,
                // Somebody else took one of the ports between our look and the program's.
                Err(log) if attempt < 3 && log.to_lowercase().contains("in use") => {}
                Err(log) => panic!("hookweir ended at start:\n{log}"),
            }
        }
        unreachable!("three attempts end in a return or a panic")
    }

    /// Starts it again after it was killed or stopped, and does not wait until it is ready.
    pub async fn start_again(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        if let Err(log) = self.spawn().await {
            panic!("hookweir ended at its restart:\n{log}");
        }
    }

    /// From its next start on it has no environment variables of ours.
    pub fn clear_environment(&mut self) {
        self.environment.clear();
    }

    /// From its next start on it has these environment variables and no others of ours.
    pub fn set_environment(&mut self, environment: &[(&'static str, String)]) {
        self.environment = environment.to_vec();
    }

    /// From its next start on it is this program.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// It has been started, and was not found to have ended.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The bound on its memory that it printed at its start, in bytes. None: it has not come that far.
    pub fn memory_bound(&self) -> Option<u64> {
        let number = |line: &String| {
            line.split_once("memory  at most ")?
                .1
                .split_once(" MiB")?
                .0
                .parse::<u64>()
                .ok()
        };
        let printed = self
            .log()
            .lines()
            .map(str::to_owned)
            .find_map(|line| number(&line));
        Some((printed? + 1) << 20)
    }

    async fn spawn(&mut self) -> Result<(), String> {
        let program = &self.program;
        let shell = |before: &str| {
            let mut shell = Command::new("bash");
            shell.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]);
            shell.arg(program);
            shell
        };
        let mut command = match (&self.socket, &self.before) {
            (None, None) => Command::new(program),
            (None, Some(before)) => shell(before),
            // The socket is its descriptor 3, as systemd hands it over.
            (Some(_), _) => shell("exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$"),
        };
        let stdin = match &self.socket {
            None => {
                command.args(["--set", &format!("server.listen={}", self.listen)]);
                Stdio::null()
            }
            Some(socket) => OwnedFd::from(socket.try_clone().expect("a second handle")).into(),
        };
        if !self.lakehouse {
            command.args(["--set", "lakehouse.in_serve=off"]);
        }
        let mut child = command
            .args(["serve", "--config", "config.toml", "--set"])
            .arg(format!("server.admin_listen={}", self.admin))
            .current_dir(self.folder.path())
            .env_clear()
            .envs(
                ["PATH", "HOME", "RUST_BACKTRACE"]
                    .into_iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(self.environment.iter().cloned())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(match &self.log_to {
                LogTo::Reader(_) => Stdio::piped(),
                LogTo::File(path) => OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path)
                    .expect("a log file")
                    .into(),
            })
            .spawn()
            .expect("the program starts");
        self.log.lock().expect("log").clear();
        log_reader::collect(
            child.stdout.take().expect("stdout"),
            self.log.clone(),
            LogReader::default(),
        );
        if let LogTo::Reader(reader) = &self.log_to {
            log_reader::collect(
                child.stderr.take().expect("stderr"),
                self.log.clone(),
                reader.clone(),
            );
        }
        self.process = Some(child);
        let since = Instant::now();
        while tokio::net::TcpStream::connect(self.admin).await.is_err() {
            if let Some(status) = self.exited() {
                self.process = None;
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Err(format!("{}\n{status}", self.log()));
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "the admin port does not answer:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        self.until_ready(true).await;
    }

    /// Waits until `/readyz` says that it is not ready; returns why.
    pub async fn not_ready(&self) -> String {
        self.until_ready(false).await
    }

    async fn until_ready(&self, wanted: bool) -> String {
        let (client, since, mut last) = (client(), Instant::now(), String::new());
        while since.elapsed() < Duration::from_secs(60) {
            if let Ok(response) = client
                .get(format!("http://{}/readyz", self.admin))
                .send()
                .await
            {
                let ready = response.status() == 200;
                last = response.text().await.unwrap_or_default();
                if ready == wanted {
                    return last;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "ready is not {wanted} after a minute: {last}\n{}",
            self.log()
        );
    }

    /// Returns the body of `/readyz`.
    pub async fn health(&self) -> String {
        let response = client()
            .get(format!("http://{}/readyz", self.admin))
            .send()
            .await
            .expect("the admin port answers");
        response.text().await.expect("text")
    }

    /// Waits until every component is ready, the queue too.
    pub async fn until_healthy(&self) {
        let since = Instant::now();
        while self.health().await.contains("degraded") {
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "still degraded after a minute: {}",
                self.health().await
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns the folder of the file sink, unless another is configured.
    pub fn events(&self) -> PathBuf {
        self.folder().join("data/events")
    }

    /// Its working directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything it wrote since its last start.
    pub fn log(&self) -> String {
        match &self.log_to {
            LogTo::Reader(_) => self.log.lock().expect("log").join("\n"),
            // /dev/full never ends.
            LogTo::File(path) if !path.is_file() => String::new(),
            LogTo::File(path) => {
                String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
            }
        }
    }

    /// Returns the reader of the log.
    pub fn log_reader(&self) -> LogReader {
        match &self.log_to {
            LogTo::Reader(reader) => reader.clone(),
            LogTo::File(path) => panic!("its log goes to {}", path.display()),
        }
    }

    /// Its metrics, as `name{labels}` → value.
    pub async fn metrics(&self) -> Metrics {
        let response = client()
            .get(format!("http://{}/metrics", self.admin))
            .send()
            .await
            .expect("metrics are served");
        Metrics::parse(&response.text().await.expect("metrics are text"))
    }

    /// Waits until nothing is left in the outbox.
    pub async fn drained(&self) {
        let since = Instant::now();
        loop {
            // The gauge is read at intervals, and may be 0 too early.
            let left = self.metrics().await.get("hookweir_outbox_rows");
            if left == 0.0 && self.waiting().is_empty() {
                return;
            }
            assert!(
                since.elapsed() < Duration::from_secs(120),
                "{left} rows are still in the outbox after two minutes:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// One of the events that wait for a sink, in the store's own words; nothing if there is none.
    fn waiting(&self) -> String {
        let listed = Command::new(program())
            .args(["events", "--state", "waiting", "--limit", "1", "--json"])
            .args(["--config", "config.toml"])
            .current_dir(self.folder())
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        if listed.status.success() {
            String::from_utf8_lossy(&listed.stdout).into_owned()
        } else {
            String::from_utf8_lossy(&listed.stderr).into_owned()
        }
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("kill");
            process.wait().expect("wait");
        }
    }

    /// Asks it to stop, and waits until it did.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended(Duration::from_secs(60)).await
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        // The shell's own `kill`: a minimal Debian has no other.
        let status = Command::new("bash")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {name} {pid}"
        );
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self, patience: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                self.process = None;
                return status;
            }
            assert!(
                since.elapsed() < patience,
                "it still runs after {patience:?}:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its exit status if it has ended by itself meanwhile.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.exited().inspect(|_| self.process = None)
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.process
            .as_mut()
            .and_then(|process| process.try_wait().expect("wait"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// The most memory that it ever held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("VmHWM");
        peak.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number of kB")
            * 1024
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            let _ = writeln!(
                std::io::stderr(),
                "--- the last lines of hookweir on {}:\n{}",
                self.listen,
                tail.join("\n")
            );
        }
    }
}
