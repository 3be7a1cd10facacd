//! Who pulls: credentials, and finding those for an image in a `.dockerconfigjson` secret.

use std::collections::BTreeMap;

use base64::Engine;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::reference::Reference;

/// User name and password, or a token, for one registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Basic.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A bearer token for the registry itself.
    Bearer(String),
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    auth: Option<String>,
    #[serde(default, alias = "registrytoken")]
    registry_token: Option<String>,
}

impl Credentials {
    /// The credentials that a docker configuration (`{"auths": …}`, or the older form without that level) has for an
    /// image, the most specific first.
    pub fn from_docker_config(json: &[u8], reference: &Reference) -> Result<Vec<Credentials>> {
        let bad = |e: serde_json::Error| Error::malformed("docker config", e);
        let auths = match serde_json::from_slice::<DockerConfig>(json) {
            Ok(config) => config.auths,
            Err(_) => serde_json::from_slice::<BTreeMap<String, Entry>>(json).map_err(bad)?,
        };
        let mut matching: Vec<(&String, &Entry)> =
            auths.iter().filter(|(key, _)| matches(key, reference)).collect();
        matching.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(b.0)));
        Ok(matching.into_iter().filter_map(|(_, entry)| entry.credentials()).collect())
    }
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        if let Some(token) = self.registry_token.as_ref().filter(|t| !t.is_empty()) {
            return Some(Credentials::Bearer(token.clone()));
        }
        if let (Some(username), Some(password)) = (&self.username, &self.password)
            && !username.is_empty()
        {
            return Some(Credentials::Basic { username: username.clone(), password: password.clone() });
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(self.auth.as_ref()?.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Credentials::Basic {
            username: username.into(),
            password: password.trim_end_matches('\0').into(),
        })
    }
}

/// Whether a key of the configuration covers an image: host with `*` for parts of a name, port, and the beginning of the
/// path.
fn matches(key: &str, reference: &Reference) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    // Docker writes the version of the registry's protocol where a path would be.
    let path = match path.trim_matches('/') {
        "v1" | "v2" => "",
        other => other,
    };
    let port = |host: &str| host.rsplit_once(':').map(|(_, p)| p.to_owned());
    let name = |host: &str| host.rsplit_once(':').map_or(host, |(n, _)| n).to_owned();
    let (wanted, given) = (name(&reference.registry), name(host));
    let (wanted, given): (Vec<&str>, Vec<&str>) = (wanted.split('.').collect(), given.split('.').collect());
    let covers = |(given, wanted): (&&str, &&str)| glob(given, wanted);
    port(host) == port(&reference.registry)
        && given.len() == wanted.len()
        && given.iter().zip(&wanted).all(covers)
        && (path.is_empty()
            || reference.repository == path
            || reference.repository.starts_with(&format!("{path}/")))
}

/// One part of a host name against a pattern with `*`.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(after, &rest[at..]))
        }),
    }
}

impl std::fmt::Debug for Credentials {
    /// Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Basic { username, .. } => write!(f, "Basic({username}, ...)"),
            Credentials::Bearer(_) => f.write_str("Bearer(...)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cover_images() {
        for (key, image, want) in [
            ("https://index.docker.io/v1/", "nginx", true),
            ("docker.io", "me/app", true),
            ("docker.io/me", "me/app", true),
            ("docker.io/me", "meadow/app", false),
            ("*.example.com", "a.example.com/x", true),
            ("*.example.com", "a.b.example.com/x", false),
            ("reg*.example.com:5000", "reg7.example.com:5000/x", true),
            ("reg*.example.com", "reg7.example.com:5000/x", false),
        ] {
            assert_eq!(matches(key, &Reference::parse(image).unwrap()), want, "{key} {image}");
        }
    }

    #[test]
    fn the_most_specific_comes_first() {
        let json = br#"{"auths":{"r.io":{"auth":"YTpi"},"r.io/team":{"username":"u","password":"p"},"other":{"auth":"x"}}}"#;
        let found =
            Credentials::from_docker_config(json, &Reference::parse("r.io/team/app").unwrap()).unwrap();
        let basic = |u: &str, p: &str| Credentials::Basic { username: u.into(), password: p.into() };
        assert_eq!(found, [basic("u", "p"), basic("a", "b")]);
        assert!(Credentials::from_docker_config(b"[]", &Reference::parse("x").unwrap()).is_err());
        assert!(!format!("{found:?}").contains("\"p\""));
    }
}
