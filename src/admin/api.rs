//! The admin API: JSON under `/api/v1`, on a Unix socket, and for the bearers of tokens at the admin
//! address. Every route stands in one table, `ROUTES`, with the right that it needs.
//!
//! Each question is answered by a function of [`crate::operate`] on a thread that may block. Questions
//! at once and their time are bounded, so that looking slows no delivery.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::HEAD_TIMEOUT;
use super::access::Access;
use super::{body, caller};
use crate::config::model::{AdminApi, Right};
use crate::operate::{ApiProblem, EventQuestion, OpenedBody, Operator};
use crate::runtime::listener::RunningServer;

/// Time that an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A question, ready to be answered on another thread. The second argument names its caller.
type Question = Box<dyn FnOnce(&Operator, &str) -> Result<Answer, ApiProblem> + Send>;

/// Answer to a question.
#[derive(Debug)]
enum Answer {
    Json(Value),
    Body(OpenedBody),
}

/// A route for GET: its path, the right that it needs, and the question that a request to it asks.
struct ApiRoute {
    path: &'static str,
    needs: Right,
    ask: fn(&HttpRequest) -> Result<Question, ApiProblem>,
}

/// All routes.
const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        path: "/api/v1/events",
        needs: Right::Look,
        ask: |request| {
            let question: EventQuestion = parameters(request)?;
            Ok(Box::new(move |operator, _| {
                json(operator.events(&question)?)
            }))
        },
    },
    ApiRoute {
        path: "/api/v1/events/{name}",
        needs: Right::Look,
        ask: |request| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, _| {
                json(operator.event(&name, source.as_deref())?)
            }))
        },
    },
    ApiRoute {
        path: "/api/v1/events/{name}/trace",
        needs: Right::Look,
        ask: |request| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, _| {
                json(operator.trace(&name, source.as_deref())?)
            }))
        },
    },
    ApiRoute {
        path: "/api/v1/events/{name}/body",
        needs: Right::Bodies,
        ask: |request| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator, caller| {
                let opened = operator.body(&name, source.as_deref(), caller)?;
                Ok(Answer::Body(opened))
            }))
        },
    },
    ApiRoute {
        path: "/api/v1/sources",
        needs: Right::Look,
        ask: |request| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator, _| json(operator.sources())))
        },
    },
];

/// Parameters of a route for one event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// Name of the source, if the id alone is not enough.
    source: Option<String>,
}

/// Parameters of a route without any.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

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
        let handler = move |request: HttpRequest, api: web::Data<Api>| respond(route, request, api);
        app.route(route.path, web::get().to(handler));
    }
}

/// Answers one request.
async fn respond(
    route: &'static ApiRoute,
    request: HttpRequest,
    api: web::Data<Api>,
) -> HttpResponse {
    let answer = match api.ask(route, &request) {
        Ok((question, caller)) => api.answer(route, question, caller).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Ok((Answer::Json(answer), _)) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(answer),
        Ok((Answer::Body(opened), room)) => body::answer(opened, room),
        Err(problem) => refuse(&problem),
    }
}

impl Api {
    /// Returns the question of a request and the name of its caller, who has the right.
    fn ask(
        &self,
        route: &ApiRoute,
        request: &HttpRequest,
    ) -> Result<(Question, Arc<str>), ApiProblem> {
        let caller = self.access.admit(request, route.needs)?;
        tracing::debug!(caller = &*caller.name, path = route.path, "admin API");
        Ok(((route.ask)(request)?, caller.name))
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
            Ok(Err(_)) => Err(ApiProblem::unavailable(
                "the question has ended by a panic",
                "look for the panic in the log of the service",
            )),
            Err(_) => Err(ApiProblem::unavailable(
                format!("no answer within {} ms", self.timeout.as_millis()),
                "ask for less (source, from, to), or raise admin.timeout_ms",
            )),
        }
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
    let paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    ApiProblem::not_found(
        "the admin API has no such path or method",
        format!("GET {}", paths.join(", ")),
    )
}

/// Returns the parameters of a request. An unknown one is a mistake.
fn parameters<T: for<'p> Deserialize<'p>>(request: &HttpRequest) -> Result<T, ApiProblem> {
    let parameters = web::Query::<T>::from_query(request.query_string());
    parameters.map(web::Query::into_inner).map_err(|error| {
        ApiProblem::bad_question(
            format!("the parameters cannot be read: {error}"),
            "docs/reference/admin-api.md lists the parameters of each path",
        )
    })
}

/// Returns the name of an event in the path. The router has decoded all but `%`, `/` and `+`.
fn name(request: &HttpRequest) -> String {
    let name = percent_decode_str(request.match_info().query("name"));
    name.decode_utf8_lossy().into_owned()
}

fn json<T: serde::Serialize>(answer: T) -> Result<Answer, ApiProblem> {
    serde_json::to_value(answer)
        .map(Answer::Json)
        .map_err(|error| {
            ApiProblem::unavailable(
                format!("the answer cannot be written: {error}"),
                "report this as a mistake of Hookweir",
            )
        })
}

#[cfg(test)]
mod tests {
    use actix_web::test;

    use super::*;
    use crate::config::Config;
    use crate::domain::delivery::{InstanceId, UnixMillis};
    use crate::operate::Archive;

    fn api() -> Api {
        let config = Config::from_toml("").expect("valid");
        let operator = Operator {
            instance: InstanceId::random(),
            started: UnixMillis(0),
            sinks: config.routes().expect("sinks"),
            sources: Vec::new(),
            archive: Archive::new(&config.store, &config.admin),
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
            let get = test::TestRequest::get().uri(&path);
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
}
