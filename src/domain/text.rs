//! Text from outside, made fit for a log line or a column.

/// Longest text of [`one_line`], in bytes.
const MAX_LINE: usize = 500;

/// Returns `text` as one line of at most 500 bytes, without control characters.
pub fn one_line(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    cut(&line, MAX_LINE).to_owned()
}

/// Returns the longest start of `text` that has at most `max` bytes and ends between two
/// characters.
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
