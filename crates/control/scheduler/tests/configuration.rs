//! KubeSchedulerConfiguration: what is read from it, and what is said about a bad one.

use scheduler::config::{SchedulerConfig, parse};
use scheduler::plugins::Point;
use scheduler::profile::Profile;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn read(body: &str) -> Result<SchedulerConfig, String> {
    parse(&format!("{HEAD}{body}")).map_err(|error| error.to_string())
}

fn error(body: &str) -> String {
    read(body).err().unwrap_or_else(|| "no error".into())
}

#[test]
fn defaults_are_upstreams() {
    let config = read("").unwrap();
    let profile = Profile::new(&config.profiles[0], &[]);
    let scorers: Vec<(&str, i64)> =
        profile.scorers.iter().map(|(plugin, weight)| (plugin.name(), *weight)).collect();
    assert_eq!(
        scorers,
        [
            ("TaintToleration", 3),
            ("NodeAffinity", 2),
            ("NodeResourcesFit", 1),
            ("VolumeBinding", 1),
            ("PodTopologySpread", 2),
            ("InterPodAffinity", 2),
            ("DynamicResources", 2),
            ("NodeResourcesBalancedAllocation", 1),
            ("ImageLocality", 1),
        ]
    );
    assert_eq!((config.pod_initial_backoff.as_secs(), config.pod_max_backoff.as_secs()), (1, 10));
    assert!(config.leader_election.leader_elect);
}

#[test]
fn one_profile_alone_is_the_default_scheduler_s() {
    for body in ["", "profiles: []\n", "profiles: [{percentageOfNodesToScore: 50}]\n"] {
        assert_eq!(read(body).unwrap().profiles[0].scheduler_name, "default-scheduler", "{body}");
    }
    let two = error("profiles: [{schedulerName: a}, {}]\n");
    assert!(two.contains("profiles[1].schedulerName: Required value"), "{two}");
    let empty = error("profiles: [{schedulerName: ''}]\n");
    assert!(empty.contains("profiles[0].schedulerName: Required value"), "{empty}");
}

#[test]
fn points_are_enabled_disabled_and_weighted() {
    let config = read(
        "profiles:\n- schedulerName: x\n  plugins:\n    multiPoint:\n      disabled: [{name: InterPodAffinity}]\n    score:\n      disabled: [{name: '*'}]\n      enabled: [{name: ImageLocality, weight: 7}, {name: NodeResourcesFit}]\n",
    )
    .unwrap();
    let enabled = config.profiles[0].plugins.expand();
    let score: Vec<(&str, i64)> =
        enabled.at(Point::Score).iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
    assert_eq!(score, [("ImageLocality", 7), ("NodeResourcesFit", 1)]);
    assert!(enabled.at(Point::Filter).iter().all(|(name, _)| name != "InterPodAffinity"));
    assert!(enabled.at(Point::Filter).iter().any(|(name, _)| name == "NodeResourcesFit"));
}

#[test]
fn bad_configurations_are_refused_with_every_finding() {
    for (body, want) in [
        ("profilez: []\n", "strict decoding error: unknown field \"profilez\""),
        ("parallelism: -1\n", "parallelism: Invalid value: -1: should be an integer value greater than zero"),
        (
            "percentageOfNodesToScore: 101\n",
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            "profiles:\n- schedulerName: a\n- schedulerName: a\n",
            "profiles[1].schedulerName: Duplicate value: {}",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {filter: {enabled: [{name: Nonsense}]}}}]\n",
            "initializing profiles: creating profile for scheduler name a: FilterPlugin \"Nonsense\" does not exist",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {multiPoint: {enabled: [{name: Nonsense}]}}}]\n",
            "initializing profiles: creating profile for scheduler name a: PreFilterPlugin \"Nonsense\" does not exist",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {filter: {enabled: [{name: ImageLocality}]}}}]\n",
            "initializing profiles: creating profile for scheduler name a: plugin \"ImageLocality\" does not extend FilterPlugin plugin",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {score: {enabled: [{name: ImageLocality}, {name: ImageLocality}]}}}]\n",
            "initializing profiles: creating profile for scheduler name a: plugin \"ImageLocality\" already registered as \"ScorePlugin\"",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {bind: {disabled: [{name: '*'}]}}}]\n",
            "initializing profiles: creating profile for scheduler name a: at least one bind plugin is needed for profile with scheduler name \"a\"",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {queueSort: {disabled: [{name: '*'}]}}}]\n",
            "initializing profiles: creating profile for scheduler name a: only one queue sort plugin required for profile with scheduler name \"a\", but got 0",
        ),
        (
            "profiles: [{schedulerName: a, plugins: {filter: {enabled: [{name: EBSLimits}]}}}]\n",
            "profiles[0].plugins.filter.enabled[0]: Invalid value: \"EBSLimits\": was invalid in version \"kubescheduler.config.k8s.io/v1\" (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")",
        ),
        (
            "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]\n",
            "profiles[1].plugins.queueSort: Invalid value: {\"Enabled\":[{\"Name\":\"PrioritySort\",\"Weight\":0}],\"Disabled\":null}: must be the same for all profiles",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]\n",
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}}]}]\n",
            "[profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute, profiles[0].pluginConfig[0].args.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage]",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesAbsolute: -1}}]}]\n",
            "profiles[0].pluginConfig[0].args.minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: NodeResourcesBalancedAllocation, args: {resources: [{name: cpu, weight: 2}, {name: cpu}]}}]}]\n",
            "[profiles[0].pluginConfig[0].args.resources[0].weight: Invalid value: 2: must be 1, profiles[0].pluginConfig[0].args.resources[1].name: Duplicate value: \"cpu\"]",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: VolumeBinding, args: {bindTimeoutSeconds: -1}}]}]\n",
            "profiles[0].pluginConfig[0].args.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: VolumeBinding, args: {shape: [{utilization: 1, score: 2}]}}]}]\n",
            "profiles[0].pluginConfig[0].args.shape: Invalid value: [{\"Utilization\":1,\"Score\":2}]: unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: DynamicResources, args: {filterTimeout: -1s, bindingTimeout: 500ms}}]}]\n",
            "[profiles[0].pluginConfig[0].args.filterTimeout: Invalid value: \"-1s\": must be zero or positive, profiles[0].pluginConfig[0].args.bindingTimeout: Invalid value: \"500ms\": must be at least 1 second]",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: PodTopologySpread, args: {defaultConstraints: [{maxSkew: 1, topologyKey: k, whenUnsatisfiable: DoNotSchedule}]}}]}]\n",
            "profiles[0].pluginConfig[0].args.defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{topologyKey: k, whenUnsatisfiable: x}, {maxSkew: 1, topologyKey: k, whenUnsatisfiable: x}]}}]}]\n",
            "[profiles[0].pluginConfig[0].args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf), profiles[0].pluginConfig[0].args.defaultConstraints[0].whenUnsatisfiable: Unsupported value: \"x\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\", profiles[0].pluginConfig[0].args.defaultConstraints[1].whenUnsatisfiable: Unsupported value: \"x\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\", profiles[0].pluginConfig[0].args.defaultConstraints[1]: Duplicate value: \"{k, x}\"]",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio}}}]}]\n",
            "initializing profiles: creating profile for scheduler name a: initializing plugin \"NodeResourcesFit\": scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 11}, {utilization: 5}]}}}}]}]\n",
            "initializing profiles: creating profile for scheduler name a: initializing plugin \"NodeResourcesFit\": [scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 5: values must be sorted in increasing order, scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]]",
        ),
        (
            "profiles: [{schedulerName: a, pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Tidy, resources: [{name: cpu, weight: 101}]}}}]}]\n",
            "initializing profiles: creating profile for scheduler name a: initializing plugin \"NodeResourcesFit\": [scoringStrategy.type: Unsupported value: \"Tidy\": supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\", scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]]",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p, managedResources: [{name: cpu}, {name: cpu}]}]\n",
            "[extenders[0].weight: Invalid value: 0: must have a positive weight applied to it, extenders[0].managedResources[0].name: Invalid value: \"cpu\": is an invalid extended resource name, extenders[0].managedResources[1].name: Invalid value: \"cpu\": is an invalid extended resource name, extenders[0].managedResources[1].name: Invalid value: \"cpu\": duplicate extender managed resource name]",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', bindVerb: b}, {urlPrefix: 'http://y', bindVerb: b}]\n",
            "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
        ),
        (
            "podInitialBackoffSeconds: 20\n",
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "leaderElection: {leaseDuration: 5s, resourceLock: endpoints}\n",
            "[leaderElection.leaseDuration: Invalid value: \"10s\": must be greater than `RenewDeadline`, leaderElection.resourceLock: Invalid value: \"endpoints\": resourceLock value must be \"leases\"]",
        ),
        (
            "clientConnection: {burst: -1}\n",
            "clientConnection.burst: Invalid value: -1: must be non-negative",
        ),
    ] {
        assert_eq!(error(body), want, "{body}");
    }
    assert!(parse("kind: Pod\napiVersion: v1\n").is_err());
    assert!(parse("").is_err() && parse("[1, 2").is_err() && parse("7").is_err());
}

/// One plugin's arguments in a profile of their own.
fn arguments(plugin: &str, args: &str) -> String {
    error(&format!("profiles: [{{schedulerName: a, pluginConfig: [{{name: {plugin}, args: {args}}}]}}]\n"))
}

#[test]
fn what_cannot_be_decoded_is_named_as_upstream_names_it() {
    let head = |line: &str| parse(line).unwrap_err().to_string();
    assert_eq!(head(""), "Object 'Kind' is missing in ''");
    assert_eq!(head("kind: Foo\n"), "Object 'apiVersion' is missing in 'kind: Foo\n'");
    let version = "apiVersion: kubescheduler.config.k8s.io/v1\n";
    assert_eq!(head(version), format!("Object 'Kind' is missing in '{version}'"));
    assert_eq!(
        head(&format!("{version}kind: NodeAffinityArgs\n")),
        "couldn't decode as KubeSchedulerConfiguration, got kubescheduler.config.k8s.io/v1, Kind=NodeAffinityArgs: "
    );
    assert_eq!(head("a: b: c"), "yaml: mapping values are not allowed in this context");
    assert_eq!(head("a:\n\t- b"), "yaml: line 2: found character that cannot start any token");
    let scheme = r#"in scheme "pkg/scheduler/apis/config/scheme/scheme.go:29""#;
    let unmarshal = |rest: &str| format!("json: cannot unmarshal {rest}");
    for (body, want) in [
        ("parallelism: x\n", unmarshal("string into Go struct field KubeSchedulerConfiguration.parallelism of type int32")),
        ("percentageOfNodesToScore: 5000000000\n", unmarshal("number 5000000000 into Go struct field KubeSchedulerConfiguration.percentageOfNodesToScore of type int32")),
        ("profiles: x\n", unmarshal("string into Go struct field KubeSchedulerConfiguration.profiles of type []v1.KubeSchedulerProfile")),
        ("profiles: [{schedulerName: 5}]\n", unmarshal("number into Go struct field KubeSchedulerProfile.profiles.schedulerName of type string")),
        ("leaderElection: {leaseDuration: 5}\n", unmarshal("number into Go struct field LeaderElectionConfiguration.leaderElection.leaseDuration of type string")),
        ("delayCacheUntilActive: maybe\n", unmarshal("string into Go struct field KubeSchedulerConfiguration.delayCacheUntilActive of type bool")),
        ("parallelism: 1\nparallelism: 2\n", "strict decoding error: yaml: unmarshal errors:\n  line 4: key \"parallelism\" already set in map".into()),
    ] {
        assert_eq!(error(body), want, "{body}");
    }
    let nested = "decoding .profiles[0].pluginConfig[0]: ";
    for (plugin, args, want) in [
        ("NodeAffinity", "{foo: 1}", "strict decoding error: decoding args for plugin NodeAffinity: strict decoding error: unknown field \"foo\"".to_owned()),
        ("NodeAffinity", "{kind: InterPodAffinityArgs}", "args for plugin NodeAffinity were not of type NodeAffinityArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io".into()),
        ("NodeAffinity", "{kind: FooArgs}", format!("decoding args for plugin NodeAffinity: no kind \"FooArgs\" is registered for version \"kubescheduler.config.k8s.io/v1\" {scheme}")),
        ("InterPodAffinity", "{hardPodAffinityWeight: x}", format!("decoding args for plugin InterPodAffinity: {}", unmarshal("string into Go struct field InterPodAffinityArgs.hardPodAffinityWeight of type int32"))),
        ("DynamicResources", "{bindingTimeout: x}", "decoding args for plugin DynamicResources: time: invalid duration \"x\"".into()),
    ] {
        let strict = if want.starts_with("strict") { "strict decoding error: " } else { "" };
        assert_eq!(arguments(plugin, args), format!("{strict}{nested}{want}"), "{plugin} {args}");
    }
    // Plugins that are not ours say themselves what their arguments are; only the first document counts.
    assert_eq!(arguments("Foo", "{a: b}"), "no error");
    assert_eq!(error("parallelism: 4\n---\nfoo: bar\n"), "no error");
}

#[test]
fn added_affinity_is_checked() {
    let args = r#"{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [
        {key: a, operator: Foo, values: [x]}, {key: c, operator: In}, {key: d, operator: Gt, values: [x]}, {key: e, operator: Lt, values: ["-3"]}]}]}}}"#;
    let path = "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions";
    let found = arguments("NodeAffinity", &args.replace('\n', " "));
    for want in [
        r#"[0].operator: Unsupported value: "Foo": supported values: "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt""#,
        "[1].values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty",
        r#"[2].values[0]: Invalid value: "x": for 'Gt', 'Lt' operators, the value must be an integer"#,
        r#"[3].values[0][e]: Invalid value: "-3": a valid label must be"#,
    ] {
        assert!(found.contains(&format!("{path}{want}")), "{want} in {found}");
    }
    assert_eq!(arguments("NodeAffinity", "{addedAffinity: {}}"), "no error");
}

/// What upstream's process answers at `/configz` without any configuration of its own; recorded beside the repository.
#[test]
fn the_document_in_use_has_every_default() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/golden/config/kube-scheduler-configz.json"))
        .find(|file| file.is_file());
    let Some(golden) = golden else {
        println!("skipped: no recordings beside the repository");
        return;
    };
    let recorded: serde_json::Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let mut config = SchedulerConfig::default();
    config.leader_election.leader_elect = false;
    config.kubeconfig = "/etc/kubernetes/sched.kubeconfig".into();
    assert_eq!(config.document(), recorded["componentconfig"]);
}

#[test]
fn the_document_in_use_has_what_was_given() {
    let config = read(
        r#"
percentageOfNodesToScore: 30
enableProfiling: false
delayCacheUntilActive: true
clientConnection: {kubeconfig: /k, qps: 7.5}
leaderElection: {leaseDuration: 1m30s, renewDeadline: 20s}
extenders: [{urlPrefix: 'http://x', filterVerb: f, managedResources: [{name: example.com/a, ignoredByScheduler: true}]}]
profiles:
- schedulerName: a
  percentageOfNodesToScore: 5
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}]
      enabled: [{name: NodeAffinity, weight: 9}]
    score:
      disabled: [{name: '*'}]
      enabled: [{name: NodeResourcesFit, weight: 3}]
  pluginConfig:
  - name: NodeResourcesFit
    args: {ignoredResources: [example.com/b], scoringStrategy: {type: MostAllocated, resources: [{name: example.com/c}]}}
"#,
    )
    .unwrap();
    let document = config.document();
    let at = |pointer: &str| document.pointer(pointer).map(ToString::to_string).unwrap_or_default();
    for (pointer, want) in [
        ("/percentageOfNodesToScore", "30"),
        ("/parallelism", "16"),
        ("/enableProfiling", "false"),
        ("/enableContentionProfiling", "false"),
        ("/delayCacheUntilActive", "true"),
        ("/clientConnection/kubeconfig", r#""/k""#),
        ("/clientConnection/qps", "7.5"),
        ("/leaderElection/leaseDuration", r#""1m30s""#),
        ("/extenders/0/httpTimeout", r#""0s""#),
        ("/extenders/0/managedResources/0/ignoredByScheduler", "true"),
        ("/profiles/0/percentageOfNodesToScore", "5"),
        ("/profiles/0/plugins/multiPoint/disabled", r#"[{"name":"ImageLocality","weight":0}]"#),
        ("/profiles/0/plugins/multiPoint/enabled/5", r#"{"name":"NodeAffinity","weight":9}"#),
        ("/profiles/0/plugins/multiPoint/enabled/17", r#"{"name":"DefaultBinder","weight":0}"#),
        ("/profiles/0/plugins/score/enabled", r#"[{"name":"NodeResourcesFit","weight":3}]"#),
        ("/profiles/0/pluginConfig/0/name", r#""NodeResourcesFit""#),
        (
            "/profiles/0/pluginConfig/0/args/scoringStrategy",
            r#"{"resources":[{"name":"example.com/c","weight":1}],"type":"MostAllocated"}"#,
        ),
        ("/profiles/0/pluginConfig/0/args/kind", r#""NodeResourcesFitArgs""#),
        ("/profiles/0/pluginConfig/1/name", r#""DefaultPreemption""#),
    ] {
        assert_eq!(at(pointer), want, "{pointer}");
    }
}
