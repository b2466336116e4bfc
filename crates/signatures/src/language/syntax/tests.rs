use super::node::walk;
use super::*;
use crate::crypto::mac::{Encoding, HashName};

fn template(text: &str) -> Result<TemplateText, String> {
    text.to_owned().try_into()
}

fn message(text: &str) -> Result<MessageText, String> {
    text.to_owned().try_into()
}

#[test]
fn a_template_is_literals_parameters_and_tokens_with_filters() {
    let text = template("v0:{param:key}.{body|sha256:hex}[x]").expect("a template");
    let literal = |text: &str| Node::Literal(text.into());
    assert_eq!(
        text.nodes(),
        [
            literal("v0:"),
            Node::Param("key".into()),
            literal("."),
            Node::Token(
                Token::Body,
                vec![Filter::Hash(HashName::Sha256, Encoding::Hex)]
            ),
            literal("[x]"),
        ]
    );
    assert_eq!(text.params(), ["key"]);
    assert_eq!(text.to_string(), "v0:{param:key}.{body|sha256:hex}[x]");
}

#[test]
fn a_message_has_optional_and_joined_parts() {
    let message = message("[{header:x}.]{join:query:a+param:b+body|lower}").expect("a message");
    let mut seen = 0;
    walk(message.template().nodes(), &mut |_| seen += 1);
    assert_eq!(seen, 7, "the parts inside are walked too");
    assert_eq!(
        message.template().tokens(),
        [
            &Token::Header("x".parse().expect("a name")),
            &Token::Query("a".into()),
            &Token::Body
        ]
    );
    assert_eq!(message.template().params(), ["b"]);
}

#[test]
fn a_text_that_is_no_template_is_refused_as_a_whole() {
    for (bad, why) in [
        ("{oops}", "{oops} is not a token"),
        ("{ts}", "{ts} is not a token"),
        ("{body", "\"{\" is not closed; add \"}\""),
        ("{body|sha1:hex}", "\"sha1:hex\" is not a filter"),
        ("{body|md5:hax}", "\"hax\" is not an encoding"),
        ("{header:a b}", "the name of a header"),
        ("{canonical:x}", "\"x\" is not a canonical request"),
        ("{join:body+x}", "{x} is not a token"),
        ("{body|sorted_kv}", "\"sorted_kv\" is not a filter"),
    ] {
        let error = template(bad).expect_err(bad);
        assert!(error.contains(why), "{bad}: {error}");
    }
    for bad in ["[{body}", "{body}]", "[[x]]"] {
        assert!(message(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_place_is_written_as_it_was_read() {
    for text in [
        "header:x-sig",
        "header:{param:header}",
        "query:sig",
        "form:sig",
        "json:/a/b",
        "signature:t",
        "rfc9421:created",
        "cavage:signature",
    ] {
        let field = FieldRef::try_from(text.to_owned()).expect(text);
        assert_eq!(field.to_string(), text);
    }
    for bad in ["cookie:x", "header", "rfc9421:nothing", "header:{body}"] {
        assert!(FieldRef::try_from(bad.to_owned()).is_err(), "{bad}");
    }
    assert!(TokenPlace::try_from("query:token".to_owned()).is_err());
    assert_eq!(
        HashField::try_from("signature".to_owned()),
        Ok(HashField::Label)
    );
}

#[test]
fn a_sample_keeps_braces_that_are_no_tokens() {
    let sample = SampleText::from(r#"{"id":"{id}","at":{timestamp_ms}}"#.to_owned());
    let literal = |text: &str| SampleNode::Literal(text.into());
    assert_eq!(
        sample.nodes(),
        [
            literal(r#"{"id":""#),
            SampleNode::Id,
            literal(r#"","at":"#),
            SampleNode::Millis,
            literal("}"),
        ]
    );
}
