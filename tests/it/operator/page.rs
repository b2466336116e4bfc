//! The operator's page, asked over HTTP as a browser asks, and shown by a real browser.

mod cost;
mod curl;
mod decisions;
mod lakehouse;
mod screens;
mod search;
mod security;
mod with_browser;
mod with_servers;

use std::time::Duration;

use hookweir_testkit::app::App;
use hookweir_testkit::load::client;
use reqwest::{Client, Method, Response};

use super::hookweir;

/// Somebody who is logged in, with no browser but its headers.
pub(super) struct Visit {
    client: Client,
    origin: String,
    cookie: String,
}

/// A link that `hookweir page` prints.
fn link(app: &App) -> String {
    hookweir(app, &["page"]).good().trim().to_owned()
}

/// Body of a form.
fn encoded(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}

/// Sends the form of a login. Returns the answer.
async fn log_in(app: &App, fields: &[(&str, &str)]) -> Response {
    let origin = format!("http://{}", app.admin);
    let form = client().post(format!("{origin}/page/login"));
    let form = form.header("origin", &origin).body(encoded(fields));
    form.send().await.expect("answered")
}

/// The cookie of an answer.
fn cookie(answer: &Response) -> String {
    let set = answer.headers().get("set-cookie").expect("a cookie");
    let set = set.to_str().expect("text");
    for word in ["HttpOnly", "SameSite=Strict", "Path=/page", "Max-Age=43200"] {
        assert!(set.contains(word), "{set}");
    }
    set.split(';').next().expect("a cookie").to_owned()
}

impl Visit {
    /// Goes in by a link of `hookweir page`.
    pub(super) async fn enter(app: &App) -> Self {
        let link = link(app);
        let secret = link.split_once("?link=").expect("a link").1;
        Self::with(app, &[("link", secret)]).await
    }

    /// Goes in by this form.
    async fn with(app: &App, fields: &[(&str, &str)]) -> Self {
        let answer = log_in(app, fields).await;
        assert_eq!(answer.status(), 303);
        Self {
            client: client(),
            origin: format!("http://{}", app.admin),
            cookie: cookie(&answer),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Response {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.origin));
        request = request.header("cookie", &self.cookie).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("answered")
    }

    /// Status and text of a screen.
    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask(Method::GET, path, &[], String::new()).await;
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    /// A screen that is there.
    pub(super) async fn screen(&self, path: &str) -> String {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// Sends a form from the page. Returns the place that its answer leads to.
    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let origin: &[(&str, &str)] = &[("origin", &self.origin)];
        let answer = self.ask(Method::POST, path, origin, encoded(fields)).await;
        assert_eq!(
            answer.status(),
            303,
            "{path}: {}",
            answer.text().await.expect("text")
        );
        let place = answer.headers().get("location").expect("a place");
        place.to_str().expect("text").to_owned()
    }

    /// Waits until a screen has these words.
    async fn until(&self, path: &str, words: &str) -> String {
        for _ in 0..600 {
            let text = self.screen(path).await;
            if text.contains(words) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path} never has \"{words}\"");
    }
}
