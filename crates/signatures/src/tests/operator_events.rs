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
        (
            IdKind::Unknown,
            vec![crate::json_pointers::JsonPointer::member("x")]
        )
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
        errors[0].key.to_string() == "scheme.event.guard" && errors[0].text.contains("same_bytes"),
        "{errors:?}"
    );
}

#[test]
fn a_nonce_tells_a_replay_only_if_the_scheme_says_so_and_it_is_signed() {
    let delivery = |words: &str| {
        let source = hmac(&format!(
            "message = \"{{header:x-nonce}}.{{body}}\"\nevent = {{ id = \"\" }}\n{words}"
        ));
        let scheme = Scheme::compile(&source, 1)?;
        let signed = sign(&source, &inputs("{}", "n-1", NOW)).expect("it signs");
        Ok::<_, Vec<SchemeError>>(one(&scheme, &as_request(&signed), NOW).signed.is_some())
    };
    assert_eq!(delivery(""), Ok(false));
    assert_eq!(
        delivery("replay = { nonces = [\"header:X-Nonce\"] }"),
        Ok(true)
    );
    assert_eq!(
        delivery("replay = { times = [\"header:x-nonce\"] }"),
        Ok(true),
        "the body is signed too"
    );
    let errors = delivery("replay = { nonces = [\"header:x-once\"], times = [\"json:/at\"] }")
        .expect_err("not signed");
    let keys: Vec<_> = errors.iter().map(|error| error.key.to_string()).collect();
    assert_eq!(keys, ["scheme.replay.nonces[0]", "scheme.replay.times[0]"]);
}
