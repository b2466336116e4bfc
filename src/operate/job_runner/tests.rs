use std::sync::Mutex;

use super::*;
use crate::domain::delivery::UnixMillis;
use crate::store::republish::{Job, JobState, NewJob, NextEvents};
use crate::store::{AuditEntry, Seq};

const PAUSE: Duration = Duration::from_millis(250);

/// Jobs that never end. The steps of one of them fail.
#[derive(Default)]
struct Jobs {
    running: Vec<Job>,
    failing: Option<JobId>,
    tried: Mutex<Vec<JobId>>,
}

impl Jobs {
    /// Adds a job that is to publish to one sink alone, or to all.
    fn add(&mut self, only_to: Option<&str>) -> JobId {
        let id = JobId::new();
        let question = serde_json::json!({"source": "shop", "only_to": only_to});
        let choice = serde_json::json!({"question": question, "numbers": null});
        self.running.push(Job {
            reached: Seq(-1),
            new: NewJob {
                id,
                caller: "token ann".to_owned(),
                choice: choice.to_string(),
                pace: 100,
                expected: None,
            },
            state: JobState::Running,
            created_at: UnixMillis(0),
            changed_at: UnixMillis(0),
            events: 0,
            copies: 0,
        });
        id
    }
}

impl Republish for Jobs {
    fn begin_job(&self, _: &NewJob, _: &AuditEntry) -> Result<(), StoreError> {
        unreachable!()
    }

    fn cancel_job(&self, _: JobId, _: &AuditEntry) -> Result<bool, StoreError> {
        unreachable!()
    }

    fn jobs(&self, _: usize) -> Result<Vec<Job>, StoreError> {
        unreachable!()
    }

    fn running_jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        Ok(self.running.iter().take(limit).cloned().collect())
    }

    fn job(&self, _: JobId) -> Result<Option<Job>, StoreError> {
        unreachable!()
    }

    fn next_of(&self, _: &Choice, _: Seq, _: usize) -> Result<NextEvents, StoreError> {
        unreachable!()
    }

    fn step(&self, id: JobId, _: &Choice, _: &Sinks) -> Result<Stepped, StoreError> {
        self.tried.lock().expect("no panic").push(id);
        match self.failing == Some(id) {
            true => Err(StoreError::Unavailable("a row cannot be read".to_owned())),
            false => Ok(Stepped::DueIn(PAUSE)),
        }
    }
}

fn tried(jobs: Jobs, sinks: Sinks, looks: usize) -> (Vec<JobId>, Duration, Resting) {
    let store = Arc::new(jobs);
    let (_waker, woken) = JobWaker::new();
    let (_stop, stopped) = bounded(0);
    let runner = Runner {
        store: store.clone(),
        sinks,
        woken,
        stopped,
    };
    let (mut wait, mut resting) = (LOOK, Resting::new());
    for _ in 0..looks {
        wait = runner.step_each(&mut resting).expect("looked");
    }
    let tried = store.tried.lock().expect("no panic").clone();
    (tried, wait, resting)
}

#[test]
fn younger_jobs_keep_their_pace_beside_one_that_fails() {
    let mut jobs = Jobs::default();
    let (oldest, other, youngest) = (jobs.add(None), jobs.add(None), jobs.add(None));
    jobs.failing = Some(oldest);
    let (tried, wait, resting) = tried(jobs, Sinks::default(), 2);
    assert_eq!(tried, [oldest, other, youngest, other, youngest]);
    assert_eq!(wait, PAUSE);
    assert!(resting.keys().eq([&oldest]), "it is tried again");
}

#[test]
fn a_job_for_a_sink_is_left_to_instances_that_have_the_sink() {
    let both = [
        SinkName::default(),
        SinkName::parse("lake").expect("a name"),
    ];
    for (sinks, has_it) in [(&both[..1], false), (&both[..], true)] {
        let mut jobs = Jobs::default();
        let (to_lake, to_all) = (jobs.add(Some("lake")), jobs.add(None));
        let (tried, _, _) = tried(jobs, Sinks::new(sinks).expect("sinks"), 1);
        let expected = if has_it {
            vec![to_lake, to_all]
        } else {
            vec![to_all]
        };
        assert_eq!(tried, expected, "{sinks:?}");
    }
}
