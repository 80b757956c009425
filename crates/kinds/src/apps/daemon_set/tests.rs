use super::*;
use crate::tests::kind;
use crate::workload::tests::{judged, with, write};

#[test]
fn changes_of_the_template_are_counted_in_an_annotation() {
    let (old, _) = write("daemonsets", with("daemonsets", json!({})), None, "");
    assert_eq!(old["metadata"]["annotations"][TEMPLATES], "1");
    assert_eq!(
        old["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    let mut new = old.clone();
    new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j");
    new["metadata"]["annotations"] = json!({TEMPLATES: "77"});
    let (new, errors) = write("daemonsets", new, Some(&old), "");
    assert_eq!((errors, &new["metadata"]["annotations"][TEMPLATES]), (vec![], &json!("2")), "clients have no say");
    assert_eq!(new["metadata"]["generation"], 2);
    let cells: Vec<Value> = kind("daemonsets").columns.iter().map(|column| column.of(&new, "")).collect();
    assert_eq!((&cells[1], &cells[6], &cells[10]), (&json!(0), &json!("<none>"), &json!("a=b")));
}

#[test]
fn a_node_has_one_pod_too_few_or_one_too_many() {
    let with = |strategy: Value| judged("daemonsets", json!({"updateStrategy": strategy}));
    assert_eq!(with(json!({"type": "OnDelete"})), [""; 0]);
    assert_eq!(
        with(json!({"type": "Odd"})),
        ["spec.updateStrategy: Unsupported value: {\"Type\":\"Odd\",\"RollingUpdate\":null}: supported values: \
          \"RollingUpdate\", \"OnDelete\""]
    );
    let roll =
        |missing: Value, more: Value| with(json!({"rollingUpdate": {"maxUnavailable": missing, "maxSurge": more}}));
    let path = "spec.updateStrategy.rollingUpdate";
    assert_eq!(roll(json!(0), json!(1)), [""; 0]);
    assert_eq!(
        roll(json!(0), json!(0)),
        [format!("{path}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")]
    );
    assert_eq!(
        roll(json!(1), json!("101%")),
        [
            format!("{path}.maxSurge: Invalid value: \"101%\": must not be greater than 100%"),
            format!("{path}.maxSurge: Invalid value: \"101%\": may not be set when maxUnavailable is non-zero"),
        ]
    );
    assert_eq!(
        judged("daemonsets", json!({"selector": null})),
        ["spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"]
    );
}

#[test]
fn whoever_writes_one_writes_the_annotation() {
    let notes = |annotations: Value| {
        let mut set = json!({"metadata": {"name": "d", "annotations": annotations}, "spec": {}});
        kind("daemonsets").default(&mut set);
        set["metadata"]["annotations"].clone()
    };
    assert_eq!(notes(Value::Null), json!({TEMPLATES: "0"}));
    assert_eq!(notes(json!({"a": "b", TEMPLATES: "7"})), json!({"a": "b", TEMPLATES: "7"}));
}
