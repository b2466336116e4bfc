//! The advice in the log: while deliveries are refused for lack of room, one line a minute says what to turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::top::TopView;
use super::{Operator, advise};

/// Interval between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// Shortest time between two lines.
const SAID_FOR: Duration = Duration::from_secs(60);

/// Looks at an instance from time to time, without an end.
pub async fn advise_in_log(operator: Arc<Operator>) {
    let mut watch = ShedWatch::default();
    let mut unavailable = operator.unavailable_answers();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = operator.unavailable_answers();
        if now == unavailable {
            watch.before = None;
            continue;
        }
        unavailable = now;
        if let Some(line) = watch.look(operator.top(), Instant::now()) {
            tracing::warn!(shed = line.shed, turn = line.turn, "{}", line.text);
        }
    }
}

impl Operator {
    /// Returns the number of answers 503, by which a look costs nothing while there are none.
    fn unavailable_answers(&self) -> u64 {
        let answers = &self.instruments.metrics.http_answers;
        answers.with_label_values(&["503"]).get()
    }
}

/// A line for the log.
#[derive(Debug)]
struct AdviceLine {
    /// Deliveries that were refused since the look before.
    shed: u64,
    /// The option to turn, or the command to begin with.
    turn: String,
    text: String,
}

/// The look before, and the time of the last line.
#[derive(Default)]
struct ShedWatch {
    before: Option<TopView>,
    said: Option<Instant>,
}

impl ShedWatch {
    /// Returns the line about what was refused since the look before, unless there was a line within a minute.
    fn look(&mut self, view: TopView, at: Instant) -> Option<AdviceLine> {
        let before = self.before.replace(view)?;
        let after = self.before.as_ref()?;
        let shed = all_shed(after).saturating_sub(all_shed(&before));
        let is_said = |said: Instant| at.saturating_duration_since(said) < SAID_FOR;
        if shed == 0 || self.said.is_some_and(is_said) {
            return None;
        }
        self.said = Some(at);
        let advice = advise(&before, after).into_iter().next();
        let (turn, what) = match advice {
            None => (
                "hookweir top".to_owned(),
                "`hookweir top` shows where".to_owned(),
            ),
            Some(advice) => {
                let values = match (advice.now, advice.to) {
                    (Some(now), Some(to)) => format!(" from {now} to {to}"),
                    _ => String::new(),
                };
                let what = format!("turn {}{values}: {}", advice.turn, advice.because);
                (advice.turn, what)
            }
        };
        let seconds = after.uptime_ms.saturating_sub(before.uptime_ms) / 1000;
        Some(AdviceLine {
            shed,
            turn,
            text: format!(
                "{shed} deliveries were answered 503 for lack of room within {seconds} s, and their providers send them again; {what}"
            ),
        })
    }
}

fn all_shed(view: &TopView) -> u64 {
    view.sources.iter().map(|source| source.shed).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::SourceCounts;
    use crate::operate::top::{PartOf, ReasonCount, TopOptions};

    fn view(shed: u64) -> TopView {
        let source = SourceCounts {
            source: "shop".into(),
            shed,
            ..SourceCounts::default()
        };
        TopView {
            sources: vec![source],
            shed: vec![ReasonCount {
                reason: "dedup_mailbox".into(),
                count: shed,
            }],
            options: TopOptions {
                dedup_mailbox: 8,
                ..TopOptions::default()
            },
            in_flight_requests: PartOf {
                part: 0,
                whole: 100,
            },
            uptime_ms: 1000 * shed,
            ..TopView::default()
        }
    }

    #[test]
    fn the_log_says_once_a_minute_what_to_turn_while_deliveries_are_refused() {
        let start = Instant::now();
        let mut watch = ShedWatch::default();
        let mut look = |shed, seconds| {
            let line = watch.look(view(shed), start + Duration::from_secs(seconds));
            line.map(|line| (line.turn, line.text))
        };
        assert_eq!(look(7, 0), None, "nothing to compare with");
        let (turn, text) = look(17, 10).expect("a line");
        assert_eq!(turn, "dedup.mailbox_capacity");
        assert!(
            text.starts_with("10 deliveries were answered 503"),
            "{text}"
        );
        assert!(
            text.contains("turn dedup.mailbox_capacity from 8 to"),
            "{text}"
        );
        assert_eq!(look(27, 20), None);
        assert_eq!(look(37, 69), None);
        assert!(look(47, 70).is_some(), "a minute later");
        assert_eq!(look(47, 140), None, "nothing was refused");
    }
}
