//! `hookweir jobs`: jobs that publish events again.

use std::thread;
use std::time::Duration;

use super::client::{AdminClient, part};
use super::table::Table;
use super::trace::{json, word};
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{JobList, JobView};
use crate::store::republish::JobState;

/// Interval at which a job is watched.
const WATCH: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Action on jobs.
    #[arg(value_enum, default_value_t = Verb::List)]
    verb: Verb,
    /// Id of the job, for all actions but list.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Print each answer as a line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// List jobs, the newest first.
    List,
    /// Show a job.
    Show,
    /// Show a job each second until it has ended.
    Watch,
    /// End a job. What it has put into the outbox is published.
    Cancel,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let id = match (options.verb, &options.id) {
        (Verb::List, _) => String::new(),
        (_, Some(id)) => part(id),
        (_, None) => {
            return Err(Failure::Usage(
                "name the job by its id; `hookweir jobs` lists the jobs".into(),
            ));
        }
    };
    let client = AdminClient::new(config)?;
    match options.verb {
        Verb::List => list(&client.get("jobs", &[])?, options.json),
        Verb::Show => show(&client.get(&format!("jobs/{id}"), &[])?, options.json),
        Verb::Cancel => {
            let job: JobView = client.post(&format!("jobs/{id}/cancel"), &())?;
            show(&job, options.json)?;
            say::note(cancelled(&job));
            Ok(())
        }
        Verb::Watch => loop {
            let job: JobView = client.get(&format!("jobs/{id}"), &[])?;
            show(&job, options.json)?;
            if job.state != JobState::Running {
                return Ok(());
            }
            thread::sleep(WATCH);
        },
    }
}

/// Returns the meaning of a cancellation for what the job has begun.
fn cancelled(job: &JobView) -> String {
    match job.state {
        JobState::Done => "the job had ended before: nothing was left to cancel".to_owned(),
        JobState::Running | JobState::Cancelled => format!(
            "the job puts nothing more into the outbox; the {} messages that it has put there are published",
            job.copies
        ),
    }
}

fn list(list: &JobList, as_json: bool) -> Result<(), Failure> {
    let mut table = Table::new(&["JOB", "STATE", "EVENTS", "BEGUN", "BY"]);
    for job in &list.jobs {
        if as_json {
            say::out(json(job)?);
        }
        table.row([
            job.id.clone(),
            word(&job.state),
            progress(job),
            job.created_at.clone(),
            job.caller.clone(),
        ]);
    }
    if !as_json {
        table.print();
    }
    if list.jobs.is_empty() {
        say::note("there are no jobs; `hookweir republish` begins one");
    }
    Ok(())
}

fn show(job: &JobView, as_json: bool) -> Result<(), Failure> {
    match as_json {
        true => say::out(json(job)?),
        false => say::out(line(job)),
    }
    Ok(())
}

fn progress(job: &JobView) -> String {
    match job.expected {
        Some(expected) => format!("{} of {expected}", job.events),
        None => job.events.to_string(),
    }
}

/// Returns a job in words.
pub(super) fn line(job: &JobView) -> String {
    format!(
        "job {}: {}, {} events, {} messages put into the outbox, {} events a second",
        job.id,
        word(&job.state),
        progress(job),
        job.copies,
        job.pace
    )
}
