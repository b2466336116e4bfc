//! Names of sinks, and the sinks that each event goes to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use wildmatch::WildMatch;

use super::delivery::{MessageKey, SourceName};
use super::event_order::{EventOrder, OrderKey};

/// Name of a sink: a place that events are published to. A row of the outbox belongs to one sink.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkName(Arc<str>);

impl SinkName {
    /// Name of the sink in a configuration with one sink.
    pub const DEFAULT: &'static str = "default";
    /// Bytes of the longest name.
    const LONGEST: usize = 63;

    /// Parses a name: 1 to 63 lower-case letters, digits, `-` or `_`.
    pub fn parse(name: &str) -> Result<Self, String> {
        let fits = (1..=Self::LONGEST).contains(&name.len());
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if fits && name.bytes().all(plain) {
            return Ok(Self(name.into()));
        }
        Err(format!(
            "{:?} is no name of a sink: use 1 to {} lower-case letters, digits, - or _",
            name,
            Self::LONGEST
        ))
    }

    /// Returns a name that the store has, as it is.
    pub(crate) fn stored(name: String) -> Self {
        Self(name.into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of a part of this sink: that of the part alone for the default sink.
    pub fn name_part(&self, part: &str) -> String {
        if self.as_str() == Self::DEFAULT {
            part.to_owned()
        } else {
            format!("{part}-{self}")
        }
    }
}

impl Default for SinkName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Pattern of event types: `*` stands for any text, `?` for one character.
#[derive(Clone, Debug, PartialEq)]
pub struct TypePattern(WildMatch);

impl TypePattern {
    /// Bytes of the longest pattern.
    const LONGEST: usize = 255;

    /// Parses a pattern of 1 to 255 bytes.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        match pattern.len() {
            0 => Err("expected a type such as \"order.*\", found an empty string".to_owned()),
            1..=Self::LONGEST => Ok(Self(WildMatch::new(pattern))),
            len => Err(format!(
                "expected at most {} bytes, found {len}",
                Self::LONGEST
            )),
        }
    }
}

/// Filter of events by their type. Without patterns it lets all events pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// An event passes if one of these fits its type. Empty: every event does.
    pub only: Vec<TypePattern>,
    /// An event does not pass if one of these fits its type.
    pub except: Vec<TypePattern>,
}

impl EventFilter {
    /// Returns `true` if every event passes.
    fn is_open(&self) -> bool {
        self.only.is_empty() && self.except.is_empty()
    }

    /// Returns `true` if an event of this type passes. An event without a type has an empty one.
    pub fn passes(&self, event_type: Option<&str>) -> bool {
        let event_type = event_type.unwrap_or_default();
        let fits = |pattern: &TypePattern| pattern.0.matches(event_type);
        (self.only.is_empty() || self.only.iter().any(fits)) && !self.except.iter().any(fits)
    }
}

/// Sinks out of [`Sinks`], by their positions there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkSet(u64);

impl SinkSet {
    /// Returns `true` if there is no sink in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns `true` if the sink at `position` is in the set.
    pub fn has(self, position: usize) -> bool {
        position < Sinks::MOST && self.0 & (1 << position) != 0
    }

    /// Returns the number of sinks.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    fn first(count: usize) -> Self {
        Self(u64::MAX >> (Sinks::MOST - count.clamp(1, Sinks::MOST)))
    }

    fn position(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

impl FromIterator<usize> for SinkSet {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let fitting = positions.into_iter().filter(|at| *at < Sinks::MOST);
        Self(fitting.fold(0, |set, at| set | 1 << at))
    }
}

/// Events of one source: the sinks that they go to, and the types that go to any.
#[derive(Clone, Debug)]
pub struct SourceRoute {
    /// Names of the sinks. Empty: all of them.
    pub sinks: Vec<SinkName>,
    /// Filter of the source's events.
    pub filter: EventFilter,
}

/// All sinks, each once, with the events that go to each. An event gets a row of the outbox for each
/// sink that wants it.
#[derive(Clone, Debug)]
pub struct Sinks(Arc<Routes>);

#[derive(Clone, Debug)]
struct Routes {
    names: Vec<SinkName>,
    filters: Vec<EventFilter>,
    /// Of the sinks, in order. Empty: none keeps an order.
    orders: Vec<EventOrder>,
    sources: HashMap<SourceName, (SinkSet, EventFilter)>,
    /// Some event may not go to some sink.
    selective: bool,
}

impl Sinks {
    /// Largest number of sinks.
    pub const MOST: usize = u64::BITS as usize;

    /// Takes the names of sinks that every event goes to. Fails if there is none, one twice, or more
    /// than [`Sinks::MOST`].
    pub fn new(names: &[SinkName]) -> Result<Self, String> {
        let sinks = names
            .iter()
            .map(|name| (name.clone(), EventFilter::default()));
        Self::routed(sinks.collect(), HashMap::new())
    }

    /// Takes sinks with their filters, and the routes of sources. Events of a source without a route
    /// go to all sinks. Fails as [`Sinks::new`] does, and if a route names an unknown sink.
    pub fn routed(
        sinks: Vec<(SinkName, EventFilter)>,
        sources: HashMap<SourceName, SourceRoute>,
    ) -> Result<Self, String> {
        if sinks.is_empty() {
            return Err("there is no sink: an event needs one at least".into());
        }
        if sinks.len() > Self::MOST {
            return Err(format!("there are more than {} sinks", Self::MOST));
        }
        let (names, filters): (Vec<_>, Vec<_>) = sinks.into_iter().unzip();
        let mut rest = &names[..];
        while let Some((name, others)) = rest.split_first() {
            if others.contains(name) {
                return Err(format!("two sinks have the name {name}"));
            }
            rest = others;
        }
        let all = SinkSet::first(names.len());
        let mut routes = HashMap::new();
        for (source, SourceRoute { sinks, filter }) in sources {
            let positions = sinks.iter().map(|sink| {
                let position = names.iter().position(|name| name == sink);
                position.ok_or_else(|| format!("there is no sink {sink}"))
            });
            let set: SinkSet = positions.collect::<Result<_, _>>()?;
            let set = if sinks.is_empty() { all } else { set };
            if set != all || !filter.is_open() {
                routes.insert(source, (set, filter));
            }
        }
        let selective = !routes.is_empty() || filters.iter().any(|filter| !filter.is_open());
        Ok(Self(Arc::new(Routes {
            names,
            filters,
            orders: Vec::new(),
            sources: routes,
            selective,
        })))
    }

    /// Returns the name of the sink, if there is only one and every event goes to it.
    pub fn only(&self) -> Option<&SinkName> {
        match &*self.0.names {
            [only] if !self.0.selective => Some(only),
            _ => None,
        }
    }

    /// Returns the sinks with these orders, in the order of their names.
    #[must_use]
    pub fn with_orders(self, orders: Vec<EventOrder>) -> Self {
        let mut routes = Arc::unwrap_or_clone(self.0);
        routes.orders = orders;
        Self(Arc::new(routes))
    }

    /// Returns `true` if a sink keeps an order.
    pub fn is_ordered(&self) -> bool {
        self.0.orders.iter().any(|order| !order.is_none())
    }

    /// Returns the name of each sink in `set`, with the event's key there if the sink keeps an order.
    pub fn order_keys<'s>(
        &'s self,
        set: SinkSet,
        source: &'s SourceName,
        body: &'s [u8],
        message: &'s MessageKey,
    ) -> impl Iterator<Item = (&'s SinkName, Option<OrderKey>)> {
        let names = self.0.names.iter().enumerate();
        names
            .filter(move |(at, _)| set.has(*at))
            .map(move |(at, name)| {
                let order = self.0.orders.get(at);
                (
                    name,
                    order.and_then(|order| order.key(source, body, message)),
                )
            })
    }

    /// Returns `true` if an event may not go to all sinks.
    pub fn is_selective(&self) -> bool {
        self.0.selective
    }

    /// Returns the names, in the order of the positions in a [`SinkSet`].
    pub fn iter(&self) -> impl Iterator<Item = &SinkName> {
        self.0.names.iter()
    }

    /// Returns the sinks that an event goes to.
    pub fn wanting(&self, source: &SourceName, event_type: Option<&str>) -> SinkSet {
        let all = SinkSet::first(self.0.names.len());
        if !self.0.selective {
            return all;
        }
        let set = match self.0.sources.get(source) {
            Some((_, filter)) if !filter.passes(event_type) => return SinkSet::default(),
            Some((set, _)) => *set,
            None => all,
        };
        let filters = self.0.filters.iter().enumerate();
        filters
            .filter(|(at, filter)| set.has(*at) && filter.passes(event_type))
            .map(|(at, _)| at)
            .collect()
    }

    /// Returns the names of the sinks in `set`.
    pub fn names(&self, set: SinkSet) -> impl Iterator<Item = &SinkName> {
        let names = self.0.names.iter().enumerate();
        names
            .filter(move |(at, _)| set.has(*at))
            .map(|(_, name)| name)
    }

    /// Returns the name of the sink in `set`, if it is the only one there.
    pub fn only_in(&self, set: SinkSet) -> Option<&SinkName> {
        (set.len() == 1)
            .then(|| self.0.names.get(set.position()))
            .flatten()
    }
}

impl Default for Sinks {
    /// Returns the default sink, for every event.
    fn default() -> Self {
        Self(Arc::new(Routes {
            names: vec![SinkName::default()],
            filters: vec![EventFilter::default()],
            orders: Vec::new(),
            sources: HashMap::new(),
            selective: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> SinkName {
        SinkName::parse(name).expect("a name")
    }

    fn filter(only: &[&str], except: &[&str]) -> EventFilter {
        let patterns = |list: &[&str]| {
            let parsed = list.iter().map(|pattern| TypePattern::parse(pattern));
            parsed.collect::<Result<_, _>>().expect("patterns")
        };
        EventFilter {
            only: patterns(only),
            except: patterns(except),
        }
    }

    #[test]
    fn sinks_have_names_of_their_own() {
        let one = Sinks::new(&[name("kafka")]).expect("one");
        assert_eq!(one.only(), Some(&name("kafka")));
        let two = Sinks::new(&[name("kafka"), SinkName::default()]).expect("two");
        assert_eq!((two.only(), two.iter().count()), (None, 2));
        assert!(Sinks::new(&[]).is_err());
        assert!(Sinks::new(&[name("a"), name("b"), name("a")]).is_err());
        let many = |count: usize| (0..count).map(|n| name(&n.to_string())).collect::<Vec<_>>();
        assert!(Sinks::new(&many(64)).is_ok());
        assert!(Sinks::new(&many(65)).is_err());
        for wrong in ["", "A", "a b", "\u{e4}", &"a".repeat(64)] {
            assert!(SinkName::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_event_goes_to_the_sinks_of_its_source_that_want_its_type() {
        let source = |name: &str| SourceName::parse(name).expect("a name");
        let route = |sinks: &[&str], filter: EventFilter| SourceRoute {
            sinks: sinks.iter().map(|sink| name(sink)).collect(),
            filter,
        };
        let routes = HashMap::from([
            (source("shop"), route(&["a", "b"], filter(&[], &["ping"]))),
            (source("bank"), route(&["b"], filter(&[], &[]))),
        ]);
        let sinks = Sinks::routed(
            vec![
                (name("a"), filter(&["order.*"], &["order.draft.*"])),
                (name("b"), filter(&[], &[])),
                (name("c"), filter(&["*"], &[])),
            ],
            routes,
        )
        .expect("sinks");
        let to = |of: &str, event_type: Option<&str>| {
            let set = sinks.wanting(&source(of), event_type);
            let names = sinks.names(set).map(SinkName::as_str);
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(to("shop", Some("order.paid")), "a b");
        assert_eq!(to("shop", Some("order.draft.new")), "b");
        assert_eq!(to("shop", Some("ping")), "");
        assert_eq!(to("bank", Some("order.paid")), "b");
        assert_eq!(to("new", Some("order.paid")), "a b c");
        assert_eq!(to("new", None), "b c", "only \"*\" fits no type");
        assert!(sinks.is_selective() && sinks.only().is_none());
        let set = sinks.wanting(&source("bank"), None);
        assert_eq!(sinks.only_in(set), Some(&name("b")));
        let unknown = HashMap::from([(source("shop"), route(&["z"], filter(&[], &[])))]);
        assert!(Sinks::routed(vec![(name("a"), filter(&[], &[]))], unknown).is_err());
    }
}
