//! Scripts and styles of the page. They are compiled in: no file is read, and nothing comes from elsewhere.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::guard;

/// A file that the page loads.
struct PageFile {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// Every file. `vendor/README.md` has versions, licences and digests of those that others have written.
const FILES: &[PageFile] = &[
    PageFile {
        name: "page.css",
        kind: CSS,
        bytes: include_bytes!("own/page.css"),
    },
    PageFile {
        name: "page.js",
        kind: JS,
        bytes: include_bytes!("own/page.js"),
    },
    PageFile {
        name: "charts.js",
        kind: JS,
        bytes: include_bytes!("own/charts.js"),
    },
    PageFile {
        name: "icon.svg",
        kind: "image/svg+xml",
        bytes: include_bytes!("own/icon.svg"),
    },
    PageFile {
        name: "htmx-4.0.1.min.js",
        kind: JS,
        bytes: include_bytes!("vendor/htmx-4.0.1.min.js"),
    },
    PageFile {
        name: "uPlot-1.6.32.iife.min.js",
        kind: JS,
        bytes: include_bytes!("vendor/uPlot-1.6.32.iife.min.js"),
    },
    PageFile {
        name: "uPlot-1.6.32.min.css",
        kind: CSS,
        bytes: include_bytes!("vendor/uPlot-1.6.32.min.css"),
    },
];

/// Answers `GET /page/static/{name}`. The files hold nothing of the service, so they need no login.
pub(super) fn answer(request: &HttpRequest) -> HttpResponse {
    let name = request.match_info().query("name");
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return HttpResponse::NotFound().finish();
    };
    let mut answer = HttpResponse::Ok();
    guard::secure(&mut answer);
    answer
        .insert_header((header::CONTENT_TYPE, file.kind))
        .body(file.bytes)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    const TABLE: &str = include_str!("vendor/README.md");

    #[test]
    fn every_file_of_others_is_what_the_table_says_with_version_licence_and_digest() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/page/vendor");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if name == "README.md" || name.ends_with(".LICENSE") {
                continue;
            }
            count += 1;
            let bytes = std::fs::read(&path).expect("read");
            let digest = hex::encode(Sha256::digest(&bytes));
            let row = TABLE
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}` |")))
                .unwrap_or_else(|| panic!("{name} is not in the table"));
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells[4].trim_matches('`'), digest, "{name}");
            assert!(name.contains(cells[2]) && !cells[3].is_empty(), "{row}");
            let embedded = FILES.iter().find(|file| file.name == name);
            assert_eq!(embedded.expect("embedded").bytes, bytes, "{name}");
        }
        let rows = TABLE.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!((count, rows), (3, 3));
    }

    /// Files of the project, without those of builds and of git.
    fn files_of(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            match path.is_dir() && !path.is_symlink() {
                true if name == "target" || name.starts_with('.') => {}
                true => files_of(&path, found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn no_build_needs_node() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        // A comparison with other services and the tests of providers' SDKs run node; no build reads them.
        let mut files = vec![root.join("build.rs"), root.join("package.json")];
        files.retain(|path| path.exists());
        for part in ["src", "crates", "tools", "packaging", "migrations"] {
            files_of(&root.join(part), &mut files);
        }
        assert!(files.len() > 500, "only {} files", files.len());
        for path in &files {
            let name = path.file_name().expect("a name").to_string_lossy();
            let is_for_node = [".ts", ".tsx", ".jsx", ".mjs"]
                .iter()
                .any(|end| name.ends_with(end));
            // A build script could run anything.
            let runs = ["package.json", "package-lock.json", "build.rs"].contains(&&*name);
            assert!(!is_for_node && !runs, "{}", path.display());
        }
        // Crates that run node, or bring one along.
        let lock = std::fs::read_to_string(root.join("Cargo.lock")).expect("read");
        for part in ["npm", "deno", "node-", "nodejs", "vite", "swc_", "esbuild"] {
            let mut names = lock.lines().filter(|line| line.starts_with("name = "));
            let found = names.find(|name| name.contains(part));
            assert_eq!(found, None, "{part}");
        }
    }

    #[test]
    fn no_script_or_style_of_the_page_loads_anything_from_elsewhere() {
        for file in FILES
            .iter()
            .filter(|file| file.name.starts_with("page") || file.name == "charts.js")
        {
            let text = std::str::from_utf8(file.bytes).expect("text");
            for word in [
                "http:",
                "https:",
                "eval(",
                "innerHTML",
                "import(",
                "@import",
            ] {
                assert!(!text.contains(word), "{} has {word}", file.name);
            }
        }
    }
}
