//! The admin API without a store: who gets in, and what becomes of slow questions.

use actix_web::test;

use super::*;
use crate::config::{Config, ConfigError};
use crate::domain::delivery::{InstanceId, UnixMillis};
use serde_json::Value;

use crate::domain::sink::Sinks;
use crate::in_flight::Budget;
use crate::operate::{
    Archive, Instruments, JobWaker, Reload, Reloaded, TopOptions, UnroutedQueues,
};
use crate::quarantine::QuarantineQueue;
use crate::runtime::mailbox::ActorRegistry;
use crate::store::{Confirms, Inserted, Intake, NewEvent, PauseBoard, Seq, StoreError};
use crate::telemetry::{Health, Metrics};

struct NoIntake;

impl Intake for NoIntake {
    fn insert(
        &self,
        _: InstanceId,
        _: &Sinks,
        _: &[Arc<NewEvent>],
    ) -> Result<Vec<Inserted>, StoreError> {
        Ok(Vec::new())
    }

    fn insert_and_confirm(
        &self,
        _: InstanceId,
        _: &Sinks,
        _: &[Arc<NewEvent>],
        _: Option<Confirms<'_>>,
    ) -> Result<(Vec<Inserted>, bool), StoreError> {
        Ok((Vec::new(), false))
    }

    fn waiting(&self, _: &[Seq]) -> Result<Vec<bool>, StoreError> {
        Ok(Vec::new())
    }
}

struct Unchanged;

impl Reload for Unchanged {
    fn reload(&self, _: bool) -> Result<Reloaded, Vec<ConfigError>> {
        Ok(Reloaded {
            files: Vec::new(),
            changes: Vec::new(),
            warnings: Vec::new(),
        })
    }

    fn in_force(&self) -> String {
        String::new()
    }
}

fn api() -> Api {
    let config = Config::from_toml("").expect("valid");
    let operator = Operator {
        instance: InstanceId::random(),
        started: UnixMillis(0),
        sinks: config.routes().expect("sinks"),
        sources: Arc::default(),
        reloader: Box::new(Unchanged),
        pauses: PauseBoard::new(
            Metrics::new().expect("metrics"),
            Health::default().aside("paused"),
        ),
        archive: Arc::new(Archive::new(&config.store, &config.admin)),
        jobs: JobWaker::new().0,
        intake: Arc::new(NoIntake),
        spool: None,
        redeliver: Box::new(drop),
        quarantine: QuarantineQueue::default(),
        configured: Arc::new(config.clone()),
        verifying: tokio::sync::Mutex::new(()),
        unrouted: UnroutedQueues::new(&config.sinks),
        instruments: Instruments {
            metrics: Metrics::new().expect("names are unique"),
            actors: ActorRegistry::default(),
            budget: Budget::for_bodies(1, 1, 1),
            since: Instant::now(),
            options: TopOptions::default(),
            health: Health::default(),
        },
    };
    let settings = AdminApi {
        database_connections: 1,
        timeout: Duration::from_secs(5),
        ..config.admin
    };
    Api::new(
        &settings,
        Arc::new(operator),
        ("http", ([127, 0, 0, 1], 8421).into()),
    )
}

#[tokio::test]
async fn a_caller_whom_nobody_names_is_refused_everywhere() {
    let app = App::new().configure(|app| routes(app, &api()));
    let app = test::init_service(app).await;
    for route in all() {
        let path = route.path.replace("{name}", "evt_1");
        let get = test::TestRequest::with_uri(&path).method(route.method.clone());
        let get = get.insert_header((header::HOST, "localhost")).to_request();
        let answer = test::call_service(&app, get).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let problem = kind.is_some_and(|kind| kind == "application/problem+json");
        assert!(problem, "{path}: {kind:?}");
    }
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_given_up_and_keeps_its_room() {
    let api = Api {
        timeout: Duration::from_millis(50),
        ..api()
    };
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let slow: Question = Box::new(move |_, _| {
        let _ = wait.recv();
        Ok(Answer::Json(Value::Null))
    });
    let problem = api.answer(first(), slow, "a test".into()).await;
    let problem = problem.err().expect("too slow");
    assert_eq!(problem.status, 503);
    assert!(problem.next.contains("ask for less"), "{problem}");
    assert_eq!(api.room.available_permits(), 0, "it still works on it");
    drop(go_on);
    let next: Question = Box::new(|_, _| Ok(Answer::Json(Value::Bool(true))));
    let patient = Api {
        timeout: Duration::from_secs(60),
        ..api
    };
    let answer = patient.answer(first(), next, "a test".into()).await;
    assert!(matches!(
        answer,
        Ok((Answer::Json(Value::Bool(true)), None))
    ));
}

#[tokio::test]
async fn a_change_that_takes_too_long_may_be_made_and_the_answer_says_so() {
    let api = Api {
        timeout: Duration::from_millis(50),
        ..api()
    };
    for route in all().filter(|route| route.needs == Right::Operate) {
        let (_go_on, wait) = std::sync::mpsc::channel::<()>();
        let slow: Question = Box::new(move |_, _| {
            let _ = wait.recv();
            Ok(Answer::Json(Value::Null))
        });
        let problem = api.answer(route, slow, "a test".into()).await;
        let problem = problem.err().expect("too slow");
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains("may still be made"), "{problem}");
        assert!(problem.next.contains("`hookweir jobs`"), "{problem}");
    }
}

/// A question that ends when the sender is dropped.
fn stuck() -> (std::sync::mpsc::Sender<()>, Question) {
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let question: Question = Box::new(move |_, _| {
        let _ = wait.recv();
        Ok(Answer::Json(Value::Null))
    });
    (go_on, question)
}

fn route(path: &str) -> &'static ApiRoute {
    let found = all().find(|route| route.path == path);
    found.expect("a route")
}

#[tokio::test]
async fn behind_a_store_that_hangs_a_reload_is_made_and_another_change_is_known_as_not_begun() {
    let api = Api {
        timeout: Duration::from_millis(50),
        ..api()
    };
    let (_go_on, question) = stuck();
    let slow = api.answer(route("/api/v1/events"), question, "a test".into());
    assert!(slow.await.is_err());
    assert_eq!(api.room.available_permits(), 0, "it still works on it");

    let never: Question = Box::new(|_, _| panic!("it begins"));
    let cancel = route("/api/v1/jobs/{name}/cancel");
    let problem = api.answer(cancel, never, "a test".into()).await.err();
    let problem = problem.expect("there is no room");
    assert_eq!(problem.status, 503);
    assert!(problem.detail.contains("not begun"), "{problem}");
    assert!(!problem.detail.contains("may"), "{problem}");

    let patient = Api {
        timeout: Duration::from_secs(60),
        ..api
    };
    for path in ["/api/v1/reload", "/api/v1/top", "/api/v1/sources"] {
        let question: Question = Box::new(|_, _| Ok(Answer::Json(Value::Null)));
        let answer = patient.answer(route(path), question, "a test".into());
        assert!(answer.await.is_ok(), "{path} waits for the store");
    }
}

/// A question that is asked again until `looks` is used up, for callers who wait for a minute.
fn looked(looks: u32) -> Question {
    Box::new(move |_, _| match looks.checked_sub(1) {
        None => Ok(Answer::Json(Value::Bool(true))),
        Some(left) => Ok(Answer::NothingYet(Wait {
            answer: Value::Null,
            time: Duration::from_secs(60),
            again: looked(left),
        })),
    })
}

#[tokio::test]
async fn callers_who_wait_leave_half_of_the_connections_to_others() {
    let api = api();
    let ask = |looks| {
        let route = route("/api/v1/events");
        api.answer_or_wait(route, looked(looks), "a test".into())
    };
    let answer = |answer: Result<(Answer, Option<OwnedSemaphorePermit>), ApiProblem>| match answer {
        Ok((Answer::Json(answer), None)) => answer,
        _ => panic!("no answer"),
    };
    assert_eq!(answer(ask(2).await), Value::Bool(true), "it has waited");
    let others = api.waits.try_acquire_many(8).expect("room for eight");
    assert_eq!(answer(ask(2).await), Value::Null, "nothing yet, at once");
    drop(others);
    assert_eq!(answer(ask(2).await), Value::Bool(true));
}

/// Returns a route.
fn first() -> &'static ApiRoute {
    all().next().expect("a route")
}

#[tokio::test]
async fn a_question_that_reads_refused_bodies_waits_for_the_room_of_one_body() {
    let api = api();
    for path in [
        "/api/v1/quarantine/{name}",
        "/api/v1/quarantine/verify/plan",
        "/api/v1/quarantine/verify",
        "/api/v1/quarantine/{name}/body",
    ] {
        let (_, body) = api.room_for(route(path).takes()).await;
        assert!(body.is_some(), "{path}");
        assert_eq!(api.bodies.available_permits(), 0, "{path}");
    }
    let (_, none) = api.room_for(route("/api/v1/quarantine").takes()).await;
    assert!(none.is_none(), "a list reads no body");
}
