//! Stream of outcomes, as server-sent events. A browser connects again by itself, and tells the place of the
//! last event that it has.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::form::Form;
use super::frame::Visitor;
use super::screens::live::{not_shown, question, rows};
use super::{admit, guard, html, log_refusal, status};
use crate::admin::access;
use crate::admin::api::Api;
use crate::config::model::Right;
use crate::domain::delivery::wall_clock;
use crate::operate::{ApiProblem, LiveList, Operator};

/// Time between two messages, at least: a browser that shows 50 rows at once stays responsive.
const PACE: Duration = Duration::from_millis(250);

/// Time after which a message without outcomes shows that the connection lives.
const ALIVE: Duration = Duration::from_secs(10);

/// A browser that listens.
struct Listener {
    operator: Arc<Operator>,
    visitor: Visitor,
    /// Secret of the session: the stream ends with it.
    session: String,
    form: Form,
    after: Option<String>,
    news: watch::Receiver<u64>,
    sent: Option<Instant>,
    /// Time of the last look: outcomes that do not fit wake the listener, too.
    looked: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

/// Answers `GET /page/live/stream`.
pub(super) async fn stream(request: HttpRequest, api: web::Data<Api>) -> HttpResponse {
    let visitor = match admit(&api, &request) {
        Ok(visitor) => visitor,
        Err(refused) => return *refused,
    };
    match listener(&request, &api, visitor) {
        Ok(listener) => {
            let messages = stream::unfold(listener, |listener| listener.next());
            let mut answer = HttpResponse::Ok();
            guard::secure(&mut answer);
            answer
                .insert_header((header::CONTENT_TYPE, "text/event-stream"))
                .streaming(messages)
        }
        Err(problem) => {
            log_refusal(&request, &problem);
            html(status(&problem), super::frame::described(&problem))
        }
    }
}

fn listener(request: &HttpRequest, api: &Api, visitor: Visitor) -> Result<Listener, ApiProblem> {
    if !visitor.may(Right::Look) {
        return Err(access::lacks(&visitor.caller, Right::Look));
    }
    let place = api.streams.clone().try_acquire_owned().map_err(|_| {
        ApiProblem::unavailable(
            "as many browsers listen as may listen at once",
            "close another live page",
        )
    })?;
    let form = Form::read(request.query_string().as_bytes());
    let last = request.headers().get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok()).map(str::to_owned);
    let after = last.or_else(|| form.text("after"));
    // A mistake in the filter is an answer, and no stream.
    api.operator.live(&question(&form, after.clone()))?;
    Ok(Listener {
        news: api.operator.live_news(),
        operator: api.operator.clone(),
        session: visitor.page.session(request).unwrap_or_default().to_owned(),
        visitor,
        form,
        after,
        sent: None,
        looked: None,
        _place: place,
    })
}

impl Listener {
    /// Returns the next message: at once the first one, then if there are outcomes, or after [`ALIVE`].
    /// Ends with the session.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if let Some(looked) = self.looked {
                tokio::time::sleep_until((looked + PACE).into()).await;
            }
            self.looked = Some(Instant::now());
            self.news.borrow_and_update();
            let list = self.look()?;
            self.after = Some(list.next.clone());
            let is_late = self.sent.is_none_or(|sent| sent.elapsed() >= ALIVE);
            if is_late || !list.outcomes.is_empty() || list.lost > 0 || list.restarted {
                self.sent = Some(Instant::now());
                return Some((Ok(message(&list)), self));
            }
            // Woken by an outcome, or by the time to show that the connection lives.
            let _ = tokio::time::timeout(ALIVE, self.news.changed()).await;
        }
    }

    fn look(&self) -> Option<LiveList> {
        let sessions = &self.visitor.page.sessions;
        sessions.caller(&self.session, wall_clock())?;
        let asked = question(&self.form, self.after.clone());
        self.operator.live(&asked).ok()
    }
}

/// Returns a message: place, rows, and what is not shown.
fn message(list: &LiveList) -> Bytes {
    let mut text = format!("id: {}\n", list.next);
    let says = not_shown(list);
    if !says.is_empty() {
        let count = list.lost.saturating_add(list.left_out);
        let missed = serde_json::json!({ "says": says, "count": count });
        text.push_str(&format!("event: missed\ndata: {missed}\n\n"));
        text.push_str(&format!("id: {}\n", list.next));
    }
    // The rows hold no line break: an id with one is shown by a space.
    let rows = rows(list).into_string().replace(['\r', '\n'], " ");
    text.push_str(&format!("event: outcomes\ndata: {rows}\n\n"));
    text.into()
}
