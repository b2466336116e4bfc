//! Hashes, message authentication codes and text encodings: the primitives of a scheme. Comparison
//! takes the same time whatever differs.

use std::fmt;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{
    GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD,
};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Digest;
use subtle::ConstantTimeEq;

/// The output of a hash or MAC: at most 64 bytes, on the stack.
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    bytes: [u8; 64],
    len: usize,
}

impl Tag {
    pub(crate) fn new(from: &[u8]) -> Self {
        let len = from.len().min(64);
        let mut bytes = [0; 64];
        bytes[..len].copy_from_slice(&from[..len]);
        Self { bytes, len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whole tags only: a shortened one never matches.
    pub(crate) fn matches(&self, candidate: &[u8]) -> bool {
        self.as_bytes().ct_eq(candidate).into()
    }
}

macro_rules! hashes {
    ($($variant:ident = $name:literal, $title:literal, $hash:ty;)*) => {
        /// Hash functions of schemes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum HashName { $(
            #[doc = $name]
            $variant,
        )* }

        impl HashName {
            /// Returns the name in presets.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the name in its standard.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// Returns the hash of the concatenated pieces.
            pub(crate) fn of<'p>(self, pieces: impl IntoIterator<Item = &'p [u8]>) -> Tag {
                match self { $(Self::$variant => {
                    let mut hash = <$hash>::new();
                    pieces.into_iter().for_each(|piece| hash.update(piece));
                    Tag::new(&hash.finalize())
                })* }
            }
        }

        /// A secret, ready to authenticate: the two blocks that depend on the key alone are hashed
        /// once, when the source is loaded.
        #[derive(Clone)]
        pub(crate) enum MacKey { $($variant(Hmac<$hash>),)* }

        impl MacKey {
            pub(crate) fn new(hash: HashName, secret: &[u8]) -> Option<Self> {
                match hash { $(HashName::$variant => <Hmac<$hash> as KeyInit>::new_from_slice(secret).ok().map(Self::$variant),)* }
            }

            /// Returns the HMAC of the concatenated pieces.
            pub(crate) fn of<'p>(&self, pieces: impl IntoIterator<Item = &'p [u8]>) -> Tag {
                match self { $(Self::$variant(key) => {
                    let mut mac = key.clone();
                    pieces.into_iter().for_each(|piece| mac.update(piece));
                    Tag::new(&mac.finalize().into_bytes())
                })* }
            }
        }
    };
}

hashes! {
    Sha256 = "sha256", "SHA-256", sha2::Sha256;
    Sha1 = "sha1", "SHA-1", sha1::Sha1;
    Sha384 = "sha384", "SHA-384", sha2::Sha384;
    Sha512 = "sha512", "SHA-512", sha2::Sha512;
    Md5 = "md5", "MD5", md5::Md5;
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(…)")
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

/// Digest of a token. Tokens are compared by their digests, so that not even their length can be
/// told from the time it takes.
pub(crate) fn token_digest(token: &[u8]) -> Tag {
    HashName::Sha256.of([token])
}

/// Text encoding of bytes. Decoding is strict: a signature has exactly one spelling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    #[default]
    #[serde(rename = "hex")]
    Hex,
    /// Upper-case hexadecimal.
    #[serde(rename = "HEX")]
    UpperHex,
    /// Base64 with padding.
    #[serde(rename = "base64")]
    Base64,
    /// Base64 with the alphabet for URLs, without padding.
    #[serde(rename = "base64url")]
    Base64Url,
}

impl Encoding {
    /// Returns the name in presets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::UpperHex => "HEX",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Hex, Self::UpperHex, Self::Base64, Self::Base64Url]
            .into_iter()
            .find(|encoding| encoding.name() == name)
    }

    pub(crate) fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hex if !text.iter().any(u8::is_ascii_uppercase) => hex::decode(text).ok(),
            Self::UpperHex if !text.iter().any(u8::is_ascii_lowercase) => hex::decode(text).ok(),
            Self::Hex | Self::UpperHex => None,
            Self::Base64 => STANDARD.decode(text).ok(),
            Self::Base64Url => URL_SAFE_NO_PAD.decode(text).ok(),
        }
    }

    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::UpperHex => hex::encode_upper(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

/// Base64 as people paste it: either alphabet, with or without padding. For keys in a
/// configuration, never for what a request carries.
pub(crate) fn decode_pasted_base64(text: &[u8]) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url = text.iter().any(|b| matches!(b, b'-' | b'_'));
    let alphabet = if url {
        &base64::alphabet::URL_SAFE
    } else {
        &base64::alphabet::STANDARD
    };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        assert_eq!(Encoding::Hex.decode(b"0aff"), Some(vec![10, 255]));
        assert_eq!(Encoding::Hex.decode(b"0AFF"), None);
        assert_eq!(Encoding::UpperHex.decode(b"0AFF"), Some(vec![10, 255]));
        assert_eq!(Encoding::Base64.decode(b"Cv8="), Some(vec![10, 255]));
        assert_eq!(Encoding::Base64.decode(b"Cv8"), None);
        assert_eq!(
            Encoding::Base64.decode(b"Cv9="),
            None,
            "bits that no byte uses"
        );
        assert_eq!(Encoding::Base64Url.decode(b"Cv8"), Some(vec![10, 255]));
        assert_eq!(decode_pasted_base64(b"_v8"), Some(vec![254, 255]));
    }

    #[test]
    fn a_mac_is_compared_whole() {
        let key = MacKey::new(HashName::Sha256, b"key").expect("any key");
        let tag = key.of([&b"The quick brown fox "[..], b"jumps over the lazy dog"]);
        assert_eq!(
            hex::encode(tag.as_bytes()),
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
        assert!(tag.matches(tag.as_bytes()));
        assert!(!tag.matches(&tag.as_bytes()[..31]));
        assert!(!tag.matches(&[]));
    }
}
