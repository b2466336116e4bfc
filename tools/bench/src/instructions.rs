//! Instructions of the service for one delivery, counted by callgrind: they hardly differ from one run to the next, however busy the
//! machine is, so that a change can be judged by them.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::generator::{self, Load, Mix, Pace};
use super::pipeline::World;
use super::requests::Requests;
use super::say;

/// Duration of each load. Under callgrind the service runs on one core, dozens of times slower.
const TIME: Duration = Duration::from_secs(20);

/// Cost of one kind of delivery.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) what: &'static str,
    pub(crate) deliveries: u64,
    /// Instructions of the service's own code and its libraries, without the kernel's.
    pub(crate) instructions: f64,
}

/// The kinds of deliveries: connections, percent that are duplicates, percent that are forged.
const KINDS: [(&str, usize, Mix); 4] = [
    (
        "new, 1 connection",
        1,
        Mix {
            duplicates: 0,
            forged: 0,
        },
    ),
    (
        "new, 64 connections",
        64,
        Mix {
            duplicates: 0,
            forged: 0,
        },
    ),
    (
        "duplicate, 64 connections",
        64,
        Mix {
            duplicates: 100,
            forged: 0,
        },
    ),
    (
        "forged, 64 connections",
        64,
        Mix {
            duplicates: 0,
            forged: 100,
        },
    ),
];

pub(crate) fn measure(world: &World, body: usize, out: &Path) -> Result<Vec<Cost>, Box<dyn Error>> {
    say("instructions: the service under callgrind, which takes a while");
    let idle = run(world, body, out, "idle", None)?.0;
    let mut costs = Vec::new();
    for (what, connections, mix) in KINDS {
        let name = what.replace([' ', ','], "-").replace("--", "-");
        let (instructions, deliveries) = run(world, body, out, &name, Some((connections, mix)))?;
        let each = instructions.saturating_sub(idle) as f64 / deliveries.max(1) as f64;
        say(format_args!(
            "  {what:<28} {each:>9.0} instructions ({deliveries} deliveries)"
        ));
        costs.push(Cost {
            what,
            deliveries,
            instructions: each,
        });
    }
    say(format_args!(
        "  callgrind_annotate {}/callgrind.NAME says where they are",
        out.display()
    ));
    Ok(costs)
}

/// Instructions from start to end, and how many deliveries were answered.
fn run(
    world: &World,
    body: usize,
    out: &Path,
    name: &str,
    load: Option<(usize, Mix)>,
) -> Result<(u64, u64), Box<dyn Error>> {
    let file = out.join(format!("callgrind.{name}"));
    let argument = format!(
        "--callgrind-out-file={}",
        std::path::absolute(&file)?.display()
    );
    let service = world.service_under(&["valgrind", "--quiet", "--tool=callgrind", &argument])?;
    let answered = match load {
        Some((connections, mix)) => {
            let start = Instant::now();
            let pace = Pace::Closed(connections);
            let load = Load {
                target: service.target(),
                pace,
                mix,
                start,
                count_from: start,
                end: start + TIME,
            };
            generator::run(&load, &mut Requests::new(body))?.all()
        }
        None => {
            std::thread::sleep(TIME);
            0
        }
    };
    service.stop(Duration::from_secs(120))?;
    let text =
        std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let total = text.lines().find_map(|line| {
        line.strip_prefix("totals: ")
            .or(line.strip_prefix("summary: "))
    });
    let total = total
        .and_then(|total| total.trim().parse().ok())
        .ok_or("callgrind wrote no total")?;
    Ok((total, answered))
}
