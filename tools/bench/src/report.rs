//! Report of the results: tables in Markdown, and charts.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::plot::{self, Chart};

type Points = Vec<(f64, f64)>;

/// Writes the table and the charts of the results in `FOLDER/NAME.json` beside them.
pub(crate) fn write(folder: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let found: Value = serde_json::from_slice(&fs::read(folder.join(format!("{name}.json")))?)?;
    if found["knobs"].is_array() {
        return knobs(folder, name, &found);
    }
    let (table, charts) = if found["growth"].is_array() {
        growth(&found)
    } else if found["outage"].is_object() {
        outage(&found)
    } else if found["steady"].is_array() {
        steady(&found)
    } else if found["restart"].is_array() {
        (restart(&found), Vec::new())
    } else if found["in_turn"].is_array() {
        (in_turn(&found), Vec::new())
    } else if found["instructions"].is_array() {
        (instructions(&found), Vec::new())
    } else {
        pipeline(&found)
    };
    fs::write(folder.join(format!("{name}.md")), table)?;
    for (kind, chart) in charts {
        fs::write(folder.join(format!("{name}-{kind}.svg")), chart.svg())?;
    }
    Ok(())
}

fn list(value: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_default()
}

fn text<'v>(row: &'v Value, key: &str) -> &'v str {
    row[key].as_str().unwrap_or_default()
}

fn points(pairs: &Value) -> Points {
    list(pairs)
        .filter_map(|pair| Some((pair[0].as_f64()?, pair[1].as_f64()?)))
        .collect()
}

fn pipeline(found: &Value) -> (String, Vec<(&'static str, Chart)>) {
    let mut table = String::new();
    if let Some(ms) = found["commit_ms"].as_f64() {
        let _ = writeln!(table, "One flushed commit: {ms:.2} ms\n");
    }
    if found["ceiling"]["parts"].is_array() {
        table += "| part alone | per second |\n|---|---:|\n";
        for part in list(&found["ceiling"]["parts"]) {
            let _ = writeln!(
                table,
                "| {} | {:.0} |",
                text(part, "name"),
                number(part, "per_second")
            );
        }
        let ceiling = |key| number(&found["ceiling"], key);
        let _ = writeln!(
            table,
            "| **ceiling, accepted** | **{:.0}** |",
            ceiling("accepted")
        );
        let _ = writeln!(
            table,
            "| **ceiling, accepted and published** | **{:.0}** |\n",
            ceiling("published")
        );
    }
    let rows: Vec<&Value> = list(&found["rows"]).collect();
    if !rows.is_empty() {
        table += &loads(&rows);
    }
    for peer in list(&found["compared"][0]) {
        let peer_numbers = [
            number(peer, "accepted"),
            number(peer, "p50_ms"),
            number(peer, "p99_ms"),
        ];
        let _ = writeln!(
            table,
            "\n{}: {:.0}/s accepted, p50 {:.1} ms, p99 {:.1} ms",
            text(peer, "peer"),
            peer_numbers[0],
            peer_numbers[1],
            peer_numbers[2]
        );
    }
    if found["compared"][1].is_object() {
        table += "\n";
        table += &loads(&[&found["compared"][1]]);
    }

    let backend = text(found, "backend");
    let plain: Vec<&Value> = rows
        .iter()
        .copied()
        .filter(|row| number(row, "duplicates_percent") == 0.0)
        .collect();
    let open: Vec<&Value> = plain
        .iter()
        .copied()
        .filter(|row| row["offered"].is_number())
        .collect();
    let line = |key: &str| -> Points {
        open.iter()
            .map(|row| (number(row, "offered"), number(row, key)))
            .collect()
    };
    let mut charts = Vec::new();
    if open.len() > 1 {
        let lines = [
            ("accepted", "accepted"),
            ("published", "published"),
            ("refused (503)", "shed"),
        ];
        charts.push((
            "throughput",
            Chart::new(
                format!("{backend}: what is answered and published"),
                "offered, deliveries/s",
                "per second",
            )
            .with(lines.map(|(name, key)| (name.to_owned(), line(key)))),
        ));
        let lines = [("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms")];
        charts.push((
            "latency",
            Chart::new(
                format!("{backend}: latency from the intended start"),
                "offered, deliveries/s",
                "ms",
            )
            .with(lines.map(|(name, key)| (name.to_owned(), line(key))))
            .logarithmic(),
        ));
    }
    let last = [
        plain.iter().rfind(|row| !row["offered"].is_number()),
        open.last(),
    ]
    .into_iter()
    .flatten();
    let lines: Vec<_> = last
        .map(|row| (text(row, "load").to_owned(), points(&row["rss_mib"])))
        .collect();
    if !lines.is_empty() {
        charts.push((
            "memory",
            Chart::new(
                format!("{backend}: resident memory of the service"),
                "seconds",
                "MiB",
            )
            .with(lines),
        ));
    }
    (table, charts)
}

/// A line for each load.
fn loads(rows: &[&Value]) -> String {
    let mut table =
        "| load | body | duplicates | accepted/s | duplicate/s | 503/s | published/s | sustained/s | p50 ms | p99 ms | p99.9 ms | \
                     over the deadline | CPU us: service, PostgreSQL, queue | RSS MiB |\n"
            .to_owned();
    table += "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|\n";
    for row in rows {
        let _ = writeln!(
            table,
            "| {} | {} | {} % | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {} | {:.0} |",
            text(row, "load"),
            row["body"],
            row["duplicates_percent"],
            number(row, "accepted"),
            number(row, "duplicate"),
            number(row, "shed"),
            number(row, "published"),
            number(row, "sustained"),
            number(row, "p50_ms"),
            number(row, "p99_ms"),
            number(row, "p999_ms"),
            row["over_deadline"],
            cpu(row),
            number(row, "rss_peak_mib")
        );
    }
    table
}

fn restart(found: &Value) -> String {
    let mut table =
        "| events stored | accepted/s | of empty | p50 ms | p99 ms | service us | PostgreSQL us |\n|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
    let empty = found["restart"]
        .get(0)
        .map_or(0.0, |row| number(row, "accepted"));
    for row in list(&found["restart"]) {
        let accepted = number(row, "accepted");
        let _ = writeln!(
            table,
            "| {:.0} | {accepted:.0} | {:.3} | {:.1} | {:.1} | {:.1} | {:.1} |",
            number(row, "stored"),
            accepted / empty,
            number(row, "p50_ms"),
            number(row, "p99_ms"),
            number(row, "service_us"),
            number(row, "postgres_us")
        );
    }
    table
}

/// Medians of what was measured in turn, each beside those of the first.
fn in_turn(found: &Value) -> String {
    let mut table = "| load | service | accepted/s | of the first | sustained/s | of the first | p50 ms | p99 ms | of the first | service us | \
                     PostgreSQL us | queue us |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for row in list(&found["in_turn"]) {
        let [accepted, sustained, p99] =
            ["accepted", "sustained", "p99_ms"].map(|key| number(row, key));
        let [of_accepted, of_sustained, of_p99] =
            ["of_accepted", "of_sustained", "of_p99"].map(|key| number(row, key));
        let _ = writeln!(
            table,
            "| {} | {} | {accepted:.0} | {of_accepted:.3} | {sustained:.0} | {of_sustained:.3} | {:.2} | {p99:.2} | {of_p99:.3} | {:.1} | \
             {:.1} | {:.1} |",
            text(row, "load"),
            text(row, "service"),
            number(row, "p50_ms"),
            number(row, "service_us"),
            number(row, "postgres_us"),
            number(row, "queue_us")
        );
    }
    table
}

fn growth(found: &Value) -> (String, Vec<(&'static str, Chart)>) {
    let rows: Vec<&Value> = list(&found["growth"]).collect();
    let base = rows
        .first()
        .map(|row| number(row, "sustained"))
        .unwrap_or_default();
    let mut table =
        "| keys | key table MiB | accepted/s | sustained/s | of the first | p50 ms | p99 ms | CPU us: service, PostgreSQL | RSS MiB |\n\
                     |---:|---:|---:|---:|---:|---:|---:|---|---:|\n"
            .to_owned();
    for row in &rows {
        let _ = writeln!(
            table,
            "| {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.0}, {:.0} | {:.0} |",
            row["keys"],
            number(row, "bytes") / f64::from(1 << 20),
            number(row, "accepted"),
            number(row, "sustained"),
            number(row, "sustained") / base,
            number(row, "p50_ms"),
            number(row, "p99_ms"),
            number(&row["cpu_us"], "service"),
            number(&row["cpu_us"], "postgres"),
            number(row, "rss_peak_mib")
        );
    }
    // The last one is the first one once more.
    let line = |key: &str| -> Points {
        rows.iter()
            .take(rows.len().saturating_sub(1))
            .map(|row| (number(row, "keys") / 1e6, number(row, key)))
            .collect()
    };
    let chart = Chart::new(
        "Throughput by the number of stored keys",
        "keys, millions",
        "events per second",
    )
    .with([
        ("accepted".to_owned(), line("accepted")),
        ("sustained".to_owned(), line("sustained")),
    ]);
    (table, vec![("throughput", chart)])
}

fn outage(found: &Value) -> (String, Vec<(&'static str, Chart)>) {
    let outage = &found["outage"];
    let gone = outage["drained_seconds"]
        .as_f64()
        .map_or("not gone in time".to_owned(), |seconds| {
            format!("gone after {seconds:.0} s")
        });
    let mut table = format!(
        "{} events waited; {gone}, with new deliveries at a quarter of the capacity; {:.0} published a second, old and new.\n\
         Accepted in all {}, in the queue {}.\n\n",
        outage["backlog"],
        number(outage, "published"),
        outage["accepted"],
        outage["in_queue"]
    );
    table +=
        "| | accepted/s | p50 ms | p99 ms | p99.9 ms | RSS MiB |\n|---|---:|---:|---:|---:|---:|\n";
    let calm = [("before the outage".to_owned(), &outage["calm"])];
    let draining = list(&outage["draining"])
        .enumerate()
        .map(|(place, row)| (format!("draining, stretch {}", place + 1), row));
    for (name, row) in calm.into_iter().chain(draining) {
        let [accepted, p50, p99, p999, rss] =
            ["accepted", "p50_ms", "p99_ms", "p999_ms", "rss_peak_mib"].map(|key| number(row, key));
        let _ = writeln!(
            table,
            "| {name} | {accepted:.0} | {p50:.1} | {p99:.1} | {p999:.1} | {rss:.0} |"
        );
    }
    let waiting: Points = points(&outage["waiting"])
        .into_iter()
        .map(|(rows, mib)| (rows / 1000.0, mib))
        .collect();
    let chart = Chart::new(
        "Resident memory of the service while the queue is away",
        "events that wait, thousands",
        "MiB",
    )
    .with([("memory".to_owned(), waiting)]);
    (table, vec![("memory", chart)])
}

/// The tables that a steady load goes through.
const TABLES: [&str; 4] = ["dedup", "event", "outbox", "published"];

fn steady(found: &Value) -> (String, Vec<(&'static str, Chart)>) {
    let samples: Vec<&Value> = list(&found["steady"]).collect();
    let mib = |sample: &Value, table: &str| {
        number(&sample["tables"][table], "bytes") / f64::from(1 << 20)
    };
    let mut table = "| minute | accepted | p50 ms | p99 ms | RSS MiB |".to_owned();
    TABLES.iter().for_each(|name| {
        let _ = write!(table, " {name}: MiB, live, dead |");
    });
    let _ = writeln!(
        table,
        "\n|---:|---:|---:|---:|---:|{}",
        "---|".repeat(TABLES.len())
    );
    let every = (samples.len() / 12).max(1);
    for sample in samples.iter().rev().step_by(every).rev() {
        let [minute, p50, p99, rss] =
            ["minute", "p50_ms", "p99_ms", "rss_mib"].map(|key| number(sample, key));
        let _ = write!(
            table,
            "| {minute:.0} | {} | {p50:.1} | {p99:.1} | {rss:.0} |",
            sample["accepted"]
        );
        for name in TABLES {
            let counts = &sample["tables"][name];
            let _ = write!(
                table,
                " {:.0}, {}, {} |",
                mib(sample, name),
                counts["live"],
                counts["dead"]
            );
        }
        table.push('\n');
    }
    let line = |of: &dyn Fn(&Value) -> f64| -> Points {
        samples
            .iter()
            .map(|sample| (number(sample, "minute"), of(sample)))
            .collect()
    };
    let rate = number(found, "rate");
    let sizes = TABLES.map(|name| (name.to_owned(), line(&|sample| mib(sample, name))));
    let dead = TABLES.map(|name| {
        (
            name.to_owned(),
            line(&|sample| number(&sample["tables"][name], "dead")),
        )
    });
    let memory = [(
        "memory".to_owned(),
        line(&|sample| number(sample, "rss_mib")),
    )];
    let charts = vec![
        (
            "tables",
            Chart::new(
                format!("Tables at {rate:.0} events/s"),
                "minutes",
                "MiB with indexes",
            )
            .with(sizes),
        ),
        (
            "dead",
            Chart::new(
                format!("Dead rows at {rate:.0} events/s"),
                "minutes",
                "dead rows",
            )
            .with(dead),
        ),
        (
            "memory",
            Chart::new(
                format!("Resident memory of the service at {rate:.0} events/s"),
                "minutes",
                "MiB",
            )
            .with(memory),
        ),
    ];
    (table, charts)
}

/// A table of all, and for each option a picture of what is answered and published, how late, and in how much memory.
fn knobs(folder: &Path, name: &str, found: &Value) -> Result<(), Box<dyn Error>> {
    let mut table = String::new();
    for knob in list(&found["knobs"]) {
        let (option, default) = (text(knob, "option"), text(knob, "default"));
        let _ = write!(
            table,
            "`{option}`, {}:\n\n| value | accepted/s | 503/s | published/s | sustained/s | p50 ms | p99 ms | over the deadline | events in a batch | CPU us: \
             service, PostgreSQL, queue | RSS MiB |\n|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|\n",
            text(knob, "load")
        );
        let rows: Vec<&Value> = list(&knob["rows"]).collect();
        let mark = |row: &Value| {
            let value = text(row, "value");
            if value == default {
                format!("**{value}**")
            } else {
                value.to_owned()
            }
        };
        for row in &rows {
            let [accepted, shed, published, sustained, batch, rss] = [
                "accepted",
                "shed",
                "published",
                "sustained",
                "batch",
                "rss_peak_mib",
            ]
            .map(|key| number(row, key));
            let _ = writeln!(
                table,
                "| {} | {accepted:.0} | {shed:.0} | {published:.0} | {sustained:.0} | {:.1} | {:.1} | {} | {batch:.0} | {} | {rss:.0} |",
                mark(row),
                number(row, "p50_ms"),
                number(row, "p99_ms"),
                row["over_deadline"],
                cpu(row),
            );
        }
        table.push('\n');
        let names = || {
            rows.iter()
                .map(|row| {
                    text(row, "value").to_owned()
                        + if text(row, "value") == default {
                            " *"
                        } else {
                            ""
                        }
                })
                .collect()
        };
        let chart = |title: &str, y, lines: &[(&str, &str)]| {
            let line = |key: &str| {
                rows.iter()
                    .enumerate()
                    .map(|(place, row)| (place as f64, number(row, key)))
                    .collect()
            };
            Chart::new(title, "* is the default", y)
                .named(names())
                .with(
                    lines
                        .iter()
                        .map(|(name, key)| ((*name).to_owned(), line(key))),
                )
        };
        let throughput = [
            ("accepted", "accepted"),
            ("published", "published"),
            ("until all are", "sustained"),
            ("refused (503)", "shed"),
        ];
        let charts = [
            chart(
                &format!("{option}: {}", text(knob, "load")),
                "per second",
                &throughput,
            ),
            chart("latency", "ms", &[("p50", "p50_ms"), ("p99", "p99_ms")]),
            chart(
                "resident memory of the service",
                "MiB",
                &[("peak", "rss_peak_mib")],
            ),
        ];
        fs::write(
            folder.join(format!("{name}-{}.svg", option.replace('.', "-"))),
            plot::side_by_side(&charts),
        )?;
    }
    Ok(fs::write(folder.join(format!("{name}.md")), table)?)
}

/// CPU microseconds for each answer, by process.
fn cpu(row: &Value) -> String {
    let queue = if row["cpu_us"]["kafka"].is_number() {
        "kafka"
    } else {
        "rabbitmq"
    };
    ["service", "postgres", queue]
        .map(|name| {
            row["cpu_us"][name]
                .as_f64()
                .map_or("-".to_owned(), |us| format!("{us:.0}"))
        })
        .join(", ")
}

fn instructions(found: &Value) -> String {
    let mut table = "| delivery | instructions |\n|---|---:|\n".to_owned();
    for row in list(&found["instructions"]) {
        let _ = writeln!(
            table,
            "| {} | {:.0} |",
            text(row, "what"),
            number(row, "instructions")
        );
    }
    table
}
