//! Checks of a configuration by the stages that use it: schemes and keys, routing keys, message sizes.

use crate::config::model::{AllowFromMode, InServe, Publisher, PublisherUrl, Source};
use crate::config::{Config, ConfigError, Draft, Inputs, Report, TemplateKind};
use crate::lakehouse;
use crate::publish::routing_key::RoutingKey;
#[cfg(feature = "kafka")]
use crate::publish::sinks::kafka::check_property;
use crate::publish::template;
use crate::source::{largest_sent, splits};
use crate::telemetry::traces;
use hookweir_signatures::Scheme;

/// Reads and checks the whole configuration; on failure, returns all of its mistakes.
pub fn load(inputs: &Inputs) -> Result<Config, Vec<ConfigError>> {
    check(Draft::read(inputs)?)
}

/// Finishes a draft that all stages have checked.
fn check(mut draft: Draft) -> Result<Config, Vec<ConfigError>> {
    let Draft { config, report, .. } = &mut draft;
    report.check_templates(|kind, text| match kind {
        TemplateKind::RoutingKey => RoutingKey::parse(text).map(drop),
        TemplateKind::Topic => template::topic(text).map(drop),
        TemplateKind::Key => template::record_key(text).map(drop),
    });
    #[cfg(feature = "kafka")]
    kafka_properties(config, report);
    super::tls::check(config, report);
    schemes(config, report);
    for sink in &config.sinks {
        messages_fit(config, sink, report);
    }
    bodies_are_kept(config, report);
    lakehouse_is_here(config, report);
    if config.traces.endpoint.is_some() && !traces::AVAILABLE {
        report.blame("traces.endpoint", traces::MISSING);
    }
    draft.finish()
}

/// Refuses properties of Kafka's client that would break the promise.
#[cfg(feature = "kafka")]
fn kafka_properties(config: &Config, report: &mut Report) {
    for sink in &config.sinks {
        for (name, value) in &sink.kafka.properties {
            if let Err(why) = check_property(name, value) {
                report.blame(&sink.key(&format!("kafka.{name}")), why);
            }
        }
    }
}

/// Compiles each source's scheme and keys.
fn schemes(config: &Config, report: &mut Report) {
    for source in &config.sources {
        match Scheme::compile(&source.spec(), config.limits.max_events_per_request) {
            Ok(scheme) => {
                let warnings = scheme.warnings().iter();
                warnings
                    .for_each(|warning| report.warn(format!("source {}: {warning}", source.name)));
                short_window(source, &scheme, report);
                refusals_are_final(source, &scheme, report);
                quarantine_is_shorter(config, source, &scheme, report);
            }
            Err(errors) => {
                let errors = errors
                    .into_iter()
                    .map(|error| (source.own_key(&error.key.to_string()), error.text));
                report.blame_source(source, errors);
            }
        }
    }
}

/// Warns of a window that ends before the provider gives up: a late redelivery would be a new event.
fn short_window(source: &Source, scheme: &Scheme, report: &mut Report) {
    let (Some(window), Some(retries)) = (source.window, scheme.facts().retry) else {
        return;
    };
    if window < retries {
        report.warn(format!(
            "source {}: window_days is {}, and its provider sends an event again for {} hours: a redelivery after the window is published as another event; raise window_days to {}, or leave it out",
            source.name,
            window.as_secs() / 86_400,
            retries.as_secs() / 3600,
            retries.as_secs().div_ceil(86_400)
        ));
    }
}

/// Warns of refusals at a provider that does not send again, or is not known to.
fn refusals_are_final(source: &Source, scheme: &Scheme, report: &mut Report) {
    let limits = [source.rate_limit_per_sec, source.client_rate_limit_per_sec];
    let refuses = !source.allow_from.is_empty() && source.allow_from_mode == AllowFromMode::Refuse;
    let is_final = scheme.facts().retry.is_none_or(|retry| retry.is_zero());
    if is_final && (refuses || limits.iter().any(Option::is_some)) {
        report.warn(format!(
            "source {}: its provider does not send again, or is not known to, so that a delivery that allow_from or a rate limit refuses is lost: set \
             allow_from_mode = \"observe\", and leave the rate limits out or far above what the provider sends",
            source.name
        ));
    }
    if source.rate_limit_per_sec.is_some()
        && source.client_rate_limit_per_sec.is_none()
        && source.allow_from.is_empty()
    {
        report.warn(format!(
            "source {}: anybody can use rate_limit_per_sec up, so that the provider is refused: set client_rate_limit_per_sec, too, or allow_from",
            source.name
        ));
    }
}

/// Warns of refused deliveries that stay longer than dedup knows their events.
fn quarantine_is_shorter(config: &Config, source: &Source, scheme: &Scheme, report: &mut Report) {
    let usual = scheme.facts().window.max(config.dedup.window);
    let (keep, window) = (config.quarantine.keep, source.window.unwrap_or(usual));
    if config.quarantine.enabled && keep > window {
        report.warn(format!(
            "source {}: quarantine.keep_days is {}, and its dedup window is {} days: a refused delivery older than the window is verified only with `hookweir quarantine verify --old`, \
             and may be doubled; lower keep_days, or raise window_days",
            source.name,
            keep.as_secs() / 86_400,
            window.as_secs() / 86_400
        ));
    }
}

/// Warns of bodies that are known to come, and that a source's part of the quarantine does not take.
fn bodies_are_kept(config: &Config, report: &mut Report) {
    let (options, sources) = (&config.quarantine, config.sources.len().max(1) as u64);
    let most = options.source_bytes.min(options.max_bytes / sources) / 2;
    let largest = |source: &Source| {
        let limit = config.limits.max_body_bytes;
        source
            .max_body_bytes
            .or_else(|| Some(largest_sent(source)?.min(limit)))
    };
    let sources = config.sources.iter();
    let beyond = sources.filter(|source| largest(source).is_some_and(|bytes| bytes as u64 > most));
    let names: Vec<&str> = beyond.map(|source| source.name.as_str()).collect();
    if let (true, Some(first)) = (options.enabled, names.first()) {
        report.warn(format!(
            "quarantine: a refused delivery above {most} bytes, half of the part of its source, is not kept, and {} of the sources take larger bodies (the first is {first}): \
             raise quarantine.max_bytes and quarantine.source_bytes, or lower max_body_bytes",
            names.len()
        ));
    }
}

/// Reports a writer of the lakehouse that this build has not.
fn lakehouse_is_here(config: &Config, report: &mut Report) {
    if config.lakehouse.in_serve == InServe::On && !lakehouse::AVAILABLE {
        report.blame("lakehouse.in_serve", lakehouse::MISSING);
    }
}

/// Warns of bodies that are larger than the queue takes, and are known to come: they are refused while their sender listens.
fn messages_fit(config: &Config, sink: &Publisher, report: &mut Report) {
    let most = sink.rabbitmq.max_message_bytes;
    let option = sink.key("max_message_bytes");
    if !matches!(sink.url, PublisherUrl::Amqp(_)) || most == 0 || !report.sound(&[&option]) {
        return;
    }
    let broker = format!("and the broker takes messages of {most} bytes ({option})");
    let raise = format!("raise max_message_size at the broker and {option} here");
    let limit = config.limits.max_body_bytes;
    if limit > most && !report.is_default("limits.max_body_bytes") {
        report.warn(format!(
            "limits.max_body_bytes is {limit}, {broker}: bodies above that are answered 413; {raise}, or lower this"
        ));
    }
    for source in config.sources.iter().filter(|source| sink.gets(source)) {
        let (bytes, text, next) = match (source.max_body_bytes, largest_sent(source)) {
            (Some(own), _) => (own, format!("max_body_bytes is {own}"), ", or lower this"),
            (None, Some(sent)) => {
                let text = format!("its provider sends bodies of up to {sent} bytes");
                (sent.min(limit), text, "")
            }
            (None, None) => continue,
        };
        let consequence = if splits(source) {
            "an event above that in a batch is accepted and then parked"
        } else {
            "bodies above that are answered 413"
        };
        if bytes > most {
            report.warn(format!(
                "source {}: {text}, {broker}: {consequence}; {raise}{next}",
                source.name
            ));
        }
    }
}

#[cfg(test)]
mod tests;
