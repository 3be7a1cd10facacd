//! What `/etc/resolv.conf` of a pod says: the pod's `dnsPolicy` and `dnsConfig` merged with the cluster's and the
//! node's settings by the kubelet's rules. Pure: the caller reads the node's file and writes the pod's.
//! Start at [`pod_config`].

use std::fmt;

use types::core::v1::Pod;

/// Most name servers a resolver looks at; more are dropped with a warning.
pub const MAX_NAMESERVERS: usize = 3;
/// Most search paths that the API and the kubelet accept.
pub const MAX_SEARCH_PATHS: usize = 32;
/// Longest search line in characters.
pub const MAX_SEARCH_CHARS: usize = 2048;
/// The option that cluster lookups need so that `a.b.svc` style names go through the search path first.
pub const CLUSTER_NDOTS: &str = "ndots:5";

/// The three kinds of lines of a resolver configuration, in the order in which they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Addresses of `nameserver` lines.
    pub servers: Vec<String>,
    /// Domains of the `search` line.
    pub searches: Vec<String>,
    /// Words of the `options` line, each `name` or `name:value`.
    pub options: Vec<String>,
}

/// `spec.dnsPolicy` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsPolicy {
    /// Cluster DNS, unless the pod uses the node's network.
    #[default]
    ClusterFirst,
    /// Cluster DNS even on the node's network.
    ClusterFirstWithHostNet,
    /// The node's own configuration.
    Default,
    /// Only what `spec.dnsConfig` says.
    None,
}

impl DnsPolicy {
    /// Reads the API's word; unknown words (which validation refuses) mean `ClusterFirst`.
    pub fn parse(word: &str) -> DnsPolicy {
        match word {
            "ClusterFirstWithHostNet" => DnsPolicy::ClusterFirstWithHostNet,
            "Default" => DnsPolicy::Default,
            "None" => DnsPolicy::None,
            _ => DnsPolicy::ClusterFirst,
        }
    }
}

/// The parts of a pod that decide its resolver configuration.
#[derive(Clone, Debug, Default)]
pub struct PodDns<'a> {
    /// Namespace of the pod, first label of its search path.
    pub namespace: &'a str,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.dnsPolicy`.
    pub policy: DnsPolicy,
    /// `spec.dnsConfig`; option values are joined as `name:value`.
    pub config: ResolvConf,
}

impl<'a> PodDns<'a> {
    /// The parts of an API object.
    pub fn of(pod: &'a Pod) -> PodDns<'a> {
        let words = |list: &[meta::Str]| list.iter().map(ToString::to_string).collect();
        let config = pod.spec.dns_config.as_ref().map(|config| ResolvConf {
            servers: words(&config.nameservers),
            searches: words(&config.searches),
            options: config
                .options
                .iter()
                .map(|option| match option.value.as_deref().filter(|value| !value.is_empty()) {
                    Some(value) => format!("{}:{value}", option.name),
                    None => option.name.to_string(),
                })
                .collect(),
        });
        PodDns {
            namespace: &pod.metadata.namespace,
            host_network: pod.spec.host_network,
            policy: DnsPolicy::parse(&pod.spec.dns_policy),
            config: config.unwrap_or_default(),
        }
    }
}

/// A pod's configuration and what the user should hear about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodResolvConf {
    /// What to write.
    pub conf: ResolvConf,
    /// Event reason and message for everything that had to be left out.
    pub warnings: Vec<(&'static str, String)>,
}

impl ResolvConf {
    /// Reads a resolver file. Unknown lines are skipped, the last `search` line counts, `options` add up.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with('#') || line.starts_with(';') {
                continue;
            }
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().map(str::to_owned)),
                Some("search") | Some("domain") => {
                    conf.searches = words
                        .take_while(|word| !word.starts_with('#') && !word.starts_with(';'))
                        .map(|word| if word == "." { word } else { word.trim_end_matches('.') })
                        .filter(|word| !word.is_empty())
                        .map(str::to_owned)
                        .collect();
                }
                Some("options") => append_new(&mut conf.options, words),
                _ => {}
            }
        }
        conf
    }
}

impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

/// The resolver configuration of `pod`, where `cluster_dns` are the addresses of cluster DNS, `domain` is the cluster's
/// domain (`cluster.local`), and `node` is the node's own configuration.
pub fn pod_config(
    pod: &PodDns<'_>,
    cluster_dns: &[String],
    domain: &str,
    node: &ResolvConf,
) -> PodResolvConf {
    let mut warnings = Vec::new();
    let cluster = match pod.policy {
        DnsPolicy::ClusterFirst => !pod.host_network,
        DnsPolicy::ClusterFirstWithHostNet => true,
        DnsPolicy::Default | DnsPolicy::None => false,
    };
    let mut conf = match (pod.policy, cluster) {
        (DnsPolicy::None, _) => ResolvConf::default(),
        (_, true) if cluster_dns.is_empty() => {
            warnings.push((
                "MissingClusterDNS",
                "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. \
                 Falling back to \"Default\" policy."
                    .to_owned(),
            ));
            node.clone()
        }
        (_, true) => cluster_config(pod.namespace, cluster_dns, domain, node),
        (_, false) => node.clone(),
    };
    append_new(&mut conf.servers, pod.config.servers.iter().map(String::as_str));
    append_new(&mut conf.searches, pod.config.searches.iter().map(String::as_str));
    merge_options(&mut conf.options, &pod.config.options);
    limit(&mut conf, &mut warnings);
    PodResolvConf { conf, warnings }
}

fn cluster_config(namespace: &str, cluster_dns: &[String], domain: &str, node: &ResolvConf) -> ResolvConf {
    let mut searches = Vec::new();
    if !domain.is_empty() {
        let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
        append_new(&mut searches, own.iter().map(String::as_str));
    }
    append_new(&mut searches, node.searches.iter().map(String::as_str));
    ResolvConf { servers: cluster_dns.to_vec(), searches, options: vec![CLUSTER_NDOTS.to_owned()] }
}

fn append_new<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a str>) {
    for word in more {
        if !list.iter().any(|have| have == word) {
            list.push(word.to_owned());
        }
    }
}

/// An option of the pod replaces the one of the same name, wherever that came from.
fn merge_options(options: &mut Vec<String>, own: &[String]) {
    let name = |option: &str| option.split(':').next().unwrap_or_default().to_owned();
    for option in own {
        match options.iter_mut().find(|have| name(have) == name(option)) {
            Some(have) => *have = option.clone(),
            None => options.push(option.clone()),
        }
    }
}

fn limit(conf: &mut ResolvConf, warnings: &mut Vec<(&'static str, String)>) {
    if conf.servers.len() > MAX_NAMESERVERS {
        conf.servers.truncate(MAX_NAMESERVERS);
        warnings.push((
            "DNSConfigForming",
            format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
                conf.servers.join(" ")
            ),
        ));
    }
    let before = conf.searches.len();
    conf.searches.truncate(MAX_SEARCH_PATHS);
    while conf.searches.iter().map(|path| path.len() + 1).sum::<usize>() > MAX_SEARCH_CHARS + 1 {
        conf.searches.pop();
    }
    if conf.searches.len() < before {
        warnings.push((
            "DNSConfigForming",
            format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
                conf.searches.join(" ")
            ),
        ));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    fn node() -> ResolvConf {
        ResolvConf::parse(
            "# made by hand\nnameserver 192.0.2.1\nsearch old.example\nsearch lab.example. corp.example\noptions timeout:1 rotate\n",
        )
    }

    #[test]
    fn policies() {
        let cluster = words(&["10.96.0.10"]);
        let shown = |policy, host_network| {
            let pod = PodDns { namespace: "shop", host_network, policy, config: ResolvConf::default() };
            pod_config(&pod, &cluster, "cluster.local", &node()).conf.to_string()
        };
        let in_cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local lab.example corp.example\n\
                          nameserver 10.96.0.10\noptions ndots:5\n";
        let of_node = "search lab.example corp.example\nnameserver 192.0.2.1\noptions timeout:1 rotate\n";
        assert_eq!(shown(DnsPolicy::ClusterFirst, false), in_cluster);
        assert_eq!(shown(DnsPolicy::ClusterFirst, true), of_node);
        assert_eq!(shown(DnsPolicy::ClusterFirstWithHostNet, true), in_cluster);
        assert_eq!(shown(DnsPolicy::Default, false), of_node);
        assert_eq!(shown(DnsPolicy::None, false), "");
    }

    #[test]
    fn own_settings_are_added_and_own_options_win() {
        let config = ResolvConf {
            servers: words(&["10.96.0.10", "192.0.2.7"]),
            searches: words(&["svc.cluster.local", "my.example"]),
            options: words(&["ndots:2", "edns0"]),
        };
        let pod = PodDns { namespace: "a", config, ..PodDns::default() };
        let out = pod_config(&pod, &words(&["10.96.0.10"]), "cluster.local", &ResolvConf::default());
        assert_eq!(
            out.conf.to_string(),
            "search a.svc.cluster.local svc.cluster.local cluster.local my.example\n\
             nameserver 10.96.0.10\nnameserver 192.0.2.7\noptions ndots:2 edns0\n"
        );
        assert!(out.warnings.is_empty());
    }

    #[test]
    fn pods_of_the_api() {
        let pod: Pod = meta::from_value(serde_json::json!({
            "metadata": {"namespace": "shop", "name": "p"},
            "spec": {"dnsPolicy": "None", "dnsConfig": {
                "nameservers": ["192.0.2.9"], "searches": ["a.example"],
                "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}],
            }},
        }))
        .unwrap();
        let out = pod_config(&PodDns::of(&pod), &words(&["10.96.0.10"]), "cluster.local", &node());
        assert_eq!(out.conf.to_string(), "search a.example\nnameserver 192.0.2.9\noptions ndots:3 edns0\n");
    }

    #[test]
    fn limits_cut_and_say_so() {
        let config = ResolvConf {
            servers: words(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]),
            searches: (0..40).map(|i| format!("{}{i}.example", "x".repeat(100))).collect(),
            options: vec![],
        };
        let pod = PodDns { policy: DnsPolicy::None, config, ..PodDns::default() };
        let out = pod_config(&pod, &[], "cluster.local", &ResolvConf::default());
        assert_eq!(out.conf.servers.len(), 3);
        assert!(out.conf.searches.join(" ").len() <= MAX_SEARCH_CHARS);
        assert_eq!(out.conf.searches.len(), 18);
        assert_eq!(out.warnings.len(), 2);
    }

    #[test]
    fn without_cluster_dns_the_node_answers() {
        let pod = PodDns { namespace: "a", ..PodDns::default() };
        let out = pod_config(&pod, &[], "cluster.local", &node());
        assert_eq!(out.conf, node());
        assert_eq!(out.warnings[0].0, "MissingClusterDNS");
    }
}
