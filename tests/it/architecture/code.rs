//! The product's source as text and as syntax trees: the modules that `lib.rs` and `main.rs`
//! declare, tests apart. For doc comments, also every other Rust file of the repository.
//!
//! `HOOKWEIR_HOUSE=FOLDER` measures another checkout.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One file of the product.
pub struct Source {
    /// Path below the root of the workspace.
    pub path: PathBuf,
    /// Path of the module: `["http", "answer"]`. Empty for `lib.rs` and `main.rs`.
    pub module: Vec<String>,
    /// Lines of the file; those of tests are empty.
    pub lines: Vec<String>,
    tree: syn::File,
}

/// A function of the product.
pub struct Function {
    pub name: String,
    /// Lines of its body that are neither blank nor comment.
    pub lines: usize,
}

pub fn root() -> PathBuf {
    env::var_os("HOOKWEIR_HOUSE").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// Crates that the service is made of: folder, and entry.
const CRATES: [(&str, &str); 2] = [
    ("crates/signatures", "crates/signatures/src/lib.rs"),
    ("crates/lakehouse", "crates/lakehouse/src/lib.rs"),
];

/// Folders with Rust files.
const FOLDERS: [&str; 6] = ["benches", "crates", "fuzz", "src", "tests", "tools"];

/// Returns the files of the service itself.
pub fn service() -> Vec<Source> {
    let mut files = Vec::new();
    for entry in ["src/lib.rs", "src/main.rs"] {
        read_module(Path::new(entry), Vec::new(), &mut files);
    }
    files
}

/// Returns the files of the service and of the crates that it is made of. The test kit is none of
/// them.
pub fn product() -> Vec<Source> {
    let mut files = service();
    for (_, lib) in CRATES {
        files.extend(files_of(lib));
    }
    files
}

/// Returns every Rust file of the repository, tests included. The folder stands for the module.
pub fn repository() -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root().join(&folder))
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries.map(|entry| entry.expect("an entry")) {
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type().expect("a type").is_dir();
            if is_folder && entry.file_name() != "target" {
                folders.push(path);
            } else if !is_folder && path.extension().is_some_and(|ext| ext == "rs") {
                let (lines, tree) = parse(&path);
                files.push(Source {
                    module: vec![folder.display().to_string()],
                    path,
                    lines,
                    tree,
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Returns the files of the signature crate.
pub fn signatures() -> Vec<Source> {
    files_of(CRATES[0].1)
}

fn files_of(lib: &str) -> Vec<Source> {
    let mut files = Vec::new();
    let lib = Path::new(lib);
    if root().join(lib).exists() {
        read_module(lib, Vec::new(), &mut files);
    }
    files
}

fn parse(path: &Path) -> (Vec<String>, syn::File) {
    let text = fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tree = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (text.lines().map(str::to_owned).collect(), tree)
}

fn read_module(path: &Path, module: Vec<String>, files: &mut Vec<Source>) {
    let (mut lines, tree) = parse(path);
    let mut children = Vec::new();
    for item in &tree.items {
        let syn::Item::Mod(inner) = item else {
            continue;
        };
        if is_test(&inner.attrs) {
            let span = inner.span();
            for line in &mut lines[span.start().line - 1..span.end().line] {
                line.clear();
            }
        } else if inner.content.is_none() {
            children.push(inner.ident.to_string());
        }
    }
    let is_entry = |name: &str| path.ends_with(name);
    let folder = if is_entry("mod.rs") || is_entry("lib.rs") || is_entry("main.rs") {
        path.parent().unwrap_or(path).to_owned()
    } else {
        path.with_extension("")
    };
    files.push(Source {
        path: path.to_owned(),
        module: module.clone(),
        lines,
        tree,
    });
    for child in children {
        let places = [
            folder.join(format!("{child}.rs")),
            folder.join(&child).join("mod.rs"),
        ];
        let place = places
            .iter()
            .find(|place| root().join(place).exists())
            .unwrap_or_else(|| panic!("{}: no file of `mod {child}`", path.display()));
        let mut inner = module.clone();
        inner.push(child);
        read_module(place, inner, files);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test"))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl Source {
    /// Returns the top-level module, or `lib` for the entry points.
    pub fn top(&self) -> &str {
        let of = CRATES
            .iter()
            .find(|(folder, _)| self.path.starts_with(folder));
        if let Some((folder, _)) = of {
            return folder;
        }
        self.module.first().map_or("lib", String::as_str)
    }

    /// Returns the top-level modules that this file imports, by `use` and by path.
    pub fn imports(&self) -> BTreeSet<String> {
        let mut imports = Imports {
            module: self.module.clone(),
            found: BTreeSet::new(),
        };
        imports.visit_file(&self.tree);
        imports.found
    }

    /// Returns the names that the file exports out of other modules, each with its module.
    fn exports(&self) -> BTreeMap<String, String> {
        let mut exports = Exports::default();
        for item in &self.tree.items {
            if let syn::Item::Use(item) = item
                && let syn::UseTree::Path(path) = &item.tree
            {
                exports.module = path.ident.to_string();
                exports.visit_use_tree(&path.tree);
            }
        }
        exports.found
    }

    /// Returns the names of the types that the file defines; `true` stands for a public one.
    pub fn types(&self) -> Vec<(String, bool)> {
        let mut types = Types::default();
        types.visit_file(&self.tree);
        types.0
    }

    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Functions {
            lines: &self.lines,
            found: Vec::new(),
        };
        functions.visit_file(&self.tree);
        functions.found
    }

    /// Returns the number of lines, without tests at the end.
    pub fn len(&self) -> usize {
        self.lines
            .iter()
            .rposition(|line| !line.trim().is_empty() && line.trim() != "#[cfg(test)]")
            .map_or(0, |last| last + 1)
    }

    /// Returns each block of doc comments: the number of its first line, and its text.
    pub fn docs(&self) -> Vec<(usize, String)> {
        let mut blocks: Vec<(usize, String)> = Vec::new();
        let mut inside = false;
        for (number, line) in self.lines.iter().enumerate() {
            let line = line.trim_start();
            let text = line
                .strip_prefix("///")
                .or_else(|| line.strip_prefix("//!"));
            if let (Some(text), true, Some((_, block))) = (text, inside, blocks.last_mut()) {
                block.push(' ');
                block.push_str(text.trim());
            } else if let Some(text) = text {
                blocks.push((number + 1, text.trim().to_owned()));
            }
            inside = text.is_some();
        }
        blocks
    }

    /// Returns the text in lower case, with one space wherever there is any, and without the marks
    /// of comments.
    pub fn words(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let line = line.trim();
            line.trim_start_matches('/')
                .trim_start_matches('!')
                .trim_end_matches('\\')
                .to_lowercase()
        });
        let text = lines.collect::<Vec<_>>().join(" ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[derive(Default)]
struct Exports {
    module: String,
    found: BTreeMap<String, String>,
}

impl<'t> Visit<'t> for Exports {
    fn visit_use_name(&mut self, name: &'t syn::UseName) {
        self.found
            .insert(name.ident.to_string(), self.module.clone());
    }
}

struct Imports {
    module: Vec<String>,
    found: BTreeSet<String>,
}

impl Imports {
    fn add(&mut self, segments: &[String]) {
        let mut base = match segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super") => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            Some("self") => self.module.clone(),
            _ => return,
        };
        for segment in &segments[1..] {
            if segment == "super" {
                base.pop();
            } else {
                base.push(segment.clone());
            }
        }
        self.found.extend(base.into_iter().next());
    }

    fn expand(&mut self, tree: &syn::UseTree, mut before: Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.expand(&path.tree, before);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.expand(tree, before.clone());
                }
            }
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.add(&before);
            }
            syn::UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.add(&before);
            }
            syn::UseTree::Glob(_) => self.add(&before),
        }
    }

    /// Finds `crate::name` in what a macro was given, which is no syntax yet.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(ident) if ident == "crate" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 3) {
                        self.add(&["crate".to_owned(), name.to_string()]);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'t> Visit<'t> for Imports {
    fn visit_item(&mut self, item: &'t syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, inner: &'t syn::ItemMod) {
        self.module.push(inner.ident.to_string());
        visit::visit_item_mod(self, inner);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'t syn::ItemUse) {
        self.expand(&item.tree, Vec::new());
    }

    // `pub(in crate::x)` imports nothing.
    fn visit_visibility(&mut self, _: &'t syn::Visibility) {}

    fn visit_path(&mut self, path: &'t syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'t syn::Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

#[derive(Default)]
struct Types(Vec<(String, bool)>);

impl<'t> Visit<'t> for Types {
    fn visit_item(&mut self, item: &'t syn::Item) {
        if is_test(attributes(item)) {
            return;
        }
        let (name, visibility) = match item {
            syn::Item::Enum(item) => (&item.ident, &item.vis),
            syn::Item::Struct(item) => (&item.ident, &item.vis),
            syn::Item::Trait(item) => (&item.ident, &item.vis),
            syn::Item::Type(item) => (&item.ident, &item.vis),
            _ => return visit::visit_item(self, item),
        };
        let is_public = matches!(visibility, syn::Visibility::Public(_));
        self.0.push((name.to_string(), is_public));
    }
}

struct Functions<'s> {
    lines: &'s [String],
    found: Vec<Function>,
}

impl Functions<'_> {
    fn add(&mut self, name: &syn::Ident, body: &syn::Block) {
        let span = body.span();
        let inside = span.start().line..span.end().line.saturating_sub(1).max(span.start().line);
        let is_code = |line: &&String| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with("//")
        };
        self.found.push(Function {
            name: name.to_string(),
            lines: self.lines[inside].iter().filter(is_code).count(),
        });
    }
}

impl<'t> Visit<'t> for Functions<'_> {
    fn visit_item(&mut self, item: &'t syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'t syn::ItemFn) {
        self.add(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'t syn::ImplItemFn) {
        self.add(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'t syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.add(&function.sig.ident, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// Returns the modules that each module imports, itself and the entry points apart. A name that
/// `lib.rs` exports stands for the module that it comes from.
pub fn matrix(files: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let all: BTreeSet<String> = files
        .iter()
        .filter_map(|file| file.module.first().cloned())
        .collect();
    let mut matrix: BTreeMap<String, BTreeSet<String>> = all
        .iter()
        .map(|module| (module.clone(), BTreeSet::new()))
        .collect();
    let entry = files.iter().find(|file| file.path.ends_with("lib.rs"));
    let exports = entry.map(Source::exports).unwrap_or_default();
    for file in files {
        if let Some(module) = file.module.first() {
            let others = file
                .imports()
                .into_iter()
                .map(|name| exports.get(&name).cloned().unwrap_or(name))
                .filter(|other| other != module && all.contains(other));
            matrix.entry(module.clone()).or_default().extend(others);
        }
    }
    matrix
}
