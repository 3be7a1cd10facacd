//! IP addresses and ranges. Fields old and new hold to one meaning of a text: no leading zeros, no IPv4 inside IPv6, no
//! bits beyond a prefix (KEP-4858); newer fields want the canonical form besides. What is asked only for its family is read
//! loosely.

use super::Errs;
use crate::Path;
use meta::{BadValue, FieldError, Str};
use std::net::{IpAddr, Ipv4Addr};

/// An address, or nothing when the text is none.
pub fn parse(value: &str) -> Option<IpAddr> {
    let ip = value.parse::<IpAddr>().ok().or_else(|| sloppy_v4(value).map(IpAddr::V4))?;
    Some(match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    })
}

fn sloppy_v4(value: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = value.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
        *octet = part
            .trim_start_matches('0')
            .parse()
            .or_else(|e| if part.bytes().all(|b| b == b'0') { Ok(0) } else { Err(e) })
            .ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

/// A range: its first address as written, its first address in truth, and the length of the prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cidr {
    /// The address before the slash.
    pub address: IpAddr,
    /// The address with the host's bits cleared.
    pub network: IpAddr,
    /// The number of bits that are fixed.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `address/prefix`.
    pub fn parse(value: &str) -> Option<Cidr> {
        let (address, prefix) = value.split_once('/')?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let prefix: u32 = prefix.parse().ok()?;
        let v6_text = address.contains(':');
        let address = parse(address)?;
        // An IPv4-mapped address is written with the bits of IPv6.
        let prefix = match (address, v6_text) {
            (IpAddr::V4(_), true) => prefix.checked_sub(96).filter(|p| *p <= 32)?,
            (IpAddr::V4(_), false) if prefix > 32 => return None,
            (IpAddr::V6(_), _) if prefix > 128 => return None,
            _ => prefix,
        };
        let network = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(mask(u128::from(u32::from(v4)), 32, prefix) as u32)),
            IpAddr::V6(v6) => IpAddr::V6(mask(u128::from(v6), 128, prefix).into()),
        };
        Some(Cidr { address, network, prefix: prefix as u8 })
    }

    /// Whether the address lies in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.network, ip) {
            (IpAddr::V4(n), IpAddr::V4(ip)) => {
                mask(u128::from(u32::from(ip)), 32, prefix) == u128::from(u32::from(n))
            }
            (IpAddr::V6(n), IpAddr::V6(ip)) => mask(u128::from(ip), 128, prefix) == u128::from(n),
            _ => false,
        }
    }
}

fn mask(bits: u128, width: u32, prefix: u32) -> u128 {
    let host = width - prefix;
    if host >= 128 { 0 } else { (bits >> host) << host }
}

const LEADING_ZEROS: &str = "must not have leading 0s";
const MAPPED: &str = "must not be an IPv4-mapped IPv6 address";
const RANGE_LEADING_ZEROS: &str = "must not have leading 0s in IP or prefix length";
const RANGE_MAPPED: &str = "must not have an IPv4-mapped IPv6 address";
const BEYOND_PREFIX: &str = "must not have bits set beyond the prefix length";

/// The value of an error about what was allowed before v1.36: objects that have it keep it (KEP-4858).
pub fn lenient_once(error: &FieldError) -> Option<&str> {
    const TEXTS: [&str; 5] = [LEADING_ZEROS, MAPPED, RANGE_LEADING_ZEROS, RANGE_MAPPED, BEYOND_PREFIX];
    match &error.value {
        BadValue::Text(value) if TEXTS.contains(&error.detail.as_str()) => Some(value),
        _ => None,
    }
}

/// A field that holds an address in any form that has one meaning. What could be read is returned, even if it was refused.
pub fn address(e: &mut Errs, at: &Path<'_>, value: &str) -> Option<IpAddr> {
    let ip = parse(value);
    match value.parse::<IpAddr>() {
        _ if ip.is_none() => {
            e.invalid(at, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
        Err(_) => e.invalid(at, value, LEADING_ZEROS),
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            e.invalid(at, value, MAPPED);
        }
        Ok(_) => {}
    }
    ip
}

/// A field that holds a range in any form that has one meaning. What could be read is returned, even if it was refused.
pub fn range(e: &mut Errs, at: &Path<'_>, value: &str) -> Option<Cidr> {
    let Some(cidr) = Cidr::parse(value) else {
        e.invalid(at, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return None;
    };
    let (address, prefix) = value.split_once('/').unwrap_or((value, ""));
    match address.parse::<IpAddr>() {
        Err(_) => e.invalid(at, value, RANGE_LEADING_ZEROS),
        Ok(_) if prefix.len() > 1 && prefix.starts_with('0') => {
            e.invalid(at, value, RANGE_LEADING_ZEROS);
        }
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            e.invalid(at, value, RANGE_MAPPED);
        }
        Ok(_) if cidr.address != cidr.network => {
            e.invalid(at, value, BEYOND_PREFIX);
        }
        Ok(_) => {}
    }
    Some(cidr)
}

/// A field that holds an address in its one canonical form.
pub fn strict_address(e: &mut Errs, at: &Path<'_>, value: &str) -> Option<IpAddr> {
    let before = e.len();
    let ip = address(e, at, value)?;
    if e.len() == before && value != ip.to_string() {
        e.invalid(at, value, format!("must be in canonical form (\"{ip}\")"));
    }
    Some(ip)
}

/// A field that holds a range in its one canonical form.
pub fn strict_range(e: &mut Errs, at: &Path<'_>, value: &str) {
    let before = e.len();
    let Some(cidr) = range(e, at, value) else { return };
    let canonical = format!("{}/{}", cidr.network, cidr.prefix);
    if e.len() == before && value != canonical {
        e.invalid(at, value, format!("must be in canonical form (\"{canonical}\")"));
    }
}

/// At most one address of each family where there are several.
pub fn one_per_family(e: &mut Errs, at: &Path<'_>, ips: &[&str], shown: impl FnOnce() -> meta::BadValue) {
    if ips.len() < 2 {
        return;
    }
    let parsed: Vec<_> = ips.iter().map(|ip| parse(ip)).collect();
    let unreadable = parsed.iter().position(Option::is_none);
    if let Some(nth) = unreadable {
        e.internal(at, format!("failed to check for dual stack with error:invalid IP[{nth}]: {}", ips[nth]));
    }
    let family = |v6: bool| parsed.iter().flatten().any(|ip| ip.is_ipv6() == v6);
    if ips.len() > 2 || unreadable.is_some() || !(family(true) && family(false)) {
        e.invalid(at, shown(), "may specify no more than one IP for each IP family");
    }
}

/// An address that traffic can be sent to from outside: not unspecified, loopback, link-local.
pub fn reachable(e: &mut Errs, at: &Path<'_>, value: &str) {
    let Some(ip) = parse(value) else {
        e.invalid(at, value, "must be a valid IP address");
        return;
    };
    let (unspecified, loopback, link_local, multicast) = match ip {
        IpAddr::V4(v4) => {
            (v4.is_unspecified(), v4.is_loopback(), v4.is_link_local(), v4.octets()[..3] == [224, 0, 0])
        }
        IpAddr::V6(v6) => (
            v6.is_unspecified(),
            v6.is_loopback(),
            v6.segments()[0] & 0xffc0 == 0xfe80,
            v6.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    for (wrong, detail) in [
        (unspecified, format!("may not be unspecified ({value})")),
        (loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ] {
        if wrong {
            e.invalid(at, value, detail);
        }
    }
}

/// What to tell a user about an address that works but is not written in the standard form.
pub fn address_warning(at: &Path<'_>, value: &str) -> Option<String> {
    let ip = parse(value)?;
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => (v6.to_string() != value).then(|| {
            format!("{at}: IPv6 address \"{value}\" should be in RFC 5952 canonical format (\"{v6}\")")
        }),
        Ok(IpAddr::V4(_)) => None,
        _ => Some(format!("{at}: non-standard IP address \"{value}\" is invalid: use \"{ip}\"")),
    }
}

/// What to tell a user about the addresses of a load balancer, the list of which is `at`.
pub fn balancer_warnings<'a>(at: &Path<'_>, ips: impl Iterator<Item = &'a Str>) -> Vec<String> {
    ips.enumerate().filter_map(|(i, ip)| address_warning(&at.index(i), ip)).collect()
}

/// What to tell a user about a range that works but is not written in the standard form.
pub fn range_warnings(at: &Path<'_>, value: &str) -> Vec<String> {
    let mut out = Vec::new();
    let Some(cidr) = Cidr::parse(value) else { return out };
    let canonical = format!("{}/{}", cidr.network, cidr.prefix);
    if cidr.address != cidr.network {
        let width = if cidr.address.is_ipv4() { 32 } else { 128 };
        out.push(format!(
            "{at}: CIDR value \"{value}\" is ambiguous in this context (should be \"{canonical}\" or \"{}/{width}\"?)",
            cidr.address
        ));
    }
    let (address, prefix) = value.split_once('/').unwrap_or((value, ""));
    let leading_zero = prefix.len() > 1 && prefix.starts_with('0');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if !leading_zero => {}
        Ok(IpAddr::V6(v6)) if !leading_zero && v6.to_ipv4_mapped().is_none() => {
            let plain = format!("{v6}/{prefix}");
            if out.is_empty() && plain != value {
                out.push(format!(
                    "{at}: IPv6 CIDR value \"{value}\" should be in RFC 5952 canonical format (\"{plain}\")"
                ));
            }
        }
        _ => out.push(format!("{at}: non-standard CIDR value \"{value}\" is invalid: use \"{canonical}\"")),
    }
    out
}

/// The address of an interface with its prefix length, as Go writes it.
pub fn interface(e: &mut Errs, at: &Path<'_>, value: &str) {
    let parts = value.split_once('/').and_then(|(ip, bits)| Some((parse(ip)?, bits.parse::<u8>().ok()?)));
    let width = |ip: &IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    match parts.filter(|(ip, bits)| *bits <= width(ip)) {
        None => {
            let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            e.invalid(at, value, detail);
        }
        Some((ip, bits)) => {
            let canonical = format!("{ip}/{bits}");
            if value != canonical {
                e.invalid(at, value, format!("must be in canonical form ({canonical:?})"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_meaning() {
        let told = |check: &dyn Fn(&mut Errs, &Path<'_>)| {
            let mut e = Errs::new();
            check(&mut e, &Path::root("f"));
            e.into_vec().into_iter().map(|e| e.detail).collect::<Vec<_>>().join("; ")
        };
        for (value, detail) in [
            ("10.0.0.1", ""),
            ("2001:DB8::1", ""),
            ("010.0.0.1", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("x", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ] {
            assert_eq!(told(&|e, at| _ = address(e, at, value)), detail, "{value}");
        }
        for (value, detail) in [
            ("10.0.0.0/8", ""),
            ("2001:DB8::/32", ""),
            ("010.0.0.0/8", "must not have leading 0s in IP or prefix length"),
            ("10.0.0.0/08", "must not have leading 0s in IP or prefix length"),
            ("::ffff:1.2.3.0/120", "must not have an IPv4-mapped IPv6 address"),
            ("10.0.0.5/8", "must not have bits set beyond the prefix length"),
        ] {
            assert_eq!(told(&|e, at| _ = range(e, at, value)), detail, "{value}");
        }
        assert_eq!(
            told(&|e, at| _ = strict_address(e, at, "2001:DB8::1")),
            "must be in canonical form (\"2001:db8::1\")"
        );
    }

    #[test]
    fn loose_forms() {
        assert_eq!(parse("010.0.0.1"), parse("10.0.0.1"));
        assert_eq!(parse("::ffff:1.2.3.4"), parse("1.2.3.4"));
        assert_eq!(parse("999.1.1.1"), None);
        assert_eq!(parse("0.0.0.00"), parse("0.0.0.0"));
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
        assert!(
            Cidr::parse("10.1.0.0/16").is_some_and(|c| c.contains("10.1.2.3".parse().expect("an address")))
        );
        assert!(Cidr::parse("::/0").is_some_and(|c| c.contains("fe80::1".parse().expect("an address"))));
    }
}
