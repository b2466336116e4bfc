//! The operator's page: HTML under `/page` at the admin address. Each screen is made of the answers of
//! [`crate::operate`], by the functions that the API calls too, in the same room and with the same rights.
//!
//! A link of `hookweir page` or a token lets a browser in. It gets a cookie, which stands for the caller.

mod body;
mod curl;
mod files;
mod form;
mod frame;
mod guard;
mod live;
mod login;
mod routes;
mod samples;
mod screens;
mod sessions;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};

use self::form::Form;
use self::frame::Visitor;
use self::routes::{PAGES, PageRoute, Shown};
use self::samples::Samples;
use self::sessions::Sessions;
use super::api::{Api, whole};
use super::question::LARGEST_BODY;
use super::{access, body as download};
use crate::domain::delivery::wall_clock;
use crate::operate::{ApiProblem, TopView};
use crate::telemetry::logs;

pub(super) use login::link_route;
pub(super) use samples::take as take_samples;

/// State of the page: who is logged in, and figures for its charts.
pub(super) struct Page {
    sessions: Sessions,
    /// Name of the cookie. Cookies belong to a host, not to a port.
    cookie: String,
    /// Attribute of the cookie that keeps it from plain HTTP, if the page is served under TLS.
    cookie_scope: &'static str,
    /// Address of the page without its path.
    origin: String,
    samples: Mutex<Samples>,
}

impl Page {
    /// Returns the page of a service whose admin address is `listen`.
    pub(super) fn new(hosts: &[String], scheme: &'static str, listen: SocketAddr) -> Self {
        let any = listen.ip().is_unspecified();
        let host = match hosts.first() {
            Some(name) if any => name.clone(),
            None if any => "localhost".to_owned(),
            _ => SocketAddr::new(listen.ip(), 0)
                .to_string()
                .trim_end_matches(":0")
                .to_owned(),
        };
        let port = listen.port();
        Self {
            sessions: Sessions::default(),
            cookie: format!("hookweir_page_{port}"),
            cookie_scope: match scheme {
                "https" => "; Secure",
                _ => "",
            },
            origin: format!("{scheme}://{host}:{port}"),
            samples: Mutex::default(),
        }
    }

    /// Returns the secret in the cookie of a request.
    fn session<'r>(&self, request: &'r HttpRequest) -> Option<&'r str> {
        let cookies = request.headers().get_all(header::COOKIE);
        let mut pairs = cookies
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='));
        let found = pairs.find(|(name, _)| *name == self.cookie)?;
        Some(found.1)
    }

    /// Returns the visitor that the cookie of a request stands for.
    fn visitor(self: &Arc<Self>, request: &HttpRequest) -> Option<Visitor> {
        let session = self.session(request)?;
        let caller = self.sessions.caller(session, wall_clock())?;
        Some(Visitor {
            caller,
            page: self.clone(),
        })
    }

    /// Keeps the figures for charts. Returns the newest look before that is old enough for a rate.
    fn keep(&self, now: &Arc<TopView>) -> Option<Arc<TopView>> {
        self.samples().keep(now)
    }

    /// Returns the kept figures.
    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers the page, if it is not turned off.
pub(super) fn routes(app: &mut web::ServiceConfig, api: &Api) {
    if api.page.is_none() {
        return;
    }
    app.app_data(web::Data::new(api.clone()));
    app.route("/", web::get().to(async || go_to("/page")));
    app.route(
        "/page/static/{name}",
        web::get().to(async |request: HttpRequest| files::answer(&request)),
    );
    login::routes(app);
    app.route("/page/live/stream", web::get().to(live::stream));
    for route in PAGES {
        let handler = move |request: HttpRequest, payload: web::Payload, api: web::Data<Api>| {
            respond(route, request, payload, api)
        };
        app.route(route.path, web::method(route.method.clone()).to(handler));
    }
}

/// Answers one request for a screen or a change.
async fn respond(
    route: &'static PageRoute,
    request: HttpRequest,
    payload: web::Payload,
    api: web::Data<Api>,
) -> HttpResponse {
    let visitor = match admit(&api, &request) {
        Ok(visitor) => visitor,
        Err(answer) => return *answer,
    };
    let problem = match show(route, &request, payload, &api, &visitor).await {
        Ok((Shown::Page(title, screen), _)) => {
            let page = frame::page(&visitor, request.path(), &title, &screen);
            return html(StatusCode::OK, page);
        }
        Ok((Shown::GoTo(address), _)) => return go_to(&address),
        Ok((Shown::Download(opened), room)) => return download::answer(opened, room),
        Ok((Shown::Json(answer), _)) => {
            let mut ok = HttpResponse::Ok();
            guard::secure(&mut ok);
            return ok.json(answer);
        }
        Err(problem) => problem,
    };
    let page = frame::problem(&visitor, request.path(), &problem);
    html(status(&problem), page)
}

/// Returns what the route shows to a visitor with the right.
async fn show(
    route: &PageRoute,
    request: &HttpRequest,
    payload: web::Payload,
    api: &Api,
    visitor: &Visitor,
) -> Result<(Shown, Option<tokio::sync::OwnedSemaphorePermit>), ApiProblem> {
    if !visitor.may(route.takes.needs) {
        let problem = access::lacks(&visitor.caller, route.takes.needs);
        log_refusal(request, &problem);
        return Err(problem);
    }
    let form = match route.method {
        Method::GET => Form::read(request.query_string().as_bytes()),
        _ => Form::read(&whole(payload, LARGEST_BODY).await?),
    };
    let name = percent_encoding::percent_decode_str(request.match_info().query("name"));
    let name = name.decode_utf8_lossy().into_owned();
    let (visitor, screen) = (visitor.clone(), route.show);
    let work = move |operator: &crate::operate::Operator| screen(operator, &visitor, &name, &form);
    api.work(route.takes, work).await
}

/// Returns the visitor of a request that the page itself, or its user, has made. Otherwise the answer.
fn admit(api: &Api, request: &HttpRequest) -> Result<Visitor, Box<HttpResponse>> {
    let Some(page) = &api.page else {
        return Err(Box::new(HttpResponse::NotFound().finish()));
    };
    let refused = |problem: ApiProblem| {
        log_refusal(request, &problem);
        let page = frame::outside(request.uri().to_string().as_str(), &problem);
        Box::new(html(status(&problem), page))
    };
    guard::is_for_us(&api.access, request).map_err(refused)?;
    guard::is_from_the_page(request).map_err(refused)?;
    page.visitor(request).ok_or_else(|| {
        let is_navigation = request.method().is_safe()
            && request.headers().get("hx-request").is_none()
            && request.path() != "/page/live/stream";
        Box::new(match is_navigation {
            true => go_to("/page/login"),
            false => html(StatusCode::UNAUTHORIZED, logged_out()),
        })
    })
}

/// Returns the answer to a change of somebody whose session has ended.
fn logged_out() -> maud::Markup {
    let problem = ApiProblem::unauthorized(
        "you are not logged in any more, so nothing was changed",
        "log in again",
    );
    frame::outside("/page/login", &problem)
}

fn log_refusal(request: &HttpRequest, problem: &ApiProblem) {
    let peer = request.peer_addr().map(|peer| peer.ip().to_string());
    let peer = peer.as_deref().unwrap_or("the socket");
    logs::admin_refused(peer, request.path(), problem.status, &problem.detail);
}

fn status(problem: &ApiProblem) -> StatusCode {
    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns an answer of HTML.
fn html(status: StatusCode, page: maud::Markup) -> HttpResponse {
    let mut answer = HttpResponse::build(status);
    guard::secure(&mut answer);
    answer
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .body(page.into_string())
}

/// Returns an answer that leads to another address of the page.
fn go_to(address: &str) -> HttpResponse {
    let mut answer = HttpResponse::SeeOther();
    guard::secure(&mut answer);
    answer.insert_header((header::LOCATION, address)).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_names_an_address_that_the_service_is_known_by() {
        let origin = |hosts: &[&str], listen: &str| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            Page::new(&hosts, "http", listen.parse().expect("an address")).origin
        };
        assert_eq!(origin(&[], "127.0.0.1:8421"), "http://127.0.0.1:8421");
        assert_eq!(origin(&["ops"], "127.0.0.1:80"), "http://127.0.0.1:80");
        assert_eq!(origin(&[], "[::1]:8421"), "http://[::1]:8421");
        assert_eq!(origin(&[], "0.0.0.0:8421"), "http://localhost:8421");
        assert_eq!(
            origin(&["ops.example"], "[::]:8421"),
            "http://ops.example:8421"
        );
    }
}
