//! A ruleset as text: stable, one line for each rule and element, for snapshot tests and for people who wonder why a packet went
//! where it went. Rules read like the kernel's instructions, keys like `nft list`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::expr::{Conntrack, DynamicOp, Expr, FibAddress, Header, LookupInto, Meta, Register, Verdict};
use super::{ChainType, Data, Field, Ruleset, Set, Target, Value};

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {}", self.table)?;
        for (name, chain) in &self.chains {
            write!(f, "chain {name}")?;
            if let Some((kind, hook, priority)) = chain.base {
                let kind = if kind == ChainType::Nat { "nat" } else { "filter" };
                write!(f, " {kind} {} {priority}", format!("{hook:?}").to_lowercase())?;
            }
            writeln!(f)?;
            for rule in &chain.rules {
                let words: Vec<_> = rule.exprs.iter().map(ToString::to_string).collect();
                writeln!(f, "  {}", words.join("; "))?;
            }
        }
        for (name, set) in &self.sets {
            writeln!(f, "set {name} {set}")?;
            for (key, value) in self.elements.get(name).into_iter().flatten() {
                write!(f, "  {}", fields(&set.key, key))?;
                match (value, &set.target) {
                    (Value::UpTo(end), _) => write!(f, " - {}", fields(&set.key, end))?,
                    (Value::Data(data), Target::Value(parts)) => write!(f, " : {}", fields(parts, data))?,
                    (Value::Verdict(verdict), _) => write!(f, " : {verdict}")?,
                    (Value::Member | Value::Data(_), _) => {}
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&names(&self.key))?;
        match &self.target {
            Target::Member => {}
            Target::Value(fields) => write!(f, " : {}", names(fields))?,
            Target::Verdict => f.write_str(" : verdict")?,
        }
        if self.interval {
            f.write_str(" interval")?;
        }
        match self.dynamic {
            Some(size) => write!(f, " dynamic {size}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Meta { key, to } => {
                let key = match key {
                    Meta::Mark => "mark",
                    Meta::InputName => "iifname",
                    Meta::Family => "nfproto",
                    Meta::Protocol => "l4proto",
                };
                write!(f, "{to} = {key}")
            }
            Expr::SetMark { from } => write!(f, "mark = {from}"),
            Expr::Conntrack { key: Conntrack::State, to } => write!(f, "{to} = ct state"),
            Expr::Conntrack { key: Conntrack::Status, to } => write!(f, "{to} = ct status"),
            Expr::Payload { header, offset, bytes, to } => {
                let header = if *header == Header::Network { "network" } else { "transport" };
                write!(f, "{to} = {header}[{offset}..{}]", offset + bytes)
            }
            Expr::Immediate { value, to } => write!(f, "{to} = 0x{}", hex(&value.0)),
            Expr::Compare { register, equal, value } => {
                write!(f, "{register} {} 0x{}", if *equal { "==" } else { "!=" }, hex(value))
            }
            Expr::Bitwise { register, mask, xor } => {
                write!(f, "{register} &= 0x{}", hex(mask))?;
                match xor.iter().any(|byte| *byte != 0) {
                    true => write!(f, " ^ 0x{}", hex(xor)),
                    false => Ok(()),
                }
            }
            Expr::Lookup { set, from, into } => match into {
                LookupInto::Match => write!(f, "{from} in @{set}"),
                LookupInto::Registers(to) => write!(f, "{to} = @{set}[{from}]"),
                LookupInto::Verdict => write!(f, "{from} vmap @{set}"),
            },
            Expr::Random { modulus, to } => write!(f, "{to} = random mod {modulus}"),
            Expr::FibType { address, to } => {
                let which = if *address == FibAddress::Source { "saddr" } else { "daddr" };
                write!(f, "{to} = fib {which} type")
            }
            Expr::Dynamic { op, set, key, value, timeout_ms } => match (op, value) {
                (DynamicOp::Update, Some(value)) => {
                    write!(f, "update @{set}[{key}] = {value} for {timeout_ms} ms")
                }
                (DynamicOp::Update, None) => write!(f, "update @{set}[{key}] for {timeout_ms} ms"),
                (DynamicOp::Delete, _) => write!(f, "delete @{set}[{key}]"),
            },
            Expr::Dnat { is_v6, address, port } => {
                write!(f, "dnat {} to {address}:{port}", if *is_v6 { "ip6" } else { "ip" })
            }
            Expr::Masquerade => f.write_str("masquerade fully-random"),
            Expr::Reject { reset: false } => f.write_str("reject"),
            Expr::Reject { reset: true } => f.write_str("reject with tcp reset"),
            Expr::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(list: &[Field]) -> String {
    let names: Vec<_> = list
        .iter()
        .map(|field| match field {
            Field::Ipv4 => "ipv4",
            Field::Ipv6 => "ipv6",
            Field::Protocol => "protocol",
            Field::Port => "port",
            Field::Number => "number",
        })
        .collect();
    names.join(" . ")
}

fn fields(list: &[Field], data: &Data) -> String {
    let mut rest = data.0.as_slice();
    let mut words = Vec::new();
    for field in list {
        let (part, after) = rest.split_at(rest.len().min(usize::from(field.registers()) * 4));
        rest = after;
        words.push(one(*field, part).unwrap_or_else(|| hex(part)));
    }
    words.join(" . ")
}

fn one(field: Field, part: &[u8]) -> Option<String> {
    Some(match field {
        Field::Ipv4 => Ipv4Addr::from(<[u8; 4]>::try_from(part).ok()?).to_string(),
        Field::Ipv6 => Ipv6Addr::from(<[u8; 16]>::try_from(part).ok()?).to_string(),
        Field::Protocol => match *part.first()? {
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            132 => "sctp".to_owned(),
            other => other.to_string(),
        },
        Field::Port => u16::from_be_bytes(part.get(..2)?.try_into().ok()?).to_string(),
        Field::Number => u32::from_ne_bytes(part.try_into().ok()?).to_string(),
    })
}
