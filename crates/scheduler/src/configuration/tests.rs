use serde_json::json;

use super::*;
use crate::profile::Strategy;

fn read(change: Value) -> Result<Configuration, String> {
    let mut value = json!({"apiVersion": API_VERSION, "kind": "KubeSchedulerConfiguration"});
    value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    Configuration::read(&value)
}

fn profile(change: Value) -> Profile {
    read(json!({"profiles": [change]})).unwrap().profiles.remove(0)
}

fn scores(profile: &Profile) -> String {
    profile.scores.iter().map(|(score, weight)| format!("{} {weight}", score.name)).collect::<Vec<_>>().join(", ")
}

fn filters(profile: &Profile) -> String {
    profile.filters.iter().map(|filter| filter.name).collect::<Vec<_>>().join(", ")
}

#[test]
fn nothing_said_is_upstreams_defaults() {
    let configuration = read(json!({})).unwrap();
    let (read, default) = (&configuration.profiles[0], Profile::default());
    assert_eq!(configuration.profiles.len(), 1);
    assert_eq!((read.name.as_str(), read.percentage, read.preempts), ("default-scheduler", None, true));
    assert_eq!(filters(read), filters(&default));
    assert_eq!(
        scores(read),
        "TaintToleration 3, NodeAffinity 2, NodeResourcesFit 1, PodTopologySpread 2, InterPodAffinity 2, \
         NodeResourcesBalancedAllocation 1, ImageLocality 1"
    );
}

#[test]
fn profiles_have_names_plugins_and_weights_of_their_own() {
    let both = read(json!({"percentageOfNodesToScore": 50, "podInitialBackoffSeconds": 2, "podMaxBackoffSeconds": 20,
        "profiles": [{"schedulerName": "default-scheduler"}, {"schedulerName": "packing", "percentageOfNodesToScore": 0}]}));
    let both = both.unwrap();
    let names: Vec<_> = both.profiles.iter().map(|p| (p.name.as_str(), p.number, p.percentage)).collect();
    assert_eq!(names, [("default-scheduler", 0, Some(50)), ("packing", 1, None)]);
    assert_eq!((both.backoff.min.as_secs(), both.backoff.max.as_secs()), (2, 20));
    let few = profile(
        json!({"plugins": {"score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality", "weight": 5}]},
        "preScore": {"disabled": [{"name": "*"}]}, "filter": {"disabled": [{"name": "NodePorts"}]},
        "postFilter": {"disabled": [{"name": "DefaultPreemption"}]}}}),
    );
    assert_eq!(scores(&few), "ImageLocality 5");
    assert!(!filters(&few).contains("NodePorts") && filters(&few).contains("NodeResourcesFit"));
    assert!(!few.preempts);
    let weighted = profile(json!({"plugins": {"multiPoint": {"enabled": [{"name": "NodeResourcesFit", "weight": 9}],
        "disabled": [{"name": "ImageLocality"}, {"name": "VolumeBinding"}]}, "score": {"enabled": [{"name": "NodeAffinity", "weight": 4}]}}}));
    assert_eq!(
        scores(&weighted),
        "NodeAffinity 4, TaintToleration 3, NodeResourcesFit 9, PodTopologySpread 2, InterPodAffinity 2, \
         NodeResourcesBalancedAllocation 1"
    );
}

#[test]
fn arguments_of_plugins_are_taken() {
    let all = profile(json!({"pluginConfig": [
        {"name": "NodeResourcesFit", "args": {"apiVersion": API_VERSION, "kind": "NodeResourcesFitArgs",
            "ignoredResources": ["a.b/c"], "ignoredResourceGroups": ["d.e"], "scoringStrategy": {"type": "RequestedToCapacityRatio",
            "resources": [{"name": "a.b/gpu", "weight": 3}, {"name": "cpu"}],
            "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]}}}},
        {"name": "NodeResourcesBalancedAllocation", "args": {"resources": [{"name": "memory"}, {"name": "a.b/gpu", "weight": 1}]}},
        {"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 7, "ignorePreferredTermsOfExistingPods": true}},
        {"name": "DefaultPreemption", "args": {"minCandidateNodesPercentage": 20, "minCandidateNodesAbsolute": 5}},
        {"name": "PodTopologySpread", "args": {"defaultingType": "List", "defaultConstraints": [{"maxSkew": 2, "topologyKey": "rack",
            "whenUnsatisfiable": "DoNotSchedule"}]}},
        {"name": "NodeAffinity", "args": {"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
            [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["x"]}]}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]}}]}}}]}));
    assert_eq!(all.fit.strategy, Strategy::Ratio(vec![(0, 0), (100, 100)]));
    assert_eq!(all.fit.resources, [("a.b/gpu".to_string(), 3), ("cpu".to_string(), 1)]);
    assert!(all.fit.ignores("a.b/c") && all.fit.ignores("d.e/f") && !all.fit.ignores("a.b/gpu"));
    assert_eq!(all.balanced, ["memory", "a.b/gpu"]);
    assert_eq!((all.hard_affinity_weight, all.ignores_wishes_of_others), (7, true));
    assert_eq!((all.preemption.percentage, all.preemption.absolute), (20, 5));
    let spread = &all.spread.constraints[0];
    assert_eq!(
        (spread.max_skew, spread.topology.as_str(), spread.hard, all.spread.is_system),
        (2, "rack", true, false)
    );
    assert_eq!((all.added_terms.unwrap().len(), all.added_wishes.len()), (1, 1));
}

#[test]
fn what_is_wrong_or_not_there_is_refused_by_name() {
    let plugins = |plugins: Value| json!({"profiles": [{"plugins": plugins}]});
    let args = |name: &str, args: Value| json!({"profiles": [{"pluginConfig": [{"name": name, "args": args}]}]});
    for (change, error) in [
        (json!({"extenders": [{"urlPrefix": "x"}]}), "extenders: refused: extenders are not built"),
        (json!({"parallelism": 3}), "parallelism: refused: pods are placed one after the other"),
        (
            json!({"leaderElection": {"leaderElect": true}}),
            "leaderElection.leaderElect: only false: the server's process has the one scheduler",
        ),
        (json!({"profilez": []}), "profilez: unknown field"),
        (
            json!({"percentageOfNodesToScore": 101}),
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            json!({"podMaxBackoffSeconds": 0}),
            "podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (json!({"profiles": [{"schedulerName": "a"}, {}]}), "profiles[1].schedulerName: Required value"),
        (json!({"profiles": [{"schedulerName": ""}]}), "profiles[0].schedulerName: Required value"),
        (
            json!({"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]}),
            "profiles[1].schedulerName: Duplicate value: \"a\"",
        ),
        (
            plugins(json!({"score": {"enabled": [{"name": "Mine"}]}})),
            "profiles[0].plugins.score.enabled[0].name: \"Mine\": there is no such plugin",
        ),
        (
            plugins(json!({"score": {"enabled": [{"name": "NodePorts"}]}})),
            "profiles[0].plugins.score.enabled[0].name: plugin \"NodePorts\" does not extend score plugin",
        ),
        (
            plugins(json!({"filter": {"enabled": [{"name": "VolumeZone"}]}})),
            "profiles[0].plugins.filter.enabled[0].name: refused: VolumeZone is not built",
        ),
        (
            plugins(json!({"multiPoint": {"disabled": [{"name": "DefaultBinder"}]}})),
            "profiles[0].plugins.bind: refused: without DefaultBinder no pod would be scheduled rightly",
        ),
        (
            plugins(json!({"preFilter": {"disabled": [{"name": "NodePorts"}]}})),
            "profiles[0].plugins.preFilter: refused: NodePorts is disabled there and not in filter, which needs it",
        ),
        (args("VolumeBinding", json!({})), "profiles[0].pluginConfig[0].name: refused: VolumeBinding is not built"),
        (args("NodePorts", json!({})), "profiles[0].pluginConfig[0].args: NodePorts has no arguments"),
        (
            args("InterPodAffinity", json!({"hardPodAffinityWeight": 101})),
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            args("NodeResourcesFit", json!({"scoringStrategy": {"type": "Best"}})),
            "profiles[0].pluginConfig[0].args.scoringStrategy.type: Invalid value: \"Best\": supported values: \
             \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
        ),
        (
            args("PodTopologySpread", json!({"defaultConstraints": [{"maxSkew": 1}]})),
            "profiles[0].pluginConfig[0].args.defaultingType: Invalid value: System: when .defaultConstraints are not empty",
        ),
        (
            args(
                "NodeAffinity",
                json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}}),
            ),
            "profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.\
             nodeSelectorTerms[0].matchExpressions[0].values: Invalid value: []: not what the operator takes",
        ),
    ] {
        assert_eq!(read(change.clone()).err().as_deref(), Some(error), "{change}");
    }
    let other = Configuration::read(&json!({"apiVersion": "v1", "kind": "Pod"})).err().unwrap();
    assert_eq!(other, "apiVersion, kind: expected kubescheduler.config.k8s.io/v1, KubeSchedulerConfiguration");
}
