use super::*;

fn pointer(text: &str) -> JsonPointer {
    text.to_owned().try_into().expect("a pointer")
}

fn one(text: &str, document: &str) -> Result<Option<String>, WalkError> {
    let mut paths = PathSet::default();
    let slot = paths.add(&self::pointer(text)).expect("room");
    Ok(paths
        .walk(document.as_bytes())?
        .raw(slot)
        .map(str::to_owned))
}

#[test]
fn values_come_out_as_they_stand() {
    assert_eq!(
        one(
            "/a/b",
            r#"{"x":{"a":1},"a":{"c":2,"b":12345678901234567890123}}"#
        ),
        Ok(Some("12345678901234567890123".into()))
    );
    assert_eq!(
        one("/0/id", r#"[{"id":"x\u0041"},{"id":2}]"#),
        Ok(Some(r#""x\u0041""#.into()))
    );
    assert_eq!(
        one("/a~1b/m~0n", r#"{"a/b":{"m~n":true}}"#),
        Ok(Some("true".into()))
    );
    assert_eq!(one("", " 7 "), Ok(Some("7".into())));
    assert_eq!(one("/a/b", r#"{"a":"no object"}"#), Ok(None));
    assert_eq!(
        one("/id", r#"{"\ud800":1,"\u0069d":2}"#),
        Ok(Some("2".into()))
    );
    assert_eq!(scalar(r#""x\u0041""#).as_deref(), Some(&b"xA"[..]));
    assert_eq!(scalar("1.0").as_deref(), Some(&b"1.0"[..]));
    assert_eq!(scalar("null"), None);
}

#[test]
fn a_repeated_key_counts_only_on_the_path() {
    assert_eq!(
        one("/a/b", r#"{"a":{"b":1,"b":2}}"#),
        Err(WalkError::Ambiguous)
    );
    assert_eq!(
        one("/a/b", r#"{"a":{"b":1},"\u0061":{}}"#),
        Err(WalkError::Ambiguous)
    );
    assert_eq!(
        one("/a/b", r#"{"a":{"b":1,"c":1,"c":1},"x":1,"x":1}"#),
        Ok(Some("1".into()))
    );
}

#[test]
fn a_repeated_key_spoils_only_the_values_below_it() {
    let mut paths = PathSet::default();
    let [id, kind, deep] =
        ["/id", "/type", "/a/*/b"].map(|text| paths.add(&pointer(text)).expect("room"));
    let slots = paths
        .walk_marking(br#"{"id":"1","type":"x","type":"y","a":[{"b":1}]}"#)
        .expect("JSON");
    assert_eq!(
        [id, kind, deep].map(|slot| slots.is_ambiguous(slot)),
        [false, true, false]
    );
    assert_eq!((slots.raw(id), slots.raw(deep)), (Some("\"1\""), Some("1")));
    let slots = paths
        .walk_marking(br#"{"id":"1","a":[{"b":1,"b":2}],"a":{}}"#)
        .expect("JSON");
    assert_eq!(
        [id, kind, deep].map(|slot| slots.is_ambiguous(slot)),
        [false, false, true]
    );
}

#[test]
fn a_byte_order_mark_hides_nothing() {
    assert_eq!(one("/id", "\u{feff}{\"id\":1}"), Ok(Some("1".into())));
    assert_eq!(
        one("/id", "\u{feff}\u{feff}{\"id\":1}"),
        Err(WalkError::Malformed)
    );
}

#[test]
fn several_paths_and_all_elements_in_one_walk() {
    let mut paths = PathSet::default();
    let whole = paths.add(&pointer("/events")).expect("room");
    let ids = paths.add(&pointer("/events/*/id")).expect("room");
    let array = paths.add_array(&pointer("/events")).expect("room");
    assert_eq!(paths.add(&pointer("/events/*/id")), Ok(ids));
    let slots = paths
        .walk(br#"{"events":[{"id":1},{},{"id":"b"}]}"#)
        .expect("JSON");
    assert_eq!(slots.raw(whole), Some(r#"[{"id":1},{},{"id":"b"}]"#));
    assert_eq!(slots.all(ids).collect::<Vec<_>>(), ["1", "\"b\""]);
    assert!(slots.raw(array).is_some());
    let first = paths.add(&pointer("/events/0/id")).expect("room");
    let slots = paths
        .walk(br#"{"events":[{"id":1},{"id":"b"}]}"#)
        .expect("JSON");
    assert_eq!((slots.raw(first), slots.all(ids).count()), (Some("1"), 2));
    assert!(
        paths
            .walk(br#"{"events":{}}"#)
            .expect("JSON")
            .raw(array)
            .is_none()
    );
}

#[test]
fn depth_costs_nothing_and_garbage_is_malformed() {
    let deep = format!(
        r#"{{"deep":{}{},"id":1}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(one("/id", &deep), Ok(Some("1".into())));
    let unclosed = format!(r#"{{"deep":{}"#, "[{\"id\":".repeat(100_000));
    assert_eq!(one("/id", &unclosed), Err(WalkError::Malformed));
    assert_eq!(one("/id", r#"{"id":1} x"#), Err(WalkError::Malformed));
    assert_eq!(one("/id", "a=b"), Err(WalkError::Malformed));
    let parsed = |text: &str| JsonPointer::try_from(text.to_owned());
    assert!(parsed("id").is_err());
    assert!(parsed(&"/a".repeat(40)).is_err());
    for text in ["", "/", "/a~1b/m~0n/*/0", "//x"] {
        assert_eq!(parsed(text).expect("a pointer").to_string(), text);
    }
}

#[test]
fn flat_objects_only() {
    assert_eq!(
        flat_members(r#"{"b":null,"a":1.0}"#).map(|m| m.len()),
        Some(2)
    );
    assert_eq!(flat_members(r#"{"b":[]}"#), None);
    assert_eq!(flat_members(r#"{"b":1,"b":1}"#), None);
}
