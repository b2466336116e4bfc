//! Signature headers, for every preset: a byte that chooses it, then a line for the query and for each header that it reads, then the body.
#![no_main]

use std::sync::LazyLock;

use hookweir_signatures::SourceSpec;
use hookweir_signatures::spec::{Kind, SchemeSpec};
use hookweir_signatures::{Scheme, presets, spec_of};
use hookweir_signatures_fuzz::{headers, post, refuse, source, with_keys};
use libfuzzer_sys::fuzz_target;

static SCHEMES: LazyLock<Vec<(SourceSpec, Scheme, Vec<String>)>> = LazyLock::new(|| {
    let all: Vec<_> = presets::names()
        .filter_map(|name| {
            let (source, scheme) = with_keys(source(Some(name), None))?;
            let spec = spec_of(&source)
                .ok()
                .filter(|spec| spec.kind != Kind::None)?;
            Some((source, scheme, names(&spec)))
        })
        .collect();
    assert!(
        all.len() > 200,
        "only {} presets take these keys",
        all.len()
    );
    all
});

/// The headers that a scheme reads.
fn names(spec: &SchemeSpec) -> Vec<String> {
    let others = ["authorization", "content-type"];
    let names = spec.header_names().into_iter().chain(others);
    names.map(str::to_owned).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let (_, scheme, names) =
        &SCHEMES[usize::from(u16::from_le_bytes(*choice)) % SCHEMES.len()];
    let mut lines = rest.splitn(names.len() + 2, |byte| *byte == b'\n');
    let query = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let headers = headers(names.iter().map(String::as_str), &mut lines);
    refuse(
        scheme,
        &post(
            format!("/ingest/test?{query}"),
            headers,
            lines.next().unwrap_or_default(),
        ),
    );
});
