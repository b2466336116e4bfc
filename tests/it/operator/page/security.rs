//! Strangers: other sites, other names, used links, and callers without the right.

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::load::client;
use hookweir_testkit::provider::Provider;
use reqwest::Method;

use super::{Visit, encoded, link, log_in};
use crate::operator::{at_the_address, json, raw, send};

const TOKENS: &str = "
    [admin.tokens.ann]
    secret = \"plain:0123456789abcdef\"
    may = [\"look\"]
    [admin.tokens.bob]
    secret = \"plain:fedcba9876543210\"
    may = [\"look\", \"bodies\"]
    [store]
    allow_unsafe_durability = true
";

#[tokio::test(flavor = "multi_thread")]
async fn a_link_lets_one_browser_in_once_and_not_after_two_minutes() {
    let app = App::start(&five_sources()).await;
    let link = link(&app);
    let secret = link.split_once("?link=").expect("a link").1;
    // A program that shows a link may open it: that does not use it up.
    for _ in 0..2 {
        let shown = client().get(&link).send().await.expect("answered");
        assert_eq!(shown.status(), 200);
        assert!(!shown.headers().contains_key("set-cookie"));
    }
    Visit::with(&app, &[("link", secret)]).await;
    let again = log_in(&app, &[("link", secret)]).await;
    assert_eq!(again.status(), 401);
    let text = again.text().await.expect("text");
    assert!(text.contains("the link was used"), "{text}");
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn links_and_sessions_end_with_their_time() {
    let app = App::start(&five_sources()).await;
    let shift = async |ms: i64| {
        let url = format!("http://{}/control/clock/{ms}", app.admin);
        let shifted = client().post(url).send().await.expect("answered");
        assert_eq!(shifted.status(), 204);
    };
    let old = link(&app);
    let visit = Visit::enter(&app).await;
    shift(2 * 60 * 1000).await;
    let secret = old.split_once("?link=").expect("a link").1;
    assert_eq!(log_in(&app, &[("link", secret)]).await.status(), 401);
    assert_eq!(visit.get("/page").await.0, 200);
    shift(12 * 3600 * 1000).await;
    assert_eq!(visit.get("/page").await.0, 303, "to the login");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_cannot_change_or_look_and_is_written_to_the_log() {
    let app = App::start(&five_sources()).await;
    let visit = Visit::enter(&app).await;
    let pause = encoded(&[("source", "stripe"), ("reason", "x")]);
    let own = visit.origin.clone();
    for headers in [
        &[][..],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", &*own), ("sec-fetch-site", "cross-site")],
        &[("origin", &*own), ("sec-fetch-site", "same-site")],
    ] {
        let answer = visit
            .ask(Method::POST, "/page/pause", headers, pause.clone())
            .await;
        assert_eq!(answer.status(), 403, "{headers:?}");
    }
    let look = [("sec-fetch-site", "cross-site")];
    let answer = visit
        .ask(Method::GET, "/page/events", &look, String::new())
        .await;
    assert_eq!(answer.status(), 403);
    let sources = json(&app, &["sources"]);
    let sources = sources[0]["sources"].as_array().expect("sources").clone();
    assert!(
        sources.iter().all(|source| source["paused"].is_null()),
        "nothing was changed"
    );
    let log = app.log();
    assert!(log.contains("made by a page of another site"), "{log}");
    visit
        .send("/page/pause", &[("source", "stripe"), ("reason", "x")])
        .await;
    visit.send("/page/resume", &[("source", "stripe")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_service_is_not_known_by_gets_nothing() {
    let app = App::start(&five_sources()).await;
    let visit = Visit::enter(&app).await;
    for path in ["/page", "/page/login", "/page/events"] {
        let cookie = format!("Cookie: {}", visit.cookie);
        let (status, text) = at_the_address(&app, path, &["Host: evil.example", &cookie]);
        assert_eq!(status, 421, "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_has_the_rights_of_the_token_and_no_others() {
    let app = App::start(&format!("{TOKENS}{}", five_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    let ann = Visit::with(&app, &[("token", "0123456789abcdef")]).await;
    let bob = Visit::with(&app, &[("token", "fedcba9876543210")]).await;
    assert_eq!(
        log_in(&app, &[("token", "0123456789abcdeF")])
            .await
            .status(),
        401
    );

    let shown = ann.screen("/page/events/evt_1").await;
    assert!(
        !shown.contains("Publish this event again"),
        "ann may not operate"
    );
    for path in ["body", "download"] {
        let (status, text) = ann.get(&format!("/page/events/evt_1/{path}")).await;
        assert_eq!(status, 403, "{text}");
        assert!(
            text.contains("lacks the right &quot;bodies&quot;"),
            "{text}"
        );
    }
    let opened = bob.screen("/page/events/evt_1/body").await;
    assert!(opened.contains("evt_1"), "{opened}");
    let record = bob.screen("/page/system/audit").await;
    assert!(
        record.contains("token bob") && record.contains("open body"),
        "{record}"
    );
    for (path, form) in [
        ("/page/republish", encoded(&[("id", "evt_1")])),
        ("/page/system/reload", String::new()),
        ("/page/parked/retry", encoded(&[("number", "1")])),
        ("/page/pause", encoded(&[("source", "stripe")])),
    ] {
        let origin = bob.origin.clone();
        let headers = [("origin", &*origin)];
        let answer = bob.ask(Method::POST, path, &headers, form).await;
        assert_eq!(answer.status(), 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_a_login_and_a_logout_ends_the_session() {
    let app = App::start(&five_sources()).await;
    let visit = Visit::enter(&app).await;
    let stranger = Visit {
        client: client(),
        origin: visit.origin.clone(),
        cookie: "hookweir_page_1=x".into(),
    };
    assert_eq!(stranger.get("/page/events").await.0, 303);
    assert_eq!(stranger.get("/page/live/stream").await.0, 401);
    let origin = [("origin", &*visit.origin)];
    let change = stranger.ask(Method::POST, "/page/system/reload", &origin, String::new());
    assert_eq!(change.await.status(), 401);
    assert_eq!(visit.get("/page").await.0, 200);
    visit.send("/page/logout", &[]).await;
    assert_eq!(visit.get("/page").await.0, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_strict_policy_and_a_body_is_a_sandboxed_download() {
    let app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_1");
    let visit = Visit::enter(&app).await;
    for path in [
        "/page",
        "/page/login",
        "/page/events",
        "/page/nothing-here",
        "/page/static/page.js",
    ] {
        let answer = visit.ask(Method::GET, path, &[], String::new()).await;
        if path == "/page/nothing-here" {
            assert_eq!(answer.status(), 404);
            continue;
        }
        let header = |name: &str| {
            let value = answer.headers().get(name).expect(name);
            value.to_str().expect("text").to_owned()
        };
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "no-store");
    }
    let path = "/page/events/evt_1/download";
    let file = visit.ask(Method::GET, path, &[], String::new()).await;
    let header = |name: &str| file.headers()[name].to_str().expect("text").to_owned();
    assert!(header("content-security-policy").contains("sandbox"));
    assert!(header("content-disposition").starts_with("attachment"));
    assert_eq!(header("content-type"), "application/octet-stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_turned_off() {
    let app = App::start(&format!("[admin]\npage = false\n{}", five_sources())).await;
    let (status, _) = at_the_address(&app, "/page", &["Host: localhost"]);
    assert_eq!(status, 404);
    let (status, text) = raw(&app, "POST", "/api/v1/page-link");
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("admin.page"), "{text}");
}
