//! Last use of each secret of a source: the evidence for a rotation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::config::model;
use crate::config::secret::Secret;
use crate::domain::delivery::{SourceName, UnixMillis, wall_clock};
use crate::telemetry::{Metrics, SecretMetrics};

/// Time without a use after which a retiring secret is safe to remove: longer than most providers retry.
const SAFE_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);
/// Time in which a use of another secret speaks against a warning, and shortest time between two log lines.
const RECENT: Duration = Duration::from_secs(3600);
/// Value of a time that has not come yet.
const NEVER: i64 = i64::MIN;

/// A secret of a source, and its uses.
#[derive(Debug)]
pub struct SecretUse {
    /// Reference as it is written in the configuration. Holds no secret.
    pub reference: Arc<str>,
    /// True if the secret is being rotated out.
    pub retiring: bool,
    secret: Secret,
    metrics: SecretMetrics,
    /// Time from which on its uses are known.
    since: UnixMillis,
    /// Time from which on it is retiring.
    retiring_since: UnixMillis,
    last: AtomicI64,
    /// Another secret had its reference before a reload, and its series are still that one's.
    replaces: AtomicBool,
}

impl SecretUse {
    /// Returns the time of the last delivery that it has verified.
    pub fn last(&self) -> Option<UnixMillis> {
        Some(self.last.load(Ordering::Relaxed))
            .filter(|last| *last != NEVER)
            .map(UnixMillis)
    }

    /// Returns the time from which on its uses are known.
    pub fn since(&self) -> UnixMillis {
        self.since
    }

    fn used_after(&self, time: UnixMillis) -> bool {
        self.last().is_some_and(|last| last.0 > time.0)
    }

    /// Returns the time since which it is retiring, and known not to have been used.
    fn idle(&self, now: UnixMillis) -> Duration {
        let last = self.last().map_or(NEVER, |last| last.0);
        let since = last.max(self.retiring_since.0);
        Duration::from_millis(u64::try_from(now.0.saturating_sub(since)).unwrap_or(0))
    }
}

/// Stage of the rotation of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretStage {
    /// It is not retiring.
    Current,
    /// It is retiring, and was used for less than three days ago.
    InUse,
    /// It is retiring, and was not used since then, for less than three days.
    NotUsedYet,
    /// It was not used for three days, nor was a current secret since it is retiring: the provider may not know that one.
    Untried,
    /// It was not used for three days, and a current secret has verified deliveries since it is retiring.
    SafeToRemove,
}

/// The secrets of a source, in the order of its scheme.
#[derive(Debug, Default)]
pub struct SecretUses {
    secrets: Vec<Arc<SecretUse>>,
    warned: AtomicI64,
}

impl SecretUses {
    /// Returns the secrets of a configured source, not used yet.
    pub fn new(source: &model::Source, metrics: &Metrics) -> Self {
        let since = wall_clock();
        let current = source.secrets.len();
        let secrets = source.secrets.iter().chain(&source.retiring_secrets);
        let names = source.secret_names.iter();
        let of = |(at, (secret, name)): (usize, (&Secret, &String))| {
            Arc::new(SecretUse {
                reference: name.as_str().into(),
                retiring: at >= current,
                secret: secret.clone(),
                metrics: metrics.secret(&source.name, name),
                since,
                retiring_since: since,
                last: AtomicI64::new(NEVER),
                replaces: AtomicBool::new(false),
            })
        };
        Self {
            secrets: secrets.zip(names).enumerate().map(of).collect(),
            warned: AtomicI64::new(NEVER),
        }
    }

    /// Takes over the uses of the same secrets under other configurations.
    pub fn take_over(&mut self, before: &Self) {
        for secret in &mut self.secrets {
            let same = |before: &&Arc<SecretUse>| before.secret == secret.secret;
            let other = |before: &Arc<SecretUse>| {
                before.reference == secret.reference && before.secret != secret.secret
            };
            let replaces = before.secrets.iter().any(other);
            secret.replaces.store(replaces, Ordering::Relaxed);
            let before = before.secrets.iter().find(same);
            if let (Some(before), Some(now)) = (before, Arc::get_mut(secret)) {
                now.since = before.since;
                if before.retiring {
                    now.retiring_since = before.retiring_since;
                }
                now.last = before.last.load(Ordering::Relaxed).into();
            }
        }
    }

    /// Starts the series of each secret again that has the reference of another one before a reload. Call it once they are in force.
    pub fn put_in_force(&self) {
        let new = |of: &&SecretUse| of.replaces.swap(false, Ordering::Relaxed);
        for secret in self.iter().filter(new) {
            secret.metrics.start_again(secret.last());
        }
    }

    /// Returns the secrets.
    pub fn iter(&self) -> impl Iterator<Item = &SecretUse> {
        self.secrets.iter().map(|secret| &**secret)
    }

    /// Returns the reference of the secret at `position`.
    pub fn reference(&self, position: Option<usize>) -> Option<Arc<str>> {
        let secret = self.secrets.get(position?)?;
        Some(secret.reference.clone())
    }

    /// Returns the stage of one of the secrets at `now`.
    pub fn stage(&self, secret: &SecretUse, now: UnixMillis) -> SecretStage {
        let since = secret.retiring_since;
        let is_known = |of: &SecretUse| !of.retiring && of.used_after(since);
        match secret.idle(now) >= SAFE_AFTER {
            _ if !secret.retiring => SecretStage::Current,
            true if self.iter().any(is_known) => SecretStage::SafeToRemove,
            true => SecretStage::Untried,
            false if secret.last().is_some() => SecretStage::InUse,
            false => SecretStage::NotUsedYet,
        }
    }

    /// Notes that the secret at `position` has verified a delivery of `source` at `now`.
    pub fn note(&self, source: &SourceName, position: Option<usize>, now: UnixMillis) {
        let Some(secret) = position.and_then(|at| self.secrets.get(at)) else {
            return;
        };
        secret.last.store(now.0, Ordering::Relaxed);
        secret.metrics.verified(now);
        if secret.retiring && self.only_retiring(now) && self.may_warn(now) {
            tracing::warn!(
                source = %source,
                "source {source}: deliveries are signed with the retiring secret {}, and no other has verified any for an hour: enter \
                 the new secret at the provider before this one is removed; deliveries are accepted until then",
                secret.reference
            );
        }
    }

    /// Returns `true` if a retiring secret has verified a delivery within the last hour, and no other one has.
    pub fn only_retiring(&self, now: UnixMillis) -> bool {
        let recent = i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX);
        let from = UnixMillis(now.0.saturating_sub(recent));
        let used = |retiring| {
            self.iter()
                .any(|of| of.retiring == retiring && of.used_after(from))
        };
        used(true) && !used(false)
    }

    fn may_warn(&self, now: UnixMillis) -> bool {
        let recent = i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX);
        let warned = self.warned.load(Ordering::Relaxed);
        let due = warned == NEVER || now.0.saturating_sub(warned) >= recent;
        due && self
            .warned
            .compare_exchange(warned, now.0, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn uses() -> (SourceName, SecretUses) {
        let text = "[[source]]\nname = \"gh\"\nprovider = \"github\"\nsecrets = [\"plain:a new secret of the source\"]\n\
                    retiring_secrets = [\"plain:an old secret of the source\"]\n";
        let config = Config::from_toml(text).expect("valid");
        let metrics = Metrics::new().expect("metrics");
        let source = &config.sources[0];
        (source.name.clone(), SecretUses::new(source, &metrics))
    }

    fn at(hours: i64) -> UnixMillis {
        UnixMillis(wall_clock().0 + hours * 3_600_000)
    }

    #[test]
    fn a_retiring_secret_is_safe_to_remove_three_days_after_its_last_use() {
        let (name, uses) = uses();
        use SecretStage::{Current, InUse, NotUsedYet, SafeToRemove, Untried};
        let stages = |now| {
            let stages = uses.iter().map(|of| uses.stage(of, now));
            stages.collect::<Vec<_>>()
        };
        assert_eq!(stages(at(71)), [Current, NotUsedYet]);
        assert_eq!(
            stages(at(73)),
            [Current, Untried],
            "the provider may not know the new one"
        );
        uses.note(&name, Some(1), at(10));
        uses.note(&name, Some(0), at(11));
        assert_eq!(stages(at(73)), [Current, InUse]);
        assert_eq!(stages(at(83)), [Current, SafeToRemove]);
    }

    #[test]
    fn a_secret_of_a_weekly_source_is_not_safe_to_remove_as_soon_as_it_is_retiring() {
        let text = "[[source]]\nname = \"gh\"\nprovider = \"github\"\nsecrets = [\"plain:an old secret of the source\"]\n";
        let config = Config::from_toml(text).expect("valid");
        let mut before = SecretUses::new(&config.sources[0], &Metrics::new().expect("metrics"));
        if let Some(secret) = before.secrets.first_mut().and_then(Arc::get_mut) {
            (secret.since, secret.retiring_since) = (at(-240), at(-240));
        }
        let (name, mut after) = uses();
        before.note(&name, Some(0), at(-168));
        after.take_over(&before);
        let stage = |uses: &SecretUses, now| uses.stage(&uses.secrets[1], now);
        assert_eq!(stage(&after, at(1)), SecretStage::InUse, "kept");
        assert_eq!(stage(&after, at(73)), SecretStage::Untried);
        after.note(&name, Some(0), at(74));
        assert_eq!(stage(&after, at(74)), SecretStage::SafeToRemove);
        let (_, mut later) = uses();
        later.take_over(&after);
        assert_eq!(stage(&later, at(74)), SecretStage::SafeToRemove);
    }

    #[test]
    fn only_the_retiring_secret_verifies_until_the_new_one_does() {
        let (name, uses) = uses();
        assert!(!uses.only_retiring(at(0)), "nothing was verified");
        uses.note(&name, Some(1), at(1));
        assert!(uses.only_retiring(at(1)));
        assert!(!uses.may_warn(at(1)), "said once an hour");
        uses.note(&name, Some(0), at(1));
        assert!(!uses.only_retiring(at(1)));
        uses.note(&name, Some(1), at(5));
        assert!(uses.only_retiring(at(5)), "the new one is no longer used");
    }

    #[test]
    fn a_secret_keeps_its_uses_over_a_reload_and_another_one_has_none() {
        let (name, before) = uses();
        before.note(&name, Some(1), at(1));
        let (_, mut after) = uses();
        after.take_over(&before);
        let last: Vec<bool> = after.iter().map(|of| of.last().is_some()).collect();
        assert_eq!(last, [false, true]);
    }
}
