//! What is asked of Deployments, ReplicaSets, ReplicationControllers, StatefulSets and DaemonSets.

use serde_json::{Value, json};

use super::{
    Act, Add, CONTROLLERS, DAEMON_SETS, DEPLOYMENTS, Fate, REPLICA_SETS, STATEFUL_SETS, labels, marked, named,
    replicas, spec, template,
};

pub fn deployments(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods, Until};
    const IT: &str = "deployments";
    let patch = |patch: Value| Patch(IT, "web", patch);
    let rollout = vec![
        Create(IT, replicas(2, json!({}))),
        Pods(Fate::Ready, 1),
        Play,
        patch(marked("two")),
        Play,
        patch(marked("one")),
        Play,
        Pods(Fate::Unready, 2),
        patch(json!({"metadata": {"annotations": {"note": "x"}}})),
        Delete(IT, "web", "Background"),
    ];
    add(DEPLOYMENTS, "rollout", rollout);
    let paused = vec![
        Create(IT, replicas(2, json!({}))),
        Play,
        patch(spec(json!({"paused": true}))),
        patch(marked("two")),
        patch(spec(json!({"replicas": 3}))),
        Play,
        patch(spec(json!({"paused": false}))),
        Play,
        patch(spec(json!({"revisionHistoryLimit": 0}))),
        Delete(IT, "web", ""),
    ];
    add(DEPLOYMENTS, "paused", paused);
    let other = json!({"app": "other"});
    let mut taken = replicas(0, json!({}));
    taken["spec"]["template"]["metadata"]["labels"] = other.clone();
    taken["spec"]["selector"]["matchLabels"] = other;
    // The name that the Deployment's first ReplicaSet would have.
    taken["metadata"]["name"] = json!("web-77996f689c");
    add(DEPLOYMENTS, "collision", vec![Create("replicasets", taken), Create(IT, replicas(1, json!({}))), Play]);
    let deleted = vec![
        Create(IT, replicas(2, json!({}))),
        Play,
        Pods(Fate::Deleted, 1),
        Pods(Fate::Failed(1), 1),
        Play,
        Delete(IT, "web", "Foreground"),
        Play,
    ];
    add(DEPLOYMENTS, "deleted pods", deleted);
    let numbers = json!({"strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}});
    let surge = vec![
        Create(IT, replicas(3, numbers)),
        Play,
        patch(marked("two")),
        Pods(Fate::Ready, 1),
        patch(spec(json!({"replicas": 5}))),
        Play,
        patch(spec(json!({"replicas": 0}))),
        Play,
    ];
    add(DEPLOYMENTS, "surge", surge);
    let recreate = vec![
        Create(IT, replicas(2, json!({"strategy": {"type": "Recreate"}}))),
        Play,
        patch(marked("two")),
        Pods(Fate::Gone, 1),
        Pods(Fate::Gone, 1),
        Play,
        Delete(IT, "web", "Orphan"),
        Create(IT, replicas(2, json!({"strategy": {"type": "Recreate"}}))),
    ];
    add(DEPLOYMENTS, "recreate", recreate);
    let late = vec![
        Create(IT, replicas(1, json!({"progressDeadlineSeconds": 2}))),
        Until("ProgressDeadlineExceeded"),
        Play,
        patch(marked("two")),
        Until("ProgressDeadlineExceeded"),
        patch(marked("one")),
        Play,
    ];
    add(DEPLOYMENTS, "deadline", late);
    add(
        DEPLOYMENTS,
        "slow",
        vec![Create(IT, replicas(1, json!({"minReadySeconds": 2}))), Play, Until("MinimumReplicasAvailable")],
    );
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}});
    add(
        DEPLOYMENTS,
        "quota",
        vec![
            Create("resourcequotas", quota),
            Until("\"used\":{\"pods\":\"0\"}"),
            Create(IT, replicas(2, json!({}))),
            Until("ReplicaFailure"),
            Play,
        ],
    );
    add(
        DEPLOYMENTS,
        "all selected",
        vec![Create(IT, replicas(0, json!({}))), patch(marked("two")), patch(marked("one"))],
    );
}

pub fn sets(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods};
    let pod = json!({"metadata": {"name": "stray", "labels": labels()}, "spec": template("one")["spec"]});
    for (kind, plural) in [(REPLICA_SETS, "replicasets"), (CONTROLLERS, "replicationcontrollers")] {
        let mut object = replicas(3, json!({}));
        if kind == CONTROLLERS {
            object["spec"]["selector"] = labels();
        }
        let acts = vec![
            Create("pods", pod.clone()),
            Create(plural, object.clone()),
            Play,
            Pods(Fate::Failed(1), 1),
            Play,
            Patch("pods", "stray", json!({"metadata": {"labels": {"app": "other"}}})),
            Play,
            Patch(plural, "web", spec(json!({"replicas": 1}))),
            Play,
            Patch(plural, "web", marked("two")),
            Delete(plural, "web", "Orphan"),
            Create(plural, object),
        ];
        add(kind, "replaced", acts);
    }
}

pub fn stateful(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods};
    const IT: &str = "statefulsets";
    let patch = |patch: Value| Patch(IT, "web", patch);
    let service = || json!({"serviceName": "web"});
    let claims = json!({"serviceName": "web", "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec":
        {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}]});
    add(
        STATEFUL_SETS,
        "ordered",
        vec![
            Create(IT, replicas(2, service())),
            Pods(Fate::Ready, 1),
            Play,
            patch(marked("two")),
            Pods(Fate::Gone, 1),
            Play,
            patch(marked("one")),
            Play,
            patch(spec(json!({"replicas": 3}))),
            Pods(Fate::Ready, 1),
            patch(spec(json!({"replicas": 1}))),
            Play,
            Pods(Fate::Failed(1), 1),
            Play,
            Delete(IT, "web", "Background"),
        ],
    );
    add(
        STATEFUL_SETS,
        "partition",
        vec![
            Create(IT, replicas(3, service())),
            Play,
            patch(spec(json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}))),
            patch(marked("two")),
            Play,
            patch(spec(json!({"updateStrategy": {"rollingUpdate": {"partition": 0}}}))),
            Play,
            patch(spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}))),
            patch(marked("three")),
            Delete("pods", "web-1", ""),
            Play,
        ],
    );
    add(
        STATEFUL_SETS,
        "parallel",
        vec![
            Create(
                IT,
                replicas(3, json!({"serviceName": "web", "podManagementPolicy": "Parallel", "ordinals": {"start": 4}})),
            ),
            Play,
            patch(marked("two")),
            Play,
            patch(spec(json!({"revisionHistoryLimit": 0}))),
            patch(marked("three")),
            Play,
        ],
    );
    add(
        STATEFUL_SETS,
        "claims",
        vec![
            Create(IT, replicas(2, claims)),
            Play,
            patch(spec(
                json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"}}),
            )),
            patch(spec(json!({"replicas": 1}))),
            Play,
        ],
    );
    let two = json!({"serviceName": "web", "podManagementPolicy": "Parallel", "minReadySeconds": 1,
        "updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}});
    let at_once = vec![
        Create(IT, replicas(3, two)),
        Play,
        patch(marked("two")),
        Pods(Fate::Gone, 1),
        Play,
        Pods(Fate::Deleted, 1),
        Play,
    ];
    add(STATEFUL_SETS, "two at once", at_once);
}

pub fn daemons(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods};
    const IT: &str = "daemonsets";
    let patch = |patch: Value| Patch(IT, "web", patch);
    let object = |further: Value| {
        let selector = json!({"matchLabels": labels()});
        named("web", json!({"selector": selector, "template": template("one")}), further)
    };
    add(
        DAEMON_SETS,
        "rollout",
        vec![
            Create(IT, object(json!({}))),
            Pods(Fate::Ready, 1),
            Play,
            patch(marked("two")),
            Pods(Fate::Gone, 1),
            Play,
            patch(marked("one")),
            Play,
            patch(spec(json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-2"}}}}))),
            Play,
            Pods(Fate::Failed(1), 1),
            Play,
            Delete(IT, "web", "Background"),
        ],
    );
    add(
        DAEMON_SETS,
        "surge",
        vec![
            Create(IT, object(json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}))),
            Play,
            patch(marked("two")),
            Pods(Fate::Ready, 1),
            Play,
        ],
    );
    add(
        DAEMON_SETS,
        "on delete",
        vec![
            Create(IT, object(json!({"updateStrategy": {"type": "OnDelete"}, "revisionHistoryLimit": 0}))),
            Play,
            patch(marked("two")),
            patch(spec(json!({"updateStrategy": {"type": "RollingUpdate"}}))),
            Play,
        ],
    );
}
