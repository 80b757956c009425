//! Pure tables: what a status says, which patch goes back, what a history prints.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::status::{Progress, progress};
use super::*;

fn told(workload: Workload, spec: Value, status: Value) -> String {
    let object = json!({"metadata": {"name": "web", "generation": 3}, "spec": spec, "status": status});
    match progress(workload, &object, 0) {
        Ok(Progress::Going(line)) => format!("… {line}"),
        Ok(Progress::Done(line)) => format!("✓ {line}"),
        Err(why) => format!("error: {why}"),
    }
}

fn check(workload: Workload, rows: &[(Value, Value)], wanted: Expect) {
    let lines: Vec<String> = rows.iter().map(|(spec, status)| told(workload, spec.clone(), status.clone())).collect();
    wanted.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn a_deployments_rollout_is_told_step_by_step() {
    let three = json!({"replicas": 3});
    let late = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]);
    check(
        Workload::Deployment,
        &[
            (three.clone(), json!({"observedGeneration": 2, "updatedReplicas": 3})),
            (three.clone(), json!({"observedGeneration": 3})),
            (three.clone(), json!({"observedGeneration": 3, "updatedReplicas": 2, "replicas": 4})),
            (three.clone(), json!({"observedGeneration": 3, "updatedReplicas": 3, "replicas": 4})),
            (
                three.clone(),
                json!({"observedGeneration": 3, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 1}),
            ),
            (
                three.clone(),
                json!({"observedGeneration": 3, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
            ),
            (three, json!({"observedGeneration": 3, "conditions": late})),
            (json!({"replicas": 0}), json!({"observedGeneration": 3})),
        ],
        expect![[r#"
            … Waiting for deployment spec update to be observed...
            … Waiting for deployment "web" rollout to finish: 0 out of 3 new replicas have been updated...
            … Waiting for deployment "web" rollout to finish: 2 out of 3 new replicas have been updated...
            … Waiting for deployment "web" rollout to finish: 1 old replicas are pending termination...
            … Waiting for deployment "web" rollout to finish: 1 of 3 updated replicas are available...
            ✓ deployment "web" successfully rolled out
            error: deployment "web" exceeded its progress deadline
            ✓ deployment "web" successfully rolled out
        "#]],
    );
}

#[test]
fn a_deployment_of_another_revision_ends_the_waiting() {
    let object = |revision: &str| {
        let annotations = json!({"deployment.kubernetes.io/revision": revision});
        json!({"metadata": {"name": "web", "annotations": annotations}, "spec": {}, "status": {}})
    };
    assert!(matches!(progress(Workload::Deployment, &object("2"), 2), Ok(Progress::Done(_))));
    let why = progress(Workload::Deployment, &object("3"), 2).unwrap_err();
    assert_eq!(why, "desired revision (2) is different from the running revision (3)");
    assert!(progress(Workload::Deployment, &object("x"), 2).unwrap_err().starts_with("cannot get the revision"));
}

#[test]
fn a_daemon_sets_rollout_is_told_step_by_step() {
    let rolling = json!({"updateStrategy": {"type": "RollingUpdate"}});
    let status = |updated: i64, available: i64| json!({"observedGeneration": 3, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available});
    check(
        Workload::DaemonSet,
        &[
            (json!({"updateStrategy": {"type": "OnDelete"}}), status(2, 2)),
            (rolling.clone(), json!({"observedGeneration": 1})),
            (rolling.clone(), status(1, 2)),
            (rolling.clone(), status(2, 1)),
            (rolling, status(2, 2)),
        ],
        expect![[r#"
            error: rollout status is only available for RollingUpdate strategy type
            … Waiting for daemon set spec update to be observed...
            … Waiting for daemon set "web" rollout to finish: 1 out of 2 new pods have been updated...
            … Waiting for daemon set "web" rollout to finish: 1 of 2 updated pods are available...
            ✓ daemon set "web" successfully rolled out
        "#]],
    );
}

#[test]
fn a_stateful_sets_rollout_is_told_step_by_step() {
    let spec = |partition: Value| {
        let rolling = if partition.is_null() { Value::Null } else { json!({"partition": partition}) };
        json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})
    };
    let status = |ready: i64, updated: i64, update: &str| {
        json!({"observedGeneration": 3, "readyReplicas": ready, "updatedReplicas": updated, "currentReplicas": 3,
            "currentRevision": "web-1", "updateRevision": update})
    };
    check(
        Workload::StatefulSet,
        &[
            (json!({"updateStrategy": {"type": "OnDelete"}}), status(3, 3, "web-1")),
            (spec(Value::Null), json!({})),
            (spec(Value::Null), status(1, 3, "web-1")),
            (spec(Value::Null), status(3, 1, "web-2")),
            (spec(Value::Null), status(3, 3, "web-1")),
            (spec(json!(1)), status(3, 1, "web-2")),
            (spec(json!(1)), status(3, 2, "web-2")),
        ],
        expect![[r#"
            error: rollout status is only available for RollingUpdate strategy type
            … Waiting for statefulset spec update to be observed...
            … Waiting for 2 pods to be ready...
            … waiting for statefulset rolling update to complete 1 pods at revision web-2...
            ✓ statefulset rolling update complete 3 pods at revision web-1...
            … Waiting for partitioned roll out to finish: 1 out of 2 new pods have been updated...
            ✓ partitioned roll out complete: 2 new pods have been updated...
        "#]],
    );
}

#[test]
fn a_revision_comes_back_without_the_controllers_label_and_with_the_deployments_own_annotations() {
    let template =
        |image: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}});
    let mut old = template("a");
    old["metadata"]["labels"]["pod-template-hash"] = json!("x1");
    old["metadata"]["creationTimestamp"] = Value::Null;
    let set = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1", "note": "old"}}, "spec": {"template": old}});
    let deployment = |image: &str| {
        let annotations = json!({"deployment.kubernetes.io/revision": "2", "note": "new", "gone": "x"});
        json!({"metadata": {"annotations": annotations}, "spec": {"template": template(image)}})
    };
    assert_eq!(undo::restoring(Workload::Deployment, &deployment("a"), &set), None);
    let (content, patch) = undo::restoring(Workload::Deployment, &deployment("b"), &set).unwrap();
    assert_eq!(content, "application/json-patch+json");
    expect![[r#"
        [
          {
            "op": "replace",
            "path": "/spec/template",
            "value": {
              "metadata": {
                "creationTimestamp": null,
                "labels": {
                  "app": "web"
                }
              },
              "spec": {
                "containers": [
                  {
                    "image": "a"
                  }
                ]
              }
            }
          },
          {
            "op": "replace",
            "path": "/metadata/annotations",
            "value": {
              "deployment.kubernetes.io/revision": "2",
              "note": "old"
            }
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&patch).unwrap());
}

#[test]
fn a_controller_revision_is_its_own_patch_unless_it_is_there_already() {
    let template = |image: &str| json!({"spec": {"containers": [{"image": image}]}});
    let current = json!({"spec": {"replicas": 2, "template": template("b")}});
    let revision = |image: &str| {
        let mut template = template(image);
        template["$patch"] = json!("replace");
        template["metadata"] = json!({"creationTimestamp": null});
        json!({"data": {"spec": {"template": template}}})
    };
    let mut same = revision("b");
    same["data"]["spec"]["template"].as_object_mut().unwrap().remove("metadata");
    assert_eq!(undo::restoring(Workload::StatefulSet, &current, &same), None);
    let back = undo::restoring(Workload::DaemonSet, &current, &revision("a"));
    assert_eq!(back, Some(("application/strategic-merge-patch+json", revision("a")["data"].clone())));
}

#[test]
fn a_history_stands_in_two_columns() {
    let revision = |cause: Option<&str>| {
        let annotations = cause.map(|cause| json!({"kubernetes.io/change-cause": cause}));
        let object = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web-1", "annotations": annotations}});
        api::Object::from_value(&object).unwrap()
    };
    let all = [(1, revision(None)), (2, revision(Some(""))), (12, revision(Some("kubectl set image")))];
    expect![[r#"
        REVISION  CHANGE-CAUSE
        1         <none>
        2         <none>
        12        kubectl set image
    "#]]
    .assert_eq(&history::table(all.iter().map(|(number, object)| (*number, object))));
}

#[test]
fn kinds_without_rollouts_are_refused_in_kubectls_words() {
    let why = |kind: &Resource| visited(kind, "history", "history viewer").unwrap_err().message;
    assert_eq!(why(&api::resource::REPLICA_SETS), "no history viewer has been implemented for \"ReplicaSet.apps\"");
    assert_eq!(why(&api::resource::PODS), "no history viewer has been implemented for \"Pod\"");
    assert_eq!(
        why(&api::resource::CONFIG_MAPS),
        "error retrieving history for \"ConfigMap\", no visitor method exists for { ConfigMap}"
    );
}
