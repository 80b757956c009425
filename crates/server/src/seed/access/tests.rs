use super::*;
use crate::tests::{Cluster, cluster};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

async fn reconciled(cluster: &Cluster) -> u64 {
    let before = cluster.server.revision();
    reconcile(&cluster.server).await.unwrap();
    cluster.server.revision() - before
}

#[tokio::test]
async fn what_is_missing_is_added_and_what_is_more_stays() {
    let cluster = cluster().await;
    assert_eq!(reconciled(&cluster).await, 0, "a second start writes nothing");
    // All at once.
    let (_, first) = cluster.get(&format!("{ROLES}/admin")).await;
    let (_, last) = cluster.get(&format!("{BINDINGS}/system:kube-scheduler")).await;
    assert_eq!(first["metadata"]["resourceVersion"], last["metadata"]["resourceVersion"]);
    assert_eq!(last["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
    assert_eq!(last["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"], "true");

    let mut role = cluster.get(&format!("{ROLES}/system:basic-user")).await.1;
    role["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    role["metadata"]["labels"] = json!({"mine": "yes"});
    assert_eq!(cluster.put(&format!("{ROLES}/system:basic-user"), role).await.0, 200);
    let mut binding = cluster.get(&format!("{BINDINGS}/system:basic-user")).await.1;
    binding["subjects"] = json!([{"kind": "User", "apiGroup": GROUP, "name": "u"}]);
    assert_eq!(cluster.put(&format!("{BINDINGS}/system:basic-user"), binding).await.0, 200);
    // What says so is left alone; another role under the same name is not.
    let mut kept = cluster.get(&format!("{ROLES}/view")).await.1;
    kept["metadata"]["annotations"][AUTO_UPDATE] = json!("false");
    kept["aggregationRule"] = Value::Null;
    assert_eq!(cluster.put(&format!("{ROLES}/view"), kept).await.0, 200);
    assert_eq!(cluster.delete(&format!("{BINDINGS}/cluster-admin"), Value::Null).await.0, 200);
    let stale = json!({"metadata": {"name": "cluster-admin"}, "roleRef": {"kind": "ClusterRole", "name": "view"}});
    assert_eq!(cluster.post(BINDINGS, stale).await.0, 201);

    assert_eq!(reconciled(&cluster).await, 2, "one write takes a binding away, one does all else");
    let role = cluster.get(&format!("{ROLES}/system:basic-user")).await.1;
    assert_eq!(role["rules"][0]["resources"], json!(["pods"]));
    assert_eq!(role["rules"].as_array().unwrap().len(), 4, "in parts, as upstream adds them");
    assert_eq!(role["metadata"]["labels"], json!({"mine": "yes", "kubernetes.io/bootstrapping": "rbac-defaults"}));
    let binding = cluster.get(&format!("{BINDINGS}/system:basic-user")).await.1;
    let names: Vec<_> = binding["subjects"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["u", "system:authenticated"]);
    assert!(cluster.get(&format!("{ROLES}/view")).await.1.get("aggregationRule").is_none());
    assert_eq!(cluster.get(&format!("{BINDINGS}/cluster-admin")).await.1["roleRef"]["name"], "cluster-admin");
    assert_eq!(reconciled(&cluster).await, 0);
}
