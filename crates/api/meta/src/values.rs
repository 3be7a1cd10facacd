//! [`Value`] for everything that is not a generated struct.

use crate::codec::Value;
use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};
use crate::{DecodeError, List, Map, Str, intern};

/// Most room a decoder reserves before it has seen the elements.
const RESERVE_MAX: usize = 4;

impl Value for Str {
    fn is_empty(&self) -> bool {
        str::is_empty(self)
    }
    fn write_json(&self, w: &mut JsonWriter) {
        w.string(self);
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if !r.try_null()? {
            *self = intern(&r.string()?);
        }
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        w.bytes(number, self.as_bytes());
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        *self = intern(&String::from_utf8_lossy(r.bytes(wire)?));
        Ok(())
    }
}

impl Value for bool {
    fn is_empty(&self) -> bool {
        !*self
    }
    fn write_json(&self, w: &mut JsonWriter) {
        w.out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if !r.try_null()? {
            *self = r.boolean()?;
        }
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        w.integer(number, u64::from(*self));
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        *self = r.integer(wire)? != 0;
        Ok(())
    }
}

macro_rules! integer {
    ($t:ty, $go:literal) => {
        impl Value for $t {
            fn is_empty(&self) -> bool {
                *self == 0
            }
            fn write_json(&self, w: &mut JsonWriter) {
                w.integer(i64::from(*self));
            }
            fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
                if !r.try_null()? {
                    let text = r.number()?;
                    let fits = text.parse().ok().or_else(|| r.wrapped(text).map(|number| number as $t));
                    *self = fits.ok_or_else(|| DecodeError::mismatch(format!("number {text}"), None))?;
                }
                Ok(())
            }
            fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
                w.integer(number, i64::from(*self) as u64);
            }
            fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
                // Larger values lose their high bits, as in Go.
                *self = r.integer(wire)? as $t;
                Ok(())
            }
        }
    };
}

integer!(i32, "int32");
integer!(i64, "int64");

impl Value for f64 {
    fn is_empty(&self) -> bool {
        *self == 0.0
    }
    fn write_json(&self, w: &mut JsonWriter) {
        w.float(*self);
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if !r.try_null()? {
            let text = r.number()?;
            let value: f64 =
                text.parse().map_err(|_| DecodeError::mismatch(format!("number {text}"), None))?;
            if value.is_infinite() {
                return Err(DecodeError::mismatch(format!("number {text}"), None));
            }
            *self = value;
        }
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        w.fixed64(number, self.to_bits());
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        *self = f64::from_bits(r.fixed64(wire)?);
        Ok(())
    }
}

impl<V: Value> Value for Option<V> {
    fn is_empty(&self) -> bool {
        self.is_none()
    }
    fn write_json(&self, w: &mut JsonWriter) {
        match self {
            Some(v) => v.write_json(w),
            None => w.out.extend_from_slice(b"null"),
        }
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if r.try_null()? {
            *self = None;
            return Ok(());
        }
        self.get_or_insert_with(V::default).read_json(r)
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        if let Some(v) = self {
            v.put_always(number, w);
        }
    }
    fn put_always(&self, number: u32, w: &mut ProtoWriter) {
        match self {
            Some(v) => v.put_always(number, w),
            None => w.bytes(number, &[]),
        }
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        if V::EMPTY_MESSAGE_IS_NONE && r.take_empty(wire) {
            *self = None;
            return Ok(());
        }
        self.get_or_insert_with(V::default).read_proto(wire, r)
    }
}

/// Whether the list was not sent at all, where the client may also have sent an empty one: Go's `nil` beside `[]`.
///
/// The two are equal, are stored alike, and a copy of an empty list is absent. What differs is what a decoder made of
/// JSON: an empty list that was there has room for elements.
pub fn is_absent<V>(list: &List<V>) -> bool {
    list.capacity() == 0
}

impl<V: Value> Value for List<V> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
    fn write_json(&self, w: &mut JsonWriter) {
        if self.as_slice().is_empty() && (is_absent(self) || !w.as_sent) {
            w.out.extend_from_slice(b"null");
            return;
        }
        w.out.push(b'[');
        for v in self {
            w.comma();
            v.write_json(w);
        }
        w.out.push(b']');
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        self.clear();
        if r.try_null()? {
            *self = List::new();
            return Ok(());
        }
        r.read_list(|r| {
            let mut v = V::default();
            v.read_json(r)?;
            if self.capacity() == self.len() {
                self.reserve(self.len().max(1));
            }
            self.push(v);
            Ok(())
        })?;
        if self.as_slice().is_empty() {
            // Room marks the list as sent, see `is_absent`.
            self.reserve_exact(1);
        } else if self.capacity() > self.len() + RESERVE_MAX {
            self.shrink_to_fit();
        }
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        for v in self.iter().rev() {
            v.put_always(number, w);
        }
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        let mut v = V::default();
        v.read_proto(wire, r)?;
        if self.capacity() == self.len() {
            self.reserve(self.len().max(1));
        }
        self.push(v);
        Ok(())
    }
    fn put_element(&self, number: u32, w: &mut ProtoWriter) {
        let end = w.begin();
        self.put_proto(1, w);
        w.end(number, end);
    }
    fn read_element(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        r.nested(wire, "list", |number, wire, r| match number {
            1 => self.read_proto(wire, r),
            _ => r.skip(number, wire),
        })
    }
}

impl<V: Value> Value for Map<V> {
    fn is_empty(&self) -> bool {
        Map::is_empty(self)
    }
    fn write_json(&self, w: &mut JsonWriter) {
        if Map::is_empty(self) && (self.is_absent() || !w.as_sent) {
            w.out.extend_from_slice(b"null");
            return;
        }
        w.begin_object();
        for (k, v) in self {
            w.map_key(k);
            v.write_json(w);
        }
        w.end_object();
    }
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
        if r.try_null()? {
            self.clear();
            return Ok(());
        }
        r.read_map(|r, key| {
            let mut v = V::default();
            v.read_json(r)?;
            Ok(self.insert(intern(key), v).is_some())
        })?;
        self.mark_sent();
        Ok(())
    }
    fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
        for (k, v) in self.iter().rev() {
            let end = w.begin();
            v.put_element(2, w);
            w.bytes(1, k.as_bytes());
            w.end(number, end);
        }
    }
    fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
        let mut key = Str::new();
        let mut value = V::default();
        r.nested(wire, "map entry", |number, wire, r| match number {
            1 => key.read_proto(wire, r),
            2 => value.read_element(wire, r),
            _ => r.skip(number, wire),
        })?;
        self.insert(key, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Codec as _;
    use crate::v1::LabelSelectorRequirement;

    /// JSON tells an empty list from none as Go does; what is stored and sent does not.
    #[test]
    fn an_empty_list_is_equal_to_none_but_known() {
        for (json, absent) in [
            (r#"{"values":[]}"#, false),
            (r#"{"values":null}"#, true),
            ("{}", true),
            (r#"{"values":["a"]}"#, false),
        ] {
            let read = LabelSelectorRequirement::from_json(json.as_bytes()).expect("JSON");
            assert_eq!(is_absent(&read.values), absent, "{json}");
            assert!(is_absent(&LabelSelectorRequirement::from_proto(&[]).expect("protobuf").values));
        }
        let empty = LabelSelectorRequirement::from_json(br#"{"values":[]}"#).expect("JSON");
        assert_eq!(empty, LabelSelectorRequirement::default());
        let written = |as_sent| {
            let mut w = JsonWriter { as_sent, ..JsonWriter::default() };
            empty.values.write_json(&mut w);
            w.out
        };
        assert_eq!((written(false).as_slice(), written(true).as_slice()), (&b"null"[..], &b"[]"[..]));
    }
}
