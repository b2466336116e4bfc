use std::cell::RefCell;

use http::{HeaderValue, Method};

use super::*;
use crate::config::Config;
use crate::domain::delivery::UnixMillis;
use crate::domain::request::Request;
use crate::source::Sources;
use crate::telemetry::Metrics;
use hookweir_signatures::{KeyRequest, Verdict, verify};

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
                   MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElv3Vc+1ubENf2/cffHzBRfVdkMTo\n\
                   mOj4leesnwHMvnFOtCVVFncMCPtiAFqPISJNV3LHa+h6Cdovx1gaLJM3ZA==\n\
                   -----END PUBLIC KEY-----\n";

fn fetcher() -> Fetcher {
    let config = "[[source]]\nname = \"jira\"\nprovider = \"jira-connect-installed\"\npublic_url = \"https://h.example/installed\"\n\
                  params = { base_url = \"https://h.example\" }";
    let sources = Sources::compile(
        &Config::from_toml(config).expect("valid"),
        &Metrics::new().expect("metrics"),
    )
    .expect("sources");
    Fetcher::new(
        sources.at("jira").expect("the source").clone(),
        None,
        Arc::default(),
        Instant::now(),
    )
}

/// Somebody names a key. Returns `true` if it is to be fetched.
fn name(fetcher: &Fetcher, kid: &str) -> bool {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let header = encode(format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#));
    let token = HeaderValue::from_str(&format!("JWT {header}.{}.AAAA", encode("{}".into())))
        .expect("a header");
    let request = Request {
        method: Method::POST,
        target: "/".into(),
        headers: [(http::header::AUTHORIZATION, token)].into_iter().collect(),
        body: "{}".into(),
        received_at: UnixMillis(0),
    };
    let current = fetcher.source.keys.load();
    let Ok(Verdict::NeedsKeys(needed)) =
        verify(&current.scheme, &current.keys, &request, UnixMillis(0))
    else {
        return false;
    };
    for request in needed {
        let KeyRequest::Fetch(fetch) = request else {
            panic!("{request:?}")
        };
        fetcher.missing_keys.lock().expect("whole").add(fetch);
    }
    true
}

#[test]
fn forged_names_cost_few_fetches_and_failures_are_not_tried_again_at_once() {
    let mut fetcher = fetcher();
    let start = fetcher.new.since;
    let sent = RefCell::new(Vec::new());
    let none = |fetch: &Fetch| {
        sent.borrow_mut().push(fetch.name().to_owned());
        Err(FetchError::Refused("answered 404".to_owned()))
    };
    for round in 0..600_u32 {
        (0..20).for_each(|number| assert!(name(&fetcher, &format!("k{round}-{number}"))));
        fetcher.look(start + Duration::from_millis(100) * round, none);
    }
    assert!(
        (34..=35).contains(&sent.borrow().len()),
        "{}: a minute's, for 12,000 forged requests",
        sent.borrow().len()
    );

    let now = start + Duration::from_secs(600);
    sent.borrow_mut().clear();
    for seconds in 0..30 {
        name(&fetcher, "same");
        fetcher.look(now + Duration::from_secs(seconds), none);
    }
    let tried = || sent.borrow().iter().filter(|name| *name == "same").count();
    assert_eq!(tried(), 1);
    name(&fetcher, "same");
    // It waited for its turn.
    let later = now + RETRY + Duration::from_secs(15);
    (0..6).for_each(|look| fetcher.look(later + EVERY * look, none));
    assert_eq!(tried(), 2);
}

/// Forged names at this rate, and a genuine one now and then. When the genuine one is there.
fn until_fetched(forged_each_look: usize, times_each: usize, genuine_every: Duration) -> Duration {
    let mut fetcher = fetcher();
    let start = fetcher.new.since;
    let send = |fetch: &Fetch| match fetch.name() {
        "genuine" => Ok(KEY.as_bytes().to_vec()),
        _ => Err(FetchError::Refused("answered 404".to_owned())),
    };
    let mut next = start + Duration::from_secs(20);
    for look in 0..20_000_u32 {
        let now = start + LOOK * look;
        (0..forged_each_look).for_each(|number| {
            (0..times_each)
                .for_each(|_| assert!(name(&fetcher, &format!("forged-{look}-{number}"))));
        });
        if now >= next {
            next += genuine_every;
            if !name(&fetcher, "genuine") {
                return now - start - Duration::from_secs(20);
            }
        }
        fetcher.look(now, send);
    }
    panic!("never fetched");
}

#[test]
fn forged_names_do_not_starve_a_genuine_one() {
    let secs = Duration::from_secs;
    for _ in 0..10 {
        let took = until_fetched(41, 1, Duration::from_millis(500));
        assert!(took <= secs(10), "164 forged names a second: {took:?}");
        let took = until_fetched(20, 2, Duration::from_millis(500));
        assert!(
            took <= secs(60),
            "82 names a second, each forged twice: {took:?}"
        );
    }
    let took = until_fetched(41, 1, secs(30));
    assert!(
        took <= secs(120),
        "a provider that comes again after half a minute: {took:?}"
    );
}

#[test]
fn names_that_were_good_before_have_fetches_of_their_own() {
    let mut fetcher = fetcher();
    let start = fetcher.new.since;
    fetcher.good_before.insert("good".into());
    let sent = RefCell::new(Vec::new());
    (0..100).for_each(|number| assert!(name(&fetcher, &format!("k{number}"))));
    (fetcher.new.left, fetcher.new.since) = (0, start + Duration::from_secs(60));
    // All of the lot is taken by forgers at times, and none of it for long.
    for look in 0..40 {
        assert!(name(&fetcher, "good"));
        fetcher.look(start + LOOK * look, |fetch| {
            sent.borrow_mut().push(fetch.name().to_owned());
            Err(FetchError::Unreachable("timed out".into()))
        });
    }
    assert_eq!(
        sent.borrow()[..2],
        ["good", "good"],
        "and after an outage again soon"
    );
}

#[test]
fn what_is_kept_is_fetched_again_and_lasts_a_day_without() {
    let mut fetcher = fetcher();
    let start = fetcher.new.since;
    let there = |_: &Fetch| Ok(KEY.as_bytes().to_vec());
    let gone = |_: &Fetch| Err(FetchError::Refused("answered 404".to_owned()));
    assert!(name(&fetcher, "k"));
    fetcher.look(start, there);
    assert!(
        !name(&fetcher, "k"),
        "the key is here, and did not sign this"
    );
    fetcher.look(start + REFRESH, gone);
    assert!(!name(&fetcher, "k"), "it still counts");
    assert_eq!(fetcher.kept[0].due, start + REFRESH + RETRY);
    fetcher.look(start + STALE, gone);
    assert!(name(&fetcher, "k") && fetcher.kept.is_empty());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut fetcher = fetcher();
    let start = fetcher.new.since;
    for number in 0..MAX_KEPT + 10 {
        name(&fetcher, &format!("k{number}"));
        fetcher.look(
            start + EVERY * u32::try_from(number).expect("small"),
            |_| Ok(KEY.as_bytes().to_vec()),
        );
    }
    assert_eq!(fetcher.kept.len(), MAX_KEPT);
    assert!(name(&fetcher, "k9") && !name(&fetcher, "k10"));
}
