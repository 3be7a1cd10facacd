//! Whether an extension API server can be used: what its Service and endpoints tell, and the condition that says so.

use std::sync::Arc;

use meta::Time;
use types::apiregistration::v1::{APIService, APIServiceCondition};
use types::core::v1::Service;
use types::discovery::v1::EndpointSlice;

/// What is known without asking the server itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It cannot be used.
    Unavailable(Finding),
    /// It may answer: ask it.
    Ask,
}

/// The condition's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The condition holds.
    pub available: bool,
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Finding {
    fn no(reason: &'static str, message: String) -> Self {
        Finding { available: false, reason, message }
    }

    /// It answered.
    pub fn passed() -> Self {
        Finding { available: true, reason: "Passed", message: "all checks passed".to_owned() }
    }

    /// It did not answer, or wrongly.
    pub fn failed_discovery(why: String) -> Self {
        Finding::no("FailedDiscoveryCheck", why)
    }
}

/// Judges by the Service and its endpoints.
pub fn judge(api: &APIService, service: Option<&Service>, slices: &[Arc<EndpointSlice>]) -> Verdict {
    let Some(reference) = &api.spec.service else { return Verdict::Ask };
    let (name, namespace, port) = (&reference.name, &reference.namespace, reference.port.unwrap_or(443));
    let no = |reason, message| Verdict::Unavailable(Finding::no(reason, message));
    let Some(service) = service else {
        return no("ServiceNotFound", format!("service/{name} in \"{namespace}\" is not present"));
    };
    // Of other types nothing is known that could be checked.
    if service.spec.type_ != "ClusterIP" {
        return Verdict::Ask;
    }
    let Some(found) = service.spec.ports.iter().find(|candidate| candidate.port == port) else {
        let message = format!("service/{name} in \"{namespace}\" is not listening on port {port}");
        return no("ServicePortError", message);
    };
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in \"{namespace}\"");
        return no("EndpointsNotFound", message);
    }
    let serves = |slice: &Arc<EndpointSlice>| {
        let ready = slice.endpoints.iter().any(|endpoint| endpoint.conditions.ready != Some(false));
        let port_name = Some(found.name.as_str());
        ready && slice.ports.iter().any(|port| port.name.as_deref() == port_name && port.port.is_some())
    };
    if !slices.iter().any(serves) {
        let message = format!(
            "endpointslices for service/{name} in \"{namespace}\" have no addresses with port name {:?}",
            found.name.as_str()
        );
        return no("MissingEndpoints", message);
    }
    Verdict::Ask
}

/// Whether the condition `Available` holds.
pub fn is_available(api: &APIService) -> bool {
    api.status.conditions.iter().any(|condition| condition.type_ == "Available" && condition.status == "True")
}

/// Writes what was found into the status. Answers whether that changed it.
pub fn tell(api: &mut APIService, finding: &Finding, now: Time) -> bool {
    let status = if finding.available { "True" } else { "False" };
    let conditions = &mut api.status.conditions;
    let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == "Available") else {
        conditions.push(APIServiceCondition {
            type_: "Available".into(),
            status: status.into(),
            last_transition_time: Some(now),
            reason: finding.reason.into(),
            message: finding.message.as_str().into(),
        });
        return true;
    };
    if old.status == status && old.reason == finding.reason && old.message == finding.message.as_str() {
        return false;
    }
    if old.status != status {
        old.last_transition_time = Some(now);
    }
    old.status = status.into();
    old.reason = finding.reason.into();
    old.message = finding.message.as_str().into();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn api() -> APIService {
        let service = json!({ "name": "s", "namespace": "n", "port": 443 });
        let spec = json!({ "group": "g", "version": "v1", "service": service,
            "groupPriorityMinimum": 1, "versionPriority": 1 });
        meta::from_value(json!({ "metadata": { "name": "v1.g" }, "spec": spec })).unwrap()
    }

    fn reason(service: Option<Value>, slices: &[Value]) -> String {
        let service: Option<Service> = service.map(|spec| meta::from_value(json!({ "spec": spec })).unwrap());
        let slices: Vec<Arc<EndpointSlice>> =
            slices.iter().map(|slice| Arc::new(meta::from_value(slice.clone()).unwrap())).collect();
        match judge(&api(), service.as_ref(), &slices) {
            Verdict::Ask => "ask".to_owned(),
            Verdict::Unavailable(finding) => format!("{}: {}", finding.reason, finding.message),
        }
    }

    #[test]
    fn service_and_endpoints() {
        let service =
            |port: i32| Some(json!({ "type": "ClusterIP", "ports": [{ "name": "https", "port": port }] }));
        let slice = |port: &str, ready: bool| {
            json!({ "addressType": "IPv4", "ports": [{ "name": port, "port": 8443 }],
                "endpoints": [{ "addresses": ["10.1.0.1"], "conditions": { "ready": ready } }] })
        };
        let missing = "MissingEndpoints: endpointslices for service/s in \"n\" have no addresses with port name \"https\"";
        for (service, slices, want) in [
            (None, vec![], "ServiceNotFound: service/s in \"n\" is not present"),
            (service(80), vec![], "ServicePortError: service/s in \"n\" is not listening on port 443"),
            (service(443), vec![], "EndpointsNotFound: cannot find endpointslices for service/s in \"n\""),
            (service(443), vec![slice("https", false)], missing),
            (service(443), vec![slice("http", true)], missing),
            (service(443), vec![slice("http", true), slice("https", true)], "ask"),
            (Some(json!({ "type": "ExternalName" })), vec![], "ask"),
        ] {
            assert_eq!(reason(service, &slices), want);
        }
    }

    #[test]
    fn times_tell_of_transitions() {
        let mut api = api();
        assert!(tell(&mut api, &Finding::passed(), Time::from_unix(1)));
        assert!(!tell(&mut api, &Finding::passed(), Time::from_unix(2)), "nothing new");
        assert!(is_available(&api));
        for (seconds, why, since) in [(3, "a", 3), (4, "b", 3)] {
            assert!(tell(&mut api, &Finding::failed_discovery(why.into()), Time::from_unix(seconds)));
            assert_eq!(api.status.conditions[0].last_transition_time, Some(Time::from_unix(since)), "{why}");
        }
        assert_eq!(api.status.conditions.len(), 1);
        assert!(!is_available(&api));
    }
}
