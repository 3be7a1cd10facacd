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
            "profiles[1].schedulerName: Duplicate value: \"a\"",
        ),
        (
            "profiles:\n- schedulerName: a\n  plugins: {filter: {enabled: [{name: Nonsense}]}}\n",
            "FilterPlugin \"Nonsense\" does not exist",
        ),
        (
            "profiles:\n- schedulerName: a\n  plugins: {filter: {enabled: [{name: ImageLocality}]}}\n",
            "plugin \"ImageLocality\" does not extend FilterPlugin plugin",
        ),
        (
            "profiles:\n- schedulerName: a\n  pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]\n",
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            "extenders: [{urlPrefix: 'http://x', prioritizeVerb: p}]\n",
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            "podInitialBackoffSeconds: 20\n",
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
    ] {
        assert_eq!(error(body), want, "{body}");
    }
    assert!(parse("kind: Pod\napiVersion: v1\n").is_err());
    assert!(parse("").is_err() && parse("[1, 2").is_err() && parse("7").is_err());
}
