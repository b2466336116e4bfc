//! Guard of one request in a handler: it tells the connection where the request is.

use std::rc::Rc;
use std::time::Instant;

use actix_http::Request;

use super::progress::{HeadTimeouts, Progress, Stage};

/// An open request. Dropping it ends the request: the connection reads the next head, or is closed
/// if a body was left unread.
pub(in crate::http) struct RequestGuard {
    progress: Rc<Progress>,
    whole: bool,
}

impl RequestGuard {
    /// Opens `request` on its connection.
    pub(in crate::http) fn open(request: &Request) -> Self {
        // `serve` gives each connection a progress; the other one is never read.
        let progress = request
            .conn_data::<Rc<Progress>>()
            .cloned()
            .unwrap_or_else(|| Progress::new(0, HeadTimeouts::default(), Instant::now()));
        Self::new(progress)
    }

    pub(super) fn new(progress: Rc<Progress>) -> Self {
        progress.enter(Stage::Body, Instant::now());
        Self {
            progress,
            whole: false,
        }
    }

    /// Notes that the request was read to its end, so that its connection can be used again.
    pub(in crate::http) fn set_whole(&mut self) {
        self.whole = true;
        self.progress.enter(Stage::Answer, Instant::now());
    }

    /// Notes that the request was a genuine delivery.
    pub(in crate::http) fn set_trusted(&self) {
        self.progress.set_trusted();
    }

    /// Returns `true` if the request was read to its end.
    pub(in crate::http) fn is_whole(&self) -> bool {
        self.whole
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let stage = if self.whole {
            Stage::Head
        } else {
            Stage::Closing
        };
        self.progress.enter(stage, Instant::now());
    }
}
