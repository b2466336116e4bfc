//! Encrypted documents, as Lark sends them: AES-256-CBC under the SHA-256 of the secret, in base64.
//! The first block is the initialization vector. Only the signature is a proof; decryption serves
//! to read id and type.

use std::borrow::Cow;

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use sha2::{Digest as _, Sha256};

use crate::crypto::mac::Encoding;
use crate::json_pointers::{JsonPointer, PathSet, Slot, scalar};

const BLOCK: usize = 16;

/// Place of the document, and the keys that may open it.
pub(crate) struct Sealed {
    paths: PathSet,
    at: Slot,
    pointer: JsonPointer,
    keys: Vec<[u8; 32]>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed")
            .field("pointer", &self.pointer)
            .finish_non_exhaustive()
    }
}

impl Sealed {
    pub(crate) fn new(pointer: &JsonPointer, secrets: &[Vec<u8>]) -> Result<Self, String> {
        let mut paths = PathSet::default();
        let at = paths.add(pointer)?;
        let keys = secrets
            .iter()
            .map(|secret| Sha256::digest(secret).into())
            .collect();
        Ok(Self {
            paths,
            at,
            pointer: pointer.clone(),
            keys,
        })
    }

    /// Returns the decrypted document. If nothing is encrypted, or no key decrypts it, this is the
    /// body.
    pub(crate) fn open<'v>(&self, body: &'v [u8]) -> Cow<'v, [u8]> {
        let opened = || {
            let slots = self.paths.walk(body).ok()?;
            let sealed = Encoding::Base64.decode(&scalar(slots.raw(self.at)?)?)?;
            let (vector, sealed) = sealed.split_at_checked(BLOCK)?;
            self.keys.iter().find_map(|key| {
                let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key, vector).ok()?;
                let mut document = sealed.to_vec();
                let length = cipher.decrypt_padded::<Pkcs7>(&mut document).ok()?.len();
                document.truncate(length);
                // What another key opens is noise.
                document.starts_with(b"{").then_some(document)
            })
        };
        opened().map_or(Cow::Borrowed(body), Cow::Owned)
    }

    /// A body with this document in it, as its sender makes it.
    pub(crate) fn seal(
        &self,
        document: &[u8],
        secret: usize,
        vector: [u8; BLOCK],
    ) -> Option<Vec<u8>> {
        let cipher =
            cbc::Encryptor::<Aes256>::new_from_slices(self.keys.get(secret)?, &vector).ok()?;
        let mut sealed = document.to_vec();
        sealed.resize(document.len() + BLOCK, 0);
        let sealed = cipher
            .encrypt_padded::<Pkcs7>(&mut sealed, document.len())
            .ok()?;
        let mut body = serde_json::Value::Null;
        crate::json_pointers::set(
            &mut body,
            &self.pointer,
            Encoding::Base64.encode(&[&vector, sealed].concat()).into(),
        );
        Some(body.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENSSL: &str = r#"{"encrypt":"AAECAwQFBgcICQoLDA0OD75nJgU43R602O/A2DJX3xSq95P9GouWC2kpJnoB/JRjrr0qTf6XNc0b8N9gu/GvJA=="}"#;

    /// Made with `openssl enc -aes-256-cbc -K $(printf 'test key' | sha256sum | cut -c-64) -iv
    /// 000102030405060708090a0b0c0d0e0f`, the vector put in front.
    #[test]
    fn what_openssl_encrypted_is_opened() {
        let sealed = Sealed::new(
            &JsonPointer::member("encrypt"),
            &[b"another".to_vec(), b"test key".to_vec()],
        )
        .expect("a pointer");
        assert_eq!(
            &*sealed.open(OPENSSL.as_bytes()),
            br#"{"challenge":"c","type":"url_verification"}"#
        );
        let made = sealed.seal(
            br#"{"challenge":"c","type":"url_verification"}"#,
            1,
            std::array::from_fn(|at| at as u8),
        );
        assert_eq!(made.as_deref(), Some(OPENSSL.as_bytes()));
    }

    #[test]
    fn what_is_not_encrypted_or_by_somebody_else_stays_as_it_is() {
        let sealed =
            Sealed::new(&JsonPointer::member("encrypt"), &[b"a key".to_vec()]).expect("a pointer");
        for body in [
            r#"{"a":1}"#,
            r#"{"encrypt":""}"#,
            r#"{"encrypt":"AAAA"}"#,
            r#"{"encrypt":7}"#,
            OPENSSL,
            "",
            "no JSON",
        ] {
            assert_eq!(&*sealed.open(body.as_bytes()), body.as_bytes());
        }
    }
}
