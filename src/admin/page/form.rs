//! Fields of a form, out of a query or a body, and addresses of the page.

use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded::{self, Serializer};

use crate::operate::ApiProblem;

/// Characters of a wrong field that its problem repeats.
const REPEATED: usize = 40;

/// Fields of a form, in order. Empty ones are left out: a browser sends every field of a filter.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Returns the fields in a query, or in the body of a POST.
    pub(super) fn read(encoded: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(encoded).into_owned();
        let given = pairs.map(|(name, value)| (name, value.trim().to_owned()));
        Self(given.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// Returns a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.0.iter();
        let found = fields.find(|(own, _)| own == name)?;
        Some(&found.1)
    }

    /// Returns a field as a text of its own.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// Returns all fields with this name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let fields = self.0.iter().filter(|(own, _)| own == name);
        fields.map(|(_, value)| value.clone()).collect()
    }

    /// Returns a number.
    pub(super) fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, ApiProblem> {
        self.get(name).map(|text| number(name, text)).transpose()
    }

    /// Returns all numbers with this name.
    pub(super) fn numbers<N: FromStr>(&self, name: &str) -> Result<Vec<N>, ApiProblem> {
        let fields = self.0.iter().filter(|(own, _)| own == name);
        fields.map(|(_, text)| number(name, text)).collect()
    }

    /// Returns a time: what a browser's field of a time gives is in UTC.
    pub(super) fn time(&self, name: &str) -> Option<String> {
        let text = self.get(name)?;
        Some(match text.len() {
            10 => format!("{text}T00:00:00Z"),
            16 => format!("{text}:00Z"),
            19 => format!("{text}Z"),
            _ => text.to_owned(),
        })
    }
}

fn number<N: FromStr>(name: &str, text: &str) -> Result<N, ApiProblem> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(REPEATED).collect();
        ApiProblem::bad_question(
            format!(
                "{name} is \"{}\", and no whole number that fits: nothing was changed",
                text.escape_debug()
            ),
            format!("go back, and give a whole number as {name}"),
        )
    })
}

/// Returns an address of the page with these parameters.
pub(super) fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    if parameters.is_empty() {
        return path.to_owned();
    }
    let mut query = Serializer::new(String::new());
    query.extend_pairs(parameters);
    format!("{path}?{}", query.finish())
}

/// Returns the address of an event.
pub(super) fn event_address(message_id: &str) -> String {
    named("/page/events/", message_id)
}

/// Returns the address of a thing with a name.
pub(super) fn named(path: &str, name: &str) -> String {
    format!("{path}{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_none_and_times_of_a_browser_are_in_utc() {
        let form = Form::read(b"source=&type=a%26b&from=2026-11-28T09:30&to=2026-11-29&id=1&id=2");
        assert_eq!(form.get("source"), None);
        assert_eq!(form.get("type"), Some("a&b"));
        assert_eq!(form.time("from").as_deref(), Some("2026-11-28T09:30:00Z"));
        assert_eq!(form.time("to").as_deref(), Some("2026-11-29T00:00:00Z"));
        assert_eq!(form.all("id"), ["1", "2"]);
    }

    #[test]
    fn a_number_that_is_none_is_a_problem_and_never_another_number() {
        let form = Form::read(b"pace=abc&at=-1&id=7&number=1&number=2x");
        assert_eq!(form.number::<i64>("id"), Ok(Some(7)));
        assert_eq!(form.number::<i64>("after"), Ok(None));
        assert_eq!(form.numbers::<i64>("id"), Ok(vec![7]));
        let problem = form.number::<u32>("pace").expect_err("no number");
        assert_eq!(problem.status, 400);
        assert!(problem.detail.contains("\"abc\""), "{problem}");
        form.number::<usize>("at").expect_err("below zero");
        form.numbers::<i64>("number")
            .expect_err("one of them is none");
    }

    #[test]
    fn a_name_with_a_slash_or_a_quote_stays_one_part_of_the_address() {
        assert_eq!(event_address("a/b\"?"), "/page/events/a%2Fb%22%3F");
        assert_eq!(address("/page", &[("q", "a&b=c")]), "/page?q=a%26b%3Dc");
    }
}
