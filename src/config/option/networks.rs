//! Options that are lists of networks.

use super::{Describe, Read};
use crate::config::reader::Reader;
use crate::domain::network::{AllowedAddresses, Network, PUBLISHED};

/// A list of addresses and networks.
pub(in crate::config) struct Networks;

impl Read<Vec<Network>> for Networks {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<Network> {
        r.list(key, |text| text.parse::<Network>())
    }
}

impl Describe for Networks {
    fn takes(&self) -> String {
        "list of addresses and networks: `\"10.0.0.0/8\"`, `\"192.0.2.7\"`, `\"2001:db8::/32\"`"
            .to_owned()
    }
}

/// A list of addresses, networks, and lists that providers publish.
pub(in crate::config) struct AllowList;

impl Read<Vec<AllowedAddresses>> for AllowList {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<AllowedAddresses> {
        r.list(key, |text| text.parse::<AllowedAddresses>())
    }
}

impl Describe for AllowList {
    fn takes(&self) -> String {
        let names = PUBLISHED.iter();
        let names: Vec<String> = names
            .map(|list| format!("`\"{}\"`", list.provider))
            .collect();
        format!(
            "{}, or a published list: {}",
            Networks.takes(),
            names.join(", ")
        )
    }
}
