//! First screen of `hookweir serve`. Paths are absolute: a line is pasted into a terminal that opens in another folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::app::{MemoryBound, demo};
use crate::config::model::{Config, Publisher, PublisherUrl, Source, StoreUrl, TlsListener};
use crate::lakehouse;
use crate::runtime::memory;

/// Sources that are listed; the rest is counted.
const LISTED: usize = 20;
const MIB: u64 = 1024 * 1024;

/// Returns the screen. `file` is the configuration's, as given on the command line.
pub(super) fn banner(config: &Config, is_demo: bool, file: Option<&Path>) -> String {
    let mut text = format!("hookweir {}\n", env!("CARGO_PKG_VERSION"));
    for source in config.sources.iter().take(LISTED) {
        let provider = source.provider.as_deref().unwrap_or("a scheme of its own");
        let (url, name) = (url(config, source), &source.name);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  ingest  {url}  ({name}, as {provider})");
    }
    if let Some(more) = config.sources.len().checked_sub(LISTED + 1) {
        let _ = writeln!(text, "          and {} more", more + 1);
    }
    let scheme = config.scheme(TlsListener::Admin);
    let admin = format!("{scheme}://{}", config.server.admin_listen);
    let _ = writeln!(text, "  admin   {admin}/readyz, {admin}/metrics");
    if config.admin.page && config.admin.socket.is_some() {
        let _ = writeln!(
            text,
            "  page    {admin}/page, where a link of `hookweir page` lets you in"
        );
    }
    let _ = writeln!(text, "  store   {}", store(config));
    for sink in &config.sinks {
        let name = match &*sink.section {
            "publisher" => String::new(),
            _ => format!("  (sink {})", sink.name),
        };
        let _ = writeln!(text, "  events  {}{name}", events(sink));
    }
    if lakehouse::runs_in_serve(config) {
        let _ = writeln!(text, "  table   {} (Iceberg)", config.lakehouse.table());
    }
    let now = memory::resident_bytes().map_or(String::new(), |now| {
        format!(" ({} MiB now)", now.div_ceil(MIB))
    });
    let bound = MemoryBound::of(config).total >> 20;
    let _ = write!(
        text,
        "  memory  at most {bound} MiB{now}; `hookweir check --offline` shows its parts"
    );
    if is_demo && let Some(source) = config.sources.first() {
        text.push_str(&first_event(config, source, file));
    }
    text
}

/// Two lines that send a first event to the demo source.
fn first_event(config: &Config, source: &Source, file: Option<&Path>) -> String {
    let secret = absolute(&demo::secret_path(config));
    format!(
        "\n\nNo source is configured, so there is one to try, with its secret in {}.\n\
         Paste this into another terminal. It sends a signed event and shows it arriving:\n\n  {}\n\n\
         Or with curl:\n\n  {}\n",
        secret.display(),
        send(config, file),
        curl(config, source)
    )
}

/// A line of shell that has this program send an event and show it in the file sink. It names no URL that may hold a password.
fn send(config: &Config, file: Option<&Path>) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("hookweir"));
    let mut line = format!(
        "cd {} && {} send --wait",
        quoted(&absolute(Path::new("."))),
        quoted(&program)
    );
    if let Some(file) = file {
        let _ = write!(line, " --config {}", quoted(&absolute(file)));
    }
    let mut set = |key: &str, value: String| {
        if !config.is_default(key) {
            let _ = write!(line, " --set {key}={}", quoted(Path::new(&value)));
        }
    };
    set("server.listen", config.server.listen.to_string());
    if let StoreUrl::Sqlite(_) = config.store.url {
        set("store.url", store(config));
    }
    if let Some(sink) = config.sinks.first()
        && let PublisherUrl::File(_) = sink.url
    {
        set("publisher.url", events(sink));
    }
    line
}

/// A line of shell that sends an event with curl and shows it in the file sink.
fn curl(config: &Config, source: &Source) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let body = format!("{{\"hello\":\"weir\",\"at\":{now}}}");
    let key = source
        .secrets
        .first()
        .map(|secret| secret.expose())
        .unwrap_or_default();
    // HMAC takes a key of any length, so there is always a signature.
    let signature = Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| hex::encode(mac.chain_update(&body).finalize().into_bytes()));
    let show = match config.sinks.first().map(|sink| &sink.url) {
        Some(PublisherUrl::File(folder)) => format!(
            " && echo && sleep 1 && cat {}/*.jsonl | tail -n 1",
            quoted(&absolute(folder))
        ),
        Some(PublisherUrl::Amqp(_) | PublisherUrl::Kafka(_)) | None => String::new(),
    };
    format!(
        "curl -sS {} -H 'content-type: application/json' -H 'x-github-event: hello' -H 'x-github-delivery: {now}' \
         -H 'x-hub-signature-256: sha256={}' -d '{body}'{show}",
        url(config, source),
        signature.unwrap_or_default()
    )
}

fn url(config: &Config, source: &Source) -> String {
    config
        .local_url(source)
        .map(String::from)
        .unwrap_or_default()
}

fn store(config: &Config) -> String {
    match &config.store.url {
        StoreUrl::Sqlite(path) => StoreUrl::Sqlite(absolute(path)).to_string(),
        other => other.to_string(),
    }
}

fn events(sink: &Publisher) -> String {
    match &sink.url {
        PublisherUrl::File(folder) => PublisherUrl::File(absolute(folder)).to_string(),
        other => other.to_string(),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_and_quotes_stays_one_word_of_the_shell() {
        assert_eq!(quoted(Path::new("/srv/a-b.c")), "/srv/a-b.c");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn a_line_to_paste_shows_no_password() {
        let text = "store.url = \"postgres://u:hunter2@h/d\"\npublisher.url = \"amqp://u:hunter2@h/v\"\n\
                    server.listen = \"127.0.0.1:9000\"";
        let mut config = Config::from_toml(text).expect("valid");
        config.sources = Config::from_toml(
            "[[source]]\nname = \"demo\"\nprovider = \"github\"\nsecrets = [\"plain:0123456789abcdef\"]",
        )
        .expect("valid")
        .sources;
        let screen = banner(&config, true, Some(Path::new("/etc/h.toml")));
        assert!(!screen.contains("hunter2"), "{screen}");
        assert!(
            screen
                .contains(" send --wait --config /etc/h.toml --set server.listen=127.0.0.1:9000\n"),
            "{screen}"
        );
        let (send, curl) = (screen.find("send --wait"), screen.find("curl -sS"));
        assert!(send < curl, "{screen}");
    }
}
