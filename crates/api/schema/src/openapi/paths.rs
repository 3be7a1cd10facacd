//! The operations of one resource and its subresources, and of the documents that describe groups.

use super::operation::{
    ANY_MEDIA, Body, DELETE, DELETE_MANY, Gvk, LIST, LIST_MEDIA, LOG, LOG_MEDIA, OBJECT_MEDIA, Operation,
    PATCH, PATCH_MEDIA, PRETTY, Parameter, Path, WRITE, connect, name, namespace, proxied_path,
};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// A resource as its paths need to know it. Built-in and custom resources are described alike.
pub struct Described<'a> {
    /// Group, version and kind.
    pub kind: Gvk<'a>,
    /// Schema of its objects.
    pub model: String,
    /// Schema of its lists.
    pub list_model: String,
    /// Name in paths.
    pub plural: &'a str,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of the resource.
    pub verbs: &'a [&'a str],
    /// Subresources.
    pub subresources: Vec<DescribedSub<'a>>,
}

/// A subresource.
pub struct DescribedSub<'a> {
    /// Name in paths.
    pub name: &'a str,
    /// The kind that it takes and gives.
    pub kind: Gvk<'a>,
    /// Its schema.
    pub model: String,
    /// Verbs.
    pub verbs: &'a [&'a str],
}

/// `rbac.authorization.k8s.io` as `rbacAuthorization`, and the core group as `core`.
fn group_word(group: &str) -> String {
    if group.is_empty() {
        return "core".into();
    }
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut parts = short.split('.');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |word, part| word + &title(part))
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// `/api/v1` or `/apis/apps/v1`.
pub fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// What makes an operation of a resource.
struct Maker<'a> {
    group: String,
    version: &'a str,
    tag: String,
    kind: Gvk<'a>,
    namespaced: bool,
}

/// The parts in which operations differ.
struct Act<'a> {
    method: &'static str,
    action: &'static str,
    /// First word of the id.
    verb: &'a str,
    /// What follows the group and version in the id.
    what: String,
    about: String,
    own: &'a [Parameter],
    codes: &'static [&'static str],
    answer: Option<String>,
    body: Option<Body>,
}

impl<'a> Maker<'a> {
    fn new(kind: Gvk<'a>, namespaced: bool) -> Self {
        let word = group_word(kind.0);
        let tag = format!("{word}_{}", kind.1);
        Maker { group: title(&word), version: kind.1, tag, kind, namespaced }
    }

    fn scope(&self) -> &'static str {
        if self.namespaced { "Namespaced" } else { "" }
    }

    /// `path` are the parameters in the path.
    fn operation(&self, act: Act<'_>, path: &[Parameter]) -> Operation {
        let mut parameters: Vec<Parameter> = path.iter().chain(act.own).cloned().collect();
        if act.action != "connect" {
            parameters.push(PRETTY);
        }
        parameters.sort();
        let produces = match act.action {
            "list" | "watch" | "watchlist" => LIST_MEDIA,
            "connect" => ANY_MEDIA,
            _ => OBJECT_MEDIA,
        };
        let (group, version, kind) = self.kind;
        Operation {
            method: act.method,
            id: format!("{}{}{}{}", act.verb, self.group, title(self.version), act.what),
            about: act.about,
            tag: self.tag.clone(),
            action: act.action,
            kind: Some((group.into(), version.into(), kind.into())),
            parameters,
            consumes: if act.method == "patch" && act.action == "patch" { PATCH_MEDIA } else { ANY_MEDIA },
            produces,
            codes: act.codes,
            answer: act.answer,
            body: act.body,
        }
    }
}

fn body(model: &str) -> Option<Body> {
    Some(Body { media: ANY_MEDIA, model: model.to_owned(), required: true })
}

fn delete_body() -> Option<Body> {
    Some(Body { media: ANY_MEDIA, model: format!("{META}DeleteOptions"), required: false })
}

fn patch_body() -> Option<Body> {
    Some(Body { media: PATCH_MEDIA, model: format!("{META}Patch"), required: true })
}

/// All paths of a resource.
pub fn of(resource: &Described<'_>) -> Vec<Path> {
    let (group, version, kind) = resource.kind;
    let maker = Maker::new(resource.kind, resource.namespaced);
    let root = root(group, version);
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", resource.plural);
    let outer: Vec<Parameter> = resource.namespaced.then(namespace).into_iter().collect();
    let inner: Vec<Parameter> = outer.iter().cloned().chain([name(kind)]).collect();
    let mut paths = vec![
        Path { path: collection.clone(), operations: of_collection(resource, &maker, &outer) },
        Path { path: format!("{collection}/{{name}}"), operations: of_item(resource, &maker, &inner) },
    ];
    if resource.namespaced && resource.verbs.contains(&"list") {
        let operations = vec![listing(resource, &maker, format!("{kind}ForAllNamespaces"), &[])];
        paths.push(Path { path: format!("{root}/{}", resource.plural), operations });
    }
    if resource.verbs.contains(&"watch") {
        watches(resource, &maker, &root, scope, [&outer, &inner], &mut paths);
    }
    for sub in &resource.subresources {
        let tail = format!("{kind}{}", title(sub.name));
        of_subresource(resource, sub, &tail, &format!("{collection}/{{name}}"), &outer, &mut paths);
    }
    paths.retain(|path| !path.operations.is_empty());
    paths
}

fn listing(resource: &Described<'_>, maker: &Maker<'_>, what: String, path: &[Parameter]) -> Operation {
    let act = Act {
        method: "get",
        action: "list",
        verb: "list",
        what,
        about: format!("List or watch objects of kind {}.", resource.kind.2),
        own: &LIST,
        codes: &["200"],
        answer: Some(resource.list_model.clone()),
        body: None,
    };
    maker.operation(act, path)
}

fn of_collection(resource: &Described<'_>, maker: &Maker<'_>, path: &[Parameter]) -> Vec<Operation> {
    let kind = resource.kind.2;
    let what = || format!("{}{kind}", maker.scope());
    let mut found = Vec::new();
    if resource.verbs.contains(&"list") {
        found.push(listing(resource, maker, what(), path));
    }
    if resource.verbs.contains(&"create") {
        let act = Act {
            method: "post",
            action: "post",
            verb: "create",
            what: what(),
            about: format!("Create a {kind}."),
            own: &WRITE,
            codes: &["200", "201", "202"],
            answer: Some(resource.model.clone()),
            body: body(&resource.model),
        };
        found.push(maker.operation(act, path));
    }
    if resource.verbs.contains(&"deletecollection") {
        let own: Vec<Parameter> = DELETE.into_iter().chain(DELETE_MANY).collect();
        let act = Act {
            method: "delete",
            action: "deletecollection",
            verb: "delete",
            what: format!("Collection{}", what()),
            about: format!("Delete all selected objects of kind {kind}."),
            own: &own,
            codes: &["200"],
            answer: Some(format!("{META}Status")),
            body: delete_body(),
        };
        found.push(maker.operation(act, path));
    }
    found
}

fn of_item(resource: &Described<'_>, maker: &Maker<'_>, path: &[Parameter]) -> Vec<Operation> {
    let kind = resource.kind.2;
    let what = format!("{}{kind}", maker.scope());
    let mut found = object_operations(maker, kind, &what, &resource.model, resource.verbs, path);
    if resource.verbs.contains(&"delete") {
        let answer =
            if answers_deleted(resource.kind) { resource.model.clone() } else { format!("{META}Status") };
        let act = Act {
            method: "delete",
            action: "delete",
            verb: "delete",
            what,
            about: format!("Delete a {kind}."),
            own: &DELETE,
            codes: &["200", "202"],
            answer: Some(answer),
            body: delete_body(),
        };
        found.push(maker.operation(act, path));
    }
    found
}

/// Whether the deletion of this kind is declared to answer the object rather than a Status.
fn answers_deleted((group, _, kind): Gvk<'_>) -> bool {
    match group {
        "" => matches!(
            kind,
            "PersistentVolume"
                | "PersistentVolumeClaim"
                | "Pod"
                | "PodTemplate"
                | "ResourceQuota"
                | "Service"
                | "ServiceAccount"
        ),
        "storage.k8s.io" => kind != "CSIStorageCapacity",
        "resource.k8s.io" => true,
        _ => false,
    }
}

/// Reading, replacing and patching.
fn object_operations(
    maker: &Maker<'_>,
    kind: &str,
    what: &str,
    model: &str,
    verbs: &[&str],
    path: &[Parameter],
) -> Vec<Operation> {
    let mut found = Vec::new();
    let mut push = |method, action, verb, about, own: &[Parameter], codes, body| {
        let (what, answer) = (what.to_owned(), Some(model.to_owned()));
        let act = Act { method, action, verb, what, about, own, codes, answer, body };
        found.push(maker.operation(act, path));
    };
    if verbs.contains(&"get") {
        push("get", "get", "read", format!("Read a {kind}."), &[], &["200"], None);
    }
    if verbs.contains(&"update") {
        push("put", "put", "replace", format!("Replace a {kind}."), &WRITE, &["200", "201"], body(model));
    }
    if verbs.contains(&"patch") {
        let about = format!("Change part of a {kind}.");
        push("patch", "patch", "patch", about, &PATCH, &["200", "201"], patch_body());
    }
    found
}

fn watches(
    resource: &Described<'_>,
    maker: &Maker<'_>,
    root: &str,
    scope: &str,
    path: [&[Parameter]; 2],
    paths: &mut Vec<Path>,
) {
    let (kind, plural) = (resource.kind.2, resource.plural);
    let watch = |action, what: String, path: &[Parameter]| {
        let act = Act {
            method: "get",
            action,
            verb: "watch",
            what,
            about: format!("Deprecated: list {kind} with the parameter `watch`."),
            own: &LIST,
            codes: &["200"],
            answer: Some(format!("{META}WatchEvent")),
            body: None,
        };
        vec![maker.operation(act, path)]
    };
    let scoped = maker.scope();
    if resource.namespaced {
        let operations = watch("watchlist", format!("{kind}ListForAllNamespaces"), &[]);
        paths.push(Path { path: format!("{root}/watch/{plural}"), operations });
    }
    let operations = watch("watchlist", format!("{scoped}{kind}List"), path[0]);
    paths.push(Path { path: format!("{root}/watch{scope}/{plural}"), operations });
    if resource.verbs.contains(&"get") {
        let operations = watch("watch", format!("{scoped}{kind}"), path[1]);
        paths.push(Path { path: format!("{root}/watch{scope}/{plural}/{{name}}"), operations });
    }
}

fn of_subresource(
    resource: &Described<'_>,
    sub: &DescribedSub<'_>,
    tail: &str,
    item: &str,
    outer: &[Parameter],
    paths: &mut Vec<Path>,
) {
    let (owner, kind) = (resource.kind.2, sub.kind.2);
    let mut maker = Maker::new(resource.kind, resource.namespaced);
    maker.kind = sub.kind;
    let path: Vec<Parameter> = outer.iter().cloned().chain([name(kind)]).collect();
    let what = format!("{}{tail}", maker.scope());
    let base = format!("{item}/{}", sub.name);
    if kind.ends_with("Options") {
        paths.push(Path { path: base.clone(), operations: connections(&maker, sub, owner, &what, &path) });
        if sub.name == "proxy" {
            let path: Vec<Parameter> = path.iter().cloned().chain([proxied_path()]).collect();
            let operations = connections(&maker, sub, owner, &format!("{what}WithPath"), &path);
            paths.push(Path { path: format!("{base}/{{path}}"), operations });
        }
        return;
    }
    let about = format!("{} of a {owner}", sub.name);
    if sub.name == "log" {
        let act = Act {
            method: "get",
            action: "get",
            verb: "read",
            what,
            about: format!("Read the {about}."),
            own: &LOG,
            codes: &["200"],
            answer: None,
            body: None,
        };
        let mut log = maker.operation(act, &path);
        log.produces = LOG_MEDIA;
        paths.push(Path { path: base, operations: vec![log] });
        return;
    }
    let mut operations = object_operations(&maker, &about, &what, &sub.model, sub.verbs, &path);
    if sub.verbs.contains(&"create") {
        let act = Act {
            method: "post",
            action: "post",
            verb: "create",
            what,
            about: format!("Create the {about}."),
            own: &WRITE,
            codes: &["200", "201", "202"],
            answer: Some(sub.model.clone()),
            body: body(&sub.model),
        };
        operations.push(maker.operation(act, &path));
    }
    paths.push(Path { path: base, operations });
}

fn connections(
    maker: &Maker<'_>,
    sub: &DescribedSub<'_>,
    owner: &str,
    what: &str,
    path: &[Parameter],
) -> Vec<Operation> {
    let methods: &[&'static str] = if sub.name == "proxy" {
        &["get", "put", "post", "delete", "options", "head", "patch"]
    } else {
        &["get", "post"]
    };
    let own = connect(sub.kind.2);
    let operation = |method: &'static str| {
        let act = Act {
            method,
            action: "connect",
            verb: "connect",
            what: format!("{}{what}", title(method)),
            about: format!("Connect to the {} of a {owner}.", sub.name),
            own: &own,
            codes: &["200"],
            answer: None,
            body: None,
        };
        maker.operation(act, path)
    };
    methods.iter().map(|method| operation(method)).collect()
}

/// A path that answers one fixed document.
fn document(
    path: String,
    id: String,
    tag: String,
    about: String,
    model: Option<&str>,
    media: &'static [&'static str],
) -> Path {
    let operation = Operation {
        method: "get",
        id,
        about,
        tag,
        action: "",
        kind: None,
        parameters: Vec::new(),
        body: None,
        consumes: if model.is_some() { media } else { &[] },
        produces: media,
        codes: &["200"],
        answer: model.map(str::to_owned),
    };
    Path { path, operations: vec![operation] }
}

/// The list of a version's resources.
pub fn of_version(group: &str, version: &str) -> Path {
    let word = group_word(group);
    let id = format!("get{}{}APIResources", title(&word), title(version));
    let (tag, about) = (format!("{word}_{version}"), "List the resources of this version.".to_owned());
    document(
        format!("{}/", root(group, version)),
        id,
        tag,
        about,
        Some(&format!("{META}APIResourceList")),
        OBJECT_MEDIA,
    )
}

/// The description of a group.
pub fn of_group(group: &str) -> Path {
    let word = group_word(group);
    let (id, about) = (format!("get{}APIGroup", title(&word)), "Describe this group.".to_owned());
    document(format!("/apis/{group}/"), id, word, about, Some(&format!("{META}APIGroup")), OBJECT_MEDIA)
}

/// The documents that are about no group: what the path below `/openapi/v3` is, and the path.
pub fn of_server() -> Vec<(&'static str, Path)> {
    let meta = |name: &str| Some(format!("{META}{name}"));
    let entry = |at, path: &str, id: &str, tag: &str, about: &str, model: Option<String>, media| {
        (at, document(path.into(), id.into(), tag.into(), about.into(), model.as_deref(), media))
    };
    const JSON: &[&str] = &["application/json"];
    const KEYS: &[&str] = &["application/jwk-set+json"];
    let info = Some("io.k8s.apimachinery.pkg.version.Info".to_owned());
    vec![
        entry(
            "api",
            "/api/",
            "getCoreAPIVersions",
            "core",
            "List the versions of the core group.",
            meta("APIVersions"),
            OBJECT_MEDIA,
        ),
        entry(
            "apis",
            "/apis/",
            "getAPIVersions",
            "apis",
            "List the groups.",
            meta("APIGroupList"),
            OBJECT_MEDIA,
        ),
        entry("version", "/version/", "getCodeVersion", "version", "Tell the server's version.", info, JSON),
        entry(
            ".well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "Describe the issuer of ServiceAccount tokens (OpenID Discovery).",
            None,
            JSON,
        ),
        entry(
            "openid/v1/jwks",
            "/openid/v1/jwks/",
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "The keys with which ServiceAccount tokens are checked.",
            None,
            KEYS,
        ),
    ]
}
