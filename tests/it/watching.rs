//! Alert rules and dashboard in `packaging`: what they name is there. `tests/alerts` evaluates them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

struct Alert {
    name: String,
    expr: String,
    severity: String,
    runbook: String,
}

/// The rules, each written as lines `key: value`.
fn alerts() -> Vec<Alert> {
    let text = read("packaging/prometheus/alerts.yml");
    let rules = text.split("- alert: ").skip(1);
    let alert = |rule: &str| {
        let value = |key: &str| {
            let found = rule.lines().find_map(|line| line.trim().strip_prefix(key));
            found
                .unwrap_or_else(|| panic!("no {key} in {rule}"))
                .trim()
                .to_owned()
        };
        Alert {
            name: rule.lines().next().unwrap_or_default().to_owned(),
            expr: value("expr:"),
            severity: value("labels: {severity:"),
            runbook: value("runbook:"),
        }
    };
    rules.map(alert).collect()
}

/// Names of metrics in an expression. A histogram's series have endings of their own.
fn metrics_in(expr: &str) -> impl Iterator<Item = &str> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("hookweir_"));
    names.map(|name| {
        let endings = ["_bucket", "_sum", "_count"];
        endings
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(name)
    })
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|c| c.is_alphanumeric() || *c == '-')
        .collect()
}

#[test]
fn each_alert_has_an_entry_in_the_runbook_with_its_expression() {
    let runbook = read("docs/operations/runbook.md");
    let alerts = alerts();
    assert!(alerts.len() >= 20, "{} alerts", alerts.len());
    for alert in alerts {
        let wanted = alert
            .runbook
            .strip_prefix("docs/operations/runbook.md#")
            .unwrap_or_else(|| panic!("{}: {}", alert.name, alert.runbook));
        let section = runbook
            .split("\n## ")
            .find(|section| anchor(section.lines().next().unwrap_or_default()) == wanted)
            .unwrap_or_else(|| panic!("{}: no heading {wanted}", alert.name));
        assert!(
            section.contains(&alert.expr),
            "{}: its entry has another expression",
            alert.name
        );
        assert!(
            ["page}", "ticket}"].contains(&alert.severity.as_str()),
            "{}: {}",
            alert.name,
            alert.severity
        );
    }
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_the_service_has() {
    let page = read("docs/reference/metrics.md");
    let known = |name: &str| page.contains(&format!("| `{name}` |"));
    for alert in alerts() {
        for name in metrics_in(&alert.expr) {
            assert!(known(name), "{}: no metric {name}", alert.name);
        }
    }
    for expr in panels().iter().flat_map(expressions) {
        assert!(metrics_in(&expr).count() > 0, "{expr}");
        for name in metrics_in(&expr) {
            assert!(known(name), "the dashboard: no metric {name}");
        }
    }
}

fn panels() -> Vec<Value> {
    let text = read("packaging/grafana/hookweir.json");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

fn expressions(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().cloned().unwrap_or_default();
    let expr = |target: &Value| target["expr"].as_str().expect("an expression").to_owned();
    targets.iter().map(expr).collect()
}

#[test]
fn no_panel_of_the_dashboard_covers_another() {
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} covers another panel");
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            assert!(unit.is_string(), "{title} has no unit");
        }
    }
}
