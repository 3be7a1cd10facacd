//! What each column of a table shows.
//!
//! Most columns show a field; their description is the field's own, which crate `descriptions` has from the API's
//! documentation. The others are described here, in the words that clients of upstream see.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use About::{Field, Words};
use descriptions::Descriptions;

use crate::Column;

/// Where a column's description comes from.
enum About {
    /// The documentation of a model's field.
    Field(&'static str, &'static str),
    /// A text of the column's own.
    Words(&'static str),
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// By kind and heading. Names and ages are those of every object and left out.
#[rustfmt::skip]
const COLUMNS: &[(&str, &str, About)] = &[
    ("ComponentStatus", "Status", Words("Status of the component conditions")),
    ("ComponentStatus", "Message", Words("Message of the component conditions")),
    ("ComponentStatus", "Error", Words("Error of the component conditions")),
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
    ("Namespace", "Status", Words("The status of the namespace")),
    ("Node", "Status", Words("The status of the node")),
    ("Node", "Roles", Words("The roles of the node")),
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
    ("PersistentVolumeClaim", "StorageClass", Words("StorageClass of the pvc")),
    ("PersistentVolumeClaim", "VolumeAttributesClass", Words("VolumeAttributesClass of the pvc")),
    ("PersistentVolumeClaim", "VolumeMode", Field("io.k8s.api.core.v1.PersistentVolumeClaimSpec", "volumeMode")),
    ("PersistentVolume", "Capacity", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "capacity")),
    ("PersistentVolume", "Access Modes", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "accessModes")),
    ("PersistentVolume", "Reclaim Policy", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy")),
    ("PersistentVolume", "Status", Field("io.k8s.api.core.v1.PersistentVolumeStatus", "phase")),
    ("PersistentVolume", "Claim", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef")),
    ("PersistentVolume", "StorageClass", Words("StorageClass of the pv")),
    ("PersistentVolume", "VolumeAttributesClass", Words("VolumeAttributesClass of the pv")),
    ("PersistentVolume", "Reason", Field("io.k8s.api.core.v1.PersistentVolumeStatus", "reason")),
    ("PersistentVolume", "VolumeMode", Field("io.k8s.api.core.v1.PersistentVolumeSpec", "volumeMode")),
    ("Pod", "Ready", Words("The aggregate readiness state of this pod for accepting traffic.")),
    ("Pod", "Status", Words("The aggregate status of the containers in this pod.")),
    ("Pod", "Restarts", Words("The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.")),
    ("Pod", "IP", Field("io.k8s.api.core.v1.PodStatus", "podIP")),
    ("Pod", "Node", Field("io.k8s.api.core.v1.PodSpec", "nodeName")),
    ("Pod", "Nominated Node", Field("io.k8s.api.core.v1.PodStatus", "nominatedNodeName")),
    ("Pod", "Readiness Gates", Field("io.k8s.api.core.v1.PodSpec", "readinessGates")),
    ("PodTemplate", "Containers", Words("Names of each container in the template.")),
    ("PodTemplate", "Images", Words("Images referenced by each container in the template.")),
    ("PodTemplate", "Pod Labels", Words("The labels for the pod template.")),
    ("ReplicationController", "Desired", Field("io.k8s.api.core.v1.ReplicationControllerSpec", "replicas")),
    ("ReplicationController", "Current", Field("io.k8s.api.core.v1.ReplicationControllerStatus", "replicas")),
    ("ReplicationController", "Ready", Field("io.k8s.api.core.v1.ReplicationControllerStatus", "readyReplicas")),
    ("ReplicationController", "Containers", Words("Names of each container in the template.")),
    ("ReplicationController", "Images", Words("Images referenced by each container in the template.")),
    ("ReplicationController", "Selector", Field("io.k8s.api.core.v1.ReplicationControllerSpec", "selector")),
    ("ResourceQuota", "Request", Words("Request represents a minimum amount of cpu/memory that a container may consume.")),
    ("ResourceQuota", "Limit", Words("Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.")),
    ("Secret", "Type", Field("io.k8s.api.core.v1.Secret", "type")),
    ("Secret", "Data", Field("io.k8s.api.core.v1.Secret", "data")),
    ("Service", "Type", Field("io.k8s.api.core.v1.ServiceSpec", "type")),
    ("Service", "Cluster-IP", Field("io.k8s.api.core.v1.ServiceSpec", "clusterIP")),
    ("Service", "External-IP", Field("io.k8s.api.core.v1.ServiceSpec", "externalIPs")),
    ("Service", "Port(s)", Field("io.k8s.api.core.v1.ServiceSpec", "ports")),
    ("Service", "Selector", Field("io.k8s.api.core.v1.ServiceSpec", "selector")),
    ("APIService", "Service", Words("The reference to the service that hosts this API endpoint.")),
    ("APIService", "Available", Words("Whether this service is available.")),
    ("ControllerRevision", "Controller", Words("Controller of the object")),
    ("ControllerRevision", "Revision", Field("io.k8s.api.apps.v1.ControllerRevision", "revision")),
    ("DaemonSet", "Desired", Field("io.k8s.api.apps.v1.DaemonSetStatus", "desiredNumberScheduled")),
    ("DaemonSet", "Current", Field("io.k8s.api.apps.v1.DaemonSetStatus", "currentNumberScheduled")),
    ("DaemonSet", "Ready", Field("io.k8s.api.apps.v1.DaemonSetStatus", "numberReady")),
    ("DaemonSet", "Up-to-date", Field("io.k8s.api.apps.v1.DaemonSetStatus", "updatedNumberScheduled")),
    ("DaemonSet", "Available", Field("io.k8s.api.apps.v1.DaemonSetStatus", "numberAvailable")),
    ("DaemonSet", "Node Selector", Field("io.k8s.api.core.v1.PodSpec", "nodeSelector")),
    ("DaemonSet", "Containers", Words("Names of each container in the template.")),
    ("DaemonSet", "Images", Words("Images referenced by each container in the template.")),
    ("DaemonSet", "Selector", Field("io.k8s.api.apps.v1.DaemonSetSpec", "selector")),
    ("Deployment", "Ready", Words("Number of the pod with ready state")),
    ("Deployment", "Up-to-date", Field("io.k8s.api.apps.v1.DeploymentStatus", "updatedReplicas")),
    ("Deployment", "Available", Field("io.k8s.api.apps.v1.DeploymentStatus", "availableReplicas")),
    ("Deployment", "Containers", Words("Names of each container in the template.")),
    ("Deployment", "Images", Words("Images referenced by each container in the template.")),
    ("Deployment", "Selector", Field("io.k8s.api.apps.v1.DeploymentSpec", "selector")),
    ("ReplicaSet", "Desired", Field("io.k8s.api.apps.v1.ReplicaSetSpec", "replicas")),
    ("ReplicaSet", "Current", Field("io.k8s.api.apps.v1.ReplicaSetStatus", "replicas")),
    ("ReplicaSet", "Ready", Field("io.k8s.api.apps.v1.ReplicaSetStatus", "readyReplicas")),
    ("ReplicaSet", "Containers", Words("Names of each container in the template.")),
    ("ReplicaSet", "Images", Words("Images referenced by each container in the template.")),
    ("ReplicaSet", "Selector", Field("io.k8s.api.apps.v1.ReplicaSetSpec", "selector")),
    ("StatefulSet", "Ready", Words("Number of the pod with ready state")),
    ("StatefulSet", "Containers", Words("Names of each container in the template.")),
    ("StatefulSet", "Images", Words("Images referenced by each container in the template.")),
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
    ("CronJob", "Containers", Words("Names of each container in the template.")),
    ("CronJob", "Images", Words("Images referenced by each container in the template.")),
    ("CronJob", "Selector", Field("io.k8s.api.batch.v1.JobSpec", "selector")),
    ("Job", "Status", Words("Status of the job.")),
    ("Job", "Completions", Field("io.k8s.api.batch.v1.JobStatus", "succeeded")),
    ("Job", "Duration", Words("Time required to complete the job.")),
    ("Job", "Containers", Words("Names of each container in the template.")),
    ("Job", "Images", Words("Images referenced by each container in the template.")),
    ("Job", "Selector", Field("io.k8s.api.batch.v1.JobSpec", "selector")),
    ("CertificateSigningRequest", "SignerName", Words("Who is asked to sign.")),
    ("CertificateSigningRequest", "Requestor", Words("Base64-encoded PKCS#10 CSR data")),
    ("CertificateSigningRequest", "RequestedDuration", Field("io.k8s.api.certificates.v1.CertificateSigningRequestSpec", "expirationSeconds")),
    ("CertificateSigningRequest", "Condition", Words("Conditions applied to the request, such as approval or denial.")),
    ("IngressClass", "Controller", Words("Controller that is responsible for handling this class")),
    ("IngressClass", "Parameters", Words("A reference to a resource with additional parameters")),
    ("Ingress", "Class", Words("The name of the IngressClass resource that should be used for additional configuration")),
    ("Ingress", "Hosts", Words("Hosts that incoming requests are matched against before the ingress rule")),
    ("Ingress", "Address", Words("Address is a list containing ingress points for the load-balancer")),
    ("Ingress", "Ports", Words("Ports of TLS configurations that open")),
    ("IPAddress", "ParentRef", Field("io.k8s.api.networking.v1.IPAddressSpec", "parentRef")),
    ("NetworkPolicy", "Pod-Selector", Field("io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector")),
    ("ServiceCIDR", "CIDRs", Field("io.k8s.api.networking.v1.ServiceCIDRSpec", "cidrs")),
    ("PodDisruptionBudget", "Min Available", Words("The minimum number of pods that must be available.")),
    ("PodDisruptionBudget", "Max Unavailable", Words("The maximum number of pods that may be unavailable.")),
    ("PodDisruptionBudget", "Allowed Disruptions", Words("Calculated number of pods that may be disrupted at this time.")),
    ("ClusterRoleBinding", "Role", Words("RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.")),
    ("ClusterRoleBinding", "Users", Words("Users in the clusterRoleBinding")),
    ("ClusterRoleBinding", "Groups", Words("Groups in the clusterRoleBinding")),
    ("ClusterRoleBinding", "ServiceAccounts", Words("ServiceAccounts in the clusterRoleBinding")),
    ("RoleBinding", "Role", Words("RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.")),
    ("RoleBinding", "Users", Words("Users in the roleBinding")),
    ("RoleBinding", "Groups", Words("Groups in the roleBinding")),
    ("RoleBinding", "ServiceAccounts", Words("ServiceAccounts in the roleBinding")),
    ("CSIDriver", "AttachRequired", Field("io.k8s.api.storage.v1.CSIDriverSpec", "attachRequired")),
    ("CSIDriver", "PodInfoOnMount", Field("io.k8s.api.storage.v1.CSIDriverSpec", "podInfoOnMount")),
    ("CSIDriver", "StorageCapacity", Field("io.k8s.api.storage.v1.CSIDriverSpec", "storageCapacity")),
    ("CSIDriver", "TokenRequests", Field("io.k8s.api.storage.v1.CSIDriverSpec", "tokenRequests")),
    ("CSIDriver", "RequiresRepublish", Field("io.k8s.api.storage.v1.CSIDriverSpec", "requiresRepublish")),
    ("CSIDriver", "Modes", Field("io.k8s.api.storage.v1.CSIDriverSpec", "volumeLifecycleModes")),
    ("CSINode", "Drivers", Words("Drivers indicates the number of CSI drivers registered on the node")),
    ("StorageClass", "Provisioner", Field("io.k8s.api.storage.v1.StorageClass", "provisioner")),
    ("StorageClass", "ReclaimPolicy", Field("io.k8s.api.storage.v1.StorageClass", "reclaimPolicy")),
    ("StorageClass", "VolumeBindingMode", Field("io.k8s.api.storage.v1.StorageClass", "volumeBindingMode")),
    ("StorageClass", "AllowVolumeExpansion", Field("io.k8s.api.storage.v1.StorageClass", "allowVolumeExpansion")),
    ("VolumeAttachment", "Attacher", Field("io.k8s.api.storage.v1.VolumeAttachmentSpec", "attacher")),
    ("VolumeAttachment", "PV", Field("io.k8s.api.storage.v1.VolumeAttachmentSource", "persistentVolumeName")),
    ("VolumeAttachment", "Node", Field("io.k8s.api.storage.v1.VolumeAttachmentSpec", "nodeName")),
    ("VolumeAttachment", "Attached", Field("io.k8s.api.storage.v1.VolumeAttachmentStatus", "attached")),
    ("VolumeAttributesClass", "DriverName", Field("io.k8s.api.storage.v1.VolumeAttributesClass", "driverName")),
    ("MutatingAdmissionPolicy", "Mutations", Words("Mutation indicates the number of mutations rules defined in this configuration")),
    ("MutatingAdmissionPolicy", "ParamKind", Words("ParamKind specifies the kind of resources used to parameterize this policy")),
    ("MutatingAdmissionPolicyBinding", "PolicyName", Words("PolicyName indicates the policy definition which the policy binding binded to")),
    ("MutatingAdmissionPolicyBinding", "ParamRef", Words("ParamRef indicates the param resource which sets the configuration param")),
    ("MutatingWebhookConfiguration", "Webhooks", Words("Webhooks indicates the number of webhooks registered in this configuration")),
    ("ValidatingAdmissionPolicy", "Validations", Words("Validations indicates the number of validation rules defined in this configuration")),
    ("ValidatingAdmissionPolicy", "ParamKind", Words("ParamKind specifies the kind of resources used to parameterize this policy")),
    ("ValidatingAdmissionPolicyBinding", "PolicyName", Words("PolicyName indicates the policy definition which the policy binding binded to")),
    ("ValidatingAdmissionPolicyBinding", "ParamRef", Words("ParamRef indicates the param resource which sets the configuration param")),
    ("ValidatingWebhookConfiguration", "Webhooks", Words("Webhooks indicates the number of webhooks registered in this configuration")),
    ("PriorityClass", "Value", Field("io.k8s.api.scheduling.v1.PriorityClass", "value")),
    ("PriorityClass", "Global-Default", Field("io.k8s.api.scheduling.v1.PriorityClass", "globalDefault")),
    ("PriorityClass", "PreemptionPolicy", Field("io.k8s.api.scheduling.v1.PriorityClass", "preemptionPolicy")),
    ("Lease", "Holder", Field("io.k8s.api.coordination.v1.LeaseSpec", "holderIdentity")),
    ("EndpointSlice", "AddressType", Field("io.k8s.api.discovery.v1.EndpointSlice", "addressType")),
    ("EndpointSlice", "Ports", Field("io.k8s.api.discovery.v1.EndpointSlice", "ports")),
    ("EndpointSlice", "Endpoints", Field("io.k8s.api.discovery.v1.EndpointSlice", "endpoints")),
    ("ResourceClaim", "State", Words("A summary of the current state (allocated, pending, reserved, etc.).")),
    ("ResourceSlice", "Node", Field("io.k8s.api.resource.v1.ResourceSliceSpec", "nodeName")),
    ("ResourceSlice", "Driver", Field("io.k8s.api.resource.v1.ResourceSliceSpec", "driver")),
    ("ResourceSlice", "Pool", Field("io.k8s.api.resource.v1.ResourcePool", "name")),
    ("FlowSchema", "PriorityLevel", Field("io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationReference", "name")),
    ("FlowSchema", "MatchingPrecedence", Field("io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "matchingPrecedence")),
    ("FlowSchema", "DistinguisherMethod", Field("io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "distinguisherMethod")),
    ("FlowSchema", "MissingPL", Words("references a broken or non-existent PriorityLevelConfiguration")),
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
