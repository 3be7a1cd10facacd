//! The file by which an administrator says who asks admission webhooks: the users of a kubeconfig, by the servers' names.
//!
//! What a server can use without running programs or asking people is read: client certificates, tokens, passwords. What is
//! beyond that is refused by name, never ignored.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use crate::tls::Identity;

/// Why a kubeconfig is unusable.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// A file cannot be read.
    #[error("unable to read {path}: {why}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is no YAML of that shape.
    #[error("error loading config file {path:?}: {why}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: serde_norway::Error,
    },
    /// Something that it names is not in it, or cannot be used here.
    #[error("invalid configuration: {0}")]
    Invalid(String),
}

/// How requests say who asks, beyond a certificate.
#[derive(Clone, Default)]
pub enum Authorization {
    /// They do not.
    #[default]
    None,
    /// By a token.
    Bearer(String),
    /// By the token that a file holds, read each time because it may be renewed.
    TokenFile(PathBuf),
    /// By name and password.
    Basic(String),
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Authorization::None => "None",
            Authorization::Bearer(_) => "Bearer",
            Authorization::TokenFile(_) => "TokenFile",
            Authorization::Basic(_) => "Basic",
        })
    }
}

impl Authorization {
    /// The value of the header, if there is one.
    pub fn header(&self) -> Option<String> {
        match self {
            Authorization::None => None,
            Authorization::Bearer(token) => Some(format!("Bearer {token}")),
            Authorization::TokenFile(path) => {
                std::fs::read_to_string(path).ok().map(|token| format!("Bearer {}", token.trim()))
            }
            Authorization::Basic(encoded) => Some(format!("Basic {encoded}")),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    users: Vec<Named<UserEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    entry: T,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserEntry {
    user: User,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

/// How requests say who asks, by the server that is asked: a file with users named `host:port`, `host`, wildcards such as
/// `*.example.com`, or `*`.
pub struct Users {
    file: File,
    folder: PathBuf,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.file.users.iter().map(|user| &user.name)).finish()
    }
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(path: &Path) -> Result<Users, KubeconfigError> {
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        Ok(Users { file: parse(path)?, folder })
    }

    /// Who asks one server; nobody where the file names no user for it.
    ///
    /// # Errors
    /// When the user's files cannot be used.
    pub fn of(&self, host: &str, port: u16) -> Result<(Option<Identity>, Authorization), KubeconfigError> {
        let labels: Vec<&str> = host.split('.').collect();
        let wildcards = (1..labels.len()).map(|taken| format!("*.{}", labels[taken..].join(".")));
        let plain = std::iter::once(host.to_owned()).chain(wildcards);
        // Without a port, the usual one is meant.
        let names =
            plain.flat_map(|name| [(port == 443).then(|| name.clone()), Some(format!("{name}:{port}"))]);
        let mut names = names.flatten().chain(["*".to_owned()]);
        let user = names.find_map(|name| self.file.users.iter().find(|user| user.name == name));
        user.map_or(Ok((None, Authorization::None)), |user| user.entry.user.clone().resolve(&self.folder))
    }
}

fn parse(path: &Path) -> Result<File, KubeconfigError> {
    let text = read(path)?;
    serde_norway::from_slice(&text).map_err(|why| KubeconfigError::Syntax { path: path.to_owned(), why })
}

fn read(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    std::fs::read(path).map_err(|why| KubeconfigError::Read { path: path.to_owned(), why })
}

/// What a field holds, written there in base64 or in a file.
fn material(
    folder: &Path,
    what: &str,
    data: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Vec<u8>>, KubeconfigError> {
    match (data.filter(|data| !data.is_empty()), file.filter(|file| !file.as_os_str().is_empty())) {
        (Some(data), _) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(data.trim());
            decoded.map(Some).map_err(|why| KubeconfigError::Invalid(format!("{what}: {why}")))
        }
        (None, Some(file)) => read(&folder.join(file)).map(Some),
        (None, None) => Ok(None),
    }
}

impl User {
    fn resolve(self, folder: &Path) -> Result<(Option<Identity>, Authorization), KubeconfigError> {
        if self.exec.is_some() || self.auth_provider.is_some() {
            let why = "exec and auth-provider are not supported here; use a certificate or a token";
            return Err(KubeconfigError::Invalid(why.to_owned()));
        }
        let data = self.client_certificate_data.as_deref();
        let certificate =
            material(folder, "client-certificate-data", data, self.client_certificate.as_deref())?;
        let data = self.client_key_data.as_deref();
        let key = material(folder, "client-key-data", data, self.client_key.as_deref())?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            _ => {
                let why = "client-certificate and client-key must both be given";
                return Err(KubeconfigError::Invalid(why.to_owned()));
            }
        };
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let token_file = self.token_file.filter(|file| !file.as_os_str().is_empty());
        let authorization = match (given(self.token), token_file, given(self.username)) {
            (_, Some(file), _) => Authorization::TokenFile(folder.join(file)),
            (Some(token), None, _) => Authorization::Bearer(token),
            (None, None, Some(name)) => {
                let both = format!("{name}:{}", self.password.unwrap_or_default());
                Authorization::Basic(base64::engine::general_purpose::STANDARD.encode(both))
            }
            (None, None, None) => Authorization::None,
        };
        Ok((identity, authorization))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let who = |text: &str| {
            std::fs::write(&path, text).expect("written");
            Users::load(&path).and_then(|users| users.of("a", 443)).map_err(|error| error.to_string())
        };
        let with = |user: &str| format!("users: [{{name: a, user: {{{user}}}}}]");
        for (text, says) in [
            (with("client-certificate: none.crt"), "unable to read"),
            (with("client-certificate-data: '*'"), "client-certificate-data"),
            (with("exec: {command: x}"), "exec and auth-provider"),
            (with("client-key-data: eA=="), "must both be given"),
            ("users: 1".to_owned(), "error loading config file"),
        ] {
            let error = who(&text).expect_err(&text);
            assert!(error.contains(says), "{text}: {error}");
        }
        let (_, authorization) = who(&with("token: secret")).expect("a user");
        assert!(!format!("{authorization:?}").contains("secret"), "a token is never shown");
    }

    #[test]
    fn users_are_found_by_the_servers_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        let users = "users:\n- {name: hook.ns.svc, user: {token: a}}\n- {name: '*.ns.svc:8443', user: {token: b}}\n- {name: '*', user: {username: n, password: p}}\n";
        std::fs::write(&path, users).expect("written");
        for (host, port, header) in [
            ("hook.ns.svc", 443, "Bearer a"),
            ("hook.ns.svc", 8443, "Bearer b"),
            ("other.svc", 443, "Basic bjpw"),
        ] {
            let found = Users::load(&path).expect("a file").of(host, port).expect("a user");
            assert_eq!(found.1.header().as_deref(), Some(header), "{host}:{port}");
        }
    }
}
