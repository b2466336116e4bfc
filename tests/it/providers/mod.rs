//! Deliveries other than one signed event, to the real program: faults, batches, secrets that are
//! handed over.

mod batches;
mod faults;
mod learned;

use hookweir::config::Config;
use hookweir::config::model::Source;
use hookweir::domain::delivery::wall_clock;
use hookweir_signatures::sign::{SignInputs, SignedRequest, sign};

use hookweir_testkit::app::App;
use hookweir_testkit::load::client;

pub(crate) const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY0";

/// The source of a piece of configuration.
pub(crate) fn source(config: &str) -> Source {
    Config::from_toml(config)
        .unwrap_or_else(|mistakes| panic!("{config}: {mistakes:?}"))
        .sources
        .remove(0)
}

pub(crate) fn signed(source: &Source, body: &str) -> SignedRequest {
    let inputs = SignInputs {
        body: body.to_owned().into(),
        id: "evt_1".into(),
        event_type: "example".into(),
        at: wall_clock(),
        secret: 0,
        private_key: None,
    };
    sign(&source.spec(), &inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// Sends a request to the source at `path`; status, one header, and body of the answer.
pub(crate) async fn post(app: &App, path: &str, request: &SignedRequest) -> reqwest::Response {
    let mut post = client()
        .post(format!("http://{}/ingest/{path}", app.listen))
        .body(request.body.clone());
    for (name, value) in &request.headers {
        post = post.header(name.as_str(), value.as_bytes());
    }
    post.send().await.expect("an answer")
}
