//! Host name and `/etc/hosts` of a pod.

use types::core::v1::Pod;

/// The host name and the domain of a pod; the domain is empty without `subdomain`.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, String) {
    if let Some(name) = pod.spec.hostname_override.as_deref().filter(|n| !n.is_empty()) {
        return (name.to_owned(), String::new());
    }
    let name = if pod.spec.hostname.is_empty() { &pod.metadata.name } else { &pod.spec.hostname };
    // The kernel's limit is 64, DNS labels have 63; a cut may not leave a dash or dot at the end.
    let name = name.chars().take(63).collect::<String>();
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let domain = match pod.spec.subdomain.as_str() {
        "" => String::new(),
        sub => format!("{sub}.{}.svc.{cluster_domain}", pod.metadata.namespace),
    };
    (name, domain)
}

/// What `hostname` shall print inside: the full name with `setHostnameAsFQDN`.
///
/// # Errors
/// The full name is too long for the kernel.
pub fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = hostname(pod, cluster_domain);
    if domain.is_empty() || pod.spec.set_hostname_as_fqdn != Some(true) {
        return Ok(name);
    }
    let full = format!("{name}.{domain}");
    if full.len() > 64 {
        return Err(format!(
            "failed to construct FQDN from Pod hostname and cluster domain, FQDN {full} is too long (64 characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

/// `/etc/hosts` of a pod. On the node's network it is the node's file (`node_hosts`) with the pod's aliases.
pub fn hosts_file(pod: &Pod, ips: &[String], cluster_domain: &str, node_hosts: &str) -> String {
    let mut out;
    if pod.spec.host_network {
        out = format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}");
    } else {
        out = String::from(
            "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::\tip6-localnet\n\
             fe00::\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        let (name, domain) = hostname(pod, cluster_domain);
        for ip in ips {
            match domain.is_empty() {
                true => out.push_str(&format!("{ip}\t{name}\n")),
                false => out.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
            }
        }
    }
    if !pod.spec.host_aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in &pod.spec.host_aliases {
            let names: Vec<&str> = alias.hostnames.iter().map(|h| h.as_str()).collect();
            out.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::HostAlias;

    #[test]
    fn names() {
        let mut pod = Pod::default();
        pod.metadata.name = format!("{}-x", "a".repeat(62)).into();
        pod.metadata.namespace = "shop".into();
        assert_eq!(hostname(&pod, "cluster.local"), ("a".repeat(62), String::new()));
        pod.spec.hostname = "web".into();
        pod.spec.subdomain = "sub".into();
        assert_eq!(hostname(&pod, "cluster.local"), ("web".into(), "sub.shop.svc.cluster.local".into()));
        assert_eq!(kernel_hostname(&pod, "cluster.local").unwrap(), "web");
        pod.spec.set_hostname_as_fqdn = Some(true);
        assert_eq!(kernel_hostname(&pod, "cluster.local").unwrap(), "web.sub.shop.svc.cluster.local");
        assert!(kernel_hostname(&pod, &"d".repeat(60)).is_err());
    }

    #[test]
    fn file() {
        let mut pod = Pod::default();
        pod.metadata.name = "web".into();
        let alias =
            HostAlias { ip: "1.2.3.4".into(), hostnames: ["a".into(), "b".into()].into_iter().collect() };
        pod.spec.host_aliases.push(alias);
        let text = hosts_file(&pod, &["10.0.0.2".into()], "cluster.local", "");
        assert!(text.contains("127.0.0.1\tlocalhost\n"));
        assert!(
            text.ends_with("10.0.0.2\tweb\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"),
            "{text}"
        );
        pod.spec.host_network = true;
        assert!(hosts_file(&pod, &[], "", "127.0.0.1 node\n").contains("\n127.0.0.1 node\n"));
    }
}
