//! What each column of a table shows.
//!
//! Most columns show a field; their description is the field's own, which crate `descriptions` has from the API's
//! documentation. The others are described here in our words.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use About::{Field, Words};
use descriptions::Descriptions;

use crate::Column;

/// Where a column's description comes from.
enum About {
    /// The documentation of a model's field.
    Field(&'static str, &'static str),
    /// A text of ours.
    Words(&'static str),
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// By kind and heading. Names and ages are those of every object and left out.
#[rustfmt::skip]
const COLUMNS: &[(&str, &str, About)] = &[
    ("ComponentStatus", "Status", Words("Healthy or Unhealthy, by the component's own health check.")),
    ("ComponentStatus", "Message", Words("What the health check answered.")),
    ("ComponentStatus", "Error", Words("Why the health check failed.")),
    ("ConfigMap", "Data", Field("io.k8s.api.core.v1.ConfigMap", "data")),
    ("Endpoints", "Endpoints", Field("io.k8s.api.core.v1.Endpoints", "subsets")),
    ("Event", "Last Seen", Field("io.k8s.api.core.v1.Event", "lastTimestamp")),
    ("Event", "Type", Field("io.k8s.api.core.v1.Event", "type")),
    ("Event", "Reason", Field("io.k8s.api.core.v1.Event", "reason")),
    ("Event", "Object", Field("io.k8s.api.core.v1.Event", "involvedObject")),
    ("Event", "Subobject", Field("io.k8s.api.core.v1.ObjectReference", "fieldPath")),
    ("Event", "Source", Field("io.k8s.api.core.v1.Event", "source")),
    ("Event", "Message", Field("io.k8s.api.core.v1.Event", "message")),
    ("Event", "First Seen", Field("io.k8s.api.core.v1.Event", "firstTimestamp")),
    ("Event", "Count", Field("io.k8s.api.core.v1.Event", "count")),
    ("Namespace", "Status", Words("Active, or Terminating while it is being emptied.")),
    ("Node", "Status", Words("Whether the kubelet reports Ready, and whether pods may be placed here.")),
    ("Node", "Roles", Words("Roles that the node's labels name.")),
    ("Node", "Version", Field("io.k8s.api.core.v1.NodeSystemInfo", "kubeletVersion")),
    ("Node", "Internal-IP", Field("io.k8s.api.core.v1.NodeStatus", "addresses")),
    ("Node", "External-IP", Field("io.k8s.api.core.v1.NodeStatus", "addresses")),
    ("Node", "OS-Image", Field("io.k8s.api.core.v1.NodeSystemInfo", "osImage")),
    ("Node", "Kernel-Version", Field("io.k8s.api.core.v1.NodeSystemInfo", "kernelVersion")),
    ("Node", "Container-Runtime", Field("io.k8s.api.core.v1.NodeSystemInfo", "containerRuntimeVersion")),
    ("PersistentVolumeClaim", "Status", Field("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "phase")),
    ("PersistentVolumeClaim", "Volume", Field("io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeName")),
    ("PersistentVolumeClaim", "Capacity", Field("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "capacity")),
    ("PersistentVolumeClaim", "Access Modes", Field("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "accessModes")),
    ("PersistentVolumeClaim", "StorageClass", Words("Class of storage that is asked for.")),
    ("PersistentVolumeClaim", "VolumeAttributesClass", Words("Class of attributes that is in effect.")),
    ("PersistentVolumeClaim", "VolumeMode", Field("io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeMode")),
    ("PersistentVolume", "Capacity", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "capacity")),
    ("PersistentVolume", "Access Modes", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "accessModes")),
    ("PersistentVolume", "Reclaim Policy", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy")),
    ("PersistentVolume", "Status", Field("io.k8s.api.core.v1.PersistentVolumeStatus", "phase")),
    ("PersistentVolume", "Claim", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef")),
    ("PersistentVolume", "StorageClass", Words("Class of storage that it belongs to.")),
    ("PersistentVolume", "VolumeAttributesClass", Words("Class of attributes that is in effect.")),
    ("PersistentVolume", "Reason", Field("io.k8s.api.core.v1.PersistentVolumeStatus", "reason")),
    ("PersistentVolume", "VolumeMode", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "volumeMode")),
    ("Pod", "Ready", Words("Ready containers out of all.")),
    ("Pod", "Status", Words("The phase, or what keeps the containers from running.")),
    ("Pod", "Restarts", Words("How often containers were restarted, and when last.")),
    ("Pod", "IP", Field("io.k8s.api.core.v1.PodStatus", "podIP")),
    ("Pod", "Node", Field("io.k8s.api.core.v1.PodSpec", "nodeName")),
    ("Pod", "Nominated Node", Field("io.k8s.api.core.v1.PodStatus", "nominatedNodeName")),
    ("Pod", "Readiness Gates", Field("io.k8s.api.core.v1.PodSpec", "readinessGates")),
    ("PodTemplate", "Containers", Words("Container names.")),
    ("PodTemplate", "Images", Words("Container images.")),
    ("PodTemplate", "Pod Labels", Words("Labels that its pods get.")),
    ("ReplicationController", "Desired", Field("io.k8s.api.core.v1.ReplicationControllerSpec", "replicas")),
    ("ReplicationController", "Current", Field("io.k8s.api.core.v1.ReplicationControllerStatus", "replicas")),
    ("ReplicationController", "Ready", Field("io.k8s.api.core.v1.ReplicationControllerStatus", "readyReplicas")),
    ("ReplicationController", "Containers", Words("Container names.")),
    ("ReplicationController", "Images", Words("Container images.")),
    ("ReplicationController", "Selector", Field("io.k8s.api.core.v1.ReplicationControllerSpec", "selector")),
    ("ResourceQuota", "Request", Words("Used and allowed sums of requests and counts.")),
    ("ResourceQuota", "Limit", Words("Used and allowed sums of limits.")),
    ("Secret", "Type", Field("io.k8s.api.core.v1.Secret", "type")),
    ("Secret", "Data", Field("io.k8s.api.core.v1.Secret", "data")),
    ("Service", "Type", Field("io.k8s.api.core.v1.ServiceSpec", "type")),
    ("Service", "Cluster-IP", Field("io.k8s.api.core.v1.ServiceSpec", "clusterIP")),
    ("Service", "External-IP", Field("io.k8s.api.core.v1.ServiceSpec", "externalIPs")),
    ("Service", "Port(s)", Field("io.k8s.api.core.v1.ServiceSpec", "ports")),
    ("Service", "Selector", Field("io.k8s.api.core.v1.ServiceSpec", "selector")),
    ("APIService", "Service", Words("The Service that serves this version, or Local.")),
    ("APIService", "Available", Words("Whether requests for this version can be answered.")),
    ("ControllerRevision", "Controller", Words("The owner that manages it.")),
    ("ControllerRevision", "Revision", Field("io.k8s.api.apps.v1.ControllerRevision", "revision")),
    ("DaemonSet", "Desired", Field("io.k8s.api.apps.v1.DaemonSetStatus", "desiredNumberScheduled")),
    ("DaemonSet", "Current", Field("io.k8s.api.apps.v1.DaemonSetStatus", "currentNumberScheduled")),
    ("DaemonSet", "Ready", Field("io.k8s.api.apps.v1.DaemonSetStatus", "numberReady")),
    ("DaemonSet", "Up-to-date", Field("io.k8s.api.apps.v1.DaemonSetStatus", "updatedNumberScheduled")),
    ("DaemonSet", "Available", Field("io.k8s.api.apps.v1.DaemonSetStatus", "numberAvailable")),
    ("DaemonSet", "Node Selector", Field("io.k8s.api.core.v1.PodSpec", "nodeSelector")),
    ("DaemonSet", "Containers", Words("Container names.")),
    ("DaemonSet", "Images", Words("Container images.")),
    ("DaemonSet", "Selector", Field("io.k8s.api.apps.v1.DaemonSetSpec", "selector")),
    ("Deployment", "Ready", Words("Ready pods out of the wanted.")),
    ("Deployment", "Up-to-date", Field("io.k8s.api.apps.v1.DeploymentStatus", "updatedReplicas")),
    ("Deployment", "Available", Field("io.k8s.api.apps.v1.DeploymentStatus", "availableReplicas")),
    ("Deployment", "Containers", Words("Container names.")),
    ("Deployment", "Images", Words("Container images.")),
    ("Deployment", "Selector", Field("io.k8s.api.apps.v1.DeploymentSpec", "selector")),
    ("ReplicaSet", "Desired", Field("io.k8s.api.apps.v1.ReplicaSetSpec", "replicas")),
    ("ReplicaSet", "Current", Field("io.k8s.api.apps.v1.ReplicaSetStatus", "replicas")),
    ("ReplicaSet", "Ready", Field("io.k8s.api.apps.v1.ReplicaSetStatus", "readyReplicas")),
    ("ReplicaSet", "Containers", Words("Container names.")),
    ("ReplicaSet", "Images", Words("Container images.")),
    ("ReplicaSet", "Selector", Field("io.k8s.api.apps.v1.ReplicaSetSpec", "selector")),
    ("StatefulSet", "Ready", Words("Ready pods out of the wanted.")),
    ("StatefulSet", "Containers", Words("Container names.")),
    ("StatefulSet", "Images", Words("Container images.")),
    ("HorizontalPodAutoscaler", "Reference", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "scaleTargetRef")),
    ("HorizontalPodAutoscaler", "Targets", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "metrics")),
    ("HorizontalPodAutoscaler", "MinPods", Field("io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerSpec", "minReplicas")),
    ("HorizontalPodAutoscaler", "MaxPods", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", "maxReplicas")),
    ("HorizontalPodAutoscaler", "Replicas", Field("io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", "currentReplicas")),
    ("CronJob", "Schedule", Field("io.k8s.api.batch.v1.CronJobSpec", "schedule")),
    ("CronJob", "Timezone", Field("io.k8s.api.batch.v1.CronJobSpec", "timeZone")),
    ("CronJob", "Suspend", Field("io.k8s.api.batch.v1.CronJobSpec", "suspend")),
    ("CronJob", "Active", Field("io.k8s.api.batch.v1.CronJobStatus", "active")),
    ("CronJob", "Last Schedule", Field("io.k8s.api.batch.v1.CronJobStatus", "lastScheduleTime")),
    ("CronJob", "Containers", Words("Container names.")),
    ("CronJob", "Images", Words("Container images.")),
    ("CronJob", "Selector", Field("io.k8s.api.batch.v1.JobSpec", "selector")),
    ("Job", "Status", Words("Complete, Failed, Suspended or Running.")),
    ("Job", "Completions", Field("io.k8s.api.batch.v1.JobStatus", "succeeded")),
    ("Job", "Duration", Words("How long it ran or has been running.")),
    ("Job", "Containers", Words("Container names.")),
    ("Job", "Images", Words("Container images.")),
    ("Job", "Selector", Field("io.k8s.api.batch.v1.JobSpec", "selector")),
    ("CertificateSigningRequest", "SignerName", Words("Who is asked to sign.")),
    ("CertificateSigningRequest", "Requestor", Words("Who asked.")),
    ("CertificateSigningRequest", "RequestedDuration", Field("io.k8s.api.certificates.v1.CertificateSigningRequestSpec", "expirationSeconds")),
    ("CertificateSigningRequest", "Condition", Words("Whether it was approved, denied, issued or failed.")),
    ("IngressClass", "Controller", Words("The controller that serves Ingresses of this class.")),
    ("IngressClass", "Parameters", Words("The object that configures the controller.")),
    ("Ingress", "Class", Words("The IngressClass that it belongs to.")),
    ("Ingress", "Hosts", Words("Host names of the rules.")),
    ("Ingress", "Address", Words("Where the load balancer listens.")),
    ("Ingress", "Ports", Words("Ports that are open: 80, and 443 with TLS.")),
    ("IPAddress", "ParentRef", Field("io.k8s.api.networking.v1.IPAddressSpec", "parentRef")),
    ("NetworkPolicy", "Pod-Selector", Field("io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector")),
    ("ServiceCIDR", "CIDRs", Field("io.k8s.api.networking.v1.ServiceCIDRSpec", "cidrs")),
    ("PodDisruptionBudget", "Min Available", Words("Pods that must stay available.")),
    ("PodDisruptionBudget", "Max Unavailable", Words("Pods that may be unavailable.")),
    ("PodDisruptionBudget", "Allowed Disruptions", Words("Pods that may be evicted now.")),
    ("ClusterRoleBinding", "Role", Words("The role that is granted.")),
    ("ClusterRoleBinding", "Users", Words("Users that get it.")),
    ("ClusterRoleBinding", "Groups", Words("Groups that get it.")),
    ("ClusterRoleBinding", "ServiceAccounts", Words("ServiceAccounts that get it.")),
    ("RoleBinding", "Role", Words("The role that is granted.")),
    ("RoleBinding", "Users", Words("Users that get it.")),
    ("RoleBinding", "Groups", Words("Groups that get it.")),
    ("RoleBinding", "ServiceAccounts", Words("ServiceAccounts that get it.")),
    ("CSIDriver", "AttachRequired", Field("io.k8s.api.storage.v1.CSIDriverSpec", "attachRequired")),
    ("CSIDriver", "PodInfoOnMount", Field("io.k8s.api.storage.v1.CSIDriverSpec", "podInfoOnMount")),
    ("CSIDriver", "StorageCapacity", Field("io.k8s.api.storage.v1.CSIDriverSpec", "storageCapacity")),
    ("CSIDriver", "TokenRequests", Field("io.k8s.api.storage.v1.CSIDriverSpec", "tokenRequests")),
    ("CSIDriver", "RequiresRepublish", Field("io.k8s.api.storage.v1.CSIDriverSpec", "requiresRepublish")),
    ("CSIDriver", "Modes", Field("io.k8s.api.storage.v1.CSIDriverSpec", "volumeLifecycleModes")),
    ("CSINode", "Drivers", Words("Count of CSI drivers on the node.")),
    ("StorageClass", "Provisioner", Field("io.k8s.api.storage.v1.StorageClass", "provisioner")),
    ("StorageClass", "ReclaimPolicy", Field("io.k8s.api.storage.v1.StorageClass", "reclaimPolicy")),
    ("StorageClass", "VolumeBindingMode", Field("io.k8s.api.storage.v1.StorageClass", "volumeBindingMode")),
    ("StorageClass", "AllowVolumeExpansion", Field("io.k8s.api.storage.v1.StorageClass", "allowVolumeExpansion")),
    ("VolumeAttachment", "Attacher", Field("io.k8s.api.storage.v1.VolumeAttachmentSpec", "attacher")),
    ("VolumeAttachment", "PV", Field("io.k8s.api.storage.v1.VolumeAttachmentSource", "persistentVolumeName")),
    ("VolumeAttachment", "Node", Field("io.k8s.api.storage.v1.VolumeAttachmentSpec", "nodeName")),
    ("VolumeAttachment", "Attached", Field("io.k8s.api.storage.v1.VolumeAttachmentStatus", "attached")),
    ("VolumeAttributesClass", "DriverName", Field("io.k8s.api.storage.v1.VolumeAttributesClass", "driverName")),
    ("MutatingAdmissionPolicy", "Mutations", Words("Count of mutations.")),
    ("MutatingAdmissionPolicy", "ParamKind", Words("Kind of the parameter objects.")),
    ("MutatingAdmissionPolicyBinding", "PolicyName", Words("The policy that is bound.")),
    ("MutatingAdmissionPolicyBinding", "ParamRef", Words("The parameter objects that are used.")),
    ("MutatingWebhookConfiguration", "Webhooks", Words("Count of webhooks.")),
    ("ValidatingAdmissionPolicy", "Validations", Words("Count of validations.")),
    ("ValidatingAdmissionPolicy", "ParamKind", Words("Kind of the parameter objects.")),
    ("ValidatingAdmissionPolicyBinding", "PolicyName", Words("The policy that is bound.")),
    ("ValidatingAdmissionPolicyBinding", "ParamRef", Words("The parameter objects that are used.")),
    ("ValidatingWebhookConfiguration", "Webhooks", Words("Count of webhooks.")),
    ("PriorityClass", "Value", Field("io.k8s.api.scheduling.v1.PriorityClass", "value")),
    ("PriorityClass", "Global-Default", Field("io.k8s.api.scheduling.v1.PriorityClass", "globalDefault")),
    ("PriorityClass", "PreemptionPolicy", Field("io.k8s.api.scheduling.v1.PriorityClass", "preemptionPolicy")),
    ("Lease", "Holder", Field("io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity")),
    ("EndpointSlice", "AddressType", Field("io.k8s.api.discovery.v1.EndpointSlice", "addressType")),
    ("EndpointSlice", "Ports", Field("io.k8s.api.discovery.v1.EndpointSlice", "ports")),
    ("EndpointSlice", "Endpoints", Field("io.k8s.api.discovery.v1.EndpointSlice", "endpoints")),
    ("ResourceClaim", "State", Words("Pending, allocated, reserved or being deleted.")),
    ("ResourceSlice", "Node", Field("io.k8s.api.resource.v1.ResourceSliceSpec", "nodeName")),
    ("ResourceSlice", "Driver", Field("io.k8s.api.resource.v1.ResourceSliceSpec", "driver")),
    ("ResourceSlice", "Pool", Field("io.k8s.api.resource.v1.ResourcePool", "name")),
    ("FlowSchema", "PriorityLevel", Field("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationReference", "name")),
    ("FlowSchema", "MatchingPrecedence", Field("io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "matchingPrecedence")),
    ("FlowSchema", "DistinguisherMethod", Field("io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "distinguisherMethod")),
    ("FlowSchema", "MissingPL", Words("Whether the priority level that it names is missing.")),
    ("PriorityLevelConfiguration", "Type", Field("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", "type")),
    ("PriorityLevelConfiguration", "NominalConcurrencyShares", Field("io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration", "nominalConcurrencyShares")),
    ("PriorityLevelConfiguration", "Queues", Field("io.k8s.api.flowcontrol.v1.QueuingConfiguration", "queues")),
    ("PriorityLevelConfiguration", "HandSize", Field("io.k8s.api.flowcontrol.v1.QueuingConfiguration", "handSize")),
    ("PriorityLevelConfiguration", "QueueLengthLimit", Field("io.k8s.api.flowcontrol.v1.QueuingConfiguration", "queueLengthLimit")),
];

type Texts = BTreeMap<(&'static str, &'static str), Box<str>>;

/// The descriptions of all columns; unpacked when the first table is asked for, and then only these are kept.
static TEXTS: LazyLock<Texts> = LazyLock::new(|| {
    let all = Descriptions::load();
    let field = |model, field| all.of_field(model, field).map(without_values).unwrap_or_default().into();
    let mut texts: Texts = COLUMNS
        .iter()
        .map(|(kind, heading, about)| {
            let text = match about {
                Field(model, name) => field(model, name),
                Words(text) => (*text).into(),
            };
            ((*kind, *heading), text)
        })
        .collect();
    for (heading, name) in
        [("Name", "name"), ("Age", "creationTimestamp"), ("Created At", "creationTimestamp")]
    {
        texts.insert(("", heading), field(OBJECT_META, name));
    }
    texts
});

/// The documentation ends with a list of the field's values where the field is an enumeration; tables leave that out.
fn without_values(text: &str) -> &str {
    text.split("\n\nPossible enum values:").next().unwrap_or(text)
}

/// What a column of a kind's table shows.
pub(crate) fn column(kind: &'static str, column: &Column) -> &'static str {
    let found = TEXTS.get(&(kind, column.name)).or_else(|| TEXTS.get(&("", column.name)));
    found.map_or("", |text| text)
}
