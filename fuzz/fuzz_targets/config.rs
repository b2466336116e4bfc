//! Configuration: any text, over the defaults; then its sources are compiled.
#![no_main]

use hookweir::config::Config;
use hookweir_signatures::Scheme;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // It would read any file of this machine, endless ones too.
    if text.contains("file:")
        || text.contains("credential:")
        || text.contains("\\u")
        || text.contains("\\U")
        || text.contains("\\x")
    {
        return;
    }
    match Config::from_toml(text) {
        Ok(config) => config
            .sources
            .iter()
            .for_each(|source| drop(Scheme::compile(&source.spec(), 1000))),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused, and nobody is told why");
            mistakes
                .iter()
                .for_each(|mistake| assert!(!mistake.to_string().is_empty()));
        }
    }
});
