//! Kinds of options, each with its reader and its description.

mod networks;
mod numbers;
mod pem;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use http::HeaderName;

pub(super) use self::networks::{AllowList, Networks};
pub(super) use self::numbers::{
    Bytes, Count, DAY_SECS, Days, GIB, HOUR_MS, MIB, Millis, Ratio, Secs,
};
pub(super) use self::pem::Pem;
use super::model::LakeUrl;
use super::reader::Reader;
use super::rules;
use super::secret::Secret;
use super::urls;

/// Reads an option as a `V`. A mistake is noted in the reader; the value that is returned then is never used.
pub(super) trait Read<V> {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> V;
}

/// Describes a kind of option in documentation and completions.
pub(super) trait Describe {
    /// Returns a sentence part on what the option takes.
    fn takes(&self) -> String;

    /// Returns the only values that the option takes, if there are few.
    fn words(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Returns the ending that the option's name must have.
    #[cfg(test)]
    fn ending(&self) -> Option<&'static str> {
        None
    }
}

/// Values that are written as one of a few words; the first stands in for a wrong one.
pub(super) trait Words: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
    /// Words that users of other software expect, each with the reason against it and what to use instead.
    const ABSENT: &'static [(&'static str, &'static str)] = &[];
}

/// `host:port`.
pub(super) struct Address;

impl Read<SocketAddr> for Address {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> SocketAddr {
        r.address(key)
            .unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
    }
}

impl Describe for Address {
    fn takes(&self) -> String {
        "address and port: `127.0.0.1:8420`, `0.0.0.0:8420`, `[::]:8420`".to_owned()
    }
}

/// `host:port`, or `""` for none.
pub(super) struct AddressOrNone;

impl Read<Option<SocketAddr>> for AddressOrNone {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<SocketAddr> {
        r.address_or_none(key)
    }
}

impl Describe for AddressOrNone {
    fn takes(&self) -> String {
        "address and port, or `\"\"`".to_owned()
    }
}

/// `true` or `false`; `false` if left out.
pub(super) struct Flag;

impl Read<bool> for Flag {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> bool {
        r.flag(key)
    }
}

impl Describe for Flag {
    fn takes(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn words(&self) -> Vec<&'static str> {
        vec!["true", "false"]
    }
}

/// One of a few words.
pub(super) struct OneOf<T>(PhantomData<fn() -> T>);

/// Returns the kind of option that takes the words of `T`.
pub(super) const fn one_of<T: Words>() -> OneOf<T> {
    OneOf(PhantomData)
}

impl<T: Words> Read<Option<T>> for OneOf<T> {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<T> {
        r.choice(key, T::WORDS, T::ABSENT)
    }
}

impl<T: Words> Read<T> for OneOf<T> {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> T {
        r.choice(key, T::WORDS, T::ABSENT).unwrap_or(T::WORDS[0].1)
    }
}

impl<T: Words> Describe for OneOf<T> {
    fn takes(&self) -> String {
        let words = T::WORDS.iter().map(|(word, _)| format!("`\"{word}\"`"));
        words.collect::<Vec<_>>().join(", ")
    }

    fn words(&self) -> Vec<&'static str> {
        T::WORDS.iter().map(|(word, _)| *word).collect()
    }
}

/// Text that a rule checks, and a sentence part on what it is.
pub(super) struct Text(pub &'static str, pub fn(&str) -> Result<(), String>);

impl Read<String> for Text {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> String {
        r.text(key, self.1).unwrap_or_default()
    }
}

impl Read<Option<String>> for Text {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<String> {
        r.text(key, self.1)
    }
}

impl Describe for Text {
    fn takes(&self) -> String {
        self.0.to_owned()
    }
}

/// Text, or `""` for none.
pub(super) struct OrNone(pub Text);

impl Read<Option<String>> for OrNone {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<String> {
        r.text(key, self.0.1).filter(|text| !text.is_empty())
    }
}

impl Read<Option<PathBuf>> for OrNone {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<PathBuf> {
        Read::<Option<String>>::read(self, r, key).map(PathBuf::from)
    }
}

impl Describe for OrNone {
    fn takes(&self) -> String {
        format!("{}, or `\"\"`", self.0.0)
    }
}

/// Place of the lakehouse's files.
pub(super) struct LakeUrlText;

impl Read<LakeUrl> for LakeUrlText {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> LakeUrl {
        r.text(key, |text| urls::lake(text).map(drop))
            .and_then(|text| urls::lake(&text).ok())
            .unwrap_or_else(|| LakeUrl::Folder(PathBuf::new()))
    }
}

impl Describe for LakeUrlText {
    fn takes(&self) -> String {
        "`file://` or `s3://` URL of a folder".to_owned()
    }
}

/// Permissions of a file, in octal.
pub(super) struct FileMode;

impl Read<u32> for FileMode {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> u32 {
        r.text(key, rules::file_mode)
            .and_then(|mode| u32::from_str_radix(&mode, 8).ok())
            .unwrap_or(0o600)
    }
}

impl Describe for FileMode {
    fn takes(&self) -> String {
        "permissions in octal: `\"0600\"`, `\"0640\"` or `\"0644\"`".to_owned()
    }
}

/// A URL that may hold a password.
pub(super) trait ConnectionUrl: Sized {
    /// Returns `true` if `file:PATH` names a file that holds the URL.
    const FROM_FILE: bool;

    /// Returns a URL that stands in for one that only the service can read.
    fn unread() -> Self;

    /// Returns a URL that stands in for a wrong one.
    fn wrong() -> Self;

    /// Parses the URL. The error never repeats the text.
    fn parse(text: &str) -> Result<Self, String>;
}

/// A URL, or a reference to where it is.
pub(super) struct SecretUrl(pub &'static str);

impl<V: ConnectionUrl> Read<V> for SecretUrl {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> V {
        r.secret_url(key).unwrap_or_else(V::wrong)
    }
}

impl Describe for SecretUrl {
    fn takes(&self) -> String {
        self.0.to_owned()
    }
}

/// A list of secrets by reference.
pub(super) struct Secrets {
    /// True if an entry that is no reference is the value itself.
    pub(super) literal: bool,
}

impl Read<Vec<Secret>> for Secrets {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<Secret> {
        r.secrets(key, self.literal)
    }
}

impl Describe for Secrets {
    fn takes(&self) -> String {
        let of = if self.literal {
            "keys, or references"
        } else {
            "references"
        };
        format!(
            "list of {of}: `\"env:NAME\"`, `\"file:PATH\"`, `\"credential:NAME\"`, `\"plain:TEXT\"`"
        )
    }
}

/// A table of texts, in which a value may be a reference.
pub(super) struct Texts;

impl Read<BTreeMap<String, String>> for Texts {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> BTreeMap<String, String> {
        r.texts(key)
    }
}

impl Describe for Texts {
    fn takes(&self) -> String {
        "table of strings, each of which may be a reference".to_owned()
    }
}

/// A list of names of hosts.
pub(super) struct HostNames;

impl Read<Vec<String>> for HostNames {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<String> {
        r.list(key, rules::host_name)
    }
}

impl Describe for HostNames {
    fn takes(&self) -> String {
        "list of names or addresses of hosts, without a port".to_owned()
    }
}

/// A list of a few words.
pub(super) struct ListOf<T>(PhantomData<fn() -> T>);

/// Returns the kind of option that takes a list of the words of `T`.
pub(super) const fn list_of<T: Words>() -> ListOf<T> {
    ListOf(PhantomData)
}

impl<T: Words> Read<Vec<T>> for ListOf<T> {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<T> {
        let expected = || one_of::<T>().takes().replace('`', "");
        r.list(key, |text| {
            let mut words = T::WORDS.iter();
            let found = words.find(|(word, _)| *word == text);
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("expected {}", expected()))
        })
    }
}

impl<T: Words> Describe for ListOf<T> {
    fn takes(&self) -> String {
        format!("list of {}", one_of::<T>().takes())
    }
}

/// A list of header names.
pub(super) struct HeaderNames;

impl Read<Vec<HeaderName>> for HeaderNames {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<HeaderName> {
        r.list(key, |name| name.parse::<HeaderName>())
    }
}

impl Describe for HeaderNames {
    fn takes(&self) -> String {
        "list of header names".to_owned()
    }
}

/// A table that another module reads.
pub(super) struct Table;

impl Read<Option<toml::Table>> for Table {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<toml::Table> {
        r.table(key)
    }
}

impl Describe for Table {
    fn takes(&self) -> String {
        "table".to_owned()
    }
}

/// A template, whose grammar a stage knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    /// Routing key of a message.
    RoutingKey,
    /// Kafka topic of a record.
    Topic,
    /// Key of a Kafka record.
    Key,
}

impl Read<String> for TemplateKind {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> String {
        r.template(*self, key).unwrap_or_default()
    }
}

impl Read<Option<String>> for TemplateKind {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Option<String> {
        r.template(*self, key)
    }
}

impl Describe for TemplateKind {
    fn takes(&self) -> String {
        let text = match self {
            Self::RoutingKey => "routing key with `{source}`, `{type}` and `{id}`",
            Self::Topic => "topic with `{source}` and `{type}`",
            Self::Key => "key with `{message_id}`, `{id}`, `{source}` and `{type}`, or nothing",
        };
        text.to_owned()
    }
}
