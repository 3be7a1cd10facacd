//! One operation of one path, in a form from which both OpenAPI versions are written, and the parameters there are.

use std::borrow::Cow;

/// Group, version and kind.
pub type Gvk<'a> = (&'a str, &'a str, &'a str);

/// What clients send and get in most operations.
pub const OBJECT_MEDIA: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What lists and watches answer.
pub const LIST_MEDIA: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
/// The kinds of patches.
pub const PATCH_MEDIA: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// What a log may be asked as.
pub const LOG_MEDIA: &[&str] =
    &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// Anything.
pub const ANY_MEDIA: &[&str] = &["*/*"];

/// One parameter outside the body.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// `path` or `query`.
    pub place: &'static str,
    /// `string`, `boolean` or `integer`.
    pub ty: &'static str,
    /// What it is for.
    pub about: Cow<'static, str>,
}

/// The body of a request.
pub struct Body {
    /// Content types.
    pub media: &'static [&'static str],
    /// Its schema.
    pub model: String,
    /// It must be there.
    pub required: bool,
}

/// See the module.
pub struct Operation {
    /// HTTP method in small letters.
    pub method: &'static str,
    /// Unique name, which client generators turn into a function's.
    pub id: String,
    /// What it does.
    pub about: String,
    /// Group and version that it belongs to.
    pub tag: String,
    /// The API's verb; empty for documents that are no resources.
    pub action: &'static str,
    /// The kind that it is about.
    pub kind: Option<(String, String, String)>,
    /// Parameters, sorted by name.
    pub parameters: Vec<Parameter>,
    /// Body, if one is taken.
    pub body: Option<Body>,
    /// What version 2 says that it consumes.
    pub consumes: &'static [&'static str],
    /// What it answers.
    pub produces: &'static [&'static str],
    /// Codes of success.
    pub codes: &'static [&'static str],
    /// Schema of the answer; `None` for text.
    pub answer: Option<String>,
}

/// A path and what can be done there.
pub struct Path {
    /// With `{namespace}` and `{name}`.
    pub path: String,
    /// By method.
    pub operations: Vec<Operation>,
}

impl Path {
    /// The parameters that all operations share; they are told once for the path.
    pub fn shared(&self) -> Vec<&Parameter> {
        let Some((first, rest)) = self.operations.split_first() else { return Vec::new() };
        first.parameters.iter().filter(|p| rest.iter().all(|o| o.parameters.contains(p))).collect()
    }
}

/// The text of a code.
pub fn code_text(code: &str) -> &'static str {
    match code {
        "201" => "Created",
        "202" => "Accepted",
        "401" => "Unauthorized",
        _ => "OK",
    }
}

const fn query(name: &'static str, ty: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: "query", ty, about: Cow::Borrowed(about) }
}

/// The namespace in the path.
pub fn namespace() -> Parameter {
    Parameter { name: "namespace", place: "path", ty: "string", about: "Namespace of the object.".into() }
}

/// The name in the path.
pub fn name(kind: &str) -> Parameter {
    Parameter { name: "name", place: "path", ty: "string", about: format!("Name of the {kind}.").into() }
}

/// The rest of a proxied path.
pub fn proxied_path() -> Parameter {
    Parameter { name: "path", place: "path", ty: "string", about: "Path to ask the backend for.".into() }
}

/// `pretty`.
pub const PRETTY: Parameter =
    query("pretty", "string", "Whether to indent the answer; browsers, curl and wget get that by default.");
const DRY_RUN: Parameter = query(
    "dryRun",
    "string",
    "`All` goes through every stage of the request but the last, and stores nothing.",
);
const MANAGER: Parameter = query(
    "fieldManager",
    "string",
    "Who makes the change, for managedFields; at most 128 printable characters.",
);
const PATCH_MANAGER: Parameter = query(
    "fieldManager",
    "string",
    "Who makes the change, for managedFields; at most 128 printable characters. An apply must name it.",
);
const VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What happens to unknown and duplicate fields: `Strict` refuses them, `Warn` (the default) drops them with a \
     warning, `Ignore` drops them silently.",
);
const CONTINUE: Parameter = query(
    "continue",
    "string",
    "Where to go on: `metadata.continue` of the page before. Expires with its snapshot.",
);
const FIELDS: Parameter = query("fieldSelector", "string", "Only objects whose fields match.");
const LABELS: Parameter = query("labelSelector", "string", "Only objects whose labels match.");
const LIMIT: Parameter = query(
    "limit",
    "integer",
    "Most items on one page; the rest is had with `continue`, from the same snapshot.",
);
/// `resourceVersion`.
pub const VERSION: Parameter = query("resourceVersion", "string", "How fresh the answer must be.");
const MATCH: Parameter =
    query("resourceVersionMatch", "string", "`Exact` or `NotOlderThan`: how `resourceVersion` is meant.");
const INITIAL: Parameter = query(
    "sendInitialEvents",
    "boolean",
    "Starts a watch with what there is, followed by a bookmark that carries `k8s.io/initial-events-end`.",
);
const SHARD: Parameter = query("shardSelector", "string", "Only objects of one shard.");
const SECONDS: Parameter =
    query("timeoutSeconds", "integer", "Ends the call after this time, however busy it is.");

/// Parameters of lists and watches.
pub const LIST: [Parameter; 11] = [
    query("allowWatchBookmarks", "boolean", "The watch may send bookmarks."),
    CONTINUE,
    FIELDS,
    LABELS,
    LIMIT,
    VERSION,
    MATCH,
    INITIAL,
    SHARD,
    SECONDS,
    query("watch", "boolean", "Follow the changes instead of listing."),
];

/// Parameters of creations and updates.
pub const WRITE: [Parameter; 3] = [DRY_RUN, MANAGER, VALIDATION];

/// Parameters of patches.
pub const PATCH: [Parameter; 4] = [
    DRY_RUN,
    PATCH_MANAGER,
    VALIDATION,
    query("force", "boolean", "An apply takes over fields that others own."),
];

/// Parameters of a deletion.
pub const DELETE: [Parameter; 5] = [
    DRY_RUN,
    query("gracePeriodSeconds", "integer", "Time to end by itself; 0 deletes at once."),
    query(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Removes an object that can no longer be read from the store, past finalizers and preconditions.",
    ),
    query("orphanDependents", "boolean", "Deprecated: say `propagationPolicy`."),
    query(
        "propagationPolicy",
        "string",
        "What becomes of dependents: `Orphan`, `Background` or `Foreground`.",
    ),
];

/// Parameters that deleting a collection takes besides those of a deletion.
pub const DELETE_MANY: [Parameter; 9] =
    [CONTINUE, FIELDS, LABELS, LIMIT, VERSION, MATCH, INITIAL, SHARD, SECONDS];

/// Parameters of a log.
pub const LOG: [Parameter; 9] = [
    query("container", "string", "Container; may be left out when the pod has one."),
    query("follow", "boolean", "Go on as the log grows."),
    query("insecureSkipTLSVerifyBackend", "boolean", "Do not check the kubelet's certificate."),
    query("limitBytes", "integer", "End after about this many bytes."),
    query("previous", "boolean", "The container before the last restart."),
    query("sinceSeconds", "integer", "Only lines of the last seconds."),
    query("stream", "string", "`All`, `Stdout` or `Stderr`."),
    query("tailLines", "integer", "Only the last lines."),
    query("timestamps", "boolean", "Begin each line with its time."),
];

/// Parameters of connections, by the kind of their options.
pub fn connect(kind: &str) -> Vec<Parameter> {
    let mut found = match kind {
        "PodExecOptions" | "PodAttachOptions" => vec![
            query("container", "string", "Container; may be left out when the pod has one."),
            query("stderr", "boolean", "Pass on its errors."),
            query("stdin", "boolean", "Pass on input to it."),
            query("stdout", "boolean", "Pass on its output."),
            query("tty", "boolean", "It has a terminal."),
        ],
        "PodPortForwardOptions" => vec![query("ports", "integer", "Ports to forward to.")],
        _ => vec![query("path", "string", "Path to ask the backend for.")],
    };
    if kind == "PodExecOptions" {
        found.push(query("command", "string", "The command and its arguments, without a shell."));
    }
    found
}
