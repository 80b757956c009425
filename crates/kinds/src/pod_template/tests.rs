use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn object(template: Value) -> Value {
    let mut object = json!({"metadata": {"name": "t", "namespace": "n", "resourceVersion": "1"}, "template": template});
    let kind = kind("podtemplates");
    kind.default(&mut object);
    kind.prepare(&mut object, None, &Context::default());
    object
}

fn judged(template: Value) -> Vec<String> {
    let kind = kind("podtemplates");
    told(&kind.validate(&object(template), None, &Context::default()))
}

#[test]
fn a_template_is_defaulted_like_a_pod_but_for_what_is_the_pods_own() {
    let spec = json!({"hostNetwork": true, "terminationGracePeriodSeconds": -1, "containers": [
        {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "0.5"}}}]});
    let object = object(json!({"spec": spec}));
    assert_eq!(
        object["template"]["spec"],
        json!({"hostNetwork": true, "terminationGracePeriodSeconds": -1, "restartPolicy": "Always",
            "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {},
            "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "500m"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}]})
    );
    assert_eq!(object["metadata"]["generation"], 1);
    let kind = kind("podtemplates");
    assert_eq!(kind.validate(&object, None, &Context::default()), []);
    assert_eq!(
        kind.warnings(&object, None),
        ["template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated \
          as 1"]
    );
}

#[test]
fn a_template_is_judged_at_its_path() {
    assert_eq!(judged(json!({})), ["template.spec.containers: Required value"]);
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]});
    assert_eq!(
        judged(json!({"metadata": {"labels": {"a b": "c"}, "annotations": {"kubernetes.io/config.mirror": "x"}},
            "spec": {"hostNetwork": true, "containers": [container], "ephemeralContainers": [{"name": "e", "image": "i"}]}})),
        [
            "template.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or \
             '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
             regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "template.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror \
             pod annotation is set",
            "template.spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when \
             `hostNetwork` is true",
            "template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
        ]
    );
}

#[test]
fn only_a_change_of_the_template_counts_and_is_commented_on() {
    let kind = kind("podtemplates");
    let spec = json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "nfs": {}}]});
    let note = "container.apparmor.security.beta.kubernetes.io/c";
    let old = object(json!({"metadata": {"annotations": {note: "unconfined"}}, "spec": spec}));
    let lines = [
        format!(
            "template.metadata.annotations[{note}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        ),
        "template.spec.volumes[0].nfs: pods with it are refused by this release: there is no driver for this volume \
         type"
            .into(),
    ];
    assert_eq!(kind.warnings(&old, None), lines);
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!((&new["metadata"]["generation"], kind.warnings(&new, Some(&old)).len()), (&json!(1), 0));
    new["template"]["spec"]["containers"][0]["image"] = json!("j");
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!((&new["metadata"]["generation"], kind.warnings(&new, Some(&old)).len()), (&json!(2), 2));
    let cells: Vec<Value> = kind.columns.iter().map(|column| column.of(&new, "")).collect();
    assert_eq!(cells, [json!("t"), json!("c"), json!("j"), json!("<none>")]);
}
