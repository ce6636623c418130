//! Networks that may ask: addresses with a prefix length, such as `127.0.0.0/8`.

use std::net::IpAddr;

/// A list of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist(Vec<(IpAddr, u32)>);

impl Whitelist {
    /// From texts such as `127.0.0.0/8` and `::1`; gives the first that is none.
    ///
    /// # Errors
    /// The text that names no network.
    pub fn parse(networks: &[String]) -> Result<Self, String> {
        let parse = |text: &String| {
            let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
            let address: IpAddr = address.trim().parse().map_err(|_| text.clone())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix =
                if prefix.is_empty() { most } else { prefix.trim().parse().map_err(|_| text.clone())? };
            if prefix <= most { Ok((address, prefix)) } else { Err(text.clone()) }
        };
        networks.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, prefix)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(*network) ^ u32::from(address);
                differing.checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(*network) ^ u128::from(address);
                differing.checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let list =
            |networks: &[&str]| Whitelist::parse(&networks.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        let local = list(&["127.0.0.0/8", "::1"]).unwrap();
        let everywhere = list(&["0.0.0.0/0", "::/0"]).unwrap();
        let cases = [
            ("127.0.0.1", true),
            ("127.255.0.9", true),
            ("128.0.0.1", false),
            ("::1", true),
            ("::2", false),
            ("::ffff:127.0.0.1", true),
        ];
        for (address, expected) in cases {
            assert_eq!(local.contains(address.parse().unwrap()), expected, "{address}");
            assert!(everywhere.contains(address.parse().unwrap()), "{address}");
        }
        assert_eq!(list(&["127.0.0.0/33"]).unwrap_err(), "127.0.0.0/33");
        assert_eq!(list(&["x"]).unwrap_err(), "x");
    }
}
