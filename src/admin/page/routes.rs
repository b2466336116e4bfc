//! Routes of the page: path, right, and the screen or the change.

use actix_web::http::Method;
use maud::Markup;
use serde_json::Value;

use super::form::Form;
use super::frame::Visitor;
use super::screens::{
    actors, conflicts, event, events, jobs, lakehouse, live, overview, parked, quarantine,
    republish, search, sources, system, unrouted,
};
use crate::admin::question::{Reads, Takes};
use crate::config::model::Right;
use crate::operate::{ApiProblem, OpenedBody, Operator};

/// Answer of a route.
pub(super) enum Shown {
    /// A screen with its title.
    Page(String, Markup),
    /// Another address of the page, after a change.
    GoTo(String),
    Download(OpenedBody),
    Json(Value),
}

/// Result of a route.
pub(super) type Screen = Result<Shown, ApiProblem>;

/// A route: method, path, what it takes, and the function that answers. `{name}` in the path is its third argument.
pub(super) struct PageRoute {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) takes: Takes,
    pub(super) show: fn(&Operator, &Visitor, &str, &Form) -> Screen,
}

/// Looks at this instance.
const INSTANCE: Takes = Takes {
    needs: Right::Look,
    reads: Reads::Instance,
};
/// Looks at the store.
const STORE: Takes = Takes {
    needs: Right::Look,
    reads: Reads::Store,
};
/// Reads a body.
const BODY: Takes = Takes {
    needs: Right::Bodies,
    reads: Reads::Store,
};
/// Searches in bodies.
const SEARCH: Takes = Takes {
    needs: Right::Bodies,
    reads: Reads::Body,
};
/// Looks at bodies without showing them.
const JUDGE: Takes = Takes {
    needs: Right::Look,
    reads: Reads::Body,
};
/// Judges bodies, and changes something in the store.
const DECIDE: Takes = Takes {
    needs: Right::Operate,
    reads: Reads::Body,
};
/// Changes something in the store.
const CHANGE: Takes = Takes {
    needs: Right::Operate,
    reads: Reads::Store,
};
/// Changes this instance.
const RELOAD: Takes = Takes {
    needs: Right::Operate,
    reads: Reads::Instance,
};

const fn get(
    path: &'static str,
    takes: Takes,
    show: fn(&Operator, &Visitor, &str, &Form) -> Screen,
) -> PageRoute {
    PageRoute {
        method: Method::GET,
        path,
        takes,
        show,
    }
}

const fn post(
    path: &'static str,
    takes: Takes,
    show: fn(&Operator, &Visitor, &str, &Form) -> Screen,
) -> PageRoute {
    PageRoute {
        method: Method::POST,
        path,
        takes,
        show,
    }
}

/// All screens and changes.
pub(super) const PAGES: &[PageRoute] = &[
    get("/page", INSTANCE, overview::screen),
    get("/page/live", INSTANCE, live::screen),
    get("/page/find", STORE, events::find),
    get("/page/events", STORE, events::screen),
    get("/page/events/{name}", STORE, event::screen),
    get("/page/events/{name}/body", BODY, event::opened),
    get("/page/events/{name}/download", BODY, event::download),
    get("/page/search", SEARCH, search::screen),
    get("/page/sources", INSTANCE, sources::list),
    get("/page/sources/{name}", INSTANCE, sources::one),
    post("/page/pause", CHANGE, sources::pause),
    post("/page/resume", CHANGE, sources::resume),
    get("/page/quarantine", STORE, quarantine::list),
    get("/page/quarantine/verify", JUDGE, quarantine::plan),
    post("/page/quarantine/verify", DECIDE, quarantine::verify),
    post("/page/quarantine/discard", CHANGE, quarantine::discard),
    get("/page/quarantine/{name}", JUDGE, quarantine::one),
    get("/page/quarantine/{name}/body", BODY, quarantine::opened),
    get(
        "/page/quarantine/{name}/download",
        BODY,
        quarantine::download,
    ),
    get("/page/parked", STORE, parked::screen),
    post("/page/parked/retry", CHANGE, parked::retry),
    get("/page/parked/discard", CHANGE, parked::ask),
    post("/page/parked/discard", CHANGE, parked::discard),
    get("/page/unrouted", STORE, unrouted::screen),
    post("/page/unrouted/retry", CHANGE, unrouted::retry),
    get("/page/unrouted/discard", CHANGE, unrouted::ask),
    post("/page/unrouted/discard", CHANGE, unrouted::discard),
    get("/page/conflicts", STORE, conflicts::screen),
    get("/page/conflicts/{name}/body", BODY, conflicts::opened),
    get("/page/conflicts/{name}/download", BODY, conflicts::download),
    post("/page/conflicts/send-back", CHANGE, conflicts::send_back),
    get("/page/conflicts/discard", CHANGE, conflicts::ask),
    post("/page/conflicts/discard", CHANGE, conflicts::discard),
    get("/page/republish", STORE, republish::screen),
    post("/page/republish", CHANGE, republish::start),
    get("/page/jobs", STORE, jobs::list),
    get("/page/jobs/{name}", STORE, jobs::one),
    post("/page/jobs/{name}/cancel", CHANGE, jobs::cancel),
    get("/page/lakehouse", STORE, lakehouse::screen),
    get("/page/lakehouse/compare", JUDGE, lakehouse::compare),
    get("/page/actors", INSTANCE, actors::screen),
    get("/page/actors/figures", INSTANCE, actors::figures),
    get("/page/system", INSTANCE, system::screen),
    get("/page/system/audit", STORE, system::audit),
    get("/page/system/instances", STORE, system::instances),
    post("/page/system/reload", RELOAD, system::reload),
    post("/page/system/log-filter", RELOAD, system::log_filter),
];
