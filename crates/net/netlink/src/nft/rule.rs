//! Rules, put together under the names that people know from `nft`: each method appends the instructions of one statement.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expr::{Conntrack, DynamicOp, Expr, FibAddress, Header, LookupInto, Meta, Register, Verdict};
use super::{Data, Field};

const RTN_LOCAL: u32 = 2;
const CT_STATE_NEW: u32 = 8;
const CT_STATUS_DNAT: u32 = 32;

/// A rule: instructions that run until one does not match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The instructions.
    pub exprs: Vec<Expr>,
}

impl Rule {
    /// A rule that matches everything.
    pub fn new() -> Rule {
        Rule::default()
    }

    fn with(mut self, exprs: impl IntoIterator<Item = Expr>) -> Rule {
        self.exprs.extend(exprs);
        self
    }

    fn compare(self, equal: bool, value: &[u8]) -> Rule {
        self.with([Expr::Compare { register: Register(0), equal, value: value.to_vec() }])
    }

    /// Only packets of a family.
    pub fn family(self, is_v6: bool) -> Rule {
        self.with([Expr::Meta { key: Meta::Family, to: Register(0) }])
            .compare(true, &[if is_v6 { 10 } else { 2 }])
    }

    /// Only packets of new flows.
    pub fn new_flow(self) -> Rule {
        self.any_bit(Expr::Conntrack { key: Conntrack::State, to: Register(0) }, CT_STATE_NEW, true)
    }

    /// Only packets of flows whose destination was changed.
    pub fn redirected(self) -> Rule {
        self.any_bit(Expr::Conntrack { key: Conntrack::Status, to: Register(0) }, CT_STATUS_DNAT, true)
    }

    /// Only packets whose mark has the bit (or has not).
    pub fn marked(self, bit: u32, set: bool) -> Rule {
        self.any_bit(Expr::Meta { key: Meta::Mark, to: Register(0) }, bit, set)
    }

    fn any_bit(self, load: Expr, bit: u32, set: bool) -> Rule {
        let mask = Expr::Bitwise { register: Register(0), mask: bit.to_ne_bytes().to_vec(), xor: vec![0; 4] };
        self.with([load, mask]).compare(!set, &[0; 4])
    }

    /// Sets a bit of the mark.
    pub fn set_mark_bit(self, bit: u32) -> Rule {
        self.change_mark(!bit, bit)
    }

    /// Clears a bit of the mark.
    pub fn clear_mark_bit(self, bit: u32) -> Rule {
        self.change_mark(!bit, 0)
    }

    fn change_mark(self, mask: u32, xor: u32) -> Rule {
        self.with([
            Expr::Meta { key: Meta::Mark, to: Register(0) },
            Expr::Bitwise {
                register: Register(0),
                mask: mask.to_ne_bytes().to_vec(),
                xor: xor.to_ne_bytes().to_vec(),
            },
            Expr::SetMark { from: Register(0) },
        ])
    }

    /// Only packets that came in by this link (or by another).
    pub fn input_link(self, name: &str, equal: bool) -> Rule {
        let mut value = [0; 16];
        let length = name.len().min(15);
        value[..length].copy_from_slice(&name.as_bytes()[..length]);
        self.with([Expr::Meta { key: Meta::InputName, to: Register(0) }]).compare(equal, &value)
    }

    /// Only packets with a source inside (or outside) `net`.
    pub fn source_in(self, net: IpNet, inside: bool) -> Rule {
        self.address_in(FibAddress::Source, net, inside)
    }

    /// Only packets with a destination inside (or outside) `net`.
    pub fn destination_in(self, net: IpNet, inside: bool) -> Rule {
        self.address_in(FibAddress::Destination, net, inside)
    }

    fn address_in(self, which: FibAddress, net: IpNet, inside: bool) -> Rule {
        let is_v6 = net.addr().is_ipv6();
        let mask = Data::new().address(net.netmask()).0;
        let value = Data::new().address(net.network()).0;
        let rule = self.with([address(which, is_v6, Register(0))]);
        let full = net.prefix_len() == net.max_prefix_len();
        let rule = match full {
            true => rule,
            false => {
                let xor = vec![0; mask.len()];
                rule.with([Expr::Bitwise { register: Register(0), mask, xor }])
            }
        };
        rule.compare(inside, &value)
    }

    /// Only packets whose source (destination) is an address of this machine.
    pub fn local(self, which: FibAddress) -> Rule {
        self.with([Expr::FibType { address: which, to: Register(0) }]).compare(true, &RTN_LOCAL.to_ne_bytes())
    }

    /// Loads parts of a key one behind the other, from register `at` on.
    pub fn load(self, at: u8, parts: &[Part]) -> Rule {
        let mut next = at;
        let mut rule = self;
        for part in parts {
            rule = rule.with([part.load(Register(next))]);
            next += part.field().registers();
        }
        rule
    }

    /// Looks up the key at register `at`.
    pub fn lookup(self, set: &str, at: u8, into: LookupInto) -> Rule {
        self.with([Expr::Lookup { set: set.to_owned(), from: Register(at), into }])
    }

    /// Adds to (or removes from) a dynamic map.
    pub fn dynamic(self, op: DynamicOp, set: &str, key: u8, value: Option<u8>, timeout_ms: u64) -> Rule {
        let value = value.map(Register);
        self.with([Expr::Dynamic { op, set: set.to_owned(), key: Register(key), value, timeout_ms }])
    }

    /// Changes the destination to the address at register `at` and the port behind it.
    pub fn dnat(self, is_v6: bool, at: u8) -> Rule {
        let port = Register(at + Field::address(is_v6).registers());
        self.with([Expr::Dnat { is_v6, address: Register(at), port }])
    }

    /// Changes the source to an address of this machine.
    pub fn masquerade(self) -> Rule {
        self.with([Expr::Masquerade])
    }

    /// Only packets of a transport protocol.
    pub fn protocol(self, number: u8) -> Rule {
        self.with([Expr::Meta { key: Meta::Protocol, to: Register(0) }]).compare(true, &[number])
    }

    /// Refuses by ICMP, of which the kernel sends only a few to the same address in a second.
    pub fn reject(self) -> Rule {
        self.with([Expr::Reject { reset: false }])
    }

    /// Refuses a TCP connection by a reset, as often as it takes.
    pub fn reset(self) -> Rule {
        const TCP: u8 = 6;
        self.protocol(TCP).with([Expr::Reject { reset: true }])
    }

    /// Ends with a verdict.
    pub fn verdict(self, verdict: Verdict) -> Rule {
        self.with([Expr::Verdict(verdict)])
    }

    /// Ends with a jump.
    pub fn jump(self, chain: &str) -> Rule {
        self.verdict(Verdict::Jump(chain.to_owned()))
    }

    /// Ends with a goto.
    pub fn goto(self, chain: &str) -> Rule {
        self.verdict(Verdict::Goto(chain.to_owned()))
    }
}

/// A part of a key that a rule loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The packet's source.
    Source {
        /// Whether it is an IPv6 packet.
        is_v6: bool,
    },
    /// The packet's destination.
    Destination {
        /// Whether it is an IPv6 packet.
        is_v6: bool,
    },
    /// A constant address.
    Address(IpAddr),
    /// The packet's transport protocol.
    Protocol,
    /// The packet's destination port.
    DestinationPort,
    /// A constant number.
    Number(u32),
    /// A random number below this.
    Random(u32),
}

impl Part {
    fn field(&self) -> Field {
        match self {
            Part::Source { is_v6 } | Part::Destination { is_v6 } => Field::address(*is_v6),
            Part::Address(address) => Field::address(address.is_ipv6()),
            Part::Protocol => Field::Protocol,
            Part::DestinationPort => Field::Port,
            Part::Number(_) | Part::Random(_) => Field::Number,
        }
    }

    fn load(&self, to: Register) -> Expr {
        match self {
            Part::Source { is_v6 } => address(FibAddress::Source, *is_v6, to),
            Part::Destination { is_v6 } => address(FibAddress::Destination, *is_v6, to),
            Part::Address(address) => Expr::Immediate { value: Data::new().address(*address), to },
            Part::Protocol => Expr::Meta { key: Meta::Protocol, to },
            Part::DestinationPort => Expr::Payload { header: Header::Transport, offset: 2, bytes: 2, to },
            Part::Number(number) => Expr::Immediate { value: Data::new().number(*number), to },
            Part::Random(modulus) => Expr::Random { modulus: *modulus, to },
        }
    }
}

fn address(which: FibAddress, is_v6: bool, to: Register) -> Expr {
    let (offset, bytes) = match (which, is_v6) {
        (FibAddress::Source, false) => (12, 4),
        (FibAddress::Destination, false) => (16, 4),
        (FibAddress::Source, true) => (8, 16),
        (FibAddress::Destination, true) => (24, 16),
    };
    Expr::Payload { header: Header::Network, offset, bytes, to }
}
