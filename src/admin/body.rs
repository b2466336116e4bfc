//! Body of an event as an answer: a download that no browser shows as a page.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header;
use actix_web::web::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::operate::OpenedBody;

/// Bytes that are handed to the connection at once.
const PART: usize = 64 * 1024;

/// Returns the answer. `room` is free again once the caller has read nearly all of it.
pub(super) fn answer(opened: OpenedBody, room: Option<OwnedSemaphorePermit>) -> HttpResponse {
    let file = format!("attachment; filename=\"{}.body\"", opened.message_id);
    let parts = Parts {
        rest: opened.bytes,
        _room: room,
    };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::CONTENT_TYPE, "application/octet-stream"))
        .insert_header((header::CONTENT_DISPOSITION, file))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox",
        ))
        .body(BoxBody::new(parts))
}

/// A body that is sent in parts, so that the connection holds no second copy of it.
struct Parts {
    rest: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl MessageBody for Parts {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let next = self.rest.len().min(PART);
        let part = self.rest.split_to(next);
        Poll::Ready(Some(Ok(part)).filter(|_| next > 0))
    }
}
