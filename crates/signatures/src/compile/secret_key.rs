//! Derivation of key bytes from a pasted secret. A short or empty secret is refused.

use unicode_normalization::UnicodeNormalization;

use crate::compile::pasted::hint;
use crate::crypto::mac::decode_pasted_base64;
use crate::language::spec::{KeyDecode, KeySpec, Kind, Normalize};

/// Shortest key in bytes, where the provider's own are not shorter.
const MIN_BYTES: usize = 16;
/// Shortest password of basic authentication, which people choose.
const MIN_PASSWORD: usize = 8;

/// Returns the pasted text, without surrounding white space if it is an encoding of the key.
pub(crate) fn as_meant<'s>(spec: &KeySpec, pasted: &'s [u8]) -> &'s [u8] {
    if spec.decode == KeyDecode::Utf8 {
        pasted
    } else {
        pasted.trim_ascii()
    }
}

/// Returns the pasted text without the prefix that is not part of the key.
pub(crate) fn strip<'s>(spec: &KeySpec, pasted: &'s [u8]) -> &'s [u8] {
    let text = as_meant(spec, pasted);
    match &spec.strip_prefix {
        None => text,
        Some(prefix) => prefix.strip(text),
    }
}

/// Returns the key bytes of a pasted secret.
pub(crate) fn derive(spec: &KeySpec, kind: Kind, pasted: &[u8]) -> Result<Vec<u8>, String> {
    let text = strip(spec, pasted);
    let decode = if spec.plain_without_prefix && text.len() == as_meant(spec, pasted).len() {
        KeyDecode::Utf8
    } else {
        spec.decode
    };
    let mut key = decoded(spec, decode, text)?;
    if kind == Kind::Basic {
        has_password(spec, &key)?;
        return Ok(key);
    }
    is_long_enough(spec, &key)?;
    if spec.normalize == Some(Normalize::Nfkd) {
        let text = String::from_utf8(key).map_err(|_| "is not text")?;
        key = text.nfkd().collect::<String>().into_bytes();
    }
    key.extend_from_slice(spec.append_text.as_deref().unwrap_or_default().as_bytes());
    if let Some(hash) = spec.derive_hash {
        key = hash.of([key.as_slice()]).as_bytes().to_vec();
    }
    Ok(key)
}

fn decoded(spec: &KeySpec, decode: KeyDecode, text: &[u8]) -> Result<Vec<u8>, String> {
    let (decoded, encoding) = match decode {
        KeyDecode::Utf8 => return Ok(text.to_vec()),
        KeyDecode::Base64 => (decode_pasted_base64(text), "base64"),
        KeyDecode::Hex => (hex::decode(text).ok(), "hexadecimal"),
    };
    decoded.ok_or_else(|| {
        format!(
            "is not {encoding}, the encoding of this provider's secrets{}",
            hint(spec, text)
        )
    })
}

fn has_password(spec: &KeySpec, key: &[u8]) -> Result<(), String> {
    let password = key
        .iter()
        .position(|b| *b == b':')
        .map(|at| &key[at + 1..])
        .ok_or("is not of the form \"user:password\"")?;
    let min = spec.min_bytes.unwrap_or(MIN_PASSWORD).max(1);
    if password.len() < min {
        return Err(format!(
            "has a password of {} bytes; at least {min} bytes are needed, since a shorter one can be guessed",
            password.len()
        ));
    }
    Ok(())
}

fn is_long_enough(spec: &KeySpec, key: &[u8]) -> Result<(), String> {
    let min = spec.min_bytes.unwrap_or(MIN_BYTES).max(1);
    if key.len() >= min {
        return Ok(());
    }
    let text = if key.is_empty() {
        "is empty".into()
    } else {
        format!("is {} bytes long", key.len())
    };
    Err(format!(
        "{text}; at least {min} bytes are needed, since a shorter secret can be guessed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::spec::StripPrefix;

    fn derived(spec: &KeySpec, pasted: &str) -> Result<Vec<u8>, String> {
        derive(spec, Kind::Hmac, pasted.as_bytes())
    }

    #[test]
    fn derivations() {
        let text = KeySpec::default();
        assert_eq!(
            derived(&text, "0123456789abcdef ").as_deref(),
            Ok(&b"0123456789abcdef "[..]),
            "a blank that is part of it"
        );
        let hex = KeySpec {
            decode: KeyDecode::Hex,
            ..KeySpec::default()
        };
        assert_eq!(
            derived(&hex, " 30313233343536373839616263646566\n").as_deref(),
            Ok(&b"0123456789abcdef"[..])
        );
        let svix = KeySpec {
            strip_prefix: Some(StripPrefix::Text("whsec_".into())),
            decode: KeyDecode::Base64,
            ..KeySpec::default()
        };
        assert_eq!(
            derived(&svix, "whsec_MDEyMzQ1Njc4OWFiY2RlZg==").as_deref(),
            Ok(&b"0123456789abcdef"[..])
        );
        assert_eq!(
            derived(&svix, "MDEyMzQ1Njc4OWFiY2RlZg").as_deref(),
            Ok(&b"0123456789abcdef"[..])
        );
        let openai = KeySpec {
            plain_without_prefix: true,
            ..svix.clone()
        };
        assert_eq!(
            derived(&openai, "MDEyMzQ1Njc4OWFiY2RlZg==").as_deref(),
            Ok(&b"MDEyMzQ1Njc4OWFiY2RlZg=="[..])
        );
        let pasted_whole =
            derived(&svix, "v1,whsec_MDEyMzQ1Njc4OWFiY2RlZg==").expect_err("a list's entry");
        assert!(
            pasted_whole.contains("leave out the \"v1,\""),
            "{pasted_whole}"
        );
        let any = KeySpec {
            strip_prefix: Some(StripPrefix::UpToUnderscore),
            ..KeySpec::default()
        };
        assert_eq!(
            derived(&any, "lps_0123456789abcdef").as_deref(),
            Ok(&b"0123456789abcdef"[..])
        );
        let fitbit = KeySpec {
            append_text: Some("&".into()),
            ..KeySpec::default()
        };
        assert_eq!(
            derived(&fitbit, "0123456789abcdef").as_deref(),
            Ok(&b"0123456789abcdef&"[..])
        );
    }

    #[test]
    fn nothing_short_gets_through() {
        let text = KeySpec::default();
        for bad in ["", "short", "0123456789abcde"] {
            assert!(derived(&text, bad).is_err(), "{bad:?} was accepted");
        }
        let hex = KeySpec {
            decode: KeyDecode::Hex,
            ..KeySpec::default()
        };
        assert!(
            derived(&hex, "00112233445566778899aabbccddee").is_err(),
            "15 bytes"
        );
        assert!(derived(&hex, "no hex").is_err());
        assert!(
            derived(
                &KeySpec {
                    min_bytes: Some(0),
                    ..KeySpec::default()
                },
                ""
            )
            .is_err()
        );
        for (bad, kind) in [("user:short", Kind::Basic), ("nocolonatall", Kind::Basic)] {
            assert!(
                derive(&text, kind, bad.as_bytes()).is_err(),
                "{bad:?} was accepted"
            );
        }
        assert!(derive(&text, Kind::Basic, b"user:password").is_ok());
    }
}
