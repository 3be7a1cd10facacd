//! What evaluations use and may use.

use std::cell::Cell;

use super::EvalError;

/// The most that one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The most bytes that one evaluation may make, which costs do not see everywhere.
const MADE_BYTES_MAX: usize = 64 << 20;

/// What all evaluations for one purpose may cost together.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    remaining: u64,
}

impl Budget {
    /// A full budget.
    pub fn new(cost: u64) -> Self {
        Self { remaining: cost }
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Takes the cost of an evaluation; the error says that there was not enough.
    pub fn take(&mut self, cost: u64) -> Result<(), EvalError> {
        let enough = cost <= self.remaining;
        self.remaining = self.remaining.saturating_sub(cost);
        if enough { Ok(()) } else { Err(EvalError::Budget) }
    }
}

/// What one evaluation has used.
#[derive(Debug, Default)]
pub struct Meter {
    cost: Cell<u64>,
    made_bytes: Cell<usize>,
}

impl Meter {
    /// What it cost so far.
    pub fn cost(&self) -> u64 {
        self.cost.get()
    }

    /// Charges.
    pub fn charge(&self, cost: u64) -> Result<(), EvalError> {
        let total = self.cost.get().saturating_add(cost);
        self.cost.set(total);
        if total > PER_CALL_LIMIT { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    /// Counts bytes that are about to be made, or steps that are about to be taken.
    pub fn make(&self, bytes: usize) -> Result<(), EvalError> {
        let total = self.made_bytes.get().saturating_add(bytes);
        self.made_bytes.set(total);
        if total > MADE_BYTES_MAX { Err(EvalError::CostLimit) } else { Ok(()) }
    }
}
