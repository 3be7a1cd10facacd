//! `--admission-control-config-file`: what administrators tell single plugins.
//!
//! The file is an `AdmissionConfiguration` that holds each plugin's own document or names a file with it. Two plugins are
//! older than that format and also take a bare file of their own. Documents are read strictly: a field that nothing would
//! come of is an error, since what it asks for would silently not be done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

/// Why plugins cannot be configured as asked. The file must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file is not there.
    #[error("unable to read admission control configuration from {path:?} [{why}]")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is no such document.
    #[error("failed to read plugin config: {0}")]
    Document(String),
    /// A plugin cannot do what its document says.
    #[error("failed to initialize admission plugin {plugin:?}: {why}")]
    Plugin {
        /// Which plugin.
        plugin: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// The documents of all plugins that have one.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    plugins: BTreeMap<String, Json>,
    /// Paths in documents are relative to this.
    folder: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Whole {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    plugins: Vec<One>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct One {
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    configuration: Option<Json>,
}

impl Configuration {
    /// Reads the file and those that it names.
    ///
    /// # Errors
    /// When one is not there, or is no such document.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let text = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let document = parse(&text)?;
        if document.get("imagePolicy").is_some() || document.get("podNodeSelectorPluginConfig").is_some() {
            let legacy =
                ["ImagePolicyWebhook", "PodNodeSelector"].map(|name| (name.to_owned(), document.clone()));
            return Ok(Self { plugins: legacy.into(), folder });
        }
        let (version, kind) = type_of(&document);
        let known = ["apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1"].contains(&version);
        if !known || kind != "AdmissionConfiguration" {
            let why = format!("no kind {kind:?} is registered for version {version:?}");
            return Err(ConfigurationError::Document(why));
        }
        let whole: Whole = strictly(document).map_err(ConfigurationError::Document)?;
        let mut plugins = BTreeMap::new();
        for one in whole.plugins {
            let document = match (one.configuration.filter(|c| !c.is_null()), one.path.as_str()) {
                (Some(document), _) => document,
                (None, "") => continue,
                (None, path) => parse(&read(&folder.join(path))?)?,
            };
            plugins.entry(one.name).or_insert(document);
        }
        Ok(Self { plugins, folder })
    }

    /// One plugin's document.
    #[cfg(test)]
    pub(crate) fn single(plugin: &str, document: Json) -> Self {
        let plugins = [(plugin.to_owned(), document)].into_iter().filter(|(_, document)| !document.is_null());
        Self { plugins: plugins.collect(), folder: PathBuf::new() }
    }

    /// The document of a plugin, if it has one.
    pub(crate) fn of(&self, plugin: &str) -> Option<&Json> {
        self.plugins.get(plugin)
    }

    /// A file that a document names.
    pub(crate) fn path(&self, named: &str) -> PathBuf {
        self.folder.join(named)
    }
}

/// `apiVersion` and `kind` of a document.
fn type_of(document: &Json) -> (&str, &str) {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    (text("apiVersion"), text("kind"))
}

/// A document of one of some versions of a kind, without what says so.
pub(crate) fn versioned<T: DeserializeOwned>(
    document: &Json,
    kind: &str,
    versions: &[&str],
) -> Result<T, String> {
    let (found_version, found_kind) = type_of(document);
    if found_kind != kind || !versions.contains(&found_version) {
        return Err(format!("no kind {found_kind:?} is registered for version {found_version:?}"));
    }
    let mut document = document.clone();
    if let Some(fields) = document.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    strictly(document)
}

/// A document, in which every field must be known.
fn strictly<T: DeserializeOwned>(document: Json) -> Result<T, String> {
    serde_json::from_value(document).map_err(|error| format!("strict decoding error: {error}"))
}

fn read(path: &Path) -> Result<String, ConfigurationError> {
    std::fs::read_to_string(path).map_err(|why| ConfigurationError::Read { path: path.to_owned(), why })
}

fn parse(text: &str) -> Result<Json, ConfigurationError> {
    serde_norway::from_str(text).map_err(|why| ConfigurationError::Document(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Configuration, String> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        Configuration::load(&folder.path().join(files[0].0)).map_err(|error| error.to_string())
    }

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";

    #[test]
    fn documents_are_inside_or_beside() {
        let main = format!(
            "{HEAD}plugins:\n- {{name: A, configuration: {{x: 1}}}}\n- {{name: B, path: b.yaml}}\n- {{name: C}}\n"
        );
        let read = load(&[("main", &main), ("b.yaml", "y: 2")]).expect("a configuration");
        assert_eq!(read.of("A").map(|d| d["x"].clone()), Some(1.into()));
        assert_eq!(read.of("B").map(|d| d["y"].clone()), Some(2.into()));
        assert_eq!(read.of("C"), None);
        let legacy = load(&[("main", "podNodeSelectorPluginConfig: {a: b=c}")]).expect("a legacy file");
        assert!(legacy.of("PodNodeSelector").is_some());
    }

    #[test]
    fn unusable_files_are_refused() {
        for (text, says) in [
            ("a: [".to_owned(), "failed to read plugin config"),
            ("apiVersion: v1\nkind: Pod".to_owned(), "no kind \"Pod\" is registered for version \"v1\""),
            (format!("{HEAD}plugin: []"), "unknown field `plugin`"),
            (format!("{HEAD}plugins: [{{name: B, path: none.yaml}}]"), "unable to read admission control"),
        ] {
            let error = load(&[("main", &text)]).expect_err(&text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
