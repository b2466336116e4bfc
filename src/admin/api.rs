//! The admin API: JSON under `/api/v1`, on a Unix socket, and for the bearers of tokens at the admin
//! address. Every route stands in one table, with the right that it needs.
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
use super::page::Page;
use super::question::{Answer, ApiRoute, Question, Reads, Takes, Wait};
use super::routes::all;
use super::{body, caller, page};
use crate::config::model::{AdminApi, Right};
use crate::operate::{ApiProblem, Operator};
use crate::runtime::listener::RunningServer;

/// Time that an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Interval between two looks for an event that a caller waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Questions at once that this instance answers without the store.
const WITHOUT_STORE: usize = 2;

/// Browsers that listen to outcomes at once, at most.
const STREAMS: usize = 32;

/// The admin API: an operator's functions, the room for questions, and who may ask. Clones share the
/// room.
#[derive(Clone)]
pub struct Api {
    pub(super) operator: Arc<Operator>,
    /// Room for browsers that listen to outcomes.
    pub(super) streams: Arc<Semaphore>,
    /// Room for questions to the store.
    room: Arc<Semaphore>,
    /// Room for questions to this instance alone.
    aside: Arc<Semaphore>,
    /// Room for callers who wait for events: half of the connections, so that others get in.
    waits: Arc<Semaphore>,
    /// Room for one body, until its caller has read it.
    bodies: Arc<Semaphore>,
    timeout: Duration,
    pub(super) access: Arc<Access>,
    /// The operator's page. None if it is turned off.
    pub(super) page: Option<Arc<Page>>,
}

impl Api {
    /// Returns the API of a service with an admin address, for URLs with that scheme.
    pub fn new(
        settings: &AdminApi,
        operator: Arc<Operator>,
        (scheme, listen): (&'static str, SocketAddr),
    ) -> Self {
        Self {
            operator,
            streams: Arc::new(Semaphore::new(STREAMS)),
            room: Arc::new(Semaphore::new(settings.database_connections)),
            aside: Arc::new(Semaphore::new(WITHOUT_STORE)),
            waits: Arc::new(Semaphore::new(settings.max_connections / 2)),
            bodies: Arc::new(Semaphore::new(1)),
            timeout: settings.timeout,
            access: Arc::new(Access::new(settings, listen)),
            page: settings
                .page
                .then(|| Arc::new(Page::new(&settings.hosts, scheme, listen))),
        }
    }

    /// Returns `true` if the JSON is served at the admin address, too: somebody has a token.
    pub(super) fn has_tokens(&self) -> bool {
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
            .configure(|app| page::link_route(app, &api))
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

/// Registers all routes.
pub(super) fn routes(app: &mut web::ServiceConfig, api: &Api) {
    app.app_data(web::Data::new(api.clone()));
    for route in all() {
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
        Ok((question, caller)) => api.answer_or_wait(route, question, caller).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Ok((Answer::Json(answer) | Answer::NothingYet(Wait { answer, .. }), _)) => {
            HttpResponse::Ok()
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .json(answer)
        }
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
            _ => whole(payload, route.largest_body()).await?,
        };
        Ok(((route.ask)(request, &body)?, caller.name))
    }

    /// Answers a question. If the answer is not there yet, asks again while its caller waits, within the
    /// room for waits. Another instance may store the event, and its commit wakes nobody here: `NOTIFY`
    /// would have all commits of the database wait for each other.
    async fn answer_or_wait(
        &self,
        route: &ApiRoute,
        mut question: Question,
        caller: Arc<str>,
    ) -> Result<(Answer, Option<OwnedSemaphorePermit>), ApiProblem> {
        let since = Instant::now();
        let mut place = None;
        loop {
            let (answer, body) = self.answer(route, question, caller.clone()).await?;
            let Answer::NothingYet(wait) = answer else {
                return Ok((answer, body));
            };
            let left = wait.time.saturating_sub(since.elapsed());
            if place.is_none() {
                place = self.waits.try_acquire().ok();
            }
            if left.is_zero() || place.is_none() {
                return Ok((Answer::Json(wait.answer), body));
            }
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            question = wait.again;
        }
    }

    /// Answers a question of a route.
    async fn answer(
        &self,
        route: &ApiRoute,
        question: Question,
        caller: Arc<str>,
    ) -> Result<(Answer, Option<OwnedSemaphorePermit>), ApiProblem> {
        let work = move |operator: &Operator| question(operator, &caller);
        self.work(route.takes(), work).await
    }

    /// Does work on a thread that may block, within the room and the time. With a body comes the room
    /// that it takes.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        takes: Takes,
        work: impl FnOnce(&Operator) -> Result<T, ApiProblem> + Send + 'static,
    ) -> Result<(T, Option<OwnedSemaphorePermit>), ApiProblem> {
        let end = Instant::now() + self.timeout;
        let Ok((permit, body)) = tokio::time::timeout_at(end.into(), self.room_for(takes)).await
        else {
            return Err(not_begun(takes.needs, self.timeout));
        };
        let operator = self.operator.clone();
        // The permits stay with the work if its time is over.
        let work = move || {
            let answer = work(&operator);
            drop(permit);
            answer.map(|answer| (answer, body))
        };
        match tokio::time::timeout_at(end.into(), tokio::task::spawn_blocking(work)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(no_answer(
                takes.needs,
                "the question has ended by a panic",
                "look for the panic in the log of the service",
            )),
            Err(_) => Err(no_answer(
                takes.needs,
                &format!("no answer within {} ms", self.timeout.as_millis()),
                "ask for less (source, from, to), or raise admin.timeout_ms",
            )),
        }
    }

    /// Returns the room for a question, and that for its body.
    async fn room_for(
        &self,
        takes: Takes,
    ) -> (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>) {
        // The semaphores are never closed.
        let reads_body = takes.needs == Right::Bodies || takes.reads == Reads::Body;
        let body = match reads_body {
            true => self.bodies.clone().acquire_owned().await.ok(),
            false => None,
        };
        let room = match takes.reads {
            Reads::Store | Reads::Body => &self.room,
            Reads::Instance => &self.aside,
        };
        (room.clone().acquire_owned().await.ok(), body)
    }
}

/// Returns the error of a question that found no room.
fn not_begun(needs: Right, waited: Duration) -> ApiProblem {
    let failure = match needs {
        Right::Operate => "the change was not begun, and nothing was changed",
        Right::Look | Right::Bodies => "the question was not begun",
    };
    ApiProblem::unavailable(
        format!(
            "{failure}: others were being answered for {} ms",
            waited.as_millis()
        ),
        "ask again; if it stays so, look at /readyz for the state of the store, or raise admin.database_connections",
    )
}

/// Returns the error of a question whose answer is not known. The change that it asked for may be made.
fn no_answer(needs: Right, failure: &str, next: &str) -> ApiProblem {
    match needs {
        Right::Operate => ApiProblem::perhaps_changed(format!(
            "{failure}: the change may have been made, or may still be made"
        )),
        Right::Look | Right::Bodies => ApiProblem::unavailable(failure, next),
    }
}

/// Returns the answer of a problem.
pub(super) fn refuse(problem: &ApiProblem) -> HttpResponse {
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
    let paths: Vec<String> = all()
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    ApiProblem::not_found("the admin API has no such path or method", paths.join(", "))
}

/// Returns the body of a request, of a bounded size, that comes in time.
pub(super) async fn whole(payload: web::Payload, largest: usize) -> Result<web::Bytes, ApiProblem> {
    let read = tokio::time::timeout(HEAD_TIMEOUT, payload.to_bytes_limited(largest)).await;
    match read {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Err(_)) => Err(ApiProblem::bad_question(
            format!("the body is larger than {largest} bytes"),
            "give fewer ids, or choose by source and time",
        )),
        Ok(Ok(Err(_))) | Err(_) => Err(ApiProblem::bad_question(
            "the body did not come whole",
            "send it again",
        )),
    }
}

#[cfg(test)]
mod tests;
