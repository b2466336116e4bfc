//! A TCP proxy whose line can be cut, silenced, made slow, and cut after so many bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Behaviour of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// Passes everything on.
    #[default]
    Open,
    /// Accepts and keeps connections, and passes nothing on.
    Silent,
    /// Passes on what clients say, and keeps the answers back.
    HalfOpen,
    /// Passes on so many kilobytes a second, in each direction of each connection.
    Slow(u32),
    /// Closes every connection, old and new.
    Cut,
}

/// A proxy on a port of its own. Ends with the runtime of its test.
pub struct Proxy {
    /// Address on which the proxy listens.
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    back_budget: Arc<AtomicI64>,
}

impl Proxy {
    /// A proxy in front of `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(super::ports::free_address())
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("address");
        let line = watch::Sender::new(Line::Open);
        let back_budget = Arc::new(AtomicI64::new(i64::MAX));
        let (lines, budget) = (line.subscribe(), back_budget.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, lines.clone(), budget.clone()));
            }
        });
        Self {
            address,
            line,
            back_budget,
        }
    }

    /// Changes the line, for connections that are open too.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// Cuts the connection that carries the `bytes`th byte from now on from the target back to a client. What the client had sent has
    /// arrived: so an answer gets lost after the deed was done.
    pub fn cut_back_after(&self, bytes: i64) {
        self.back_budget.store(bytes, Ordering::SeqCst);
    }

    /// Returns true if a cut by [`cut_back_after`](Self::cut_back_after) is still to come.
    /// `cut_back_after(i64::MAX)` cancels the cut.
    pub fn has_to_cut(&self) -> bool {
        self.back_budget.load(Ordering::SeqCst) < i64::MAX / 2
    }
}

async fn serve(
    client: TcpStream,
    target: SocketAddr,
    lines: watch::Receiver<Line>,
    budget: Arc<AtomicI64>,
) {
    if *lines.borrow() == Line::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let unlimited = Arc::new(AtomicI64::new(i64::MAX));
    // The end of either direction, or a cut, drops all four halves.
    tokio::select! {
        () = pass(from_client, to_server, lines.clone(), unlimited, Line::Silent) => {}
        () = pass(from_server, to_client, lines, budget, Line::HalfOpen) => {}
    }
}

/// One direction. It keeps back what comes while the line is silent, or is `held`.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut lines: watch::Receiver<Line>,
    budget: Arc<AtomicI64>,
    held: Line,
) {
    let mut buffer = vec![0; 16 * 1024];
    let keeps_back = |line: &Line| *line == Line::Silent || *line == held;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = lines.wait_for(|line| *line == Line::Cut) => return,
        };
        let Ok(read @ 1..) = read else { return };
        match lines
            .wait_for(|line| !keeps_back(line))
            .await
            .map(|line| *line)
        {
            Ok(Line::Cut) | Err(_) => return,
            Ok(Line::Slow(kilobytes)) => {
                tokio::time::sleep(Duration::from_secs_f64(
                    read as f64 / f64::from(kilobytes) / 1024.0,
                ))
                .await
            }
            Ok(_) => {}
        }
        let left = budget.fetch_sub(read as i64, Ordering::SeqCst);
        if left <= read as i64 {
            budget.store(i64::MAX, Ordering::SeqCst);
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
