//! Counts the pods of a namespace as they get their nodes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use call::ListOptions;
use client::{Client, remote};
use http_body_util::BodyExt;
use serde_json::Value;
use types::core::v1::Pod;

/// Longest time without a single binding.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pods enter this selection when they are bound.
const BOUND: &str = "spec.nodeName!=";

/// How the lines of a watch about pods that were bound begin.
const ADDED: &[u8] = br#"{"type":"ADDED""#;

/// Waits until `count` pods of the namespace got nodes since `version`.
///
/// A server may end a watch whenever it likes; then another one goes on where it ended.
pub async fn wait(
    raw: &remote::Remote,
    client: &Client,
    space: &str,
    count: usize,
    version: &str,
) -> Result<()> {
    let mut version = version.to_owned();
    let mut seen = 0;
    while seen < count {
        match follow(raw, space, count, &mut seen, &mut version).await? {
            End::Closed => {}
            End::Expired => {
                let options = ListOptions { field_selector: BOUND.into(), ..ListOptions::default() };
                let all = client.namespaced::<Pod>(space).list(&options).await?;
                (seen, version) = (all.items.len(), all.resource_version.to_string());
            }
        }
    }
    Ok(())
}

/// Why a watch ended before everything was seen.
enum End {
    /// The server closed it.
    Closed,
    /// The server no longer knows what happened since the version.
    Expired,
}

async fn follow(
    raw: &remote::Remote,
    space: &str,
    count: usize,
    seen: &mut usize,
    version: &mut String,
) -> Result<End> {
    let path = format!(
        "/api/v1/namespaces/{space}/pods?watch=true&fieldSelector=spec.nodeName!%3D&resourceVersion={version}"
    );
    let request = http::Request::get(&path).header("accept", "application/json").body(Bytes::new())?;
    let response = raw.send(request).await?;
    match response.status() {
        http::StatusCode::OK => {}
        http::StatusCode::GONE => return Ok(End::Expired),
        other => bail!("{path}: {other}"),
    }
    let mut body = response.into_body();
    let added = memchr::memmem::Finder::new(ADDED);
    let mut rest = Vec::new();
    while *seen < count {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await;
        let frame = frame.with_context(|| format!("{seen} of {count} pods have a node, and no more"))?;
        // A broken connection ends a watch as a closed one does.
        let Some(Ok(frame)) = frame else { return Ok(End::Closed) };
        let Some(data) = frame.data_ref() else { continue };
        rest.extend_from_slice(data);
        let Some(end) = memchr::memrchr(b'\n', &rest) else { continue };
        *seen += added.find_iter(&rest[..end]).count();
        let last = memchr::memrchr(b'\n', &rest[..end]).map_or(0, |at| at + 1);
        let event: Value = serde_json::from_slice(&rest[last..end])?;
        if event["type"] == "ERROR" {
            ensure!(event["object"]["code"] == 410, "{path}: {}", event["object"]["message"]);
            return Ok(End::Expired);
        }
        if let Some(at) = event["object"]["metadata"]["resourceVersion"].as_str() {
            at.clone_into(version);
        }
        rest.drain(..=end);
    }
    Ok(End::Closed)
}
