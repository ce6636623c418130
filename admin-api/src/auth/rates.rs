//! How often one address may ask: so many requests a second, and so many a minute. Of IPv6 a network of 64 bits is one address, since
//! whoever has one address of it has all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use proto::time::UnixTime;

/// Addresses that are remembered; beyond it those that were silent for a minute are forgotten, then all.
const MAX_ADDRESSES: usize = 10_000;

/// Counts requests by address.
#[derive(Debug)]
pub struct Rates {
    per_second: Option<u32>,
    per_minute: Option<u32>,
    seen: Mutex<HashMap<IpAddr, Windows>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Windows {
    second: i64,
    in_second: u32,
    minute: i64,
    in_minute: u32,
}

impl Rates {
    /// With these limits; `None` is none.
    pub fn new(per_second: Option<u32>, per_minute: Option<u32>) -> Self {
        Self { per_second, per_minute, seen: Mutex::default() }
    }

    /// Counts a request and says whether it may pass.
    pub fn take(&self, address: IpAddr, now: UnixTime) -> bool {
        let address = one_of_many(address);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (second, minute) = (now.as_secs(), now.as_secs().div_euclid(60));
        if seen.len() >= MAX_ADDRESSES && !seen.contains_key(&address) {
            seen.retain(|_, windows| windows.minute == minute);
            if seen.len() >= MAX_ADDRESSES {
                seen.clear();
            }
        }
        let windows = seen.entry(address).or_default();
        if windows.second != second {
            (windows.second, windows.in_second) = (second, 0);
        }
        if windows.minute != minute {
            (windows.minute, windows.in_minute) = (minute, 0);
        }
        windows.in_second = windows.in_second.saturating_add(1);
        windows.in_minute = windows.in_minute.saturating_add(1);
        let within = |count: u32, limit: Option<u32>| limit.is_none_or(|limit| count <= limit);
        within(windows.in_second, self.per_second) && within(windows.in_minute, self.per_minute)
    }
}

/// The network whose addresses are counted as one.
fn one_of_many(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_for_each_address() {
        let rates = Rates::new(Some(2), Some(3));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let second = UnixTime::from_secs;
        let taken: Vec<bool> = [0, 0, 0, 1, 1, 60].map(|at| rates.take(a, second(at))).into();
        assert_eq!(taken, [true, true, false, false, false, true]);
        assert!(rates.take(b, second(0)), "another address has its own");
        let off = Rates::new(None, None);
        assert!((0..1000).all(|_| off.take(a, second(0))));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let rates = Rates::new(Some(1), None);
        let take = |text: &str| rates.take(text.parse().unwrap(), UnixTime(0));
        assert!(take("2001:db8::1") && !take("2001:db8::2") && take("2001:db8:0:1::1"));
        assert!(take("::ffff:192.0.2.1") && !take("192.0.2.1"), "one address in two forms");
    }
}
