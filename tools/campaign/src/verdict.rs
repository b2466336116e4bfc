//! The oracle: what was sent and answered, compared with what came out, row by row of the table.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::pulse::Pulse;
use crate::scene::{Demand, Scene, Window};
use hookweir_testkit::ledger::{Answer, Attempt, Entry, Ledger};
use hookweir_testkit::oracle::Account;

/// From the head of a request to its answer: the product's default deadline, and the second that the promise allows it.
const ANSWERED_WITHIN: Duration = Duration::from_millis(2500 + 1000);
/// From its answer until an event has left the outbox, when nothing is wrong: so long a fault may still find it on its way.
pub const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// Events that the closing of one channel can make copies of: `publisher.window`.
const COPIES_OF_A_CLOSING: usize = 256;
/// Events that are named where some are lost, corrupt or strangers.
const EXAMPLES: usize = 10;
/// Channels that one fault closes: `publisher.channels` of each instance.
pub const CHANNELS: usize = 4;

/// The figures that a row has to reach. That nothing is lost, corrupt, forged, stranded or wrongly refused goes without saying.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Copies are allowed in fault windows.
    pub copies: bool,
    /// True to excuse as many copies as events whose confirm did not come in time, by the service's
    /// own count. Used only if `copies` is false.
    pub copies_of_the_unconfirmed: bool,
    /// Of the deliveries that began in a fault window, this many per cent were answered 2xx.
    pub taken: f64,
    /// Each answer came within its deadline and a second. (A process that is stopped cannot answer.)
    pub in_time: bool,
    /// An event may be answered "accepted" twice: by the spools of two instances that cannot ask the database.
    pub accepted_twice: bool,
    /// Connections may be refused: there is a time at which no process runs.
    pub refused: bool,
    /// Longest time after the fault until everything that had waited was gone.
    pub drained: Duration,
}

impl Figures {
    /// Nothing breaks, or nothing that anybody may notice.
    pub const UNHARMED: Self = Self {
        copies: false,
        copies_of_the_unconfirmed: false,
        taken: 100.0,
        in_time: true,
        accepted_twice: false,
        refused: false,
        drained: Duration::from_secs(120),
    };
    /// Deliveries are taken on, and copies made at most while it lasts.
    pub const HARDLY: Self = Self {
        copies: true,
        taken: 99.9,
        ..Self::UNHARMED
    };
    /// Deliveries are taken on, and no copies are made: the sink drops what it has already. Excused are events whose
    /// producer had to be replaced: the service counts them as unconfirmed.
    pub const UNCOPIED: Self = Self {
        copies: false,
        copies_of_the_unconfirmed: true,
        ..Self::HARDLY
    };
    /// There is a time at which nothing can be taken.
    pub const DOWN: Self = Self {
        copies: true,
        taken: 0.0,
        refused: true,
        ..Self::UNHARMED
    };
}

/// Findings of the oracle.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    pub row: String,
    pub seed: u64,
    pub seconds: f64,
    pub faults: usize,
    /// Genuine events, and forgeries.
    pub events: usize,
    pub forged: usize,
    /// POSTs, and how many of each answer to the genuine and to the forged.
    pub sent: usize,
    pub answers: BTreeMap<String, usize>,
    pub answers_to_forged: BTreeMap<String, usize>,
    /// Events answered 2xx.
    pub taken: usize,
    /// Of those, the ones that no fault window touched.
    pub undisturbed: usize,
    pub lost: usize,
    pub copies_inside: usize,
    pub copies_outside: usize,
    pub copies_bound: usize,
    /// Events whose confirm did not come in time, as the processes that ran at the end counted them.
    pub unconfirmed: usize,
    pub wrong_4xx: usize,
    pub wrong_duplicate: usize,
    pub accepted_twice: usize,
    pub forged_accepted: usize,
    pub corrupt: usize,
    pub left_over: i64,
    pub never_accepted: usize,
    pub unrouted: usize,
    pub parked: usize,
    pub refused: usize,
    /// Answers later than the deadline and a second.
    pub late: usize,
    /// Per cent of the deliveries that began in a fault window.
    pub taken_in_windows: Option<f64>,
    pub max_rss: u64,
    pub rss_bound: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// The longest wait after a fault for the first 2xx, and until what had waited was gone; and the most rows that waited.
    pub first_2xx_ms: f64,
    pub drain_ms: f64,
    pub waited: i64,
    pub demands: Vec<Demand>,
    /// Events that arrived with the other body that was signed under their id, their own kept as a conflict.
    pub exchanged: usize,
    /// Some of the events that are lost, corrupt or strangers.
    pub examples: Vec<String>,
    /// Figures that were missed; empty is success.
    pub missed: Vec<String>,
    /// True if times and rates count.
    #[serde(skip)]
    pub timed: bool,
    /// Reason for which the row cannot be played here.
    pub impossible: Option<String>,
    /// Something of the row's own went wrong, so that the rest says little.
    pub broke: Option<String>,
}

impl Verdict {
    /// Ends the load, lets everything drain, stops the instances, consumes what came out, and compares.
    pub async fn of(
        mut scene: Scene<'_>,
        row: &str,
        seed: u64,
        figures: Figures,
        pulse: &Pulse,
        since: Instant,
    ) -> Self {
        let ledger = scene.end_load().await;
        let drained = Instant::now();
        let mut left_over = i64::MAX;
        while left_over > 0 && drained.elapsed() < scene.patience {
            tokio::time::sleep(Duration::from_millis(100)).await;
            left_over = scene.place.waiting(i64::MAX) + scene.spooled().await as i64;
        }
        let mut unconfirmed = 0;
        for instance in 0..scene.apps.len() {
            if figures.copies_of_the_unconfirmed {
                unconfirmed += scene.apps[instance]
                    .metrics()
                    .await
                    .sum("hookweir_published_total", &["result=\"unknown\""]);
            }
            scene.weigh(instance);
            let status = scene.apps[instance].stop().await;
            scene.demand("stops in order", status.success(), status.to_string());
        }
        let (arrivals, unrouted, kept) = scene.place.collect().await;
        let account = Account::between(&ledger, arrivals, &kept);
        if let Some(arrivals) = scene.place.collect_second() {
            let second = Account::between(&ledger, arrivals, &kept);
            scene.demand_second(&second);
        }
        let mut verdict = Self {
            row: row.into(),
            seed,
            seconds: since.elapsed().as_secs_f64(),
            faults: scene.windows.len(),
            left_over,
            unrouted,
            parked: kept.parked.len(),
            max_rss: scene.memory.0,
            rss_bound: scene.memory.1,
            copies_bound: COPIES_OF_A_CLOSING
                * (CHANNELS * scene.apps.len() * scene.windows.len() + scene.further_closings),
            unconfirmed,
            demands: scene.demands.clone(),
            timed: !scene.options.no_timing,
            ..Self::default()
        };
        verdict.count_answers(&ledger, &scene.windows, pulse);
        verdict.count_arrivals(&ledger, &account, &kept.parked, &scene);
        verdict.judge(figures);
        scene.place.remove().await;
        verdict
    }

    fn count_answers(&mut self, ledger: &Ledger, windows: &[Window], pulse: &Pulse) {
        self.events = ledger.genuine().count();
        self.forged = ledger.entries.len() - self.events;
        (self.answers, self.answers_to_forged) = (ledger.answers(false), ledger.answers(true));
        self.sent = self
            .answers
            .values()
            .chain(self.answers_to_forged.values())
            .sum();
        let attempts = || ledger.entries.iter().flat_map(|entry| &entry.attempts);
        let late = |attempt: &&Attempt| {
            attempt.took > ANSWERED_WITHIN
                && attempt.took > ANSWERED_WITHIN + pulse.stalled(attempt.began, attempt.ended())
        };
        self.late = attempts().filter(late).count();
        self.refused = attempts()
            .filter(|attempt| attempt.answer == Answer::refused())
            .count();
        let mut taken: Vec<f64> = attempts()
            .filter(|a| a.answer.is_taken())
            .map(|a| a.took.as_secs_f64() * 1e3)
            .collect();
        taken.sort_unstable_by(f64::total_cmp);
        let quantile = |share: f64| {
            taken
                .get(((taken.len() as f64 * share) as usize).min(taken.len().saturating_sub(1)))
                .copied()
        };
        [self.p50_ms, self.p99_ms, self.max_ms] =
            [0.5, 0.99, 1.0].map(|share| quantile(share).unwrap_or_default());

        let genuine = || ledger.genuine().flat_map(|entry| &entry.attempts);
        let in_windows: Vec<_> = genuine()
            .filter(|a| {
                windows
                    .iter()
                    .any(|w| w.from <= a.began && a.began < w.healed)
            })
            .collect();
        if !in_windows.is_empty() {
            let taken = in_windows
                .iter()
                .filter(|attempt| attempt.answer.is_taken())
                .count();
            self.taken_in_windows = Some(taken as f64 * 100.0 / in_windows.len() as f64);
        }
        let mut ends: Vec<Instant> = genuine()
            .filter(|attempt| attempt.answer.is_taken())
            .map(Attempt::ended)
            .collect();
        ends.sort_unstable();
        let first = |window: &Window| {
            ends.get(ends.partition_point(|end| *end < window.healed))
                .map(|end| *end - window.healed)
        };
        let longest =
            |waits: Vec<Duration>| waits.into_iter().max().unwrap_or_default().as_secs_f64() * 1e3;
        self.first_2xx_ms = longest(windows.iter().filter_map(first).collect());
        self.drain_ms = longest(windows.iter().map(|window| window.drained).collect());
        self.waited = windows
            .iter()
            .map(|window| window.waiting)
            .max()
            .unwrap_or_default();

        let refused = |entry: &&Entry| {
            entry
                .attempts
                .iter()
                .any(|a| matches!(a.answer, Answer::Status(code) if (400..500).contains(&code)))
        };
        self.taken = ledger.genuine().filter(|entry| entry.is_taken()).count();
        self.never_accepted = self.events - self.taken;
        self.wrong_4xx = ledger.genuine().filter(refused).count();
        self.wrong_duplicate = ledger
            .genuine()
            .filter(|entry| wrong_duplicate(entry))
            .count();
        // Another body under a known id is new to a spool that cannot ask the database; it ends in `conflict`.
        let is_new = |attempt: &&Attempt| {
            !attempt.other_body && matches!(attempt.answer, Answer::Taken { new: true, .. })
        };
        let accepted = |entry: &&Entry| entry.attempts.iter().filter(is_new).count();
        self.accepted_twice = ledger.genuine().filter(|entry| accepted(entry) > 1).count();
        self.forged_accepted = ledger
            .entries
            .iter()
            .filter(|entry| entry.forged && entry.is_taken())
            .count();
    }

    fn count_arrivals(
        &mut self,
        ledger: &Ledger,
        account: &Account,
        parked: &[String],
        scene: &Scene<'_>,
    ) {
        let lost = account.lost.iter().filter(|name| !parked.contains(name));
        self.lost = lost.clone().count();
        self.examples = lost
            .map(|name| format!("lost: {name}"))
            .chain(
                account
                    .strangers
                    .iter()
                    .map(|name| format!("stranger: {name}")),
            )
            .chain(
                account
                    .corrupt
                    .iter()
                    .map(|name| format!("corrupt: {name}")),
            )
            .take(EXAMPLES)
            .collect();
        self.exchanged = account.exchanged.len();
        let is_inside = |place: usize| {
            let entry = &ledger.entries[place];
            let first = entry.attempts.iter().map(|attempt| attempt.began).min();
            let taken = entry
                .attempts
                .iter()
                .filter(|attempt| attempt.answer.is_taken())
                .map(Attempt::ended)
                .min();
            let (Some(first), Some(taken)) = (first, taken) else {
                return false;
            };
            let ends = taken + scene.on_its_way;
            scene
                .windows
                .iter()
                .any(|window| first <= window.until && window.from <= ends)
        };
        let taken =
            |(place, entry): (usize, &Entry)| (!entry.forged && entry.is_taken()).then_some(place);
        self.undisturbed = ledger
            .entries
            .iter()
            .enumerate()
            .filter_map(taken)
            .filter(|place| !is_inside(*place))
            .count();
        self.copies_inside = account
            .copies
            .iter()
            .filter(|(place, _)| is_inside(*place))
            .count();
        self.copies_outside = account.copies.len() - self.copies_inside;
        self.corrupt = account.corrupt.len();
        // A message that nobody sent in earnest.
        self.forged_accepted += account.strangers.len();
    }

    fn judge(&mut self, figures: Figures) {
        let mut missed = Vec::new();
        let mut none = |what: &str, count: usize| {
            if count > 0 {
                missed.push(format!("{what}: {count}"));
            }
        };
        none("lost", self.lost);
        none("corrupt", self.corrupt);
        none("forged accepted", self.forged_accepted);
        none("wrong 4xx", self.wrong_4xx);
        none("wrong duplicate", self.wrong_duplicate);
        none("never accepted", self.never_accepted);
        none(
            "left over",
            usize::try_from(self.left_over).unwrap_or_default(),
        );
        none("copies outside of fault windows", self.copies_outside);
        none(
            "copies beyond the bound",
            self.copies_inside.saturating_sub(self.copies_bound),
        );
        if !figures.copies {
            let excused = if figures.copies_of_the_unconfirmed {
                self.unconfirmed
            } else {
                0
            };
            none("copies", self.copies_inside.saturating_sub(excused));
        }
        // A start waits a second for its store, and after that lets the spool answer.
        if !figures.accepted_twice && (self.timed || !figures.refused) {
            none("accepted twice", self.accepted_twice);
        }
        if !figures.refused {
            none("connections refused", self.refused);
        }
        if figures.in_time && self.timed {
            none("late answers", self.late);
        }
        if let Some(taken) = self
            .taken_in_windows
            .filter(|taken| *taken < figures.taken && self.timed)
        {
            missed.push(format!(
                "only {taken:.2} % answered 2xx during the fault, not {} %",
                figures.taken
            ));
        }
        if figures.taken >= 100.0
            && self.timed
            && self.answers.keys().any(|label| !label.starts_with("200"))
        {
            missed.push(format!("answers other than 200: {:?}", self.answers));
        }
        if self.undisturbed == 0 {
            missed.push(
                "no event was outside of fault windows, so that copies there could not be seen"
                    .into(),
            );
        }
        if self
            .answers_to_forged
            .keys()
            .any(|label| label.starts_with("200"))
        {
            missed.push(format!(
                "forged deliveries were answered {:?}",
                self.answers_to_forged
            ));
        }
        if self.max_rss > self.rss_bound {
            missed.push(format!(
                "memory: {} MiB of {} MiB",
                self.max_rss >> 20,
                self.rss_bound >> 20
            ));
        }
        if self.timed && self.drain_ms > figures.drained.as_secs_f64() * 1e3 {
            missed.push(format!("drained only after {:.0} s", self.drain_ms / 1e3));
        }
        missed.extend(
            self.demands
                .iter()
                .filter(|demand| !demand.held)
                .map(|demand| format!("{}: {}", demand.what, demand.saw)),
        );
        self.missed = missed;
    }
}

/// Told "duplicate" though no other attempt could have brought the event: none had begun when the answer was there.
fn wrong_duplicate(entry: &Entry) -> bool {
    entry.attempts.iter().enumerate().any(|(place, attempt)| {
        let other =
            |(other, earlier): (usize, &Attempt)| other != place && earlier.began < attempt.ended();
        matches!(attempt.answer, Answer::Taken { new: false, .. })
            && !entry.attempts.iter().enumerate().any(other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(figures: Figures, change: fn(&mut Verdict)) -> Vec<String> {
        let mut verdict = Verdict {
            undisturbed: 1,
            timed: true,
            ..Verdict::default()
        };
        change(&mut verdict);
        verdict.judge(figures);
        verdict.missed
    }

    #[test]
    fn a_row_without_faults_reaches_its_figures() {
        assert!(judged(Figures::UNHARMED, |_| ()).is_empty());
    }

    #[test]
    fn one_lost_event_fails_every_row() {
        for figures in [Figures::UNHARMED, Figures::HARDLY, Figures::DOWN] {
            let missed = judged(figures, |verdict| verdict.lost = 1);
            assert_eq!(missed, ["lost: 1"], "{figures:?}");
        }
    }

    #[test]
    fn copies_pass_in_fault_windows_only() {
        let inside: fn(&mut Verdict) =
            |verdict| (verdict.copies_inside, verdict.copies_bound) = (3, 3);
        assert!(judged(Figures::HARDLY, inside).is_empty());
        assert_eq!(judged(Figures::UNHARMED, inside), ["copies: 3"]);
        let outside = judged(Figures::HARDLY, |verdict| verdict.copies_outside = 1);
        assert_eq!(outside, ["copies outside of fault windows: 1"]);
    }

    #[test]
    fn a_slow_day_fails_nothing_where_times_are_not_judged() {
        let late: fn(&mut Verdict) = |verdict| verdict.late = 1;
        assert_eq!(judged(Figures::UNHARMED, late), ["late answers: 1"]);
        let untimed = judged(Figures::UNHARMED, |verdict| {
            (verdict.late, verdict.timed) = (1, false);
        });
        assert!(untimed.is_empty(), "{untimed:?}");
    }
}
