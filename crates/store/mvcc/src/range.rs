//! Ranges of keys: half-open intervals of byte strings.

use bytes::Bytes;
use std::ops::Bound;

/// The keys from `start` on, up to and without `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// The first key after the range; `None`: no end.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> KeyRange {
        KeyRange { start: Bytes::new(), end: None }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let start = prefix.into();
        let end = successor(&start);
        KeyRange { start, end }
    }

    /// Just `key`.
    pub fn single(key: impl Into<Bytes>) -> KeyRange {
        let start = key.into();
        let end = Some(just_after(&start));
        KeyRange { start, end }
    }

    /// From `start` up to and without `end`.
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: start.into(), end: Some(end.into()) }
    }

    /// The part of this range that lies after `key`: how a list continues behind its last key.
    pub fn after(&self, key: &[u8]) -> KeyRange {
        let start = just_after(key).max(self.start.clone());
        KeyRange { start, end: self.end.clone() }
    }

    /// True when `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }

    /// True when no key can be in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// True when every key of the range begins with `prefix`.
    pub fn within(&self, prefix: &[u8]) -> bool {
        self.start.starts_with(prefix)
            && match (&self.end, successor(prefix)) {
                (_, None) => true,
                (Some(end), Some(limit)) => *end <= limit,
                (None, Some(_)) => false,
            }
    }

    /// True when some key that begins with `prefix` can be in the range.
    pub fn intersects(&self, prefix: &[u8]) -> bool {
        let starts_before_its_end = successor(prefix).is_none_or(|limit| self.start < limit);
        starts_before_its_end && self.end.as_ref().is_none_or(|end| *prefix < **end)
    }

    /// For the range queries of ordered maps.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let end = self.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&**end));
        (Bound::Included(&self.start), end)
    }
}

/// The smallest key after `key`.
fn just_after(key: &[u8]) -> Bytes {
    let mut after = Vec::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.push(0);
    after.into()
}

/// The smallest key after all that begin with `prefix`; `None` when there is none.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut limit = prefix[..=last].to_vec();
    limit[last] += 1;
    Some(limit.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_the_next_begins() {
        let pods = KeyRange::prefix("/registry/pods/");
        assert_eq!(pods.end.as_deref(), Some(&b"/registry/pods0"[..]));
        assert!(pods.contains(b"/registry/pods/a/b") && !pods.contains(b"/registry/pods"));
        assert!(!pods.contains(b"/registry/podsx") && !pods.contains(b"/registry/pods0"));
        assert_eq!(KeyRange::prefix(&b"a\xff\xff"[..]).end.as_deref(), Some(&b"b"[..]));
        assert_eq!(KeyRange::prefix(&b"\xff"[..]).end, None);
        assert_eq!(KeyRange::prefix(""), KeyRange::all());
    }

    #[test]
    fn relations_between_ranges_and_prefixes() {
        let one = KeyRange::single("/registry/pods/a");
        assert!(one.contains(b"/registry/pods/a") && !one.contains(b"/registry/pods/aa"));
        assert!(one.within(b"/registry/pods/") && one.intersects(b"/registry/pods/"));
        assert!(!one.intersects(b"/registry/nodes/"));
        assert!(KeyRange::all().intersects(b"x") && !KeyRange::all().within(b"x"));
        assert!(KeyRange::prefix("/registry/").intersects(b"/registry/pods/"));
        assert!(!KeyRange::prefix("/registry/").within(b"/registry/pods/"));
        assert!(KeyRange::prefix("/a/").intersects(b"") && KeyRange::all().within(b""));
        let rest = KeyRange::prefix("/a/").after(b"/a/m");
        assert!(!rest.contains(b"/a/m") && rest.contains(b"/a/m0") && !rest.contains(b"/b"));
        assert!(KeyRange::between("b", "a").is_empty() && !one.is_empty());
    }
}
