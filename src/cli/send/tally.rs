//! Answers of a run: counts, latencies, and those that were not expected. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One answer, or why there was none.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// HTTP status, or what went wrong.
    pub(super) status: Result<u16, String>,
    /// `status` of the body: accepted, duplicate.
    pub(super) said: Option<String>,
    /// `id` of the body: the message id.
    pub(super) id: Option<String>,
    pub(super) took: Duration,
    pub(super) expected: bool,
    /// The answer had to be a refusal.
    pub(super) refusal: bool,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.status {
            Ok(status) => write!(f, "{status}")?,
            Err(error) => write!(f, "no answer: {error}")?,
        }
        for part in [&self.said, &self.id].into_iter().flatten() {
            write!(f, " {part}")?;
        }
        let verdict = match (self.expected, self.refusal) {
            (true, true) => ", refused as it must be",
            (false, true) => "  <- not expected: it must be refused",
            (true, false) => "",
            (false, false) => "  <- not expected",
        };
        write!(f, ", {}{verdict}", millis(self.took))
    }
}

/// The answers of a run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Number of answers of each kind.
    answers: BTreeMap<String, u64>,
    /// Of the answers that came, in microseconds; 4 bytes each keep a long run small.
    latencies: Vec<u32>,
    unexpected: u64,
    last_id: Option<String>,
    pub(super) elapsed: Duration,
}

impl Tally {
    pub(super) fn add(&mut self, answer: &Answer) {
        let kind = match (&answer.status, &answer.said) {
            (Ok(status), Some(said)) => format!("{status} {said}"),
            (Ok(status), None) => status.to_string(),
            (Err(_), _) => "no answer".to_owned(),
        };
        *self.answers.entry(kind).or_default() += 1;
        if answer.status.is_ok() {
            self.latencies
                .push(u32::try_from(answer.took.as_micros()).unwrap_or(u32::MAX));
        }
        self.unexpected += u64::from(!answer.expected);
        if answer.id.is_some() {
            self.last_id.clone_from(&answer.id);
        }
    }

    /// Returns the number of answers, lost ones included.
    pub(super) fn sent(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Nothing that was sent was answered.
    pub(super) fn is_silence(&self) -> bool {
        self.latencies.is_empty() && self.sent() > 0
    }

    /// Returns the number of answers that were not as expected.
    pub(super) fn unexpected(&self) -> u64 {
        self.unexpected
    }

    pub(super) fn is_as_expected(&self) -> bool {
        self.unexpected == 0
    }

    /// The message id of the last event that was taken.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.elapsed.as_secs_f64();
        write!(
            f,
            "{} sent in {secs:.1} s ({:.0}/s): ",
            self.sent(),
            self.sent() as f64 / secs.max(0.001)
        )?;
        let answers: Vec<String> = self
            .answers
            .iter()
            .map(|(kind, count)| format!("{count} x {kind}"))
            .collect();
        write!(f, "{}", answers.join(", "))?;
        if self.unexpected > 0 {
            write!(f, "; {} not expected", self.unexpected)?;
        }
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        };
        if let (Some(p50), Some(p99), Some(max)) = (at(50), at(99), sorted.last()) {
            let [p50, p99, max] =
                [p50, p99, max].map(|micros| millis(Duration::from_micros(u64::from(*micros))));
            write!(
                f,
                "; answered within {p50} (half of them), {p99} (99 %), {max} (all)"
            )?;
        }
        Ok(())
    }
}

fn millis(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: Result<u16, String>, said: Option<&str>, ms: u64, expected: bool) -> Answer {
        Answer {
            status,
            said: said.map(str::to_owned),
            id: said.map(|_| "m1".to_owned()),
            took: Duration::from_millis(ms),
            expected,
            refusal: false,
        }
    }

    #[test]
    fn a_refusal_that_must_be_reads_like_a_success() {
        let refused = Answer {
            refusal: true,
            ..answer(Ok(401), None, 1, true)
        };
        assert_eq!(refused.to_string(), "401, 1.0 ms, refused as it must be");
        let taken = Answer {
            refusal: true,
            ..answer(Ok(200), None, 1, false)
        };
        assert_eq!(
            taken.to_string(),
            "200, 1.0 ms  <- not expected: it must be refused"
        );
    }

    #[test]
    fn answers_are_counted_and_latencies_ranked() {
        let mut tally = Tally {
            elapsed: Duration::from_secs(2),
            ..Tally::default()
        };
        for ms in 1..=99 {
            tally.add(&answer(Ok(200), Some("accepted"), ms, true));
        }
        assert!(tally.is_as_expected());
        tally.add(&answer(Ok(503), None, 500, false));
        tally.add(&answer(Err("refused".to_owned()), None, 9000, false));
        assert_eq!(
            tally.to_string(),
            "101 sent in 2.0 s (50/s): 99 x 200 accepted, 1 x 503, 1 x no answer; 2 not expected; answered within 51.0 ms (half of them), \
             500.0 ms (99 %), 500.0 ms (all)"
        );
        assert_eq!(
            (tally.is_as_expected(), tally.last_id()),
            (false, Some("m1"))
        );
        assert_eq!(
            answer(Ok(200), Some("accepted"), 3, true).to_string(),
            "200 accepted m1, 3.0 ms"
        );
        assert_eq!(
            answer(Err("refused".to_owned()), None, 1, false).to_string(),
            "no answer: refused, 1.0 ms  <- not expected"
        );
        Tally::default().to_string();
    }
}
