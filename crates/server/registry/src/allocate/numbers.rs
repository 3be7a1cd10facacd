//! A bitmap of taken numbers, and leases on them that end unless they are kept.

use std::sync::Arc;

use parking_lot::Mutex;

use super::metrics::Stock;

/// Numbers `0..size`, some taken. Random picks come from the upper band first, so that the lower band stays free for
/// those who ask for a certain number (KEP-3070, KEP-3668).
#[derive(Debug)]
pub struct Numbers {
    words: Mutex<Vec<u64>>,
    size: u32,
    band: u32,
    stock: Stock,
}

impl Numbers {
    /// Numbers below `size`, of which the lowest `band` are picked at random only when the others are used up.
    /// `stock` shows how many are taken.
    pub fn new(size: u32, band: u32, stock: Stock) -> Arc<Self> {
        let words = vec![0; (size as usize).div_ceil(64)];
        stock.begin(size);
        Arc::new(Numbers { words: Mutex::new(words), size, band: band.min(size), stock })
    }

    /// How many numbers there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Takes `number`; false when it is taken already or outside.
    fn set(&self, number: u32) -> bool {
        if number >= self.size {
            return false;
        }
        let mut words = self.words.lock();
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        let free = words[word] & bit == 0;
        words[word] |= bit;
        if free {
            self.stock.take(1);
        }
        free
    }

    /// Gives `number` back.
    pub fn release(&self, number: u32) {
        if number >= self.size {
            return;
        }
        let mut words = self.words.lock();
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if words[word] & bit != 0 {
            words[word] &= !bit;
            self.stock.take(-1);
        }
    }

    /// Marks `number` as taken for good, as found in the store.
    pub fn mark(&self, number: u32) {
        self.set(number);
    }

    /// Whether a certain number is taken.
    pub fn has(&self, number: u32) -> bool {
        number < self.size && self.words.lock()[(number / 64) as usize] & (1 << (number % 64)) != 0
    }

    /// Takes a certain number.
    pub fn take(self: &Arc<Self>, number: u32) -> Option<Lease> {
        self.set(number).then(|| Lease { numbers: self.clone(), number, kept: false })
    }

    /// Takes any free number, searching from `start` (random, any value) on.
    pub fn take_any(self: &Arc<Self>, start: u64) -> Option<Lease> {
        let upper = self.size - self.band;
        let found = {
            let words = self.words.lock();
            let free = |n: &u32| words[(n / 64) as usize] & (1 << (n % 64)) == 0;
            let ring = |from: u32, length: u32| {
                let offset = if length == 0 { 0 } else { (start % u64::from(length)) as u32 };
                (offset..length).chain(0..offset).map(move |n| from + n)
            };
            ring(self.band, upper).find(free).or_else(|| ring(0, self.band).find(free))
        };
        // Another request may take the number between the search and this; the search then goes on.
        match found {
            None => None,
            Some(number) => self.take(number).or_else(|| self.take_any(start.wrapping_add(1))),
        }
    }
}

/// A taken number. Dropping it gives the number back; [`Lease::keep`] makes it permanent.
#[derive(Debug)]
pub struct Lease {
    numbers: Arc<Numbers>,
    number: u32,
    kept: bool,
}

impl Lease {
    /// The number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The object that uses the number was stored.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.kept {
            self.numbers.release(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_and_leases() {
        let numbers = Numbers::new(10, 4, Stock::default());
        let mut leases: Vec<Lease> = (0..10).map(|start| numbers.take_any(start * 7).unwrap()).collect();
        let order: Vec<bool> = leases.iter().map(|l| l.number() < 4).collect();
        assert_eq!(order, [false, false, false, false, false, false, true, true, true, true]);
        assert!(numbers.take_any(3).is_none());
        let last = leases.pop().unwrap();
        let number = last.number();
        drop(last);
        let again = numbers.take(number).unwrap();
        again.keep();
        assert!(numbers.take(number).is_none());
        assert!(numbers.take(10).is_none());
    }
}
