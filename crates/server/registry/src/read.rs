//! GET and LIST.

use std::sync::Arc;

use bytes::Bytes;
use call::{ListOptions, VersionMatch};
use feed::{Entry, FeedError, Measured, ReadAt, Snapshot};
use meta::{BadValue, FieldError, FieldErrorKind, Object, Status};
use mvcc::{KeyRange, RangeOptions, Revision};

use crate::conversion::{bring, bring_one};
use crate::errors;
use crate::outcome::Listing;
use crate::paging::Page;
use crate::registry::{Registry, Request};
use crate::selection::Selection;
use crate::served::Served;
use crate::stored::Stored;

/// Keys read at once while a filtered list of the past looks for matches.
const SCAN_KEYS: usize = 4096;

/// A `resourceVersion` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Not given: the newest.
    Unset,
    /// `0`: whatever is at hand.
    Any,
    /// A revision.
    At(Revision),
}

impl Version {
    /// Reads the parameter; upstream answers nonsense with a bare 500.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" => Ok(Version::Unset),
            text => match text.parse::<u64>() {
                Ok(0) => Ok(Version::Any),
                Ok(n) if !text.starts_with('+') => {
                    Ok(Version::At(Revision::try_from(n).unwrap_or(Revision::MAX)))
                }
                _ => {
                    let digits = text.bytes().all(|b| b.is_ascii_digit());
                    let why = if digits { "value out of range" } else { "invalid syntax" };
                    Err(errors::bare(format!(
                        "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}"
                    )))
                }
            },
        }
    }

    /// How new a cache must be for it.
    pub(crate) fn read_at(self) -> ReadAt {
        match self {
            Version::Unset => ReadAt::Latest,
            Version::Any => ReadAt::Any,
            Version::At(revision) => ReadAt::AtLeast(revision),
        }
    }
}

/// What a feed's refusal of a read means to a client.
pub(crate) fn from_feed(error: FeedError) -> Status {
    match error {
        FeedError::Gone { .. } => errors::expired("The resourceVersion for the provided list is too old."),
        FeedError::TooLarge { requested, current } => {
            errors::too_large_version(requested.max(0) as u64, current.max(0) as u64)
        }
        FeedError::Store(error) => errors::from_store(error),
        FeedError::Slow | FeedError::Interrupted => errors::expired(error.to_string()),
        FeedError::NoIndex(_) => errors::internal(error),
    }
}

/// What is not there because the store could not read it is an error, not an absence.
fn readable_one(snapshot: &Snapshot<dyn Object>, key: Bytes) -> Result<(), Status> {
    match snapshot.unreadable(&KeyRange::single(key)) {
        Some((_, why)) => Err(errors::internal(why)),
        None => Ok(()),
    }
}

impl Registry {
    /// The newest state of a kind.
    pub async fn newest(&self, served: &Served) -> Result<Snapshot<dyn Object>, Status> {
        self.feeds.of(served)?.snapshot(ReadAt::Latest).await.map_err(from_feed)
    }

    /// One object at its newest state.
    pub async fn find_object(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Stored>, Status> {
        let snapshot = self.newest(served).await?;
        let entry = snapshot.get(&served.key(namespace, name)).cloned();
        match entry {
            Some(entry) => Ok(Some(bring_one(served, Stored::entry(served, entry)).await?)),
            None => readable_one(&snapshot, served.key(namespace, name)).map(|()| None),
        }
    }

    /// GET.
    pub(crate) async fn get(&self, request: &Request<'_>, version: &str) -> Result<Stored, Status> {
        let served = request.served;
        let at = Version::parse(version)?.read_at();
        let snapshot = self.feeds.of(served)?.snapshot(at).await.map_err(from_feed)?;
        let key = served.key(&request.target.namespace, &request.target.name);
        let Some(entry) = snapshot.get(&key).cloned() else {
            readable_one(&snapshot, key)?;
            return Err(request.not_found());
        };
        bring_one(served, Stored::entry(served, entry)).await
    }

    /// LIST.
    pub(crate) async fn list(&self, request: &Request<'_>, options: &ListOptions) -> Result<Listing, Status> {
        validate(options, false)?;
        let served = request.served;
        let selection = Selection::parse(served, options)?;
        let namespace = &request.target.namespace;
        let prefix = served.prefix(namespace);
        let mut range = KeyRange::prefix(prefix.clone());
        let page = match options.continue_token.as_str() {
            "" => None,
            token => Some(Page::decode(token)?),
        };
        if page.is_some() && !matches!(options.resource_version.as_str(), "" | "0") {
            return Err(errors::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let version = Version::parse(&options.resource_version).map_err(|refused| {
            errors::bad_request(format!("invalid resource version: {}", refused.message))
        })?;
        // A client that takes anything cached gets all of it, as from upstream's watch cache.
        let limit = if version == Version::Any { 0 } else { options.limit.max(0) as usize };
        let mut exact = match (version, options.resource_version_match) {
            (Version::At(n), Some(VersionMatch::Exact)) => Some(n),
            (Version::At(n), None) if limit > 0 => Some(n),
            _ => None,
        };
        if let Some(page) = page {
            exact = (page.revision > 0).then_some(page.revision);
            range.start = [&prefix[..], page.start.as_bytes()].concat().into();
        } else if let Some(name) = selection.name()
            && (!served.resource().namespaced || !namespace.is_empty())
        {
            range = KeyRange::single(served.key(namespace, &name));
        }
        let waits = selection.waits_for_conversion();
        let mut sink = Sink::new(served, &selection, if waits { 0 } else { limit });
        let feed = self.feeds.of(served)?;
        if let Some((key, why)) = feed.snapshot_now().unreadable(&range) {
            let key = String::from_utf8_lossy(key);
            return Err(errors::internal(format!("unable to transform key {key:?}: {why}")));
        }
        let revision = match exact {
            None => {
                let snapshot = feed.snapshot(version.read_at()).await;
                if version == Version::Unset {
                    feed.measured().consistent_read(snapshot.is_ok());
                }
                let snapshot = snapshot.map_err(from_feed)?;
                sink.take(snapshot.range(&range));
                if let Some(last) = sink.cut.clone().filter(|_| selection.is_everything()) {
                    sink.remaining = snapshot.range(&range.after(&last)).count() as u64;
                }
                snapshot.revision
            }
            Some(at) => {
                let mut rest = range.clone();
                loop {
                    let chunk = if selection.is_everything() { limit } else { SCAN_KEYS };
                    let page = feed.list_at(at, &rest, chunk).await;
                    let page = page.map_err(|error| too_old(error, options, &range, &prefix))?;
                    sink.from_history |= page.from_history;
                    sink.take(page.entries.iter());
                    match page.entries.last() {
                        Some(last) if page.remaining > 0 && sink.cut.is_none() => {
                            rest = rest.after(last.key())
                        }
                        _ => {
                            if sink.cut.is_some() {
                                sink.more |= page.remaining > 0;
                                sink.remaining = page.remaining;
                            }
                            break at;
                        }
                    }
                }
            }
        };
        let mut items = bring(served, std::mem::take(&mut sink.items)).await?;
        if waits {
            items.retain(|item| selection.matches_converted(served, &**item.object()));
            if limit > 0 && items.len() > limit {
                items.truncate(limit);
                sink.cut = items.last().map(|last| last.key().clone());
                sink.more = true;
            }
        }
        sink.tell(feed.measured(), items.len());
        let mut listing = Listing {
            served: served.clone(),
            items,
            revision: revision.max(0) as u64,
            continue_token: String::new(),
            remaining: None,
        };
        if let Some(last) = sink.cut.filter(|_| sink.more) {
            let relative = String::from_utf8_lossy(&last[prefix.len()..]).into_owned();
            listing.continue_token = Page::after(revision, &relative).encode();
            listing.remaining =
                (selection.is_everything() && sink.remaining > 0).then_some(sink.remaining as i64);
        }
        Ok(listing)
    }

    /// Every object of a kind, for code of this server.
    pub async fn all(&self, served: &Served, namespace: &str) -> Result<Vec<Stored>, Status> {
        let range = KeyRange::prefix(served.prefix(namespace));
        let snapshot = self.newest(served).await?;
        Ok(snapshot.range(&range).map(|entry| Stored::entry(served, entry.clone())).collect())
    }

    /// Whether the store holds history at a revision.
    pub async fn readable(&self, at: Revision) -> bool {
        let range = KeyRange::single(Bytes::from_static(b"\0"));
        self.store.range(&range, RangeOptions { at: Some(at), ..RangeOptions::default() }).await.is_ok()
    }
}

/// Collects the members of a page.
struct Sink<'a> {
    served: &'a Served,
    selection: &'a Selection,
    limit: usize,
    items: Vec<Stored>,
    /// Key of the last member, once the page is full.
    cut: Option<Bytes>,
    /// Whether anything follows the full page.
    more: bool,
    remaining: u64,
    /// Objects that were looked at.
    seen: usize,
    /// Whether any of them came from the store's history.
    from_history: bool,
}

impl<'a> Sink<'a> {
    fn new(served: &'a Served, selection: &'a Selection, limit: usize) -> Self {
        Sink {
            served,
            selection,
            limit,
            items: Vec::new(),
            cut: None,
            more: false,
            remaining: 0,
            seen: 0,
            from_history: false,
        }
    }

    /// Counts the list, of which so many are returned.
    fn tell(&self, measured: &Measured, returned: usize) {
        match self.from_history {
            false => measured.listed(self.seen, returned),
            true => {
                let evaluated = if self.selection.is_everything() { 0 } else { self.seen };
                measured.listed_from_store(self.seen, evaluated, returned);
            }
        }
    }

    fn take<'e>(&mut self, entries: impl Iterator<Item = &'e Arc<Entry<dyn Object>>>) {
        for entry in entries {
            if self.cut.is_some() {
                self.more = true;
                return;
            }
            self.seen += 1;
            if !self.selection.matches(self.served, &**entry.object()) {
                continue;
            }
            self.items.push(Stored::entry(self.served, entry.clone()));
            if self.limit > 0 && self.items.len() == self.limit {
                self.cut = Some(entry.key().clone());
            }
        }
    }
}

/// The 410 of a list at a revision that is gone, with a token to go on inconsistently where there was one.
fn too_old(error: FeedError, options: &ListOptions, range: &KeyRange, prefix: &Bytes) -> Status {
    if !matches!(error, FeedError::Gone { .. }) || options.continue_token.is_empty() {
        return from_feed(error);
    }
    let start = String::from_utf8_lossy(&range.start[prefix.len().min(range.start.len())..]);
    let mut status = errors::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.metadata.continue_ = Page { revision: -1, start: start.into_owned() }.encode().into();
    status
}

/// Checks list options against each other (KEP-2340, KEP-3157).
pub(crate) fn validate(options: &ListOptions, watch: bool) -> Result<(), Status> {
    let mut problems = Vec::new();
    let mut forbid = |field: &str, why: &str| {
        problems.push(FieldError {
            kind: FieldErrorKind::Forbidden,
            field: field.into(),
            value: BadValue::Omitted,
            detail: why.into(),
        });
    };
    let matching = "resourceVersionMatch";
    match (options.resource_version_match, watch) {
        (Some(found), false) => {
            if options.resource_version.is_empty() {
                forbid(matching, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !options.continue_token.is_empty() {
                forbid(matching, "resourceVersionMatch is forbidden when continue is provided");
            }
            if found == VersionMatch::Exact && options.resource_version == "0" {
                forbid(matching, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
        }
        (Some(_), true) if options.send_initial_events.is_none() => {
            forbid(
                matching,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        _ => {}
    }
    match (options.send_initial_events, watch) {
        (Some(_), false) => forbid("sendInitialEvents", "sendInitialEvents is forbidden for list"),
        (Some(_), true) if options.resource_version_match != Some(VersionMatch::NotOlderThan) => {
            forbid(matching, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        _ => {}
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(errors::invalid("meta.k8s.io", "ListOptions", "", problems))
}
