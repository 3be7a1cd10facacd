//! Addresses and ranges of addresses.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Opaque, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    Row {
        name: "ip",
        run: ip,
        overloads: &["string_to_ip: (string) -> net.IP", "cidr_ip: net.CIDR.() -> net.IP"],
    },
    Row { name: "isIP", run: is_ip, overloads: &["is_ip: (string) -> bool"] },
    Row { name: "ip.isCanonical", run: is_canonical, overloads: &["ip_is_canonical: (string) -> bool"] },
    Row { name: "family", run: family, overloads: &["ip_family: net.IP.() -> int"] },
    Row { name: "isUnspecified", run: test, overloads: &["ip_is_unspecified: net.IP.() -> bool"] },
    Row { name: "isLoopback", run: test, overloads: &["ip_is_loopback: net.IP.() -> bool"] },
    Row {
        name: "isLinkLocalMulticast",
        run: test,
        overloads: &["ip_is_link_local_multicast: net.IP.() -> bool"],
    },
    Row {
        name: "isLinkLocalUnicast",
        run: test,
        overloads: &["ip_is_link_local_unicast: net.IP.() -> bool"],
    },
    Row { name: "isGlobalUnicast", run: test, overloads: &["ip_is_global_unicast: net.IP.() -> bool"] },
    Row { name: "cidr", run: cidr, overloads: &["string_to_cidr: (string) -> net.CIDR"] },
    Row { name: "isCIDR", run: is_cidr, overloads: &["is_cidr: (string) -> bool"] },
    Row {
        name: "containsIP",
        run: contains_ip,
        overloads: &[
            "cidr_contains_ip_string: net.CIDR.(string) -> bool",
            "cidr_contains_ip_ip: net.CIDR.(net.IP) -> bool",
        ],
    },
    Row {
        name: "containsCIDR",
        run: contains_cidr,
        overloads: &[
            "cidr_contains_cidr_string: net.CIDR.(string) -> bool",
            "cidr_contains_cidr: net.CIDR.(net.CIDR) -> bool",
        ],
    },
    Row { name: "prefixLength", run: prefix_length, overloads: &["cidr_prefix_length: net.CIDR.() -> int"] },
    Row { name: "masked", run: masked, overloads: &["cidr_masked: net.CIDR.() -> net.CIDR"] },
];

fn quoted(text: &str) -> String {
    meta::go_quote(text)
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    if text.contains('%') && text.contains(':') {
        return Err(EvalError::new(format!("IP address {} with zone value is not allowed", quoted(text))));
    }
    let ip: IpAddr = text.parse().map_err(|_| {
        let quoted = quoted(text);
        let why = format!("ParseAddr({quoted}): unable to parse IP");
        EvalError::new(format!("IP Address {quoted} parse error during conversion from string: {why}"))
    })?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {} is not allowed", quoted(text))))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<IpNet, EvalError> {
    let digits = text.rsplit_once('/').map_or("", |(_, digits)| digits);
    let plain = digits == "0" || !digits.starts_with(['0', '+']);
    let net: Option<IpNet> = text.parse().ok().filter(|_| plain);
    let net = net.ok_or_else(|| {
        let why = format!("netip.ParsePrefix({}): no '/'", quoted(text));
        EvalError::new(format!("network address parse error during conversion from string: {why}"))
    })?;
    match net {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {} is not allowed", quoted(text))))
        }
        net => Ok(net),
    }
}

fn ip<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Opaque(Opaque::Cidr(net))] => Ok(Value::Opaque(Opaque::Ip(net.addr()))),
        _ => parse_ip(call.str(0)?).map(|ip| Value::Opaque(Opaque::Ip(ip))),
    }
}

fn is_ip<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Bool(parse_ip(call.str(0)?).is_ok()))
}

fn is_canonical<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = call.str(0)?;
    Ok(Value::Bool(parse_ip(text)?.to_string() == text))
}

fn address(call: &Call<'_, '_>) -> Result<IpAddr, EvalError> {
    match call.args {
        [Value::Opaque(Opaque::Ip(ip))] => Ok(*ip),
        _ => Err(wrong_type(call)),
    }
}

fn family<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Int(if address(call)?.is_ipv4() { 4 } else { 6 }))
}

fn test<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let ip = address(call)?;
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    Ok(Value::Bool(match call.name {
        "isUnspecified" => ip.is_unspecified(),
        "isLoopback" => ip.is_loopback(),
        "isLinkLocalUnicast" => link_local,
        "isLinkLocalMulticast" => match ip {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        },
        _ => {
            let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
            !(broadcast || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
        }
    }))
}

fn range(call: &Call<'_, '_>) -> Result<IpNet, EvalError> {
    match call.args.first() {
        Some(Value::Opaque(Opaque::Cidr(net))) => Ok(*net),
        _ => Err(wrong_type(call)),
    }
}

fn cidr<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    parse_cidr(call.str(0)?).map(|net| Value::Opaque(Opaque::Cidr(net)))
}

fn is_cidr<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Bool(parse_cidr(call.str(0)?).is_ok()))
}

fn contains_ip<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let net = range(call)?;
    let ip = match call.args.get(1) {
        Some(Value::Opaque(Opaque::Ip(ip))) => *ip,
        _ => parse_ip(call.str(1)?)?,
    };
    Ok(Value::Bool(net.contains(&ip)))
}

fn contains_cidr<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let net = range(call)?;
    let other = match call.args.get(1) {
        Some(Value::Opaque(Opaque::Cidr(other))) => *other,
        _ => parse_cidr(call.str(1)?)?,
    };
    Ok(Value::Bool(net.trunc().contains(&other)))
}

fn prefix_length<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Int(i64::from(range(call)?.prefix_len())))
}

fn masked<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    Ok(Value::Opaque(Opaque::Cidr(range(call)?.trunc())))
}
