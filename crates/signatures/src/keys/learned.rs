//! A secret that the provider hands over in a handshake. Only where the operator switched it on, and only the first one: whoever comes
//! later with another is refused, until the operator has this one forgotten.
//!
//! The secret itself is in the store, which all instances share. Here is what an instance knows of it, and since when.

use std::sync::{Arc, PoisonError, RwLock};

use crate::Secret;
use crate::SourceSpec;
use crate::UnixMillis;
use crate::{Answer, Reason, Refusal};
use crate::{Check, Scheme, Verdict};

/// What was read longer ago than this says nothing about what is in the store now. Shorter than the time for which a source that has
/// forgotten its secret learns no other, so that no instance refuses what is signed with the next one.
const STALE_MS: i64 = 5_000;

/// What an instance knows of a source's secret.
#[derive(Debug)]
pub(crate) struct Learned {
    /// What is compiled with each secret.
    source: SourceSpec,
    max_events: usize,
    known: RwLock<Arc<Known>>,
}

/// What was read out of the store.
#[derive(Debug)]
pub(crate) struct Known {
    secret: Option<Secret>,
    /// What checks with it.
    pub(crate) check: Option<Arc<Check>>,
    read_at: UnixMillis,
}

impl Learned {
    pub(crate) fn new(source: SourceSpec, max_events: usize) -> Self {
        let nothing = Known {
            secret: None,
            check: None,
            read_at: UnixMillis(i64::MIN),
        };
        Self {
            source: SourceSpec {
                learn_secret: false,
                ..source
            },
            max_events,
            known: RwLock::new(Arc::new(nothing)),
        }
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set(&self, secret: Option<&Secret>, read_at: UnixMillis) -> Result<(), String> {
        let known = self.known();
        let check = match secret {
            Some(secret) if known.secret.as_ref() == Some(secret) => known.check.clone(),
            Some(secret) => Some(Arc::new(self.compile(secret)?)),
            None => None,
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Known {
            secret: secret.cloned(),
            check,
            read_at,
        });
        Ok(())
    }

    fn compile(&self, secret: &Secret) -> Result<Check, String> {
        let source = SourceSpec {
            secrets: vec![secret.clone()],
            ..self.source.clone()
        };
        let scheme = Scheme::compile(&source, self.max_events);
        let texts = |errors: Vec<crate::SchemeError>| {
            errors
                .into_iter()
                .map(|error| error.text)
                .collect::<Vec<_>>()
                .join("; ")
        };
        scheme.map(|scheme| scheme.check).map_err(texts)
    }

    /// What becomes of a handshake that hands over `secret`: answered if it is the known one, refused if it is another.
    pub(crate) fn hear(
        &self,
        known: &Known,
        secret: Secret,
        answer: Answer,
        now: UnixMillis,
    ) -> Result<Verdict, Refusal> {
        let digest = |secret: &Secret| crate::token_digest(secret.expose());
        match &known.secret {
            Some(first) if digest(first).matches(digest(&secret).as_bytes()) => {
                Ok(Verdict::Challenge(answer))
            }
            Some(_) if known.decides(now) => Err(another_secret()),
            _ => match self.compile(&secret) {
                Ok(_) => Ok(Verdict::Learn { secret, answer }),
                Err(why) => Err(Refusal::new(
                    Reason::PreconditionFailed,
                    format!("handshake: the secret handed over {why}"),
                )),
            },
        }
    }
}

/// The refusal of a secret that comes after the first.
pub fn another_secret() -> Refusal {
    let detail = "handshake: another secret was learned before; `hookweir learned NAME --forget` makes room for a new one";
    Refusal::new(Reason::PreconditionFailed, detail)
}

impl Known {
    /// Whether what it does not verify is to be refused.
    pub(crate) fn decides(&self, now: UnixMillis) -> bool {
        self.check.is_some() && now.0.saturating_sub(self.read_at.0) <= STALE_MS
    }
}
