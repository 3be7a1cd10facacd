//! The query options of API calls, already parsed.

use meta::Str;

/// `resourceVersionMatch` of list calls (KEP-2340).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// State at exactly the given revision.
    Exact,
    /// State at the given revision or any newer one.
    NotOlderThan,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    /// Label selector in its string form, empty for everything.
    pub label_selector: Str,
    /// Field selector in its string form, empty for everything.
    pub field_selector: Str,
    /// Revision to list at or to watch from; empty, `0` and a number mean different things (API concepts page).
    pub resource_version: Str,
    /// How `resource_version` is to be taken by a list.
    pub resource_version_match: Option<VersionMatch>,
    /// Page size, 0 for no paging.
    pub limit: i64,
    /// Token of the next page, empty for the first.
    pub continue_token: Str,
    /// Seconds after which the server ends a list or watch.
    pub timeout_seconds: Option<i64>,
    /// Whether a watch wants bookmarks.
    pub allow_watch_bookmarks: bool,
    /// Whether a watch starts with the current state as ADDED events and a bookmark (KEP-3157).
    pub send_initial_events: Option<bool>,
}

/// Whether the request is performed or only checked. Upstream knows one value, `All`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DryRun {
    /// The change is stored.
    #[default]
    No,
    /// Every stage runs, nothing is stored.
    All,
}

/// `fieldValidation` of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are dropped silently.
    Ignore,
    /// They are dropped with a warning. The server's default.
    #[default]
    Warn,
    /// They are a 400.
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteOptions {
    /// Whether to store the result.
    pub dry_run: DryRun,
    /// Name for managedFields, if the client gives one.
    pub field_manager: Str,
    /// Name for managedFields of a client that gives none: its user agent up to the slash.
    pub agent: Str,
    /// What to do about unknown and duplicate fields, if the client says so.
    pub field_validation: Option<FieldValidation>,
    /// Server-side apply: take over fields that another manager owns.
    pub force: bool,
}

impl WriteOptions {
    /// Whose the written fields are in managedFields.
    pub fn manager(&self) -> &Str {
        if self.field_manager.is_empty() { &self.agent } else { &self.field_manager }
    }

    /// What to do about unknown and duplicate fields.
    pub fn validation(&self) -> FieldValidation {
        self.field_validation.unwrap_or_default()
    }
}

/// What a delete requires of the object's current state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The uid that the object must have.
    pub uid: Option<Str>,
    /// The resourceVersion that the object must have.
    pub resource_version: Option<Str>,
}

/// Options of delete and deletecollection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteOptions {
    /// Whether to store the result.
    pub dry_run: DryRun,
    /// Seconds to end gracefully, 0 at once, `None` the kind's default.
    pub grace_period_seconds: Option<i64>,
    /// `Orphan`, `Background` or `Foreground`; empty for the kind's default.
    pub propagation_policy: Str,
    /// The deprecated form of the propagation policy.
    pub orphan_dependents: Option<bool>,
    /// Required current state.
    pub precondition: Precondition,
    /// Delete even when the stored object cannot be read (KEP-3926).
    pub ignore_store_read_error: bool,
}
