//! KubeletConfiguration (`kubelet.config.k8s.io/v1beta1`): read strictly, as upstream's kubelet reads it.
//!
//! [`super::fields`] names every field that the kind has, with its shape and whether this node does something with it. A field
//! that is not there is refused, as is a value of another shape; one that is there and changes nothing is told in the log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kubelet::{LogLimits, Policy};
use meta::Quantity;
use serde_json::{Map, Value};
use types::core::v1::Taint;

use super::fields::{FIELDS, Field, Shape};

/// Why a file is of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ConfigurationError {
    /// No YAML or JSON, another kind, or a value of another shape.
    #[error("failed to decode: {0}")]
    Malformed(String),
    /// Fields that the kind does not have.
    #[error("failed to decode: strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// Values that make no sense.
    #[error("failed to validate kubelet configuration, error: {}", meta::aggregate_message(.0))]
    Invalid(Vec<String>),
}

/// What the node does with a file; upstream's defaults where it says nothing.
#[derive(Debug, Default)]
pub(super) struct Configuration {
    /// Directory of static pods.
    pub(super) static_pods: Option<PathBuf>,
    /// Directory of container logs.
    pub(super) pod_logs: Option<PathBuf>,
    /// Where the API listens.
    pub(super) address: Option<String>,
    /// Its port.
    pub(super) port: Option<u16>,
    /// Certificate and key.
    pub(super) tls_files: Option<(PathBuf, PathBuf)>,
    /// Suites, oldest version, curves.
    pub(super) suites: Vec<String>,
    /// Oldest version.
    pub(super) min_version: String,
    /// Curves.
    pub(super) curves: Vec<i32>,
    /// Whether the client certificate is rotated.
    pub(super) rotate_client: bool,
    /// Whether the API issues the serving certificate.
    pub(super) rotate_serving: bool,
    /// Authorities of client certificates.
    pub(super) client_ca: Option<PathBuf>,
    /// Who may use the API.
    pub(super) policy: Policy,
    /// Domain of the cluster.
    pub(super) cluster_domain: Option<String>,
    /// Cluster DNS.
    pub(super) cluster_dns: Vec<String>,
    /// Most pods.
    pub(super) max_pods: Option<u32>,
    /// Processes of a pod.
    pub(super) pod_pids_limit: Option<i64>,
    /// The node's resolver file.
    pub(super) resolv_conf: Option<PathBuf>,
    /// Pulls at once.
    pub(super) parallel_pulls: Option<usize>,
    /// Log rotation.
    pub(super) log: LogLimits,
    /// Containers without a seccomp profile get `RuntimeDefault`.
    pub(super) seccomp_default: bool,
    /// Taints of a new node.
    pub(super) taints: Vec<Taint>,
    /// Fields that are set and change nothing here.
    pub(super) ignored: Vec<String>,
}

/// Reads a file that lies in `folder`; relative paths in it start there.
///
/// # Errors
/// What is wrong with it, all findings of the first stage that has any.
pub(super) fn parse(text: &str, folder: &Path) -> Result<Configuration, ConfigurationError> {
    let malformed = ConfigurationError::Malformed;
    let value: Value = serde_norway::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let version = value["apiVersion"].as_str().unwrap_or_default();
    let kind = value["kind"].as_str().unwrap_or_default();
    if kind.is_empty() {
        return Err(malformed("Object 'Kind' is missing".into()));
    }
    if (version, kind) != ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration") {
        return Err(malformed(format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/kubelet/apis/config/scheme/scheme.go\""
        )));
    }
    let mut checked = Checked::default();
    checked.object(&value, "", FIELDS);
    if let Some(wrong) = checked.wrong {
        return Err(malformed(wrong));
    }
    if !checked.unknown.is_empty() {
        return Err(ConfigurationError::Strict(checked.unknown));
    }
    let mut invalid = Vec::new();
    let configuration = take(&value, folder, checked.ignored, &mut invalid);
    if invalid.is_empty() { Ok(configuration) } else { Err(ConfigurationError::Invalid(invalid)) }
}

#[derive(Default)]
struct Checked {
    wrong: Option<String>,
    unknown: Vec<String>,
    ignored: Vec<String>,
}

impl Checked {
    fn object(&mut self, value: &Value, path: &str, fields: &[Field]) {
        let Some(object) = value.as_object() else { return self.wrong(value, path, "object") };
        for (key, value) in object {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match fields.iter().find(|(name, ..)| name == key) {
                None => self.unknown.push(format!("unknown field {}", meta::go_quote(&full))),
                Some(_) if value.is_null() => {}
                Some((_, shape, honoured)) => {
                    self.value(value, &full, *shape);
                    if !honoured && path.is_empty() {
                        self.ignored.push(full);
                    }
                }
            }
        }
    }

    fn value(&mut self, value: &Value, path: &str, shape: Shape) {
        let fits = match shape {
            Shape::Bool => value.is_boolean(),
            Shape::Int => value.as_i64().is_some(),
            Shape::Float => value.is_number(),
            Shape::Text => value.is_string(),
            Shape::Duration => {
                let Some(text) = value.as_str() else { return self.wrong(value, path, "string") };
                if let Err(error) = meta::Duration::parse(text) {
                    self.wrong.get_or_insert_with(|| error.to_string());
                }
                true
            }
            Shape::Texts => list(value, Value::is_string),
            Shape::Ints => list(value, |one| one.as_i64().is_some_and(|one| i32::try_from(one).is_ok())),
            Shape::TextMap => entries(value, Value::is_string),
            Shape::BoolMap => entries(value, Value::is_boolean),
            Shape::Any => true,
            Shape::Object(fields) => return self.object(value, path, fields),
            Shape::Objects(fields) => {
                let Some(list) = value.as_array() else { return self.wrong(value, path, "slice") };
                for (at, one) in list.iter().enumerate() {
                    self.object(one, &format!("{path}[{at}]"), fields);
                }
                true
            }
        };
        if !fits {
            self.wrong(value, path, shape.go());
        }
    }

    fn wrong(&mut self, value: &Value, path: &str, wanted: &str) {
        let is = meta::go_kind(value);
        self.wrong.get_or_insert_with(|| {
            format!("json: cannot unmarshal {is} into Go struct field KubeletConfiguration.{path} of type {wanted}")
        });
    }
}

fn list(value: &Value, fits: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(fits))
}

fn entries(value: &Value, fits: impl Fn(&Value) -> bool) -> bool {
    value.as_object().is_some_and(|map: &Map<String, Value>| map.values().all(fits))
}

/// Takes what the node honours from a value whose shape is right.
fn take(value: &Value, folder: &Path, ignored: Vec<String>, invalid: &mut Vec<String>) -> Configuration {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let path = |value: &Value| text(value).map(|text| folder.join(text));
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let flag = |value: &Value, default: bool| value.as_bool().unwrap_or(default);
    let mut refuse = |wrong: bool, message: String| {
        if wrong {
            invalid.push(format!("invalid configuration: {message}"));
        }
    };
    let number = |name: &str, default: i64| match value[name].as_i64().unwrap_or(0) {
        0 => default,
        given => given,
    };

    let port = number("port", 10250);
    refuse(
        !(1..=65535).contains(&port),
        format!("port (--port) {port} must be between 1 and 65535, inclusive"),
    );
    let max_pods = number("maxPods", 110);
    refuse(max_pods < 0, format!("maxPods (--max-pods) {max_pods} must not be a negative number"));
    let files = value["containerLogMaxFiles"].as_i64().unwrap_or(5);
    refuse(files <= 1, format!("containerLogMaxFiles {files} must be greater than 1"));
    let size = text(&value["containerLogMaxSize"]).unwrap_or_else(|| "10Mi".to_owned());
    let size_bytes = Quantity::parse(&size).map(Quantity::value).unwrap_or(-1);
    refuse(size_bytes < 0, format!("containerLogMaxSize {} is no size", meta::go_quote(&size)));
    let serial = flag(&value["serializeImagePulls"], true);
    let pulls = value["maxParallelImagePulls"].as_i64();
    refuse(
        pulls.is_some_and(|pulls| pulls < 1),
        format!("maxParallelImagePulls {} must be a positive number", pulls.unwrap_or_default()),
    );
    refuse(
        serial && pulls.is_some_and(|pulls| pulls > 1),
        "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false"
            .to_owned(),
    );
    refuse(
        flag(&value["runOnce"], false),
        "runOnce (--runOnce) true, Runonce mode has been deprecated and should not be set".to_owned(),
    );
    let mode = text(&value["authorization"]["mode"]).unwrap_or_else(|| "Webhook".to_owned());
    refuse(
        mode != "Webhook" && mode != "AlwaysAllow",
        format!("authorization.mode {} is no authorization mode", meta::go_quote(&mode)),
    );
    let taints = taints(&value["registerWithTaints"], &mut refuse);
    let (certificate, key) = (path(&value["tlsCertFile"]), path(&value["tlsPrivateKeyFile"]));
    refuse(
        certificate.is_some() != key.is_some(),
        "tlsCertFile and tlsPrivateKeyFile must be given together".to_owned(),
    );

    Configuration {
        static_pods: path(&value["staticPodPath"]),
        pod_logs: path(&value["podLogsDir"]),
        address: text(&value["address"]),
        port: u16::try_from(port).ok(),
        tls_files: certificate.zip(key),
        suites: texts(&value["tlsCipherSuites"]),
        min_version: text(&value["tlsMinVersion"]).unwrap_or_default(),
        curves: curves(&value["tlsCurvePreferences"]),
        rotate_client: flag(&value["rotateCertificates"], false),
        rotate_serving: flag(&value["serverTLSBootstrap"], false),
        client_ca: path(&value["authentication"]["x509"]["clientCAFile"]),
        policy: policy(value, &mode),
        cluster_domain: text(&value["clusterDomain"]),
        cluster_dns: texts(&value["clusterDNS"]),
        max_pods: u32::try_from(max_pods).ok(),
        pod_pids_limit: value["podPidsLimit"].as_i64().filter(|limit| *limit > 0),
        resolv_conf: path(&value["resolvConf"]),
        parallel_pulls: Some(match (serial, pulls) {
            (true, _) => 1,
            (false, Some(pulls)) => usize::try_from(pulls).unwrap_or(1),
            // Upstream sets no bound then.
            (false, None) => tokio::sync::Semaphore::MAX_PERMITS,
        }),
        log: LogLimits {
            size_bytes_max: u64::try_from(size_bytes).unwrap_or_default(),
            files_max: u32::try_from(files).unwrap_or(u32::MAX),
        },
        seccomp_default: flag(&value["seccompDefault"], false),
        taints,
        ignored,
    }
}

fn curves(value: &Value) -> Vec<i32> {
    let numbers = value.as_array().into_iter().flatten().filter_map(Value::as_i64);
    numbers.filter_map(|id| i32::try_from(id).ok()).collect()
}

fn policy(value: &Value, mode: &str) -> Policy {
    let mut policy = Policy::default();
    let (authentication, authorization) = (&value["authentication"], &value["authorization"]["webhook"]);
    let take = |value: &Value, into: &mut Duration| {
        let given = value.as_str().and_then(|text| meta::Duration::parse(text).ok());
        if let Some(given) = given.filter(|given| given.nanos > 0) {
            *into = given.to_std();
        }
    };
    policy.anonymous = authentication["anonymous"]["enabled"].as_bool().unwrap_or(policy.anonymous);
    policy.tokens = authentication["webhook"]["enabled"].as_bool().unwrap_or(policy.tokens);
    policy.webhook = mode == "Webhook";
    take(&authentication["webhook"]["cacheTTL"], &mut policy.freshness.token);
    take(&authorization["cacheAuthorizedTTL"], &mut policy.freshness.allowed);
    take(&authorization["cacheUnauthorizedTTL"], &mut policy.freshness.denied);
    policy
}

fn taints(value: &Value, refuse: &mut impl FnMut(bool, String)) -> Vec<Taint> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |taint: &Value| {
        let (key, effect) = (text(&taint["key"]), text(&taint["effect"]));
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect.as_str());
        refuse(key.is_empty() || !known, format!("invalid taint: {key}:{effect}"));
        refuse(!taint["timeAdded"].is_null(), "taint.TimeAdded is not nil".to_owned());
        Taint {
            key: key.into(),
            value: text(&taint["value"]).into(),
            effect: effect.into(),
            ..Taint::default()
        }
    };
    value.as_array().into_iter().flatten().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    fn read(text: &str) -> Result<Configuration, String> {
        parse(&format!("{HEAD}{text}"), Path::new("/etc/k")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_kubeadm_writes_is_read() {
        let configuration = read(
            "authentication:\n  anonymous: {enabled: false}\n  webhook: {cacheTTL: 0s, enabled: true}\n  x509: \
             {clientCAFile: /etc/kubernetes/pki/ca.crt}\nauthorization:\n  mode: Webhook\n  webhook: \
             {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 1m}\ncgroupDriver: systemd\nclusterDNS: [10.96.0.10]\n\
             clusterDomain: cluster.local\ncontainerRuntimeEndpoint: ''\nhealthzPort: 10248\nlogging: {verbosity: 0}\n\
             resolvConf: run/resolv.conf\nrotateCertificates: true\nstaticPodPath: manifests\nsyncFrequency: 0s\n\
             memorySwap: {}\ncrashLoopBackOff: {}\nregisterWithTaints: [{key: a, value: b, effect: NoSchedule}]\n\
             serializeImagePulls: false\nmaxParallelImagePulls: 3\nmaxPods: 20\ncontainerLogMaxSize: 1Mi\n",
        )
        .unwrap();
        assert_eq!(configuration.client_ca.unwrap(), Path::new("/etc/kubernetes/pki/ca.crt"));
        assert_eq!(configuration.static_pods.unwrap(), Path::new("/etc/k/manifests"));
        assert_eq!(configuration.resolv_conf.unwrap(), Path::new("/etc/k/run/resolv.conf"));
        assert!(configuration.rotate_client && !configuration.rotate_serving);
        let policy = configuration.policy;
        assert!(policy.tokens && policy.webhook && !policy.anonymous);
        assert_eq!((policy.freshness.allowed.as_secs(), policy.freshness.denied.as_secs()), (300, 60));
        assert_eq!(configuration.parallel_pulls, Some(3));
        assert_eq!((configuration.max_pods, configuration.port), (Some(20), Some(10250)));
        assert_eq!(configuration.log.size_bytes_max, 1 << 20);
        assert_eq!(configuration.taints[0].key, "a");
        let mut ignored = configuration.ignored;
        ignored.sort();
        assert_eq!(
            ignored,
            [
                "cgroupDriver",
                "containerRuntimeEndpoint",
                "crashLoopBackOff",
                "healthzPort",
                "logging",
                "memorySwap",
                "syncFrequency"
            ]
        );
    }

    #[test]
    fn files_are_refused_in_upstreams_words() {
        for (text, said) in [
            ("maxpods: 1", "failed to decode: strict decoding error: unknown field \"maxpods\""),
            (
                "authentication: {x509: {ca: x}}\nfoo: 1",
                "failed to decode: strict decoding error: unknown field \"authentication.x509.ca\", unknown field \"foo\"",
            ),
            (
                "maxPods: '110'",
                "failed to decode: json: cannot unmarshal string into Go struct field KubeletConfiguration.maxPods of \
                 type int32",
            ),
            (
                "syncFrequency: 1",
                "failed to decode: json: cannot unmarshal number into Go struct field \
              KubeletConfiguration.syncFrequency of type string",
            ),
            ("syncFrequency: soon", "failed to decode: time: invalid duration \"soon\""),
            (
                "port: 70000\nmaxPods: -1",
                "failed to validate kubelet configuration, error: [invalid configuration: port (--port) 70000 must be \
                 between 1 and 65535, inclusive, invalid configuration: maxPods (--max-pods) -1 must not be a negative \
                 number]",
            ),
            (
                "maxParallelImagePulls: 2",
                "failed to validate kubelet configuration, error: invalid configuration: maxParallelImagePulls cannot be \
                 larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false",
            ),
        ] {
            assert_eq!(read(text).map(drop).unwrap_err(), said, "{text}");
        }
        let other = parse("apiVersion: v1\nkind: Pod\n", Path::new("")).unwrap_err().to_string();
        assert!(other.contains("no kind \"Pod\" is registered for version \"v1\""), "{other}");
    }

    #[test]
    fn a_bare_file_has_upstreams_defaults() {
        let configuration = read("").unwrap();
        assert_eq!((configuration.port, configuration.max_pods), (Some(10250), Some(110)));
        assert_eq!(configuration.parallel_pulls, Some(1));
        assert!(
            configuration.policy.webhook && configuration.policy.tokens && !configuration.policy.anonymous
        );
        assert!(configuration.ignored.is_empty());
    }
}
