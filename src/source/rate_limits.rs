//! Rate limits of a source: of all its deliveries, and of those from one address. Pure: time comes in as an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::model;
use crate::domain::outcome::ShedReason;

/// Addresses that a source remembers, at most. Further ones share one limit.
pub const CLIENTS: usize = 10_000;

/// Most memory of one remembered address.
pub const CLIENT_BYTES: usize = 128;

/// Least time between two searches for addresses to forget.
const FORGET: Duration = Duration::from_secs(1);

/// Deliveries a second, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rule {
    per_sec: f64,
    burst: f64,
}

impl Rule {
    /// A rule of these options. If `burst` is left out, deliveries of two seconds may come at once.
    fn new(per_sec: Option<u32>, burst: Option<u32>) -> Option<Self> {
        let per_sec = f64::from(per_sec?);
        Some(Self {
            per_sec,
            burst: burst.map_or(2.0 * per_sec, f64::from),
        })
    }
}

/// Deliveries that may come now.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    fn full(rule: Rule, now: Instant) -> Self {
        Self {
            tokens: rule.burst,
            at: now,
        }
    }

    fn fill(&mut self, rule: Rule, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rule.per_sec).min(rule.burst);
        self.at = self.at.max(now);
    }

    /// Takes a token if there is one.
    fn take(&mut self, rule: Rule, now: Instant) -> bool {
        self.fill(rule, now);
        let may = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(may));
        may
    }

    fn is_full(&self, rule: Rule, now: Instant) -> bool {
        let mut then = *self;
        then.fill(rule, now);
        then.tokens >= rule.burst
    }
}

/// Buckets of addresses.
#[derive(Debug)]
struct Clients {
    known: HashMap<IpAddr, TokenBucket>,
    /// Of addresses for which there is no room.
    others: TokenBucket,
    forgot: Instant,
}

impl Clients {
    fn take(&mut self, client: IpAddr, rule: Rule, now: Instant) -> bool {
        if !self.known.contains_key(&client) && self.known.len() >= CLIENTS {
            self.forget(rule, now);
            if self.known.len() >= CLIENTS {
                return self.others.take(rule, now);
            }
        }
        let full = TokenBucket::full(rule, now);
        self.known.entry(client).or_insert(full).take(rule, now)
    }

    /// Forgets addresses whose bucket is full again: a new one would be the same.
    fn forget(&mut self, rule: Rule, now: Instant) {
        if now.saturating_duration_since(self.forgot) >= FORGET {
            self.forgot = now;
            self.known.retain(|_, bucket| !bucket.is_full(rule, now));
        }
    }
}

/// Rate limits of a source.
#[derive(Debug, Default)]
pub struct RateLimits {
    source: Option<(Rule, Mutex<TokenBucket>)>,
    client: Option<(Rule, Mutex<Clients>)>,
}

impl RateLimits {
    /// Returns the limits of a source, with no delivery yet.
    pub fn new(source: &model::Source, now: Instant) -> Self {
        let of_source = Rule::new(source.rate_limit_per_sec, source.rate_limit_burst);
        let of_client = Rule::new(
            source.client_rate_limit_per_sec,
            source.client_rate_limit_burst,
        );
        Self {
            source: of_source.map(|rule| (rule, Mutex::new(TokenBucket::full(rule, now)))),
            client: of_client.map(|rule| {
                let clients = Clients {
                    known: HashMap::new(),
                    others: TokenBucket::full(rule, now),
                    forgot: now,
                };
                (rule, Mutex::new(clients))
            }),
        }
    }

    /// Counts a delivery from an address; of unknown ones as of one. Fails if a limit is reached. The limit of the
    /// address comes first, so that one client does not use up the source's. `counts` tells if it counts for the source.
    pub fn admit(
        &self,
        client: Option<IpAddr>,
        counts: impl FnOnce() -> bool,
        now: Instant,
    ) -> Result<(), ShedReason> {
        if let Some((rule, clients)) = &self.client {
            let client = network_of(client.unwrap_or(Ipv6Addr::UNSPECIFIED.into()));
            if !turn(clients).take(client, *rule, now) {
                return Err(ShedReason::ClientRate);
            }
        }
        match &self.source {
            Some((rule, bucket)) if counts() && !turn(bucket).take(*rule, now) => {
                Err(ShedReason::SourceRate)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns `true` if both have the same rules.
    pub fn is_like(&self, other: &Self) -> bool {
        let rules = |of: &Self| {
            let source = of.source.as_ref().map(|(rule, _)| *rule);
            (source, of.client.as_ref().map(|(rule, _)| *rule))
        };
        rules(self) == rules(other)
    }
}

fn turn<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the address that stands for a client: of IPv6 its network of 64 bits, which one client has to itself.
fn network_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Config;

    fn limits(options: &str, now: Instant) -> RateLimits {
        let text = format!("[[source]]\nname = \"s\"\nprovider = \"none\"\n{options}");
        let config = Config::from_toml(&text).expect("valid");
        RateLimits::new(&config.sources[0], now)
    }

    fn ip(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_burst_is_taken_and_then_as_many_as_the_rate_allows() {
        let now = Instant::now();
        let limits = limits("rate_limit_per_sec = 10\nrate_limit_burst = 3", now);
        let taken = |after_ms: u64| {
            let at = now + Duration::from_millis(after_ms);
            (0..100)
                .filter(|_| limits.admit(ip(1), || true, at).is_ok())
                .count()
        };
        assert_eq!(taken(0), 3);
        assert_eq!(
            limits.admit(None, || true, now),
            Err(ShedReason::SourceRate)
        );
        let unsigned = (0..100).filter(|_| limits.admit(None, || false, now).is_ok());
        assert_eq!(unsigned.count(), 100, "what will be refused takes nothing");
        assert_eq!(taken(100), 1);
        assert_eq!(taken(300), 2);
        assert_eq!(taken(10_000), 3, "no more than the burst is saved up");
        assert_eq!(taken(200), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn one_client_does_not_use_up_what_others_may_send() {
        let now = Instant::now();
        let limits = limits(
            "client_rate_limit_per_sec = 1\nclient_rate_limit_burst = 2\nrate_limit_per_sec = 50",
            now,
        );
        let of = |client| {
            (0..1000)
                .filter(|_| limits.admit(ip(client), || true, now).is_ok())
                .count()
        };
        assert_eq!(of(1), 2);
        assert_eq!(
            limits.admit(ip(1), || true, now),
            Err(ShedReason::ClientRate)
        );
        assert_eq!((2..=20).map(of).sum::<usize>(), 38);
        let v6 = |text: &str| Some(text.parse().expect("an address"));
        assert!(limits.admit(v6("2001:db8::1"), || true, now).is_ok());
        assert!(limits.admit(v6("2001:db8::2"), || true, now).is_ok());
        assert!(
            limits.admit(v6("2001:db8::3"), || true, now).is_err(),
            "the same /64"
        );
    }

    #[test]
    fn a_flood_of_addresses_takes_a_bounded_room_and_frees_nobody_of_his_limit() {
        let now = Instant::now();
        let limits = limits(
            "client_rate_limit_per_sec = 1\nclient_rate_limit_burst = 1",
            now,
        );
        assert!(limits.admit(ip(0), || true, now).is_ok());
        let many = 3 * u32::try_from(CLIENTS).expect("a number");
        let taken = (1..many)
            .filter(|client| limits.admit(ip(*client), || true, now).is_ok())
            .count();
        assert_eq!(
            taken, CLIENTS,
            "one each for those with room, and one for all others"
        );
        let (_, clients) = limits.client.as_ref().expect("a limit");
        assert_eq!(turn(clients).known.len(), CLIENTS);
        assert!(limits.admit(ip(0), || true, now).is_err(), "still known");
        let later = now + Duration::from_secs(5);
        assert!(limits.admit(ip(many), || true, later).is_ok());
        assert_eq!(turn(clients).known.len(), 1, "idle addresses are forgotten");
    }

    #[test]
    fn without_options_there_is_no_limit() {
        let now = Instant::now();
        let limits = limits("", now);
        assert!((0..100_000).all(|_| limits.admit(ip(1), || true, now).is_ok()));
    }
}
