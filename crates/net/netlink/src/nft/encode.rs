//! nftables messages: one batch is one transaction. Numbers are those of `linux/netfilter/nf_tables.h`.

use super::diff::{Changes, diff};
use super::expr::{Conntrack, DynamicOp, Expr, FibAddress, Header, LookupInto, Meta, Register, Verdict};
use super::{Chain, ChainType, Data, Field, Hook, Ruleset, Set, Target, Value};
use crate::message::{self, ACK, APPEND, Builder, CREATE, DUMP, REQUEST};
use crate::socket::{self, Error, Socket};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
const DELCHAIN: u16 = SUBSYSTEM << 8 | 5;
const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
const DELRULE: u16 = SUBSYSTEM << 8 | 8;
const NEWSET: u16 = SUBSYSTEM << 8 | 9;
const DELSET: u16 = SUBSYSTEM << 8 | 11;
const NEWELEMENT: u16 = SUBSYSTEM << 8 | 12;
const GETELEMENT: u16 = SUBSYSTEM << 8 | 13;
const DELELEMENT: u16 = SUBSYSTEM << 8 | 14;
const NFPROTO_INET: u8 = 1;
const LIST_ELEM: u16 = 1;
const SET_INTERVAL: u32 = 0x4;
const SET_MAP: u32 = 0x8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;
const SET_CONCAT: u32 = 0x80;
const VERDICT_TYPE: u32 = 0xffff_ff00;
/// Most parts of a key whose types fit 32 bits.
const FIELDS_MAX: usize = 5;
/// An attribute that holds a list must stay below 64 KiB.
const LIST_BYTES_MAX: usize = 32 << 10;

/// Brings the kernel from `old`, which this process applied before, to `new`; without `old`, or when that fails because the
/// table was changed behind our back, the table is replaced as a whole, keeping what rules remembered in dynamic sets. Either
/// way in one transaction.
pub fn apply(socket: &mut Socket, old: Option<&Ruleset>, new: &Ruleset) -> Result<(), Error> {
    if let Some(changes) = old.and_then(|old| diff(old, new)) {
        if changes.is_empty() {
            return Ok(());
        }
        match commit(socket, &new.table, &changes, None) {
            Err(Error::Kernel { errno: libc::ENOENT | libc::EEXIST | libc::EBUSY, .. }) => {}
            done => return done,
        }
    }
    let empty = Ruleset::new(&new.table);
    let all = diff(&empty, new).expect("an empty table conflicts with nothing");
    let kept = kept(socket, new);
    commit(socket, &new.table, &all, Some(&kept))
}

/// An element that rules added, with the time it was given and the time it has left.
struct Dynamic {
    key: Data,
    value: Option<Data>,
    timeout_ms: u64,
    left_ms: u64,
}

/// What the kernel's dynamic sets hold now and those of `new` can hold: clients keep their endpoint though the table is replaced.
fn kept<'a>(socket: &mut Socket, new: &'a Ruleset) -> Vec<(&'a str, Vec<Dynamic>)> {
    let mut all = Vec::new();
    for (name, set) in new.sets.iter().filter(|(_, set)| set.dynamic.is_some()) {
        // What cannot be read is forgotten: rules in place are worth more.
        let mut elements = dynamic_elements(socket, &new.table, name).unwrap_or_default();
        let value_bytes = match &set.target {
            Target::Value(fields) => Some(length(fields) as usize),
            Target::Member | Target::Verdict => None,
        };
        let fits = |element: &Dynamic| {
            element.key.0.len() == length(&set.key) as usize
                && element.value.as_ref().map(|value| value.0.len()) == value_bytes
        };
        elements.retain(fits);
        all.push((name.as_str(), elements));
    }
    all
}

/// The elements of a dynamic set; none if there is no such set.
fn dynamic_elements(socket: &mut Socket, table: &str, set: &str) -> Result<Vec<Dynamic>, Error> {
    let mut elements = Vec::new();
    let result = socket.query(
        GETELEMENT,
        DUMP,
        |builder| {
            builder.raw(&[NFPROTO_INET, 0, 0, 0]).string(1, table).string(2, set);
        },
        |answer| {
            let list = answer.payload.get(4..).and_then(|attrs| message::find(attrs, 3)).unwrap_or_default();
            elements.extend(message::attrs(list).filter_map(|(_, element)| read_dynamic(element)));
        },
    );
    match result {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        other => other.map(|()| elements),
    }
}

fn read_dynamic(element: &[u8]) -> Option<Dynamic> {
    let data = |kind| Some(Data(message::find(message::find(element, kind)?, 1)?.to_vec()));
    let number = |kind| Some(u64::from_be_bytes(message::find(element, kind)?.try_into().ok()?));
    Some(Dynamic { key: data(1)?, value: data(2), timeout_ms: number(4)?, left_ms: number(5)? })
}

/// Removes a table with everything in it; fine if there is none.
pub fn delete_table(socket: &mut Socket, table: &str) -> Result<(), Error> {
    let mut batch = Batch::begin(socket);
    batch.table(table, NEWTABLE, CREATE);
    batch.table(table, DELTABLE, 0);
    batch.commit()
}

/// Whether there is a table of that name.
pub fn table_exists(socket: &mut Socket, table: &str) -> Result<bool, Error> {
    let mut found = false;
    let result = socket.query(
        GETTABLE,
        ACK,
        |builder| {
            builder.raw(&[NFPROTO_INET, 0, 0, 0]).string(1, table);
        },
        |_| found = true,
    );
    match result {
        Err(error) if error.is_not_found() => Ok(false),
        other => other.map(|()| found),
    }
}

/// A socket that hears of every change of nftables, by whomever.
pub fn monitor() -> Result<Socket, Error> {
    const GROUP_NFTABLES: u32 = 7;
    let socket = Socket::netfilter()?;
    socket.join(GROUP_NFTABLES)?;
    Ok(socket)
}

/// Whether a datagram from [`monitor`] tells of the removal of a table of that name. Replacing it as a whole looks the same:
/// [`table_exists`] knows better.
pub fn tells_of_removal(datagram: &[u8], table: &str) -> bool {
    message::messages(datagram).filter(|message| message.kind == DELTABLE).any(|message| {
        let attrs = message.payload.get(4..).unwrap_or_default();
        message::find(attrs, 1).is_some_and(|name| message::text(name) == table)
    })
}

/// Sends changes. With `replace` they are all of a table that takes the place of the one before, with these dynamic elements.
fn commit(
    socket: &mut Socket,
    table: &str,
    changes: &Changes<'_>,
    replace: Option<&[(&str, Vec<Dynamic>)]>,
) -> Result<(), Error> {
    let mut batch = Batch::begin(socket);
    if replace.is_some() {
        batch.table(table, NEWTABLE, CREATE);
        batch.table(table, DELTABLE, 0);
        batch.table(table, NEWTABLE, CREATE);
    }
    for (name, chain) in &changes.new_chains {
        batch.new_chain(table, name, chain);
    }
    for (id, (name, set)) in (1..).zip(&changes.new_sets) {
        batch.new_set(table, name, set, id);
    }
    for (set, elements) in &changes.old_elements {
        batch.elements(table, set, elements, DELELEMENT);
    }
    for (set, elements) in &changes.new_elements {
        batch.elements(table, set, elements, NEWELEMENT);
    }
    for (set, elements) in replace.unwrap_or_default() {
        batch.dynamic(table, set, elements);
    }
    for (name, chain, flush) in &changes.rules {
        if *flush {
            batch.flush(table, name);
        }
        for rule in &chain.rules {
            batch.rule(table, name, &rule.exprs);
        }
    }
    for name in &changes.old_chains {
        batch.flush(table, name);
    }
    for name in &changes.old_sets {
        batch.message(DELSET, 0).string(1, table).string(2, name);
    }
    for name in &changes.old_chains {
        batch.message(DELCHAIN, 0).string(1, table).string(3, name);
    }
    batch.commit()
}

struct Batch<'a> {
    socket: &'a mut Socket,
    builder: Builder,
    first: u32,
    last: u32,
}

impl<'a> Batch<'a> {
    fn begin(socket: &'a mut Socket) -> Batch<'a> {
        let mut builder = Builder::new();
        let sequence = socket.next_sequence();
        builder.message(BATCH_BEGIN, REQUEST, sequence).raw(&[0, 0, 0, SUBSYSTEM as u8]);
        Batch { socket, builder, first: sequence, last: sequence }
    }

    fn message(&mut self, kind: u16, flags: u16) -> &mut Builder {
        self.last = self.socket.next_sequence();
        self.builder.message(kind, flags | REQUEST, self.last).raw(&[NFPROTO_INET, 0, 0, 0])
    }

    fn table(&mut self, name: &str, kind: u16, flags: u16) {
        self.message(kind, flags).string(1, name);
    }

    fn new_chain(&mut self, table: &str, name: &str, chain: &Chain) {
        let message = self.message(NEWCHAIN, CREATE).string(1, table).string(3, name);
        if let Some((kind, hook, priority)) = chain.base {
            let number = match hook {
                Hook::Prerouting => 0,
                Hook::Input => 1,
                Hook::Forward => 2,
                Hook::Output => 3,
                Hook::Postrouting => 4,
            };
            message.nest(4, |hook| {
                hook.be32(1, number).be32(2, priority.cast_unsigned());
            });
            message.string(7, if kind == ChainType::Nat { "nat" } else { "filter" });
        }
    }

    fn new_set(&mut self, table: &str, name: &str, set: &Set, id: u32) {
        let mut flags = 0;
        if set.target != Target::Member {
            flags |= SET_MAP;
        }
        if set.interval {
            flags |= SET_INTERVAL;
        }
        if set.interval && set.key.len() > 1 {
            flags |= SET_CONCAT;
        }
        if set.dynamic.is_some() {
            flags |= SET_EVAL | SET_TIMEOUT;
        }
        let message = self.message(NEWSET, CREATE).string(1, table).string(2, name);
        message.be32(3, flags).be32(4, type_number(&set.key)).be32(5, length(&set.key));
        match &set.target {
            Target::Member => {}
            Target::Value(fields) => {
                message.be32(6, type_number(fields)).be32(7, length(fields));
            }
            Target::Verdict => {
                message.be32(6, VERDICT_TYPE).be32(7, 0);
            }
        }
        message.be32(10, id);
        message.nest(9, |desc| {
            if let Some(size) = set.dynamic {
                desc.be32(1, size);
            }
            if set.interval && set.key.len() > 1 {
                desc.nest(2, |fields| {
                    for field in &set.key {
                        fields.nest(LIST_ELEM, |one| {
                            one.be32(1, field.bytes() as u32);
                        });
                    }
                });
            }
        });
    }

    fn elements(&mut self, table: &str, set: &str, elements: &[(&Data, &Value)], kind: u16) {
        let mut rest = elements;
        while !rest.is_empty() {
            let message = self.message(kind, if kind == NEWELEMENT { CREATE } else { 0 });
            message.string(1, table).string(2, set);
            let start = message.len();
            let mut sent = 0;
            message.nest(3, |list| {
                for (key, value) in rest {
                    if list.len() - start > LIST_BYTES_MAX {
                        break;
                    }
                    list.nest(LIST_ELEM, |element| write_element(element, key, value, kind == NEWELEMENT));
                    sent += 1;
                }
            });
            rest = &rest[sent..];
        }
    }

    fn dynamic(&mut self, table: &str, set: &str, elements: &[Dynamic]) {
        const PER_MESSAGE: usize = 100;
        for some in elements.chunks(PER_MESSAGE) {
            self.message(NEWELEMENT, CREATE).string(1, table).string(2, set).nest(3, |list| {
                for element in some {
                    let value = element.value.clone().map_or(Value::Member, Value::Data);
                    list.nest(LIST_ELEM, |one| {
                        write_element(one, &element.key, &value, true);
                        one.be64(4, element.timeout_ms).be64(5, element.left_ms);
                    });
                }
            });
        }
    }

    fn flush(&mut self, table: &str, chain: &str) {
        self.message(DELRULE, 0).string(1, table).string(2, chain);
    }

    fn rule(&mut self, table: &str, chain: &str, exprs: &[Expr]) {
        self.message(NEWRULE, CREATE | APPEND).string(1, table).string(2, chain).nest(4, |list| {
            for expr in exprs {
                list.nest(LIST_ELEM, |one| write_expr(one, expr));
            }
        });
    }

    fn commit(mut self) -> Result<(), Error> {
        // The verdict of the last message tells of the whole batch; others speak only when they fail.
        self.builder.add_flags(ACK);
        let last = self.last;
        let end = self.socket.next_sequence();
        self.builder.message(BATCH_END, REQUEST, end).raw(&[0, 0, 0, SUBSYSTEM as u8]);
        let bytes = std::mem::take(&mut self.builder).into_bytes();
        self.socket.send(&bytes)?;
        loop {
            let bytes = self.socket.receive()?;
            // What an earlier failed batch left unread has smaller numbers.
            let ours =
                |answer: &message::Message<'_>| socket::is_verdict(answer) && answer.sequence >= self.first;
            for answer in message::messages(&bytes).filter(ours) {
                socket::verdict(&answer)?;
                if answer.sequence == last {
                    return Ok(());
                }
            }
        }
    }
}

/// What tells `nft list` the types of a key or value: six bits each. The kernel does not care, but `nft` stops dead at types it cannot
/// make out, so keys have at most [`FIELDS_MAX`] parts.
fn type_number(fields: &[Field]) -> u32 {
    debug_assert!(fields.len() <= FIELDS_MAX, "{fields:?}");
    fields.iter().fold(0, |number, field| number << 6 | field.type_number())
}

fn length(fields: &[Field]) -> u32 {
    fields.iter().map(|field| u32::from(field.registers()) * 4).sum()
}

fn write_element(element: &mut Builder, key: &Data, value: &Value, with_data: bool) {
    element.nest(1, |data| {
        data.attr(1, &key.0);
    });
    match value {
        Value::UpTo(end) => {
            element.nest(10, |data| {
                data.attr(1, &end.0);
            });
        }
        Value::Data(value) if with_data => {
            element.nest(2, |data| {
                data.attr(1, &value.0);
            });
        }
        Value::Verdict(verdict) if with_data => {
            element.nest(2, |data| write_verdict(data, verdict));
        }
        Value::Member | Value::Data(_) | Value::Verdict(_) => {}
    }
}

fn write_verdict(data: &mut Builder, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    data.nest(2, |verdict| {
        verdict.be32(1, code.cast_unsigned());
        if let Some(chain) = chain {
            verdict.string(2, chain);
        }
    });
}

fn number(register: Register) -> u32 {
    8 + u32::from(register.0)
}

fn write_value(builder: &mut Builder, kind: u16, value: &[u8]) {
    builder.nest(kind, |data| {
        data.attr(1, value);
    });
}

fn write_expr(list: &mut Builder, expr: &Expr) {
    let name = match expr {
        Expr::Meta { .. } | Expr::SetMark { .. } => "meta",
        Expr::Conntrack { .. } => "ct",
        Expr::Payload { .. } => "payload",
        Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
        Expr::Compare { .. } => "cmp",
        Expr::Bitwise { .. } => "bitwise",
        Expr::Lookup { .. } => "lookup",
        Expr::Random { .. } => "numgen",
        Expr::FibType { .. } => "fib",
        Expr::Dynamic { .. } => "dynset",
        Expr::Dnat { .. } => "nat",
        Expr::Masquerade => "masq",
        Expr::Reject { .. } => "reject",
    };
    list.string(1, name).nest(2, |data| write_operands(data, expr));
}

fn write_operands(data: &mut Builder, expr: &Expr) {
    match expr {
        Expr::Meta { key, to } => {
            let key = match key {
                Meta::Mark => 3,
                Meta::InputName => 6,
                Meta::Family => 15,
                Meta::Protocol => 16,
            };
            data.be32(1, number(*to)).be32(2, key);
        }
        Expr::SetMark { from } => {
            data.be32(2, 3).be32(3, number(*from));
        }
        Expr::Conntrack { key, to } => {
            data.be32(1, number(*to)).be32(2, if *key == Conntrack::State { 0 } else { 2 });
        }
        Expr::Payload { header, offset, bytes, to } => {
            let base = if *header == Header::Network { 1 } else { 2 };
            data.be32(1, number(*to)).be32(2, base).be32(3, *offset).be32(4, *bytes);
        }
        Expr::Immediate { value, to } => {
            data.be32(1, number(*to));
            write_value(data, 2, &value.0);
        }
        Expr::Verdict(verdict) => {
            data.be32(1, 0).nest(2, |inner| write_verdict(inner, verdict));
        }
        Expr::Compare { register, equal, value } => {
            data.be32(1, number(*register)).be32(2, u32::from(!*equal));
            write_value(data, 3, value);
        }
        Expr::Bitwise { register, mask, xor } => {
            data.be32(1, number(*register)).be32(2, number(*register)).be32(3, mask.len() as u32);
            write_value(data, 4, mask);
            write_value(data, 5, xor);
        }
        Expr::Lookup { set, from, into } => {
            data.string(1, set).be32(2, number(*from));
            match into {
                LookupInto::Match => {}
                LookupInto::Registers(to) => {
                    data.be32(3, number(*to));
                }
                LookupInto::Verdict => {
                    data.be32(3, 0);
                }
            }
        }
        Expr::Random { modulus, to } => {
            data.be32(1, number(*to)).be32(2, *modulus).be32(3, 1).be32(4, 0);
        }
        Expr::FibType { address, to } => {
            let flags = if *address == FibAddress::Source { 1 } else { 2 };
            data.be32(1, number(*to)).be32(2, 3).be32(3, flags);
        }
        Expr::Dynamic { op, set, key, value, timeout_ms } => {
            let op = if *op == DynamicOp::Update { 1 } else { 2 };
            data.string(1, set).be32(3, op).be32(4, number(*key));
            if let Some(value) = value {
                data.be32(5, number(*value));
            }
            if *timeout_ms > 0 {
                data.be64(6, *timeout_ms);
            }
        }
        Expr::Dnat { is_v6, address, port } => {
            let family = if *is_v6 { libc::AF_INET6 } else { libc::AF_INET };
            data.be32(1, 1).be32(2, family.cast_unsigned());
            data.be32(3, number(*address)).be32(5, number(*port));
        }
        Expr::Masquerade => {
            const FULLY_RANDOM: u32 = 1 << 4;
            data.be32(1, FULLY_RANDOM);
        }
        Expr::Reject { reset } => {
            const TCP_RESET: u32 = 1;
            const ICMPX: u32 = 2;
            const PORT_UNREACHABLE: u8 = 1;
            data.be32(1, if *reset { TCP_RESET } else { ICMPX }).attr(2, &[PORT_UNREACHABLE]);
        }
    }
}
