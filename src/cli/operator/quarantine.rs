//! `hookweir quarantine`: deliveries that were refused and kept.

use super::client::{AdminClient, part};
use super::table::{Table, printable_lines};
use super::times;
use super::trace::{json, print_body};
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{
    Changed, RefusedChoice, RefusedDetails, RefusedList, RefusedQuestion, RefusedRequestView,
    RefusedVerified,
};
use crate::store::catalog::PAGE;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Action on refused deliveries.
    #[arg(value_enum, default_value_t = Verb::List)]
    verb: Verb,
    /// Numbers of deliveries, as list shows them.
    #[arg(value_name = "NUMBER")]
    numbers: Vec<i64>,
    /// Deliveries to this source.
    #[arg(long, value_name = "NAME", conflicts_with = "numbers")]
    source: Option<String>,
    /// Deliveries received at this time or later: a time, a day, or how long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = times::parse, conflicts_with = "numbers")]
    from: Option<String>,
    /// Deliveries received before this time.
    #[arg(long, value_name = "TIME", value_parser = times::parse, conflicts_with = "numbers")]
    to: Option<String>,
    /// All deliveries. verify needs no --all; discard does.
    #[arg(long, conflicts_with_all = ["numbers", "source", "from", "to"])]
    all: bool,
    /// With verify: verify those, too, that are older than the dedup window of their events. If the provider has sent
    /// such an event again since, it is doubled.
    #[arg(long)]
    old: bool,
    /// With verify: say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// With show: print method, target and headers, as `hookweir verify --headers` reads them. It is recorded who
    /// opens them.
    #[arg(long, conflicts_with = "body")]
    headers: bool,
    /// With show: print the body as it was received. It is recorded who opens it.
    #[arg(long)]
    body: bool,
    /// Most deliveries to list.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Reason, for the record. discard needs one.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print each answer as a line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// List refused deliveries, the newest first.
    List,
    /// Show refused deliveries, with the cause of the refusal.
    Show,
    /// Verify refused deliveries again, with the present configuration and at the time of their receipt. Store the
    /// proven ones as events; leave the others.
    Verify,
    /// Delete refused deliveries for good.
    Discard,
}

impl Options {
    fn choice(&self) -> RefusedChoice {
        RefusedChoice {
            numbers: self.numbers.clone(),
            source: self.source.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            all: self.all,
            old: self.old,
            after: None,
            reason: self.reason.clone(),
        }
    }

    /// Returns `true` if numbers, filters or --all are given.
    fn chooses(&self) -> bool {
        let filters = [&self.source, &self.from, &self.to];
        self.all || !self.numbers.is_empty() || filters.iter().any(|part| part.is_some())
    }
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let usage = match options.verb {
        Verb::Show if options.numbers.is_empty() => {
            Some("name the deliveries by their numbers; `hookweir quarantine` lists them")
        }
        Verb::Discard if !options.chooses() => Some(
            "a deletion is for good: give numbers, --source, --from and --to, or --all; `hookweir quarantine` lists what is there",
        ),
        _ => None,
    };
    if let Some(usage) = usage {
        return Err(Failure::Usage(usage.into()));
    }
    let client = AdminClient::new(config)?;
    match options.verb {
        Verb::List => list(&client, options),
        Verb::Show => show(&client, options),
        Verb::Verify => verify(&client, options),
        Verb::Discard => discard(&client, options),
    }
}

fn list(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    let mut question = RefusedQuestion {
        source: options.source.clone(),
        from: options.from.clone(),
        to: options.to.clone(),
        ..RefusedQuestion::default()
    };
    let mut table = Table::new(&["NUMBER", "RECEIVED", "SOURCE", "REASON", "BYTES", "FROM"]);
    let wanted = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let mut left = wanted;
    loop {
        question.limit = Some(left.min(PAGE));
        let page: RefusedList = client.get("quarantine", &question.parameters())?;
        left = left.saturating_sub(page.refused.len());
        for found in page.refused {
            if options.json {
                say::out(json(&found)?);
                continue;
            }
            let cut = if found.cut { ", cut" } else { "" };
            table.row([
                found.number.to_string(),
                found.received_at,
                found.source,
                found.reason,
                format!("{}{cut}", found.bytes),
                found.peer.unwrap_or_default(),
            ]);
        }
        question.after = page.next;
        if question.after.is_none() || left == 0 {
            break;
        }
    }
    table.print();
    if question.after.is_some() {
        say::note("there are older ones, too; --limit shows them");
    } else if left == wanted {
        say::note("no refused delivery is kept");
    } else {
        say::note(
            "`hookweir quarantine show NUMBER` tells the cause; `hookweir quarantine verify` verifies all of them again",
        );
    }
    Ok(())
}

fn show(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    for number in &options.numbers {
        let path = format!("quarantine/{}", part(&number.to_string()));
        if options.body {
            print_body(&client.get_bytes(&format!("{path}/body"), &[])?);
        } else if options.headers {
            let request: RefusedRequestView = client.get(&format!("{path}/request"), &[])?;
            if options.json {
                say::out(json(&request)?);
                continue;
            }
            say::out(format_args!(
                "{} {} HTTP/1.1",
                request.method, request.target
            ));
            for header in request.headers {
                let value = printable_lines(&header.value);
                say::out(format_args!("{}: {value}", header.name));
            }
        } else {
            let details: RefusedDetails = client.get(&path, &[])?;
            if options.json {
                say::out(json(&details)?);
            } else {
                print(&details);
            }
        }
    }
    Ok(())
}

/// Prints a refused delivery.
fn print(details: &RefusedDetails) {
    let found = &details.delivery;
    say::out(format_args!(
        "{}: {} {} to source {}, received {} from {}",
        found.number,
        found.method,
        found.path,
        found.source,
        found.received_at,
        found.peer.as_deref().unwrap_or("an unknown address"),
    ));
    let cut = if found.cut { ", a part is missing" } else { "" };
    say::out(format_args!(
        "  request {}, {} bytes{cut}",
        found.request_id, found.bytes
    ));
    say::out(format_args!(
        "  refused, {}: {}",
        found.reason, found.detail
    ));
    say::out(format_args!("  cause: {}", details.diagnosis.says));
}

/// Has the service verify refused deliveries again, page by page.
fn verify(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    let mut choice = options.choice();
    choice.all = !options.chooses() || options.all;
    let path = match options.dry_run {
        true => "quarantine/verify/plan",
        false => "quarantine/verify",
    };
    let mut all = RefusedVerified::default();
    loop {
        let part: Result<RefusedVerified, Failure> = client.post(path, &choice);
        let part = part.inspect_err(|_| {
            if all.looked > 0 {
                say::note(line(&all, options.dry_run));
            }
        })?;
        let next = part.next;
        all = sum(all, part);
        if next.is_none() {
            break;
        }
        choice.after = next;
        say::note(format_args!("{} looked at so far", all.looked));
    }
    if options.json {
        say::out(json(&all)?);
    } else {
        say::out(line(&all, options.dry_run));
        next_step(&all, options.dry_run);
    }
    match all.not_now {
        0 => Ok(()),
        _ => Err(Failure::NotAsExpected),
    }
}

/// Says what to do about those that stay.
fn next_step(all: &RefusedVerified, dry_run: bool) {
    if dry_run && all.proven > 0 {
        say::note(
            "nothing was changed; without --dry-run the proven ones are stored as events, with their first times of receipt",
        );
    }
    if all.not_now > 0 {
        say::note(
            "those that could not be stored now stay; their key may be on its way, or /readyz names the reason; the same command tries again",
        );
    }
    if all.old > 0 {
        say::note(
            "those older than the dedup window stay: the provider may have sent them again since; look for them with `hookweir events`, then verify them with --old",
        );
    }
    if all.alike > 0 {
        say::note(
            "those like a recent event stay: if each is an event of its own, verify them with --old after the provider's retry span; otherwise discard them",
        );
    }
    if all.refused + all.cut + all.without_source + all.undecided > 0 {
        say::note("`hookweir quarantine show NUMBER` tells the cause of each that stays");
    }
}

fn sum(one: RefusedVerified, other: RefusedVerified) -> RefusedVerified {
    RefusedVerified {
        looked: one.looked + other.looked,
        proven: one.proven + other.proven,
        accepted: one.accepted + other.accepted,
        known: one.known + other.known,
        alike: one.alike + other.alike,
        old: one.old + other.old,
        not_now: one.not_now + other.not_now,
        refused: one.refused + other.refused,
        cut: one.cut + other.cut,
        without_source: one.without_source + other.without_source,
        undecided: one.undecided + other.undecided,
        next: None,
    }
}

/// Returns the result in words. Of those that stay, only kinds that occur.
fn line(all: &RefusedVerified, dry_run: bool) -> String {
    let mut line = format!("{} looked at: ", all.looked);
    line += &match dry_run {
        true => format!("{} proven", all.proven),
        false => format!("{} accepted, {} known already", all.accepted, all.known),
    };
    for (count, what) in [
        (
            all.alike,
            "like a recent event, and without an id of its own",
        ),
        (all.old, "older than the dedup window"),
        (all.not_now, "could not be stored now"),
        (all.refused, "still refused"),
        (all.cut, "cut, so that they cannot be verified"),
        (all.without_source, "whose source is not configured"),
        (
            all.undecided,
            "that are handshakes, or whose key is not there yet",
        ),
    ] {
        if count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    line
}

/// Has the service delete refused deliveries.
fn discard(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    let mut gone = 0;
    if options.numbers.is_empty() {
        loop {
            let changed: Changed = client.post("quarantine/discard", &options.choice())?;
            gone += changed.count;
            if changed.count == 0 {
                break;
            }
        }
        say::out(format_args!("{gone} discarded"));
        return Ok(());
    }
    for numbers in options.numbers.chunks(PAGE) {
        let choice = RefusedChoice {
            numbers: numbers.to_vec(),
            ..options.choice()
        };
        let changed: Changed = client.post("quarantine/discard", &choice)?;
        gone += changed.count;
    }
    say::out(format_args!("{gone} discarded"));
    match options.numbers.len() as u64 {
        wanted if gone < wanted => Err(Failure::Usage(format!(
            "{} of {wanted} are not there (any more)",
            wanted - gone
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_says_how_many_were_stored_and_why_the_others_stay() {
        let all = RefusedVerified {
            looked: 13,
            proven: 10,
            accepted: 8,
            known: 2,
            refused: 3,
            ..RefusedVerified::default()
        };
        assert_eq!(
            line(&all, false),
            "13 looked at: 8 accepted, 2 known already, 3 still refused"
        );
        assert_eq!(line(&all, true), "13 looked at: 10 proven, 3 still refused");
    }
}
