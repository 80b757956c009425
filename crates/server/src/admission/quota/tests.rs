use futures::future::join_all;
use http::Method;

use super::*;
use crate::tests::{Cluster, cluster, cluster_over};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";

/// A quota whose controller has counted nothing yet used.
async fn quota(c: &Cluster, name: &str, spec: Value) {
    let (code, made) = c.post(QUOTAS, json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(code, 201, "{made}");
    let used: Value = made["spec"]["hard"].as_object().unwrap().keys().map(|name| (name.clone(), json!("0"))).collect();
    let status = json!({"status": {"hard": made["spec"]["hard"], "used": used}});
    let (code, made) = c.patch(&format!("{QUOTAS}/{name}/status"), MERGE, status).await;
    assert_eq!(code, 200, "{made}");
}

async fn used(c: &Cluster, name: &str) -> Value {
    c.get(&format!("{QUOTAS}/{name}")).await.1["status"]["used"].clone()
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn pod(name: &str, resources: Value, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    pod
}

#[tokio::test]
async fn what_exceeds_a_quota_is_refused_in_upstreams_words() {
    let c = cluster().await;
    c.account("default").await;
    quota(&c, "q", json!({"hard": {"pods": "2", "requests.cpu": "1", "limits.cpu": "2", "count/configmaps": "1"}}))
        .await;
    let (code, status) = c.post(PODS, pod("a", json!({"requests": {"cpu": "600m"}}), json!({}))).await;
    let text = "pods \"a\" is forbidden: failed quota: q: must specify limits.cpu for: c";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    let both = json!({"requests": {"cpu": "600m"}, "limits": {"cpu": "1"}});
    assert_eq!(c.post(PODS, pod("a", both.clone(), json!({}))).await.0, 201);
    let after = json!({"count/configmaps": "0", "limits.cpu": "1", "pods": "1", "requests.cpu": "600m"});
    assert_eq!(used(&c, "q").await, after);
    let (code, status) = c.post(PODS, pod("b", both.clone(), json!({}))).await;
    let text = "pods \"b\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: \
                requests.cpu=1";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    assert_eq!(used(&c, "q").await, after, "a refused one is not charged");
    let resized = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1100m"}, "limits": {"cpu": "1100m"}}}]}});
    let strategic = "application/strategic-merge-patch+json";
    let (code, status) = c.patch(&format!("{PODS}/a/resize"), strategic, resized.clone()).await;
    assert_eq!(code, 403, "{status}");
    assert!(status["message"].as_str().unwrap().contains("requested: requests.cpu=500m, used: requests.cpu=600m"));
    assert_eq!(c.post(MAPS, map("m")).await.0, 201);
    let (_, status) = c.post(MAPS, map("n")).await;
    let text = "configmaps \"n\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, \
                limited: count/configmaps=1";
    assert_eq!(status["message"], text);
    // One that nobody has counted yet.
    c.post(QUOTAS, json!({"metadata": {"name": "r"}, "spec": {"hard": {"secrets": "1"}}})).await;
    let status = json!({"status": {"hard": {"secrets": "1"}}});
    assert_eq!(c.patch(&format!("{QUOTAS}/r/status"), MERGE, status).await.0, 200);
    let (code, status) = c.post("/api/v1/namespaces/default/secrets", map("s")).await;
    let text = "secrets \"s\" is forbidden: status unknown for quota: r, resources: secrets";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
}

#[tokio::test]
async fn scopes_say_which_pods_are_charged() {
    let c = cluster().await;
    c.account("default").await;
    quota(&c, "ends", json!({"hard": {"pods": "1"}, "scopes": ["Terminating"]})).await;
    quota(&c, "stays", json!({"hard": {"pods": "1"}, "scopes": ["NotTerminating"]})).await;
    let expression = json!({"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]});
    quota(&c, "first", json!({"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [expression]}})).await;
    assert_eq!(c.post(PODS, pod("a", json!({}), json!({}))).await.0, 201);
    assert_eq!((used(&c, "ends").await, used(&c, "stays").await), (json!({"pods": "0"}), json!({"pods": "1"})));
    assert_eq!(c.post(PODS, pod("b", json!({}), json!({}))).await.0, 403);
    assert_eq!(c.post(PODS, pod("b", json!({}), json!({"activeDeadlineSeconds": 60}))).await.0, 201);
    let (code, status) = c.post(PODS, pod("d", json!({}), json!({"priorityClassName": "system-node-critical"}))).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().contains("exceeded quota: first, requested: pods=1"), "{status}");
    // One that is to end now is charged where those are that end.
    let (code, status) = c.patch(&format!("{PODS}/a"), MERGE, json!({"spec": {"activeDeadlineSeconds": 5}})).await;
    assert_eq!(code, 403, "{status}");
}

#[tokio::test]
async fn a_service_is_charged_for_what_an_update_adds() {
    let c = cluster().await;
    quota(&c, "q", json!({"hard": {"services": "1", "services.nodeports": "1"}})).await;
    let path = "/api/v1/namespaces/default/services";
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}});
    assert_eq!(c.post(path, service).await.0, 201);
    let own = format!("{path}/s");
    let (code, status) = c.patch(&own, MERGE, json!({"spec": {"type": "NodePort"}})).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().ends_with(
        "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1"
    ));
    let one = json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 1}]}});
    assert_eq!(c.patch(&own, MERGE, one).await.0, 200);
    assert_eq!(used(&c, "q").await, json!({"services": "1", "services.nodeports": "1"}));
}

/// Charged once for what is there, whichever of the quotas refuses and whatever becomes of the write.
#[tokio::test]
async fn several_quotas_are_charged_all_or_none() {
    let c = cluster().await;
    quota(&c, "a", json!({"hard": {"configmaps": "9"}})).await;
    quota(&c, "b", json!({"hard": {"count/configmaps": "9"}})).await;
    quota(&c, "c", json!({"hard": {"configmaps": "2"}})).await;
    let all = async || {
        let of = |used: Value| used.as_object().unwrap().values().next().unwrap().clone();
        [of(used(&c, "a").await), of(used(&c, "b").await), of(used(&c, "c").await)]
            .map(|used| used.as_str().unwrap().to_owned())
    };
    assert_eq!(c.post(MAPS, map("m")).await.0, 201);
    assert_eq!(all().await, ["1", "1", "1"]);
    assert_eq!(c.post(MAPS, map("m")).await.0, 409, "it is there");
    assert_eq!(all().await, ["1", "1", "1"], "what was not written is given back");
    assert_eq!(c.post(&format!("{MAPS}?dryRun=All"), map("n")).await.0, 201);
    assert_eq!(all().await, ["1", "1", "1"], "a dry run costs nothing");
    assert_eq!(c.post(MAPS, map("n")).await.0, 201);
    assert_eq!(c.post(MAPS, map("o")).await.0, 403);
    assert_eq!(all().await, ["2", "2", "2"]);
    let (_, written) = c.get(&format!("{QUOTAS}/c")).await;
    let manager = written["metadata"]["managedFields"].as_array().unwrap().iter().find(|m| m["manager"] == MANAGER);
    assert_eq!(manager.unwrap()["subresource"], "status");
    // A quota that counts quotas, too.
    quota(&c, "d", json!({"hard": {"resourcequotas": "1"}})).await;
    assert_eq!(c.post(QUOTAS, json!({"metadata": {"name": "e"}})).await.0, 201);
    assert_eq!(c.post(QUOTAS, json!({"metadata": {"name": "f"}})).await.0, 403);
    assert_eq!(used(&c, "d").await, json!({"resourcequotas": "1"}));
}

/// The revisions of one kind that a watch sees are all different: it can begin again at each.
#[tokio::test]
async fn a_watch_can_resume_between_the_charges_of_one_write() {
    let c = cluster().await;
    for name in ["a", "b", "c"] {
        quota(&c, name, json!({"hard": {"configmaps": "9"}})).await;
    }
    let store = &c.server.0.store;
    let mut watch = store.watch("resourcequotas/", store.revision()).unwrap();
    assert_eq!(c.post(MAPS, map("m")).await.0, 201);
    let mut revisions = Vec::new();
    while let Some(change) = watch.try_next() {
        revisions.push(change.unwrap().entry.revision);
    }
    assert_eq!(revisions.len(), 3);
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
}

/// The attack: many at once, each of which fits alone; on a disk, where writes wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_at_once_never_exceed_a_quota_together() {
    let c = cluster_over("127.0.0.1:6443", None).await;
    quota(&c, "a", json!({"hard": {"configmaps": "20"}})).await;
    quota(&c, "b", json!({"hard": {"configmaps": "30"}})).await;
    let tasks = (0..60).map(|number| in_parallel(&c, Method::POST, MAPS.into(), map(&format!("m{number}"))));
    let mut codes: Vec<u16> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    codes.sort_unstable();
    assert_eq!(codes, [vec![201; 20], vec![403; 40]].concat(), "each is written or refused, none gives up");
    assert_eq!((used(&c, "a").await, used(&c, "b").await), (json!({"configmaps": "20"}), json!({"configmaps": "20"})));
    let (_, maps) = c.get(MAPS).await;
    assert_eq!(maps["items"].as_array().unwrap().len(), 20);
}

/// Others write it too: its controller, its owner. Nothing of theirs is overwritten, nothing is charged twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_charge_holds_only_for_the_quota_that_it_was_made_for() {
    const EACH: usize = 200;
    let c = cluster().await;
    quota(&c, "q", json!({"hard": {"configmaps": "900"}})).await;
    let own = format!("{QUOTAS}/q");
    let tasks = (0..EACH).flat_map(|number| {
        let labelled = json!({"metadata": {"labels": {format!("l{number}"): ""}}});
        [
            in_parallel(&c, Method::POST, MAPS.into(), map(&format!("m{number}"))),
            in_parallel(&c, Method::PATCH, own.clone(), labelled),
        ]
    });
    let codes: Vec<u16> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let written = codes.iter().step_by(2).filter(|code| **code == 201).count();
    let labelled = codes.iter().skip(1).step_by(2).filter(|code| **code == 200).count();
    let (_, quota) = c.get(&own).await;
    assert_eq!(quota["metadata"]["labels"].as_object().unwrap().len(), labelled);
    assert_eq!(quota["status"]["used"]["configmaps"], written.to_string());
    assert_eq!(c.get(MAPS).await.1["items"].as_array().unwrap().len(), written);
}

fn in_parallel(c: &Cluster, method: Method, path: String, body: Value) -> tokio::task::JoinHandle<u16> {
    let (server, admin) = (c.server.clone(), c.admin.clone());
    let media = if method == Method::PATCH { MERGE } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header("content-type", media);
    let request = request.body(body.to_string().into()).unwrap();
    tokio::spawn(async move { server.handle(&admin, request).await.status.as_u16() })
}
