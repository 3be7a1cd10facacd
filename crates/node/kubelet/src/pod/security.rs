//! Whom a container runs as and what it may do: the pod's and the container's security context as one.

use runtime::{SeccompProfile, SecurityContext};
use types::core::v1::{Container, Pod};

use super::format;

/// The user of an image, as its configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// The numeric user, if it is numeric (an empty one is root).
    pub uid: Option<i64>,
    /// The name otherwise.
    pub name: String,
}

impl ImageUser {
    /// Reads `user[:group]`.
    pub fn parse(text: &str) -> ImageUser {
        let user = text.split(':').next().unwrap_or("");
        match user {
            "" => ImageUser { uid: Some(0), name: String::new() },
            _ => ImageUser { uid: user.parse().ok(), name: user.to_owned() },
        }
    }
}

/// The runtime's security context of a container.
pub fn effective(pod: &Pod, container: &Container, seccomp_default: bool) -> SecurityContext {
    let of_pod = pod.spec.security_context.as_deref();
    let own = container.security_context.as_deref();
    let capabilities = own.and_then(|s| s.capabilities.as_deref());
    let names = |list: Option<&meta::List<meta::Str>>| {
        list.map(|l| l.iter().map(|c| c.to_string()).collect()).unwrap_or_default()
    };
    let privileged = own.and_then(|s| s.privileged).unwrap_or(false);
    let unmasked = own.and_then(|s| s.proc_mount.as_deref()) == Some("Unmasked");
    let mut groups: Vec<i64> =
        of_pod.map(|s| s.supplemental_groups.iter().copied().collect()).unwrap_or_default();
    groups.extend(of_pod.and_then(|s| s.fs_group));
    let profile = own
        .and_then(|s| s.seccomp_profile.as_deref())
        .or_else(|| of_pod.and_then(|s| s.seccomp_profile.as_deref()));
    let seccomp = match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => SeccompProfile::RuntimeDefault,
        Some(("Localhost", Some(file))) => SeccompProfile::Localhost(file.to_owned()),
        None if seccomp_default && !privileged => SeccompProfile::RuntimeDefault,
        _ => SeccompProfile::Unconfined,
    };
    SecurityContext {
        privileged,
        add_capabilities: names(capabilities.map(|c| &c.add)),
        drop_capabilities: names(capabilities.map(|c| &c.drop)),
        run_as_user: own.and_then(|s| s.run_as_user).or_else(|| of_pod.and_then(|s| s.run_as_user)),
        run_as_username: None,
        run_as_group: own.and_then(|s| s.run_as_group).or_else(|| of_pod.and_then(|s| s.run_as_group)),
        supplemental_groups: groups,
        strict_groups: of_pod.and_then(|s| s.supplemental_groups_policy.as_deref()) == Some("Strict"),
        readonly_rootfs: own.and_then(|s| s.read_only_root_filesystem).unwrap_or(false),
        no_new_privs: own.and_then(|s| s.allow_privilege_escalation) == Some(false),
        masked_paths: unmasked.then(Vec::new),
        readonly_paths: unmasked.then(Vec::new),
        seccomp,
        apparmor: None,
    }
}

/// Refuses a container that says it is not root and would be.
///
/// # Errors
/// The message of `CreateContainerConfigError`.
pub fn check_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), String> {
    let of_pod = pod.spec.security_context.as_deref();
    let own = container.security_context.as_deref();
    let wanted = own.and_then(|s| s.run_as_non_root).or_else(|| of_pod.and_then(|s| s.run_as_non_root));
    if wanted != Some(true) {
        return Ok(());
    }
    let context = format!("(pod: \"{}\", container: {})", format(pod), container.name);
    let user = own.and_then(|s| s.run_as_user).or_else(|| of_pod.and_then(|s| s.run_as_user));
    match (user, image) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {context}")),
        (Some(_), _) => Ok(()),
        (None, ImageUser { uid: Some(0), .. }) => {
            Err(format!("container has runAsNonRoot and image will run as root {context}"))
        }
        (None, ImageUser { uid: Some(_), .. }) => Ok(()),
        (None, ImageUser { name, .. }) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {context}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::core::v1::{PodSecurityContext, SecurityContext as Own};

    #[test]
    fn the_container_wins_over_the_pod() {
        let mut pod = Pod::default();
        let of_pod = PodSecurityContext { run_as_user: Some(1000), fs_group: Some(7), ..Default::default() };
        pod.spec.security_context = Some(Box::new(of_pod));
        let own =
            Own { run_as_user: Some(2000), allow_privilege_escalation: Some(false), ..Default::default() };
        let container = Container { security_context: Some(Box::new(own)), ..Default::default() };
        let got = effective(&pod, &container, false);
        assert_eq!((got.run_as_user, got.supplemental_groups, got.no_new_privs), (Some(2000), vec![7], true));
        assert_eq!(effective(&pod, &Container::default(), true).seccomp, SeccompProfile::RuntimeDefault);
    }

    #[test]
    fn non_root() {
        let mut pod = Pod::default();
        pod.metadata.name = "p".into();
        pod.metadata.namespace = "ns".into();
        pod.metadata.uid = "u".into();
        let of_pod = PodSecurityContext { run_as_non_root: Some(true), ..Default::default() };
        pod.spec.security_context = Some(Box::new(of_pod));
        let container = Container { name: "c".into(), ..Default::default() };
        let check = |user: &str| check_non_root(&pod, &container, &ImageUser::parse(user));
        assert_eq!(
            check("").unwrap_err(),
            "container has runAsNonRoot and image will run as root (pod: \"p_ns(u)\", container: c)"
        );
        assert!(check("www").unwrap_err().contains("non-numeric user (www)"));
        assert!(check("101:101").is_ok());
        assert!(check_non_root(&Pod::default(), &container, &ImageUser::parse("0")).is_ok());
    }
}
