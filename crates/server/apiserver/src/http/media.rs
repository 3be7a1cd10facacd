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
    media: (&'a str, &'a str),
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';');
        let media = parts.next().unwrap_or_default().trim();
        let media = match media.split_once('/') {
            None if media == "*" => ("*", "*"),
            Some((kind, sub)) if !sub.contains('/') => (kind.trim(), sub.trim()),
            _ => return None,
        };
        let mut clause = Clause { media, quality: 1.0, parameters: Vec::new() };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                // What is no number is no quality at all.
                "q" => clause.quality = value.parse().unwrap_or(0.0),
                key => clause.parameters.push((key, value.trim())),
            }
        }
        Some(clause)
    }

    /// Whether it goes before another one: by its quality, and then what says more. A clause of lower quality that says
    /// more is before as well, so the order depends on where the sort starts.
    fn before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.media.0 != "*" && other.media.0 == "*")
            || (self.media.1 != "*" && other.media.1 == "*")
    }
}

/// The clauses of a header in the order in which upstream (goautoneg) tries them: sorted by insertion, from the front.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> =
        header.split(',').filter_map(Clause::parse).take(CLAUSES_MAX).collect();
    for end in 1..clauses.len() {
        let mut at = end;
        while at > 0 && clauses[at].before(&clauses[at - 1]) {
            clauses.swap(at, at - 1);
            at -= 1;
        }
    }
    clauses
}

/// Begins the WebSocket subprotocol in which a browser, which cannot set headers, carries its token.
pub const BROWSER_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// Clauses that are looked at; no client has so many.
const CLAUSES_MAX: usize = 256;

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
    /// Aggregated discovery is possible, and nothing but that.
    pub discovery: bool,
}

impl Offer {
    /// Objects in any shape.
    pub const OBJECT: Offer =
        Offer { table: true, metadata: true, stream: false, protobuf: true, discovery: false };
    /// Objects without columns: reviews, and what other kinds' subresources take.
    pub const UNTABLED: Offer = Offer { table: false, ..Offer::OBJECT };
    /// Answers that are no resources, such as Status.
    pub const PLAIN: Offer = Offer { table: false, metadata: false, ..Offer::OBJECT };
    /// Aggregated discovery.
    pub const DISCOVERY: Offer = Offer { discovery: true, ..Offer::PLAIN };
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

/// Chooses the first clause of an Accept header that the endpoint can satisfy; `None` is a 406 (upstream's
/// `endpoints/handlers/negotiation`).
pub fn accept(header: &str, offer: Offer, pretty: bool) -> Option<Accepted> {
    if header.is_empty() {
        let plain = Accepted { format: Format::Json, shape: Shape::Object, beta: false, pretty };
        return (!offer.discovery).then_some(plain);
    }
    let found = clauses(header).iter().find_map(|clause| {
        let fits = |format: &&Format| match clause.media {
            ("*", "*") | ("application", "*") => true,
            (kind, sub) => format.name().split_once('/') == Some((kind, sub)),
        };
        let formats = [Format::Json, Format::Yaml, Format::Protobuf];
        formats.iter().filter(fits).find_map(|format| clause.judge(*format, offer, pretty))
    })?;
    // What was chosen cannot be streamed; what else the client takes is not asked for any more.
    (!offer.stream || found.format != Format::Yaml).then_some(found)
}

impl Clause<'_> {
    /// What it means for answers in a format that it names; `None` when the endpoint does not do what it asks for.
    fn judge(&self, format: Format, offer: Offer, pretty: bool) -> Option<Accepted> {
        let parameter = |key: &str| self.parameters.iter().rev().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let stream = parameter("stream").unwrap_or_default();
        if !stream.is_empty() && (format == Format::Yaml || stream != "watch") {
            return None;
        }
        let is_resource = offer.table || offer.metadata;
        let version = parameter("sv").unwrap_or_default();
        let knows_version = version.is_empty() || (is_resource && version == "v1");
        if !knows_version {
            return None;
        }
        let as_of = ["as", "g", "v"].map(parameter);
        let shape = match as_of.iter().all(Option::is_none) {
            true if offer.discovery || (format == Format::Protobuf && !offer.protobuf) => None,
            true => Some(Shape::Object),
            false => shape(as_of.map(Option::unwrap_or_default), format, offer),
        }?;
        let beta = shape != Shape::Object && as_of[2] == Some("v1beta1");
        let pretty = pretty || parameter("pretty") == Some("1");
        Some(Accepted { format, shape, beta, pretty })
    }
}

/// The shape of a kind, group and version, where the endpoint has it.
fn shape([kind, group, version]: [&str; 3], format: Format, offer: Offer) -> Option<Shape> {
    match (group, version, kind) {
        ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList") => offer.discovery.then_some(Shape::Object),
        ("meta.k8s.io", "v1" | "v1beta1", kind) => match kind {
            "Table" if offer.table && format != Format::Protobuf => Some(Shape::Table),
            "PartialObjectMetadata" if offer.metadata => Some(Shape::Metadata),
            "PartialObjectMetadataList" if offer.metadata => Some(Shape::MetadataList),
            _ => None,
        },
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
    let encoded = protocols.split(',').find_map(|p| p.trim().strip_prefix(BROWSER_TOKEN))?;
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
            ("application/json;q=x,application/yaml;q=0.1", Some((Format::Yaml, Shape::Object))),
            ("application/yaml;q=0", Some((Format::Yaml, Shape::Object))),
            ("*", Some((Format::Json, Shape::Object))),
            ("application/json/x", None),
            // What says more is before what says less.
            ("*/*,application/yaml;q=0.5", Some((Format::Yaml, Shape::Object))),
            ("application/*,application/vnd.kubernetes.protobuf", Some((Format::Protobuf, Shape::Object))),
            ("application/yaml;stream=watch", None),
            ("application/json;stream=other", None),
            ("*/*;stream=watch", Some((Format::Json, Shape::Object))),
            ("application/json;sv=v1", Some((Format::Json, Shape::Object))),
            ("application/json;sv=v2", None),
            ("application/json;v=v1", None),
            ("application/json;as=\"Table\";v=v1;g=meta.k8s.io", None),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", None),
            ("text/html", None),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", None),
        ];
        for (header, expected) in table {
            let found = accept(header, Offer::OBJECT, false).map(|a| (a.format, a.shape));
            assert_eq!(found, expected, "{header}");
        }
    }

    #[test]
    fn clauses_ask_for_more_than_a_format() {
        assert!(accept("application/json;pretty=1", Offer::PLAIN, false).is_some_and(|a| a.pretty));
        assert_eq!(accept("application/json;sv=v1", Offer::PLAIN, false), None);
        let stream = Offer { stream: true, ..Offer::OBJECT };
        assert_eq!(accept("application/yaml,application/json", stream, false), None);
        let custom = Offer { protobuf: false, ..Offer::OBJECT };
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        assert_eq!(accept("application/vnd.kubernetes.protobuf", custom, false), None);
        assert_eq!(accept(metadata, custom, false).map(|a| a.format), Some(Format::Protobuf));
    }

    #[test]
    fn aggregated_discovery_is_asked_for_by_name() {
        let of = |header: &str| accept(header, Offer::DISCOVERY, false).map(|a| a.format);
        let aggregated = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert_eq!(of(""), None);
        assert_eq!(of("*/*"), None);
        assert_eq!(of(&format!("application/vnd.kubernetes.protobuf;{aggregated}")), Some(Format::Protobuf));
        assert_eq!(of(&format!("application/json,application/yaml;{aggregated}")), Some(Format::Yaml));
        assert_eq!(of(&format!("*/*;{aggregated}")), Some(Format::Json));
        assert_eq!(of(&aggregated.replace("v2", "v2beta1")), None);
    }

    #[test]
    fn bodies() {
        assert_eq!(body_format(None), Some(Format::Json));
        assert_eq!(body_format(Some("application/json; charset=utf-8")), Some(Format::Json));
        assert_eq!(body_format(Some("text/plain")), None);
    }
}
