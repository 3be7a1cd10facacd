//! Domain names: a list of lower-case labels in wire order. DNS compares letters without regard to case (RFC 4343), so names are
//! folded once, where they are read.

use std::fmt;

/// Longest name on the wire in bytes (RFC 1035).
pub const MAX_BYTES: usize = 255;
const MAX_LABEL: usize = 63;

/// A name; the root has no labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    labels: Vec<Box<[u8]>>,
}

impl Name {
    /// Reads `a.b.c`, with or without a final dot. `None` if a label is empty or too long, or the whole is.
    pub fn parse(text: &str) -> Option<Name> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Some(Name::default());
        }
        let mut name = Name::default();
        for label in text.split('.') {
            name = name.push(label.as_bytes())?;
        }
        Some(name)
    }

    /// Adds a label at the end; `None` if label or name gets too long.
    pub fn push(mut self, label: &[u8]) -> Option<Name> {
        if label.is_empty() || label.len() > MAX_LABEL || self.wire_bytes() + label.len() + 1 > MAX_BYTES {
            return None;
        }
        self.labels.push(label.to_ascii_lowercase().into());
        Some(self)
    }

    /// A name with one more label in front; `None` if it gets too long.
    pub fn child(&self, label: &str) -> Option<Name> {
        let mut name = Name::default().push(label.as_bytes())?;
        for label in &self.labels {
            name = name.push(label)?;
        }
        Some(name)
    }

    /// Labels, the leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        self.labels.iter().map(AsRef::as_ref)
    }

    /// The labels in front of `zone`, if the name is in it, as text; labels that are no UTF-8 become something no object is called.
    pub fn within(&self, zone: &Name) -> Option<Vec<&str>> {
        let front = self.labels.len().checked_sub(zone.labels.len())?;
        if self.labels[front..] != zone.labels[..] {
            return None;
        }
        Some(
            self.labels[..front]
                .iter()
                .map(|label| std::str::from_utf8(label).unwrap_or("\u{fffd}"))
                .collect(),
        )
    }

    /// Bytes on the wire without compression.
    pub fn wire_bytes(&self) -> usize {
        1 + self.labels.iter().map(|label| label.len() + 1).sum::<usize>()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in &self.labels {
            write!(f, "{}.", String::from_utf8_lossy(label))?;
        }
        if self.labels.is_empty() { f.write_str(".") } else { Ok(()) }
    }
}
