//! Options of delete and deletecollection: the body when there is one, else the query.
//!
//! A body may call itself options of any group and version; anything else is refused with the text of the decoder that
//! upstream keeps for options.

use bytes::Bytes;
use call::DeleteOptions;
use meta::{Codec as _, Status, Str};
use registry::errors;

use crate::http::query::Query;

/// The group and version of a body that says none.
const VERSION: &str = "meta.k8s.io/v1";
/// Kinds that upstream's decoder of options knows in every group and version.
const ANYWHERE: [&str; 7] = [
    "CreateOptions",
    "UpdateOptions",
    "Status",
    "APIVersions",
    "APIGroupList",
    "APIGroup",
    "APIResourceList",
];
/// Kinds that it knows in `meta.k8s.io/v1` only.
const OF_META: [&str; 8] = [
    "Table",
    "TableOptions",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "ListOptions",
    "GetOptions",
    "PatchOptions",
    "WatchEvent",
];

/// Whether a body with this type is read as options of a deletion.
pub(super) fn check_kind(api_version: &str, kind: &str) -> Result<(), Status> {
    if api_version.matches('/').count() > 1 {
        return Err(errors::bad_request(format!("unexpected GroupVersion string: {api_version}")));
    }
    let api_version = if api_version.is_empty() { VERSION } else { api_version };
    if matches!(kind, "" | "DeleteOptions") {
        return Ok(());
    }
    let known = ANYWHERE.contains(&kind) || (api_version == VERSION && OF_META.contains(&kind));
    Err(errors::bad_request(if known {
        format!("converting (v1.{kind}) to (v1.DeleteOptions): unknown conversion")
    } else {
        format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        )
    }))
}

/// The options of a deletion. What the query says does not count beside a body, not even a dry run.
pub(super) fn options(query: &Query, json: &Bytes) -> Result<DeleteOptions, Status> {
    let wanted = if json.is_empty() {
        meta::DeleteOptions {
            grace_period_seconds: query.integer("gracePeriodSeconds").map_err(errors::bad_request)?,
            propagation_policy: query.get("propagationPolicy").map(Str::from),
            orphan_dependents: query.has("orphanDependents").then(|| query.flag("orphanDependents")),
            dry_run: query.all("dryRun").map(Str::from).collect(),
            ..meta::DeleteOptions::default()
        }
    } else {
        let header = meta::read_type_meta(json).map_err(|e| errors::bad_request(e.to_string()))?;
        check_kind(&header.api_version, &header.kind)?;
        meta::DeleteOptions::from_json(json).map_err(|e| errors::bad_request(e.to_string()))?
    };
    registry::delete_options::checked(&wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let unknown = |kind: &str, version: &str| {
            format!(
                "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
            )
        };
        let refused = "DeleteOptions.meta.k8s.io \"\" is invalid:";
        let table = [
            ("", "dryRun=All", String::new()),
            ("{}", "dryRun=x", String::new()),
            (r#"{"kind":"DeleteOptions","apiVersion":"apps/v7"}"#, "", String::new()),
            (r#"{"apiVersion":"a/b/c"}"#, "", "unexpected GroupVersion string: a/b/c".into()),
            (r#"{"kind":"Foo"}"#, "", unknown("Foo", "meta.k8s.io/v1")),
            (r#"{"kind":"ListOptions","apiVersion":"v1"}"#, "", unknown("ListOptions", "v1")),
            (
                r#"{"kind":"Status","apiVersion":"apps/v1"}"#,
                "",
                "converting (v1.Status) to (v1.DeleteOptions): unknown conversion".into(),
            ),
            (
                "[]",
                "",
                "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }".into(),
            ),
            (
                "",
                "propagationPolicy=x&dryRun=y",
                format!("{refused} [propagationPolicy: Unsupported value: \"x\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\", dryRun: Unsupported value: [\"y\"]: supported values: \"All\"]"),
            ),
            (
                r#"{"orphanDependents":true,"propagationPolicy":"Orphan"}"#,
                "",
                format!("{refused} propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set"),
            ),
        ];
        for (body, query, expected) in table {
            let found = options(&Query::parse(query), &Bytes::from(body));
            assert_eq!(
                found.err().map(|s| s.message.to_string()).unwrap_or_default(),
                expected,
                "{body} {query}"
            );
        }
        let dry = |body: &'static str, query: &str| {
            options(&Query::parse(query), &Bytes::from(body)).map(|o| o.dry_run).ok()
        };
        assert_eq!(dry("", "dryRun=All"), Some(call::DryRun::All));
        assert_eq!(dry("{}", "dryRun=All"), Some(call::DryRun::No), "a body is all that counts");
    }
}
