//! Events as an operator describes them.

use super::*;
use crate::language::spec::{IdKind, SchemeSpec};

fn hmac(toml: &str) -> SourceSpec {
    with_scheme(source("hmac", &[SECRET]), toml)
}

#[test]
fn an_id_that_an_operator_configures_counts_as_one_per_event() {
    let like = "like = \"hmac\"\nevent = { id = \"{json:/object}\", id_kind = \"object\", varies = [\"/n\"] }";
    let base: toml::Table = like.parse().expect("TOML");
    let class = |own: &str| {
        SchemeSpec::from_table(crate::language::inherit::inherit(
            &base_table(&base),
            &own.parse().expect("TOML"),
        ))
        .expect("a spec")
        .event
    };
    let own = class("event = { id = \"{json:/event}\" }");
    assert_eq!((own.id_kind, own.varies.len()), (IdKind::Event, 0));
    let said =
        class("event = { id = \"{json:/event}\", id_kind = \"unknown\", varies = [\"/x\"] }");
    assert_eq!(
        (said.id_kind, said.varies),
        (IdKind::Unknown, vec!["/x".to_owned()])
    );
    let kept = class("event = { type = \"{json:/type}\" }");
    assert_eq!((kept.id_kind, kept.varies.len()), (IdKind::Object, 1));
}

fn base_table(like: &toml::Table) -> toml::Table {
    presets::with_like(like.clone()).expect("known")
}

#[test]
fn the_guard_of_a_release_before_is_refused_with_what_to_do() {
    let errors =
        Scheme::compile(&hmac("event = { guard = false }"), 1).expect_err("no longer known");
    assert!(
        errors[0].key == "scheme.event.guard" && errors[0].text.contains("same_bytes"),
        "{errors:?}"
    );
}
