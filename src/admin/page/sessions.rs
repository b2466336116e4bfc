//! Logins of the page, in memory: links that let their caller in once, and sessions of browsers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::admin::caller::Caller;
use crate::domain::delivery::{BodyDigest, UnixMillis};
use crate::operate::ApiProblem;

/// Time for which a link lets its caller in.
pub(super) const LINK_MS: i64 = 2 * 60 * 1000;

/// Time for which a session lasts.
pub(super) const SESSION_MS: i64 = 12 * 3600 * 1000;

/// Links and sessions, at most this many of each. A new one takes the place of the oldest.
const MOST: usize = 64;

/// Links and sessions. Only digests of their secrets are kept.
#[derive(Default)]
pub(super) struct Sessions {
    links: Mutex<VecDeque<Login>>,
    sessions: Mutex<VecDeque<Login>>,
}

/// A secret that stands for a caller, within a time.
struct Login {
    digest: BodyDigest,
    caller: Caller,
    from: UnixMillis,
    until: UnixMillis,
}

impl Login {
    /// Returns `true` within its time. A clock that was set back behind its beginning ends it.
    fn lasts_at(&self, now: UnixMillis) -> bool {
        (self.from..self.until).contains(&now)
    }
}

impl Sessions {
    /// Returns the secret of a link that lets `caller` in once.
    pub(super) fn link(&self, caller: Caller, now: UnixMillis) -> Result<String, ApiProblem> {
        add(&self.links, caller, now, LINK_MS)
    }

    /// Returns the caller of a link. The link is used up.
    pub(super) fn redeem(&self, link: &str, now: UnixMillis) -> Option<Caller> {
        let login = take(&self.links, link)?;
        login.lasts_at(now).then_some(login.caller)
    }

    /// Returns the secret of a new session of `caller`.
    pub(super) fn begin(&self, caller: Caller, now: UnixMillis) -> Result<String, ApiProblem> {
        add(&self.sessions, caller, now, SESSION_MS)
    }

    /// Returns the caller of a session.
    pub(super) fn caller(&self, session: &str, now: UnixMillis) -> Option<Caller> {
        let digest = BodyDigest::of(session.as_bytes());
        let sessions = lock(&self.sessions);
        let mut found = sessions.iter();
        let found = found.find(|login| login.digest == digest && login.lasts_at(now));
        found.map(|login| login.caller.clone())
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &str) {
        take(&self.sessions, session);
    }
}

fn lock(logins: &Mutex<VecDeque<Login>>) -> std::sync::MutexGuard<'_, VecDeque<Login>> {
    logins.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(
    logins: &Mutex<VecDeque<Login>>,
    caller: Caller,
    now: UnixMillis,
    lasts_ms: i64,
) -> Result<String, ApiProblem> {
    let secret = random()?;
    let mut logins = lock(logins);
    logins.retain(|login| login.lasts_at(now));
    if logins.len() >= MOST {
        logins.pop_front();
    }
    logins.push_back(Login {
        digest: BodyDigest::of(secret.as_bytes()),
        caller,
        from: now,
        until: UnixMillis(now.0.saturating_add(lasts_ms)),
    });
    Ok(secret)
}

fn take(logins: &Mutex<VecDeque<Login>>, secret: &str) -> Option<Login> {
    let digest = BodyDigest::of(secret.as_bytes());
    let mut logins = lock(logins);
    let at = logins.iter().position(|login| login.digest == digest)?;
    logins.remove(at)
}

/// Returns 256 random bits, as text for a URL and a cookie.
fn random() -> Result<String, ApiProblem> {
    let mut bytes = [0; 32];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| {
        ApiProblem::unavailable(
            "the system gives no random bytes, so nobody is let in",
            "use `hookweir events` and the other commands, and look at the kernel's log",
        )
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Right;

    fn ann() -> Caller {
        Caller {
            name: "ann".into(),
            may: vec![Right::Look],
        }
    }

    #[test]
    fn a_link_lets_its_caller_in_once_and_not_after_its_time() {
        let (sessions, now) = (Sessions::default(), UnixMillis(1_000_000));
        let link = sessions.link(ann(), now).expect("random");
        assert_eq!(sessions.redeem("another", now), None);
        assert_eq!(sessions.redeem(&link, now), Some(ann()));
        assert_eq!(sessions.redeem(&link, now), None, "it is used up");
        let late = sessions.link(ann(), now).expect("random");
        let after = UnixMillis(now.0 + LINK_MS);
        assert_eq!(sessions.redeem(&late, after), None);
        let back = sessions.link(ann(), now).expect("random");
        assert_eq!(sessions.redeem(&back, UnixMillis(now.0 - 1)), None);
    }

    #[test]
    fn a_session_lasts_for_its_time_or_until_it_is_ended() {
        let (sessions, now) = (Sessions::default(), UnixMillis(1_000_000));
        let session = sessions.begin(ann(), now).expect("random");
        let last = UnixMillis(now.0 + SESSION_MS - 1);
        assert_eq!(sessions.caller(&session, last), Some(ann()));
        assert_eq!(sessions.caller(&session, UnixMillis(last.0 + 1)), None);
        sessions.end(&session);
        assert_eq!(sessions.caller(&session, now), None);
    }

    #[test]
    fn the_oldest_session_makes_room_for_a_new_one() {
        let (sessions, now) = (Sessions::default(), UnixMillis(0));
        let all: Vec<String> = (0..=MOST)
            .map(|_| sessions.begin(ann(), now).expect("random"))
            .collect();
        assert_eq!(sessions.caller(&all[0], now), None);
        assert_eq!(sessions.caller(&all[1], now), Some(ann()));
        assert_eq!(lock(&sessions.sessions).len(), MOST);
    }
}
