//! The JSON documents of images: OCI index, manifest and config, and `docker save`'s list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image::ImageConfig;
use crate::reference::is_digest;

pub(crate) const MEDIA_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MEDIA_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const MEDIA_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const MEDIA_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const MEDIA_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const MEDIA_DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const MEDIA_DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Annotation with the full name of an image in a layout, as containerd and docker write it.
pub(crate) const ANNOTATION_NAME: &str = "io.containerd.image.name";
/// Annotation with the tag (or the full name) of an image in a layout.
pub(crate) const ANNOTATION_REF: &str = "org.opencontainers.image.ref.name";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

/// An index or a manifest: which one shows in its fields, whatever media type was claimed.
pub(crate) enum Document {
    Index(Index),
    Manifest(Manifest),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default)]
    pub config: Option<ConfigBody>,
    pub rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub diff_ids: Vec<String>,
}

type Set = BTreeMap<String, serde_json::Value>;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ConfigBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Set>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<Set>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// One image of `docker save`'s `manifest.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerSaved {
    pub config: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    pub layers: Vec<String>,
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Document> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|e| Error::malformed("manifest", e))?;
        let bad = |e: serde_json::Error| Error::malformed("manifest", e);
        let document = if value.get("manifests").is_some() {
            Document::Index(serde_json::from_value(value).map_err(bad)?)
        } else if value.get("config").is_some() {
            Document::Manifest(serde_json::from_value(value).map_err(bad)?)
        } else {
            return Err(Error::malformed(
                "manifest",
                "it has neither manifests nor a config (schema 1 is not supported)",
            ));
        };
        let descriptors: Vec<&Descriptor> = match &document {
            Document::Index(index) => index.manifests.iter().collect(),
            Document::Manifest(manifest) => {
                std::iter::once(&manifest.config).chain(&manifest.layers).collect()
            }
        };
        match descriptors.iter().find(|d| !is_digest(&d.digest)) {
            Some(bad) => Err(Error::malformed("manifest", format!("unsupported digest {:?}", bad.digest))),
            None => Ok(document),
        }
    }
}

impl Index {
    /// The entry for this machine. Entries without a platform match only when they are alone.
    pub(crate) fn for_machine(&self) -> Option<&Descriptor> {
        let runnable = |d: &&Descriptor| {
            d.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == machine_architecture())
        };
        self.manifests.iter().find(runnable).or(match self.manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        })
    }
}

/// Go's name for this machine's architecture.
pub(crate) fn machine_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

impl ConfigFile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<ConfigFile> {
        let file: ConfigFile =
            serde_json::from_slice(bytes).map_err(|e| Error::malformed("image config", e))?;
        match file.rootfs.diff_ids.iter().find(|d| !is_digest(d)) {
            Some(bad) => Err(Error::malformed("image config", format!("unsupported diff_id {bad:?}"))),
            None => Ok(file),
        }
    }

    pub(crate) fn summary(&self) -> ImageConfig {
        let body = self.config.clone().unwrap_or_default();
        ImageConfig {
            env: body.env.unwrap_or_default(),
            entrypoint: body.entrypoint.unwrap_or_default(),
            cmd: body.cmd.unwrap_or_default(),
            user: body.user.unwrap_or_default(),
            working_dir: body.working_dir.unwrap_or_default(),
            volumes: body.volumes.unwrap_or_default().into_keys().collect(),
            stop_signal: body.stop_signal.unwrap_or_default(),
            exposed_ports: body.exposed_ports.unwrap_or_default().into_keys().collect(),
            labels: body.labels.unwrap_or_default(),
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            created: self.created.clone(),
        }
    }
}

/// The config file of an image that is being built.
pub(crate) fn config_file(config: &ImageConfig, diff_ids: Vec<String>) -> ConfigFile {
    let list = |v: &Vec<String>| (!v.is_empty()).then(|| v.clone());
    let text = |s: &String| (!s.is_empty()).then(|| s.clone());
    let set = |v: &Vec<String>| {
        (!v.is_empty()).then(|| v.iter().map(|k| (k.clone(), serde_json::json!({}))).collect::<Set>())
    };
    let or = |s: &String, default: &str| if s.is_empty() { default.to_owned() } else { s.clone() };
    ConfigFile {
        architecture: or(&config.architecture, machine_architecture()),
        os: or(&config.os, "linux"),
        created: config.created.clone(),
        config: Some(ConfigBody {
            user: text(&config.user),
            env: list(&config.env),
            entrypoint: list(&config.entrypoint),
            cmd: list(&config.cmd),
            working_dir: text(&config.working_dir),
            volumes: set(&config.volumes),
            exposed_ports: set(&config.exposed_ports),
            labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
            stop_signal: text(&config.stop_signal),
        }),
        rootfs: RootFs { kind: "layers".into(), diff_ids },
    }
}
