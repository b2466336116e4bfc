//! Parked events (dead letters): refused by a sink for good, kept with the reason until an operator
//! decides.

use super::Seq;
use crate::domain::delivery::{MessageId, UnixMillis};
use crate::domain::sink::SinkName;

/// A parked event, without its body.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Its number.
    pub seq: Seq,
    /// Name of the sink that refused it.
    pub sink: SinkName,
    /// Id of its message, the same after a retry.
    pub message_id: MessageId,
    /// Name of its source.
    pub source: String,
    /// The provider's id, as shown.
    pub event_id: String,
    /// The provider's type, if there is one.
    pub event_type: Option<String>,
    /// Bytes of its body.
    pub bytes: u64,
    /// Reason of the refusal.
    pub reason: String,
    /// Time at which it was parked.
    pub at: UnixMillis,
}
