//! kubeconfig files: which server, trusted how, as whom.
//!
//! Reads the `v1` `Config` kind that kubectl writes. Paths in the file are relative to the file. Credential plugins
//! (`exec`, `auth-provider`) are refused with a clear error, they are not silently left out.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::rate::Rate;

/// Why no usable configuration came out of a kubeconfig. None of these is worth a retry.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or one that it names, cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The text is no kubeconfig.
    #[error("parse {path}: {reason}")]
    Parse {
        /// The file, or a name for where the text came from.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A context, cluster or user that is named is not there.
    #[error("{what} {name:?} does not exist")]
    Missing {
        /// `context`, `cluster` or `user`.
        what: &'static str,
        /// The name that was looked for.
        name: String,
    },
    /// A `-data` field is not base64.
    #[error("{field} is not base64: {reason}")]
    Data {
        /// The field.
        field: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// Certificates or keys cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The file asks for a way to authenticate that this client does not have.
    #[error("credential plugins ({0}) are not supported")]
    Plugin(&'static str),
}

/// Everything that a connection to one server as one user needs.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// URL of the server, for example `https://127.0.0.1:6443`; a path in it prefixes every request.
    pub server: String,
    /// PEM certificates that may sign the server's; `None` trusts the machine's own store.
    pub certificate_authority: Option<Vec<u8>>,
    /// Accept any server certificate.
    pub insecure_skip_tls_verify: bool,
    /// Name to expect in the server's certificate instead of the URL's host.
    pub tls_server_name: Option<String>,
    /// PEM client certificate chain and PEM key.
    pub client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Bearer token.
    pub token: Option<String>,
    /// File that holds the bearer token and may be renewed; wins over `token`.
    pub token_file: Option<PathBuf>,
    /// User name and password.
    pub basic: Option<(String, String)>,
    /// Act as this user.
    pub impersonate: Option<Impersonate>,
    /// Default namespace of the context, empty when it names none.
    pub namespace: String,
    /// `User-Agent` of the requests, from which servers derive a field manager.
    pub user_agent: String,
    /// How many requests are sent at most; as many as there are without.
    pub rate: Option<Rate>,
}

/// Whom to act as, by the `Impersonate-*` headers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impersonate {
    /// User name.
    pub user: String,
    /// User id, empty for none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    current_context: String,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
    contexts: Vec<Named<Context>>,
}

#[derive(Debug, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    value: Option<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    #[serde(rename = "client-certificate")]
    client_certificate: Option<PathBuf>,
    #[serde(rename = "client-certificate-data")]
    client_certificate_data: Option<String>,
    #[serde(rename = "client-key")]
    client_key: Option<PathBuf>,
    #[serde(rename = "client-key-data")]
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "as")]
    act_as: Option<String>,
    #[serde(rename = "as-uid")]
    act_as_uid: Option<String>,
    #[serde(rename = "as-groups")]
    act_as_groups: Vec<String>,
    exec: Option<serde_json::Value>,
    #[serde(rename = "auth-provider")]
    auth_provider: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: String,
}

impl Config {
    /// Reads the kubeconfig at `path` and takes `context`, or its current context.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Config, ConfigError> {
        let text = read(path)?;
        let text = String::from_utf8_lossy(&text);
        Config::from_kubeconfig_text(&text, path, context)
    }

    /// The same for a text that came from `path` (paths inside are relative to it).
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_kubeconfig_text(
        text: &str,
        path: &Path,
        context: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let mut file: File = serde_norway::from_str(text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })?;
        // A user of whom the file says nothing but the name has no credentials.
        for user in &mut file.users {
            user.value.get_or_insert_default();
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let name = context.unwrap_or(&file.current_context);
        let context = find(&file.contexts, "context", name)?;
        let cluster = find(&file.clusters, "cluster", &context.cluster)?;
        let mut config = Config {
            server: cluster.server.clone(),
            certificate_authority: bytes(
                folder,
                "certificate-authority-data",
                cluster.certificate_authority_data.as_deref(),
                cluster.certificate_authority.as_deref(),
            )?,
            insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
            tls_server_name: cluster.tls_server_name.clone(),
            namespace: context.namespace.clone(),
            user_agent: default_user_agent(),
            ..Config::default()
        };
        if !context.user.is_empty() {
            config.identify(folder, find(&file.users, "user", &context.user)?)?;
        }
        Ok(config)
    }

    fn identify(&mut self, folder: &Path, user: &User) -> Result<(), ConfigError> {
        if user.exec.is_some() {
            return Err(ConfigError::Plugin("exec"));
        }
        if user.auth_provider.is_some() {
            return Err(ConfigError::Plugin("auth-provider"));
        }
        let certificate = bytes(
            folder,
            "client-certificate-data",
            user.client_certificate_data.as_deref(),
            user.client_certificate.as_deref(),
        )?;
        let key =
            bytes(folder, "client-key-data", user.client_key_data.as_deref(), user.client_key.as_deref())?;
        self.client_certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(ConfigError::Tls(
                    "client certificate and client key must be given together".into(),
                ));
            }
        };
        self.token = user.token.clone();
        self.token_file = user.token_file.as_ref().map(|path| folder.join(path));
        self.basic = user.username.clone().map(|name| (name, user.password.clone().unwrap_or_default()));
        self.impersonate = user.act_as.clone().map(|name| Impersonate {
            user: name,
            uid: user.act_as_uid.clone().unwrap_or_default(),
            groups: user.act_as_groups.clone(),
        });
        Ok(())
    }

    /// The configuration that a pod finds in its environment and its service account volume.
    ///
    /// # Errors
    /// When this process does not run in a pod, or the volume is not mounted.
    pub fn in_cluster() -> Result<Config, ConfigError> {
        const VOLUME: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let variable = |name: &'static str| {
            std::env::var(name)
                .map_err(|_| ConfigError::Missing { what: "environment variable", name: name.into() })
        };
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let namespace = read(&Path::new(VOLUME).join("namespace"))?;
        Ok(Config {
            server: format!("https://{host}:{port}"),
            certificate_authority: Some(read(&Path::new(VOLUME).join("ca.crt"))?),
            token_file: Some(Path::new(VOLUME).join("token")),
            namespace: String::from_utf8_lossy(&namespace).trim().to_owned(),
            user_agent: default_user_agent(),
            ..Config::default()
        })
    }
}

fn default_user_agent() -> String {
    let program = std::env::args().next().unwrap_or_default();
    let program = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or("ferrokube");
    format!("{program}/v{} ({}/{})", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}

fn find<'a, T>(list: &'a [Named<T>], what: &'static str, name: &str) -> Result<&'a T, ConfigError> {
    list.iter()
        .find(|entry| entry.name == name)
        .and_then(|entry| entry.value.as_ref())
        .ok_or_else(|| ConfigError::Missing { what, name: name.to_owned() })
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Inline data wins over a file, as in kubectl.
fn bytes(
    folder: &Path,
    field: &'static str,
    data: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<Vec<u8>>, ConfigError> {
    match (data.filter(|data| !data.is_empty()), file.filter(|file| !file.as_os_str().is_empty())) {
        (Some(data), _) => STANDARD
            .decode(data.trim())
            .map(Some)
            .map_err(|error| ConfigError::Data { field, reason: error.to_string() }),
        (None, Some(file)) => read(&folder.join(file)).map(Some),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
apiVersion: v1
kind: Config
current-context: dev
clusters:
- name: here
  cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Y2E=}
users:
- name: admin
  user: {token: secret, as: jane, as-groups: [devs]}
- name: cloud
  user: {exec: {command: login}}
contexts:
- name: dev
  context: {cluster: here, user: admin, namespace: team}
- name: cloud
  context: {cluster: here, user: cloud}
"#;

    fn load(context: Option<&str>) -> Result<Config, ConfigError> {
        Config::from_kubeconfig_text(TEXT, Path::new("/x/config"), context)
    }

    #[test]
    fn reads_the_current_context() {
        let config = load(None).unwrap();
        assert_eq!(config.server, "https://127.0.0.1:6443");
        assert_eq!(config.certificate_authority.as_deref(), Some(&b"ca"[..]));
        assert_eq!(config.token.as_deref(), Some("secret"));
        assert_eq!(config.namespace, "team");
        assert_eq!(config.impersonate.unwrap().groups, ["devs"]);
    }

    #[test]
    fn a_user_may_have_no_credentials() {
        let text = "clusters: [{name: c, cluster: {server: 'http://x'}}]\nusers: [{name: u}]\n\
                    contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
        let config = Config::from_kubeconfig_text(text, Path::new("file"), None).unwrap();
        assert!(config.token.is_none() && config.client_certificate.is_none());
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(load(Some("gone")).unwrap_err().to_string(), "context \"gone\" does not exist");
        assert_eq!(
            load(Some("cloud")).unwrap_err().to_string(),
            "credential plugins (exec) are not supported"
        );
    }
}
