//! Under systemd, by its protocols: what it is told through `NOTIFY_SOCKET`, and the socket that it holds for the service.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::app::{App, five_sources};
use crate::support::ledger::Ledger;
use crate::support::load::Load;

/// Reads messages until one has this line.
fn wait_for(socket: &UnixDatagram, line: &str) {
    let mut buffer = [0; 4096];
    for _ in 0..10_000 {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line} came: {error}"));
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|told| told == line) {
            return;
        }
    }
    panic!("{line} is not among 10,000 messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("binds");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let environment = [("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "600000".to_owned())];
    let mut app = App::launch_with(&five_sources(), &environment).await;
    wait_for(&socket, "READY=1");
    // Told ready, it serves.
    Load::on(&[app.listen]).send(20).await.check_faultless();
    for _ in 0..3 {
        wait_for(&socket, "WATCHDOG=1");
    }
    app.signal("TERM");
    wait_for(&socket, "STOPPING=1");
    assert!(app.ended(Duration::from_secs(60)).await.success());
}

/// The program as systemd's socket activation starts it: the listening socket is its descriptor 3.
struct Activated(Child);

impl Activated {
    fn start(folder: &Path, socket: &TcpListener) -> Self {
        let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" --config config.toml";
        let child = Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_hookweir")])
            .current_dir(folder)
            .stdin(OwnedFd::from(socket.try_clone().expect("a second handle")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("it starts"))
    }

    fn stop(mut self) {
        let status = Command::new("bash").args(["-c", "kill -TERM $0", &self.0.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_sent_between_two_lives_of_the_service_waits_at_systemds_socket() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = format!("server.admin_listen = \"127.0.0.1:0\"\n{}", five_sources());
    std::fs::write(folder.path().join("config.toml"), config).expect("the configuration is written");
    let socket = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = socket.local_addr().expect("address");

    // No connection is refused, whenever it comes; until the store is ready, the answer is to come again.
    let check = |ledger: Ledger| {
        ledger.check();
        let answers = ledger.answers(false);
        assert!(!answers.contains_key("broken"), "{answers:?}");
    };
    let first = Activated::start(folder.path(), &socket);
    check(Load::on(&[address]).send(50).await);
    tokio::task::block_in_place(|| first.stop());
    let load = tokio::spawn(Load { connections: 4, seed: 2, ..Load::on(&[address]) }.send(50));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let second = Activated::start(folder.path(), &socket);
    check(load.await.expect("no panic"));
    tokio::task::block_in_place(|| second.stop());
}
