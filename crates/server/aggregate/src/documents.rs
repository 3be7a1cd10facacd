//! Asks extension API servers whether they are there and what they serve.
//!
//! Everything is bounded: seconds for an answer, bytes of a document. A server that sends garbage is one that does not
//! describe itself, and harms nobody else's description.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use authn::{MASTERS, User};
use bytes::Bytes;
use env::Random;
use futures::future::select_ok;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::address::Address;
use crate::availability::Finding;
use crate::discovery;
use crate::identity::assert_user;
use crate::openapi;
use crate::remote::{Link, Remote};

/// Time for the check of availability, and for a discovery document.
const SHORT: Duration = Duration::from_secs(5);
/// Time for an OpenAPI document.
const LONG: Duration = Duration::from_secs(60);
/// Largest document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// How many endpoints are asked at once; one answer is enough.
const ATTEMPTS: usize = 5;

/// What a server said about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// Its entry of aggregated discovery, without freshness.
    pub discovery: Option<Value>,
    /// The last attempt to read that succeeded.
    pub fresh: bool,
    /// Addresses of OpenAPI v3 documents by path.
    pub v3: BTreeMap<String, String>,
    /// Its part of OpenAPI v2.
    pub v2: Option<Arc<Value>>,
    discovery_tag: Option<HeaderValue>,
    v2_tag: Option<HeaderValue>,
}

/// Asks the server for the discovery document that it must serve.
pub async fn check(remote: &Remote, random: &Random) -> Finding {
    let link = remote.link();
    let addresses = match remote.addresses() {
        Ok(addresses) => addresses,
        Err(why) => return Finding::failed_discovery(why),
    };
    // Any endpoint may be the one that hangs.
    let first = random.below(addresses.len().max(1));
    let chosen = addresses.iter().cycle().skip(first).take(addresses.len().min(ATTEMPTS));
    let path = match remote.group.as_str() {
        "" => format!("/api/{}", remote.version),
        group => format!("/apis/{group}/{}", remote.version),
    };
    let attempts = chosen.map(|address| Box::pin(attempt(&link, address, &path)));
    let attempts: Vec<_> = attempts.collect();
    if attempts.is_empty() {
        return Finding::failed_discovery("no address".to_owned());
    }
    match select_ok(attempts).await {
        Ok(_) => Finding::passed(),
        Err(why) => Finding::failed_discovery(why),
    }
}

async fn attempt(link: &Link, address: &Address, path: &str) -> Result<(), String> {
    let url = format!("https://{address}{path}");
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let channel = link.channel().map_err(|why| why.to_string())?;
    let head = head("system:kube-aggregator", &[MASTERS]).map_err(failed)?;
    // Only the status counts, so the document may be as long as it likes.
    let mut request = http::Request::new(http_body_util::Either::Right(http_body_util::Full::default()));
    *request.headers_mut() = head;
    let got = timeout(SHORT, channel.send(address, path, request)).await;
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    let got = got.unwrap_or_else(|_| Err(late.to_owned()));
    let answer = got.map_err(|why| failed(format!("Get \"{url}\": {why}")))?;
    if !answer.status().is_success() {
        return Err(failed(format!("bad status from {url}: {}", answer.status().as_u16())));
    }
    Ok(())
}

fn head(user: &str, groups: &[&str]) -> Result<HeaderMap, String> {
    let mut head = HeaderMap::new();
    assert_user(&mut head, &User::new(user, groups)).map_err(|error| error.to_string())?;
    head.insert(header::USER_AGENT, HeaderValue::from_static("kube-aggregator"));
    Ok(head)
}

/// Reads all documents anew. What could not be read stays as it was in `old`.
pub async fn read(remote: &Remote, random: &Random, old: &Documents) -> Documents {
    let mut new = old.clone();
    let Ok(addresses) = remote.addresses() else {
        (new.fresh, new.discovery, new.discovery_tag) = (false, None, None);
        return new;
    };
    let Some(address) = addresses.get(random.below(addresses.len().max(1))) else { return new };
    let place = Place { link: remote.link(), address };
    match entry(&place, remote, old).await {
        Ok((entry, tag)) => (new.fresh, new.discovery, new.discovery_tag) = (true, Some(entry), tag),
        Err(why) => {
            tracing::debug!(why, name = %remote.name, "discovery of an extension API server could not be read");
            (new.fresh, new.discovery, new.discovery_tag) = (false, None, None);
            return new;
        }
    }
    match v3(&place, remote).await {
        Ok(addresses) => new.v3 = addresses,
        Err(why) => tracing::debug!(why, name = %remote.name, "OpenAPI v3 could not be read"),
    }
    match v2(&place, remote, old).await {
        Ok((part, tag)) => (new.v2, new.v2_tag) = (part, tag),
        Err(why) => tracing::debug!(why, name = %remote.name, "OpenAPI v2 could not be read"),
    }
    new
}

/// One address of a server.
struct Place<'a> {
    link: Arc<Link>,
    address: &'a Address,
}

impl Place<'_> {
    async fn get(&self, path: &str, head: HeaderMap, within: Duration) -> Result<Response<Bytes>, String> {
        let channel = self.link.channel().map_err(|why| why.to_string())?;
        let got = timeout(within, channel.get(self.address, path, head, DOCUMENT_BYTES_MAX)).await;
        got.unwrap_or_else(|_| Err("request timed out".to_owned()))
    }
}

/// The server's entry of discovery: the aggregated form, or the old one where that is all it has.
async fn entry(
    place: &Place<'_>,
    remote: &Remote,
    old: &Documents,
) -> Result<(Value, Option<HeaderValue>), String> {
    let (group, version) = (remote.group.as_str(), remote.version.as_str());
    let mut asked = head("system:kube-aggregator", &[MASTERS])?;
    asked.insert(header::ACCEPT, HeaderValue::from_static(discovery::ACCEPT));
    if let Some(tag) = old.discovery_tag.as_ref().filter(|_| old.discovery.is_some()) {
        asked.insert(header::IF_NONE_MATCH, tag.clone());
    }
    let answer = place.get("/apis", asked, SHORT).await?;
    let text = |name: header::HeaderName| answer.headers().get(name).and_then(|v| v.to_str().ok());
    let aggregated = discovery::is_aggregated(text(header::CONTENT_TYPE).unwrap_or_default());
    match (answer.status(), &old.discovery) {
        (StatusCode::NOT_MODIFIED, Some(entry)) => return Ok((entry.clone(), old.discovery_tag.clone())),
        (StatusCode::SERVICE_UNAVAILABLE, _) => return Err("the server is unavailable".to_owned()),
        (StatusCode::OK, _) if aggregated => {
            let list: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
            let tag = answer.headers().get(header::ETAG).cloned();
            return Ok((discovery::entry_of(&list, group, version), tag));
        }
        _ => {}
    }
    let mut asked = head("system:kube-aggregator", &[])?;
    asked.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let answer = place.get(&format!("/apis/{group}/{version}"), asked, SHORT).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the old form answers {}", answer.status()));
    }
    let list: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
    let entry = discovery::entry_from_list(&list, version);
    Ok((entry.ok_or("the old form contradicts itself")?, None))
}

async fn v3(place: &Place<'_>, remote: &Remote) -> Result<BTreeMap<String, String>, String> {
    let mut asked = head("system:aggregator", &[])?;
    asked.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let answer = place.get("/openapi/v3", asked, LONG).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(BTreeMap::new()),
        other => return Err(other.to_string()),
    }
    let index: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
    Ok(openapi::addresses(&index, &remote.group, &remote.version))
}

type Tagged<T> = (Option<T>, Option<HeaderValue>);

async fn v2(place: &Place<'_>, remote: &Remote, old: &Documents) -> Result<Tagged<Arc<Value>>, String> {
    let mut asked = head("system:aggregator", &[])?;
    asked.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(tag) = old.v2_tag.as_ref().filter(|_| old.v2.is_some()) {
        asked.insert(header::IF_NONE_MATCH, tag.clone());
    }
    let answer = place.get("/openapi/v2", asked, LONG).await?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok((old.v2.clone(), old.v2_tag.clone())),
        StatusCode::NOT_FOUND => return Ok((None, None)),
        other => return Err(other.to_string()),
    }
    let spec: Value = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
    let part = openapi::part_of(&spec, &remote.group, &remote.version);
    // Whoever made something of the old part can keep it.
    let kept = old.v2.clone().filter(|old| **old == part);
    Ok((Some(kept.unwrap_or_else(|| Arc::new(part))), answer.headers().get(header::ETAG).cloned()))
}
