//! What a set of claims would get on each node, remembered: pods of one template ask for the same again and again, and an
//! answer changes only when a device of a pool that the node can reach is given away or comes back.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::allocate::{Allocator, LATE, Trouble};
use crate::plugin::Cx;

/// Answers kept in all, at most: beyond that all are forgotten.
const ANSWERS_MAX: usize = 1_000_000;

/// Sets of claims that are told apart, at most: what they ask for may be long.
const SHEETS_MAX: usize = 1024;

/// What a node had to say.
#[derive(Clone, Copy)]
pub enum Answer {
    /// The claims get their devices, with so many points for preferred alternatives.
    Fits(i64),
    /// Not all claims get theirs.
    Short,
    /// Something about the node is in the way.
    Refused(&'static str),
}

struct Known {
    answer: Answer,
    /// The count of changes when it was given.
    stamp: u64,
    /// Places of the pools that it depends on.
    pools: Box<[u32]>,
}

/// Answers of one set of claims, by index of the node.
#[derive(Default)]
pub struct Sheet {
    epoch: u64,
    rows: Vec<Option<Known>>,
}

/// Answers by what the claims ask for.
#[derive(Default)]
pub struct Answers(HashMap<Arc<[u8]>, Arc<Mutex<Sheet>>>);

impl Answers {
    /// Forgets everything: slices or classes changed.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The sheet of claims that ask for this.
    pub fn sheet(&mut self, key: Arc<[u8]>, nodes: usize) -> Arc<Mutex<Sheet>> {
        let sheets = self.0.len() + 1;
        if !self.0.contains_key(&key) && (sheets * nodes.max(1) > ANSWERS_MAX || sheets > SHEETS_MAX) {
            self.0.clear();
        }
        self.0.entry(key).or_default().clone()
    }
}

/// The node's answer, from the sheet where it still holds. After `until` no node is searched any more.
///
/// # Errors
/// A claim or class that is wrong.
pub(super) fn ask(
    allocator: &Allocator,
    sheet: &Mutex<Sheet>,
    cx: &Cx<'_>,
    node: usize,
    until: Option<Instant>,
) -> Result<Answer, String> {
    let (cluster, epoch) = (cx.cluster(), cx.snapshot.epoch());
    let mut sheet = sheet.lock();
    if sheet.epoch != epoch {
        sheet.rows.clear();
        sheet.epoch = epoch;
    }
    if let Some(Some(known)) = sheet.rows.get(node)
        && cluster.unchanged_since(&known.pools, known.stamp)
    {
        return Ok(known.answer);
    }
    if until.is_some_and(|until| Instant::now() > until) {
        return Ok(Answer::Refused(LATE));
    }
    let row = cx.row(node);
    let name = row.node().map(|node| node.metadata.name.clone()).unwrap_or_default();
    let mut pools = Vec::new();
    let answer = match allocator.allocate(cluster, &name, row, &mut pools) {
        Ok(Some(found)) => Answer::Fits(found.iter().map(|one| one.preference).sum()),
        Ok(None) => Answer::Short,
        Err(Trouble::Node(reason)) => Answer::Refused(reason),
        Err(Trouble::Fatal(error)) => return Err(error),
    };
    if sheet.rows.len() <= node {
        sheet.rows.resize_with(cx.snapshot.rows().max(node + 1), || None);
    }
    sheet.rows[node] = Some(Known { answer, stamp: cluster.device_changes(), pools: pools.into() });
    Ok(answer)
}
