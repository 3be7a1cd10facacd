//! The objects of a new cluster: system namespaces, priority classes, the `kubernetes` Service with its endpoints, the
//! trust configuration for extension servers, and the bootstrap policy.

use std::sync::Arc;

use authn::{Identified, MASTERS, User};
use authz::{Attributes, Authorized};
use call::{Action, Call, Target, WriteOptions};
use meta::{Codec, Kind, Object, Status, Time};
use registry::{Outcome, Served};
use types::core::v1::{ConfigMap, Endpoints, Namespace, Service};
use types::discovery::v1::EndpointSlice;
use types::networking::v1::ServiceCIDR;
use types::scheduling::v1::PriorityClass;

use super::{hooks, policy};
use crate::server::Server;

/// Namespaces of every cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Priority classes of every cluster.
const PRIORITY_CLASSES: [(&str, i32, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// The ConfigMap that tells since when the use of tokens is noted.
pub(super) const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// The ConfigMap that tells extension API servers whom to trust.
pub(super) const TRUST: &str = "extension-apiserver-authentication";

/// Writes as the server itself, through the same pipeline as everybody.
pub(super) struct Writer<'a> {
    server: &'a Arc<Server>,
    identified: Identified,
    manager: &'static str,
}

/// Writes everything that is missing.
pub(crate) async fn write_first_objects(server: &Arc<Server>) -> Result<(), Status> {
    let writer = Writer::new(server, "kube-apiserver");
    writer.namespaces().await?;
    let policies = policy::reconcile(&writer);
    policies.await?;
    server.hooks.done(hooks::ROLES);
    for (name, value, description) in PRIORITY_CLASSES {
        let mut class = PriorityClass { value, description: description.into(), ..Default::default() };
        class.metadata.name = name.into();
        writer.ensure(class).await?;
    }
    server.hooks.done(hooks::PRIORITIES);
    writer.trust().await?;
    writer.service().await?;
    writer.endpoints().await
}

/// A kind from a short YAML text.
fn document<K: Kind + Codec>(yaml: &str) -> Result<K, Status> {
    let value: serde_json::Value = serde_norway::from_str(yaml).map_err(Status::internal_error)?;
    meta::from_value(value).map_err(Status::internal_error)
}

impl<'a> Writer<'a> {
    /// A writer whose changes are recorded for `manager`.
    pub(super) fn new(server: &'a Arc<Server>, manager: &'static str) -> Self {
        let user = User::new("system:apiserver", &[MASTERS, authn::AUTHENTICATED]);
        Writer { server, identified: Identified::in_process(Arc::new(user)), manager }
    }

    /// The same writer, whose changes are recorded for another manager.
    pub(super) fn of(&self, manager: &'static str) -> Writer<'a> {
        Writer { server: self.server, identified: self.identified.clone(), manager }
    }

    /// Replaces an object's status, with the same tolerance.
    pub(super) async fn update_status<K: Kind + Object>(&self, object: K) -> Result<(), Status> {
        match self.write(object, "update/status").await {
            Ok(_) => Ok(()),
            Err(status) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// Replaces an object; somebody else's change meanwhile is no error, since it will be looked at too.
    pub(super) async fn update<K: Kind + Object>(&self, object: K) -> Result<(), Status> {
        match self.write(object, "update").await {
            Ok(_) => Ok(()),
            Err(status) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// Replaces an object, or its status, and answers what came of it.
    pub(super) async fn try_update<K: Kind + Object>(&self, object: K, status: bool) -> Result<(), Status> {
        self.write(object, if status { "update/status" } else { "update" }).await.map(drop)
    }

    /// Permission to do something to all objects of a resource.
    pub(super) async fn authorized_for(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
    ) -> Result<Authorized, Status> {
        let attributes = Attributes::resource(verb, group, resource, "", "");
        let authorized = self.server.authorizer.authorize(self.identified.clone(), attributes).await;
        authorized.map_err(|refused| crate::pipeline::refusal(&refused))
    }

    /// Applies a condition to the status of a cluster-scoped object, as [`Writer::apply`] applies fields.
    pub(super) async fn apply_condition<K: Kind + Object>(
        &self,
        name: &str,
        condition: serde_json::Value,
    ) -> Result<(), Status> {
        let fields = serde_json::json!({ "status": { "conditions": [condition] } });
        self.apply_to::<K>(Target::of::<K>("").named(name).subresource("status"), fields).await
    }

    /// Applies fields of a cluster-scoped object, by force; one that is gone meanwhile is left alone.
    pub(super) async fn apply<K: Kind + Object>(
        &self,
        name: &str,
        fields: serde_json::Value,
    ) -> Result<(), Status> {
        self.apply_to::<K>(Target::of::<K>("").named(name), fields).await
    }

    async fn apply_to<K: Kind + Object>(
        &self,
        target: Target,
        mut fields: serde_json::Value,
    ) -> Result<(), Status> {
        fields["apiVersion"] = K::api_version().into();
        fields["kind"] = K::KIND.into();
        fields["metadata"] = serde_json::json!({ "name": target.name.as_str() });
        let options =
            WriteOptions { field_manager: self.manager.into(), force: true, ..WriteOptions::default() };
        let authorized = self.authorized("patch", &target).await?;
        let action = Action::Patch(call::PatchKind::Apply, fields.to_string().into(), options);
        match self.server.registry.perform(&authorized, Call { target, action }, &mut Vec::new()).await {
            Ok(_) => Ok(()),
            Err(status) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(status) => Err(status),
        }
    }

    async fn authorized(&self, verb: &str, target: &Target) -> Result<Authorized, Status> {
        let attributes =
            Attributes::resource(verb, &target.group, &target.resource, &target.namespace, &target.name);
        let authorized = self.server.authorizer.authorize(self.identified.clone(), attributes).await;
        authorized.map_err(|refused| crate::pipeline::refusal(&refused))
    }

    async fn write<K: Kind + Object>(&self, object: K, verb: &str) -> Result<Outcome, Status> {
        let mut target = Target::of::<K>(&object.meta().namespace);
        let options = WriteOptions { field_manager: self.manager.into(), ..WriteOptions::default() };
        if verb.starts_with("update") {
            target.name = object.meta().name.clone();
        }
        let verb = match verb.split_once('/') {
            Some((verb, subresource)) => {
                target.subresource = subresource.into();
                verb
            }
            None => verb,
        };
        let authorized = self.authorized(verb, &target).await?;
        let action = match verb {
            "update" => Action::Update(Box::new(object), options),
            _ => Action::Create(Box::new(object), options),
        };
        self.server.registry.perform(&authorized, Call { target, action }, &mut Vec::new()).await
    }

    pub(super) async fn current<K: Kind + Object>(&self, object: &K) -> Result<Option<Arc<K>>, Status> {
        let Some(served) = Served::find(K::GROUP, K::VERSION, K::PLURAL) else { return Ok(None) };
        let found =
            self.server.registry.find_object(&served, &object.meta().namespace, &object.meta().name).await?;
        Ok(found.and_then(|stored| meta::downcast::<K>(stored.object().clone())))
    }

    /// Deletes an object, in the state that was seen; what changed meanwhile stays.
    pub(super) async fn delete<K: Kind + Object>(&self, object: &K) -> Result<(), Status> {
        let mut target = Target::of::<K>(&object.meta().namespace);
        target.name = object.meta().name.clone();
        let precondition = call::Precondition {
            uid: Some(object.meta().uid.clone()),
            resource_version: Some(object.meta().resource_version.clone()),
        };
        let options = call::DeleteOptions { precondition, ..Default::default() };
        let authorized = self.authorized("delete", &target).await?;
        let call = Call { target, action: Action::Delete(options) };
        match self.server.registry.perform(&authorized, call, &mut Vec::new()).await {
            Ok(_) => Ok(()),
            Err(status) if status.is_conflict() || status.is_not_found() => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// Creates the object unless it exists.
    pub(super) async fn ensure<K: Kind + Object>(&self, object: K) -> Result<(), Status> {
        if self.current(&object).await?.is_some() {
            return Ok(());
        }
        match self.write(object, "create").await {
            Ok(_) => Ok(()),
            Err(status) if status.is_already_exists() => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// Creates the object, or lets `update` bring an existing one up to date; `update` says whether it changed it.
    pub(super) async fn reconcile<K: Kind + Object>(
        &self,
        object: K,
        update: impl Fn(&mut K, &K) -> bool,
    ) -> Result<(), Status> {
        let Some(current) = self.current(&object).await? else { return self.ensure(object).await };
        if policy::opted_out(&*current) {
            return Ok(());
        }
        let mut changed = (*current).clone();
        if !update(&mut changed, &object) {
            return Ok(());
        }
        match self.write(changed, "update").await {
            Ok(_) => Ok(()),
            // Another server of this cluster was faster; it wrote the same.
            Err(status) if status.is_conflict() => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// What extension servers need to know whom to trust.
    pub(super) async fn trust(&self) -> Result<(), Status> {
        let files = self.server.tls.load_full();
        let mut map = document::<ConfigMap>(&format!("metadata: {{name: {TRUST}, namespace: kube-system}}"))?;
        let pem = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !files.client_ca.is_empty() {
            map.data.insert("client-ca-file", pem(&files.client_ca).into());
        }
        if !files.proxy_ca.is_empty() {
            let names = files.request_header().names();
            map.data.insert("requestheader-client-ca-file", pem(&files.proxy_ca).into());
            for (key, list) in [
                ("requestheader-allowed-names", &names.allowed),
                ("requestheader-username-headers", &names.username),
                ("requestheader-uid-headers", &names.uid),
                ("requestheader-group-headers", &names.group),
                ("requestheader-extra-headers-prefix", &names.extra_prefix),
            ] {
                // Servers that know nothing of uids find what they always found.
                if key != "requestheader-uid-headers" || !list.is_empty() {
                    map.data.insert(key, serde_json::json!(list).to_string().into());
                }
            }
        }
        self.reconcile(map, |old, new| {
            let changed = old.data != new.data;
            old.data.clone_from(&new.data);
            changed
        })
        .await
    }

    /// The namespaces of every cluster.
    pub(super) async fn namespaces(&self) -> Result<(), Status> {
        for name in NAMESPACES {
            self.ensure(document::<Namespace>(&format!("metadata: {{name: {name}}}"))?).await?;
        }
        Ok(())
    }

    /// Since when the use of tokens in secrets is noted, in the cluster's own words: who cleans up asks there.
    pub(super) async fn tracking(&self) -> Result<(), Status> {
        let today = Time::from_unix(self.server.now_s()).to_string();
        let today = today.get(..10).unwrap_or_default().to_owned();
        let mut map =
            document::<ConfigMap>(&format!("metadata: {{name: {TRACKING}, namespace: kube-system}}"))?;
        map.data.insert("since", today.as_str().into());
        self.reconcile(map, |old, new| {
            // What is no day, or has not come yet, was not written by a server.
            let is_day = |day: &str| Time::parse(&format!("{day}T00:00:00Z")).is_ok() && *day <= *today;
            let wrong = !old.data.get("since").is_some_and(|day| is_day(day));
            if wrong {
                old.data.clone_from(&new.data);
            }
            wrong
        })
        .await
    }

    /// The Service by which pods reach this server.
    pub(super) async fn service(&self) -> Result<(), Status> {
        let address = self.server.registry.api_service_address();
        let port = self.server.address.port();
        let ranges = self.server.registry.service_ranges();
        let cidrs: Vec<String> = ranges.iter().map(|r| format!("\"{r}\"")).collect();
        let cidr = format!("metadata: {{name: kubernetes}}\nspec: {{cidrs: [{}]}}", cidrs.join(", "));
        self.ensure(document::<ServiceCIDR>(&cidr)?).await?;
        let ip = address.map(|a| a.to_string()).unwrap_or_default();
        let service = format!(
            "metadata: {{name: kubernetes, namespace: default, labels: {{component: apiserver, provider: kubernetes}}}}\n\
             spec: {{type: ClusterIP, clusterIP: \"{ip}\", clusterIPs: [\"{ip}\"], ipFamilyPolicy: SingleStack, \
             ports: [{{name: https, port: 443, protocol: TCP, targetPort: {port}}}]}}"
        );
        let service = document::<Service>(&service)?;
        self.reconcile(service, move |old, _| {
            let wanted = meta::IntOrString::Int(i32::from(port));
            let changed = old.spec.ports.iter().any(|p| p.target_port != wanted);
            old.spec.ports.iter_mut().for_each(|p| p.target_port = wanted.clone());
            changed
        })
        .await
    }

    /// Where that Service leads.
    pub(super) async fn endpoints(&self) -> Result<(), Status> {
        let (ip, port) = (self.server.address.ip(), self.server.address.port());
        // Nobody can reach an address that means "every address"; the node that registers knows a better one.
        if ip.is_unspecified() || ip.is_loopback() {
            return Ok(());
        }
        let endpoints = document::<Endpoints>(&format!(
            "metadata: {{name: kubernetes, namespace: default, labels: {{endpointslice.kubernetes.io/skip-mirror: \"true\"}}}}\n\
             subsets: [{{addresses: [{{ip: \"{ip}\"}}], ports: [{{name: https, port: {port}, protocol: TCP}}]}}]"
        ))?;
        self.reconcile(endpoints, |old, new| {
            let changed = old.subsets != new.subsets;
            old.subsets.clone_from(&new.subsets);
            changed
        })
        .await?;
        let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
        let slice = document::<EndpointSlice>(&format!(
            "metadata: {{name: kubernetes, namespace: default, labels: {{kubernetes.io/service-name: kubernetes}}}}\n\
             addressType: {family}\nendpoints: [{{addresses: [\"{ip}\"], conditions: {{ready: true}}}}]\n\
             ports: [{{name: https, port: {port}, protocol: TCP}}]"
        ))?;
        self.reconcile(slice, |old, new| {
            let changed = old.endpoints != new.endpoints || old.ports != new.ports;
            old.endpoints.clone_from(&new.endpoints);
            old.ports.clone_from(&new.ports);
            changed
        })
        .await
    }
}
