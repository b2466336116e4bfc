//! Errors of TLS.

use std::error::Error;
use std::io;

/// Returns `true` if the other side answered a TLS handshake with something else than TLS.
pub(crate) fn speaks_no_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref() {
        return matches!(error, rustls::Error::InvalidMessage(_));
    }
    // The source of an I/O error is the source of what it wraps.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(|error| error.get_ref());
    match (wrapped, error.source()) {
        (Some(wrapped), _) => speaks_no_tls(wrapped),
        (None, Some(source)) => speaks_no_tls(source),
        (None, None) => false,
    }
}

/// Reason for which a client's connection got no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFault {
    /// The client sent something else than TLS.
    NotTls,
    /// One of the two sides refused the other.
    Refused,
    /// The handshake was not over in time.
    Timeout,
    /// The client went away.
    Disconnected,
}

impl HandshakeFault {
    /// Returns the fault of a handshake that ended with `error`.
    pub(crate) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(_) => Self::Refused,
            None => Self::Disconnected,
        }
    }

    /// Returns its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Disconnected => "disconnected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_answer_to_a_handshake_is_found_in_what_wraps_it() {
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let wrapped = io::Error::other(io::Error::other(plain));
        assert!(speaks_no_tls(&wrapped));
        assert!(!speaks_no_tls(&io::Error::other("refused")));
    }
}
