//! PostgreSQL URLs, read by the rules of libpq and a few stricter ones. What libpq could never use is refused here, and where libpq's own
//! reading of a password with unescaped characters would differ from the operator's, so that libpq has no reason to quote a part of it.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

use super::libpq::{host_name, judge, port_number};

/// Shown instead of a part of the URL's userinfo.
const HIDDEN: &str = "***";
/// Shortest password that is also searched for within words.
const WITHIN_WORDS: usize = 4;
pub(super) const ESCAPES: &str = "in user and password write \"@\" as %40, \":\" as %3A, \"/\" as %2F, \"?\" as %3F, \"#\" as %23, \"%\" as %25";

/// Values of `sslmode` with which nothing is sent unencrypted.
const ENCRYPTED: &[&str] = &["require", "verify-ca", "verify-full"];

/// A URL that libpq can use. Without `Debug`: it holds a password.
pub(super) struct PostgresUrl {
    user: String,
    passwords: Vec<String>,
    /// Names, addresses and folders of sockets; empty where libpq's default, a local socket, is meant.
    hosts: Vec<String>,
    params: Vec<(String, String)>,
}

impl PostgresUrl {
    /// Parses `postgres://…`. The error never repeats a part of the text that may belong to user or password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .unwrap_or_default();
        if let Some(at) = text.find(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!(
                "white space at {}: in a URL a blank is written %20",
                character(text, at)
            ));
        }
        if let Some(at) = text.find('#') {
            return Err(format!("a \"#\" at {}: {ESCAPES}", character(text, at)));
        }
        percent_escapes(text)?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let before_query = text.len() - query.len();
        // A password with an unescaped "/" or "?" ends the authority early, and leaves its "@" behind.
        if path.contains('@')
            || query.split('&').any(|pair| {
                pair.split('=')
                    .next()
                    .is_some_and(|name| name.contains('@'))
            })
        {
            return Err(format!("a \"/\" or \"?\" before the last \"@\": {ESCAPES}"));
        }
        if authority.matches('@').count() > 1 {
            return Err(format!("more than one \"@\": {ESCAPES}"));
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let mut url = Self {
            user: decoded(user),
            passwords: vec![decoded(password)],
            hosts: Vec::new(),
            params: Vec::new(),
        };
        url.read_hosts(hosts)?;
        let path = path.strip_prefix('/').unwrap_or_default();
        if path.contains('/') {
            return Err("a \"/\" in the name of the database is written %2F: postgres://user:password@host:5432/database".to_owned());
        }
        url.read_query(query)
            .map_err(|(at, why)| format!("{why} (at {})", character(text, before_query + at)))?;
        Ok(url)
    }

    fn read_hosts(&mut self, hosts: &str) -> Result<(), String> {
        for (number, host) in hosts.split(',').enumerate() {
            let number = number + 1;
            let (name, port) = match host.strip_prefix('[') {
                Some(rest) => {
                    let (address, after) = rest
                        .split_once(']')
                        .ok_or_else(|| format!("host {number}: a \"[\" without its \"]\""))?;
                    let address = decoded(address);
                    if address
                        .split('%')
                        .next()
                        .is_none_or(|address| address.parse::<Ipv6Addr>().is_err())
                    {
                        return Err(format!(
                            "host {number}: not an IPv6 address between \"[\" and \"]\""
                        ));
                    }
                    let port = after.strip_prefix(':').or(after.is_empty().then_some(""));
                    (
                        address,
                        port.ok_or_else(|| {
                            format!(
                                "host {number}: \":\" and a port may follow \"]\", and nothing else"
                            )
                        })?,
                    )
                }
                None => {
                    let (name, port) = host.split_once(':').unwrap_or((host, ""));
                    (
                        host_name(&decoded(name)).map_err(|why| format!("host {number}: {why}"))?,
                        port,
                    )
                }
            };
            port_number(port).map_err(|why| format!("host {number}: {why}"))?;
            self.hosts.push(name);
        }
        Ok(())
    }

    /// Reads the parameters; an error comes with its byte in `query`.
    fn read_query(&mut self, query: &str) -> Result<(), (usize, String)> {
        let mut at = 0;
        for pair in query.split('&') {
            if !pair.is_empty() {
                let (name, value) = parameter(pair).map_err(|why| (at, why))?;
                judge(&name, &value).map_err(|why| (at, why))?;
                match name.as_str() {
                    "password" | "sslpassword" | "scram_client_key" | "scram_server_key" => {
                        self.passwords.push(value.clone())
                    }
                    "user" => self.user.clone_from(&value),
                    _ => {}
                }
                self.params.push((name, value));
            } else if !query.is_empty() {
                return Err((at, "a \"&\" with no parameter beside it".to_owned()));
            }
            at += pair.len() + 1;
        }
        self.judge_together().map_err(|why| (0, why))
    }

    /// Judges what libpq compares when it connects.
    fn judge_together(&self) -> Result<(), String> {
        let of_list = |name| self.param(name).map(|list| list.split(',').count());
        let hosts = of_list("hostaddr")
            .or_else(|| of_list("host"))
            .unwrap_or(self.hosts.len());
        if let (Some(names), Some(addresses)) = (of_list("host"), of_list("hostaddr"))
            && names != addresses
        {
            return Err(format!("{names} hosts and {addresses} hostaddrs"));
        }
        if let Some(ports) = of_list("port").filter(|ports| *ports != 1 && *ports != hosts) {
            return Err(format!("{ports} ports for {hosts} hosts"));
        }
        let weak = self
            .param("sslmode")
            .is_some_and(|mode| mode != "verify-full");
        if self.param("sslrootcert") == Some("system") && weak {
            return Err("sslrootcert=system works with sslmode=verify-full only".to_owned());
        }
        if self.param("sslnegotiation") == Some("direct") && !self.is_encrypted() {
            return Err(
                "sslnegotiation=direct works with sslmode=require, verify-ca and verify-full only"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The last value of a parameter: that is the one that libpq takes.
    fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn is_encrypted(&self) -> bool {
        self.param("sslmode")
            .map_or(self.param("sslrootcert") == Some("system"), |mode| {
                ENCRYPTED.contains(&mode)
            })
    }

    /// The first host that is not this machine and to which a connection may go unencrypted.
    pub(super) fn in_plain_text_to(&self) -> Option<String> {
        if self.is_encrypted()
            || self.param("gssencmode") == Some("require")
            || self.param("service").is_some()
        {
            return None;
        }
        let listed = self.param("hostaddr").or_else(|| self.param("host"));
        let hosts: Vec<&str> = listed.map_or_else(
            || self.hosts.iter().map(String::as_str).collect(),
            |list| list.split(',').collect(),
        );
        hosts
            .into_iter()
            .find(|host| !super::urls::is_this_machine(host))
            .map(str::to_owned)
    }

    /// `text` without user and password: for what libpq and the server say.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for password in self
            .passwords
            .iter()
            .filter(|password| !password.is_empty())
        {
            text = hidden(&text, password, password.len() >= WITHIN_WORDS);
        }
        if !self.user.is_empty() {
            for (open, close) in [
                ("\"", "\""),
                ("«", "»"),
                ("„", "“"),
                ("“", "”"),
                ("'", "'"),
                ("« ", " »"),
            ] {
                text = text.replace(&format!("{open}{}{close}", self.user), HIDDEN);
            }
        }
        text
    }
}

/// `text` without `secret`: as a word, and `within` words, too.
fn hidden(text: &str, secret: &str, within: bool) -> String {
    if within {
        return text.replace(secret, HIDDEN);
    }
    let part_of_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let before_it = before
            .chars()
            .next_back()
            .or_else(|| shown.chars().next_back());
        shown += before;
        shown += if part_of_word(before_it) || part_of_word(after.chars().next()) {
            secret
        } else {
            HIDDEN
        };
        rest = after;
    }
    shown + rest
}

/// The place of byte `at` for the operator, counted from the URL's first character.
fn character(text: &str, at: usize) -> String {
    format!(
        "character {} of the URL",
        text.get(..at).map_or(0, |before| before.chars().count()) + 1
    )
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn percent_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits = text
            .get(at + 1..at + 3)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits {
            None => {
                return Err(format!(
                    "a \"%\" without two hexadecimal digits at {}: {ESCAPES}",
                    character(text, at)
                ));
            }
            Some("00") => return Err(format!("%00 at {}", character(text, at))),
            Some(_) => {}
        }
    }
    Ok(())
}

/// The name and the value of a parameter, decoded.
fn parameter(pair: &str) -> Result<(String, String), String> {
    let (name, value) = pair
        .split_once('=')
        .ok_or("expected NAME=VALUE behind \"?\" and \"&\"")?;
    if value.contains('=') {
        return Err("a second \"=\" in a parameter is written %3D".to_owned());
    }
    match (decoded(name), decoded(value)) {
        // As JDBC has it, and libpq for its sake.
        (name, value) if name == "ssl" && value == "true" => {
            Ok(("sslmode".to_owned(), "require".to_owned()))
        }
        known => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match PostgresUrl::parse(url) {
            Ok(_) => panic!("{url} was taken"),
            Err(why) => why,
        }
    }

    #[test]
    fn what_libpq_takes_is_taken() {
        for url in [
            "postgres://",
            "postgresql://u:p%40%25@h:5432/d?sslmode=verify-full&connect_timeout=3",
            "postgresql:///d?host=/run/postgresql",
            "postgres://%2Frun%2Fpostgresql/d",
            "postgres://u:p@a:1,b:2/d?target_session_attrs=read-write",
            "postgres://u@[::1]:5432/d",
            "postgres://u@[fe80::1%25eth0]/d",
            "postgres://u:a:b@h/d",
            "postgres://h/d?ssl=true&application_name=a%20b&options=-c%20geqo%3Doff",
            "postgres://h/d?host=a,b&port=1,2",
            "postgres://h/d?ssl_min_protocol_version=tlsv1.2",
            "postgres://db-1.example.internal/d",
        ] {
            assert!(
                PostgresUrl::parse(url).is_ok(),
                "{url}: {:?}",
                PostgresUrl::parse(url).err()
            );
        }
    }

    /// A tester's list: each has `hunter2` in what the operator meant as the password.
    #[test]
    fn a_url_that_libpq_would_quote_or_never_use_is_refused_without_its_password() {
        for (url, said) in [
            (
                "postgres://u:100%hunter2@h/d",
                "a \"%\" without two hexadecimal digits at character 17",
            ),
            ("postgres://u:hunter2%@h/d", "a \"%\" without"),
            ("postgres://u:hunter2%00@h/d", "%00"),
            ("postgres://u:x@hunter2%2Fq@h/d", "more than one \"@\""),
            (
                "postgres://u:x@hunter2%2Fq/d",
                "host 1: not the name of a host",
            ),
            (
                "postgres://u:a/b?hunter2@127.0.0.1:1/db",
                "before the last \"@\"",
            ),
            ("postgres://u:12/hunter2@h/d", "before the last \"@\""),
            ("postgres://u:a/hunter2@h/d", "before the last \"@\""),
            ("postgres://u:a?hunter2@h/d", "before the last \"@\""),
            ("postgres://u:a?hunter2&b@h/d", "before the last \"@\""),
            ("postgres://u:hunter2#@h/d", "a \"#\""),
            ("postgres://u:hunter2 @h/d", "white space at character 21"),
            ("postgres://u:hunter2/d", "host 1: expected a port"),
            ("postgres://u:p@h:hunter2/d", "host 1: expected a port"),
            ("postgres://u:p@h:0/d", "expected a port"),
            ("postgres://u:p@h:65536/d", "expected a port"),
            ("postgres://u:p@a:1,b:x/d", "host 2: expected a port"),
            ("postgres://u:p@[::1/d", "without its \"]\""),
            ("postgres://u:p@[hunter2]/d", "not an IPv6 address"),
            ("postgres://u:p@[::1]hunter2/d", "and nothing else"),
            ("postgres://u:p@h/d/e", "written %2F"),
            ("postgres://h/d?hunter2", "expected NAME=VALUE"),
            ("postgres://h/d?hunter2=1", "no parameter"),
            (
                "postgres://h/d?ssl_mode=require",
                "did you mean sslmode? (at character 16",
            ),
            (
                "postgres://h/d?sslmode=on",
                "sslmode: expected one of disable, allow",
            ),
            ("postgres://h/d?sslmode=Require", "did you mean require?"),
            (
                "postgres://h/d?connect_timeout=soon",
                "connect_timeout: expected a whole number",
            ),
            (
                "postgres://h/d?target_session_attrs=read-only",
                "target_session_attrs",
            ),
            ("postgres://h/d?options=a=b", "written %3D"),
            ("postgres://a,b,c/d?port=1,2", "2 ports for 3 hosts"),
            (
                "postgres://h/d?sslrootcert=system&sslmode=prefer",
                "verify-full only",
            ),
            (
                "postgres://h/d?sslnegotiation=direct",
                "sslnegotiation=direct works with",
            ),
        ] {
            let why = refused(url);
            assert!(why.contains(said), "{url}: {why}");
            assert!(!why.contains("hunter2"), "{url}: {why}");
        }
    }

    #[test]
    fn what_libpq_says_is_shown_without_user_and_password() {
        let hide = |url: &str, text: &str| {
            PostgresUrl::parse(url)
                .unwrap_or_else(|why| panic!("{url}: {why}"))
                .hide(text)
        };
        let url = "postgres://ada:hunt%2Fer2@h/d?sslpassword=swordfish";
        let said = hide(
            url,
            "authentication failed for user \"ada\" (hunt/er2): could not read swordfish; database \"adab\"",
        );
        assert_eq!(
            said,
            "authentication failed for user *** (***): could not read ***; database \"adab\""
        );
        assert_eq!(
            hide("postgres://u:a@h/d", "a host \"a\" has failed at 1a"),
            "*** host \"***\" has failed at 1a"
        );
        assert_eq!(hide("postgres://h/d", "as it was"), "as it was");
    }

    #[test]
    fn plain_text_on_a_network_is_noticed() {
        let to = |url: &str| {
            PostgresUrl::parse(url)
                .unwrap_or_else(|why| panic!("{url}: {why}"))
                .in_plain_text_to()
        };
        for (url, host) in [
            ("postgres://u@db.example/d", Some("db.example")),
            (
                "postgres://u@db.example/d?sslmode=prefer",
                Some("db.example"),
            ),
            ("postgres://u@10.0.0.1/d?sslmode=disable", Some("10.0.0.1")),
            ("postgres://u@localhost,db.example/d", Some("db.example")),
            ("postgres:///d?host=/run,db.example", Some("db.example")),
            ("postgres://u@db.example/d?sslmode=require", None),
            ("postgres://u@db.example/d?sslrootcert=system", None),
            ("postgres://u@localhost/d", None),
            ("postgres://u@127.0.0.1/d", None),
            ("postgres://u@[::1]/d", None),
            ("postgres:///d", None),
        ] {
            assert_eq!(to(url).as_deref(), host, "{url}");
        }
    }
}
