//! Results that follow from Kafka's error codes, and errors as text for the operator. Pure.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::domain::text::one_line;
use crate::publish::sinks::PublishResult;

/// A record, as far as its result needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'s> {
    pub(super) topic: &'s str,
    /// Bytes of the body.
    pub(super) bytes: usize,
    /// Largest record batch that the topic takes, if that is known.
    pub(super) limit: Option<usize>,
}

/// Returns the result of a record with the given report.
pub(super) fn result(code: Code, sent: Sent<'_>) -> PublishResult {
    let topic = sent.topic;
    match code {
        // The broker has the record already, from an attempt whose answer was lost.
        Code::NoError | Code::DuplicateSequenceNumber => PublishResult::Confirmed,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => PublishResult::Unroutable(format!(
            "topic \"{topic}\" is missing: create it, or set publisher.declare = true"
        )),
        Code::TopicAuthorizationFailed => PublishResult::Nacked(format!(
            "the user may not write to topic \"{topic}\": grant it WRITE and DESCRIBE"
        )),
        Code::ClusterAuthorizationFailed => PublishResult::Nacked(
            "the user may not write idempotently: grant it WRITE on its topics, or IDEMPOTENT_WRITE on the cluster"
                .to_owned(),
        ),
        // An operator can mend it, so it is never a reason to park an event. Nothing was written.
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::ThrottlingQuotaExceeded
        | Code::PolicyViolation
        | Code::UnsupportedCompressionType
        | Code::InvalidRequiredAcks
        | Code::QueueFull => PublishResult::Nacked(format!("topic \"{topic}\": {}", text(code))),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            PublishResult::Refused(too_large(sent))
        }
        Code::InvalidRecord | Code::InvalidTimestamp | Code::InvalidTopic => {
            PublishResult::Refused(format!("topic \"{topic}\": {}", text(code)))
        }
        _ => PublishResult::Unknown(format!("topic \"{topic}\": {}", text(code))),
    }
}

/// Returns `true` if the producer can be used no more after this report.
pub(super) fn ends_producer(code: Code) -> bool {
    matches!(
        code,
        Code::Fatal
            | Code::OutOfOrderSequenceNumber
            | Code::UnknownProducerId
            | Code::InvalidProducerIdMapping
            | Code::InvalidProducerEpoch
            | Code::ProducerFenced
            | Code::PurgeQueue
            | Code::PurgeInflight
    )
}

fn too_large(sent: Sent<'_>) -> String {
    let Sent {
        topic,
        bytes,
        limit,
    } = sent;
    match limit {
        Some(limit) => format!(
            "the message is larger than topic \"{topic}\" takes: a body of {bytes} bytes, and at most {limit} bytes with key and \
             headers (max.message.bytes)"
        ),
        None => format!(
            "the message is larger than topic \"{topic}\" takes (max.message.bytes): a body of {bytes} bytes"
        ),
    }
}

/// Returns the library's sentence for a code.
pub(super) fn text(code: Code) -> String {
    let text = code.to_string();
    // "Name (sentence)"
    let sentence = text
        .split_once(" (")
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    one_line(sentence.unwrap_or(&text))
}

/// Returns the reason why a question found no answer.
pub(super) fn no_answer(code: Code, limit: Duration) -> String {
    match code {
        Code::BrokerTransportFailure | Code::OperationTimedOut => {
            format!("no answer within {} ms", limit.as_millis())
        }
        code => text(code),
    }
}

/// Advice if a broker that was never reached says nothing, or hangs up.
pub(super) const MAY_WANT: &str =
    "; this port may want TLS or a login: use kafkas://, kafka://user:password@…, or another port";

/// Returns an error of a connection as a line for the operator, with what to do. `first`: the cluster was
/// never reached.
pub(super) fn explain(code: Code, reason: &str, first: bool) -> String {
    let reason = without_details(reason);
    let has = |text: &str| reason.contains(text);
    let hint = match code {
        Code::Resolve => "; check the broker's name in publisher.url, and DNS",
        _ if has("PLAINTEXT broker listener")
            || has("wrong version number")
            || has("SSL connection closed by peer") =>
        {
            "; this port speaks no TLS: use kafka://, or the port of a TLS listener"
        }
        _ if has("SSL listener?") || has("incorrect security.protocol") => MAY_WANT,
        _ if first && (has("Broken pipe") || has("Disconnected") || has("reset by peer")) => {
            MAY_WANT
        }
        _ if has("certificate verify failed")
            || has("broker certificate could not be verified") =>
        {
            "; name the certificate of its authority in publisher.ca_file"
        }
        _ if ["bad certificate", "certificate required", "unknown ca"]
            .iter()
            .any(|alert| has(alert)) =>
        {
            "; the broker wants a certificate that it trusts: set publisher.certificate_file and publisher.key_file"
        }
        _ if has("nsupported SASL mechanism") || has("nabled mechanisms") => {
            "; set publisher.sasl_mechanism to one that the broker has"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "; check user and password in publisher.url, and publisher.sasl_mechanism"
        }
        _ => "",
    };
    format!("{}{hint}", one_line(reason))
}

/// Returns the weight of an error in the search for the cause: one that names a mistake counts more than
/// one that follows from it.
pub(super) fn weight(code: Code) -> u8 {
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => 2,
        Code::Resolve => 1,
        _ => 0,
    }
}

/// Cuts what the library adds about its own state: `(after 3ms in state CONNECT, …)`.
fn without_details(reason: &str) -> &str {
    reason
        .split_once(" (after ")
        .map_or(reason, |(start, _)| start)
        .trim_end_matches([' ', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent<'static> = Sent {
        topic: "t",
        bytes: 2_000_000,
        limit: Some(1_048_588),
    };

    #[test]
    fn each_code_has_the_result_that_loses_nothing() {
        let label = |code| result(code, SENT).label();
        for (code, expected) in [
            (Code::NoError, "confirmed"),
            (Code::DuplicateSequenceNumber, "confirmed"),
            (Code::UnknownTopicOrPartition, "unroutable"),
            (Code::UnknownTopic, "unroutable"),
            (Code::UnknownPartition, "unroutable"),
            (Code::TopicAuthorizationFailed, "nacked"),
            (Code::ClusterAuthorizationFailed, "nacked"),
            (Code::Authentication, "nacked"),
            (Code::ThrottlingQuotaExceeded, "nacked"),
            (Code::PolicyViolation, "nacked"),
            (Code::QueueFull, "nacked"),
            (Code::MessageSizeTooLarge, "refused"),
            (Code::MessageBatchTooLarge, "refused"),
            (Code::InvalidRecord, "refused"),
            (Code::InvalidTimestamp, "refused"),
            (Code::InvalidTopic, "refused"),
            (Code::MessageTimedOut, "unknown"),
            (Code::PurgeInflight, "unknown"),
            (Code::BrokerTransportFailure, "unknown"),
            (Code::NotEnoughReplicasAfterAppend, "unknown"),
            (Code::RequestTimedOut, "unknown"),
            (Code::OutOfOrderSequenceNumber, "unknown"),
            (Code::ProducerFenced, "unknown"),
            (Code::Fatal, "unknown"),
            (Code::Unknown, "unknown"),
        ] {
            assert_eq!(label(code), expected, "{code:?}");
        }
    }

    #[test]
    fn a_message_that_is_too_large_says_both_sizes() {
        let PublishResult::Refused(why) = result(Code::MessageSizeTooLarge, SENT) else {
            unreachable!("it is refused")
        };
        assert!(why.contains("2000000") && why.contains("1048588"), "{why}");
    }

    #[test]
    fn an_error_is_one_line_with_what_to_do() {
        let resolve = explain(
            Code::Resolve,
            "nohost:9092/bootstrap: Failed to resolve 'nohost:9092': Name or service not known (after 5ms in state CONNECT)",
            true,
        );
        assert_eq!(
            resolve,
            "nohost:9092/bootstrap: Failed to resolve 'nohost:9092': Name or service not known; check the broker's name in \
             publisher.url, and DNS"
        );
        let hung_up = "host:9092/bootstrap: Send failed: Broken pipe (after 0ms in state UP)";
        let at_first = explain(Code::BrokerTransportFailure, hung_up, true);
        assert!(at_first.contains("TLS or a login"), "{at_first}");
        let later = explain(Code::BrokerTransportFailure, hung_up, false);
        assert!(!later.contains("login"), "it was reached before: {later}");
        let no_tls = "ssl://host:9092/bootstrap: Disconnected: SSL connection closed by peer";
        let no_tls = explain(Code::BrokerTransportFailure, no_tls, true);
        assert!(no_tls.contains("speaks no TLS: use kafka://"), "{no_tls}");
    }
}
