use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::tests::{Cluster, cluster_with};

fn of(on: &[&str], off: &[&str]) -> Result<Vec<&'static str>, String> {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    Admission::of(&owned(on), &owned(off)).map(|chosen| chosen.rows().map(Row::name).collect())
}

/// A server with these steps too.
async fn with(names: &[&str]) -> Cluster {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let c = cluster_with(Admission::of(&names, &[]).unwrap()).await;
    c.account("default").await;
    c
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

const PODS: &str = "/api/v1/namespaces/default/pods";

#[test]
fn steps_are_chosen_by_name_and_go_in_upstreams_order() {
    let usual = of(&[], &[]).unwrap();
    assert!(usual.contains(&"LimitRanger") && !usual.contains(&"AlwaysPullImages"));
    let chosen = of(&["PodNodeSelector", "AlwaysPullImages", "LimitRanger"], &["Priority", "ResourceQuota"]).unwrap();
    let at = |name: &str| chosen.iter().position(|one| *one == name);
    assert!(at("TaintNodesByCondition") < at("AlwaysPullImages") && at("AlwaysPullImages") < at("PodSecurity"));
    assert!(at("PodSecurity") < at("PodNodeSelector") && at("Priority").is_none() && at("ResourceQuota").is_none());
    assert_eq!(chosen.len(), usual.len());
    // What is off is off.
    assert_eq!(of(&[], &["EventRateLimit", "AlwaysPullImages"]).unwrap(), usual);
    for always in ALWAYS {
        assert!(usual.contains(&always) && !known().contains(&always));
    }
    let refused = |on: &[&str], off: &[&str], why: &str| {
        let told = of(on, off).unwrap_err();
        assert!(told.starts_with(why), "{told}");
    };
    refused(
        &["None"],
        &[],
        "--enable-admission-plugins: admission plugin \"None\" is unknown; known are AlwaysAdmit, ",
    );
    refused(&[], &["RBACEscalation"], "--disable-admission-plugins: admission plugin \"RBACEscalation\" is unknown");
    refused(&["EventRateLimit"], &[], "--enable-admission-plugins: there is no \"EventRateLimit\" here: it needs");
    refused(&["Priority"], &["Priority"], "--enable-admission-plugins and --disable-admission-plugins both name");
    refused(&[], &["MutatingAdmissionWebhook"], "--disable-admission-plugins: \"MutatingAdmissionWebhook\" cannot");
}

#[tokio::test]
async fn images_are_always_pulled() {
    let c = with(&["AlwaysPullImages"]).await;
    let container = |name: &str, policy: &str| json!({"name": name, "image": "i:1", "imagePullPolicy": policy});
    let volume = json!({"name": "v", "image": {"reference": "i:1", "pullPolicy": "Never"}});
    let spec = json!({"containers": [container("a", "Never")], "initContainers": [container("b", "IfNotPresent")],
        "volumes": [volume]});
    let (code, made) = c.post(PODS, pod(spec)).await;
    assert_eq!(code, 201, "{made}");
    for list in ["containers", "initContainers"] {
        assert_eq!(made["spec"][list][0]["imagePullPolicy"], "Always");
    }
    let volumes = made["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.iter().find(|one| one["name"] == "v").unwrap()["image"]["pullPolicy"], "Always");
}

#[tokio::test]
async fn services_take_no_new_external_addresses() {
    let c = with(&["DenyServiceExternalIPs"]).await;
    let path = "/api/v1/namespaces/default/services";
    let service = |name: &str, addresses: Value| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "externalIPs": addresses}});
    assert_eq!(c.post(path, service("none", json!([]))).await.0, 201);
    let (code, status) = c.post(path, service("one", json!(["192.0.2.1"]))).await;
    let why = "services \"one\" is forbidden: Use of external IPs is denied by admission control";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, why));
}

#[tokio::test]
async fn devices_are_tolerated_and_others_kept_from_nodes_only() {
    let c = with(&["ExtendedResourceToleration", "LimitPodHardAntiAffinityTopology"]).await;
    let amount = json!({"example.com/gpu": "1"});
    let spec =
        json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": amount, "limits": amount}}]});
    let (code, made) = c.post(PODS, pod(spec)).await;
    assert_eq!(code, 201, "{made}");
    let toleration = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
    assert!(made["spec"]["tolerations"].as_array().unwrap().contains(&toleration), "{made}");
    let away = |key: &str| {
        let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"a": "b"}}});
        pod(json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}))
    };
    assert_eq!(c.post(PODS, away("kubernetes.io/hostname")).await.0, 201);
    let (code, status) = c.post(PODS, away("zone")).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().ends_with(
        "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed"
    ));
}

#[tokio::test]
async fn a_namespace_is_made_for_what_is_to_be_in_it() {
    let c = with(&["NamespaceAutoProvision", "NamespaceExists"]).await;
    let map = json!({"metadata": {"name": "m"}});
    let dry = c.post("/api/v1/namespaces/new/configmaps?dryRun=All", map.clone()).await;
    assert_eq!(dry.0, 404, "{}", dry.1);
    assert_eq!(c.get("/api/v1/namespaces/new").await.0, 404);
    assert_eq!(c.post("/api/v1/namespaces/new/configmaps", map).await.0, 201);
    assert_eq!(c.get("/api/v1/namespaces/new").await.0, 200);
}

#[tokio::test]
async fn pods_go_where_their_namespace_says_and_tolerate_what_it_lists() {
    let c = with(&["PodNodeSelector", "PodTolerationRestriction"]).await;
    let annotate = async |annotations: Value| {
        let patch = json!({"metadata": {"annotations": annotations}});
        assert_eq!(c.patch("/api/v1/namespaces/default", "application/merge-patch+json", patch).await.0, 200);
    };
    let gift = json!([{"key": "gift", "operator": "Exists", "effect": "NoSchedule"}]).to_string();
    annotate(json!({"scheduler.alpha.kubernetes.io/node-selector": "disk=fast",
        "scheduler.alpha.kubernetes.io/defaultTolerations": gift}))
    .await;
    let (code, made) = c.post(PODS, pod(json!({"nodeSelector": {"zone": "a"}}))).await;
    assert_eq!((code, &made["spec"]["nodeSelector"]), (201, &json!({"disk": "fast", "zone": "a"})), "{made}");
    assert!(made["spec"]["tolerations"].as_array().unwrap().iter().any(|one| one["key"] == "gift"), "{made}");
    let (code, status) = c.post(PODS, pod(json!({"nodeSelector": {"disk": "slow"}}))).await;
    let why = "pod node label selector conflicts with its namespace node label selector";
    assert!(code == 403 && status["message"].as_str().unwrap().ends_with(why), "{status}");
    let listed = json!([{"operator": "Exists", "effect": "NoExecute"}, {"key": "gift", "operator": "Exists"}]);
    annotate(json!({"scheduler.alpha.kubernetes.io/tolerationsWhitelist": listed.to_string()})).await;
    assert_eq!(c.post(PODS, pod(json!({}))).await.0, 201);
    let other = json!({"tolerations": [{"key": "other", "operator": "Exists", "effect": "NoSchedule"}]});
    let (code, status) = c.post(PODS, pod(other)).await;
    assert!(
        code == 500 && status["message"].as_str().unwrap().contains("conflict with its namespace whitelist"),
        "{status}"
    );
}

/// Who may only change an object would hold up the deletion of any other by it.
#[tokio::test]
async fn owners_are_set_by_who_may_delete_and_hold_up_by_who_may_finalize() {
    let c = with(&["OwnerReferencesPermissionEnforcement"]).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let uid = c.post(maps, json!({"metadata": {"name": "owner"}})).await.1["metadata"]["uid"].clone();
    let user = crate::identity::Identity::authenticated("alice", "", vec![]);
    let grant = async |name: &str, resource: &str, verbs: &[&str]| {
        let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
        let rule = json!({"apiGroups": [""], "resources": [resource], "verbs": verbs});
        assert_eq!(c.post(&format!("{rbac}/roles"), json!({"metadata": {"name": name}, "rules": [rule]})).await.0, 201);
        let binding = json!({"metadata": {"name": name}, "subjects": [{"kind": "User", "name": "alice"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}});
        assert_eq!(c.post(&format!("{rbac}/rolebindings"), binding).await.0, 201);
    };
    grant("writes", "configmaps", &["create", "update", "patch", "get"]).await;
    let owned = |name: &str, blocks: bool| {
        let owner =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "blockOwnerDeletion": blocks});
        json!({"metadata": {"name": name, "ownerReferences": [owner]}}).to_string()
    };
    let create = async |name: &str, blocks: bool| c.call_as(&user, Method::POST, maps, owned(name, blocks)).await;
    let update = async |name: &str| c.call_as(&user, Method::PUT, &format!("{maps}/{name}"), owned(name, false)).await;
    assert_eq!(create("a", false).await.0, 201, "who creates may name an owner");
    let (code, status) = create("b", true).await;
    let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
    assert!(code == 403 && status["message"].as_str().unwrap().contains(why), "{status}");
    assert_eq!(c.post(maps, json!({"metadata": {"name": "c"}})).await.0, 201);
    let (code, status) = update("c").await;
    let why = "cannot set an ownerRef on a resource you can't delete";
    assert!(code == 403 && status["message"].as_str().unwrap().contains(why), "{status}");
    grant("deletes", "configmaps", &["delete"]).await;
    grant("finalizes", "configmaps/finalizers", &["update"]).await;
    assert_eq!(update("c").await.0, 200);
    assert_eq!(create("b", true).await.0, 201);
}

#[tokio::test]
async fn nothing_is_written_where_everything_is_denied() {
    let c = cluster_with(Admission::of(&["AlwaysDeny".into()], &[]).unwrap()).await;
    let (code, status) = c.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await;
    let why = "namespaces \"n\" is forbidden: admission control is denying all modifications";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, why));
    assert_eq!(c.get("/api/v1/namespaces/default").await.0, 200);
}

#[tokio::test]
async fn a_step_that_is_off_does_nothing() {
    let c =
        cluster_with(Admission::of(&[], &["ServiceAccount".into(), "DefaultTolerationSeconds".into()]).unwrap()).await;
    let (code, made) = c.post(PODS, pod(json!({}))).await;
    assert_eq!(
        (code, &made["spec"]["tolerations"], &made["spec"]["serviceAccountName"]),
        (201, &Value::Null, &Value::Null)
    );
}
