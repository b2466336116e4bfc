//! PostgreSQL, RabbitMQ and Kafka: the shared ones that `tests/run` started, and private ones that a test may stop and kill.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::greeting::{postgres_answers, rabbitmq_answers};

/// The shared PostgreSQL, as superuser. A test works in a schema or database of its own.
pub fn postgres() -> String {
    from_environment("HOOKWEIR_TEST_POSTGRES")
}

/// The shared RabbitMQ. A test uses exchanges and queues of its own.
pub fn amqp() -> String {
    from_environment("HOOKWEIR_TEST_AMQP")
}

/// The shared Kafka. A test uses topics of its own.
pub fn kafka() -> String {
    from_environment("HOOKWEIR_TEST_KAFKA")
}

/// Runs one of Kafka's tools on the shared Kafka.
pub fn kafka_ctl(arguments: &[&str]) -> String {
    let folder = PathBuf::from(from_environment("HOOKWEIR_TEST_FOLDER")).join("shared-kafka");
    script(&["ctl"], &folder, arguments)
}

/// Fetches Kafka, unless it is there. Returns the reason where it cannot be had.
pub fn fetch_kafka() -> Result<(), String> {
    let output = Command::new(SCRIPT)
        .args(["fetch", "kafka"])
        .stdin(Stdio::null())
        .output()
        .expect("tests/servers runs");
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Host and port in a server's URL; of several, the first.
pub fn address(url: &str) -> SocketAddr {
    let address = url
        .split_once("://")
        .map(|(_, rest)| rest.rsplit_once('@').map_or(rest, |(_, rest)| rest))
        .and_then(|rest| rest.split(['/', ',']).next());
    address
        .and_then(|address| address.parse().ok())
        .expect("a server's URL names an address")
}

fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run"))
}

/// A server of one test's own. Dropped, it is stopped and its data removed, also when the test panics.
pub struct Server {
    kind: &'static str,
    folder: PathBuf,
    /// URL of the server, the same after each restart.
    pub url: String,
}

impl Server {
    /// A fresh PostgreSQL.
    pub fn postgres() -> Self {
        Self::fresh("postgres")
    }

    /// A fresh PgBouncer in transaction mode, before the PostgreSQL at `url`, with three sessions there. Any client is its superuser.
    pub fn pooler(url: &str) -> Self {
        let target = address(url).port().to_string();
        let mut pooler = Self {
            kind: "pgbouncer",
            folder: Self::folder("pgbouncer"),
            url: String::new(),
        };
        pooler.url = script(&["start", pooler.kind], &pooler.folder, &[&target])
            .trim()
            .to_owned();
        pooler
    }

    /// A fresh RabbitMQ. Takes some seconds.
    pub fn rabbitmq() -> Self {
        Self::fresh("rabbitmq")
    }

    /// A fresh RabbitMQ of three nodes. Takes half a minute.
    pub fn rabbitmq_cluster() -> Self {
        Self::fresh("rabbitmq-cluster")
    }

    /// A fresh PostgreSQL with a standby that each commit waits for: nodes 1 and 2.
    pub fn postgres_pair() -> Self {
        Self::fresh("postgres-pair")
    }

    /// A fresh Kafka of one node. Takes some seconds.
    pub fn kafka() -> Self {
        Self::fresh("kafka")
    }

    /// A fresh Kafka with TLS listeners besides the plain ones. `pem` has its key and its certificates.
    pub fn kafka_with_tls(pem: &str) -> Self {
        let mut server = Self {
            kind: "kafka",
            folder: Self::folder("kafka"),
            url: String::new(),
        };
        std::fs::create_dir(&server.folder).expect("a folder");
        std::fs::write(server.folder.join("tls.pem"), pem).expect("a file");
        server.start();
        server
    }

    /// A fresh S3-compatible store, without any bucket.
    pub fn s3() -> Self {
        Self::fresh("s3")
    }

    /// A fresh REST catalog of Iceberg for tables in the store at `s3`. `more` are properties for `tests/rest/Rest.java`.
    pub fn rest(s3: &str, more: &str) -> Self {
        let mut server = Self {
            kind: "rest",
            folder: Self::folder("rest"),
            url: String::new(),
        };
        std::fs::create_dir(&server.folder).expect("a folder");
        for (name, text) in [("target", s3), ("more.properties", more)] {
            std::fs::write(server.folder.join(name), text).expect("a file");
        }
        server.start();
        server
    }

    /// A fresh Kafka that tells its clients the address of `proxy`, and listens itself at `own`.
    pub fn kafka_behind(proxy: SocketAddr, own: SocketAddr) -> Self {
        let mut server = Self {
            kind: "kafka",
            folder: Self::folder("kafka"),
            url: String::new(),
        };
        std::fs::create_dir(&server.folder).expect("a folder");
        let port = own.port().to_string();
        for (name, text) in [
            ("advertised", proxy.to_string()),
            ("port", port),
            ("served", String::new()),
        ] {
            std::fs::write(server.folder.join(name), text).expect("a file");
        }
        server.start();
        server
    }

    /// A fresh Kafka of three nodes. Takes some seconds more.
    pub fn kafka_cluster() -> Self {
        Self::fresh("kafka-cluster")
    }

    /// Kills a node of a cluster, from 1.
    pub fn kill_node(&self, node: i32) {
        script(&["kill"], &self.node(node), &[]);
    }

    /// Starts a node again.
    pub fn start_node(&self, node: i32) {
        let kind = match self.kind {
            "rabbitmq-cluster" => "rabbitmq",
            "postgres-pair" => "postgres",
            _ => "kafka",
        };
        script(&["start", kind], &self.node(node), &[]);
    }

    /// Stops a node in order.
    pub fn stop_node(&self, node: i32) {
        script(&["stop"], &self.node(node), &[]);
    }

    /// Parts a RabbitMQ node from the others of its cluster.
    pub fn cut_node(&self, node: i32) {
        script(&["cut"], &self.node(node), &[]);
    }

    /// Ends that.
    pub fn heal_node(&self, node: i32) {
        script(&["heal"], &self.node(node), &[]);
    }

    /// Makes a standby the primary.
    pub fn promote_node(&self, node: i32) {
        script(&["promote"], &self.node(node), &[]);
    }

    /// Makes a node a standby of `primary`, with the data of that one.
    pub fn follow_node(&self, node: i32, primary: i32) {
        let primary = self.node(primary);
        script(&["follow"], &self.node(node), &[&primary.to_string_lossy()]);
    }

    /// Runs `rabbitmqctl` on a node.
    pub fn ctl_node(&self, node: i32, arguments: &[&str]) -> String {
        script(&["ctl"], &self.node(node), arguments)
    }

    /// Halts a node: its connections stay open and silent.
    pub fn pause_node(&self, node: i32) {
        script(&["pause"], &self.node(node), &[]);
    }

    /// Ends the pause of a node.
    pub fn resume_node(&self, node: i32) {
        script(&["resume"], &self.node(node), &[]);
    }

    fn node(&self, node: i32) -> PathBuf {
        self.folder.join(format!("n{node}"))
    }

    /// The port of a Kafka's listener: `sasl`, `tls` or `sasltls`.
    pub fn listener(&self, name: &str) -> u16 {
        let file = self.folder.join(format!("{name}-port"));
        let port = std::fs::read_to_string(&file).expect("a listener of this server");
        port.trim().parse().expect("a port")
    }

    /// A fresh PostgreSQL on a disk of so many megabytes in memory; none where this process may not mount one.
    pub fn postgres_on_small_disk(megabytes: u32) -> Option<Self> {
        let server = Self {
            kind: "postgres",
            folder: Self::folder("postgres"),
            url: String::new(),
        };
        std::fs::create_dir(&server.folder).expect("a folder");
        let options = format!("size={megabytes}m,mode=755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(&server.folder)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| {
                let mut server = server;
                server.start();
                server
            })
    }

    /// Returns the folder of the server's files.
    pub fn files(&self) -> &Path {
        &self.folder
    }

    fn folder(kind: &str) -> PathBuf {
        PathBuf::from(from_environment("HOOKWEIR_TEST_FOLDER"))
            .join(format!("{kind}-{}", uuid::Uuid::now_v7().simple()))
    }

    fn fresh(kind: &'static str) -> Self {
        // Made before it is started, so that a start that fails half-way is cleaned up, too.
        let mut server = Self {
            kind,
            folder: Self::folder(kind),
            url: String::new(),
        };
        server.start();
        server
    }

    /// Starts it, or starts it again on its port and with its data.
    pub fn start(&mut self) {
        self.url = script(&["start", self.kind], &self.folder, &[])
            .trim()
            .to_owned();
    }

    /// Starts it if it does not listen. A process that runs without listening is stopped first.
    pub fn revive(&mut self) {
        if TcpStream::connect_timeout(&address(&self.url), Duration::from_secs(5)).is_err() {
            self.stop();
            self.start();
        }
    }

    /// A fresh server of the same kind.
    pub fn another(&self) -> Self {
        Self::fresh(self.kind)
    }

    /// Answer to a client's first bytes within five seconds: a process that listens may still serve nobody. Kafka is not asked.
    pub fn serves(&self) -> bool {
        match self.kind {
            "postgres" => postgres_answers(address(&self.url)),
            "rabbitmq" => rabbitmq_answers(address(&self.url)),
            _ => true,
        }
    }

    /// Last lines of each of its log files.
    pub fn log(&self) -> String {
        let folders = ["", "log", "data"].map(|name| self.folder.join(name));
        let files = folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok());
        let mut text = String::new();
        for file in files.flatten().flatten().map(|file| file.path()) {
            if file.extension().is_some_and(|end| end == "log") {
                let whole = std::fs::read(&file).unwrap_or_default();
                let whole = String::from_utf8_lossy(&whole);
                let lines: Vec<&str> = whole.lines().collect();
                let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
                text += &format!("--- {}\n{last}\n", file.display());
            }
        }
        text
    }

    /// Stops it in order; its clients are disconnected.
    pub fn stop(&self) {
        script(&["stop"], &self.folder, &[]);
    }

    /// Kills it without warning.
    pub fn kill(&self) {
        script(&["kill"], &self.folder, &[]);
    }

    /// Halts its processes; connections stay open and silent.
    pub fn pause(&self) {
        script(&["pause"], &self.folder, &[]);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        script(&["resume"], &self.folder, &[]);
    }

    /// Runs `rabbitmqctl` on it, or one of Kafka's tools.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        script(&["ctl"], &self.folder, arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not through `script`: a panic here would abort the whole test run and leave the server behind.
        let verb = match self.kind {
            "kafka-cluster" | "rabbitmq-cluster" | "postgres-pair" => "stop-all",
            _ => "stop",
        };
        let stopped = Command::new(SCRIPT)
            .arg(verb)
            .arg(&self.folder)
            .stdin(Stdio::null())
            .status();
        if stopped.is_ok_and(|status| status.success()) {
            // Where it is no disk of its own, there is nothing to unmount.
            let _ = Command::new("umount")
                .arg(&self.folder)
                .stderr(Stdio::null())
                .status();
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Lines of a log file that are shown.
const LAST_LINES: usize = 40;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/servers");

fn script(verb: &[&str], folder: &Path, rest: &[&str]) -> String {
    let output = Command::new(SCRIPT)
        .args(verb)
        .arg(folder)
        .args(rest)
        .stdin(Stdio::null())
        .output()
        .expect("tests/servers runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "tests/servers {verb:?} {rest:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}
