//! Image names, normalised as docker does: `nginx` means `docker.io/library/nginx:latest`.

use std::fmt;

use crate::error::{Error, Result};

/// The registry behind names without one.
const DEFAULT_REGISTRY: &str = "docker.io";

/// A normalised image name with a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`, ...
    pub registry: String,
    /// `library/nginx`.
    pub repository: String,
    /// Present unless only a digest was given.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads and normalises a name.
    pub fn parse(text: &str) -> Result<Reference> {
        let fail = |why: &str| Error::InvalidReference { reference: text.into(), why: why.into() };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(fail("invalid digest format")),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it belongs to the registry's port.
        let (name, tag) = match rest.rfind(':').filter(|&colon| !rest[colon..].contains('/')) {
            Some(colon) => (&rest[..colon], Some(&rest[colon + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(fail("invalid reference format: bad tag"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || has_upper(first) => {
                (first, rest)
            }
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if repository.is_empty() {
            return Err(fail("invalid reference format"));
        }
        if has_upper(repository) {
            return Err(fail("invalid reference format: repository name must be lowercase"));
        }
        if repository.len() > 255 || !repository.split('/').all(is_component) || !is_registry(registry) {
            return Err(fail("invalid reference format"));
        }
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
    }

    /// Registry and repository, without tag or digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Name with tag, if there is one: an entry of `repoTags`.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// Name with a digest: an entry of `repoDigests`.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn has_upper(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_uppercase())
}

/// `sha256:` and 64 hexadecimal digits in lower case: the only algorithm in use.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex64)
}

pub(crate) fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Letters and digits, separated by single dots, one or two underscores, or any number of dashes.
fn is_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else { return false };
    alnum(first)
        && alnum(last)
        && text.split(|c: char| alnum(c as u8) && c.is_ascii()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let label = |l: &str| {
        let ends = [l.bytes().next(), l.bytes().last()];
        ends.iter().all(|b| b.is_some_and(|b| b.is_ascii_alphanumeric()))
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    host_ok && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        for (given, want) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("a__b/c-d--e.f:T_1.x", "docker.io/a__b/c-d--e.f:T_1.x"),
        ] {
            assert_eq!(Reference::parse(given).unwrap().to_string(), want, "{given}");
        }
        let digest = format!("sha256:{}", "0a".repeat(32));
        let both = Reference::parse(&format!("nginx:1@{digest}")).unwrap();
        assert_eq!((both.tag.as_deref(), both.digest.as_deref()), (Some("1"), Some(digest.as_str())));
        assert_eq!(Reference::parse(&format!("nginx@{digest}")).unwrap().tag, None);
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in [
            "",
            ":",
            "Nginx",
            "a//b",
            "a/",
            "/a",
            "nginx:",
            "nginx:-x",
            "nginx@sha256:12",
            "a b",
            "../x",
            "a..b",
            "a___b",
            "ex.com:x/a",
            "é",
        ] {
            assert!(matches!(Reference::parse(bad), Err(Error::InvalidReference { .. })), "{bad:?}");
        }
    }
}
