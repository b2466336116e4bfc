//! Login: a link of `hookweir page`, or a token.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};
use serde_json::json;

use super::form::Form;
use super::sessions::{LINK_MS, SESSION_MS};
use super::{Page, admit, frame, go_to, guard, html as answer, log_refusal, status};
use crate::admin::api::{Api, refuse, whole};
use crate::admin::caller::Caller;
use crate::admin::question::LARGEST_BODY;
use crate::config::model::Right;
use crate::domain::delivery::wall_clock;
use crate::operate::ApiProblem;

/// Registers the routes at the admin address.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/page/login", web::get().to(ask));
    app.route("/page/login", web::post().to(enter));
    app.route("/page/logout", web::post().to(leave));
}

/// Registers the route at the Unix socket that `hookweir page` asks for a link.
pub(in crate::admin) fn link_route(app: &mut web::ServiceConfig, api: &Api) {
    app.app_data(web::Data::new(api.clone()));
    app.route("/api/v1/page-link", web::post().to(link));
}

/// Answers with a link that lets the caller in once.
async fn link(request: HttpRequest, api: web::Data<Api>) -> HttpResponse {
    let made = api.access.admit(&request, Right::Look).and_then(|caller| {
        let page = api.page.as_ref().ok_or_else(turned_off)?;
        let may: Vec<&str> = caller.may.iter().map(|right| right.word()).collect();
        let name = format!("{}, by the page", caller.name);
        let caller = Caller {
            name: name.into(),
            ..caller.clone()
        };
        let secret = page.sessions.link(caller, wall_clock())?;
        let url = format!("{}/page/login?link={secret}", page.origin);
        Ok(json!({ "url": url, "seconds": LINK_MS / 1000, "may": may }))
    });
    match made {
        Ok(link) => HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(link),
        Err(problem) => refuse(&problem),
    }
}

fn turned_off() -> ApiProblem {
    ApiProblem::not_found(
        "the page is turned off (admin.page = false)",
        "set admin.page = true, and restart the service",
    )
}

/// Answers with a form. A link is used up by the form, since mail and chat programs open links that they
/// show.
async fn ask(request: HttpRequest, api: web::Data<Api>) -> HttpResponse {
    if let Err(problem) = guard::is_for_us(&api.access, &request) {
        return answer(status(&problem), frame::outside("/page", &problem));
    }
    let form = Form::read(request.query_string().as_bytes());
    let shown = match form.get("link") {
        Some(link) => with_link(link),
        None => without_link(api.has_tokens(), None),
    };
    answer(StatusCode::OK, frame::bare("Log in", &shown))
}

fn with_link(link: &str) -> Markup {
    html! {
        h1 { "Hookweir" }
        form method="post" action="/page/login" data-go {
            input type="hidden" name="link" value=(link);
            p { "The link lets you in once, for 12 hours in this browser." }
            button.primary autofocus { "Open the page" }
        }
    }
}

fn without_link(has_tokens: bool, failure: Option<&str>) -> Markup {
    html! {
        h1 { "Log in" }
        @if let Some(failure) = failure { p.failure role="alert" { (failure) } }
        p { "On the machine of the service, type:" }
        pre { code { "hookweir page" } }
        p { "It prints a link that lets you in, for two minutes and once. You have the rights that you have on the socket of the admin API." }
        @if has_tokens {
            form method="post" action="/page/login" {
                label { "Or the secret of a token "
                    input type="password" name="token" autocomplete="off" required;
                }
                " " button { "Log in" }
            }
        } @else {
            p.quiet { "With a token in the configuration, " code { "[admin.tokens.NAME]" } ", its secret can be entered here, too." }
        }
    }
}

/// Lets the caller of a link or of a token in.
async fn enter(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> HttpResponse {
    let entered = checked(&api, &request, payload).await;
    match entered {
        Ok((page, session)) => with_cookie(go_to("/page"), &page, &session, SESSION_MS / 1000),
        Err(problem) => {
            log_refusal(&request, &problem);
            let shown = without_link(api.has_tokens(), Some(&problem.to_string()));
            answer(status(&problem), frame::bare("Log in", &shown))
        }
    }
}

async fn checked(
    api: &Api,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<(std::sync::Arc<Page>, String), ApiProblem> {
    guard::is_for_us(&api.access, request)?;
    guard::is_from_the_page(request)?;
    let page = api.page.clone().ok_or_else(turned_off)?;
    let form = Form::read(&whole(payload, LARGEST_BODY).await?);
    let now = wall_clock();
    let caller = match (form.get("link"), form.get("token")) {
        (Some(link), _) => page.sessions.redeem(link, now).ok_or_else(|| {
            ApiProblem::unauthorized(
                "the link was used, or is older than two minutes",
                "type hookweir page for another one",
            )
        })?,
        (None, Some(token)) => api.access.bearer(token).ok_or_else(|| {
            ApiProblem::unauthorized(
                "no token has this secret",
                "enter the secret of one of admin.tokens",
            )
        })?,
        (None, None) => {
            return Err(ApiProblem::bad_question(
                "there is neither a link nor a token",
                "type hookweir page for a link",
            ));
        }
    };
    let name = caller.name.clone();
    let session = page.sessions.begin(caller, now)?;
    tracing::info!(target: "hookweir::audit", caller = &*name, action = "log in", "log in to the page by {name}");
    Ok((page, session))
}

/// Ends the session of the visitor.
async fn leave(request: HttpRequest, api: web::Data<Api>) -> HttpResponse {
    let visitor = match admit(&api, &request) {
        Ok(visitor) => visitor,
        Err(refused) => return *refused,
    };
    if let Some(session) = visitor.page.session(&request) {
        visitor.page.sessions.end(session);
    }
    with_cookie(go_to("/page/login"), &visitor.page, "", 0)
}

/// Sets the cookie. Scripts cannot read it, and no other site makes a browser send it.
fn with_cookie(mut answer: HttpResponse, page: &Page, session: &str, seconds: i64) -> HttpResponse {
    let cookie = format!(
        "{}={session}; Path=/page; HttpOnly; SameSite=Strict; Max-Age={seconds}{}",
        page.cookie, page.cookie_scope
    );
    // The name and the secret are letters, digits and the like.
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}
