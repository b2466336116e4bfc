//! A real Chromium, driven by WebDriver: some calls of JSON over HTTP, so that no crate is needed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use hookweir_testkit::load::client;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// Longest wait for something to be on the screen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with a profile of its own. Dropped, it ends.
pub struct Browser {
    driver: Child,
    session: String,
    client: Client,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with itself: it leads a group of its own.
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("bash")
            .args(["-c", "kill -s KILL -- \"$0\"", &group])
            .status();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts a browser whose system is dark or light.
    pub async fn start() -> Self {
        use std::os::unix::process::CommandExt;
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver (package chromium-driver)");
        let mut lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
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
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let base = format!("http://127.0.0.1:{port}/session");
        let client = client();
        let answer = client.post(&base).body(wanted.to_string()).send().await;
        let answer = answer
            .expect("the driver answers")
            .text()
            .await
            .expect("text");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let id = answer["value"]["sessionId"].as_str();
        let id = id.unwrap_or_else(|| panic!("no session: {answer}"));
        Self {
            driver,
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
        let answer = request.send().await.expect("the driver answers");
        let answer = answer.text().await.expect("text");
        let mut answer: Value = serde_json::from_str(&answer).expect("JSON");
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
