use super::*;
use crate::tests::{kind, told};

fn slice(rest: Value) -> Value {
    let mut slice = json!({"metadata": {"name": "s", "resourceVersion": "1"}, "spec": {"driver": "d.example.com",
        "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1}}});
    slice["spec"].as_object_mut().unwrap().extend(rest.as_object().cloned().unwrap());
    slice
}

fn judged(slice: &Value, old: Option<&Value>) -> Vec<String> {
    told(&kind("resourceslices").validate(slice, old, &Context::default()))
}

fn with(device: Value) -> Vec<String> {
    judged(&slice(json!({"allNodes": true, "devices": [device]})), None)
}

#[test]
fn a_slice_says_in_one_way_where_its_devices_are() {
    assert_eq!(judged(&slice(json!({"nodeName": "n"})), None), [""; 0]);
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    assert_eq!(judged(&slice(json!({})), None), [format!("spec: Required value: {one}")]);
    assert_eq!(
        judged(&slice(json!({"nodeName": "n", "allNodes": true, "perDeviceNodeSelection": false})), None),
        [
            "spec.perDeviceNodeSelection: Invalid value: false: must be either unset or set to true".to_string(),
            format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {one}, but multiple fields are set"),
        ]
    );
    assert_eq!(
        judged(&slice(json!({"allNodes": true, "pool": {"name": "p", "generation": -1}})), None),
        [
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
        ]
    );
    let per_device = |device: Value| judged(&slice(json!({"perDeviceNodeSelection": true, "devices": [device]})), None);
    assert_eq!(per_device(json!({"name": "a", "allNodes": true})), [""; 0]);
    let one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is \
               set to true in the ResourceSlice spec";
    assert_eq!(per_device(json!({"name": "a"})), [format!("spec.devices[0]: Required value: {one}")]);
    assert_eq!(
        per_device(json!({"name": "a", "allNodes": true, "nodeName": "n"})),
        [format!("spec.devices[0]: Invalid value: \"{{`nodeName`, `allNodes`}}\": {one}")]
    );
    assert_eq!(
        with(json!({"name": "a", "nodeName": "n"})),
        ["spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if \
          `perDeviceNodeSelection` is set to true in the ResourceSlice spec"]
    );
}

#[test]
fn what_a_slice_is_of_stays() {
    let old = slice(json!({"nodeName": "n"}));
    let mut new = old.clone();
    new["spec"]["nodeName"] = "m".into();
    new["spec"]["driver"] = "e".into();
    assert_eq!(
        judged(&new, Some(&old)),
        [
            "spec.driver: Invalid value: \"e\": field is immutable",
            "spec.nodeName: Invalid value: \"m\": field is immutable"
        ]
    );
}

#[test]
fn attributes_have_one_value() {
    assert_eq!(
        with(json!({"name": "a", "attributes": {"model": {"string": "x"}, "v": {"version": "1.0.0-rc.1+b"}}})),
        [""; 0]
    );
    let all = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`";
    assert_eq!(
        with(json!({"name": "a", "attributes": {
            "a": {}, "b": {"int": 1, "bool": true}, "c": {"version": "1.0"}, "d": {"string": "a".repeat(65)}
        }})),
        [
            "spec.devices[0].attributes[c].version: Invalid value: \"1.0\": must be a string compatible with \
             semver.org spec 2.0.0"
                .to_string(),
            "spec.devices[0].attributes[d].string: Too long: may not be more than 64 bytes".to_string(),
            format!("spec.devices[0].attributes[a]: Invalid value: \"\": must specify one of: {all}"),
            format!(
                "spec.devices[0].attributes[b]: Invalid value: \"{{int, bool}}\": must specify exactly one of: {all}"
            ),
        ]
    );
    for (text, good) in [("1.2.3", true), ("01.2.3", false), ("1.2.3-01", false), ("1.2.3-0a", true), ("1.2.3+", false)]
    {
        assert_eq!(is_semantic_version(text), good, "{text}");
    }
    let long = format!("{}/{}", "a".repeat(63), "b".repeat(40));
    let shown = format!("{}...{}", "a".repeat(47), &long[long.len() - 46..]);
    let errors = with(json!({"name": "a", "attributes": {long: {"version": "x"}}}));
    assert!(errors[1].starts_with(&format!("spec.devices[0].attributes[{shown}].version: ")), "{errors:?}");
}

#[test]
fn many_devices_are_less_if_they_are_tainted() {
    let devices = |count: usize, extra: Value| {
        let mut all: Vec<Value> = (0..count).map(|i| json!({"name": format!("d{i}")})).collect();
        all[0].as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap());
        judged(&slice(json!({"allNodes": true, "devices": all})), None)
    };
    assert_eq!(devices(128, json!({})), [""; 0]);
    assert_eq!(devices(129, json!({})), ["spec.devices: Too many: 129: must have at most 128 items"]);
    let taints = json!({"taints": [{"key": "k", "effect": "None"}]});
    assert_eq!(devices(65, taints), ["spec.devices: Too many: 65: must have at most 64 items"]);
    assert_eq!(devices(2, json!({"name": "d1"})), ["spec.devices[1]: Duplicate value: \"d1\""]);
}

#[test]
fn counters_are_shared_in_sets() {
    let shared = |sets: Value| judged(&slice(json!({"allNodes": true, "sharedCounters": sets})), None);
    assert_eq!(shared(json!([{"name": "a", "counters": {"c": {"value": "1"}}}])), [""; 0]);
    assert_eq!(
        shared(json!([{"name": "a"}, {"name": "a", "counters": {"c": {"value": "1"}}}])),
        [
            "spec.sharedCounters[0].counters: Required value",
            "spec.sharedCounters[1]: Duplicate value: {\"counters\":{\"c\":{\"value\":\"1\"}},\"name\":\"a\"}",
        ]
    );
    let both = slice(json!({"allNodes": true, "devices": [], "sharedCounters": []}));
    assert_eq!(
        judged(&both, None),
        ["spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed"]
    );
    assert_eq!(
        with(json!({"name": "a", "consumesCounters": [{"counterSet": "A", "counters": {"c": {}}}]}))[0],
        "spec.devices[0].consumesCounters[0].counterSet: Invalid value: \"A\": a lowercase RFC 1123 label must \
         consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character \
         (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    );
}

#[test]
fn capacity_is_shared_by_a_policy() {
    let policy = |value: &str, policy: Value| {
        let errors = with(json!({"name": "a", "allowMultipleAllocations": true,
            "capacity": {"memory": {"value": value, "requestPolicy": policy}}}));
        let prefix = "spec.devices[0].capacity[memory].requestPolicy";
        errors.iter().map(|e| e.strip_prefix(prefix).unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(policy("4Gi", json!({"default": "1Gi", "validValues": ["1Gi", "2Gi"]})), [""; 0]);
    assert_eq!(
        policy("4Gi", json!({"default": "1Gi", "validRange": {"min": "1Gi", "max": "3Gi", "step": "1Gi"}})),
        [""; 0]
    );
    assert_eq!(
        policy("2Gi", json!({"default": "1Gi", "validValues": ["4Gi", "2Gi"]})),
        [
            ".validValues[1]: Invalid value: \"2Gi\": values must be sorted in ascending order",
            ".validValues[0]: Invalid value: \"4Gi\": option is larger than capacity value: 2Gi",
            ".validValues: Invalid value: \"1Gi\": default value is not valid according to the requestPolicy",
        ]
    );
    assert_eq!(
        policy("2", json!({"validRange": {"min": "1"}})),
        [".default: Required value: required when validRange is defined"]
    );
    assert_eq!(
        policy("10", json!({"default": "2500m", "validRange": {"min": "1", "max": "12", "step": "1"}})),
        [
            ".validRange.max: Invalid value: \"12\": max is larger than capacity value: 10",
            ".validRange.step: Invalid value: \"2500m\": value is not a multiple of a given step (1) from (1)",
        ]
    );
    assert_eq!(
        policy("10", json!({"default": "1", "validRange": {"min": "-1", "step": "2"}})),
        [".validRange.min: Invalid value: \"-1\": must be greater than or equal to 0"]
    );
    assert_eq!(
        policy("10", json!({"default": "1", "validRange": {"min": "1u"}})),
        [".validRange.min: Invalid value: \"1u\": value cannot be represented as a milli value"]
    );
    assert_eq!(
        with(json!({"name": "a", "capacity": {"memory": {"value": "1", "requestPolicy": {"default": "1"}}}})),
        ["spec.devices[0].capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true"]
    );
}

#[test]
fn what_is_behind_a_gate_goes_and_a_taint_gets_its_time() {
    let mut slice = slice(json!({"allNodes": true, "skipNodeOperations": ["*"], "devices": [{"name": "a",
        "nodeAllocatableResources": {}, "attributes": {"a": {"int": 1, "ints": [1]}},
        "taints": [{"key": "k", "effect": "None"}],
        "consumesCounters": [{"counterSet": "s", "compatibilityGroups": ["g"]}]}]}));
    let context = Context { now: "2026-01-01T00:00:00Z".into(), ..Context::default() };
    kind("resourceslices").prepare(&mut slice, None, &context);
    assert_eq!(
        slice["spec"]["devices"][0],
        json!({"name": "a", "attributes": {"a": {"int": 1}}, "consumesCounters": [{"counterSet": "s"}],
            "taints": [{"key": "k", "effect": "None", "timeAdded": "2026-01-01T00:00:00Z"}]})
    );
    assert!(slice["spec"].get("skipNodeOperations").is_none());
    assert_eq!(slice["metadata"]["generation"], 1);
    let mut again = slice.clone();
    kind("resourceslices").prepare(&mut again, Some(&slice), &context);
    assert_eq!(again["metadata"]["generation"], 1);
    again["spec"]["skipNodeOperations"] = json!(["*"]);
    kind("resourceslices").prepare(&mut again, Some(&slice), &context);
    assert_eq!(again["metadata"]["generation"], 2, "what goes counts");
    slice["spec"]["driver"] = "D".into();
    let told = kind("resourceslices").warnings(&slice, Some(&json!({})));
    assert_eq!(told, ["spec.driver: driver names should be lowercase; \"D\" contains uppercase characters"]);
}
