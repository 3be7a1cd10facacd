//! Requests on resources: from path, parameters and body to a call, and to the registry.

use authz::Authorized;
use bytes::{Bytes, BytesMut};
use call::{Action, Call, PatchKind, Target};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use meta::{DecodeContext, Envelope, Object, Status};
use registry::{Served, errors};
use scheme::Objects;

use super::plain::{page_not_found, unavailable_representation};
use super::{access, components, groups, reviews};
use super::{deletion, options};
use crate::answer::{Answer, is_review, not_acceptable};
use crate::http::media::{Format, OBJECTS, Offer, STREAMS, accept, body_format, content_type, routed};
use crate::metrics::Routed;
use crate::pipeline::{Decoded, drain};
use crate::server::Server;

/// Longest request body (upstream's limit).
const BODY_BYTES_MAX: usize = 3 << 20;

/// Serves a request on a resource.
pub(super) async fn serve(
    server: &Server,
    authorized: &Authorized,
    decoded: &Decoded,
    mut request: Request<Incoming>,
) -> Answer {
    let served = match find(server, decoded) {
        Ok(served) => served,
        Err(answer) => {
            drain(request).await;
            return answer;
        }
    };
    decoded.routed.get_or_init(|| Routed::Resource);
    let connects = access::is_connection(&served, decoded);
    let judged = !connects || decoded.info.subresource == "log";
    if let Some(refused) = wrong_representation(decoded, &served).filter(|_| judged) {
        drain(request).await;
        return Answer::Refused(refused);
    }
    if connects {
        return access::serve(server, authorized, decoded, request).await;
    }
    let mut warnings = Vec::new();
    let of_version = served.custom().and_then(|custom| custom.kind.warning());
    if let Some(text) = deprecation(&decoded.info.group, &decoded.info.resource).or(of_version) {
        warnings.push(text.to_owned());
    }
    let called = call(decoded, &served, &mut request, &mut warnings).await;
    match &called {
        Ok(call) => crate::audit::request(decoded.record(), call),
        // Refused by its path or its query, before its body was looked at.
        Err(_) => drain(request).await,
    }
    let notes = admission::Notes::default();
    let result = match called {
        Ok(mut call) => match reviews::perform(server, authorized, &mut call, &mut warnings, &notes).await {
            Some(review) => review.map(|object| registry::Outcome::Made(object.into(), 201)),
            None => match components::perform(server, &served, &call).await {
                Some(result) => result,
                None => server.registry.perform_noting(authorized, call, &mut warnings, &notes).await,
            },
        },
        Err(status) => Err(status),
    };
    decoded.elsewhere.add(notes.waited());
    if let Some(record) = decoded.record() {
        crate::audit::notes(record, &notes);
        if let Ok(outcome) = &result {
            crate::audit::response(Some(record), outcome);
        }
    }
    match result {
        Ok(outcome) => Answer::Outcome(outcome, warnings),
        Err(status) => Answer::RefusedWith(status, warnings),
    }
}

/// The resource behind the path, or how upstream's routes refuse it.
fn find(server: &Server, decoded: &Decoded) -> Result<Served, Answer> {
    let info = &decoded.info;
    let refused = |status: Status| Err(Answer::Refused(status));
    if !info.group.is_empty() && !groups::is_built_in(&info.group, None) {
        return find_custom(server, decoded);
    }
    let served = server.registry.served(&info.group, &info.version, &info.resource);
    // The path of proxies that once began with their verb leads nowhere.
    let Some(served) = served.filter(|_| info.verb != "proxy") else {
        return refused(errors::no_such_resource());
    };
    let resource = served.resource();
    let placed = path_has_namespace(&decoded.path);
    let is_namespace = resource.plural == "namespaces" && resource.group.is_empty();
    if (!resource.namespaced && placed && !is_namespace)
        || !info.rest.is_empty() && info.subresource != "proxy"
    {
        return refused(errors::no_such_resource());
    }
    // A collection narrowed to one name by a selector has a name, but its path has none.
    let named = path_names_object(decoded);
    if resource.namespaced && !placed && named {
        return refused(errors::no_such_resource());
    }
    let allowed = if !info.subresource.is_empty() {
        let Some(sub) = served.subresource(&info.subresource) else {
            return refused(errors::no_such_resource());
        };
        sub.verbs.contains(&info.verb) || is_proxied(decoded)
    } else {
        let verbs: &[&str] = match (named, resource.namespaced && !placed) {
            _ if info.watch_prefix => &["watch"],
            (true, _) => &["get", "update", "patch", "delete"],
            (false, true) => &["list", "watch"],
            (false, false) => &["list", "watch", "create", "deletecollection"],
        };
        if !verbs.iter().any(|verb| resource.has_verb(verb)) {
            return refused(errors::no_such_resource());
        }
        let asked = !info.watch_prefix || decoded.method == Method::GET;
        asked && (verbs.contains(&info.verb) || named && info.verb == "watch") && resource.has_verb(info.verb)
    };
    if !allowed || (decoded.method == Method::HEAD && !is_proxied(decoded)) {
        return refused(errors::method_not_allowed());
    }
    Ok(served)
}

/// What is behind a proxy decides for itself which methods it has.
fn is_proxied(decoded: &Decoded) -> bool {
    decoded.info.subresource == "proxy"
        && decoded.info.group.is_empty()
        && matches!(
            decoded.method,
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::POST
                | Method::PUT
                | Method::PATCH
                | Method::DELETE
        )
}

/// The custom resource behind the path, or how upstream's handler of all of them refuses it.
fn find_custom(server: &Server, decoded: &Decoded) -> Result<Served, Answer> {
    let info = &decoded.info;
    let definitions = server.registry.definitions();
    let Some(served) = definitions.find(&info.group, &info.version, &info.resource) else {
        return Err(page_not_found());
    };
    let resource = served.resource();
    let placed = !info.namespace.is_empty();
    let anywhere = matches!(info.verb, "list" | "watch");
    if resource.namespaced != placed && !(resource.namespaced && anywhere) {
        return Err(page_not_found());
    }
    let refused = |status: Status| Err(Answer::Refused(status));
    let named = path_names_object(decoded);
    let allowed = match info.subresource.as_str() {
        "" if named => matches!(info.verb, "get" | "update" | "patch" | "delete" | "watch"),
        "" => matches!(info.verb, "list" | "watch" | "create" | "deletecollection"),
        name => match resource.subresource(name) {
            Some(sub) => sub.verbs.contains(&info.verb),
            None => return refused(errors::not_found(&resource.group, &resource.plural, &info.name)),
        },
    };
    let terminating = served.custom().is_some_and(|custom| custom.definition.is_terminating());
    if terminating && info.verb == "create" {
        let why = "create not allowed while custom resource definition is terminating";
        return refused(unsupported(served, why));
    }
    if !allowed || decoded.method == Method::HEAD {
        let qualified = errors::qualified(&resource.group, &resource.plural);
        let why = format!("{} is not supported on resources of kind {qualified:?}", info.verb);
        return refused(unsupported(served, &why));
    }
    Ok(served.clone())
}

/// The 405 of a custom resource.
fn unsupported(served: &Served, why: &str) -> Status {
    let mut status = Status::failure(405, meta::reason::METHOD_NOT_ALLOWED, why);
    let details = status.details_mut();
    details.group = (*served.resource().group).into();
    details.kind = (*served.resource().plural).into();
    status
}

fn path_has_namespace(path: &str) -> bool {
    let mut parts = path.trim_matches('/').split('/').skip(2);
    let first = parts.next();
    first == Some("namespaces")
        || parts.next() == Some("namespaces")
        || (first == Some("watch") && parts.next() == Some("namespaces"))
}

/// Whether the path itself, and not a selector, names an object.
pub(crate) fn path_names_object(decoded: &Decoded) -> bool {
    if decoded.info.name.is_empty() {
        return false;
    }
    !matches!(decoded.info.verb, "list" | "deletecollection")
        && (decoded.info.verb != "watch"
            || decoded.path.trim_end_matches('/').ends_with(decoded.info.name.as_str()))
}

/// Upstream's routes refuse media types before any handler runs; its handlers look closer before they do anything else.
fn wrong_representation(decoded: &Decoded, served: &Served) -> Option<Status> {
    let (accepted, info) = (decoded.header(header::ACCEPT), &decoded.info);
    if served.custom().is_none() {
        let lists = matches!(info.verb, "list" | "watch");
        let text: &[_] = if info.subresource == "log" { &["text/plain"] } else { &[] };
        let available = [text, &OBJECTS, if lists { &STREAMS } else { &[] }].concat();
        if !routed(accepted, &available) {
            return Some(unavailable_representation(&available));
        }
    }
    let untabled = is_review(&info.group)
        || matches!(&*info.subresource, "binding" | "eviction" | "token")
        || (info.group.is_empty() && info.resource == "bindings");
    let offer = if untabled { Offer::UNTABLED } else { Offer::OBJECT };
    // Custom resources are metadata in protobuf, but no objects.
    let offer = Offer { protobuf: served.custom().is_none(), ..offer };
    accept(accepted, offer, false).is_none().then(|| not_acceptable(offer))
}

/// The warning of kinds that are on their way out.
pub(crate) fn deprecation(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

async fn call(
    decoded: &Decoded,
    served: &Served,
    request: &mut Request<Incoming>,
    warnings: &mut Vec<String>,
) -> Result<Call, Status> {
    let info = &decoded.info;
    let named = path_names_object(decoded);
    let target = Target {
        group: info.group.clone(),
        version: info.version.clone(),
        resource: info.resource.clone(),
        namespace: if served.resource().namespaced { info.namespace.clone() } else { "".into() },
        name: if named { info.name.clone() } else { "".into() },
        subresource: info.subresource.clone(),
    };
    let query = &decoded.query;
    let action = match info.verb {
        "get" => Action::Get { resource_version: query.get("resourceVersion").unwrap_or_default().into() },
        "list" => Action::List(options::list(query)?),
        "watch" => Action::Watch(options::list(query)?),
        "create" => {
            let options = options::write(decoded, "CreateOptions")?;
            let object = read_object(decoded, served, request, &options, warnings).await?;
            Action::Create(object, options)
        }
        "update" => {
            let options = options::write(decoded, "UpdateOptions")?;
            let object = read_object(decoded, served, request, &options, warnings).await?;
            if object.meta().name.is_empty() {
                return Err(errors::bad_request(format!(
                    "the name of the object ({} based on URL) was undeterminable: name must be provided",
                    target.name
                )));
            }
            Action::Update(object, options)
        }
        "patch" => {
            let kind = patch_kind(decoded, served)?;
            let options = options::patch(decoded, kind)?;
            let body = read(decoded, request).await?;
            Action::Patch(kind, body, options)
        }
        "delete" => Action::Delete(deletion::options(query, &read_json(decoded, request).await?)?),
        "deletecollection" => {
            let list = options::list(query)?;
            Action::DeleteCollection(list, deletion::options(query, &read_json(decoded, request).await?)?)
        }
        _ => return Err(errors::method_not_allowed()),
    };
    Ok(Call { target, action })
}

fn patch_kind(decoded: &Decoded, served: &Served) -> Result<PatchKind, Status> {
    let custom = served.custom().is_some() && decoded.info.subresource != "scale";
    match content_type(decoded.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok())).as_str() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" if !custom => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ if custom => Err(Status::failure(
            415,
            meta::reason::UNSUPPORTED_MEDIA_TYPE,
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        _ => {
            let mut status =
                Status::failure(415, meta::reason::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type");
            status.details_mut();
            Err(status)
        }
    }
}

/// Reads a whole body, within the limit.
async fn read(decoded: &Decoded, request: &mut Request<Incoming>) -> Result<Bytes, Status> {
    let body = request.body_mut();
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| errors::bad_request(format!("unable to read the request body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > BODY_BYTES_MAX {
            return Err(Status::request_entity_too_large(&format!("limit is {BODY_BYTES_MAX}")));
        }
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&data);
        }
    }
    let body = if whole.is_empty() { first } else { whole.freeze() };
    decoded.body_bytes.get_or_init(|| body.len());
    Ok(body)
}

/// A body as JSON, from JSON or YAML; what is in protobuf is only looked at by those who know the kind.
async fn read_json(decoded: &Decoded, request: &mut Request<Incoming>) -> Result<Bytes, Status> {
    let format = format_of(decoded);
    let body = read(decoded, request).await?;
    if body.is_empty() {
        return Ok(body);
    }
    match format? {
        Format::Protobuf => {
            use meta::Codec as _;
            let envelope = Envelope::decode(&body).map_err(|e| errors::bad_request(e.to_string()))?;
            deletion::check_kind(&envelope.api_version, &envelope.kind)?;
            let options = meta::DeleteOptions::from_proto(envelope.raw)
                .map_err(|e| errors::bad_request(e.to_string()))?;
            Ok(options.to_json().into())
        }
        Format::Yaml => yaml_to_json(&body),
        Format::Json => Ok(body),
    }
}

fn format_of(decoded: &Decoded) -> Result<Format, Status> {
    let given = decoded.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    body_format(given).ok_or_else(|| {
        Status::failure(
            415,
            meta::reason::UNSUPPORTED_MEDIA_TYPE,
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    })
}

fn yaml_to_json(body: &[u8]) -> Result<Bytes, Status> {
    let document = schema::yaml::document(body).map_err(errors::bad_request)?;
    Ok(document.value.to_string().into())
}

/// Reads the object of a create or update as the kind that the path takes.
async fn read_object(
    decoded: &Decoded,
    served: &Served,
    request: &mut Request<Incoming>,
    options: &call::WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Object>, Status> {
    let format = format_of(decoded)?;
    let body = read(decoded, request).await?;
    let (group, version, kind, object) = expected(served, &decoded.info.subresource)?;
    if format == Format::Protobuf {
        let envelope = Envelope::decode(&body).map_err(|error| match body.is_empty() {
            true => unrecognized(kind, "empty data", &body),
            false => unrecognized(kind, &error.to_string(), &body),
        })?;
        same_kind(&envelope.api_version, &envelope.kind, (group, version, kind))?;
        return object.decode_proto(envelope.raw).map_err(|e| errors::bad_request(e.to_string()));
    }
    let (json, duplicates) = match format {
        Format::Yaml => {
            let document =
                schema::yaml::document(&body).map_err(|error| unrecognized(kind, &error, &body))?;
            (document.value.to_string().into(), document.duplicates)
        }
        _ => (body.clone(), Vec::new()),
    };
    let header =
        meta::read_type_meta(&json).map_err(|error| unrecognized(kind, &error.to_string(), &body))?;
    if header.api_version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {}", header.api_version);
        return Err(unrecognized(kind, &why, &body));
    }
    if served.custom().is_some() && object.info().is_none() {
        same_version(&header, served, &json)?;
    } else {
        same_kind(&header.api_version, &header.kind, (group, version, kind))?;
    }
    let validation = match options.validation() {
        call::FieldValidation::Ignore => meta::FieldValidation::Ignore,
        call::FieldValidation::Warn => meta::FieldValidation::Warn,
        call::FieldValidation::Strict => meta::FieldValidation::Strict,
    };
    let mut context = DecodeContext::new(validation);
    // A refusal tells all of them at once, warnings one by one.
    match validation {
        meta::FieldValidation::Strict if !duplicates.is_empty() => {
            context.findings.push(format!("yaml: unmarshal errors:\n  {}", duplicates.join("\n  ")));
        }
        meta::FieldValidation::Warn => context.findings.extend(duplicates),
        _ => {}
    }
    let decoded = object.decode_json(&json, &mut context).map_err(|error| {
        errors::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"))
    })?;
    if let Some(error) = context.strict_error() {
        return Err(errors::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"
        )));
    }
    if let Some(why) = served.rules().unreadable(&*decoded) {
        return Err(errors::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        )));
    }
    warnings.extend(context.findings);
    Ok(decoded)
}

/// Group, version and kind of a body, and how to read it.
fn expected<'a>(
    served: &'a Served,
    subresource: &str,
) -> Result<(&'a str, &'a str, &'a str, Objects), Status> {
    let resource = served.resource();
    let Some(sub) = served.subresource(subresource).filter(|_| !subresource.is_empty()) else {
        return Ok((&resource.group, &resource.version, &resource.kind, resource.object.clone()));
    };
    let object = match scheme::kind(&sub.group, &sub.version, &sub.kind) {
        Some(object) => Objects::Typed(*object),
        None => resource.object.clone(),
    };
    Ok((&sub.group, &sub.version, &sub.kind, object))
}

/// A custom object says what it is, and in the version of the path; its kind is looked at by validation.
fn same_version(header: &meta::TypeMetaHeader, served: &Served, json: &[u8]) -> Result<(), Status> {
    let kind = &served.resource().kind;
    if header.kind.is_empty() {
        let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(json));
        return Err(unrecognized(kind, &why, json));
    }
    let expected = served.api_version();
    if header.api_version != expected.as_str() {
        return Err(errors::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({expected})",
            header.api_version
        )));
    }
    Ok(())
}

/// A body may leave its kind out; a wrong one is refused, as upstream's conversion refuses it.
fn same_kind(api_version: &str, kind: &str, wanted: (&str, &str, &str)) -> Result<(), Status> {
    let (wanted_group, wanted_version, wanted_kind) = wanted;
    let expected = if wanted_group.is_empty() {
        wanted_version.to_owned()
    } else {
        format!("{wanted_group}/{wanted_version}")
    };
    let api_version = if api_version.is_empty() { expected.as_str() } else { api_version };
    let kind = if kind.is_empty() { wanted_kind } else { kind };
    // An eviction of the older version has the same fields.
    let eviction = wanted_kind == "Eviction" && kind == wanted_kind && api_version == "policy/v1beta1";
    if (api_version == expected && kind == wanted_kind) || eviction {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let refused = |why: String| {
        let text = format!("{kind} in version {version:?} cannot be handled as a {wanted_kind}: {why}");
        Err(errors::bad_request(text))
    };
    let Some(found) = scheme::kind(group, version, kind) else {
        return refused(format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ));
    };
    let events = kind == "Event" && wanted_kind == "Event";
    if kind != wanted_kind || (group != wanted_group && !events) {
        let (from, into) = (found.info.go, internal_type(wanted_group, wanted_kind));
        return refused(format!("converting ({from}) to ({into}): unknown conversion"));
    }
    Err(errors::bad_request(format!(
        "the API version in the data ({api_version}) does not match the expected API version ({expected})"
    )))
}

/// The name of upstream's unversioned type, which some refusals show: `core.ConfigMap`, `apps.Deployment`.
pub(crate) fn internal_type(group: &str, kind: &str) -> String {
    let package = match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("{package}.{kind}")
}

/// The refusal of a body that does not even say what it is.
fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
    const SHOWN: usize = 30;
    let (start, more) = if body.len() > SHOWN { (&body[..SHOWN], " ...") } else { (body, "") };
    let summary = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => format!("{}{more}", hex::encode(start)),
    };
    errors::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
    ))
}
