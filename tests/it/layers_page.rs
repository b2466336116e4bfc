//! The drawing of the layers in the architecture page.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::architecture::code::{self, root};
use crate::architecture::layers::{LAYERS, order};

/// Marks of the drawing in the page.
const BEGIN: &str = "<!-- layers: written by HOOKWEIR_UPDATE_DOCS=1 tests/it/layers_page.rs -->";
const END: &str = "<!-- end of layers -->";

/// Draws the layers with what each module imports, and the matrix.
fn drawing() -> String {
    let matrix = code::matrix(&code::service());
    let mut page = String::from("| layer | module | imports |\n|---|---|---|\n");
    for (layer, row) in LAYERS {
        for module in row.iter().filter(|module| matrix.contains_key(**module)) {
            let imports: Vec<&str> = order()
                .into_iter()
                .filter(|to| matrix[*module].contains(*to))
                .collect();
            let _ = writeln!(page, "| {layer} | `{module}` | {} |", imports.join(", "));
        }
    }
    let modules: Vec<&str> = order()
        .into_iter()
        .filter(|module| matrix.contains_key(*module))
        .collect();
    page.push_str("\n```\n");
    for (at, module) in modules.iter().enumerate() {
        let _ = write!(page, "{module:>10} ");
        for (other, to) in modules.iter().enumerate() {
            let mark = if other == at {
                '\\'
            } else if matrix[*module].contains(*to) {
                'x'
            } else {
                '·'
            };
            let _ = write!(page, " {mark}");
        }
        page.push('\n');
    }
    page.push_str("```\n");
    page
}

fn page() -> PathBuf {
    ["docs/internals/architecture.md", "docs/ARCHITECTURE.md"]
        .iter()
        .map(|page| root().join(page))
        .find(|page| page.exists())
        .expect("a page on the architecture")
}

#[test]
fn the_drawing_of_the_layers_is_true() {
    let text = fs::read_to_string(page()).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("the mark of the drawing");
    let (_, after) = rest.split_once(END).expect("the end of the drawing");
    let fresh = format!("{before}{BEGIN}\n{}{END}{after}", drawing());
    if env::var_os("HOOKWEIR_UPDATE_DOCS").is_some() {
        fs::write(page(), fresh).expect("written");
        return;
    }
    assert!(
        text == fresh,
        "{} draws other layers than the code has; HOOKWEIR_UPDATE_DOCS=1 cargo test --test it -- layers_page draws them anew:\n{}",
        page().display(),
        drawing()
    );
}
