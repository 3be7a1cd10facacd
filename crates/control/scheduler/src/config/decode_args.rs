//! Which kinds and fields the arguments of plugins have, and what is wrong with those that were given.

use std::time::Duration;

use serde_json::Value;

use super::decode::{API_VERSION, KIND, Reader};

/// Whether the group has a kind of this name.
pub(super) fn is_registered(kind: &str) -> bool {
    kind == KIND || kind.strip_suffix("Args").is_some_and(|plugin| fields_of(plugin).is_some())
}

/// What is said of a kind that the group does not have.
pub(super) fn unregistered(kind: &str, version: &str) -> String {
    format!(
        "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/scheduler/apis/config/scheme/scheme.go:29\""
    )
}

/// The fields of a plugin's arguments; `None` for a plugin that takes none.
fn fields_of(plugin: &str) -> Option<&'static [&'static str]> {
    Some(match plugin {
        "DefaultPreemption" => &["minCandidateNodesPercentage", "minCandidateNodesAbsolute"],
        "InterPodAffinity" => &["hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"],
        "NodeAffinity" => &["addedAffinity"],
        "NodeResourcesBalancedAllocation" => &["resources"],
        "NodeResourcesFit" => &["ignoredResources", "ignoredResourceGroups", "scoringStrategy"],
        "PodTopologySpread" => &["defaultConstraints", "defaultingType"],
        "VolumeBinding" => &["bindTimeoutSeconds", "shape"],
        "DynamicResources" => &["filterTimeout", "bindingTimeout"],
        _ => return None,
    })
}

/// What is wrong with a plugin's arguments, and the fields that they do not have. Those of plugins that are not ours are
/// taken as they are.
pub(super) fn arguments(plugin: &str, args: &Value) -> (Option<String>, Vec<String>) {
    let Some(known) = fields_of(plugin) else { return (None, Vec::new()) };
    let prefix = format!("decoding args for plugin {plugin}: ");
    let expected = format!("{plugin}Args");
    let given = |field: &str| args[field].as_str().filter(|given| !given.is_empty());
    let (kind, version) = (given("kind").unwrap_or(&expected), given("apiVersion").unwrap_or(API_VERSION));
    if version != API_VERSION || !is_registered(kind) {
        return (Some(format!("{prefix}{}", unregistered(kind, version))), Vec::new());
    }
    if kind != expected {
        let group = "kubescheduler.config.k8s.io";
        let wrong =
            format!("args for plugin {plugin} were not of type {expected}.{group}, got {kind}.{group}");
        return (Some(wrong), Vec::new());
    }
    let mut reader = Reader::new(&expected);
    let all: Vec<&str> = known.iter().copied().chain(["kind", "apiVersion"]).collect();
    reader.object(args, "", &all);
    for field in known {
        let value = &args[*field];
        match *field {
            "filterTimeout" | "bindingTimeout" => {
                reader.duration(value, field, Duration::ZERO);
            }
            "ignorePreferredTermsOfExistingPods" => {
                reader.flag(value, field);
            }
            "defaultingType" => {
                reader.text(value, field);
            }
            "minCandidateNodesPercentage"
            | "minCandidateNodesAbsolute"
            | "hardPodAffinityWeight"
            | "bindTimeoutSeconds" => {
                reader.int(value, field);
            }
            "scoringStrategy" => {
                reader.object(value, field, &["type", "resources", "requestedToCapacityRatio"]);
            }
            "addedAffinity" if !value.is_null() => reader.affinity(value),
            _ => {}
        }
    }
    (reader.wrong.map(|wrong| format!("{prefix}{wrong}")), reader.unknown)
}

impl Reader {
    fn affinity(&mut self, value: &Value) {
        use meta::Codec;
        let text = value.to_string();
        let mut context = meta::DecodeContext::strict();
        let read = types::core::v1::NodeAffinity::from_json_with(text.as_bytes(), &mut context);
        if let Err(error) = read {
            self.wrong.get_or_insert_with(|| error.to_string());
        }
    }
}
