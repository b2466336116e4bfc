//! Asana hands its secret over in a handshake: it is believed once, survives, is shared, and is replaced by nobody but the operator.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hookweir_signatures::sign::SignedRequest;
use http::{HeaderName, HeaderValue, Method};

use super::{SECRET, post, signed, source};
use hookweir_testkit::app::App;
use hookweir_testkit::servers::postgres;

const LEARNING: &str = "[[source]]\nname = \"asana\"\nprovider = \"asana\"\nlearn_secret = true\n";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn handshake(secret: &str) -> SignedRequest {
    let header = (
        HeaderName::from_static("x-hook-secret"),
        HeaderValue::from_str(secret).expect("text"),
    );
    SignedRequest {
        method: Method::POST,
        query: String::new(),
        headers: vec![header],
        body: "{}".into(),
    }
}

/// Returns a delivery that Asana signs with this secret.
fn event(secret: &str) -> SignedRequest {
    let known = format!(
        "[[source]]\nname = \"asana\"\nprovider = \"asana\"\nsecrets = [\"plain:{secret}\"]\n"
    );
    signed(
        &source(&known),
        r#"{"events":[{"action":"changed","resource":{"gid":"1","resource_type":"task"}}]}"#,
    )
}

async fn status(app: &App, request: &SignedRequest) -> u16 {
    post(app, "asana", request).await.status().as_u16()
}

/// Sends an event until it is accepted: other instances look into the store once a second. Not now is fine, a refusal is not.
async fn until_accepted(app: &App, event: &SignedRequest) {
    until(app, event, |status| {
        assert_eq!(status, 503, "a valid event is refused:\n{}", app.log())
    })
    .await;
}

/// Shakes hands until it is answered: right after the last secret was forgotten, none is learned yet.
async fn until_learned(app: &App, handshake: &SignedRequest) {
    until(app, handshake, |status| {
        assert!(matches!(status, 401 | 503), "{status}")
    })
    .await;
}

async fn until(app: &App, request: &SignedRequest, otherwise: impl Fn(u16)) {
    let since = Instant::now();
    loop {
        let status = status(app, request).await;
        if status == 200 {
            return;
        }
        otherwise(status);
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "still {status} after a minute:\n{}",
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn hookweir(app: &App, args: &'static [&'static str]) -> Output {
    let folder = app.folder().to_owned();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookweir"));
        command
            .args(args)
            .args(["--config", "config.toml"])
            .current_dir(folder)
            .env_clear()
            .output()
            .expect("it runs")
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

async fn forget(app: &App) {
    let output = hookweir(app, &["learned", "asana", "--forget"]).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_secret_is_believed_until_the_operator_has_it_forgotten() {
    let mut app = App::start(LEARNING).await;
    assert_eq!(
        status(&app, &event(SECRET)).await,
        503,
        "not known yet: not now"
    );
    let answer = post(&app, "asana", &handshake(SECRET)).await;
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["x-hook-secret"].to_str().expect("text")
        ),
        (200, SECRET)
    );
    assert_eq!(status(&app, &event(SECRET)).await, 200);
    assert_eq!(
        status(&app, &handshake(OTHER)).await,
        401,
        "a stranger replaces nothing"
    );
    assert_eq!(status(&app, &event(OTHER)).await, 401);
    assert_eq!(
        status(&app, &handshake(SECRET)).await,
        200,
        "the same again"
    );

    app.stop().await;
    assert!(
        !app.log().contains(SECRET) && !app.log().contains(OTHER),
        "never logged:\n{}",
        app.log()
    );
    app.start_again().await;
    app.ready().await;
    until_accepted(&app, &event(SECRET)).await;
    assert_eq!(
        status(&app, &handshake(OTHER)).await,
        401,
        "nor after a restart"
    );

    let shown = hookweir(&app, &["learned", "asana", "--show"]).await;
    assert_eq!(String::from_utf8_lossy(&shown.stdout).trim(), SECRET);
    let listed = hookweir(&app, &["learned"]).await;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.starts_with("asana  learned ") && !listed.contains(SECRET),
        "{listed}"
    );
    forget(&app).await;
    until_learned(&app, &handshake(OTHER)).await;
    until_accepted(&app, &event(OTHER)).await;
    assert_eq!(
        status(&app, &event(SECRET)).await,
        401,
        "the old one counts no more"
    );
}

mod with_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn instances_share_what_one_of_them_learned() {
        let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
        let config = format!(
            "[store]\nurl = \"{}\"\nschema = \"{schema}\"\n{LEARNING}",
            postgres()
        );
        let (one, two) = (App::start(&config).await, App::start(&config).await);
        assert_eq!(status(&one, &handshake(SECRET)).await, 200);
        until_accepted(&two, &event(SECRET)).await;
        assert_eq!(status(&two, &handshake(OTHER)).await, 401);
        forget(&two).await;
        until_learned(&two, &handshake(OTHER)).await;
        // `until` fails at the first 401: the other instance refuses nothing for not knowing yet.
        until_accepted(&one, &event(OTHER)).await;
    }
}
