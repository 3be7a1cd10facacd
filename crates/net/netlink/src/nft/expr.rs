//! The instructions of a rule, as the kernel knows them (`linux/netfilter/nf_tables.h`). They work on sixteen registers of 32
//! bits, where neighbouring registers together hold concatenated keys.

use super::Data;

/// One of the sixteen registers, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass this hook.
    Accept,
    /// Lose it.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// Go on in a chain, and come back.
    Jump(String),
    /// Go on in a chain for good.
    Goto(String),
}

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// Its mark.
    Mark,
    /// Name of the link it came in on.
    InputName,
    /// Its family: 2 for IPv4, 10 for IPv6.
    Family,
    /// Number of its transport protocol.
    Protocol,
}

/// What is known of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conntrack {
    /// State bits: 8 is new.
    State,
    /// Status bits: 32 is a changed destination.
    Status,
}

/// Which address of the packet `fib` looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibAddress {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
}

/// Which header an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// IPv4 or IPv6.
    Network,
    /// TCP, UDP, SCTP.
    Transport,
}

/// What a lookup is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupInto {
    /// Go on if the key is there.
    Match,
    /// Put the value into registers.
    Registers(Register),
    /// Follow the verdict.
    Verdict,
}

/// How rules change a dynamic map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynamicOp {
    /// Add, or restart the clock of what is there.
    Update,
    /// Remove.
    Delete,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are registers and operands, named as in the kernel's header")]
pub enum Expr {
    /// Load what is known of the packet.
    Meta { key: Meta, to: Register },
    /// Set the packet's mark from a register.
    SetMark { from: Register },
    /// Load what is known of the flow.
    Conntrack { key: Conntrack, to: Register },
    /// Load bytes of the packet.
    Payload { header: Header, offset: u32, bytes: u32, to: Register },
    /// Load a constant.
    Immediate { value: Data, to: Register },
    /// Go on only if the register (does not) equal the constant of exactly these bytes.
    Compare { register: Register, equal: bool, value: Vec<u8> },
    /// `(register & mask) ^ xor`, in place.
    Bitwise { register: Register, mask: Vec<u8>, xor: Vec<u8> },
    /// Look a key up that starts at `from`.
    Lookup { set: String, from: Register, into: LookupInto },
    /// A random number below `modulus`.
    Random { modulus: u32, to: Register },
    /// The kind of an address: 2 is one of this machine.
    FibType { address: FibAddress, to: Register },
    /// Change a dynamic map. The kernel wants a register for the value of a map even to delete.
    Dynamic { op: DynamicOp, set: String, key: Register, value: Option<Register>, timeout_ms: u64 },
    /// Change the destination to the address and port in registers.
    Dnat { is_v6: bool, address: Register, port: Register },
    /// Change the source to the address of the link the packet leaves by, with a random port.
    Masquerade,
    /// Answer with ICMP "port unreachable", or with a TCP reset.
    Reject { reset: bool },
    /// Decide.
    Verdict(Verdict),
}
