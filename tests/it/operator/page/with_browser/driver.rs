//! A real Chromium, driven by WebDriver: some calls of JSON over HTTP, so that no crate is needed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use hookweir_testkit::load::client;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// Longest wait for something to be on the screen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest wait for a script. The driver answers then.
const SCRIPT: Duration = Duration::from_secs(120);

/// Longest wait for the driver.
const ANSWER: Duration = Duration::from_secs(130);

/// A driver with its browsers. Dropped, all of them end. They are in the group of the tests: whoever ends that, ends
/// them, too.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let mut all = vec![self.0.id()];
        let mut at = 0;
        while let Some(parent) = all.get(at) {
            all.extend(children(*parent));
            at += 1;
        }
        let all = all.iter().map(u32::to_string);
        let _ = Command::new("bash")
            .args(["-c", "kill -s KILL \"$@\"", "kill"])
            .args(all)
            .stderr(Stdio::null())
            .status();
        let _ = self.0.wait();
    }
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let words = lists.iter().flat_map(|list| list.split_whitespace());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// A browser with a profile of its own. Dropped, it ends.
pub struct Browser {
    _driver: Driver,
    session: String,
    client: Client,
    _profile: tempfile::TempDir,
}

/// The answer of the driver.
async fn answered(request: RequestBuilder) -> Value {
    let answer = request.timeout(ANSWER).send().await;
    let answer = answer.expect("the driver answers").text().await;
    serde_json::from_str(&answer.expect("text")).expect("JSON")
}

impl Browser {
    /// Starts a browser whose system is dark or light.
    pub async fn start() -> Self {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver (package chromium-driver)");
        let mut driver = Driver(driver);
        let mut lines = BufReader::new(driver.0.stdout.take().expect("its output")).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("a line");
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        std::thread::spawn(move || lines.count());
        let port = port.expect("chromedriver says its port");
        let profile = tempfile::tempdir().expect("a folder");
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-quic".into(),
            "--disable-dev-shm-usage".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--no-proxy-server".into(),
            "--window-size=1280,900".into(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "timeouts": { "script": SCRIPT.as_millis() as u64, "pageLoad": SCRIPT.as_millis() as u64 },
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let base = format!("http://127.0.0.1:{port}/session");
        let client = client();
        let answer = answered(client.post(&base).body(wanted.to_string())).await;
        let id = answer["value"]["sessionId"].as_str();
        let id = id.unwrap_or_else(|| panic!("no session: {answer}"));
        Self {
            _driver: driver,
            session: format!("{base}/{id}"),
            client,
            _profile: profile,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.session);
        let mut request = self.client.request(method.clone(), url);
        if method == Method::POST {
            request = request.body(body.to_string());
        }
        let mut answer = answered(request).await;
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{path}: {}", value["message"]);
        value
    }

    pub async fn open(&self, url: &str) {
        self.call(Method::POST, "url", json!({ "url": url })).await;
    }

    /// Runs a script of the test. Returns its result.
    pub async fn run(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.call(Method::POST, "execute/sync", body).await
    }

    /// Runs a script that ends with a call of its last argument. Returns what it was called with.
    pub async fn run_later(&self, script: &str) -> Value {
        let body = json!({ "script": script, "args": [] });
        self.call(Method::POST, "execute/async", body).await
    }

    /// Presses keys, one after the other.
    pub async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
            })
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.call(Method::POST, "actions", body).await;
    }

    /// Text that is on the screen.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until these words are on the screen.
    pub async fn until(&self, words: &str) {
        let since = Instant::now();
        loop {
            let text = self.text().await;
            if text.contains(words) {
                return;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "no \"{words}\" on the screen:\n{text}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a script returns true.
    pub async fn until_true(&self, script: &str) {
        let since = Instant::now();
        while self.run(script).await != true {
            assert!(
                since.elapsed() < PATIENCE,
                "never true: {script}\n{}",
                self.text().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Presses Tab until the focus is on the element with this text, value or label.
    pub async fn tab_to(&self, name: &str) {
        let focus = "const e = document.activeElement;
            return [e.innerText, e.value, e.labels?.[0]?.innerText, e.getAttribute('aria-label'), e.placeholder]
                .filter(Boolean).map((text) => text.trim())";
        for _ in 0..200 {
            self.press("\u{e004}").await;
            let names = self.run(focus).await;
            let mut names = names.as_array().into_iter().flatten();
            if names.any(|found| found.as_str().is_some_and(|found| found.starts_with(name))) {
                let seen = self
                    .run("return document.activeElement.matches(':focus-visible')")
                    .await;
                assert_eq!(seen, true, "the focus on \"{name}\" is not shown");
                return;
            }
        }
        panic!("no Tab leads to \"{name}\":\n{}", self.text().await);
    }

    /// Presses Enter on the element that Tab leads to.
    pub async fn enter_on(&self, name: &str) {
        self.tab_to(name).await;
        self.press("\u{e007}").await;
    }

    /// Answers the question of a dialogue with yes.
    pub async fn say_yes(&self) {
        self.call(Method::POST, "alert/accept", json!({})).await;
    }

    /// Answers the question of a dialogue with no.
    pub async fn say_no(&self) {
        self.call(Method::POST, "alert/dismiss", json!({})).await;
    }

    /// Opens a tab, and shows it in the place of the one before. Returns its name.
    pub async fn new_tab(&self) -> String {
        let body = json!({ "type": "tab" });
        let tab = self.call(Method::POST, "window/new", body).await;
        let tab = tab["handle"].as_str().expect("a name").to_owned();
        self.show_tab(&tab).await;
        tab
    }

    /// The name of the tab that is shown.
    pub async fn tab(&self) -> String {
        let tab = self.call(Method::GET, "window", Value::Null).await;
        tab.as_str().expect("a name").to_owned()
    }

    /// Shows a tab, and hides the others.
    pub async fn show_tab(&self, tab: &str) {
        let body = json!({ "handle": tab });
        self.call(Method::POST, "window", body).await;
        self.tools("Page.bringToFront", json!({})).await;
    }

    /// Sends a command of the developer tools.
    pub async fn tools(&self, command: &str, params: Value) {
        let body = json!({ "cmd": command, "params": params });
        self.call(Method::POST, "goog/cdp/execute", body).await;
    }

    /// Has the system be dark or light.
    pub async fn set_scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tools(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
        // Colours in between have no contrast of their own.
        self.run_later(
            "const done = arguments[arguments.length - 1];
             const settled = () => Promise.allSettled(document.getAnimations().map(one => one.finished)).then(() => done(true));
             requestAnimationFrame(() => requestAnimationFrame(settled));",
        )
        .await;
    }

    pub async fn set_size(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Picture of the screen, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let picture = self.call(Method::GET, "screenshot", Value::Null).await;
        let picture = picture.as_str().expect("a picture");
        let engine = base64::engine::general_purpose::STANDARD;
        engine.decode(picture).expect("base64")
    }

    /// Errors of the console since the last call: violations of the policy are among them.
    pub async fn errors(&self) -> Vec<String> {
        let body = json!({ "type": "browser" });
        let lines = self.call(Method::POST, "se/log", body).await;
        let lines = lines.as_array().cloned().unwrap_or_default();
        let severe = lines.iter().filter(|line| line["level"] == "SEVERE");
        severe.map(|line| line["message"].to_string()).collect()
    }
}
