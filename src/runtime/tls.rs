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
