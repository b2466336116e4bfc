use std::path::Path;

use super::*;

/// `HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference` writes the pages; without it
/// they must be what the presets say.
#[test]
fn the_pages_are_what_the_presets_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/providers");
    let pages = pages().expect("every preset is in the words");
    if std::env::var_os("HOOKWEIR_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(&folder).expect("a folder");
        for old in std::fs::read_dir(&folder).expect("readable") {
            std::fs::remove_file(old.expect("readable").path()).expect("writable");
        }
        for page in &pages {
            std::fs::write(folder.join(&page.file), &page.text).expect("writable");
        }
    }
    let files = std::fs::read_dir(&folder)
        .expect("docs/reference/providers")
        .count();
    assert_eq!(
        files,
        pages.len(),
        "docs/reference/providers has pages of other providers; HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference"
    );
    for page in pages {
        let written = std::fs::read_to_string(folder.join(&page.file)).unwrap_or_default();
        assert!(
            written == page.text,
            "docs/reference/providers/{} is out of date; HOOKWEIR_UPDATE_DOCS=1 cargo test --workspace --lib reference",
            page.file
        );
    }
}

#[test]
fn there_are_at_least_160() {
    assert!(presets::names().count() >= 160);
}

#[test]
fn a_page_of_one_provider() {
    assert!(page("stripe").expect("known").starts_with("# Stripe\n"));
    assert!(page("strpe").unwrap_err().contains("stripe"));
}
