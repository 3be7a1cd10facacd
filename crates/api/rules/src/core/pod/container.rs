//! Checks of containers: regular, init and ephemeral ones.

use super::{Scope, env, mounts, probe, resources, security};
use crate::Path;
use crate::check::{Errs, dns_label, port_name, port_number};
use meta::{List, Str};
use std::collections::BTreeSet;
use types::core::v1::*;

pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
pub(super) const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const INIT_ONLY_RESTARTABLE: &str = "may not be set for init containers without restartPolicy=Always";
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// The fields that containers and ephemeral containers share, as two types of the API hold them.
pub(crate) struct View<'a> {
    pub name: &'a Str,
    pub image: &'a Str,
    pub ports: &'a List<ContainerPort>,
    pub env: &'a List<EnvVar>,
    pub env_from: &'a List<EnvFromSource>,
    pub mounts: &'a List<VolumeMount>,
    pub devices: &'a List<VolumeDevice>,
    pub resources: &'a ResourceRequirements,
    pub resize_policy: &'a List<ContainerResizePolicy>,
    pub security: Option<&'a SecurityContext>,
    termination_message_policy: &'a Str,
    pull_policy: &'a Str,
}

macro_rules! view {
    ($t:ty) => {
        impl<'a> From<&'a $t> for View<'a> {
            fn from(c: &'a $t) -> Self {
                View {
                    name: &c.name,
                    image: &c.image,
                    ports: &c.ports,
                    env: &c.env,
                    env_from: &c.env_from,
                    mounts: &c.volume_mounts,
                    devices: &c.volume_devices,
                    resources: &c.resources,
                    resize_policy: &c.resize_policy,
                    security: c.security_context.as_deref(),
                    termination_message_policy: &c.termination_message_policy,
                    pull_policy: &c.image_pull_policy,
                }
            }
        }
    };
}
view!(Container);
view!(EphemeralContainer);

/// Calls `visit` with every container of a pod and its place, in the order init, regular, ephemeral.
pub(crate) fn visit(spec: &PodSpec, at: &Path<'_>, mut visit: impl FnMut(View<'_>, &Path<'_>)) {
    let (init, regular, ephemeral) =
        (at.child("initContainers"), at.child("containers"), at.child("ephemeralContainers"));
    for (i, c) in spec.init_containers.iter().enumerate() {
        visit(c.into(), &init.index(i));
    }
    for (i, c) in spec.containers.iter().enumerate() {
        visit(c.into(), &regular.index(i));
    }
    for (i, c) in spec.ephemeral_containers.iter().enumerate() {
        visit(c.into(), &ephemeral.index(i));
    }
}

/// The regular containers: at least one, names unique, host ports without conflict.
pub(super) fn regular(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, scope: &Scope<'_>) {
    if spec.containers.is_empty() {
        return e.required(at, "");
    }
    let mut names = BTreeSet::new();
    for (i, c) in spec.containers.iter().enumerate() {
        let at = at.index(i);
        common(e, &at, &c.into(), scope);
        if !names.insert(&c.name) {
            e.duplicate(&at.child("name"), &c.name);
        }
        probes(e, &at, c, scope);
        if let Some(policy) = c.restart_policy.as_deref() {
            e.one_of(&at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
        restart_rules(e, &at, c);
    }
    host_ports(e, at, spec.containers.iter().enumerate());
}

/// The init containers, of which those that restart always behave like regular ones.
pub(super) fn init(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, scope: &Scope<'_>) {
    let mut names: BTreeSet<&Str> = spec.containers.iter().map(|c| &c.name).collect();
    for (i, c) in spec.init_containers.iter().enumerate() {
        let at_list = at;
        let at = at.index(i);
        common(e, &at, &c.into(), scope);
        if let Some(policy) = c.restart_policy.as_deref() {
            e.one_of(&at.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
        if names.contains(&c.name) {
            e.duplicate(&at.child("name"), &c.name);
        } else if !c.name.is_empty() {
            names.insert(&c.name);
        }
        host_ports(e, at_list, std::iter::once((0, c)));
        if crate::amounts::is_sidecar(c) {
            probes(e, &at, c, scope);
        } else {
            for (field, set) in [
                ("lifecycle", c.lifecycle.is_some()),
                ("livenessProbe", c.liveness_probe.is_some()),
                ("readinessProbe", c.readiness_probe.is_some()),
                ("startupProbe", c.startup_probe.is_some()),
            ] {
                if set {
                    e.forbidden(&at.child(field), INIT_ONLY_RESTARTABLE);
                }
            }
        }
        restart_rules(e, &at, c);
    }
}

fn restart_rules(e: &mut Errs, at: &Path<'_>, c: &Container) {
    let rules = at.child("restartPolicyRules");
    if c.restart_policy_rules.is_empty() {
        return;
    }
    if c.restart_policy.is_none() {
        e.required(&at.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if c.restart_policy_rules.len() > 20 {
        e.too_long(&rules, 20);
    }
    for (i, rule) in c.restart_policy_rules.iter().enumerate() {
        let at = rules.index(i);
        e.one_of(&at.child("action"), &rule.action, &["Restart", "RestartAllContainers"]);
        let Some(codes) = &rule.exit_codes else {
            e.required(&at.child("exitCodes"), "must be specified");
            continue;
        };
        let at = at.child("exitCodes");
        e.one_of(&at.child("operator"), &codes.operator, &["In", "NotIn"]);
        match codes.values.len() {
            0 => e.invalid(&at.child("values"), "", "must specify at least one value"),
            n if n > 255 => e.too_long(&at.child("values"), 255),
            _ => {}
        }
    }
}

/// The ephemeral containers: few fields, and a target that exists.
pub(super) fn ephemeral(e: &mut Errs, at: &Path<'_>, spec: &PodSpec, scope: &Scope<'_>) {
    let others: BTreeSet<&Str> =
        spec.containers.iter().chain(spec.init_containers.iter()).map(|c| &c.name).collect();
    let mut names = others.clone();
    for (i, c) in spec.ephemeral_containers.iter().enumerate() {
        let at = at.index(i);
        let view = c.into();
        common(e, &at, &view, scope);
        image_whitespace(e, &at, &view);
        if !names.insert(&c.name) {
            e.duplicate(&at.child("name"), &c.name);
        }
        if !c.target_container_name.is_empty() && !others.contains(&c.target_container_name) {
            e.not_found(&at.child("targetContainerName"), &c.target_container_name);
        }
        for (field, set) in [
            ("ports", !c.ports.is_empty()),
            ("resources", c.resources != ResourceRequirements::default()),
            ("resizePolicy", !c.resize_policy.is_empty()),
            ("restartPolicy", c.restart_policy.is_some()),
            ("restartPolicyRules", !c.restart_policy_rules.is_empty()),
            ("livenessProbe", c.liveness_probe.is_some()),
            ("readinessProbe", c.readiness_probe.is_some()),
            ("startupProbe", c.startup_probe.is_some()),
            ("lifecycle", c.lifecycle.is_some()),
        ] {
            if set {
                e.forbidden(&at.child(field), NOT_EPHEMERAL);
            }
        }
        let mounts = at.child("volumeMounts");
        for (i, mount) in c.volume_mounts.iter().enumerate() {
            let at = mounts.index(i);
            if !mount.sub_path.is_empty() {
                e.forbidden(&at.child("subPath"), NOT_EPHEMERAL);
            }
            if !mount.sub_path_expr.is_empty() {
                e.forbidden(&at.child("subPathExpr"), NOT_EPHEMERAL);
            }
        }
    }
}

/// What pods require beyond templates: image names without blanks around them.
pub(super) fn image_whitespace(e: &mut Errs, at: &Path<'_>, c: &View<'_>) {
    if c.image.trim().len() != c.image.len() {
        e.invalid(&at.child("image"), c.image, "must not have leading or trailing whitespace");
    }
}

fn common(e: &mut Errs, at: &Path<'_>, c: &View<'_>, scope: &Scope<'_>) {
    if e.present(&at.child("name"), c.name) {
        e.each(&at.child("name"), c.name, dns_label(c.name));
    }
    e.present(&at.child("image"), c.image);
    e.required_one_of(
        &at.child("terminationMessagePolicy"),
        c.termination_message_policy,
        &["File", "FallbackToLogsOnError"],
    );
    ports(e, &at.child("ports"), c.ports);
    env::vars(e, &at.child("env"), c.env, scope);
    env::from(e, &at.child("envFrom"), c.env_from);
    mounts::mounts(e, &at.child("volumeMounts"), c, scope);
    mounts::devices(e, &at.child("volumeDevices"), c, scope);
    e.required_one_of(&at.child("imagePullPolicy"), c.pull_policy, &PULL_POLICIES);
    resources::container(e, &at.child("resources"), c.resources, &scope.claims);
    resize(e, &at.child("resizePolicy"), c.resize_policy, scope.restart_policy);
    security::container(e, &at.child("securityContext"), c.security, scope);
}

fn ports(e: &mut Errs, at: &Path<'_>, ports: &List<ContainerPort>) {
    let mut names = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = at.index(i);
        if !port.name.is_empty() {
            let messages = port_name(&port.name);
            if !messages.is_empty() {
                e.each(&at.child("name"), &port.name, messages);
            } else if !names.insert(&port.name) {
                e.duplicate(&at.child("name"), &port.name);
            }
        }
        if port.container_port == 0 {
            e.required(&at.child("containerPort"), "");
        } else {
            number(e, &at.child("containerPort"), port.container_port);
        }
        if port.host_port != 0 {
            number(e, &at.child("hostPort"), port.host_port);
        }
        e.required_one_of(&at.child("protocol"), &port.protocol, &PROTOCOLS);
    }
}

/// A port number.
pub(crate) fn number(e: &mut Errs, at: &Path<'_>, port: i32) {
    for message in port_number(port.into()) {
        e.invalid(at, port, message);
    }
}

fn host_ports<'a>(e: &mut Errs, at: &Path<'_>, containers: impl Iterator<Item = (usize, &'a Container)>) {
    let mut taken = BTreeSet::new();
    for (ci, c) in containers {
        let at = at.index(ci);
        let ports = at.child("ports");
        for (pi, port) in c.ports.iter().enumerate().filter(|(_, p)| p.host_port != 0) {
            let key = format!("{}/{}/{}", port.protocol, port.host_ip, port.host_port);
            if taken.contains(&key) {
                e.duplicate(&ports.index(pi).child("hostPort"), &key);
            }
            taken.insert(key);
        }
    }
}

fn resize(e: &mut Errs, at: &Path<'_>, policies: &List<ContainerResizePolicy>, restart_policy: &str) {
    let mut seen = BTreeSet::new();
    for (i, p) in policies.iter().enumerate() {
        if !seen.insert(&p.resource_name) {
            e.duplicate(&at.index(i), &p.resource_name);
        }
        e.required_one_of(at, &p.resource_name, &["cpu", "memory"]);
        e.required_one_of(at, &p.restart_policy, &["NotRequired", "RestartContainer"]);
        if restart_policy == "Never" && p.restart_policy != "NotRequired" {
            e.invalid(at, &p.restart_policy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}

fn probes(e: &mut Errs, at: &Path<'_>, c: &Container, scope: &Scope<'_>) {
    if let Some(lifecycle) = &c.lifecycle {
        probe::lifecycle(e, &at.child("lifecycle"), lifecycle, scope);
    }
    if let Some(p) = &c.liveness_probe {
        let at = at.child("livenessProbe");
        probe::probe(e, &at, p);
        probe::one_success(e, &at, p);
    }
    if let Some(p) = &c.readiness_probe {
        let at = at.child("readinessProbe");
        probe::probe(e, &at, p);
        if let Some(seconds) = p.termination_grace_period_seconds {
            e.invalid(
                &at.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            );
        }
    }
    if let Some(p) = &c.startup_probe {
        let at = at.child("startupProbe");
        probe::probe(e, &at, p);
        probe::one_success(e, &at, p);
    }
}
