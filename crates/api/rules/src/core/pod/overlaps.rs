//! Files of one volume that would lie on or below each other, which users are warned of.

use std::fmt;

use types::core::v1::*;

/// A file, and what puts it there.
struct File {
    path: String,
    source: String,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}

impl File {
    /// Whether one path is the other, or leads through it.
    fn overlaps(&self, other: &File) -> bool {
        let below = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !self.path.is_empty()
            && !other.path.is_empty()
            && (below(&self.path, &other.path) || below(&other.path, &self.path))
    }
}

/// A warning for each pair of files in one volume that overlap.
pub(super) fn warnings(out: &mut Vec<String>, spec: &PodSpec) {
    for v in spec.volumes.iter() {
        if let Some(s) = &v.config_map {
            let what = format!("ConfigMap {:?}", s.name);
            pairs(out, &v.name, &what, s.items.iter().map(|i| file(&i.path, "")));
        }
        if let Some(s) = &v.secret {
            let what = format!("Secret {:?}", s.secret_name);
            pairs(out, &v.name, &what, s.items.iter().map(|i| file(&i.path, "")));
        }
        if let Some(s) = &v.downward_api {
            pairs(out, &v.name, "DownwardAPI", s.items.iter().map(|i| file(&i.path, "")));
        }
        if let Some(s) = &v.projected {
            let empty = s.sources.iter().filter(|s| **s == VolumeProjection::default()).count();
            let text = || format!("volume {:?} (Projected) has no sources provided", v.name);
            out.extend(std::iter::repeat_with(text).take(empty));
            pairs(out, &v.name, "Projected", s.sources.iter().flat_map(projected));
        }
    }
}

fn file(path: &str, source: &str) -> File {
    File { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
}

/// The files of one source of a projected volume.
fn projected(source: &VolumeProjection) -> Vec<File> {
    if let Some(s) = source.config_map.as_ref().filter(|s| !s.items.is_empty()) {
        let what = format!("ConfigMap {:?}", s.name);
        return s.items.iter().map(|i| file(&i.path, &what)).collect();
    }
    if let Some(s) = source.secret.as_ref().filter(|s| !s.items.is_empty()) {
        let what = format!("Secret {:?}", s.name);
        return s.items.iter().map(|i| file(&i.path, &what)).collect();
    }
    if let Some(s) = source.downward_api.as_ref().filter(|s| !s.items.is_empty()) {
        return s.items.iter().map(|i| file(&i.path, "DownwardAPI")).collect();
    }
    source.service_account_token.iter().map(|t| file(&t.path, "ServiceAccountToken")).collect()
}

fn pairs(out: &mut Vec<String>, volume: &str, what: &str, files: impl Iterator<Item = File>) {
    let mut seen: Vec<File> = Vec::new();
    for new in files {
        for old in seen.iter().filter(|old| old.overlaps(&new)) {
            out.push(format!("volume {volume:?} ({what}): overlapping paths: {new} with {old}"));
        }
        seen.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::Codec as _;

    #[test]
    fn overlapping_files_are_told() {
        let spec = br#"{"containers":null,"volumes":[
            {"name":"cm","configMap":{"name":"c","items":[{"key":"a","path":"p"},{"key":"b","path":"p/q"},{"key":"c","path":"pq"}]}},
            {"name":"pr","projected":{"sources":[{},{"serviceAccountToken":{"path":"t"}},{"secret":{"name":"s","items":[{"key":"k","path":"t/"}]}}]}}]}"#;
        let mut out = Vec::new();
        warnings(&mut out, &PodSpec::from_json(spec).expect("JSON"));
        assert_eq!(
            out,
            [
                r#"volume "cm" (ConfigMap "c"): overlapping paths: "p/q" with "p""#,
                r#"volume "pr" (Projected) has no sources provided"#,
                r#"volume "pr" (Projected): overlapping paths: "t" (Secret "s") with "t" (ServiceAccountToken)"#,
            ]
        );
    }
}
