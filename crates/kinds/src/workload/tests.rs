use super::*;
use crate::tests::{kind, told};

/// A good object of a kind: `spec` is laid over one with a container and labels that are selected.
pub fn with(plural: &str, spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "x", "namespace": "n", "resourceVersion": "1"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    if plural == "replicationcontrollers" {
        object["spec"].as_object_mut().unwrap().remove("selector");
    }
    lay(&mut object["spec"], spec);
    object
}

fn lay(under: &mut Value, over: Value) {
    match over {
        Value::Object(fields) if under.is_object() => {
            fields.into_iter().for_each(|(key, value)| lay(&mut under[key.as_str()], value));
        }
        over => *under = over,
    }
}

/// As it is written: completed, and what is wrong.
pub fn write(plural: &str, object: Value, old: Option<&Value>, subresource: &str) -> (Value, Vec<String>) {
    let (kind, mut object) = (kind(plural), object);
    let context = Context { subresource: subresource.into(), ..Context::default() };
    kind.default(&mut object);
    kind.prepare(&mut object, old, &context);
    let errors = told(&kind.validate(&object, old, &context));
    (object, errors)
}

pub fn judged(plural: &str, spec: Value) -> Vec<String> {
    write(plural, with(plural, spec), None, "").1
}

/// What is wrong with an update of the good object.
pub fn changed(plural: &str, spec: Value) -> Vec<String> {
    let (old, errors) = write(plural, with(plural, json!({})), None, "");
    assert_eq!(errors, [""; 0]);
    let mut new = old.clone();
    lay(&mut new["spec"], spec);
    write(plural, new, Some(&old), "").1
}

pub fn of_status(plural: &str, old: Value, status: Value) -> Vec<String> {
    let (mut old_object, _) = write(plural, with(plural, json!({})), None, "");
    old_object["status"] = old;
    let mut new = old_object.clone();
    new["status"] = status;
    write(plural, new, Some(&old_object), "status").1
}

const ALL: [&str; 5] = ["deployments", "replicasets", "statefulsets", "daemonsets", "replicationcontrollers"];

#[test]
fn a_good_workload_is_good_and_only_its_spec_counts() {
    for plural in ALL {
        let (mut old, errors) = write(plural, with(plural, json!({})), None, "");
        assert_eq!((errors, &old["metadata"]["generation"]), (vec![], &json!(1)), "{plural}");
        assert!(old["status"].is_object() && old["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst");
        old["status"]["observedGeneration"] = json!(1);
        let mut new = old.clone();
        new["status"]["observedGeneration"] = json!(9);
        new["metadata"]["labels"] = json!({"l": "m"});
        let (new, _) = write(plural, new, Some(&old), "");
        assert_eq!((&new["metadata"]["generation"], &new["status"]), (&json!(1), &old["status"]), "{plural}");
        let mut newer = new.clone();
        newer["spec"]["minReadySeconds"] = json!(5);
        let (newer, _) = write(plural, newer, Some(&new), "");
        assert_eq!(newer["metadata"]["generation"], 2, "{plural}");
    }
}

#[test]
fn pods_are_selected_and_run_for_good() {
    let bad = json!({"template": {"metadata": {"labels": {"a": "c"}}, "spec": {"restartPolicy": "Never",
        "activeDeadlineSeconds": 5}}});
    for (plural, name) in [
        ("deployments", "ReplicaSet"),
        ("replicasets", "ReplicaSet"),
        ("daemonsets", "DaemonSet"),
        ("statefulsets", "StatefulSet"),
    ] {
        assert_eq!(
            judged(plural, bad.clone()),
            [
                "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template \
                 `labels`"
                    .to_string(),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"".into(),
                format!(
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {name} is not Supported"
                ),
            ],
            "{plural}"
        );
    }
    for (plural, word) in
        [("deployments", "deployment"), ("replicasets", "deployment"), ("statefulsets", "statefulset")]
    {
        let none = judged(plural, json!({"selector": null}));
        assert_eq!(none[0], "spec.selector: Required value", "{plural}");
        assert_eq!(
            judged(plural, json!({"selector": {"matchLabels": null}})),
            [format!("spec.selector: Invalid value: {{}}: empty selector is invalid for {word}")]
        );
    }
    for plural in ["deployments", "replicasets", "statefulsets", "daemonsets"] {
        let told = changed(
            plural,
            json!({"selector": {"matchLabels": {"a": "b", "c": "d"}},
            "template": {"metadata": {"labels": {"c": "d"}}}}),
        );
        let line = "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}: field is immutable";
        assert_eq!(told, [line], "{plural}");
        let gone = changed(plural, json!({"selector": null}));
        assert!(gone.contains(&"spec.selector: Invalid value: null: field is immutable".into()), "{plural}: {gone:?}");
    }
}

#[test]
fn counts_of_a_status_add_up() {
    for plural in ["deployments", "replicasets", "statefulsets", "replicationcontrollers"] {
        let told = of_status(plural, json!({}), json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 2}));
        let ready = if plural == "statefulsets" { "status.readyReplicas" } else { "readyReplicas" };
        assert_eq!(
            told,
            [
                "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas".to_string(),
                format!("status.availableReplicas: Invalid value: 2: cannot be greater than {ready}"),
            ],
            "{plural}"
        );
        let negative = of_status(plural, json!({}), json!({"replicas": -1, "observedGeneration": -1}));
        assert!(negative.contains(&"status.replicas: Invalid value: -1: must be greater than or equal to 0".into()));
        assert!(
            negative
                .contains(&"status.observedGeneration: Invalid value: -1: must be greater than or equal to 0".into())
        );
    }
    for plural in ["deployments", "statefulsets", "daemonsets"] {
        let before = json!({"collisionCount": 2});
        assert_eq!(of_status(plural, before.clone(), json!({"collisionCount": 2})), [""; 0]);
        assert_eq!(
            of_status(plural, before.clone(), json!({"collisionCount": 1})),
            ["status.collisionCount: Invalid value: 1: cannot be decremented"]
        );
        assert_eq!(
            of_status(plural, before, json!({})),
            ["status.collisionCount: Invalid value: 0: cannot be decremented"]
        );
    }
}

#[test]
fn who_makes_a_workload_is_warned_of_its_name_and_its_template() {
    let old_label = json!({"template": {"spec": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}}});
    let line = "spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead";
    for plural in ALL {
        let (mut object, _) = write(plural, with(plural, old_label.clone()), None, "");
        object["metadata"]["name"] = json!("a.b");
        let told = kind(plural).warnings(&object, None);
        assert!(told.contains(&line.into()), "{plural}: {told:?}");
        let named = told[0].starts_with("metadata.name: this is used in Pod names and hostnames");
        assert_eq!(named, matches!(plural, "deployments" | "replicasets" | "replicationcontrollers"), "{plural}");
        assert!(kind(plural).warnings(&object, Some(&object)).is_empty(), "{plural}");
        let mut next = object.clone();
        next["spec"]["template"]["spec"]["nodeSelector"]["c"] = json!("d");
        next["metadata"]["generation"] = json!(2);
        assert_eq!(kind(plural).warnings(&next, Some(&object)), [line], "{plural}");
    }
}

#[test]
fn numbers_and_percents_are_read_as_upstream_does() {
    for (value, number, told) in [
        (json!(3), 3, None),
        (json!("25%"), 25, None),
        (json!("101%"), 101, Some("must not be greater than 100%")),
        (json!("99999999999999999999%"), i64::MAX, Some("must not be greater than 100%")),
        (json!(-1), -1, Some("must be greater than or equal to 0")),
        (json!("x%"), 0, Some("a valid percent string")),
        (json!("7"), 7, Some("a valid percent string")),
    ] {
        let at = At::root(&value);
        let mut errors = Errors::new();
        int_or_percent(&at, &mut errors);
        at_most_all(&at, &mut errors);
        assert_eq!(amount(&at), number, "{value}");
        assert_eq!(errors.len(), usize::from(told.is_some()), "{value}: {errors:?}");
        assert!(told.is_none_or(|told| errors[0].detail.starts_with(told)), "{value}: {errors:?}");
    }
}

#[test]
fn fields_of_features_that_are_off_are_dropped_from_templates() {
    let off = json!({"template": {"spec": {"evictionResponders": [{"name": "x"}], "schedulingGroup": {}}}});
    for plural in ["deployments", "replicasets", "statefulsets", "daemonsets", "replicationcontrollers"] {
        let plain = write(plural, with(plural, json!({})), None, "").0;
        let (mut old, errors) = write(plural, with(plural, off.clone()), None, "");
        assert_eq!((errors, &old), (vec![], &plain), "{plural}");
        old["metadata"]["resourceVersion"] = json!("1");
        let mut new = old.clone();
        lay(&mut new["spec"], off.clone());
        assert_eq!(write(plural, new, Some(&old), "").0["metadata"]["generation"], 1, "{plural}");
    }
}
