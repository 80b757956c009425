use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::replicas::{Asked, Figure, Figures, Target, Tolerances, propose};
use super::scaling::Bounds;
use super::*;

const START: i64 = 1_790_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// A pod that runs since an hour; `how` may say `unready`, `pending`, `failed`, `ending` or `new`.
fn pod(name: &str, how: &str, request: Value) -> Pod {
    let phase = match how {
        "pending" => "Pending",
        "failed" => "Failed",
        _ => "Running",
    };
    let (started, status) = (if how == "new" { -5 } else { -3600 }, if how == "unready" { "False" } else { "True" });
    let changed = started + 1;
    let mut value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": request}}]},
        "status": {"phase": phase, "startTime": at(started).to_string(), "conditions": [
            {"type": "Ready", "status": status, "lastTransitionTime": at(changed).to_string()}]}});
    if how == "ending" {
        value["metadata"]["deletionTimestamp"] = json!(at(0).to_string());
    }
    Pod::of(&Object::from_value(&value).unwrap())
}

/// `a:300 b:700:unready c::pending`: names, thousandths of a processor that are used, what else there is to say.
fn crowd(text: &str) -> (Vec<Pod>, Figures) {
    let (mut pods, mut figures) = (Vec::new(), Figures::new());
    for word in text.split_whitespace() {
        let mut parts = word.split(':');
        let (name, used, how) = (parts.next().unwrap(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        pods.push(pod(name, how, json!({"cpu": "1"})));
        if let Ok(value) = used.parse() {
            figures.insert(name.into(), Figure { at: at(0), window: SignedDuration::from_secs(15), value });
        }
    }
    (pods, figures)
}

fn cpu(target: Target) -> Asked<'static> {
    Asked { resource: "cpu", container: None, target, tolerances: Tolerances { down: 0.1, up: 0.1 } }
}

#[test]
fn usage_proposes_how_many_there_shall_be() {
    let check = |current: i64, target: Target, text: &str, want: &str| {
        let (pods, figures) = crowd(text);
        let told = match propose(cpu(target), current, &pods, figures, at(0)) {
            Ok(proposal) => {
                let percent = proposal.utilization.map_or(String::new(), |percent| format!(" {percent}%"));
                format!("{}{percent} {}m", proposal.replicas, proposal.average)
            }
            Err(why) => why,
        };
        assert_eq!(told, want, "{text}");
    };
    let percent = Target::Utilization;
    // replica_calculator_test.go has these.
    check(3, percent(30), "a:300 b:500 c:700", "5 50% 500m");
    check(3, percent(30), "a:300:unready b:500 c:700", "4 60% 600m");
    check(3, percent(40), "a:400 b:500:unready c:700:unready", "3 40% 400m");
    check(5, percent(50), "a:100 b:300 c:500 d:250 e:250", "3 28% 280m");
    check(2, percent(100), "a:1000 b:", "2 100% 1000m");
    // Within the tolerance, and just beyond.
    check(3, percent(100), "a:1090 b:1090 c:1090", "3 109% 1090m");
    check(3, percent(100), "a:1110 b:1110 c:1110", "4 111% 1110m");
    check(3, percent(100), "a:900 b:900 c:900", "3 90% 900m");
    check(3, percent(100), "a:660 b:660 c:660", "2 66% 660m");
    // Of whom nothing is known holds back in both directions.
    check(2, percent(50), "a:1000 b:", "2 100% 1000m");
    check(3, percent(50), "a:1000 b:1000 c:", "4 100% 1000m");
    check(4, percent(50), "a:100 b:100 c:100 d:", "3 10% 100m");
    // Who ends, failed or has not begun counts for nothing.
    check(1, percent(50), "a:1000 b:1000:ending c:1000:failed", "2 100% 1000m");
    check(2, percent(50), "a:1000 b::pending", "2 100% 1000m");
    check(1, percent(50), "a:1000:new", "did not receive metrics for targeted pods (pods might be unready)");
    check(1, percent(50), "", "no pods returned by selector while calculating replica count");
    check(2, Target::Average(100), "a:300 b:100", "4 200m");
    check(2, Target::Average(100), "a:10 b:10", "1 10m");
    check(2, Target::Average(1), "a:9000000000000000000 b:9000000000000000000", "2147483647 9000000000000000000m");
}

#[test]
fn percentages_are_of_what_is_requested() {
    let (_, figures) = crowd("a:500");
    let told = |request: Value, container: Option<&'static str>| {
        let asked = Asked { container, ..cpu(Target::Utilization(50)) };
        propose(asked, 1, &[pod("a", "", request)], figures.clone(), at(0)).map(|proposal| proposal.utilization)
    };
    assert_eq!(told(json!({"cpu": "250m"}), None), Ok(Some(200)));
    assert_eq!(told(json!({"cpu": "250m"}), Some("c")), Ok(Some(200)));
    assert_eq!(told(json!({}), None), Err("missing request for cpu in container c of Pod a".into()));
    assert_eq!(told(json!({"cpu": "1"}), Some("x")), Err("container x not found in Pod a".into()));
    assert_eq!(told(json!({"cpu": "0"}), None), Err("no metrics returned matched known pods".into()));
}

/// Numbers that look like chance and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound) as i64
    }
}

/// What happened in a play: when, from how many, to how many, and what was recommended.
struct Step {
    now: i64,
    from: i64,
    to: i64,
    wanted: i64,
}

/// Recommendations that go to and fro, and what becomes of them.
fn play(behavior: &Value, bounds: Bounds, seed: u64) -> Vec<Step> {
    let (mut dice, mut memory, mut current, mut now) = (Dice(seed), Memory::default(), 3, 0);
    let mut steps = Vec::new();
    memory.begin(current, at(now));
    for _ in 0..200 {
        now += 5 + dice.below(30);
        let wanted = dice.below(40);
        let limited = memory.limit(behavior, current, wanted, bounds, at(now));
        if limited.desired != current {
            memory.scaled(behavior, current, limited.desired, at(now));
        }
        steps.push(Step { now, from: current, to: limited.desired, wanted });
        current = limited.desired;
    }
    steps
}

#[test]
fn no_recommendation_leads_out_of_the_bounds_or_against_a_window() {
    let bounds = Bounds { min: 2, max: 12 };
    for seed in 0..50 {
        let steps = play(&Value::Null, bounds, seed);
        for (index, step) in steps.iter().enumerate() {
            assert!((bounds.min..=bounds.max).contains(&step.to), "{seed}: {}", step.to);
            assert!(step.to <= (2 * step.from).max(4), "{seed}: too fast");
            // Nothing goes below what was recommended in the last five minutes.
            let lately = steps[..=index].iter().filter(|other| other.now >= step.now - 300);
            let most = lately.map(|other| other.wanted).max().unwrap().min(bounds.max);
            assert!(step.to >= step.from || step.to >= most, "{seed}: {} of {most}", step.to);
        }
        assert!(steps.iter().any(|step| step.to > step.from), "{seed}: something happens");
    }
}

#[test]
fn no_more_is_done_in_a_period_than_its_policy_allows() {
    let bounds = Bounds { min: 1, max: 30 };
    let one = |kind: &str, value: i64, period: i64| json!([{"type": kind, "value": value, "periodSeconds": period}]);
    for seed in 0..50 {
        let (value, period, window) = (1 + (seed as i64 % 4), 30 + 15 * (seed as i64 % 5), 20 * (seed as i64 % 4));
        let rules = |window: i64| json!({"stabilizationWindowSeconds": window, "selectPolicy": "Max", "policies": one("Pods", value, period)});
        let steps = play(&json!({"scaleUp": rules(window), "scaleDown": rules(window)}), bounds, seed);
        for (index, step) in steps.iter().enumerate() {
            assert!((bounds.min..=bounds.max).contains(&step.to), "{seed}: {}", step.to);
            let within = || steps[..=index].iter().filter(|other| other.now > step.now - period);
            let net = within().map(|other| other.to - other.from).sum::<i64>();
            let bound = |sign: i64| step.to == step.from || sign * net <= value;
            assert!(if step.to > step.from { bound(1) } else { bound(-1) }, "{seed}: {net} in {period} s");
            let lately =
                || steps[..=index].iter().filter(|other| other.now > step.now - window || other.now == step.now);
            let least = lately().map(|other| other.wanted).min().unwrap();
            let most = lately().map(|other| other.wanted).max().unwrap();
            assert!(step.to <= step.from.max(least) && step.to >= step.from.min(most).min(bounds.max), "{seed}: flaps");
        }
    }
    // Whoever disables a direction stays.
    let off = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled", "policies": one("Pods", 9, 15)});
    let steps = play(&json!({"scaleUp": off, "scaleDown": off}), bounds, 1);
    assert!(steps.iter().all(|step| step.to == 3));
}

#[test]
fn of_several_policies_the_one_that_is_chosen_holds() {
    let policies = json!([{"type": "Pods", "value": 4, "periodSeconds": 60},
        {"type": "Percent", "value": 50, "periodSeconds": 60}]);
    let check = |select: &str, wanted: i64, want: (i64, &str)| {
        let rules = json!({"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": policies});
        let behavior = json!({"scaleUp": rules, "scaleDown": rules});
        let limited = Memory::default().limit(&behavior, 20, wanted, Bounds { min: 1, max: 100 }, at(0));
        assert_eq!((limited.desired, limited.limited.1.0), want, "{select} {wanted}");
    };
    check("Max", 90, (30, "ScaleUpLimit"));
    check("Min", 90, (24, "ScaleUpLimit"));
    check("Max", 1, (10, "ScaleDownLimit"));
    check("Min", 1, (16, "ScaleDownLimit"));
    check("Disabled", 90, (20, "ScaleUpLimit"));
    check("Max", 21, (21, "DesiredWithinRange"));
    check("Max", 20, (20, "DesiredWithinRange"));
}

/// An autoscaler with what it scales, one look after the other.
struct Stage {
    autoscaler: Value,
    memory: Memory,
    replicas: i64,
}

fn stage(spec: Value, replicas: i64) -> Stage {
    let mut autoscaler = json!({"metadata": {"name": "a", "namespace": "n", "generation": 3}, "spec": spec,
        "status": {"currentMetrics": null, "desiredReplicas": 0}});
    autoscaler["spec"]["scaleTargetRef"] = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    Stage { autoscaler, memory: Memory::default(), replicas }
}

fn percent(target: i64) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}})
}

impl Stage {
    /// One look; `used` as `crowd` reads it, or why it is not known. What is told, and the conditions.
    fn look(&mut self, now: i64, used: Result<&str, &str>) -> Vec<String> {
        let now = at(now);
        let scale = Scale { replicas: self.replicas, selector: "app=web".into() };
        decide::with(&mut self.memory, &scale, &mut self.autoscaler, now);
        let (pods, figures) = crowd(used.unwrap_or("a"));
        let metrics: Vec<Value> = figures
            .iter()
            .map(|(name, figure)| {
                let usage = json!({"cpu": format!("{}m", figure.value), "memory": "20Mi"});
                json!({"metadata": {"name": name}, "timestamp": now.to_string(), "window": "15s",
                    "containers": [{"name": "c", "usage": usage}]})
            })
            .collect();
        let why = used.err().unwrap_or_default().to_owned();
        let figures = if used.is_ok() { Ok(&metrics[..]) } else { Err(&why) };
        let measured = (decide::first(&self.autoscaler, &scale) == First::Measure)
            .then(|| metrics::measure(&self.autoscaler, &scale, &pods, figures, now));
        let decision = decide::decide(&mut self.autoscaler, &scale, measured, &mut self.memory, now);
        let mut told = decision.told;
        if let Some(desired) = decision.rescale {
            let (outcome, memory) = (&decision.outcome, &mut self.memory);
            told.extend(decide::rescaled(&mut self.autoscaler, outcome, &scale, desired, Ok(()), memory, now));
            self.replicas = desired;
        }
        let mut lines: Vec<String> = told.into_iter().map(|(_, reason, text)| format!("{reason}: {text}")).collect();
        let conditions = api::tree::list(&self.autoscaler, "status.conditions").iter();
        lines.extend(conditions.map(|condition| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("type"), text("status"), text("reason"))
        }));
        lines
    }
}

#[test]
fn an_autoscaler_goes_up_at_once_and_down_when_its_window_is_over() {
    let mut stage = stage(json!({"minReplicas": 1, "maxReplicas": 5, "metrics": [percent(50)]}), 1);
    let metric = "cpu resource utilization (percentage of request)";
    assert_eq!(
        stage.look(0, Ok("a:1000")),
        [
            &*format!("SuccessfulRescale: New size: 2; reason: {metric} above target"),
            "AbleToScale True SucceededRescale",
            "ScalingActive True ValidMetricFound",
            "ScalingLimited False DesiredWithinRange",
            "ScaledToZero False NotScaledToZero",
        ]
    );
    let status = &stage.autoscaler["status"];
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(1), &json!(2)));
    assert_eq!((&status["observedGeneration"], &status["lastScaleTime"]), (&json!(3), &json!("2026-09-21T14:13:20Z")));
    let current = json!({"averageUtilization": 100, "averageValue": "1"});
    assert_eq!(
        status["currentMetrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}])
    );
    assert_eq!(
        stage.look(15, Ok("a:1000 b:1000"))[0],
        format!("SuccessfulRescale: New size: 4; reason: {metric} above target")
    );
    // At most five.
    let told = stage.look(30, Ok("a:1000 b:1000 c:1000 d:1000"));
    assert_eq!((stage.replicas, &*told[3]), (5, "ScalingLimited True TooManyReplicas"));
    // Nothing is done; it will be five minutes after the last recommendation of more.
    for now in [45, 120, 329] {
        let told = stage.look(now, Ok("a:0 b:0 c:0 d:0 e:0"));
        assert_eq!((stage.replicas, &*told[0]), (5, "AbleToScale True ScaleDownStabilized"), "{now}");
    }
    assert_eq!(
        stage.look(331, Ok("a:0 b:0 c:0 d:0 e:0"))[0],
        "SuccessfulRescale: New size: 1; reason: All metrics below target"
    );
    assert_eq!(stage.autoscaler["status"]["lastScaleTime"], json!("2026-09-21T14:18:51Z"));
}

#[test]
fn whoever_is_beyond_the_bounds_comes_back_unmeasured() {
    let spec = || json!({"minReplicas": 2, "maxReplicas": 5, "metrics": [percent(50)]});
    for (replicas, desired, why) in [(9, 5, "above Spec.MaxReplicas"), (1, 2, "below Spec.MinReplicas")] {
        let mut stage = stage(spec(), replicas);
        let told = stage.look(0, Err("no metrics returned from resource metrics API"));
        assert_eq!(
            told[0],
            format!("SuccessfulRescale: New size: {desired}; reason: Current number of replicas {why}")
        );
        assert_eq!(stage.replicas, desired);
    }
    let mut stage = stage(spec(), 0);
    assert_eq!(stage.look(0, Ok(""))[1], "ScalingActive False ScalingDisabled");
    assert_eq!(stage.replicas, 0);
}

#[test]
fn what_cannot_be_told_is_said_in_upstreams_words() {
    let check = |metric: Value, want: [&str; 2]| {
        let mut stage = stage(json!({"maxReplicas": 5, "metrics": [metric]}), 1);
        let told = stage.look(0, Err("no metrics returned from resource metrics API"));
        let status = &stage.autoscaler["status"];
        assert_eq!(status["currentMetrics"], json!([{"type": ""}]));
        assert_eq!(&told[..2], want);
        let event = want[0].split_once(": ").unwrap().1;
        let message = format!("the HPA was unable to compute the replica count: {event}");
        assert_eq!(status["conditions"][1]["message"], json!(message));
        assert_eq!((stage.replicas, told.len()), (1, 4));
    };
    let missing = "unable to get metrics for resource cpu: no metrics returned from resource metrics API";
    check(
        percent(50),
        [
            &format!("FailedGetResourceMetric: failed to get cpu utilization: {missing}"),
            &format!(
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu \
                 resource metric value: failed to get cpu utilization: {missing}"
            ),
        ],
    );
    let target = json!({"type": "AverageValue", "averageValue": "1"});
    check(
        json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": target}}),
        [
            &format!("FailedGetContainerResourceMetric: failed to get cpu usage: {missing}"),
            &format!(
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get c \
                 container metric value: failed to get cpu usage: {missing}"
            ),
        ],
    );
    let none =
        "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    check(
        json!({"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": target}}),
        [
            &format!("FailedGetPodsMetric: unable to get metric qps: {none}"),
            &format!(
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get pods \
                 metric value: unable to get metric qps: {none}"
            ),
        ],
    );
    let of = json!({"kind": "Service", "name": "s"});
    check(
        json!({"type": "Object", "object": {"describedObject": of, "metric": {"name": "qps"},
            "target": {"type": "Value", "value": "1"}}}),
        [
            &format!("FailedGetObjectMetric: unable to get metric qps on Service n/s: {none}"),
            &format!(
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get object \
                 metric value: unable to get metric qps on Service n/s: {none}"
            ),
        ],
    );
    let selector = json!({"matchLabels": {"a": "b"}});
    let error = "unable to get external metric n/qps/&LabelSelector{MatchLabels:map[string]string{a: \
                 b,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: \
                 the server could not find the requested resource (get qps.external.metrics.k8s.io)";
    check(
        json!({"type": "External", "external": {"metric": {"name": "qps", "selector": selector}, "target": target}}),
        [
            &format!("FailedGetExternalMetric: {error}"),
            &format!(
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get qps \
                 external metric value: failed to get qps external metric: {error}"
            ),
        ],
    );
}

#[test]
fn a_metric_that_fails_holds_what_would_shrink_and_lets_grow() {
    let broken = json!({"type": "Pods", "pods": {"metric": {"name": "qps"},
        "target": {"type": "AverageValue", "averageValue": "1"}}});
    let spec = json!({"maxReplicas": 9, "metrics": [broken, percent(50)]});
    let mut up = stage(spec.clone(), 2);
    up.look(0, Ok("a:1000 b:1000"));
    assert_eq!(up.replicas, 4);
    assert_eq!(up.autoscaler["status"]["currentMetrics"][0], json!({"type": ""}));
    let mut down = stage(spec, 2);
    let told = down.look(0, Ok("a:1 b:1"));
    assert_eq!((down.replicas, &*told[3]), (2, "ScalingActive False FailedGetPodsMetric"));
}

#[test]
fn a_selector_that_selects_for_two_or_none_is_told() {
    let told = |measured: Measured| {
        let failed = measured.outcome.unwrap_err();
        format!("{}: {} / {}", failed.reason, failed.message, measured.told[0].2)
    };
    assert_eq!(
        told(*metrics::selector("").unwrap_err()),
        "InvalidSelector: the HPA target's scale is missing a selector / selector is required"
    );
    let both = [Key::new("n", "a"), Key::new("n", "b")];
    let why = "pods by selector app=web are controlled by more than one HPA (e.g. [n/a n/b])";
    assert_eq!(told(metrics::ambiguous("app=web", &both)), format!("AmbiguousSelector: {why} / {why}"));
}

#[test]
fn tolerances_are_the_autoscalers_own_if_it_has_some() {
    let autoscaler = json!({"spec": {"behavior": {"scaleUp": {"tolerance": "50m"}}}});
    assert_eq!(Tolerances::of(&autoscaler), Tolerances { down: 0.1, up: 0.05 });
}

/// A container that no pod has is told in upstream's words, which are of pods that might be unready: it looks at figures
/// before it looks for containers (replica_calculator.go, GetResourceReplicas).
#[test]
fn a_container_that_nobody_has_is_told_as_upstream_tells_it() {
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    let metric =
        json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "x", "target": target}});
    let mut stage = stage(json!({"minReplicas": 1, "maxReplicas": 5, "metrics": [metric]}), 1);
    let why = "failed to get cpu utilization: did not receive metrics for targeted pods (pods might be unready)";
    assert_eq!(stage.look(0, Ok("a:1000"))[0], format!("FailedGetContainerResourceMetric: {why}"));
}
