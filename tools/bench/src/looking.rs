//! Visitors of the operator's page while a load runs: clients that read the live stream, and a tab of a real browser.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::generator::{Mix, Pace};
use super::pipeline::{self, Row, Sending, World};
use super::say;
use super::service::Service;

/// Clicks on the page while the load runs.
const CLICKS: usize = 20;
/// Time between two clicks.
const PAUSE: Duration = Duration::from_millis(300);
/// Longest wait for an answer of the driver.
const ANSWER: Duration = Duration::from_secs(60);
/// Text of a page that leaves outcomes out.
const SAMPLED: &str = "too many to show";

/// Clients that read the live stream. Dropped, they leave.
pub(crate) struct Listeners(Vec<(TcpStream, JoinHandle<u64>)>);

impl Listeners {
    /// Lets so many clients in, each by a link of its own.
    pub(crate) fn start(service: &Service, count: usize) -> Result<Self, Box<dyn Error>> {
        let mut all = Self(Vec::new());
        for _ in 0..count {
            let cookie = log_in(service.admin, &service.link()?)?;
            let mut stream = TcpStream::connect(service.admin)?;
            let host = service.admin;
            write!(
                stream,
                "GET /page/live/stream HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\n\r\n"
            )?;
            let mut reading = stream.try_clone()?;
            let mut head = [0; 12];
            reading.read_exact(&mut head)?;
            if !head.ends_with(b" 200") {
                return Err(format!("no stream: {}", String::from_utf8_lossy(&head)).into());
            }
            let reader = thread::spawn(move || read_all(reading));
            all.0.push((stream, reader));
        }
        Ok(all)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for (stream, reader) in self.0.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
            match reader.join() {
                // A stream that told nothing was measured for nothing.
                Ok(bytes) if bytes > 1000 => {}
                _ => say("  A CLIENT OF THE LIVE STREAM READ NOTHING"),
            }
        }
    }
}

/// Reads to the end. Returns the number of bytes.
fn read_all(mut stream: TcpStream) -> u64 {
    let (mut all, mut part) = (0, vec![0; 64 * 1024]);
    while let Ok(bytes) = stream.read(&mut part) {
        if bytes == 0 {
            break;
        }
        all += bytes as u64;
    }
    all
}

/// Goes in by a link. Returns the cookie.
fn log_in(admin: SocketAddr, link: &str) -> Result<String, Box<dyn Error>> {
    let secret = link.split_once("link=").ok_or("no link")?.1;
    let body = format!("link={secret}");
    let head = format!("origin: http://{admin}\r\n");
    let answer = post(admin, "/page/login", &head, &body)?;
    let cookie = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then_some(value)
    });
    let cookie = cookie.ok_or_else(|| format!("no cookie: {answer}"))?;
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

/// Sends a request with a body. Returns the whole answer.
fn post(to: SocketAddr, path: &str, head: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {to}\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    answer_of(stream)
}

/// Reads an answer up to the end that its head tells: chromedriver leaves the connection open.
fn answer_of(stream: TcpStream) -> std::io::Result<String> {
    let (mut reader, mut answer, mut length) = (BufReader::new(stream), String::new(), None);
    loop {
        let begun = answer.len();
        if reader.read_line(&mut answer)? <= 2 {
            break;
        }
        let line = answer[begun..].to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
    }
    let mut body = Vec::new();
    reader
        .take(length.unwrap_or(u64::MAX))
        .read_to_end(&mut body)?;
    answer.push_str(&String::from_utf8_lossy(&body));
    Ok(answer)
}

/// A tab of Chromium, driven by WebDriver. Dropped, it ends.
struct Tab {
    driver: Child,
    at: SocketAddr,
    session: String,
    profile: tempfile::TempDir,
}

impl Tab {
    fn start() -> Result<Self, Box<dyn Error>> {
        let profile = tempfile::tempdir()?;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("chromedriver (package chromium-driver): {error}"))?;
        let out = driver.stdout.take().ok_or("no output")?;
        let mut lines = BufReader::new(out).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        thread::spawn(move || lines.count());
        let mut tab = Self {
            driver,
            at: ([127, 0, 0, 1], port.ok_or("chromedriver has no port")?).into(),
            session: String::new(),
            profile,
        };
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--no-first-run".into(),
            "--no-proxy-server".into(),
            format!("--user-data-dir={}", tab.profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let session = tab.call("", &wanted)?;
        let id = session["sessionId"].as_str().ok_or("no session")?;
        tab.session = format!("/{id}");
        Ok(tab)
    }

    fn call(&self, path: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
        let path = format!("/session{}{path}", self.session);
        let answer = post(self.at, &path, "", &body.to_string())?;
        let body = answer.split_once("\r\n\r\n").ok_or("no answer")?.1;
        let mut answer: Value = serde_json::from_str(body)?;
        match answer["value"]["message"].as_str() {
            Some(message) => Err(message.to_owned().into()),
            None => Ok(answer["value"].take()),
        }
    }

    fn open(&self, url: &str) -> Result<(), Box<dyn Error>> {
        self.call("/url", &json!({ "url": url })).map(drop)
    }

    fn run(&self, script: &str) -> Result<Value, Box<dyn Error>> {
        self.call("/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Returns the text of the page.
    fn text(&self) -> Result<String, Box<dyn Error>> {
        let text = self.run("arguments[arguments.length - 1](document.body.innerText)")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        // In order, so that the browser ends as well.
        if let Ok(mut stream) = TcpStream::connect(self.at) {
            let _ = write!(
                stream,
                "DELETE /session{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                self.session, self.at
            );
            let _ = stream.set_read_timeout(Some(ANSWER));
            let _ = answer_of(stream);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Answers of a live tab to clicks under a load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Clicks {
    /// The load.
    row: Row,
    /// True if the page said that it leaves outcomes out.
    sampled: bool,
    /// Milliseconds from each click to the next picture, in order.
    click_ms: Vec<f64>,
}

/// Clicks in a live tab while `rate` deliveries come in a second.
pub(crate) fn clicks(
    world: &World,
    rate: f64,
    (body, time): (usize, Duration),
) -> Result<Clicks, Box<dyn Error>> {
    let service = world.service(&[])?;
    let tab = Tab::start()?;
    tab.open(&service.link()?)?;
    tab.open(&format!("http://{}/page/live", service.admin))?;
    let clicking = thread::spawn(move || click(&tab).map_err(|error| error.to_string()));
    let sending = Sending {
        pace: Pace::Open(rate),
        mix: Mix::default(),
        body,
        time,
        drained: false,
        cold: false,
    };
    Row::heads();
    let row = pipeline::measure_on(world, &service, sending)?;
    let (sampled, mut click_ms) = clicking.join().map_err(|_| "the clicks died")??;
    click_ms.sort_by(f64::total_cmp);
    say(format_args!(
        "  a live tab at {:.0} accepted/s: {}; clicks answered in {:.0} ms (median), {:.0} ms (slowest of {})",
        row.accepted,
        match sampled {
            true => "it samples and says so",
            false => "IT DOES NOT SAY THAT IT SAMPLES",
        },
        click_ms
            .get(click_ms.len() / 2)
            .copied()
            .unwrap_or_default(),
        click_ms.last().copied().unwrap_or_default(),
        click_ms.len()
    ));
    Ok(Clicks {
        row,
        sampled,
        click_ms,
    })
}

/// Waits until the page samples, and clicks. Returns true if it said so, and the time that each click took.
fn click(tab: &Tab) -> Result<(bool, Vec<f64>), Box<dyn Error>> {
    let since = Instant::now();
    let mut sampled = false;
    while !sampled && since.elapsed() < Duration::from_secs(10) {
        sampled = tab.text()?.contains(SAMPLED);
        thread::sleep(Duration::from_millis(100));
    }
    let click = "const done = arguments[arguments.length - 1], since = performance.now();
        document.querySelector('[data-pause]').click();
        requestAnimationFrame(() => setTimeout(() => done(performance.now() - since)))";
    let mut took = Vec::new();
    for _ in 0..CLICKS {
        took.push(tab.run(click)?.as_f64().ok_or("no time")?);
        thread::sleep(PAUSE);
    }
    Ok((sampled, took))
}
