//! GET and LIST.

use bytes::Bytes;
use call::{ListOptions, VersionMatch};
use meta::{FieldError, Status};
use mvcc::{KeyRange, RangeOptions, StoreError};

use crate::errors;
use crate::outcome::Listing;
use crate::paging::Page;
use crate::registry::{Registry, Request};
use crate::selection::Selection;
use crate::served::Served;
use crate::stored::Stored;

/// Keys read at once while a filtered list looks for matches.
const SCAN_KEYS: usize = 4096;

/// A `resourceVersion` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Not given: the newest.
    Unset,
    /// `0`: whatever is at hand.
    Any,
    /// A revision.
    At(u64),
}

impl Version {
    /// Reads the parameter; upstream answers nonsense with a bare 500.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" => Ok(Version::Unset),
            "0" => Ok(Version::Any),
            text => text.parse().map(Version::At).map_err(|_| {
                let why = if text.bytes().all(|b| b.is_ascii_digit()) { "value out of range" } else { "invalid syntax" };
                errors::bare(format!(
                    "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}"
                ))
            }),
        }
    }
}

impl Registry {
    /// One object at its newest state.
    pub(crate) async fn find(&self, served: Served, namespace: &str, name: &str) -> Result<Option<Stored>, Status> {
        let found = self.store.get(&served.key(namespace, name), None).await.map_err(errors::from_store)?;
        Ok(found.kv.map(|kv| Stored::new(served, kv)))
    }

    /// GET.
    pub(crate) async fn get(&self, request: &Request<'_>, version: &str) -> Result<Stored, Status> {
        let key = request.served.key(&request.target.namespace, &request.target.name);
        let wanted = Version::parse(version)?;
        let found = self.store.get(&key, None).await.map_err(errors::from_store)?;
        if let Version::At(wanted) = wanted
            && wanted > found.revision.max(0) as u64
        {
            return Err(errors::too_large_version(wanted, found.revision.max(0) as u64));
        }
        let kv = found.kv.ok_or_else(|| request.not_found())?;
        Ok(Stored::new(request.served, kv))
    }

    /// LIST.
    pub(crate) async fn list(&self, request: &Request<'_>, options: &ListOptions) -> Result<Listing, Status> {
        validate(options, false)?;
        let selection = Selection::parse(&request.served, options)?;
        let namespace = &request.target.namespace;
        let prefix = request.served.prefix(namespace);
        if let Some(name) = selection.name()
            && options.continue_token.is_empty()
            && (!request.served.resource.namespaced || !namespace.is_empty())
        {
            let key = request.served.key(namespace, &name);
            return self.scan(request.served, KeyRange::single(key), prefix, &selection, options).await;
        }
        self.scan(request.served, KeyRange::prefix(prefix.clone()), prefix, &selection, options).await
    }

    async fn scan(
        &self,
        served: Served,
        mut range: KeyRange,
        prefix: Bytes,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<Listing, Status> {
        let version = Version::parse(&options.resource_version)?;
        // A client that takes anything cached gets it whole, as from upstream's watch cache.
        let limit = if version == Version::Any { 0 } else { options.limit.max(0) as usize };
        let mut at = match (version, options.resource_version_match) {
            (Version::At(n), Some(VersionMatch::Exact)) => Some(n as i64),
            (Version::At(n), None) if limit > 0 => Some(n as i64),
            _ => None,
        };
        if !options.continue_token.is_empty() {
            let page = Page::decode(&options.continue_token)?;
            if !matches!(version, Version::Unset | Version::Any) {
                return Err(errors::bad_request("specifying resource version is not allowed when using continue"));
            }
            at = (page.revision > 0).then_some(page.revision);
            let start = [&prefix[..], page.start.as_bytes()].concat();
            range = KeyRange { start: start.into(), end: range.end };
        }
        let mut items = Vec::new();
        let mut listing = Listing {
            served,
            items: Vec::new(),
            revision: 0,
            continue_token: String::new(),
            remaining: None,
        };
        loop {
            let everything = selection.is_everything();
            let chunk = match (limit, everything) {
                (0, true) => 0,
                (limit, true) => limit - items.len(),
                (..) => SCAN_KEYS,
            };
            let options_of_scan = RangeOptions { limit: chunk, at, count: everything && limit > 0 };
            let found = self.store.range(&range, options_of_scan).await;
            let found = found.map_err(|error| self.list_error(error, options, &range, &prefix))?;
            if let (Version::At(wanted), true) = (version, at.is_none())
                && wanted > found.revision.max(0) as u64
            {
                return Err(errors::too_large_version(wanted, found.revision.max(0) as u64));
            }
            at = Some(found.revision);
            listing.revision = found.revision.max(0) as u64;
            let last_of_chunk = found.kvs.last().map(|kv| kv.key.clone());
            let mut cut = None;
            items.reserve(found.kvs.len());
            for (index, kv) in found.kvs.iter().enumerate() {
                let stored = Stored::new(served, kv.clone());
                if !everything && !selection.matches(&served, &**stored.object().map_err(errors::internal)?) {
                    continue;
                }
                items.push(stored);
                if limit > 0 && items.len() == limit {
                    cut = Some((kv.key.clone(), index + 1 < found.kvs.len() || found.more));
                    break;
                }
            }
            if let Some((last, more)) = cut {
                if more {
                    let relative = String::from_utf8_lossy(&last[prefix.len()..]).into_owned();
                    listing.continue_token = Page::after(found.revision, &relative).encode();
                    if everything && found.remaining > 0 {
                        listing.remaining = Some(found.remaining as i64);
                    }
                }
                break;
            }
            match last_of_chunk {
                Some(last) if found.more => range = range.after(&last),
                _ => break,
            }
        }
        listing.items = items;
        Ok(listing)
    }

    /// The 410 of a list at a revision that is gone, with a token to go on inconsistently where there was one.
    fn list_error(&self, error: StoreError, options: &ListOptions, range: &KeyRange, prefix: &Bytes) -> Status {
        match error {
            StoreError::Compacted { .. } if !options.continue_token.is_empty() => {
                let start = String::from_utf8_lossy(&range.start[prefix.len().min(range.start.len())..]);
                let mut status = errors::expired(
                    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
                );
                status.metadata.continue_ = Page { revision: -1, start: start.into_owned() }.encode().into();
                status
            }
            StoreError::Compacted { .. } => {
                errors::expired("The resourceVersion for the provided list is too old.")
            }
            StoreError::FutureRevision { revision } => {
                let wanted = options.resource_version.parse().unwrap_or_default();
                errors::too_large_version(wanted, revision.max(0) as u64)
            }
            other => errors::from_store(other),
        }
    }

    /// Every object of a kind, for code of this server.
    pub async fn all(&self, served: Served, namespace: &str) -> Result<Vec<Stored>, Status> {
        let range = KeyRange::prefix(served.prefix(namespace));
        let found = self.store.range(&range, RangeOptions::default()).await.map_err(errors::from_store)?;
        Ok(found.kvs.into_iter().map(|kv| Stored::new(served, kv)).collect())
    }
}

/// Checks list options against each other (KEP-2340, KEP-3157).
pub(crate) fn validate(options: &ListOptions, watch: bool) -> Result<(), Status> {
    let mut problems = Vec::new();
    let mut forbid = |field: &str, why: &str| problems.push(FieldError::forbidden(field, why));
    if let Some(matching) = options.resource_version_match {
        let field = "resourceVersionMatch";
        if !watch {
            if options.resource_version.is_empty() {
                forbid(field, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !options.continue_token.is_empty() {
                forbid(field, "resourceVersionMatch is forbidden when continue is provided");
            }
            if matching == VersionMatch::Exact && options.resource_version == "0" {
                forbid(field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
        } else if options.send_initial_events.is_none() {
            forbid(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        }
    }
    if let Some(send) = options.send_initial_events {
        let field = "sendInitialEvents";
        if !watch {
            forbid(field, "sendInitialEvents is forbidden for list");
        } else if options.resource_version_match != Some(VersionMatch::NotOlderThan) {
            forbid("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        let _ = send;
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(errors::invalid("meta.k8s.io", "ListOptions", "", problems))
}
