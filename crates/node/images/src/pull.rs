//! Bringing an image's blobs from a registry: mirrors first, credentials in order, layers in parallel, every digest
//! checked. What is in the store already is not fetched again.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use oci_client::Client;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;

use crate::blobs::{Blobs, verify};
use crate::credentials::Credentials;
use crate::document::*;
use crate::error::{Error, Result};
use crate::import::Staged;
use crate::reference::Reference;
use crate::store::{Progress, PullOptions, StoreConfig};

/// Layers fetched at the same time, as containerd does.
const LAYERS_IN_PARALLEL: usize = 3;
/// A registry that is silent for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// Indexes in indexes deeper than this are a loop.
const INDEX_DEPTH_MAX: u32 = 4;

const ACCEPTED: &[&str] = &[MEDIA_INDEX, MEDIA_MANIFEST, MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST];

/// One registry endpoint with one set of credentials.
struct Endpoint {
    client: Client,
    auth: RegistryAuth,
    host: String,
}

/// Brings manifest, config and layers of an image into the blob store. Returns the digest that the name has in the
/// registry (of the index, where there is one) beside the staged image.
pub(crate) async fn pull(
    reference: &Reference,
    options: &PullOptions,
    config: &StoreConfig,
    blobs: &Blobs,
) -> Result<(Staged, String)> {
    let (endpoint, bytes, top) = resolve(reference, options, config).await?;
    let (manifest, manifest_digest) = descend(&endpoint, reference, bytes, top.clone(), blobs).await?;
    fetch(&endpoint, reference, &manifest.config, "config", blobs, options).await?;
    // Collected first: a closure kept inside the stream would keep this future from being Send for every lifetime.
    let fetches: Vec<_> = manifest
        .layers
        .iter()
        .map(|layer| fetch(&endpoint, reference, layer, "layer", blobs, options))
        .collect();
    let mut fetched = stream::iter(fetches).buffer_unordered(LAYERS_IN_PARALLEL);
    while let Some(done) = fetched.next().await {
        done?;
    }
    drop(fetched);
    Ok((Staged { manifest, manifest_digest, names: vec![reference.clone()] }, top))
}

/// Finds an endpoint that has the image: each mirror, then the registry, with each credential, then without.
async fn resolve(
    reference: &Reference,
    options: &PullOptions,
    config: &StoreConfig,
) -> Result<(Endpoint, bytes::Bytes, String)> {
    let mirrors = config.mirrors.get(&reference.registry).into_iter().flatten().map(String::as_str);
    let mut last = None;
    for host in mirrors.chain([reference.registry.as_str()]) {
        let auths = options.credentials.iter().map(|c| match c {
            Credentials::Basic { username, password } => {
                RegistryAuth::Basic(username.clone(), password.clone())
            }
            Credentials::Bearer(token) => RegistryAuth::Bearer(token.clone()),
        });
        for auth in auths.chain([RegistryAuth::Anonymous]) {
            let endpoint = Endpoint::new(host, auth, config);
            let target = endpoint.target(reference, reference.digest.as_deref());
            match endpoint.client.pull_manifest_raw(&target, &endpoint.auth, ACCEPTED).await {
                Ok((bytes, digest)) => {
                    // Not every registry sends the header that the client compares with.
                    verify("manifest", &bytes, reference.digest.as_deref().unwrap_or(&digest))?;
                    return Ok((endpoint, bytes, digest));
                }
                Err(e) => {
                    let error = explain(e, reference, &endpoint.host);
                    let denied = matches!(error, Error::Unauthorized { .. });
                    // The first refusal says more than the anonymous attempt after it.
                    if !(denied && matches!(last, Some(Error::Unauthorized { .. }))) {
                        last = Some(error);
                    }
                    if !denied {
                        break;
                    }
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::NotFound(reference.to_string())))
}

/// Follows indexes down to the manifest for this machine.
async fn descend(
    endpoint: &Endpoint,
    reference: &Reference,
    mut bytes: bytes::Bytes,
    mut digest: String,
    blobs: &Blobs,
) -> Result<(Manifest, String)> {
    for _ in 0..INDEX_DEPTH_MAX {
        match Document::parse(&bytes)? {
            Document::Manifest(manifest) => {
                let (store, data) = (blobs.clone(), bytes.clone());
                blocking(move || store.put(&data)).await?;
                return Ok((manifest, digest));
            }
            Document::Index(index) => {
                let entry = index.for_machine().ok_or_else(|| Error::NoPlatform {
                    reference: reference.to_string(),
                    platform: format!("linux/{}", machine_architecture()),
                })?;
                digest = entry.digest.clone();
                let target = endpoint.target(reference, Some(&digest));
                let raw = endpoint.client.pull_manifest_raw(&target, &endpoint.auth, ACCEPTED).await;
                bytes = raw.map_err(|e| explain(e, reference, &endpoint.host))?.0;
                verify("manifest", &bytes, &digest)?;
            }
        }
    }
    Err(Error::malformed("manifest", "indexes are nested too deeply"))
}

/// Brings one blob, unless it is there.
async fn fetch(
    endpoint: &Endpoint,
    reference: &Reference,
    blob: &Descriptor,
    what: &'static str,
    blobs: &Blobs,
    options: &PullOptions,
) -> Result<()> {
    let progress = |done_bytes| {
        if let Some(report) = options.progress.as_ref().filter(|_| what == "layer") {
            report(Progress { digest: blob.digest.clone(), done_bytes, total_bytes: blob.size });
        }
    };
    if blobs.has(&blob.digest) {
        progress(blob.size);
        return Ok(());
    }
    let target = endpoint.target(reference, None);
    let sized = endpoint.client.pull_blob_stream(&target, blob.digest.as_str()).await;
    let mut stream: BoxStream<'_, _> = sized.map_err(|e| explain(e, reference, &endpoint.host))?.stream;
    let (send, mut receive) = tokio::sync::mpsc::channel::<bytes::Bytes>(16);
    let (store, expected, size) = (blobs.clone(), blob.digest.clone(), blob.size);
    // Disk writes and hashing stay off the threads that serve the network.
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = store.writer()?;
        while let Some(chunk) = receive.blocking_recv() {
            writer.write_all(&chunk).map_err(Error::io(format!("cannot store {what} {expected}")))?;
            if writer.size() > size {
                break;
            }
        }
        Ok(writer)
    });
    let mut done = 0;
    let mut broken = None;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                done += chunk.len() as u64;
                progress(done);
                if send.send(chunk).await.is_err() {
                    break;
                }
            }
            Err(e) => {
                broken = Some(e);
                break;
            }
        }
    }
    drop(send);
    let writer = writing.await.map_err(|_| Error::Interrupted)??;
    // The client's own comparison of digests ends the stream with an error; ours names the blob, so try it first.
    if let Some(e) = broken.filter(|_| writer.size() < blob.size) {
        return Err(Error::Unreachable {
            reference: reference.to_string(),
            registry: endpoint.host.clone(),
            why: format!("{what} {} broke off after {done} of {} bytes: {e}", blob.digest, blob.size),
        });
    }
    let expected = blob.digest.clone();
    blocking(move || writer.commit(what, Some(&expected))).await?;
    Ok(())
}

/// Runs disk work on a thread made for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Interrupted)?
}

impl Endpoint {
    fn new(host: &str, auth: RegistryAuth, config: &StoreConfig) -> Endpoint {
        // Fails only when another provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (scheme, host) = match host.split_once("://") {
            Some((scheme, host)) => (Some(scheme), host.trim_end_matches('/')),
            None => (None, host),
        };
        let plain = match scheme {
            Some(scheme) => scheme == "http",
            None => is_loopback(host) || config.insecure_registries.iter().any(|r| r == host),
        };
        let client = Client::new(ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(CONNECT_MAX),
            read_timeout: Some(SILENCE_MAX),
            user_agent: concat!("ferrokube/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Endpoint { client, auth, host: host.to_owned() }
    }

    fn target(&self, reference: &Reference, digest: Option<&str>) -> oci_client::Reference {
        let (registry, repository) = (self.host.clone(), reference.repository.clone());
        match (digest, &reference.tag) {
            (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.to_owned()),
            (None, Some(tag)) => oci_client::Reference::with_tag(registry, repository, tag.clone()),
            (None, None) => {
                let digest = reference.digest.clone().unwrap_or_default();
                oci_client::Reference::with_digest(registry, repository, digest)
            }
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Puts a registry's answer into the words that a user looks for.
fn explain(error: OciDistributionError, reference: &Reference, registry: &str) -> Error {
    let unauthorized = |why: String| Error::Unauthorized { repository: reference.name(), why };
    let not_found = || Error::NotFound(reference.to_string());
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => not_found(),
        OciDistributionError::UnauthorizedError { .. } => unauthorized("401 Unauthorized".into()),
        OciDistributionError::AuthenticationFailure(why) => unauthorized(why),
        OciDistributionError::RegistryError { envelope, .. } => {
            let first = envelope.errors.first();
            match first.map(|e| &e.code) {
                Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound) => {
                    not_found()
                }
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => unauthorized(envelope.to_string()),
                _ => Error::Registry { reference: reference.to_string(), why: envelope.to_string() },
            }
        }
        OciDistributionError::ServerError { code: 404, .. } => not_found(),
        OciDistributionError::ServerError { code: 401 | 403, message, .. } => unauthorized(message),
        OciDistributionError::DigestError(DigestError::VerificationError { expected, actual }) => {
            Error::DigestMismatch { what: "manifest", expected, actual }
        }
        OciDistributionError::RequestError(e) => Error::Unreachable {
            reference: reference.to_string(),
            registry: registry.into(),
            why: causes(&e),
        },
        other => Error::Registry { reference: reference.to_string(), why: other.to_string() },
    }
}

/// An error and what caused it: "error sending request" alone helps nobody.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// What the progress callback looks like in [`PullOptions`].
pub(crate) type Report = Arc<dyn Fn(Progress) + Send + Sync>;
