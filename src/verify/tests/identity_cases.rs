//! Identity of events, for every preset. A table in `tests/data/identity` has two events of one
//! object, two events with equal bytes, and a redelivery as the provider makes it. The README there
//! explains the tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::stored::{Database, Fate};
use super::*;
use hookweir_signatures::spec::IdentityEvidence;

/// Milliseconds between two deliveries of a case, where it does not say when they are.
const APART: i64 = 60_000;

/// A table of `tests/data/identity`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Documents from which the shapes are known.
    evidence: String,
    #[serde(flatten)]
    cases: Cases,
    /// Further cases, such as other kinds of events of the same provider.
    #[serde(default)]
    more: Vec<Cases>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cases {
    /// Description of cases that are special.
    about: Option<String>,
    /// Events of one object.
    object: Vec<Input>,
    object_none: Option<String>,
    /// Events with equal bytes.
    equal: Vec<Input>,
    equal_none: Option<String>,
    /// Deliveries, the last of which is a redelivery.
    redelivery: Vec<Input>,
    redelivery_none: Option<String>,
    /// True if the redelivery is recognized as a duplicate; false if it is published with a mark.
    redelivery_told: Option<bool>,
}

/// A delivery, but for its proof.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    method: Option<String>,
    /// Part of the URL after the `?`.
    query: Option<String>,
    /// For a header or claim that the scheme signs and the headers above do not hold.
    id: Option<String>,
    /// Seconds after the first delivery.
    at: Option<i64>,
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The tables of every `.toml` in a folder, by the file's name.
fn tables(path: &str) -> BTreeMap<String, toml::Table> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder(path)).expect("a folder") {
        let path = entry.expect("readable").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = std::fs::read_to_string(&path).expect("readable");
            let table = text
                .parse()
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            all.insert(
                path.file_stem()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned(),
                table,
            );
        }
    }
    all
}

/// Every table of cases, by the preset's name.
fn written() -> BTreeMap<String, Table> {
    let tables = tables("tests/data/identity").into_values().flatten();
    tables
        .map(|(name, table)| {
            (
                name.clone(),
                table
                    .try_into()
                    .unwrap_or_else(|error| panic!("{name}: {error}")),
            )
        })
        .collect()
}

/// A source as an operator configures it who leaves everything to the preset.
struct Rig {
    source: SourceSpec,
    spec: SchemeSpec,
    private_key: Option<Vec<u8>>,
}

impl Rig {
    fn new(provider: &str) -> Self {
        let (source, spec, private_key) = made_up(provider);
        Self {
            source,
            spec,
            private_key,
        }
    }

    /// The events of one delivery, signed and verified at its time.
    fn deliver(
        &self,
        name: &SourceName,
        index: usize,
        input: &Input,
    ) -> Result<(i64, Vec<Event>), String> {
        let mut source = self.source.clone();
        if let Some(query) = &input.query {
            source.public_url = source.public_url.map(|url| format!("{url}?{query}"));
        }
        let index = i64::try_from(index).expect("few");
        let at = NOW + input.at.map_or(index * APART, |seconds| seconds * 1000);
        let headers = input.headers.iter().map(|(name, value)| {
            (
                name.parse::<HeaderName>().expect("a header's name"),
                HeaderValue::from_str(value).expect("a header's value"),
            )
        });
        let sender = Sender {
            method: input
                .method
                .as_ref()
                .map(|method| method.parse().expect("a method")),
            headers: headers.collect(),
        };
        let id = input
            .id
            .clone()
            .unwrap_or_else(|| format!("delivery-{index}"));
        let inputs = SignInputs {
            private_key: self.private_key.clone(),
            ..inputs(input.body.clone(), &id, at)
        };
        let signed = sign_as(&source, &inputs, Some(&sender)).map_err(|error| error.to_string())?;
        match verify(
            &compiled(&self.source),
            &as_request(&signed),
            UnixMillis(at),
        ) {
            Ok(Verdict::Events(verified)) => {
                let events = verified.into_events().into_iter();
                Ok((at, events.map(|event| Event::of(name, event)).collect()))
            }
            other => Err(format!("{other:?} for {input:?}")),
        }
    }

    /// Returns the fate of every event of every delivery, in order. A real store, in which no retry
    /// span passes, must find the same as the rule.
    fn fates(&self, database: &Database, deliveries: &[Input]) -> Result<Vec<Vec<Fate>>, String> {
        let span = i64::try_from(compiled(&self.source).facts().retry_span.as_millis())
            .expect("no age of the world");
        // What is of another case is of another source.
        let name = name(&uuid::Uuid::now_v7().simple().to_string());
        let mut before: Vec<(i64, Event)> = Vec::new();
        let mut fates = Vec::new();
        for (index, input) in deliveries.iter().enumerate() {
            let (at, events) = self.deliver(&name, index, input)?;
            let known: Vec<_> = before.iter().collect();
            for event in &events {
                let (stored, expected) = (database.insert(&name, event), fate(&known, event));
                if stored != expected {
                    return Err(format!(
                        "the store has {stored:?}, the rule {expected:?}, for {input:?}"
                    ));
                }
            }
            let known: Vec<_> = before
                .iter()
                .filter(|(then, known)| !known.class.is_short_lived() || at - then < span)
                .collect();
            fates.push(events.iter().map(|event| fate(&known, event)).collect());
            before.extend(events.into_iter().map(|event| (at, event)));
        }
        Ok(fates)
    }
}

/// The table of identity, as the stores keep it.
fn fate(known: &[&(i64, Event)], event: &Event) -> Fate {
    let known = || known.iter().map(|(_, known)| known);
    let is_replay = |known: &Event| event.replay.is_some() && known.replay == event.replay;
    if known()
        .any(|known| is_replay(known) || (known.key == event.key && known.digest == event.digest))
    {
        return Fate::Duplicate;
    }
    if known().any(|known| known.key == event.key) {
        return if event.class.publishes_other_bodies() {
            Fate::Marked
        } else {
            Fate::Duplicate
        };
    }
    let same_bytes =
        known().any(|known| event.bytes_key.is_some() && known.bytes_key == event.bytes_key);
    if same_bytes {
        Fate::Marked
    } else {
        Fate::Published
    }
}

/// Runs a check on the cases of every preset that has some, and reports all that fail.
fn cases(check: impl Fn(&Rig, &Database, &Cases) -> Result<(), String>) {
    let (database, mut failures) = (Database::new(), Vec::new());
    for (provider, table) in written() {
        let rig = Rig::new(&provider);
        for cases in std::iter::once(&table.cases).chain(&table.more) {
            if let Err(error) = check(&rig, &database, cases) {
                failures.push(format!(
                    "{provider} {}: {error}",
                    cases.about.as_deref().unwrap_or_default()
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn all_published(rig: &Rig, database: &Database, deliveries: &[Input]) -> Result<(), String> {
    let fates = rig.fates(database, deliveries)?;
    match fates.iter().flatten().any(|fate| *fate == Fate::Duplicate) {
        true => Err(format!("an event is taken for another one: {fates:?}")),
        false => Ok(()),
    }
}

#[test]
fn two_events_of_one_object_are_both_published() {
    cases(|rig, database, cases| all_published(rig, database, &cases.object));
}

#[test]
fn two_events_with_equal_bytes_are_both_published() {
    cases(|rig, database, cases| {
        let mut bodies = cases.equal.iter().map(|input| &input.body);
        let first = bodies.next();
        if bodies.any(|body| Some(body) != first) {
            return Err("equal: the bodies are not equal".into());
        }
        all_published(rig, database, &cases.equal)
    });
}

fn told_or_marked(rig: &Rig, database: &Database, cases: &Cases) -> Result<(), String> {
    let Some(told) = cases.redelivery_told else {
        return if cases.redelivery.is_empty() {
            Ok(())
        } else {
            Err("redelivery_told is missing".into())
        };
    };
    let fates = rig.fates(database, &cases.redelivery)?;
    let Some((last, first)) = fates.split_last() else {
        return Err("redelivery_told without a redelivery".into());
    };
    if first.iter().flatten().any(|fate| *fate == Fate::Duplicate) {
        return Err(format!(
            "a first delivery is taken for a duplicate: {fates:?}"
        ));
    }
    let expected = if told { Fate::Duplicate } else { Fate::Marked };
    match last.iter().all(|fate| *fate == expected) {
        true => Ok(()),
        false => Err(format!("the redelivery is not {expected:?}: {fates:?}")),
    }
}

#[test]
fn a_redelivery_is_published_once_or_marked() {
    cases(told_or_marked);
}

/// The negative control of the three above.
#[test]
fn a_rule_that_is_wrong_fails_its_cases() {
    let (database, written) = (Database::new(), written());
    let rig = |provider: &str, event: &str| {
        let mut rig = Rig::new(provider);
        rig.source.scheme = Some(format!("event = {event}").parse().expect("a table"));
        rig
    };
    for (provider, event) in [
        (
            "retell",
            r#"{ id = "{json:/call/call_id}:{json:/event}", id_kind = "event" }"#,
        ),
        (
            "netlify",
            r#"{ id = "{json:/id}:{json:/state}", id_kind = "event" }"#,
        ),
        (
            "twilio",
            r#"{ id = "{form:MessageSid}", id_kind = "event" }"#,
        ),
    ] {
        let (rig, table) = (rig(provider, event), &written[provider]);
        let mut all = std::iter::once(&table.cases).chain(&table.more);
        assert!(
            all.any(|cases| all_published(&rig, &database, &cases.object).is_err()),
            "{provider}: an id of the object passes"
        );
    }
    let github = &written["github"].cases;
    let by_body = rig("github", r#"{ id = "", missing_id = "body" }"#);
    assert!(
        all_published(&by_body, &database, &github.equal).is_err(),
        "an id made of the body passes"
    );
    let unknown = rig("github", r#"{ id = "", missing_id = "unique" }"#);
    assert!(
        told_or_marked(&unknown, &database, github).is_err(),
        "a redelivery that comes out twice passes"
    );
}

/// Every preset says what its ids mean and how that is known, and has its cases.
#[test]
fn every_preset_has_its_cases() {
    let written = written();
    let mut failures = Vec::new();
    for provider in presets::names() {
        let mut fail = |text: &str| failures.push(format!("{provider}: {text}"));
        let Some(table) = written.get(provider) else {
            fail("no table in tests/data/identity");
            continue;
        };
        let all: Vec<_> = std::iter::once(&table.cases).chain(&table.more).collect();
        if table.evidence.is_empty() {
            fail("no evidence");
        }
        if !all
            .iter()
            .any(|cases| cases.object.len() > 1 || cases.object_none.is_some())
        {
            fail("no two events of one object, and no object_none");
        }
        if !all
            .iter()
            .any(|cases| cases.equal.len() > 1 || cases.equal_none.is_some())
        {
            fail("no two events with equal bytes, and no equal_none");
        }
        if !all
            .iter()
            .any(|cases| cases.redelivery.len() > 1 || cases.redelivery_none.is_some())
        {
            fail("no redelivery, and no redelivery_none");
        }
        let preset = presets::table(provider).expect("it is there");
        let event = preset
            .get("event")
            .and_then(toml::Value::as_table)
            .cloned()
            .unwrap_or_default();
        let spec = Rig::new(provider).spec;
        let has_id = !spec.event.id.is_empty()
            || spec
                .event
                .batch
                .as_ref()
                .is_some_and(|batch| !batch.id.is_empty());
        if has_id && !event.contains_key("id_kind") {
            fail("event.id_kind is not written");
        }
        if !event.contains_key("missing_id") {
            fail("event.missing_id is not written");
        }
        let evidence = match spec.facts.identity {
            IdentityEvidence::Documented => "documented",
            IdentityEvidence::Recorded => "recorded",
            IdentityEvidence::Sdk => "sdk",
            IdentityEvidence::Recalled => "recalled",
        };
        if !table.evidence.starts_with(evidence) {
            fail(&format!(
                "facts.identity is {evidence}, and the evidence of its cases begins with another word"
            ));
        }
        if spec.facts.identity_note.is_none() {
            fail("facts.identity_note is missing");
        }
    }
    let known: Vec<_> = presets::names().collect();
    failures.extend(
        written
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
            .map(|name| format!("{name}: no such preset")),
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The generated list of redeliveries that come out twice is what the cases show.
#[test]
fn the_list_of_copies_is_what_the_cases_show() {
    for (provider, table) in written() {
        let listed = reference::comes_out_twice(&Rig::new(&provider).spec);
        if let Some(told) = table.cases.redelivery_told {
            assert_eq!(
                listed, !told,
                "{provider}: a redelivery is told: {told}; on the list: {listed}"
            );
        }
    }
}
