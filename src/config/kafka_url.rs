//! URLs of Kafka clusters: `kafka://user:password@host:9092,host:9092`. Pure.
//!
//! No crate for URLs takes a list of hosts.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::secret::Secret;
use super::urls::is_this_machine;

/// Port of a broker that names none.
const PORT: u16 = 9092;

/// Brokers of a cluster, and the login there.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaUrl {
    /// Brokers that the client asks first, as `host:port`. They name all others.
    pub brokers: Vec<String>,
    /// `kafkas://`: connections use TLS.
    pub tls: bool,
    /// User and password of SASL.
    pub login: Option<(String, Secret)>,
}

impl KafkaUrl {
    /// Parses a URL. The error never repeats the text: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or("use kafka://host:9092,host:9092 (\"kafkas://\" with TLS)")?;
        let tls = match scheme {
            "kafka" => false,
            "kafkas" => true,
            _ => return Err("the URL begins with kafka:// or, with TLS, kafkas://".to_owned()),
        };
        // A password may have an unescaped "@", a host may not.
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(self::login(login)?), hosts),
            None => (None, rest),
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        if hosts.contains(['/', '?', '#']) {
            return Err(
                "nothing follows the list of brokers in the URL: the topic is publisher.topic, and further properties \
                 are in [publisher.kafka]"
                    .to_owned(),
            );
        }
        let brokers = hosts.split(',').map(broker).collect::<Result<_, _>>()?;
        Ok(Self {
            brokers,
            tls,
            login,
        })
    }

    /// Returns the brokers as Kafka's clients write them.
    pub fn bootstrap_servers(&self) -> String {
        self.brokers.join(",")
    }

    /// Returns the name of the cluster in errors.
    pub fn name(&self) -> String {
        match &self.brokers[..] {
            [one] => format!("Kafka at {one}"),
            [first, rest @ ..] => format!("Kafka at {first} and {} more", rest.len()),
            [] => "Kafka".to_owned(),
        }
    }

    /// Returns the first host to which connections go unencrypted over a network.
    pub fn in_plain_text_to(&self) -> Option<String> {
        let hosts = self
            .brokers
            .iter()
            .filter_map(|broker| broker.rsplit_once(':'))
            .map(|(host, _)| host.trim_matches(['[', ']']));
        let mut away = hosts.filter(|host| !is_this_machine(host));
        away.next().filter(|_| !self.tls).map(str::to_owned)
    }
}

impl fmt::Display for KafkaUrl {
    /// Writes the URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "kafkas://" } else { "kafka://" })?;
        if let Some((user, _)) = &self.login {
            write!(f, "{user}:***@")?;
        }
        f.write_str(&self.bootstrap_servers())
    }
}

fn login(text: &str) -> Result<(String, Secret), String> {
    let Some((user, password)) = text.split_once(':').filter(|(user, _)| !user.is_empty()) else {
        return Err("a user comes with a password: kafka://user:password@host:9092".to_owned());
    };
    let user = percent_decode_str(user)
        .decode_utf8()
        .map_err(|_| "the user in the URL is not UTF-8")?;
    let password: Vec<u8> = percent_decode_str(password).collect();
    if std::str::from_utf8(&password).is_err() {
        return Err("the password in the URL is not UTF-8".to_owned());
    }
    Ok((user.into_owned(), Secret::new(password)))
}

/// Returns a broker as `host:port`. An IPv6 address stands in brackets.
fn broker(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(
            "each broker in the URL is HOST or HOST:PORT, with commas between: kafka://host:9092,host:9092"
                .to_owned(),
        );
    }
    let port = match port {
        None => PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("a port in the URL is a number from 1 to 65535")?,
    };
    if host.contains(':') {
        Ok(format!("[{host}]:{port}"))
    } else {
        Ok(format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brokers(text: &str) -> Result<String, String> {
        KafkaUrl::parse(text).map(|address| address.bootstrap_servers())
    }

    #[test]
    fn a_list_of_brokers_is_read_with_default_ports() {
        assert_eq!(brokers("kafka://b1").as_deref(), Ok("b1:9092"));
        assert_eq!(
            brokers("kafkas://b1:9093,b2,[::1]:9094,[::1]/").as_deref(),
            Ok("b1:9093,b2:9092,[::1]:9094,[::1]:9092")
        );
        for wrong in [
            "b1:9092",
            "amqp://b1",
            "kafka://",
            "kafka://b1,",
            "kafka://b1:0",
            "kafka://b1:99999",
            "kafka://b1:port",
            "kafka://b1/topic",
            "kafka://b1?acks=1",
            "kafka://user@b1",
            "kafka://:secret@b1",
            "kafka://b 1",
        ] {
            assert!(brokers(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn a_login_may_hold_any_character_and_no_error_shows_it() {
        let address = KafkaUrl::parse("kafkas://hook%3Aweir:a@b:c%2f@b1,b2").expect("valid");
        let (user, password) = address.login.clone().expect("a login");
        assert_eq!((&*user, password.expose()), ("hook:weir", &b"a@b:c/"[..]));
        assert_eq!(address.name(), "Kafka at b1:9092 and 1 more");
        assert!(!format!("{address:?}").contains("a@b"));
        let error = brokers("kafka://user:hunter2@b1/x").expect_err("no path");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
