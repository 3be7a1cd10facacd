//! Random objects of every kind survive JSON and protobuf unchanged, byte for byte.
//!
//! The objects are built from the fact table, as JSON in the order in which Go writes it, so that the test does not
//! depend on the encoder it checks. `FERROKUBE_SEEDS` sets how many objects of each kind are tried.

use meta::{DocumentType, Field, Ty, TypeInfo};

/// A small generator; the seed is part of every failure message.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn text(&mut self) -> String {
        const ALPHABET: &[&str] =
            &["a", "b", "-", "Z", "9", "\\\"", "\\\\", "\\u003c", "ü", "\\n", "\\u2028", "世", "😀", " "];
        (0..self.below(30)).map(|_| ALPHABET[self.below(ALPHABET.len() as u64) as usize]).collect()
    }
}

fn value(r: &mut Random, ty: &Ty, depth: u32) -> String {
    match ty {
        Ty::Str => format!("\"x{}\"", r.text()),
        Ty::Bool => "true".to_owned(),
        Ty::Int32 => (r.next() as i32 | 1).to_string(),
        Ty::Int64 => (r.next() as i64 | 1).to_string(),
        Ty::Double => (r.below(1000) as f64 / 8.0 + 0.125).to_string(),
        Ty::Bytes => ["\"AA==\"", "\"/+8=\"", "\"aGVsbG8=\""][r.below(3) as usize].to_owned(),
        Ty::Quantity => ["\"1\"", "\"250m\"", "\"1536Mi\"", "\"3e9\"", "\"-5k\"", "\"1n\""]
            [r.below(6) as usize]
            .to_owned(),
        Ty::IntOrString => ["80", "\"http\"", "\"25%\"", "0"][r.below(4) as usize].to_owned(),
        Ty::Time => ["\"2026-01-02T03:04:05Z\"", "\"1969-12-31T23:59:59Z\"", "\"2000-02-29T00:00:00Z\""]
            [r.below(3) as usize]
            .to_owned(),
        Ty::MicroTime => "\"2026-01-02T03:04:05.678900Z\"".to_owned(),
        Ty::Duration => ["\"1h30m0s\"", "\"1.5s\"", "\"250ms\""][r.below(3) as usize].to_owned(),
        Ty::Raw => ["{\"a\":[1,null,\"\\u003c\"]}", "[]", "\"s\"", "1.50"][r.below(4) as usize].to_owned(),
        Ty::Struct(info) => object(r, info, depth),
        Ty::List(element) => {
            let items: Vec<String> = (0..r.below(3) + 1).map(|_| value(r, element, depth + 1)).collect();
            format!("[{}]", items.join(","))
        }
        Ty::Map(element) => {
            let mut keys: Vec<String> =
                (0..r.below(4) + 1).map(|i| format!("k{}{i}", r.below(100))).collect();
            keys.sort();
            keys.dedup();
            let items: Vec<String> =
                keys.iter().map(|k| format!("\"{k}\":{}", value(r, element, depth + 1))).collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

fn object(r: &mut Random, info: &TypeInfo, depth: u32) -> String {
    match info.name {
        "JSONSchemaPropsOrBool" => return ["true", "false"][r.below(2) as usize].to_owned(),
        "JSONSchemaPropsOrArray" => return "{\"type\":\"string\"}".to_owned(),
        "JSONSchemaPropsOrStringArray" => return "[\"a\",\"b\"]".to_owned(),
        _ => {}
    }
    let mut parts = Vec::new();
    for f in info.fields {
        if let Some(text) = field(r, info, f, depth) {
            parts.push(format!("\"{}\":{text}", f.name));
        }
    }
    format!("{{{}}}", parts.join(","))
}

/// A field's text, or nothing where Go would leave it out.
fn field(r: &mut Random, info: &TypeInfo, f: &Field, depth: u32) -> Option<String> {
    // Wide and deep objects grow without bound otherwise.
    let skip = r.one_in(3) || depth > 8 || (depth > 4 && !r.one_in(4));
    if f.number == 0 && info.proto {
        return None;
    }
    if !skip {
        return Some(value(r, &f.ty, depth + 1)).map(|v| claims(f, v));
    }
    let is_container = matches!(f.ty, Ty::List(_) | Ty::Map(_) | Ty::Bytes);
    if f.omitzero || (f.omitempty && (f.pointer || is_container)) {
        return None;
    }
    match f.ty {
        _ if f.pointer => Some("null".to_owned()),
        Ty::List(_) if f.name == "items" => Some("[]".to_owned()),
        Ty::List(_) | Ty::Map(_) | Ty::Raw | Ty::Time | Ty::MicroTime => Some("null".to_owned()),
        Ty::Bytes => Some("\"\"".to_owned()),
        Ty::Struct(inner) => Some(object(r, inner, depth.max(5) + 1)),
        Ty::Quantity => Some("\"0\"".to_owned()),
        Ty::IntOrString => Some("0".to_owned()),
        Ty::Duration => Some("\"0s\"".to_owned()),
        _ if f.omitempty => None,
        Ty::Str => Some("\"\"".to_owned()),
        Ty::Bool => Some("false".to_owned()),
        Ty::Int32 | Ty::Int64 | Ty::Double => Some("0".to_owned()),
    }
}

/// Claim templates are the one place where a kind inside a kind says what it is.
fn claims(f: &Field, text: String) -> String {
    if f.name == "volumeClaimTemplates" {
        return text.replace(
            "{\"metadata\":",
            "{\"kind\":\"PersistentVolumeClaim\",\"apiVersion\":\"v1\",\"metadata\":",
        );
    }
    text
}

fn check(t: &DocumentType, seed: u64) -> Result<(), String> {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let body = object(&mut r, t.info, 0);
    let head = t.info.type_meta.ok_or("no type")?;
    let comma = if body == "{}" { "" } else { "," };
    let json = format!("{{{head}{comma}{}", &body[1..]);
    let mut context = meta::DecodeContext::strict();
    let first = (t.from_json)(json.as_bytes(), &mut context).map_err(|e| format!("{e}\n{json}"))?;
    if !context.findings.is_empty() {
        return Err(format!("{:?}\n{json}", context.findings));
    }
    let mut out = Vec::new();
    first.write_json(&mut out);
    let out = String::from_utf8(out).map_err(|e| e.to_string())?;
    if out != json {
        return Err(format!("JSON changed\n{json}\n{out}"));
    }
    if !t.info.proto {
        return Ok(());
    }
    let mut proto = Vec::new();
    first.write_proto(&mut proto);
    let second = (t.from_proto)(&proto).map_err(|e| format!("protobuf: {e}\n{json}"))?;
    let (mut again, mut json_again) = (Vec::new(), Vec::new());
    second.write_proto(&mut again);
    second.write_json(&mut json_again);
    if again != proto {
        return Err(format!("protobuf changed\n{json}"));
    }
    if json_again != json.as_bytes() {
        return Err(format!("protobuf lost something\n{json}\n{}", String::from_utf8_lossy(&json_again)));
    }
    // Damaged input must fail or decode to something, never panic.
    for cut in [proto.len() / 3, proto.len() / 2, proto.len().saturating_sub(1)] {
        let _ = (t.from_proto)(&proto[..cut]);
    }
    for _ in 0..4 {
        let at = r.below(proto.len().max(1) as u64) as usize;
        if let Some(b) = proto.get_mut(at) {
            *b ^= 1 << r.below(8);
        }
        let _ = (t.from_proto)(&proto);
    }
    let cut = json.char_indices().map(|(i, _)| i).nth(json.chars().count() / 2).unwrap_or(0);
    let _ = (t.from_json)(&json.as_bytes()[..cut], &mut meta::DecodeContext::strict());
    Ok(())
}

#[test]
fn random_objects_of_every_kind_round_trip() {
    let seeds = std::env::var("FERROKUBE_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    let mut kinds = 0;
    for t in types::TYPED.iter().chain(meta::v1::TYPED) {
        kinds += 1;
        for seed in 1..=seeds {
            if let Err(e) = check(t, seed) {
                panic!("{} with seed {seed}: {e}", t.info.model);
            }
        }
    }
    assert!(kinds > 160, "{kinds}");
}

#[test]
fn empty_objects_round_trip() {
    for t in types::TYPED.iter().chain(meta::v1::TYPED) {
        let new = (t.new)();
        let mut proto = Vec::new();
        new.write_proto(&mut proto);
        let back = (t.from_proto)(&proto).expect("an empty object decodes");
        let (mut a, mut b) = (Vec::new(), Vec::new());
        new.write_json(&mut a);
        back.write_json(&mut b);
        assert_eq!(String::from_utf8_lossy(&a), String::from_utf8_lossy(&b), "{}", t.info.model);
        assert_eq!(t.info.model, back.info().model);
    }
}
