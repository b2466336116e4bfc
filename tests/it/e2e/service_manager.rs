//! What systemd is told, by its protocol: datagrams to `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::app::{App, five_sources};
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
