//! Feature gates: what of v1.36 is on and what is off (upstream's `kube_features.go` and the gates of its libraries).
//!
//! Everything here is as upstream has it by default, and nothing of that can be changed: a gate may be named with the
//! value that it has, any other is refused as upstream refuses to change a gate that it has locked.

use clap::Args;
use serde::{Deserialize, Serialize};

/// Alpha, off.
const ALPHA: &[&str] = &[
    "APIServingWithRoutine",
    "AllowUnsafeMalformedObjectDeletion",
    "CBORServingAndStorage",
    "CPUManagerPolicyAlphaOptions",
    "CRIListStreaming",
    "CSIVolumeHealth",
    "ClientsAllowCBOR",
    "ClientsPreferCBOR",
    "CloudControllerManagerWatchBasedRoutesReconciliation",
    "CloudControllerManagerWebhook",
    "ContainerStopSignals",
    "CrossNamespaceVolumeDataSource",
    "DRAListTypeAttributes",
    "DRANodeAllocatableResources",
    "DRAResourcePoolStatus",
    "DRAWorkloadResourceClaims",
    "EventedPLEG",
    "GangScheduling",
    "GenericWorkload",
    "HPAScaleToZero",
    "ImageVolumeWithDigest",
    "InPlacePodVerticalScalingExclusiveCPUs",
    "InPlacePodVerticalScalingExclusiveMemory",
    "KubeletInUserNamespace",
    "LoggingAlphaOptions",
    "ManifestBasedAdmissionControlConfig",
    "MemoryQoS",
    "MutablePVNodeAffinity",
    "NativeHistograms",
    "PersistentVolumeClaimUnusedSinceTime",
    "PodAndContainerStatsFromCRI",
    "PodLevelResourceManagers",
    "PodLogsQuerySplitStreams",
    "PodsAPI",
    "QOSReserved",
    "ReduceDefaultCrashLoopBackOffDecay",
    "RuntimeClassInImageCriApi",
    "ShardedListAndWatch",
    "StorageCapacityScoring",
    "StorageVersionAPI",
    "TaintTolerationComparisonOperators",
    "TopologyAwareWorkloadScheduling",
    "TopologyManagerPolicyAlphaOptions",
    "UserNamespacesHostNetworkSupport",
    "VolumeLimitScaling",
    "WindowsCPUAndMemoryAffinity",
    "WorkloadAwarePreemption",
    "WorkloadWithJob",
];
/// Beta, on.
const BETA: &[&str] = &[
    "APIResponseCompression",
    "APIServerIdentity",
    "AllowParsingUserUIDFromCertAuth",
    "AtomicFIFO",
    "AuthorizePodWebsocketUpgradeCreatePermission",
    "CPUManagerPolicyBetaOptions",
    "CRDObservedGenerationTracking",
    "ClearingNominatedNodeNameAfterBinding",
    "ClientsAllowCARotation",
    "ClientsAllowTLSCacheGC",
    "ComponentFlagz",
    "ComponentStatusz",
    "ConstrainedImpersonation",
    "ContainerCheckpoint",
    "ContainerRestartRules",
    "ContextualLogging",
    "DRAConsumableCapacity",
    "DRADeviceBindingConditions",
    "DRADeviceTaints",
    "DRAExtendedResource",
    "DRAPartitionableDevices",
    "DRAResourceClaimDeviceStatus",
    "DRAResourceClaimGranularStatusAuthorization",
    "DRASchedulerFilterTimeout",
    "DeclarativeValidationBeta",
    "DeploymentReplicaSetTerminatingReplicas",
    "DetectCacheInconsistency",
    "EnvFiles",
    "ExtendWebSocketsToKubelet",
    "GracefulNodeShutdown",
    "GracefulNodeShutdownBasedOnPodPriority",
    "HPAConfigurableTolerance",
    "HostnameOverride",
    "InOrderInformersBatchProcess",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "KubeletCrashLoopBackOffMax",
    "KubeletEnsureSecretPulledImages",
    "KubeletSeparateDiskGC",
    "KubeletServiceAccountTokenForCredentialProviders",
    "ListFromCacheSnapshot",
    "LoggingBetaOptions",
    "MatchLabelKeysInPodTopologySpread",
    "MatchLabelKeysInPodTopologySpreadSelectorMerge",
    "MutablePodResourcesForSuspendedJobs",
    "MutableSchedulingDirectivesForSuspendedJobs",
    "NodeDeclaredFeatures",
    "NominatedNodeNameForExpectation",
    "OpenAPIEnums",
    "OpportunisticBatching",
    "PLEGOnDemandRelist",
    "PodDeletionCost",
    "PodLevelResources",
    "PodReadyToStartContainersCondition",
    "PodTopologyLabelsAdmission",
    "PortForwardWebsockets",
    "PreventStaticPodAPIReferences",
    "RelaxedServiceNameValidation",
    "ReloadKubeletClientCAFile",
    "ReloadKubeletServerCertificateFile",
    "RemoteRequestHeaderUID",
    "ResourceHealthStatus",
    "ResourceHealthStatusMessage",
    "RestartAllContainersOnContainerExits",
    "RotateKubeletServerCertificate",
    "SchedulerAsyncPreemption",
    "SchedulerPopFromBackoffQ",
    "ServiceAccountNodeAudienceRestriction",
    "SizeBasedListCostEstimate",
    "StaleControllerConsistencyDaemonSet",
    "StaleControllerConsistencyJob",
    "StaleControllerConsistencyReplicaSet",
    "StaleControllerConsistencyStatefulSet",
    "StatefulSetSemanticRevisionComparison",
    "StorageVersionHash",
    "StrictIPCIDRValidation",
    "StructuredAuthenticationConfigurationEgressSelector",
    "StructuredAuthenticationConfigurationJWKSMetrics",
    "TokenRequestServiceAccountUIDValidation",
    "TopologyManagerPolicyBetaOptions",
    "TranslateStreamCloseWebsocketRequests",
    "UnauthenticatedHTTP2DOSMitigation",
    "UnknownVersionInteroperabilityProxy",
    "UnlockWhileProcessingFIFO",
    "WatchCacheInitializationPostStartHook",
    "WatchList",
    "WatchListClient",
    "WindowsGracefulNodeShutdown",
];
/// Beta, off.
const BETA_OFF: &[&str] = &[
    "ClusterTrustBundle",
    "ClusterTrustBundleProjection",
    "ConcurrentWatchObjectDecode",
    "CoordinatedLeaderElection",
    "DRADeviceTaintRules",
    "LocalStorageCapacityIsolationFSQuotaMonitoring",
    "MaxUnavailableStatefulSet",
    "PodCertificateRequest",
    "SELinuxMount",
    "SchedulerAsyncAPICalls",
    "StorageVersionMigrator",
];
/// Stable.
const STABLE: &[&str] = &[
    "APIServerTracing",
    "AllowServiceExternalIPs",
    "AnonymousAuthConfigurableEndpoints",
    "AnyVolumeDataSource",
    "AuthorizeNodeWithSelectors",
    "AuthorizeWithSelectors",
    "BtreeWatchCache",
    "CPUManagerPolicyOptions",
    "CRDValidationRatcheting",
    "CSIServiceAccountTokenSecrets",
    "ConsistentListFromCache",
    "CustomCPUCFSQuotaPeriod",
    "CustomResourceFieldSelectors",
    "DRAAdminAccess",
    "DRAPrioritizedList",
    "DeclarativeValidation",
    "DisableAllocatorDualWrite",
    "DynamicResourceAllocation",
    "ExecProbeTimeout",
    "ExternalServiceAccountTokenSigner",
    "ImageMaximumGCAge",
    "ImageVolume",
    "InOrderInformers",
    "InPlacePodVerticalScaling",
    "InformerResourceVersion",
    "JobBackoffLimitPerIndex",
    "JobManagedBy",
    "JobPodReplacementPolicy",
    "JobSuccessPolicy",
    "KubeletCgroupDriverFromCRI",
    "KubeletFineGrainedAuthz",
    "KubeletPSI",
    "KubeletPodResourcesDynamicResources",
    "KubeletPodResourcesGet",
    "KubeletTracing",
    "LogarithmicScaleDown",
    "MatchLabelKeysInPodAffinity",
    "MultiCIDRServiceAllocator",
    "MutableCSINodeAllocatableCount",
    "MutatingAdmissionPolicy",
    "NFTablesProxyMode",
    "NodeInclusionPolicyInPodTopologySpread",
    "NodeLogQuery",
    "NodeSwap",
    "OrderedNamespaceDeletion",
    "PodLifecycleSleepAction",
    "PodLifecycleSleepActionAllowZero",
    "PodObservedGenerationTracking",
    "PodSchedulingReadiness",
    "PreferSameTrafficDistribution",
    "ProcMountType",
    "RecoverVolumeExpansionFailure",
    "RecursiveReadOnlyMounts",
    "RelaxedDNSSearchValidation",
    "RelaxedEnvironmentVariableValidation",
    "ResilientWatchCacheInitialization",
    "RetryGenerateName",
    "SELinuxChangePolicy",
    "SELinuxMountReadWriteOncePod",
    "SchedulerQueueingHints",
    "SeparateTaintEvictionController",
    "ServiceAccountTokenJTI",
    "ServiceAccountTokenNodeBinding",
    "ServiceAccountTokenNodeBindingValidation",
    "ServiceAccountTokenPodNodeInfo",
    "SidecarContainers",
    "StreamingCollectionEncodingToJSON",
    "StreamingCollectionEncodingToProtobuf",
    "StructuredAuthenticationConfiguration",
    "SupplementalGroupsPolicy",
    "SystemdWatchdog",
    "TopologyManagerPolicyOptions",
    "UserNamespacesSupport",
    "VolumeAttributesClass",
    "WinDSR",
    "WinOverlay",
];
/// About to go, on.
const DEPRECATED: &[&str] = &[
    "AggregatedDiscoveryRemoveBetaType",
    "DisableCPUQuotaWithExclusiveCPUs",
    "DisableNodeKubeProxyVersion",
    "KubeletPodResourcesListUseActivePods",
    "ServiceCIDRStatusFieldWiping",
    "StorageNamespaceIndex",
];
/// About to go, off.
const DEPRECATED_OFF: &[&str] = &[
    "AllowDNSOnlyNodeCSR",
    "AllowInsecureKubeletCertificateSigningRequests",
    "AllowOverwriteTerminationGracePeriodSeconds",
    "ChangeContainerStatusOnKubeletRestart",
    "DeclarativeValidationTakeover",
    "GitRepoVolumeDriver",
    "KMSv1",
    "KubeletRegistrationGetOnExistsOnly",
    "SeparateCacheWatchRPC",
    "WindowsHostNetwork",
];

/// How settled a feature is, and the gates of that state.
const STAGES: [(&str, bool, &[&str]); 6] = [
    ("ALPHA", false, ALPHA),
    ("BETA", true, BETA),
    ("BETA", false, BETA_OFF),
    ("", true, STABLE),
    ("DEPRECATED", true, DEPRECATED),
    ("DEPRECATED", false, DEPRECATED_OFF),
];

/// The flags about features.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct FeatureFlags {
    /// Feature gates, [kube:]NAME=true|false; only the values that v1.36 has by default are possible
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// Version whose features are wanted; only 1.36 is possible
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub emulated_version: Vec<String>,
    /// Oldest version that other components of the control plane may have: 1.33 to 1.36
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub min_compatibility_version: Vec<String>,
}

/// Why features cannot be had.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum FeatureError {
    /// There is no such component.
    #[error("component not registered: {0}")]
    Component(String),
    /// A gate without a value.
    #[error("missing bool value for {0}")]
    NoValue(String),
    /// A value that is none.
    #[error("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")]
    Value {
        /// The gate.
        name: String,
        /// What was given.
        value: String,
    },
    /// There is no such gate.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// The gate has another value.
    #[error("cannot set feature gate {name} to {}, feature is locked to {locked}", !.locked)]
    Locked {
        /// The gate.
        name: String,
        /// The value that it has.
        locked: bool,
    },
    /// A version that is none.
    #[error("could not parse {0:?} as version")]
    NoVersion(String),
    /// A version that cannot be emulated.
    #[error("emulation version {0} is not between [1.36, 1.36.0]")]
    Emulated(String),
    /// A version that is too old or too new.
    #[error("minCompatibilityVersion version {0} is not between [1.33, 1.36]")]
    Compatible(String),
}

impl FeatureFlags {
    /// Looks whether what is asked for is what there is.
    ///
    /// # Errors
    /// What cannot be had.
    pub(super) fn check(&self) -> Result<(), FeatureError> {
        for gate in &self.feature_gates {
            check_gate(kube(gate)?)?;
        }
        for version in &self.emulated_version {
            check_version(of_component(version)?, 36..=36, FeatureError::Emulated)?;
        }
        for version in &self.min_compatibility_version {
            check_version(of_component(version)?, 33..=36, FeatureError::Compatible)?;
        }
        Ok(())
    }

    /// Shows the gates and the versions among the metrics from now on.
    pub(super) fn show(&self) {
        let oldest = self.min_compatibility_version.last().and_then(|version| of_component(version).ok());
        let oldest = oldest.unwrap_or("1.35").trim_start_matches('v').to_owned();
        telemetry::collector(move |page| collect(page, &oldest));
    }
}

/// A gate without its component.
fn kube(gate: &str) -> Result<&str, FeatureError> {
    match gate.split_once(':') {
        None => Ok(gate),
        Some(("kube", gate)) => Ok(gate),
        Some((other, _)) => Err(FeatureError::Component(other.to_owned())),
    }
}

fn check_gate(gate: &str) -> Result<(), FeatureError> {
    let (name, value) = gate.split_once('=').ok_or_else(|| FeatureError::NoValue(gate.to_owned()))?;
    let (name, value) = (name.trim(), value.trim());
    let wanted = go_bool(value)
        .ok_or_else(|| FeatureError::Value { name: name.to_owned(), value: value.to_owned() })?;
    let all = match name {
        // Both are switches for gates that are off: off is what they are.
        "AllAlpha" | "AllBeta" => Some(false),
        _ => STAGES.iter().find(|(_, _, gates)| gates.contains(&name)).map(|(_, on, _)| *on),
    };
    match all {
        None => Err(FeatureError::Unknown(name.to_owned())),
        Some(on) if on != wanted => Err(FeatureError::Locked { name: name.to_owned(), locked: on }),
        Some(_) => Ok(()),
    }
}

/// A truth value as Go's `strconv.ParseBool` reads it.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A version without its component.
fn of_component(version: &str) -> Result<&str, FeatureError> {
    match version.split_once('=') {
        None => Ok(version),
        Some(("kube", version)) => Ok(version),
        Some((other, _)) => Err(FeatureError::Component(other.to_owned())),
    }
}

fn check_version(
    text: &str,
    minors: std::ops::RangeInclusive<u32>,
    refuse: fn(String) -> FeatureError,
) -> Result<(), FeatureError> {
    let wrong = || FeatureError::NoVersion(text.to_owned());
    let (major, minor) = text.trim_start_matches('v').split_once('.').ok_or_else(wrong)?;
    let (major, minor): (u32, u32) =
        (major.parse().map_err(|_| wrong())?, minor.parse().map_err(|_| wrong())?);
    if major != 1 || !minors.contains(&minor) {
        return Err(refuse(format!("{major}.{minor}")));
    }
    Ok(())
}

fn collect(page: &mut telemetry::Exposition, oldest: &str) {
    let name = "kubernetes_feature_enabled";
    page.header(name, "Feature gates by stage: 1 is on, 0 off.", "gauge");
    let gates = STAGES.iter().flat_map(|(stage, on, gates)| gates.iter().map(move |gate| (gate, stage, on)));
    let mut gates: Vec<_> = gates.collect();
    gates.sort_unstable();
    for (gate, stage, on) in gates {
        page.sample(name, &[("name", (**gate).into()), ("stage", (**stage).into())], f64::from(*on));
    }
    let labels = [("binary", "1.36.0"), ("component", "kube"), ("emulation", "1.36"), ("min_compat", oldest)];
    page.header("version_info", "The versions that this process is of, and works as.", "gauge");
    page.sample("version_info", &labels.map(|(label, text)| (label, text.into())), 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(gates: &str, emulated: &str, compatible: &str) -> FeatureFlags {
        let list = |text: &str| {
            text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        FeatureFlags {
            feature_gates: list(gates),
            emulated_version: list(emulated),
            min_compatibility_version: list(compatible),
        }
    }

    #[test]
    fn only_what_is_so_can_be_asked_for() {
        for good in ["", "WatchList=true", "kube:WatchList=1,AllAlpha=false", "GenericWorkload=F"] {
            assert_eq!(flags(good, "", "").check(), Ok(()), "{good}");
        }
        for (gates, says) in [
            ("Foo=true", "unrecognized feature gate: Foo"),
            ("Foo", "missing bool value for Foo"),
            (
                "WatchList=maybe",
                "invalid value of WatchList=maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            ("x:WatchList=true", "component not registered: x"),
            (
                "JobPodReplacementPolicy=false",
                "cannot set feature gate JobPodReplacementPolicy to false, feature is locked to true",
            ),
            ("AllAlpha=true", "cannot set feature gate AllAlpha to true, feature is locked to false"),
        ] {
            assert_eq!(flags(gates, "", "").check().unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn versions_are_this_one_or_near_it() {
        assert_eq!(flags("", "1.36", "kube=1.33").check(), Ok(()));
        for (emulated, compatible, says) in [
            ("1.35", "", "emulation version 1.35 is not between [1.36, 1.36.0]"),
            ("foo", "", "could not parse \"foo\" as version"),
            ("wardle=1.2", "", "component not registered: wardle"),
            ("", "1.30", "minCompatibilityVersion version 1.30 is not between [1.33, 1.36]"),
        ] {
            assert_eq!(flags("", emulated, compatible).check().unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn every_gate_is_in_one_place() {
        let mut all: Vec<&str> = STAGES.iter().flat_map(|(_, _, gates)| gates.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
