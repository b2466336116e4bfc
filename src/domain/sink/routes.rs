//! The sinks of the service, and the routes of events to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::{EventFilter, SinkName, SinkSet};
use crate::domain::delivery::{MessageKey, SourceName};
use crate::domain::event_order::{EventOrder, OrderKey};

/// Events of one source: the sinks that they go to, and the types that go to any.
#[derive(Clone, Debug)]
pub struct SourceRoute {
    /// Names of the sinks. Empty: all of them.
    pub sinks: Vec<SinkName>,
    /// Filter of the source's events.
    pub filter: EventFilter,
}

/// All sinks, each once, with the events that go to each. An event gets a row of the outbox for each
/// sink that wants it. Clones share the routes, which a reload replaces; names and orders stay.
#[derive(Clone, Debug)]
pub struct Sinks {
    names: Arc<[SinkName]>,
    /// Of the sinks, in order. Empty: none keeps an order.
    orders: Arc<[EventOrder]>,
    routes: Arc<CurrentRoutes>,
}

/// Routes that fit the sinks they were made for.
#[derive(Debug)]
pub struct NewRoutes(Arc<Routes>);

#[derive(Debug)]
struct CurrentRoutes {
    now: ArcSwap<Routes>,
    /// Some event may not go to some sink, by these routes or by ones before.
    selective: AtomicBool,
}

#[derive(Clone, Debug)]
struct Routes {
    filters: Vec<EventFilter>,
    /// Of each source that is configured, or was before a reload.
    sources: HashMap<SourceName, (SinkSet, EventFilter)>,
    selective: bool,
}

impl Routes {
    /// Returns `true` if some event does not go to all sinks.
    fn narrows(&self, all: SinkSet) -> bool {
        let mut sources = self.sources.values();
        sources.any(|(set, filter)| *set != all || !filter.is_open())
            || self.filters.iter().any(|filter| !filter.is_open())
    }

    /// Returns the sinks out of `all` that an event goes to.
    fn wanting(&self, all: SinkSet, source: &SourceName, event_type: Option<&str>) -> SinkSet {
        if !self.selective {
            return all;
        }
        let set = match self.sources.get(source) {
            Some((_, filter)) if !filter.passes(event_type) => return SinkSet::default(),
            Some((set, _)) => *set,
            None => all,
        };
        let filters = self.filters.iter().enumerate();
        filters
            .filter(|(at, filter)| set.has(*at) && filter.passes(event_type))
            .map(|(at, _)| at)
            .collect()
    }

    /// Returns `true` if the sinks out of `all` that an event of this source goes to depend on its type.
    fn choose_by_type(&self, all: SinkSet, source: &SourceName) -> bool {
        let (set, is_open) = match self.sources.get(source) {
            Some((set, filter)) => (*set, filter.is_open()),
            None => (all, true),
        };
        let mut filters = self.filters.iter().enumerate();
        !is_open || filters.any(|(at, filter)| set.has(at) && !filter.is_open())
    }
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
            routes.insert(source, (set, filter));
        }
        let mut routes = Routes {
            filters,
            sources: routes,
            selective: false,
        };
        routes.selective = routes.narrows(all);
        Ok(Self::of(names, routes))
    }

    fn of(names: Vec<SinkName>, routes: Routes) -> Self {
        Self {
            names: names.into(),
            orders: Arc::default(),
            routes: Arc::new(CurrentRoutes {
                selective: AtomicBool::new(routes.selective),
                now: ArcSwap::from_pointee(routes),
            }),
        }
    }

    /// Returns the routes of `other`, for [`Sinks::reroute`]. A source that `other` lacks keeps its route:
    /// events of it may be in the spool. Fails if `other` has other sinks.
    pub fn new_routes(&self, other: &Self) -> Result<NewRoutes, String> {
        if self.names != other.names {
            return Err("the sinks are others, or in another order".into());
        }
        let mut routes = Routes::clone(&other.routes.now.load());
        for (source, route) in &self.routes.now.load().sources {
            let place = routes.sources.entry(source.clone());
            place.or_insert_with(|| route.clone());
        }
        routes.selective |= routes.narrows(SinkSet::first(self.names.len()));
        Ok(NewRoutes(Arc::new(routes)))
    }

    /// Takes over the routes, for all clones.
    pub fn reroute(&self, NewRoutes(routes): NewRoutes) {
        // First: an event that has its sinks by the new routes is stored as they say.
        let selective = &self.routes.selective;
        selective.fetch_or(routes.selective, Ordering::AcqRel);
        self.routes.now.store(routes);
    }

    /// Returns the name of the sink, if there is only one and every event goes to it.
    pub fn only(&self) -> Option<&SinkName> {
        match &*self.names {
            [only] if !self.is_selective() => Some(only),
            _ => None,
        }
    }

    /// Returns the sinks with these orders, in the order of their names.
    #[must_use]
    pub fn with_orders(self, orders: Vec<EventOrder>) -> Self {
        Self {
            orders: orders.into(),
            ..self
        }
    }

    /// Returns `true` if a sink keeps an order.
    pub fn is_ordered(&self) -> bool {
        self.orders.iter().any(|order| !order.is_none())
    }

    /// Returns the name of each sink in `set`, with the event's key there if the sink keeps an order.
    pub fn order_keys<'s>(
        &'s self,
        set: SinkSet,
        source: &'s SourceName,
        body: &'s [u8],
        message: &'s MessageKey,
    ) -> impl Iterator<Item = (&'s SinkName, Option<OrderKey>)> {
        let names = self.names.iter().enumerate();
        names
            .filter(move |(at, _)| set.has(*at))
            .map(move |(at, name)| {
                let order = self.orders.get(at);
                (
                    name,
                    order.and_then(|order| order.key(source, body, message)),
                )
            })
    }

    /// Returns `true` if an event may not go to all sinks, by the present routes or by ones before a reload.
    pub fn is_selective(&self) -> bool {
        self.routes.selective.load(Ordering::Acquire)
    }

    /// Returns the names, in the order of the positions in a [`SinkSet`].
    pub fn iter(&self) -> impl Iterator<Item = &SinkName> {
        self.names.iter()
    }

    /// Returns the sinks that an event goes to.
    pub fn wanting(&self, source: &SourceName, event_type: Option<&str>) -> SinkSet {
        let all = SinkSet::first(self.names.len());
        self.routes.now.load().wanting(all, source, event_type)
    }

    /// Returns `true` if the sinks that an event of this source goes to depend on its type.
    pub fn choose_by_type(&self, source: &SourceName) -> bool {
        let all = SinkSet::first(self.names.len());
        self.routes.now.load().choose_by_type(all, source)
    }

    /// Returns the names of the sinks in `set`.
    pub fn names(&self, set: SinkSet) -> impl Iterator<Item = &SinkName> {
        let names = self.names.iter().enumerate();
        names
            .filter(move |(at, _)| set.has(*at))
            .map(|(_, name)| name)
    }

    /// Returns the name of the sink in `set`, if it is the only one there.
    pub fn only_in(&self, set: SinkSet) -> Option<&SinkName> {
        (set.len() == 1)
            .then(|| self.names.get(set.position()))
            .flatten()
    }
}

impl Default for Sinks {
    /// Returns the default sink, for every event.
    fn default() -> Self {
        let routes = Routes {
            filters: vec![EventFilter::default()],
            sources: HashMap::new(),
            selective: false,
        };
        Self::of(vec![SinkName::default()], routes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sink::TypePattern;

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
    #[test]
    fn a_spooled_event_of_a_source_that_was_removed_goes_to_no_sink_it_never_had() {
        let shop = SourceName::parse("shop").expect("a name");
        let with = |sinks: &[&str]| {
            let route = SourceRoute {
                sinks: sinks.iter().map(|sink| name(sink)).collect(),
                filter: EventFilter::default(),
            };
            HashMap::from([(shop.clone(), route)])
        };
        let of = |routes| {
            let sinks = ["a", "b"].map(|sink| (name(sink), EventFilter::default()));
            Sinks::routed(sinks.to_vec(), routes).expect("sinks")
        };
        let sinks = of(with(&["b"]));
        let reroute = |to: Sinks| sinks.reroute(sinks.new_routes(&to).expect("the same sinks"));
        for _ in 0..2 {
            reroute(of(HashMap::new()));
            let set = sinks.wanting(&shop, None);
            assert_eq!(sinks.only_in(set), Some(&name("b")), "it keeps its sink");
        }
        reroute(of(with(&[])));
        assert_eq!(sinks.wanting(&shop, None).len(), 2, "it is back, for both");
    }

    #[test]
    fn new_routes_count_for_all_who_have_the_sinks_and_for_no_other_sinks() {
        let source = SourceName::parse("shop").expect("a name");
        let to = |filter: EventFilter| {
            let sinks = vec![(name("a"), filter), (name("b"), EventFilter::default())];
            Sinks::routed(sinks, HashMap::new()).expect("sinks")
        };
        let (sinks, narrow) = (to(EventFilter::default()), to(filter(&["order.*"], &[])));
        let clone = sinks.clone();
        assert_eq!(clone.wanting(&source, Some("ping")).len(), 2);
        let reroute = |to: &Sinks| sinks.reroute(sinks.new_routes(to).expect("the same sinks"));
        reroute(&narrow);
        assert_eq!(clone.wanting(&source, Some("ping")).len(), 1);
        reroute(&to(EventFilter::default()));
        assert_eq!(clone.wanting(&source, Some("ping")).len(), 2);
        assert!(clone.is_selective(), "an event of before may be under way");
        assert!(
            sinks
                .new_routes(&Sinks::new(&[name("a")]).expect("one"))
                .is_err()
        );
    }
}
