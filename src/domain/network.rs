//! Networks of IP addresses, and those that providers publish for their webhooks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Addresses with the same first bits: `10.0.0.0/8`, `2606:50c0::/32`.
///
/// `ipnet` would be a direct dependency for these lines. It takes no bare address, takes bits after the prefix, and does
/// not see IPv4 that is written as IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Returns `true` if the address is in the network. An IPv4 address that is written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address.to_canonical(), self.prefix) == bits(self.first, self.prefix)
    }
}

/// Returns the first bits of an address with its kind, and zeros after them.
fn bits(address: IpAddr, prefix: u8) -> (bool, u128) {
    let (is_v4, all) = match address {
        IpAddr::V4(ip) => (true, u128::from(ip.to_bits()) << 96),
        IpAddr::V6(ip) => (false, ip.to_bits()),
    };
    let kept = u128::MAX.checked_shl(128 - u32::from(prefix.min(128)));
    (is_v4, all & kept.unwrap_or(0))
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "expected an address or a network, such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32"
                .to_owned()
        };
        let (first, prefix) = match text.split_once('/') {
            Some((first, prefix)) => (first, Some(prefix.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| wrong())?;
        let longest: u8 = if first.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        if prefix > longest {
            return Err(wrong());
        }
        let (first, prefix, longest) = match first {
            IpAddr::V6(ip) => match (ip.to_ipv4_mapped(), prefix.checked_sub(96)) {
                (Some(ip), Some(prefix)) => (ip.into(), prefix, 32),
                (Some(_), None) => return Err("mixes IPv4 and IPv6: write two networks".to_owned()),
                (None, _) => (first, prefix, longest),
            },
            IpAddr::V4(_) => (first, prefix, longest),
        };
        let network = Self { first, prefix };
        if bits(first, longest) != bits(first, prefix) {
            return Err(format!(
                "has bits after its first {prefix}: write the first address of the network"
            ));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// Networks from which a provider sends its webhooks, as it has published them.
#[derive(Debug)]
pub struct PublishedNetworks {
    /// Name in a configuration: the provider's.
    pub provider: &'static str,
    /// Page or file in which the provider publishes them.
    pub url: &'static str,
    /// Day on which they were read, and from where if not from the provider itself.
    pub read: &'static str,
    /// The networks.
    pub networks: &'static [&'static str],
}

/// All lists. They become stale: Stripe's had 12 addresses in October 2025 and 15 in May 2026.
pub const PUBLISHED: &[PublishedNetworks] = &[
    PublishedNetworks {
        provider: "github",
        url: "https://api.github.com/meta",
        read: "2026-10-08, field `hooks`, by a public copy; confirmed by GitHub's changelog of 2026-10-29",
        networks: &[
            "192.30.252.0/22",
            "185.199.108.0/22",
            "140.82.112.0/20",
            "143.55.64.0/20",
            "9.234.98.160/28",
            "9.234.98.176/28",
            "9.234.106.48/28",
            "2a0a:a440::/29",
            "2606:50c0::/32",
        ],
    },
    PublishedNetworks {
        provider: "stripe",
        url: "https://stripe.com/files/ips/ips_webhooks.txt",
        read: "2026-05-15, by a public copy",
        networks: &[
            "3.18.12.63",
            "3.69.109.8",
            "3.120.168.93",
            "3.130.192.231",
            "13.235.14.237",
            "13.235.122.149",
            "18.211.135.69",
            "35.154.171.200",
            "35.157.207.129",
            "52.15.183.38",
            "54.88.130.119",
            "54.88.130.237",
            "54.187.174.169",
            "54.187.205.235",
            "54.187.216.72",
        ],
    },
];

/// An entry of a list of allowed addresses: a network, or all that a provider publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedAddresses(Vec<Network>);

impl AllowedAddresses {
    /// Returns `true` if the entry has the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl FromStr for AllowedAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(list) = PUBLISHED.iter().find(|list| list.provider == text) {
            let networks = list.networks.iter().map(|network| network.parse());
            return networks.collect::<Result<_, _>>().map(Self);
        }
        let network = text.parse::<Network>().map_err(|why| {
            let names: Vec<&str> = PUBLISHED.iter().map(|list| list.provider).collect();
            format!("{why}, or a list that is known here: {}", names.join(", "))
        })?;
        Ok(Self(vec![network]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        let network: Network = network.parse().expect("a network");
        network.contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_network_has_the_addresses_with_its_first_bits_and_no_others() {
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("9.234.98.160/28", "9.234.98.175"));
        assert!(!contains("9.234.98.160/28", "9.234.98.176"));
        assert!(contains("203.0.113.7", "203.0.113.7") && !contains("203.0.113.7", "203.0.113.6"));
        assert!(
            contains("203.0.113.7", "::ffff:203.0.113.7"),
            "of a socket for both kinds"
        );
        assert!(
            contains("::ffff:10.0.0.0/104", "10.1.2.3"),
            "IPv4 that is written as IPv6"
        );
        assert!("::ffff:0.0.0.0/90".parse::<Network>().is_err());
        assert!(contains("2a0a:a440::/29", "2a0a:a447::1"));
        assert!(!contains("2a0a:a440::/29", "2a0a:a448::1"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "8.8.8.8"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0",
            "::/129",
            "a/8",
            "10.0.0.0/-1",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let unknown = "nobody"
            .parse::<AllowedAddresses>()
            .expect_err("no such list");
        assert!(unknown.contains("github, stripe"), "{unknown}");
    }

    #[test]
    fn every_published_list_has_its_source_its_day_and_networks_that_are_none_of_everybody() {
        for list in PUBLISHED {
            assert!(
                list.url.starts_with("https://") && list.read.starts_with("20"),
                "{list:?}"
            );
            for network in list.networks {
                let network: Network = network
                    .parse()
                    .unwrap_or_else(|why| panic!("{network}: {why}"));
                assert!(network.prefix >= 16, "{network}");
            }
            let allowed: AllowedAddresses = list.provider.parse().expect("a list");
            assert_eq!(allowed.0.len(), list.networks.len());
        }
    }
}
