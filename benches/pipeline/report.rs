//! What is made of results: a table in Markdown, and charts.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::plot::Chart;

/// Writes the table and the charts of the results in `FOLDER/NAME.json` beside them.
pub(crate) fn write(folder: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let found: Value = serde_json::from_slice(&fs::read(folder.join(format!("{name}.json")))?)?;
    fs::write(folder.join(format!("{name}.md")), table(&found))?;
    let rows: Vec<&Value> = found["rows"].as_array().into_iter().flatten().collect();
    let open: Vec<&Value> = rows.iter().copied().filter(|row| row["offered"].is_number()).collect();
    let line = |key: &str| open.iter().map(|row| (number(row, "offered"), number(row, key))).collect();
    let backend = found["backend"].as_str().unwrap_or_default();
    if open.len() > 1 {
        let title = format!("{backend}: what is answered and published");
        let lines = vec![("accepted", line("accepted")), ("published", line("published")), ("refused (503)", line("shed"))];
        let chart = Chart { title: &title, x: "offered, deliveries/s", y: "per second", logarithmic: false, lines };
        fs::write(folder.join(format!("{name}-throughput.svg")), chart.svg())?;
        let title = format!("{backend}: latency from the intended start");
        let lines = vec![("p50", line("p50_ms")), ("p99", line("p99_ms")), ("p99.9", line("p999_ms"))];
        let chart = Chart { title: &title, x: "offered, deliveries/s", y: "ms", logarithmic: true, lines };
        fs::write(folder.join(format!("{name}-latency.svg")), chart.svg())?;
    }
    let memory = |row: &Value| -> Vec<(f64, f64)> {
        let seen = row["rss_mib"].as_array().into_iter().flatten();
        seen.filter_map(|pair| Some((pair[0].as_f64()?, pair[1].as_f64()?))).collect()
    };
    let last = [rows.iter().rfind(|row| !row["offered"].is_number()), open.last()].into_iter().flatten();
    let lines: Vec<_> = last.map(|row| (row["load"].as_str().unwrap_or_default(), memory(row))).collect();
    if !lines.is_empty() {
        let title = format!("{backend}: resident memory of the service");
        let chart = Chart { title: &title, x: "seconds", y: "MiB", logarithmic: false, lines };
        fs::write(folder.join(format!("{name}-memory.svg")), chart.svg())?;
    }
    Ok(())
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_default()
}

fn table(found: &Value) -> String {
    let mut text = String::new();
    if let Some(parts) = found["ceiling"]["parts"].as_array() {
        text += "| part alone | per second |\n|---|---:|\n";
        for part in parts {
            let _ = writeln!(text, "| {} | {:.0} |", part["name"].as_str().unwrap_or_default(), number(part, "per_second"));
        }
        let ceiling = |key| number(&found["ceiling"], key);
        let _ = writeln!(text, "| **ceiling, accepted** | **{:.0}** |", ceiling("accepted"));
        let _ = writeln!(text, "| **ceiling, accepted and published** | **{:.0}** |\n", ceiling("published"));
    }
    text += "| load | accepted/s | 503/s | published/s | sustained/s | p50 ms | p99 ms | p99.9 ms | over the deadline | CPU us: service, PostgreSQL, RabbitMQ | RSS MiB |\n";
    text += "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|\n";
    for row in found["rows"].as_array().into_iter().flatten() {
        let cpu =
            ["service", "postgres", "rabbitmq"].map(|name| row["cpu_us"][name].as_f64().map_or("-".to_owned(), |us| format!("{us:.0}")));
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {} | {:.0} |",
            row["load"].as_str().unwrap_or_default(),
            number(row, "accepted"),
            number(row, "shed"),
            number(row, "published"),
            number(row, "sustained"),
            number(row, "p50_ms"),
            number(row, "p99_ms"),
            number(row, "p999_ms"),
            row["over_deadline"],
            cpu.join(", "),
            number(row, "rss_peak_mib")
        );
    }
    text
}
