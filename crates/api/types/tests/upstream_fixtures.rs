//! Compares with upstream's own fixtures: for each served kind, `KIND.json` and `KIND.pb` must decode and encode back to
//! the same bytes, and into each other.
//!
//! The fixtures are the `testdata/v1.36.0` folder of the `k8s.io/api` module: set `FERROKUBE_API_TESTDATA` to it, or
//! install Debian's `golang-k8s-api-dev`.

use std::path::{Path, PathBuf};

use meta::{DecodeContext, DocumentType, Envelope};

fn folder() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("FERROKUBE_API_TESTDATA") {
        return Some(dir.into());
    }
    ["v1.36.0", "HEAD"]
        .iter()
        .map(|v| Path::new("/usr/share/gocode/src/k8s.io/api/testdata").join(v))
        .find(|p| p.is_dir())
}

fn compact(json: &[u8]) -> String {
    let mut w = meta::json::JsonWriter::default();
    w.raw(json);
    String::from_utf8(w.out).expect("fixtures are UTF-8")
}

/// The first place where two texts differ, with some context.
fn difference(a: &str, b: &str) -> String {
    let at = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let part = |s: &str| {
        String::from_utf8_lossy(&s.as_bytes()[at.saturating_sub(80)..(at + 80).min(s.len())]).into_owned()
    };
    format!("want …{}…\n got …{}…", part(a), part(b))
}

fn check(t: &DocumentType, dir: &Path, stem: &str) -> Result<bool, String> {
    let read = |ext: &str| std::fs::read(dir.join(format!("{stem}.{ext}"))).ok();
    // Raw extensions keep their text: white space would differ between the two forms.
    let Some(json) = read("json").map(|json| compact(&json)) else { return Ok(false) };
    let mut context = DecodeContext::strict();
    let from_json = (t.from_json)(json.as_bytes(), &mut context).map_err(|e| format!("JSON: {e}"))?;
    if !context.findings.is_empty() {
        return Err(format!("JSON: {:?}", context.findings));
    }
    // The fixtures carry arbitrary values in kind and apiVersion; ours come from the type.
    let known = t.info.type_meta.ok_or("no type")?;
    let want = json;
    let start = want.find("\"kind\":").ok_or("no kind")?;
    let end =
        start + want[start..].find("\"apiVersion\":\"").ok_or("no version")? + "\"apiVersion\":\"".len();
    let end = end + want[end..].find('"').ok_or("no version")? + 1;
    let want = format!("{}{known}{}", &want[..start], &want[end..]);
    let mut got = Vec::new();
    from_json.write_json(&mut got);
    // The server says what claim templates are; the fixture leaves it out.
    let claim = "\"kind\":\"PersistentVolumeClaim\",\"apiVersion\":\"v1\",\"metadata\"";
    let got = String::from_utf8_lossy(&got).replace(&format!("[{{{claim}"), "[{\"metadata\"");
    if got != want {
        return Err(format!("JSON\n{}", difference(&want, &got)));
    }
    let Some(pb) = read("pb") else { return Ok(true) };
    let envelope = Envelope::decode(&pb).map_err(|e| format!("envelope: {e}"))?;
    let mut again = Vec::new();
    Envelope::encode(&envelope.api_version, &envelope.kind, envelope.raw, &mut again);
    if again != pb {
        return Err("the envelope changed".to_owned());
    }
    let from_proto = (t.from_proto)(envelope.raw).map_err(|e| format!("protobuf: {e}"))?;
    let mut proto = Vec::new();
    from_proto.write_proto(&mut proto);
    if proto != envelope.raw {
        return Err(format!(
            "protobuf changed: {} bytes became {}\n{}",
            envelope.raw.len(),
            proto.len(),
            difference(&printable(envelope.raw), &printable(&proto))
        ));
    }
    let mut through = Vec::new();
    from_json.write_proto(&mut through);
    if through != proto {
        return Err(format!(
            "JSON and protobuf decode to different objects\n{}",
            difference(&printable(&proto), &printable(&through))
        ));
    }
    Ok(true)
}

fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| if b.is_ascii_graphic() { (*b as char).to_string() } else { format!("\\{b:02x}") })
        .collect()
}

#[test]
fn every_served_kind_equals_upstream() {
    let Some(dir) = folder() else {
        println!("skipped: needs FERROKUBE_API_TESTDATA or golang-k8s-api-dev");
        return;
    };
    let mut failures = Vec::new();
    let mut checked = 0;
    for t in types::TYPED.iter().chain(meta::v1::TYPED) {
        let group = if t.info.group.is_empty() { "core" } else { t.info.group };
        let stem = format!("{group}.{}.{}", t.info.version, t.info.name);
        match check(t, &dir, &stem) {
            Ok(found) => checked += usize::from(found),
            Err(e) => failures.push(format!("{stem}: {e}")),
        }
    }
    println!("{checked} kinds equal upstream's fixtures");
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        checked + failures.len(),
        failures.join("\n")
    );
    assert!(checked > 70, "only {checked} fixtures found in {}", dir.display());
}
