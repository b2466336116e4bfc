//! Suggestions for misspelt names.

/// Returns the most similar of `names`, if it is similar enough. The same name in another section
/// counts as similar.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &'a str| name.rsplit('.').next();
    let likeness = |name: &'a str| {
        let misplaced = if last(name) == wrong.rsplit('.').next() {
            0.5
        } else {
            0.0
        };
        strsim::normalized_damerau_levenshtein(wrong, name) + misplaced
    };
    names
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
