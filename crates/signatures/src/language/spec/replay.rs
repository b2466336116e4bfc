//! Schema of the parts of a message that tell a replay.

use serde::Deserialize;

use crate::language::syntax::FieldRef;

/// Parts of the signed message that differ from message to message, besides `{timestamp}`. The same
/// signed message again is then a replay, not another event.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaySpec {
    /// Places of a value that the signer uses once.
    #[serde(default)]
    pub nonces: Vec<FieldRef>,
    /// Places of the time of signing. The same message is a replay only if the body is signed too.
    #[serde(default)]
    pub times: Vec<FieldRef>,
}
