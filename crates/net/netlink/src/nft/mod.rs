//! nftables as data. A [`Ruleset`] is one table (family inet) as it should be: chains with rules, sets and maps, and their
//! elements. [`apply`] sends what differs from the last one in a single transaction: the kernel takes all of it or nothing.
//!
//! - [`expr`] has the instructions of a rule; [`rule`] puts them together under the names that people know.
//! - [`diff`](mod@diff) says what has to change between two rulesets, pure; [`encode`] turns that into messages.
//! - `Display` of a ruleset is the stable text that snapshot tests and `ferrokube` show.

pub mod diff;
pub mod encode;
pub mod expr;
pub mod rule;
pub mod show;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use encode::{apply, delete_table, monitor, table_exists, tells_of_removal};
pub use expr::{Expr, Register, Verdict};
pub use rule::Rule;

/// Where in the kernel's packet path a base chain sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets that came in, before routing.
    Prerouting,
    /// Packets for this machine.
    Input,
    /// Packets passing through.
    Forward,
    /// Packets that this machine sends.
    Output,
    /// Packets about to leave.
    Postrouting,
}

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Accept or drop.
    Filter,
    /// Address translation: sees only the first packet of a flow.
    Nat,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Type, hook and priority of a base chain; chains without are reached by jumps.
    pub base: Option<(ChainType, Hook, i32)>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// One part of a key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// Number of a transport protocol.
    Protocol,
    /// Port.
    Port,
    /// A number in machine order.
    Number,
}

impl Field {
    /// The address field of a family.
    pub fn address(is_v6: bool) -> Field {
        if is_v6 { Field::Ipv6 } else { Field::Ipv4 }
    }

    /// Bytes of the field proper.
    pub fn bytes(self) -> usize {
        match self {
            Field::Ipv4 | Field::Number => 4,
            Field::Ipv6 => 16,
            Field::Protocol => 1,
            Field::Port => 2,
        }
    }

    /// 32 bit registers that the field fills.
    pub fn registers(self) -> u8 {
        if self == Field::Ipv6 { 4 } else { 1 }
    }

    /// The number by which `nft list` knows the type.
    fn type_number(self) -> u32 {
        match self {
            Field::Ipv4 => 7,
            Field::Ipv6 => 8,
            Field::Protocol => 12,
            Field::Port => 13,
            Field::Number => 19,
        }
    }
}

/// What a set's elements lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing: membership is all.
    Member,
    /// A value of these fields.
    Value(Vec<Field>),
    /// A verdict.
    Verdict,
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Parts of the key.
    pub key: Vec<Field>,
    /// Kind of set.
    pub target: Target,
    /// Whether the last part of a key is a range.
    pub interval: bool,
    /// Whether rules add elements, which expire; such elements are no part of a ruleset. The number is the most it may hold.
    pub dynamic: Option<u32>,
}

impl Set {
    /// A set whose elements lead to `target`.
    pub fn new(key: Vec<Field>, target: Target) -> Set {
        Set { key, target, interval: false, dynamic: None }
    }
}

/// A key or value: its parts, each filled up to a multiple of four bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Data(pub Vec<u8>);

impl Data {
    /// Nothing yet.
    pub fn new() -> Data {
        Data::default()
    }

    /// Adds an address.
    pub fn address(mut self, address: IpAddr) -> Data {
        match address {
            IpAddr::V4(v4) => self.0.extend_from_slice(&v4.octets()),
            IpAddr::V6(v6) => self.0.extend_from_slice(&v6.octets()),
        }
        self
    }

    /// Adds the number of a protocol.
    pub fn protocol(mut self, number: u8) -> Data {
        self.0.extend_from_slice(&[number, 0, 0, 0]);
        self
    }

    /// Adds a port.
    pub fn port(mut self, port: u16) -> Data {
        self.0.extend_from_slice(&port.to_be_bytes());
        self.0.extend_from_slice(&[0, 0]);
        self
    }

    /// Adds a number.
    pub fn number(mut self, number: u32) -> Data {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }
}

/// What one element leads to; matches its set's [`Target`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Membership.
    Member,
    /// Membership of all keys up to this one (in the last part; the other parts are the same).
    UpTo(Data),
    /// A value.
    Data(Data),
    /// A verdict.
    Verdict(Verdict),
}

/// One table as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Name of the table, family inet.
    pub table: String,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// Sets and maps by name.
    pub sets: BTreeMap<String, Set>,
    /// Elements by set.
    pub elements: BTreeMap<String, BTreeMap<Data, Value>>,
}

impl Ruleset {
    /// An empty table.
    pub fn new(table: &str) -> Ruleset {
        Ruleset { table: table.to_owned(), ..Ruleset::default() }
    }

    /// Adds a base chain.
    pub fn base(&mut self, name: &str, kind: ChainType, hook: Hook, priority: i32, rules: Vec<Rule>) {
        self.chains.insert(name.to_owned(), Chain { base: Some((kind, hook, priority)), rules });
    }

    /// Adds a chain that is reached by jumps.
    pub fn chain(&mut self, name: &str, rules: Vec<Rule>) {
        self.chains.insert(name.to_owned(), Chain { base: None, rules });
    }

    /// Adds a set or map.
    pub fn set(&mut self, name: &str, set: Set) {
        self.sets.insert(name.to_owned(), set);
    }

    /// Adds an element; the first one of a key counts. Tells whether it was added.
    pub fn element(&mut self, set: &str, key: Data, value: Value) -> bool {
        debug_assert!(self.sets.contains_key(set), "no set {set}");
        let elements = match self.elements.get_mut(set) {
            Some(elements) => elements,
            None => self.elements.entry(set.to_owned()).or_default(),
        };
        match elements.entry(key) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(value);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }
}
