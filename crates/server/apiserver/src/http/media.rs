//! Media types: what a client accepts, and what it sends.

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Format {
    /// The media type.
    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Format::Json, Format::Yaml, Format::Protobuf].into_iter().find(|f| f.name() == name)
    }
}

/// Into what objects are turned before they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// As they are.
    #[default]
    Object,
    /// `meta.k8s.io/v1` Table.
    Table,
    /// `meta.k8s.io` PartialObjectMetadata.
    Metadata,
    /// `meta.k8s.io` PartialObjectMetadataList.
    MetadataList,
}

/// The chosen representation of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How it is written.
    pub format: Format,
    /// What is written.
    pub shape: Shape,
    /// Tables and metadata in their older version, `v1beta1`.
    pub beta: bool,
    /// Indented JSON.
    pub pretty: bool,
}

/// One element of an Accept header.
#[derive(Debug, Default, PartialEq)]
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header
        .split(',')
        .filter_map(|element| {
            let mut parts = element.split(';').map(str::trim);
            let media = parts.next().filter(|m| !m.is_empty())?;
            let mut clause = Clause { media, quality: 1.0, parameters: Vec::new() };
            for part in parts {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                if key == "q" {
                    clause.quality = value.parse().unwrap_or(1.0);
                } else {
                    clause.parameters.push((key.trim(), value.trim().trim_matches('"')));
                }
            }
            Some(clause)
        })
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

/// What `allowed` shapes an endpoint can answer with.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Table is possible.
    pub table: bool,
    /// PartialObjectMetadata is possible.
    pub metadata: bool,
    /// This is a watch: YAML cannot be streamed.
    pub stream: bool,
    /// Protobuf is possible; not for kinds that have no protobuf form.
    pub protobuf: bool,
}

impl Offer {
    /// Objects in any shape.
    pub const OBJECT: Offer = Offer { table: true, metadata: true, stream: false, protobuf: true };
    /// Objects without columns: reviews, and what other kinds' subresources take.
    pub const UNTABLED: Offer = Offer { table: false, ..Offer::OBJECT };
    /// Answers that are no resources, such as Status.
    pub const PLAIN: Offer = Offer { table: false, metadata: false, stream: false, protobuf: true };
}

/// What routes of objects can answer.
pub const OBJECTS: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What routes of lists and watches can answer besides.
pub const STREAMS: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// Whether upstream's router takes a request to a route with these media types: one is named as it is, or all are. Its
/// handlers judge again, by quality and parameters.
pub fn routed(header: &str, produces: &[&str]) -> bool {
    let mut clauses = header.split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
    header.is_empty() || clauses.any(|media| media == "*/*" || produces.contains(&media))
}

/// Chooses the first clause of an Accept header that the endpoint can satisfy; `None` is a 406.
pub fn accept(header: &str, offer: Offer, pretty: bool) -> Option<Accepted> {
    let chosen = |format, shape, beta| Some(Accepted { format, shape, beta, pretty });
    if header.trim().is_empty() {
        return chosen(Format::Json, Shape::Object, false);
    }
    for clause in clauses(header) {
        let format = match clause.media {
            "*/*" | "application/*" => Format::Json,
            name => match Format::named(name) {
                Some(format) => format,
                None => continue,
            },
        };
        if (format == Format::Yaml && offer.stream) || (format == Format::Protobuf && !offer.protobuf) {
            continue;
        }
        if let Some(shape) = shape(&clause.parameters, offer) {
            let beta = shape != Shape::Object && clause.parameters.contains(&("v", "v1beta1"));
            return chosen(format, shape, beta);
        }
    }
    None
}

fn shape(parameters: &[(&str, &str)], offer: Offer) -> Option<Shape> {
    let parameter = |key: &str| parameters.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    // A client may ask for a stream of a non-stream answer; upstream ignores what it does not know.
    let Some(kind) = parameter("as") else { return Some(Shape::Object) };
    if parameter("g") != Some("meta.k8s.io") || !matches!(parameter("v"), Some("v1" | "v1beta1")) {
        return None;
    }
    match kind {
        "Table" if offer.table => Some(Shape::Table),
        "PartialObjectMetadata" if offer.metadata => Some(Shape::Metadata),
        "PartialObjectMetadataList" if offer.metadata => Some(Shape::MetadataList),
        _ => None,
    }
}

/// The media type of a request body without its parameters, lower case; JSON when there is no header.
pub fn content_type(header: Option<&str>) -> String {
    let media = header.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media.is_empty() { Format::Json.name().to_owned() } else { media.to_ascii_lowercase() }
}

/// The format of a request body; `None` is a 415.
pub fn body_format(header: Option<&str>) -> Option<Format> {
    Format::named(&content_type(header))
}

/// The bearer token that a browser's WebSocket client puts among its subprotocols, having no other header.
pub fn websocket_token(protocols: &str) -> Option<String> {
    use base64::Engine as _;
    let encoded =
        protocols.split(',').find_map(|p| p.trim().strip_prefix("base64url.bearer.authorization.k8s.io."))?;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(token).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers() {
        let table = [
            ("", Some((Format::Json, Shape::Object))),
            ("*/*", Some((Format::Json, Shape::Object))),
            ("application/vnd.kubernetes.protobuf,application/json", Some((Format::Protobuf, Shape::Object))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some((Format::Json, Shape::Table)),
            ),
            (
                "application/json;as=Nonsense;v=v1;g=meta.k8s.io,application/json",
                Some((Format::Json, Shape::Object)),
            ),
            ("application/json;q=0.5,application/yaml", Some((Format::Yaml, Shape::Object))),
            ("text/html", None),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", None),
        ];
        for (header, expected) in table {
            let found = accept(header, Offer::OBJECT, false).map(|a| (a.format, a.shape));
            assert_eq!(found, expected, "{header}");
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(body_format(None), Some(Format::Json));
        assert_eq!(body_format(Some("application/json; charset=utf-8")), Some(Format::Json));
        assert_eq!(body_format(Some("text/plain")), None);
    }
}
