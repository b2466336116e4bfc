//! Every preset, with keys made for it: it compiles, its example verifies, and the reference says
//! of it what the engine does.

use super::*;
use crate::language::spec::{Kind, Missing};

fn example(provider: &str) -> Result<(), String> {
    let (source, spec, private_key) = made_up(provider);
    let scheme = Scheme::compile(&source, 1000).map_err(|errors| format!("{errors:?}"))?;
    let event = |id: &str| {
        let request = signed(&source, &spec, private_key.clone(), id)?;
        let mut events = match verify(&scheme, &request, UnixMillis(NOW)) {
            Ok(Verdict::Events(verified)) => verified.into_events(),
            other => return Err(format!("{other:?} for {:?}", request.body)),
        };
        if events.len() == 1 {
            Ok(events.remove(0))
        } else {
            Err(format!("{} events", events.len()))
        }
    };
    let (first, second, again) = (event("evt_1")?, event("evt_2")?, event("evt_1")?);
    if same(&first, &second) {
        return Err("two events are one".into());
    }
    if !same(&first, &again) && spec.event.missing_id != Missing::Unique {
        return Err("a redelivery is another event".into());
    }
    if !spec.event.id.is_empty() && !first.id().unwrap_or_default().contains("evt_1") {
        return Err(format!("the id is {}", first.id().unwrap_or_default()));
    }
    Ok(())
}

fn no_failures(check: impl Fn(&str) -> Result<(), String>) {
    let failures: Vec<_> = presets::names()
        .filter_map(|provider| {
            check(provider)
                .err()
                .map(|error| format!("{provider}: {error}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_preset_verifies_its_example() {
    no_failures(example);
}

#[test]
fn no_preset_verifies_under_another_key() {
    no_failures(|provider| {
        let (source, spec, private_key) = made_up(provider);
        let mut other = made_up(provider).0;
        for (index, known) in other.secrets.iter_mut().enumerate() {
            *known = match spec.kind {
                Kind::Basic => testing::secret(format!("user:another-password-{index}")),
                _ => testing::secret(SECRET.replace('1', if index == 0 { "e" } else { "d" })),
            };
        }
        if spec.kind == Kind::None
            || private_key.is_some() && source.public_keys[0].expose().len() > 200
        {
            return Ok(());
        }
        let request = signed(&source, &spec, private_key, "evt_1")?;
        match verify(&compiled(&other), &request, UnixMillis(NOW)) {
            Err(_) => Ok(()),
            Ok(verdict) => Err(format!("{verdict:?}")),
        }
    });
}

#[test]
fn nothing_from_the_future_verifies_where_the_preset_says_so() {
    no_failures(|provider| {
        let (source, spec, private_key) = made_up(provider);
        let Some(ts) = spec
            .timestamp
            .as_ref()
            .filter(|ts| ts.tolerance_secs > 0 && ts.refuse_future)
        else {
            return Ok(());
        };
        let request = signed(&source, &spec, private_key, "evt_1")?;
        let before = NOW - i64::try_from(ts.tolerance_secs).expect("small") * 1000 - 2000;
        match verify(&compiled(&source), &request, UnixMillis(before)) {
            Err(_) => Ok(()),
            Ok(verdict) => Err(format!("{verdict:?}")),
        }
    });
}

#[test]
fn the_reference_says_what_the_engine_does() {
    for provider in presets::names() {
        let (source, ..) = made_up(provider);
        let facts = compiled(&source).facts().clone();
        let page = reference::page(provider).expect("a page");
        assert_eq!(
            page.contains("| body | covered by the proof |"),
            facts.body_covered,
            "{provider}: body"
        );
        if page.contains(": signed, ") || page.contains(": not signed, ") {
            assert_eq!(
                page.contains(": signed, "),
                facts.id_covered,
                "{provider}: id"
            );
        }
        assert!(
            page.contains(&format!("| counts as a duplicate | {} |", facts.duplicates)),
            "{provider}: {}",
            facts.duplicates
        );
        assert_eq!(
            page.contains("**Unconfirmed.**"),
            !facts.confirmed,
            "{provider}: confirmed"
        );
    }
}
