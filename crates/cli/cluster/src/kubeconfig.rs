//! Kubeconfig files: the administrator's own, and a context merged into the one that kubectl reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_norway::{Mapping, Value};

use crate::pki::Identity;
use env::{create_private_dir, write_atomic};

/// What a client needs to reach a cluster as somebody.
pub struct Access<'a> {
    /// Name of the context, and of its cluster and user.
    pub name: &'a str,
    /// `https://host:port`.
    pub server: &'a str,
    /// The authority that signed the server's certificate, PEM.
    pub ca_pem: &'a str,
    /// The client certificate and key.
    pub identity: &'a Identity,
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

impl Access<'_> {
    fn entries(&self) -> [(&'static str, Value); 3] {
        let data = |pem: &str| Value::from(STANDARD.encode(pem));
        let user = format!("{}-admin", self.name);
        let cluster =
            map([("server", self.server.into()), ("certificate-authority-data", data(self.ca_pem))]);
        let credentials = map([
            ("client-certificate-data", data(&self.identity.certificate_pem)),
            ("client-key-data", data(&self.identity.key_pem)),
        ]);
        let context = map([("cluster", self.name.into()), ("user", user.as_str().into())]);
        [
            ("clusters", map([("name", self.name.into()), ("cluster", cluster)])),
            ("users", map([("name", user.as_str().into()), ("user", credentials)])),
            ("contexts", map([("name", self.name.into()), ("context", context)])),
        ]
    }

    /// Adds or replaces this access in a kubeconfig document.
    fn put_into(&self, document: &mut Mapping) {
        document.entry("apiVersion".into()).or_insert("v1".into());
        document.entry("kind".into()).or_insert("Config".into());
        for (section, entry) in self.entries() {
            let list = document.entry(section.into()).or_insert(Value::Sequence(vec![]));
            if !list.is_sequence() {
                *list = Value::Sequence(vec![]);
            }
            if let Value::Sequence(list) = list {
                list.retain(|old| old.get("name") != entry.get("name"));
                list.push(entry);
            }
        }
    }

    /// Adds or replaces this access in a kubeconfig document and makes it the current context.
    fn merge_into(&self, document: &mut Mapping) {
        self.put_into(document);
        document.insert("current-context".into(), self.name.into());
    }

    /// Replaces this access in the kubeconfig at `path` if its context is there; the current context stays.
    ///
    /// # Errors
    /// When the file is not a kubeconfig or cannot be written.
    pub fn refresh(&self, path: &Path) -> Result<()> {
        let mut document = load(path)?;
        let contexts = document.get("contexts").and_then(Value::as_sequence);
        let named = |entry: &Value| entry.get("name").and_then(Value::as_str) == Some(self.name);
        if !contexts.is_some_and(|list| list.iter().any(named)) {
            return Ok(());
        }
        self.put_into(&mut document);
        store(path, &document)
    }

    /// Writes a kubeconfig that holds this access alone, mode 0600.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut document = Mapping::new();
        self.merge_into(&mut document);
        store(path, &document)
    }

    /// Adds this access to the kubeconfig at `path` and leaves everything else in it as it is.
    ///
    /// # Errors
    /// When the file exists but is not a kubeconfig; it is left untouched then.
    pub fn merge(&self, path: &Path) -> Result<()> {
        let mut document = load(path)?;
        self.merge_into(&mut document);
        store(path, &document)
    }
}

/// A kubeconfig whose user is in a file that changes, certificate and key together.
pub struct Following {
    /// `https://host:port`.
    pub server: String,
    /// The authority of the server's certificate, PEM; the machine's own without.
    pub ca_pem: Option<Vec<u8>>,
    /// Name to expect in the server's certificate instead of its host.
    pub tls_server_name: Option<String>,
    /// Accept any server certificate.
    pub insecure: bool,
}

impl Following {
    /// Writes it; the user is in the file `credentials`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, credentials: &Path) -> Result<()> {
        let file = || Value::from(credentials.to_string_lossy().as_ref());
        let mut cluster = Mapping::new();
        cluster.insert("server".into(), self.server.as_str().into());
        if let Some(pem) = &self.ca_pem {
            cluster.insert("certificate-authority-data".into(), STANDARD.encode(pem).into());
        }
        if let Some(name) = &self.tls_server_name {
            cluster.insert("tls-server-name".into(), name.as_str().into());
        }
        if self.insecure {
            cluster.insert("insecure-skip-tls-verify".into(), true.into());
        }
        let user = map([("client-certificate", file()), ("client-key", file())]);
        let context = map([("cluster", "default".into()), ("user", "default".into())]);
        let named =
            |what: &str, value| Value::Sequence(vec![map([("name", "default".into()), (what, value)])]);
        let document = [
            ("apiVersion", "v1".into()),
            ("kind", "Config".into()),
            ("clusters", named("cluster", Value::Mapping(cluster))),
            ("users", named("user", user)),
            ("contexts", named("context", context)),
            ("current-context", "default".into()),
        ];
        let document = document.into_iter().map(|(key, value)| (Value::from(key), value));
        store(path, &document.collect())
    }
}

/// A kubeconfig that names a cluster and nobody in it, as machines that join read it.
pub fn of_cluster(server: &str, ca_pem: &str) -> String {
    let cluster =
        map([("certificate-authority-data", STANDARD.encode(ca_pem).into()), ("server", server.into())]);
    let document = map([
        ("apiVersion", "v1".into()),
        ("clusters", Value::Sequence(vec![map([("cluster", cluster), ("name", "".into())])])),
        ("contexts", Value::Null),
        ("current-context", "".into()),
        ("kind", "Config".into()),
        ("users", Value::Null),
    ]);
    // A document of texts can always be printed.
    serde_norway::to_string(&document).unwrap_or_default()
}

/// A kubeconfig with a bearer token, such as a bootstrap token.
pub fn of_token(server: &str, ca_pem: &str, token: &str) -> String {
    let cluster =
        map([("certificate-authority-data", STANDARD.encode(ca_pem).into()), ("server", server.into())]);
    let context = map([("cluster", "default".into()), ("user", "default".into())]);
    let named = |what: &str, value| Value::Sequence(vec![map([("name", "default".into()), (what, value)])]);
    let document = map([
        ("apiVersion", "v1".into()),
        ("kind", "Config".into()),
        ("clusters", named("cluster", cluster)),
        ("users", named("user", map([("token", token.into())]))),
        ("contexts", named("context", context)),
        ("current-context", "default".into()),
    ]);
    // A document of texts can always be printed.
    serde_norway::to_string(&document).unwrap_or_default()
}

/// Removes the context `name` with its cluster and user from the kubeconfig at `path`, if they are there.
pub fn forget(name: &str, path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut document = load(path)?;
    let user = format!("{name}-admin");
    for (section, gone) in [("clusters", name), ("users", user.as_str()), ("contexts", name)] {
        if let Some(Value::Sequence(list)) = document.get_mut(section) {
            list.retain(|entry| entry.get("name").and_then(Value::as_str) != Some(gone));
        }
    }
    if document.get("current-context").and_then(Value::as_str) == Some(name) {
        document.insert("current-context".into(), "".into());
    }
    store(path, &document)
}

/// The file that kubectl reads: the first of `$KUBECONFIG`, else `~/.kube/config`.
pub fn default_path() -> Option<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        return std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty());
    }
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"))
}

fn load(path: &Path) -> Result<Mapping> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Mapping::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    match serde_norway::from_str(&text) {
        Ok(Value::Mapping(document)) => Ok(document),
        Ok(Value::Null) => Ok(Mapping::new()),
        Ok(_) => anyhow::bail!("{} is not a kubeconfig: move it away or repair it", path.display()),
        Err(error) => Err(error)
            .with_context(|| format!("{} is not a kubeconfig: move it away or repair it", path.display())),
    }
}

fn store(path: &Path, document: &Mapping) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_private_dir(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let text = serde_norway::to_string(document).context("cannot print a kubeconfig")?;
    write_atomic(path, text.as_bytes(), 0o600).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &str = "apiVersion: v1\nkind: Config\nclusters:\n- name: work\n  cluster: {server: https://work}\n\
                          users: []\ncontexts:\n- name: work\n  context: {cluster: work, user: me}\n\
                          current-context: work\npreferences: {colors: true}\n";

    fn access<'a>(identity: &'a Identity, server: &'a str) -> Access<'a> {
        Access { name: "ferrokube", server, ca_pem: "CA", identity }
    }

    #[test]
    fn merging_keeps_what_others_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".kube/config");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, OTHERS).unwrap();
        let identity = Identity { certificate_pem: "C".into(), key_pem: "K".into() };
        access(&identity, "https://127.0.0.1:1").merge(&path).unwrap();
        access(&identity, "https://127.0.0.1:2").merge(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("https://work") && text.contains("colors"), "{text}");
        assert!(text.contains("127.0.0.1:2") && !text.contains("127.0.0.1:1"), "{text}");
        assert!(text.contains("current-context: ferrokube"), "{text}");

        let text = text.replace("current-context: ferrokube", "current-context: work");
        fs::write(&path, text).unwrap();
        access(&identity, "https://127.0.0.1:3").refresh(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("127.0.0.1:3") && text.contains("current-context: work"), "{text}");

        forget("ferrokube", &path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("ferrokube") && text.contains("https://work"), "{text}");
        access(&identity, "https://127.0.0.1:3").refresh(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "what was forgotten does not come back");
    }

    #[test]
    fn a_damaged_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, "- not\n- a mapping\n").unwrap();
        let identity = Identity { certificate_pem: "C".into(), key_pem: "K".into() };
        let refused = access(&identity, "https://x").merge(&path).unwrap_err().to_string();
        assert!(refused.contains("is not a kubeconfig"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "- not\n- a mapping\n");
    }
}
