//! The admin API: JSON under `/api/v1`, on a Unix socket, and for the bearers of tokens at the admin
//! address. Every route stands in one table, [`ROUTES`], with the right that it needs.
//!
//! Each question is answered by a function of [`crate::operate`] on a thread that may block. Questions
//! at once and their time are bounded, so that looking slows no delivery.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::HEAD_TIMEOUT;
use super::access::Access;
use super::routes::{Answer, ApiRoute, LARGEST_BODY, Question, ROUTES};
use super::{body, caller};
use crate::config::model::{AdminApi, Right};
use crate::operate::{ApiProblem, Operator};
use crate::runtime::listener::RunningServer;

/// Time that an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Interval between two looks for an event that a caller waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The admin API: an operator's functions, the room for questions, and who may ask. Clones share the
/// room.
#[derive(Clone)]
pub struct Api {
    operator: Arc<Operator>,
    room: Arc<Semaphore>,
    /// Room for one body, until its caller has read it.
    bodies: Arc<Semaphore>,
    timeout: Duration,
    access: Arc<Access>,
}

impl Api {
    /// Returns the API of a service whose admin address is `listen`.
    pub fn new(settings: &AdminApi, operator: Arc<Operator>, listen: SocketAddr) -> Self {
        Self {
            operator,
            room: Arc::new(Semaphore::new(settings.database_connections)),
            bodies: Arc::new(Semaphore::new(1)),
            timeout: settings.timeout,
            access: Arc::new(Access::new(settings, listen)),
        }
    }

    /// Returns `true` if somebody can get in at the admin address.
    pub fn has_tokens(&self) -> bool {
        self.access.has_tokens()
    }
}

/// Starts the admin API on the Unix socket `listener`.
pub fn serve_api(
    listener: UnixListener,
    settings: &AdminApi,
    api: Api,
) -> io::Result<RunningServer> {
    let server = HttpServer::new(move || {
        App::new()
            .configure(|app| routes(app, &api))
            .default_service(web::to(|| std::future::ready(refuse(&no_route()))))
    })
    .workers(1)
    .max_connections(settings.max_connections)
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .on_connect(caller::remember)
    .disable_signals()
    .shutdown_timeout(1)
    .listen_uds(listener)?
    .run();
    Ok(RunningServer::new(server, None))
}

/// Registers `ROUTES`.
pub(super) fn routes(app: &mut web::ServiceConfig, api: &Api) {
    app.app_data(web::Data::new(api.clone()));
    for route in ROUTES {
        let handler = move |request: HttpRequest, payload: web::Payload, api: web::Data<Api>| {
            respond(route, request, payload, api)
        };
        app.route(route.path, web::method(route.method.clone()).to(handler));
    }
}

/// Answers one request.
async fn respond(
    route: &'static ApiRoute,
    request: HttpRequest,
    payload: web::Payload,
    api: web::Data<Api>,
) -> HttpResponse {
    let answer = match api.ask(route, &request, payload).await {
        Ok((question, caller)) => api.answer_or_wait(route, &request, question, caller).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Ok((Answer::Json(answer) | Answer::NothingYet(answer, _), _)) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(answer),
        Ok((Answer::Body(opened), room)) => body::answer(opened, room),
        Err(problem) => refuse(&problem),
    }
}

impl Api {
    /// Returns the question of a request and the name of its caller, who has the right.
    async fn ask(
        &self,
        route: &ApiRoute,
        request: &HttpRequest,
        payload: web::Payload,
    ) -> Result<(Question, Arc<str>), ApiProblem> {
        let caller = self.access.admit(request, route.needs)?;
        tracing::debug!(caller = &*caller.name, path = route.path, "admin API");
        let body = match route.method {
            Method::GET => web::Bytes::new(),
            _ => whole(payload).await?,
        };
        Ok(((route.ask)(request, &body)?, caller.name))
    }

    /// Answers a question, and asks it again while its caller waits for an answer that is not there yet.
    /// Another instance may store the event, and its commit wakes nobody here: `NOTIFY` would have all
    /// commits of the database wait for each other.
    async fn answer_or_wait(
        &self,
        route: &ApiRoute,
        request: &HttpRequest,
        mut question: Question,
        caller: Arc<str>,
    ) -> Result<(Answer, Option<OwnedSemaphorePermit>), ApiProblem> {
        let since = Instant::now();
        loop {
            let answer = self.answer(route, question, caller.clone()).await?;
            let left = match &answer.0 {
                Answer::NothingYet(_, wait) => wait.saturating_sub(since.elapsed()),
                Answer::Json(_) | Answer::Body(_) => Duration::ZERO,
            };
            if left.is_zero() {
                return Ok(answer);
            }
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            question = (route.ask)(request, &[])?;
        }
    }

    /// Answers a question on a thread that may block, within the room and the time. With a body comes
    /// the room that it takes.
    async fn answer(
        &self,
        route: &ApiRoute,
        question: Question,
        caller: Arc<str>,
    ) -> Result<(Answer, Option<OwnedSemaphorePermit>), ApiProblem> {
        let operator = self.operator.clone();
        let answer = async {
            // The semaphores are never closed. The permits stay with the work if its time is over.
            let body = match route.needs {
                Right::Bodies => self.bodies.clone().acquire_owned().await.ok(),
                Right::Look | Right::Operate => None,
            };
            let permit = self.room.clone().acquire_owned().await.ok();
            let work = move || {
                let answer = question(&operator, &caller);
                drop(permit);
                answer.map(|answer| (answer, body))
            };
            tokio::task::spawn_blocking(work).await
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(no_answer(
                route,
                "the question has ended by a panic",
                "look for the panic in the log of the service",
            )),
            Err(_) => Err(no_answer(
                route,
                &format!("no answer within {} ms", self.timeout.as_millis()),
                "ask for less (source, from, to), or raise admin.timeout_ms",
            )),
        }
    }
}

/// Returns the error of a question whose answer is not known. The change that it asked for may be made.
fn no_answer(route: &ApiRoute, failure: &str, next: &str) -> ApiProblem {
    match route.needs {
        Right::Operate => ApiProblem::perhaps_changed(format!(
            "{failure}: the change may have been made, or may still be made"
        )),
        Right::Look | Right::Bodies => ApiProblem::unavailable(failure, next),
    }
}

/// Returns the answer of a problem.
fn refuse(problem: &ApiProblem) -> HttpResponse {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    answer
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_TYPE, "application/problem+json"))
        .json(problem)
}

fn no_route() -> ApiProblem {
    let routes = ROUTES.iter();
    let paths: Vec<String> = routes
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    ApiProblem::not_found("the admin API has no such path or method", paths.join(", "))
}

/// Returns the body of a request, of a bounded size, that comes in time.
async fn whole(payload: web::Payload) -> Result<web::Bytes, ApiProblem> {
    let read = tokio::time::timeout(HEAD_TIMEOUT, payload.to_bytes_limited(LARGEST_BODY)).await;
    match read {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Err(_)) => Err(ApiProblem::bad_question(
            format!("the body is larger than {LARGEST_BODY} bytes"),
            "give fewer ids, or choose by source and time",
        )),
        Ok(Ok(Err(_))) | Err(_) => Err(ApiProblem::bad_question(
            "the body did not come whole",
            "send it again",
        )),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test;

    use super::*;
    use crate::config::{Config, ConfigError};
    use crate::domain::delivery::{InstanceId, UnixMillis};
    use serde_json::Value;

    use crate::domain::sink::Sinks;
    use crate::in_flight::Budget;
    use crate::operate::{Archive, Instruments, JobWaker, Reload, Reloaded, TopOptions};
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
            instruments: Instruments {
                metrics: Metrics::new().expect("names are unique"),
                actors: ActorRegistry::default(),
                budget: Budget::for_bodies(1, 1, 1),
                since: Instant::now(),
                options: TopOptions::default(),
            },
        };
        let settings = AdminApi {
            database_connections: 1,
            timeout: Duration::from_secs(5),
            ..config.admin
        };
        Api::new(&settings, Arc::new(operator), ([127, 0, 0, 1], 8421).into())
    }

    #[tokio::test]
    async fn a_caller_whom_nobody_names_is_refused_everywhere() {
        let app = App::new().configure(|app| routes(app, &api()));
        let app = test::init_service(app).await;
        for route in ROUTES {
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
        let problem = api.answer(&ROUTES[0], slow, "a test".into()).await;
        let problem = problem.expect_err("too slow");
        assert_eq!(problem.status, 503);
        assert!(problem.next.contains("ask for less"), "{problem}");
        assert_eq!(api.room.available_permits(), 0, "it still works on it");
        drop(go_on);
        let next: Question = Box::new(|_, _| Ok(Answer::Json(Value::Bool(true))));
        let patient = Api {
            timeout: Duration::from_secs(60),
            ..api
        };
        let answer = patient.answer(&ROUTES[0], next, "a test".into()).await;
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
        for route in ROUTES.iter().filter(|route| route.needs == Right::Operate) {
            let (_go_on, wait) = std::sync::mpsc::channel::<()>();
            let slow: Question = Box::new(move |_, _| {
                let _ = wait.recv();
                Ok(Answer::Json(Value::Null))
            });
            let problem = api.answer(route, slow, "a test".into()).await;
            let problem = problem.expect_err("too slow");
            assert_eq!(problem.status, 503);
            assert!(problem.detail.contains("may still be made"), "{problem}");
            assert!(problem.next.contains("`hookweir jobs`"), "{problem}");
        }
    }
}
