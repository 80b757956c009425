use super::*;
use crate::built_in;
use crate::tests::{kind, told};

fn scaler(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "h", "namespace": "n", "resourceVersion": "1"}, "spec": {
        "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn write(object: Value, old: Option<&Value>, subresource: &str) -> (Value, Vec<String>) {
    let (row, mut object) = (kind("horizontalpodautoscalers"), object);
    let context = Context { subresource: subresource.into(), ..Context::default() };
    row.default(&mut object);
    row.prepare(&mut object, old, &context);
    let errors = told(&row.validate(&object, old, &context));
    (object, errors)
}

fn judged(spec: Value) -> Vec<String> {
    write(scaler(spec), None, "").1
}

#[test]
fn an_autoscaler_goes_by_cpu_unless_it_says_otherwise() {
    let (made, errors) = write(scaler(json!({"behavior": {"scaleDown": {"selectPolicy": "Min"}}})), None, "");
    assert_eq!(errors, [""; 0]);
    let spec = &made["spec"];
    assert_eq!(spec["minReplicas"], 1);
    assert_eq!(spec["metrics"][0]["resource"]["target"], json!({"type": "Utilization", "averageUtilization": 80}));
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    assert_eq!(
        spec["behavior"],
        json!({"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, all]},
            "scaleDown": {"selectPolicy": "Min", "policies": [all]}})
    );
    assert_eq!(made["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
    let cells: Vec<Value> =
        kind("horizontalpodautoscalers").columns.iter().map(|column| column.of(&made, "")).collect();
    assert_eq!(cells[1..6], [json!("Deployment/d"), json!("cpu: <unknown>/80%"), json!("1"), json!(3), json!(0)]);
}

/// One metric of every sort.
fn everything() -> Value {
    let object = json!({"apiVersion": "v1", "kind": "Service", "name": "s"});
    let metric = json!({"name": "m", "selector": {"matchLabels": {"a": "b"}}});
    json!([
        {"type": "Object", "object": {"describedObject": object, "metric": metric,
            "target": {"type": "AverageValue", "averageValue": "10"}}},
        {"type": "Pods", "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": "1k"}}},
        {"type": "External", "external": {"metric": metric, "target": {"type": "Value", "value": "3"}}},
        {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 40}}},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}}},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
    ])
}

#[test]
fn what_v1_has_no_field_for_survives_the_way_there_and_back() {
    let spec = json!({"metrics": everything(), "behavior": {"scaleUp": {"tolerance": "100m"}}});
    let (mut stored, errors) = write(scaler(spec), None, "");
    assert_eq!(errors, [""; 0]);
    stored["metadata"]["annotations"] = json!({"mine": "x"});
    stored["status"] = json!({"currentReplicas": 2, "desiredReplicas": 3,
        "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": null}],
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": 55, "averageValue": "500m"}}}]});
    let v1 = built_in().served("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
    let mut old = stored.clone();
    v1.of_stored(&mut old);
    let spec = &old["spec"];
    assert_eq!((&spec["targetCPUUtilizationPercentage"], spec.get("metrics")), (&json!(70), None));
    assert_eq!(
        old["status"],
        json!({"currentReplicas": 2, "desiredReplicas": 3, "currentCPUUtilizationPercentage": 55})
    );
    let note = |name: &str| -> Value {
        let key = format!("autoscaling.alpha.kubernetes.io/{name}");
        serde_json::from_str(old["metadata"]["annotations"][&key].as_str().unwrap()).unwrap()
    };
    assert_eq!(note("metrics").as_array().unwrap().len(), 5);
    assert_eq!(
        note("metrics")[0],
        json!({"type": "Object", "object": {"target": {"apiVersion": "v1", "kind": "Service", "name": "s"},
            "metricName": "m", "selector": {"matchLabels": {"a": "b"}}, "targetValue": "0", "averageValue": "10"}})
    );
    assert_eq!(note("behavior")["ScaleUp"]["Tolerance"], "100m");
    assert_eq!(note("behavior")["ScaleDown"]["StabilizationWindowSeconds"], Value::Null);
    assert_eq!(note("conditions"), stored["status"]["conditions"]);
    // The order is upstream's: what v1 has a field for comes last, as it did here.
    let mut back = old;
    v1.to_stored(&mut back);
    stored["apiVersion"] = json!("autoscaling/v2");
    assert_eq!(back, stored);
}

#[test]
fn v1_without_annotations_is_a_target_of_cpu() {
    let v1 = built_in().served("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
    let mut scaler = scaler(json!({"targetCPUUtilizationPercentage": 50}));
    scaler["metadata"]["annotations"] = json!({"autoscaling.alpha.kubernetes.io/metrics": "{not JSON"});
    v1.to_stored(&mut scaler);
    let (mut stored, errors) = write(scaler, None, "");
    assert_eq!((errors, stored["spec"]["metrics"].as_array().unwrap().len()), (vec![], 1));
    assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    assert_eq!(stored["metadata"].get("annotations"), None);
    v1.of_stored(&mut stored);
    assert_eq!(stored["spec"]["targetCPUUtilizationPercentage"], 50);
    assert_eq!(stored["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
}

#[test]
fn autoscalers_are_judged() {
    assert_eq!(
        judged(json!({"minReplicas": 5, "maxReplicas": -1, "scaleTargetRef": {"kind": "a/b", "apiVersion": "v1"}})),
        [
            "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
            "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
            "spec.scaleTargetRef.name: Required value",
            "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group",
            "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
        ]
    );
    assert_eq!(
        judged(json!({"scaleTargetRef": {"kind": "ReplicationController", "name": "r", "apiVersion": "v1"}})),
        [""; 0]
    );
    assert_eq!(
        judged(json!({"minReplicas": 0})),
        ["spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero \
          replicas"]
    );
    assert_eq!(judged(json!({"minReplicas": 0, "metrics": everything()})), [""; 0]);
    let path = "spec.metrics[0]";
    let with = |metric: Value| judged(json!({"metrics": [metric]}));
    let types = "supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"";
    assert_eq!(with(json!({"type": "Odd"})), [format!("{path}.type: Unsupported value: \"Odd\": {types}")]);
    assert_eq!(
        with(json!({"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Odd", "averageUtilization": 0}}})),
        [
            format!(
                "{path}.resource.target.type: Invalid value: \"Odd\": must be either Utilization, Value, or AverageValue"
            ),
            format!("{path}.resource.target.averageUtilization: Invalid value: 0: must be greater than 0"),
            format!("{path}.pods: Required value: must populate information for the given metric source"),
        ]
    );
    assert_eq!(
        with(json!({"type": "ContainerResource", "containerResource": {"name": "pods", "container": "C",
            "target": {"type": "AverageValue", "averageValue": "-1", "averageUtilization": 1}}}))
        .iter()
        .map(|line| line.split(": ").next().unwrap().trim_start_matches(path))
        .collect::<Vec<_>>(),
        [
            ".containerResource.name",
            ".containerResource.container",
            ".containerResource.target.averageValue",
            ".containerResource.target.averageValue",
        ]
    );
    let up = |rules: Value| judged(json!({"behavior": {"scaleUp": rules}}));
    let path = "spec.behavior.scaleUp";
    assert_eq!(
        up(json!({"stabilizationWindowSeconds": 3601, "selectPolicy": "Odd", "tolerance": "-1",
            "policies": [{"type": "Odd", "value": 0, "periodSeconds": 1801}]})),
        [
            format!("{path}.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"),
            format!(
                "{path}.selectPolicy: Unsupported value: \"Odd\": supported values: \"Disabled\", \"Max\", \"Min\""
            ),
            format!("{path}.policies[0].type: Unsupported value: \"Odd\": supported values: \"Percent\", \"Pods\""),
            format!("{path}.policies[0].value: Invalid value: 0: must be greater than zero"),
            format!("{path}.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"),
            format!("{path}.tolerance: Invalid value: \"-1\": must be greater than or equal to 0"),
        ]
    );
    let (old, _) = write(scaler(json!({})), None, "");
    let mut status = old.clone();
    status["status"] = json!({"currentReplicas": -1});
    assert_eq!(
        write(status, Some(&old), "status").1,
        ["status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"]
    );
}

#[test]
fn targets_are_shown_beside_what_is_measured() {
    let mut scaler = scaler(json!({"metrics": everything()}));
    assert_eq!(targets(&scaler), "<unknown>/10 (avg), <unknown>/1k + 4 more...");
    scaler["spec"]["metrics"] = json!([everything()[5], everything()[2]]);
    scaler["status"]["currentMetrics"] = json!([{"resource": {"current": {"averageUtilization": 33}}},
        {"external": {"current": {"value": "2500m"}}}]);
    assert_eq!(targets(&scaler), "cpu: 33%/70%, 2500m/3");
}

#[test]
fn an_annotation_says_only_what_a_body_could() {
    let metric = json!([{"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "1",
        "selector": {"matchLabels": "x"}}}]);
    let behavior = json!({"ScaleDown": {"StabilizationWindowSeconds": "abc"}});
    for (key, text) in [("metrics", metric.to_string()), ("behavior", behavior.to_string())] {
        let mut object = scaler(json!({}));
        object["metadata"]["annotations"] = json!({format!("autoscaling.alpha.kubernetes.io/{key}"): text});
        let spec = object["spec"].clone();
        conversion::to_stored(&mut object);
        assert_eq!(object["spec"], spec, "{key}");
    }
}
