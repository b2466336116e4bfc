//! The admin API on a Unix socket: JSON under `/api/v1`. Every route stands in one table, `ROUTES`.
//!
//! Each question is answered by a function of [`crate::operate`] on a thread that may block. Questions
//! at once and their time are bounded, so that looking slows no delivery.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::HEAD_TIMEOUT;
use super::caller::{self, Caller};
use crate::config::model::AdminApi;
use crate::operate::{ApiProblem, EventQuestion, Operator};
use crate::runtime::listener::RunningServer;

/// Time that an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A question, ready to be answered on another thread.
type Question = Box<dyn FnOnce(&Operator) -> Result<Value, ApiProblem> + Send>;

/// A route for GET: its path, and the question that a request to it asks.
struct ApiRoute {
    path: &'static str,
    ask: fn(&HttpRequest) -> Result<Question, ApiProblem>,
}

/// All routes.
const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        path: "/api/v1/events",
        ask: |request| {
            let question: EventQuestion = parameters(request)?;
            Ok(Box::new(move |operator| json(operator.events(&question)?)))
        },
    },
    ApiRoute {
        path: "/api/v1/events/{name}",
        ask: |request| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator| {
                json(operator.event(&name, source.as_deref())?)
            }))
        },
    },
    ApiRoute {
        path: "/api/v1/events/{name}/trace",
        ask: |request| {
            let (name, Choice { source }) = (name(request), parameters(request)?);
            Ok(Box::new(move |operator| {
                json(operator.trace(&name, source.as_deref())?)
            }))
        },
    },
    ApiRoute {
        path: "/api/v1/sources",
        ask: |request| {
            let NoParameters {} = parameters(request)?;
            Ok(Box::new(|operator| json(operator.sources())))
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

/// The operator's functions, and the room for questions.
#[derive(Clone)]
struct Api {
    operator: Arc<Operator>,
    room: Arc<Semaphore>,
    timeout: Duration,
}

/// Starts the admin API on `listener`.
pub fn serve_api(
    listener: UnixListener,
    settings: &AdminApi,
    operator: Arc<Operator>,
) -> io::Result<RunningServer> {
    let api = Api {
        operator,
        room: Arc::new(Semaphore::new(settings.database_connections)),
        timeout: settings.timeout,
    };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(api.clone()))
            .configure(routes)
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
fn routes(app: &mut web::ServiceConfig) {
    for route in ROUTES {
        let handler = move |request: HttpRequest, api: web::Data<Api>| respond(route, request, api);
        app.route(route.path, web::get().to(handler));
    }
    app.default_service(web::to(|| std::future::ready(refuse(&no_route()))));
}

/// Answers one request.
async fn respond(
    route: &'static ApiRoute,
    request: HttpRequest,
    api: web::Data<Api>,
) -> HttpResponse {
    let answer = match ask(route, &request) {
        Ok(question) => api.answer(question).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Ok(answer) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(answer),
        Err(problem) => refuse(&problem),
    }
}

/// Returns the question of a request. Every caller that the kernel let connect may look.
fn ask(route: &ApiRoute, request: &HttpRequest) -> Result<Question, ApiProblem> {
    let Some(caller) = request.conn_data::<Caller>() else {
        return Err(ApiProblem::forbidden(
            "the kernel does not tell which user has connected",
            "connect to the Unix socket of admin.socket",
        ));
    };
    tracing::debug!(
        uid = caller.uid,
        pid = caller.pid,
        path = route.path,
        "admin API"
    );
    (route.ask)(request)
}

impl Api {
    /// Answers a question on a thread that may block, within the room and the time.
    async fn answer(&self, question: Question) -> Result<Value, ApiProblem> {
        let operator = self.operator.clone();
        let answer = async {
            // The semaphore is never closed. The permit stays with the work if its time is over.
            let permit = self.room.clone().acquire_owned().await.ok();
            let work = move || {
                let answer = question(&operator);
                drop(permit);
                answer
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
    HttpResponse::build(status)
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

fn json<T: serde::Serialize>(answer: T) -> Result<Value, ApiProblem> {
    serde_json::to_value(answer).map_err(|error| {
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
        Api {
            operator: Arc::new(operator),
            room: Arc::new(Semaphore::new(1)),
            timeout: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn a_caller_whom_the_kernel_does_not_name_is_refused_everywhere() {
        let app = App::new().app_data(web::Data::new(api())).configure(routes);
        let app = test::init_service(app).await;
        for route in ROUTES {
            let path = route.path.replace("{name}", "evt_1");
            let get = test::TestRequest::get().uri(&path).to_request();
            let answer = test::call_service(&app, get).await;
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
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
        let slow: Question = Box::new(move |_| {
            let _ = wait.recv();
            Ok(Value::Null)
        });
        let problem = api.answer(slow).await.expect_err("too slow");
        assert_eq!(problem.status, 503);
        assert_eq!(api.room.available_permits(), 0, "it still works on it");
        drop(go_on);
        let next: Question = Box::new(|_| Ok(Value::Bool(true)));
        let patient = Api {
            timeout: Duration::from_secs(60),
            ..api
        };
        assert_eq!(patient.answer(next).await, Ok(Value::Bool(true)));
    }
}
