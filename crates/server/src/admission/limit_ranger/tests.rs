use super::*;
use crate::tests::cluster;

const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}],
        "initContainers": [{"name": "i", "image": "i", "resources": {"requests": {"cpu": "200m"}, "limits": {"cpu": "300m"}}}]}})
}

#[tokio::test]
async fn containers_get_what_they_do_not_say_and_keep_to_bounds() {
    let c = cluster().await;
    c.account("default").await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container",
        "max": {"cpu": "1"}, "min": {"cpu": "50m"}, "default": {"cpu": "500m", "memory": "500Mi"},
        "defaultRequest": {"cpu": "100m", "memory": "200Mi"}}]}});
    let (code, made) = c.post(RANGES, range).await;
    assert_eq!(code, 201, "{made}");
    let (code, made) = c.post(PODS, pod("a", json!({"requests": {"cpu": "250m"}}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "250m", "memory": "200Mi"}, "limits": {"cpu": "500m", "memory": "500Mi"}})
    );
    assert_eq!(
        made["metadata"]["annotations"][ANNOTATION],
        "LimitRanger plugin set: memory request for container c; cpu, memory limit for container c; memory request for \
         init container i; memory limit for init container i"
    );
    let (code, status) = c.post(PODS, pod("b", json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "2"}}))).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    assert_eq!(
        status["message"],
        "pods \"b\" is forbidden: [minimum cpu usage per Container is 50m, but request is 10m, maximum cpu usage per \
         Container is 1, but limit is 2]"
    );
    // An update of a pod is not asked, its resize is.
    let media = "application/strategic-merge-patch+json";
    let (code, status) = c.patch(&format!("{PODS}/a"), media, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(code, 200, "{status}");
    let resized = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "3"}}}]}});
    let (code, status) = c.patch(&format!("{PODS}/a/resize"), media, resized).await;
    assert_eq!(code, 403, "{status}");
    assert!(status["message"].as_str().unwrap().ends_with("maximum cpu usage per Container is 1, but limit is 3"));
}

#[test]
fn bounds_of_pods_claims_and_ratios_are_told_in_upstreams_words() {
    let range = |kind: &str, field: &str, name: &str, amount: &str| {
        let mut limit = json!({"type": kind});
        limit[field] = json!({name: amount});
        json!({"spec": {"limits": [limit]}})
    };
    let demand = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    let two = json!({"spec": {"containers": [{"resources": demand}, {"resources": demand}]}});
    let told = |field: &str, amount: &str| of_pod(&range("Pod", field, "cpu", amount), &two);
    assert_eq!(told("max", "4"), [""; 0]);
    assert_eq!(told("max", "3"), ["maximum cpu usage per Pod is 3, but limit is 4"]);
    assert_eq!(told("min", "3"), ["minimum cpu usage per Pod is 3, but request is 2"]);
    assert_eq!(told("maxLimitRequestRatio", "2"), [""; 0]);
    assert_eq!(
        told("maxLimitRequestRatio", "1500m"),
        ["cpu max limit to request ratio per Pod is 1500m, but provided ratio is 2.000000"]
    );
    let of = |field: &str| of_pod(&range("Container", field, "memory", "1Gi"), &two)[0].clone();
    assert_eq!(of("min"), "minimum memory usage per Container is 1Gi.  No request is specified");
    assert_eq!(of("max"), "maximum memory usage per Container is 1Gi.  No limit is specified");
    assert_eq!(
        of("maxLimitRequestRatio"),
        "memory max limit to request ratio per Container is 1Gi, but no request is specified or request is 0"
    );
    let mut whole = two.clone();
    whole["spec"]["resources"] = json!({"limits": {"cpu": "3"}});
    assert_eq!(of_pod(&range("Pod", "max", "cpu", "3"), &whole), [""; 0], "the pod's own counts");
    let claim = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let told = |field: &str, amount: &str| of_claim(&range("PersistentVolumeClaim", field, "storage", amount), &claim);
    assert_eq!((told("min", "2Gi"), told("max", "2Gi")), (vec![], vec![]));
    assert_eq!(told("min", "3Gi"), ["minimum storage usage per PersistentVolumeClaim is 3Gi, but request is 2Gi"]);
    assert_eq!(told("max", "1Gi"), ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]);
}
