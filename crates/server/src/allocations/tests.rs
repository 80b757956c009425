use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::tests::{Cluster, cluster};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const MERGE: &str = "application/merge-patch+json";

fn service(name: &str, more: Value) -> Value {
    let mut spec = json!({"ports": [{"port": 80}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

/// The keys under which services' holdings are noted, and whose they are.
fn noted_all(c: &Cluster) -> Vec<String> {
    let all = c.server.0.store.list(PREFIX, None, usize::MAX, None).unwrap().entries;
    let owner = |entry: &Entry| serde_json::from_slice::<Noted>(&entry.bytes).unwrap().owner.into_owned();
    all.iter().map(|entry| format!("{} {}", &entry.key.as_str()[PREFIX.len()..], owner(entry))).collect()
}

async fn addresses(c: &Cluster) -> Vec<String> {
    let (_, list) = c.get(ADDRESSES).await;
    list["items"].as_array().unwrap().iter().map(|ip| write::text(ip, "name").to_owned()).collect()
}

/// What every cluster holds.
const SEEDED: [&str; 2] = ["10.96.0.1 default/kubernetes", "10.96.0.10 kube-system/kube-dns"];

#[tokio::test]
async fn an_address_and_ports_are_a_services_as_long_as_it_wants_them() {
    let c = cluster().await;
    let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.9", "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 30009, "ports": [{"port": 80, "nodePort": 30001}]});
    let (code, made) = c.post(SERVICES, service("web", spec)).await;
    assert_eq!(code, 201, "{made}");
    let (_, address) = c.get(&format!("{ADDRESSES}/10.96.0.9")).await;
    let labels = json!({"ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    assert_eq!(address["metadata"]["labels"], labels);
    assert_eq!(address["metadata"]["managedFields"][0]["manager"], "kube-apiserver");
    assert_eq!(address["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"], "one write");
    let held = |more: &[&'static str]| [&SEEDED[..], more].concat();
    assert_eq!(noted_all(&c), held(&["10.96.0.9 default/web", "30001 default/web", "30009 default/web"]));
    let own = format!("{SERVICES}/web");
    let patch = json!({"spec": {"type": "NodePort"}});
    assert_eq!(c.patch(&own, MERGE, patch).await.0, 200);
    assert_eq!(noted_all(&c), held(&["10.96.0.9 default/web", "30001 default/web"]));
    assert_eq!(c.patch(&own, MERGE, json!({"spec": {"type": "ClusterIP"}})).await.0, 200);
    assert_eq!(noted_all(&c), held(&["10.96.0.9 default/web"]));
    let (code, now) =
        c.patch(&own, MERGE, json!({"spec": {"type": "ExternalName", "externalName": "a.example"}})).await;
    assert_eq!((code, &now["spec"]["clusterIP"]), (200, &Value::Null), "{now}");
    assert_eq!(
        (noted_all(&c), addresses(&c).await),
        (held(&[]).iter().map(ToString::to_string).collect(), vec!["10.96.0.1".to_owned(), "10.96.0.10".to_owned()])
    );
    let back = json!({"spec": {"type": "NodePort", "externalName": null, "ports": [{"port": 80, "nodePort": 30001}]}});
    let (code, now) = c.patch(&own, MERGE, back).await;
    assert_eq!(code, 200, "{now}");
    let address = now["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert_eq!(noted_all(&c).len(), 4);
    // Held by a finalizer it goes with the last of them, whichever way that goes.
    assert_eq!(c.patch(&own, MERGE, json!({"metadata": {"finalizers": ["a.example/b"]}})).await.0, 200);
    assert_eq!(c.delete(&own, Value::Null).await.0, 200);
    assert!(addresses(&c).await.contains(&address) && noted_all(&c).len() == 4);
    assert_eq!(c.patch(&format!("{own}/status"), MERGE, json!({"metadata": {"finalizers": null}})).await.0, 200);
    assert_eq!(
        (noted_all(&c), addresses(&c).await),
        (SEEDED.map(str::to_owned).to_vec(), vec!["10.96.0.1".to_owned(), "10.96.0.10".to_owned()])
    );
    assert_eq!(c.post(SERVICES, service("other", json!({"clusterIP": "10.96.0.9"}))).await.0, 201);
    assert_eq!(c.delete(&format!("{SERVICES}/other"), Value::Null).await.0, 200);
    assert_eq!(noted_all(&c), SEEDED);
}

#[tokio::test]
async fn a_dry_run_takes_and_frees_nothing() {
    let c = cluster().await;
    let before = c.server.revision();
    let (code, made) = c.post(&format!("{SERVICES}?dryRun=All"), service("web", json!({"type": "NodePort"}))).await;
    assert_eq!(
        (code, &made["spec"]["clusterIP"], &made["spec"]["ports"][0]["nodePort"]),
        (201, &json!("10.96.0.0"), &json!(32769))
    );
    assert_eq!((c.server.revision(), lock(&c.server.0.allocations.pending).len()), (before, 0));
    assert_eq!(c.post(SERVICES, service("web", json!({}))).await.0, 201);
    assert_eq!(c.delete(&format!("{SERVICES}/web?dryRun=All"), Value::Null).await.0, 200);
    assert_eq!((noted_all(&c).len(), addresses(&c).await.len()), (3, 3));
}

#[tokio::test]
async fn of_many_who_want_one_address_or_port_one_gets_it() {
    let c = cluster().await;
    for (what, more) in [
        ("address", json!({"clusterIP": "10.96.0.77"})),
        ("port", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30077}]})),
    ] {
        let asked = (0..20).map(|n| (format!("{what}-{n}"), more.clone()));
        let all = join_all(asked.map(|(name, more)| {
            let c = &c;
            async move { c.post(SERVICES, service(&name, more)).await }
        }));
        let all = all.await;
        assert_eq!(all.iter().filter(|(code, _)| *code == 201).count(), 1, "{what}");
        let refused: Vec<&Value> = all.iter().filter(|(code, _)| *code != 201).map(|(_, status)| status).collect();
        let is_told = |status: &&Value| {
            status["code"] == 422 && status["message"].as_str().unwrap().ends_with("is already allocated")
        };
        assert!(refused.iter().all(is_told), "{what}: {}", refused[0]);
    }
    assert!(lock(&c.server.0.allocations.pending).is_empty());
}

#[tokio::test]
async fn who_names_no_address_never_gets_anothers_until_there_is_none_left() {
    let c = cluster().await;
    let range = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/27"]}});
    assert_eq!(c.delete(&format!("{RANGES}/kubernetes"), Value::Null).await.0, 200);
    assert_eq!(c.post(RANGES, range).await.0, 201);
    let names: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let all = join_all(names.iter().map(|name| c.post(SERVICES, service(name, json!({"type": "NodePort"}))))).await;
    let got: BTreeSet<String> =
        all.iter().filter(|(code, _)| *code == 201).map(|(_, made)| made["spec"]["clusterIP"].to_string()).collect();
    let ports: BTreeSet<String> = all
        .iter()
        .filter(|(code, _)| *code == 201)
        .map(|(_, made)| made["spec"]["ports"][0]["nodePort"].to_string())
        .collect();
    // 30 of the range, of which the API itself and DNS have one each.
    assert_eq!((got.len(), ports.len(), all.iter().filter(|(code, _)| *code == 500).count()), (28, 28, 12));
    assert!(got.iter().all(|ip| ip != "\"10.96.0.1\""));
}

#[tokio::test]
async fn nobody_takes_the_address_of_a_service_whose_ipaddress_is_gone_or_anothers() {
    let c = cluster().await;
    assert_eq!(c.post(SERVICES, service("web", json!({"clusterIP": "10.96.0.9"}))).await.0, 201);
    // Gone: the address is still the service's.
    assert_eq!(c.delete(&format!("{ADDRESSES}/10.96.0.9"), Value::Null).await.0, 200);
    let (code, status) = c.post(SERVICES, service("thief", json!({"clusterIP": "10.96.0.9"}))).await;
    assert_eq!(code, 422, "{status}");
    // Somebody writes one: it is not the service's to delete, and is kept by whoever made it.
    let parent = json!({"parentRef": {"resource": "gateways", "group": "a.example", "name": "g"}});
    let foreign = |name: &str| json!({"metadata": {"name": name}, "spec": parent});
    assert_eq!(c.post(ADDRESSES, foreign("10.96.0.9")).await.0, 201);
    assert_eq!(c.post(ADDRESSES, foreign("10.96.0.12")).await.0, 201);
    let (code, status) = c.post(SERVICES, service("late", json!({"clusterIP": "10.96.0.12"}))).await;
    assert_eq!(code, 422, "{status}");
    assert_eq!(c.delete(&format!("{SERVICES}/web"), Value::Null).await.0, 200);
    assert!(addresses(&c).await.contains(&"10.96.0.9".to_owned()));
    assert_eq!(noted_all(&c), SEEDED);
    // What a finalizer holds keeps the address from everybody.
    assert_eq!(c.post(SERVICES, service("held", json!({"clusterIP": "10.96.0.11"}))).await.0, 201);
    let held = format!("{ADDRESSES}/10.96.0.11");
    assert_eq!(c.patch(&held, MERGE, json!({"metadata": {"finalizers": ["a.example/b"]}})).await.0, 200);
    assert_eq!(c.delete(&format!("{SERVICES}/held"), Value::Null).await.0, 200);
    assert!(c.get(&held).await.1["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(c.post(SERVICES, service("next", json!({"clusterIP": "10.96.0.11"}))).await.0, 422);
}

#[tokio::test]
async fn a_user_of_services_needs_no_right_to_addresses_and_gets_none() {
    let c = cluster().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rules = json!([{"apiGroups": [""], "resources": ["services"], "verbs": ["*"]}]);
    assert_eq!(c.post(&format!("{rbac}/roles"), json!({"metadata": {"name": "r"}, "rules": rules})).await.0, 201);
    let binding = json!({"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"}]});
    assert_eq!(c.post(&format!("{rbac}/rolebindings"), binding).await.0, 201);
    let user = crate::Identity::authenticated("u", "", vec!["system:authenticated".into()]);
    let as_user = |method, path: String, body: Value| {
        let (c, user) = (&c, &user);
        async move { c.call_as(user, method, &path, body.to_string()).await }
    };
    let (code, made) = as_user(http::Method::POST, SERVICES.into(), service("web", json!({}))).await;
    assert_eq!(code, 201, "{made}");
    let own = format!("{ADDRESSES}/{}", made["spec"]["clusterIP"].as_str().unwrap());
    assert_eq!(as_user(http::Method::DELETE, own.clone(), json!({})).await.0, 403);
    assert_eq!(as_user(http::Method::GET, own, json!({})).await.0, 403);
    // Not the address of the API, not by a change either.
    let theirs = service("thief", json!({"clusterIP": "10.96.0.1"}));
    assert_eq!(as_user(http::Method::POST, SERVICES.into(), theirs).await.0, 422);
    let name = json!({"metadata": {"name": "name"}, "spec": {"type": "ExternalName", "externalName": "a.example"}});
    assert_eq!(as_user(http::Method::POST, SERVICES.into(), name).await.0, 201);
    let change = service("name", json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}));
    let (code, status) = as_user(http::Method::PUT, format!("{SERVICES}/name"), change).await;
    assert_eq!(code, 422, "{status}");
}

#[tokio::test]
async fn nothing_is_given_of_a_range_that_is_not_ready_or_goes() {
    let c = cluster().await;
    let range = json!({"metadata": {"name": "more", "finalizers": ["a.example/b"]}, "spec": {"cidrs": ["10.9.0.0/24", "fd00::/112"]}});
    assert_eq!(c.post(RANGES, range).await.0, 201);
    let asks = |name: &str| service(name, json!({"clusterIP": format!("10.9.0.{}", name.len())}));
    assert_eq!(c.post(SERVICES, asks("a")).await.0, 201);
    let set = |status: &str| {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    let status = format!("{RANGES}/more/status");
    assert_eq!(c.patch(&status, MERGE, set("False")).await.0, 200);
    let (code, refused) = c.post(SERVICES, asks("bb")).await;
    assert_eq!(code, 422, "{refused}");
    assert_eq!(c.patch(&status, MERGE, set("True")).await.0, 200);
    assert_eq!(c.post(SERVICES, asks("ccc")).await.0, 201);
    assert_eq!(c.delete(&format!("{RANGES}/more"), Value::Null).await.0, 200);
    assert_eq!(c.post(SERVICES, asks("dddd")).await.0, 422);
}

#[tokio::test]
async fn a_start_notes_what_services_hold_and_forgets_what_none_holds() {
    let c = cluster().await;
    let port = json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30001}]});
    assert_eq!(c.post(SERVICES, service("web", port)).await.0, 201);
    let before = noted_all(&c);
    let revision = c.server.revision();
    adopt(&c.server).await.unwrap();
    assert_eq!(c.server.revision(), revision, "nothing is wrong");
    // As an earlier version left it: nothing noted, or noted for somebody else, or of one that is gone.
    let store = &c.server.0.store;
    let of = |name: &'static str| Owner { namespace: "default", name };
    let free = of("web").free(store, Holding::Port(30001)).unwrap();
    store.write(vec![free, of("gone").claim(Holding::Port(30002))]).await.unwrap();
    let mut steal = of("gone").claim(Holding::Address("10.96.0.9".parse().unwrap()));
    if let Step::Put { expect, .. } = &mut steal {
        *expect = Expect::Any;
    }
    store.write(vec![steal]).await.unwrap();
    adopt(&c.server).await.unwrap();
    assert_eq!(noted_all(&c), before);
}
