//! `hookweir republish`: stored events, published again.

use super::client::AdminClient;
use super::{jobs, times};
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{JobView, RepublishOrder, RepublishPlan, RepublishQuestion};
use crate::store::republish::JobId;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Provider's ids or message ids; in their place, all events that fit the options below.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Events of this source; with ids: if several sources have an id.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Events received at this time or later: a time, a day, or how long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    from: Option<String>,
    /// Events received before this time.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    to: Option<String>,
    /// Events in this state; with --sink, the state there. The dry run counts parked events, which go to
    /// their other sinks only: `hookweir parked retry` puts them back.
    #[arg(long, value_name = "STATE", value_parser = ["waiting", "parked", "published"])]
    state: Option<String>,
    /// Sink of --state.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Publish to this sink only; by default to each sink that wants an event.
    #[arg(long, value_name = "NAME")]
    only_to: Option<String>,
    /// Events in a second.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pace: u32,
    /// Begin: without it, nothing is published.
    #[arg(long)]
    start: bool,
    /// Id of the job, to repeat an order that got no answer: the same id begins no second job.
    #[arg(long, value_name = "JOB", requires = "start", value_parser = job_id)]
    id: Option<JobId>,
    /// Reason, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print the answer as JSON: the dry run, or with --start the job.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn choice(&self) -> RepublishQuestion {
        RepublishQuestion {
            ids: self.ids.clone(),
            source: self.source.clone(),
            event_type: self.event_type.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            state: self.state.clone(),
            sink: self.sink.clone(),
            only_to: self.only_to.clone(),
            after: None,
        }
    }
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let client = AdminClient::new(config)?;
    let plan = dry_run(&client, options)?;
    if !options.start {
        if options.json {
            say::out(super::trace::json(&plan)?);
        } else {
            say::out(line(&plan, options.pace));
            say::note("nothing was published; --start begins");
        }
        return Ok(());
    }
    // An order that is repeated may have changed the state that it chose its events by.
    if plan.events == 0 && options.id.is_none() {
        return Err(Failure::Usage(
            "no event fits; `hookweir events` takes the same options and lists what is stored"
                .into(),
        ));
    }
    let id = options.id.unwrap_or_default();
    say::note(format_args!("ordering job {id}"));
    let order = RepublishOrder {
        choice: options.choice(),
        id: Some(id.to_string()),
        pace: Some(options.pace),
        expected: Some(plan.events),
        reason: options.reason.clone(),
    };
    let job: Result<JobView, Failure> = client.post("republish", &order);
    let job = job.map_err(|failure| repeatable(failure, id))?;
    if options.json {
        say::out(super::trace::json(&job)?);
        return Ok(());
    }
    say::out(line(&plan, options.pace));
    say::out(jobs::line(&job));
    say::note(format_args!(
        "`hookweir jobs watch {}` follows it, `hookweir jobs cancel {}` ends it",
        job.id, job.id
    ));
    Ok(())
}

fn job_id(text: &str) -> Result<JobId, &'static str> {
    JobId::parse(text).ok_or("it is no UUID; the first order has printed the id")
}

/// Returns the failure of an order, with the way to repeat it.
fn repeatable(failure: Failure, id: JobId) -> Failure {
    match failure {
        Failure::Unreachable(why) => Failure::Unreachable(format!(
            "{why}; the same order with --id {id} begins no second job"
        )),
        other => other,
    }
}

/// Returns the events that fit, over all answers of the service.
fn dry_run(client: &AdminClient, options: &Options) -> Result<RepublishPlan, Failure> {
    let mut choice = options.choice();
    let mut all = RepublishPlan::default();
    loop {
        let part: RepublishPlan = client.post("republish/plan", &choice)?;
        all.events += part.events;
        all.bytes += part.bytes;
        all.first = [all.first, part.first].into_iter().flatten().min();
        all.last = [all.last, part.last].into_iter().flatten().max();
        if part.next.is_none() {
            return Ok(all);
        }
        say::note(format_args!("{} events found so far", all.events));
        choice.after = part.next;
    }
}

/// Returns a dry run in words: count, bytes, first, last and minutes.
fn line(plan: &RepublishPlan, pace: u32) -> String {
    let (Some(first), Some(last)) = (&plan.first, &plan.last) else {
        return "0 events".to_owned();
    };
    let seconds = plan.events.div_ceil(u64::from(pace));
    let takes = match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds.div_ceil(60)),
    };
    format!(
        "{} events, {} bytes, received from {first} to {last}; at {pace} a second they take {takes}",
        plan.events, plan.bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_says_how_many_events_how_large_from_when_and_how_long_they_take() {
        let plan = RepublishPlan {
            events: 30_001,
            bytes: 9,
            first: Some("2026-11-28T00:00:00.000Z".into()),
            last: Some("2026-11-28T09:30:00.000Z".into()),
            next: None,
        };
        assert_eq!(
            line(&plan, 100),
            "30001 events, 9 bytes, received from 2026-11-28T00:00:00.000Z to 2026-11-28T09:30:00.000Z; at 100 a second they take 6 min"
        );
        assert_eq!(line(&RepublishPlan::default(), 100), "0 events");
    }

    #[test]
    fn an_order_without_an_answer_says_that_it_may_be_repeated_with_its_id() {
        let id = JobId::new();
        let failure = repeatable(Failure::Unreachable("no answer".into()), id);
        let Failure::Unreachable(why) = failure else {
            panic!("another failure");
        };
        assert!(why.contains(&format!("--id {id}")), "{why}");
        let refused = repeatable(Failure::Usage("16 jobs run".into()), id);
        assert!(matches!(refused, Failure::Usage(why) if why == "16 jobs run"));
    }
}
