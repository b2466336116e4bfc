use super::*;
use crate::request::gunzip::{gunzip, unpacked_len};
use crate::request::multipart::{multipart_field, multipart_fields};
use crate::request::public_url::PublicUrl;

#[test]
fn forms_decode_as_browsers_write_them() {
    let decoded = fields(b"a=1&b=x+y%2B&c&&=d").expect("few fields");
    let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b"x y+"), (b"c", b""), (b"", b"d")];
    assert!(decoded.iter().map(|(n, v)| (&**n, &**v)).eq(expected));
    assert!(fields("a&".repeat(1001).as_bytes()).is_err());
}

#[test]
fn the_fields_of_a_multipart_form_are_fields() {
    let request = |kind: &str| Request {
        method: http::Method::POST,
        target: "/".into(),
        headers: [(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_str(kind).expect("a value"),
        )]
        .into_iter()
        .collect(),
        body: bytes::Bytes::new(),
        received_at: crate::UnixMillis(0),
    };
    let body = b"preamble\r\n--b-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--b-1\r\n\
        content-disposition:form-data;filename=x.txt; name=file\r\nContent-Type: text/plain\r\n\r\nname=\"b\"\r\n--b-1\r\n\
        Content-Type: text/plain\r\nContent-Disposition: form-data; name = b; x=\"; name=c\"\r\n\r\n\r\n--b-1\r\n\r\nno name\r\n--b-1--\r\n";
    let kind = request("Multipart/Form-Data; charset=utf-8; Boundary=\"b-1\"");
    let fields = multipart_fields(&kind, body).expect("few fields");
    let expected: [(&[u8], &[u8]); 2] = [(b"a", b"1\r\n2"), (b"b", b"")];
    assert!(
        fields.iter().map(|(n, v)| (&**n, &**v)).eq(expected),
        "{fields:?}"
    );
    assert_eq!(
        multipart_field(&kind, body, "file"),
        Some(&b"name=\"b\""[..])
    );
    assert_eq!(
        multipart_field(&kind, body, "c"),
        None,
        "not what stands in quotes"
    );
    assert!(
        multipart_fields(&request("multipart/form-data"), body)
            .expect("none")
            .is_empty()
    );
    assert!(
        multipart_fields(&request("multipart/form-data; boundary=b-1"), &body[..40])
            .expect("cut")
            .is_empty()
    );
}

#[test]
fn a_bomb_is_refused_and_plain_bytes_pass() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![0; 1_000_000]).expect("memory");
    let bomb = gzip.finish().expect("memory");
    assert_eq!(
        gunzip(&bomb, 1000).expect_err("too large").reason,
        Reason::BodyTooLarge
    );
    assert_eq!(gunzip(&bomb, 1_000_000).expect("fits").len(), 1_000_000);
    let cut = [&bomb[..20], &[9, 0, 0, 0][..]].concat();
    assert_eq!(
        gunzip(&cut, 1000).expect_err("cut").reason,
        Reason::BodyMalformed
    );
    assert_eq!(&*gunzip(b"{}", 1).expect("plain"), b"{}");
    assert_eq!(
        (
            unpacked_len(&bomb),
            unpacked_len(b"{}"),
            unpacked_len(&bomb[..12])
        ),
        (Some(1_000_000), None, None)
    );

    let mut liar = bomb.clone();
    let at = liar.len() - 4;
    liar[at..].copy_from_slice(&100_u32.to_le_bytes());
    assert_eq!(
        gunzip(&liar, 1_000_000)
            .expect_err("more than it says")
            .reason,
        Reason::BodyMalformed
    );
    liar[at..].copy_from_slice(&1_000_001_u32.to_le_bytes());
    assert_eq!(
        gunzip(&liar, 2_000_000)
            .expect_err("less than it says")
            .reason,
        Reason::BodyMalformed
    );
    let twice = [&bomb[..], &bomb[..]].concat();
    assert_eq!(
        gunzip(&twice, 2_000_000)
            .expect_err("a second member")
            .reason,
        Reason::BodyMalformed
    );
}

#[test]
fn the_url_keeps_its_spelling() {
    let url = PublicUrl::parse("https://Example.com/a%2fB/?x=1", false).expect("a URL");
    assert_eq!(
        (&*url.spellings[0].text, &*url.path),
        ("https://Example.com/a%2fB/", "/a%2fB/")
    );
    let both = PublicUrl::parse("https://example.com/a", true).expect("a URL");
    assert_eq!(
        both.spellings.iter().map(|s| &*s.text).collect::<Vec<_>>(),
        ["https://example.com/a", "https://example.com:443/a"]
    );
    let user = PublicUrl::parse("https://ada:pass-w%40rd@example.com:8443/a", true).expect("a URL");
    let expected = [
        "https://ada:pass-w%40rd@example.com/a",
        "https://ada:pass-w%40rd@example.com:8443/a",
    ];
    assert_eq!(
        user.spellings.iter().map(|s| &*s.text).collect::<Vec<_>>(),
        expected
    );
    for bad in ["example.com/a", "ftp://example.com/", "mailto:a@b"] {
        assert!(PublicUrl::parse(bad, false).is_err(), "{bad} was accepted");
    }
}
