//! Node ports.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::addresses::band;
use super::metrics::{Asked, Stock};
use super::numbers::{Lease, Numbers};

/// Why no port was given.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortError {
    /// The port is in use.
    #[error("provided port is already allocated")]
    Taken,
    /// The port is outside the range.
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    Outside(String),
    /// Every port is in use.
    #[error("range is full")]
    Full,
}

/// The ports of the node port range.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    last: u16,
    numbers: Arc<Numbers>,
    asked: Asked,
}

impl Ports {
    /// The ports of `range`, by default 30000 to 32767.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let (first, last) = (*range.start(), *range.end());
        let size = u32::from(last.saturating_sub(first)) + 1;
        let numbers = Numbers::new(size, band(size, 32, 128, 16), Stock::of_ports());
        Ports { first, last, numbers, asked: Asked::of_ports() }
    }

    fn offset(&self, port: u16) -> Option<u32> {
        (port >= self.first && port <= self.last).then(|| u32::from(port - self.first))
    }

    /// The port behind a lease.
    pub fn port(&self, lease: &Lease) -> u16 {
        self.first + lease.number() as u16
    }

    /// Takes `port`.
    pub fn take(&self, port: u16) -> Result<Lease, PortError> {
        let outside = || PortError::Outside(format!("{}-{}", self.first, self.last));
        self.asked.count(false, || {
            self.numbers.take(self.offset(port).ok_or_else(outside)?).ok_or(PortError::Taken)
        })
    }

    /// Whether `port` is taken; what is outside the range is not.
    pub fn has(&self, port: u16) -> bool {
        self.offset(port).is_some_and(|offset| self.numbers.has(offset))
    }

    /// Takes any port; `random` spreads the choice.
    pub fn take_any(&self, random: u64) -> Result<Lease, PortError> {
        self.asked.count(true, || self.numbers.take_any(random).ok_or(PortError::Full))
    }

    /// Marks a port found in the store as taken.
    pub fn mark(&self, port: u16) {
        if let Some(offset) = self.offset(port) {
            self.numbers.mark(offset);
        }
    }

    /// Gives a port back.
    pub fn release(&self, port: u16) {
        if let Some(offset) = self.offset(port) {
            self.numbers.release(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_in_their_range() {
        let ports = Ports::new(30000..=32767);
        let lease = ports.take(30001).unwrap();
        assert_eq!(ports.port(&lease), 30001);
        assert_eq!(ports.take(30001).unwrap_err(), PortError::Taken);
        assert_eq!(
            ports.take(80).unwrap_err().to_string(),
            "provided port is not in the valid range. The range of valid ports is 30000-32767"
        );
        assert!(ports.port(&ports.take_any(0).unwrap()) >= 30086);
    }
}
