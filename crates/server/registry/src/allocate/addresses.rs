//! Cluster IPs of one service range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::metrics::{Asked, Stock};
use super::numbers::{Lease, Numbers};

/// Largest number of addresses that are handed out of one range; wider IPv6 ranges use their first part.
const SIZE_MAX: u128 = 1 << 20;

/// Why no address was given.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// The address is in use.
    #[error("provided IP is already allocated")]
    Taken,
    /// The address is outside the range.
    #[error("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}")]
    Outside {
        /// What was asked for.
        ip: String,
        /// The range.
        range: String,
    },
    /// Every address is in use.
    #[error("range is full")]
    Full,
}

/// The addresses of a range. Network and broadcast addresses are never given.
#[derive(Debug)]
pub struct Addresses {
    range: IpNet,
    base: u128,
    numbers: Arc<Numbers>,
    asked: Asked,
}

impl Addresses {
    /// The addresses of `range`.
    pub fn new(range: IpNet) -> Self {
        let range = range.trunc();
        let host_bits = u32::from(range.max_prefix_len() - range.prefix_len());
        let all = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
        let usable = match range {
            // The first address is the network's; IPv4 keeps the last for broadcast.
            IpNet::V4(_) => all.saturating_sub(2),
            IpNet::V6(_) => all.saturating_sub(1),
        };
        let size = usable.clamp(1, SIZE_MAX) as u32;
        Addresses {
            base: to_number(range.addr()) + 1,
            range,
            numbers: Numbers::new(size, band(size, 16, 256, 16), Stock::of_range(range)),
            asked: Asked::of_range(range),
        }
    }

    /// The range.
    pub fn range(&self) -> IpNet {
        self.range
    }

    fn offset(&self, ip: IpAddr) -> Option<u32> {
        if ip.is_ipv4() != self.range.addr().is_ipv4() || !self.range.contains(&ip) {
            return None;
        }
        let offset = to_number(ip).checked_sub(self.base)?;
        u32::try_from(offset).ok().filter(|o| *o < self.numbers.size())
    }

    /// The address behind a lease of this range.
    pub fn address(&self, lease: &Lease) -> IpAddr {
        from_number(self.base + u128::from(lease.number()), self.range.addr().is_ipv4())
    }

    /// Takes `ip`.
    pub fn take(&self, ip: IpAddr) -> Result<Lease, AddressError> {
        let outside = || AddressError::Outside { ip: ip.to_string(), range: self.range.to_string() };
        self.asked.count(false, || {
            let offset = self.offset(ip).ok_or_else(outside)?;
            self.numbers.take(offset).ok_or(AddressError::Taken)
        })
    }

    /// Whether `ip` could be taken at all.
    pub fn check(&self, ip: IpAddr) -> Result<(), AddressError> {
        let outside = || AddressError::Outside { ip: ip.to_string(), range: self.range.to_string() };
        self.offset(ip).map(drop).ok_or_else(outside)
    }

    /// Takes any address; `random` spreads the choice.
    pub fn take_any(&self, random: u64) -> Result<Lease, AddressError> {
        self.asked.count(true, || self.numbers.take_any(random).ok_or(AddressError::Full))
    }

    /// Marks an address found in the store as taken.
    pub fn mark(&self, ip: IpAddr) {
        if let Some(offset) = self.offset(ip) {
            self.numbers.mark(offset);
        }
    }

    /// Gives an address back.
    pub fn release(&self, ip: IpAddr) {
        if let Some(offset) = self.offset(ip) {
            self.numbers.release(offset);
        }
    }
}

/// Size of the band that is kept for those who ask for a certain number: `size / step`, within limits, and nothing
/// when the range is that small.
pub(super) fn band(size: u32, step: u32, max: u32, min: u32) -> u32 {
    let band = (size / step).min(max);
    if size <= min { 0 } else { band.max(min) }
}

fn to_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn from_number(number: u128, v4: bool) -> IpAddr {
    if v4 { IpAddr::V4(Ipv4Addr::from(number as u32)) } else { IpAddr::V6(Ipv6Addr::from(number)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_can_be_asked_for_and_is_not_picked() {
        let addresses = Addresses::new("10.96.0.0/16".parse().unwrap());
        let first = addresses.take("10.96.0.1".parse().unwrap()).unwrap();
        assert_eq!(addresses.address(&first).to_string(), "10.96.0.1");
        assert_eq!(addresses.take("10.96.0.1".parse().unwrap()).unwrap_err(), AddressError::Taken);
        let any = addresses.take_any(0).unwrap();
        assert_eq!(addresses.address(&any).to_string(), "10.96.1.1");
        assert_eq!(
            addresses.take("10.97.0.1".parse().unwrap()).unwrap_err().to_string(),
            "the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
        );
        for never in ["10.96.0.0", "10.96.255.255", "fd00::1"] {
            assert!(addresses.take(never.parse().unwrap()).is_err(), "{never}");
        }
    }
}
