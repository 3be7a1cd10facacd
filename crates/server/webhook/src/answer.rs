//! What a server answered, read as upstream's client reads it.
//!
//! A status that is no success becomes a sentence about the status, unless the body is a `Status` that tells more. A body
//! may be JSON or YAML and must hold one of the documents that the reader knows.

use bytes::Bytes;
use http::StatusCode;
use meta::v1::Status;
use meta::{TypeMetaHeader, Typed};
use outbound::words;
use serde_json::Value as Json;

/// How much of a refusal's text is repeated, in bytes.
const SHOWN_BYTES_MAX: usize = 2048;
/// The registry of types that upstream's messages name.
const SCHEME: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: StatusCode,
    /// What it says that the body is; empty where it says nothing.
    pub content_type: String,
    /// In how many seconds it wants to be asked again.
    pub retry_after_s: Option<u64>,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no document, and the status code that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct CallError {
    /// The server's status code, or 503 where there was no answer that could be understood.
    pub code: u16,
    /// The reason in the words of upstream's client.
    pub why: String,
}

impl CallError {
    /// There was no answer, or none that could be understood.
    pub fn unavailable(why: String) -> Self {
        Self { code: 503, why }
    }
}

/// A document whose version and kind are those that were expected.
#[derive(Debug)]
pub struct Document {
    /// What the document itself says that it is; empty where it does not.
    pub header: TypeMetaHeader,
    /// The document as JSON.
    pub json: Vec<u8>,
}

impl Answer {
    /// Whether the server asked for another try later: the seconds to wait.
    pub fn again_in_s(&self) -> Option<u64> {
        let overloaded = self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error();
        self.retry_after_s.filter(|_| overloaded)
    }

    /// The document of the answer. `expected` is its version and kind, `known` says which others there are that it might
    /// be taken for.
    ///
    /// # Errors
    /// When the status is no success, or the body is something else.
    pub fn document(
        &self,
        expected: (&str, &str),
        known: impl Fn(&str, &str) -> bool,
    ) -> Result<Document, CallError> {
        let media = match self.content_type.as_str() {
            "" => Ok("application/json"),
            given => media_type(given),
        };
        if let Err(why) = media {
            return Err(CallError { code: 500, why: format!("Internal error occurred: {why}") });
        }
        let code = self.status.as_u16();
        if !(200..=206).contains(&code) {
            return Err(self.refusal());
        }
        if self.body.is_empty() {
            let kind = if self.content_type.is_empty() { "application/json" } else { &self.content_type };
            let why = format!("0-length response with status code: {code} and content type: {kind}");
            return Err(CallError::unavailable(why));
        }
        self.read(expected, known).map_err(CallError::unavailable)
    }

    fn read(&self, expected: (&str, &str), known: impl Fn(&str, &str) -> bool) -> Result<Document, String> {
        let json = json_of(&self.body)?;
        let header = meta::read_type_meta(&json).map_err(|error| error.to_string())?;
        if header.api_version.matches('/').count() > 1 {
            return Err(format!("unexpected GroupVersion string: {}", header.api_version));
        }
        let or = |given: &str, otherwise: &str| if given.is_empty() { otherwise } else { given }.to_owned();
        let (version, kind) = (or(&header.api_version, expected.0), or(&header.kind, expected.1));
        if (version.as_str(), kind.as_str()) == expected {
            return Ok(Document { header, json });
        }
        if (version.as_str(), kind.as_str()) != ("v1", Status::KIND) && !known(&version, &kind) {
            return Err(format!(
                "no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}"
            ));
        }
        let short = |version: &str| version.rsplit('/').next().unwrap_or_default().to_owned();
        Err(format!(
            "converting ({}.{kind}) to ({}.{}): unknown conversion",
            short(&version),
            short(expected.0),
            expected.1
        ))
    }

    /// What a status that is no success says.
    fn refusal(&self) -> CallError {
        let code = self.status.as_u16();
        let told = json_of(&self.body).ok().and_then(|json| serde_json::from_slice::<Json>(&json).ok());
        if let Some(told) = told.filter(is_failure) {
            let code = told["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
            return CallError { code, why: told["message"].as_str().unwrap_or_default().to_owned() };
        }
        let textual = match self.content_type.as_str() {
            "" => true,
            given => media_type(given).is_ok_and(|media| media.to_ascii_lowercase().starts_with("text/")),
        };
        let shown = &self.body[..self.body.len().min(SHOWN_BYTES_MAX)];
        let text =
            if textual { String::from_utf8_lossy(shown).trim().to_owned() } else { "unknown".to_owned() };
        CallError { code, why: words::status(code, &text) }
    }
}

/// Whether a document is a `Status` of a failure. One that does not say what it is counts.
fn is_failure(json: &Json) -> bool {
    let is = |field: &str, wanted: &str| {
        json.get(field)
            .is_none_or(|value| value.as_str().is_some_and(|text| text.is_empty() || text == wanted))
    };
    json.is_object() && is("apiVersion", "v1") && is("kind", Status::KIND) && json["status"] == "Failure"
}

/// A body as JSON: what begins like an object is taken as it is, everything else is YAML.
fn json_of(body: &[u8]) -> Result<Vec<u8>, String> {
    let begin = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if begin == Some(&b'{') {
        return Ok(body.to_vec());
    }
    schema::yaml::document(body).map(|document| document.value.to_string().into_bytes())
}

/// The media type of a header, or Go's words for why there is none.
fn media_type(header: &str) -> Result<&str, &'static str> {
    let token = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_graphic() || "()<>@,;:\\\"/[]?=".contains(c));
        end.unwrap_or(text.len())
    };
    let media = header.split(';').next().unwrap_or_default().trim();
    if media.is_empty() {
        return Err("mime: no media type");
    }
    let (kind, rest) = media.split_at(token(media));
    match rest.strip_prefix('/') {
        _ if kind.is_empty() => Err("mime: no media type"),
        None if rest.is_empty() => Ok(media),
        None => Err("mime: expected slash after first token"),
        Some(sub) if token(sub) == 0 => Err("mime: expected token after slash"),
        Some(sub) if token(sub) < sub.len() => Err("mime: unexpected content after media subtype"),
        Some(_) => Ok(media),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: (&str, &str) = ("admission.k8s.io/v1", "AdmissionReview");

    fn read(status: u16, content_type: &str, body: &str) -> String {
        let answer = Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            content_type: content_type.to_owned(),
            retry_after_s: None,
            body: Bytes::from(body.to_owned()),
        };
        let known = |version: &str, kind: &str| version == "admission.k8s.io/v1beta1" && kind == EXPECTED.1;
        match answer.document(EXPECTED, known) {
            Ok(document) => String::from_utf8(document.json).expect("JSON"),
            Err(error) => format!("{}: {error}", error.code),
        }
    }

    #[test]
    fn answers_are_read_as_upstreams_client_reads_them() {
        let json = "application/json";
        for (status, content_type, body, read_as) in [
            (200, json, "{}", "{}"),
            (201, "foo/bar", "a: 1", r#"{"a":1}"#),
            (200, "///;;", "{}", "500: Internal error occurred: mime: no media type"),
            (
                200,
                json,
                "",
                "503: 0-length response with status code: 200 and content type: application/json",
            ),
            (
                200,
                json,
                r#"{"apiVersion":"#,
                "503: couldn't get version/kind; json parse error: unexpected end of JSON input",
            ),
            (
                200,
                json,
                r#"{"kind":"Foo"}"#,
                r#"503: no kind "Foo" is registered for version "admission.k8s.io/v1" in scheme "k8s.io/apiserver/pkg/util/webhook/client.go:71""#,
            ),
            (
                200,
                json,
                r#"{"apiVersion":"admission.k8s.io/v1beta1"}"#,
                "503: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
            ),
            (
                200,
                json,
                r#"{"apiVersion":"v1","kind":"Status"}"#,
                "503: converting (v1.Status) to (v1.AdmissionReview): unknown conversion",
            ),
            (200, json, r#"{"apiVersion":"a/b/c"}"#, "503: unexpected GroupVersion string: a/b/c"),
            (
                302,
                json,
                "",
                "302: the server responded with the status code 302 but did not return more information",
            ),
            (403, "text/plain", "go away\n", "403: go away"),
            (403, json, "go away", "403: unknown"),
            (
                500,
                "text/plain",
                "boom",
                r#"500: an error on the server ("boom") has prevented the request from succeeding"#,
            ),
            (
                500,
                json,
                r#"{"a":1}"#,
                r#"500: an error on the server ("unknown") has prevented the request from succeeding"#,
            ),
            (409, "", "", "409: the server reported a conflict"),
            (
                403,
                json,
                r#"{"apiVersion":"v1","kind":"Status","status":"Failure","message":"no","code":403}"#,
                "403: no",
            ),
        ] {
            assert_eq!(read(status, content_type, body), read_as, "{status} {content_type} {body}");
        }
        let refusal = read(500, "text/plain", &"x".repeat(5000));
        assert!(refusal.len() < 2200, "a long text is cut");
    }

    #[test]
    fn a_time_to_come_back_counts_where_the_server_is_overloaded() {
        let answer = |status: u16| Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            content_type: String::new(),
            retry_after_s: Some(3),
            body: Bytes::new(),
        };
        assert_eq!(
            [429, 503, 200, 409].map(|status| answer(status).again_in_s()),
            [Some(3), Some(3), None, None]
        );
    }
}
