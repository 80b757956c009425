//! The server in the process, over a store in memory: requests as any client sends them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use futures::StreamExt;
use http::{Method, Request};
use serde_json::{Value, json};

use super::*;

/// A server with a clock that stands still and counted randomness.
pub struct Cluster {
    pub server: Server,
    pub clock: Arc<AtomicI64>,
    pub admin: Identity,
    _dir: tempfile::TempDir,
}

pub async fn cluster() -> Cluster {
    cluster_at("127.0.0.1:6443").await
}

/// A server that says that it is there.
pub async fn cluster_at(advertise: &str) -> Cluster {
    cluster_over(advertise, Some(Backend::Memory)).await
}

/// None: a store on the disk.
pub async fn cluster_over(advertise: &str, backend: Option<Backend>) -> Cluster {
    open(advertise, backend, Admission::default()).await
}

/// With these steps of admission.
pub async fn cluster_with(admission: Admission) -> Cluster {
    open("127.0.0.1:6443", Some(Backend::Memory), admission).await
}

async fn open(advertise: &str, backend: Option<Backend>, admission: Admission) -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(1_790_000_000));
    let (time, counter) = (clock.clone(), AtomicU64::new(1));
    let server = Server::open(Config {
        data_dir: dir.path().into(),
        backend,
        advertise: advertise.parse().unwrap(),
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        node_ports: PortRange::default(),
        allow_privileged: true,
        admission,
        limits: Limits::default(),
        clock: Arc::new(move || jiff::Timestamp::from_second(time.load(Ordering::SeqCst)).unwrap()),
        entropy: Arc::new(move |bytes| {
            // A fixed mixing of a counter: different every time, the same in every run.
            for chunk in bytes.chunks_mut(8) {
                let mut x = counter.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                x ^= x >> 29;
                let x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes();
                chunk.copy_from_slice(&x[..chunk.len()]);
            }
        }),
    })
    .await
    .unwrap();
    let admin = server.internal(Component::Admin);
    Cluster { server, clock, admin, _dir: dir }
}

impl Cluster {
    pub async fn raw(
        &self,
        who: &Identity,
        method: Method,
        path: &str,
        media: &str,
        body: impl Into<bytes::Bytes>,
    ) -> Response {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        self.server.handle(who, request.body(body.into()).unwrap()).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        read(self.raw(&self.admin, method, path, "application/json", body).await)
    }

    pub async fn call_as(&self, who: &Identity, method: Method, path: &str, body: String) -> (u16, Value) {
        read(self.raw(who, method, path, "application/json", body).await)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PUT, path, body).await
    }

    pub async fn delete(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::DELETE, path, body).await
    }

    pub async fn patch(&self, path: &str, media: &str, body: Value) -> (u16, Value) {
        read(self.raw(&self.admin, Method::PATCH, path, media, body.to_string()).await)
    }

    pub async fn account(&self, namespace: &str) {
        let account = json!({"metadata": {"name": "default"}});
        let (code, _) = self.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), account).await;
        assert_eq!(code, 201);
    }

    pub async fn pod(&self, name: &str) -> Value {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let (code, pod) = self.post("/api/v1/namespaces/default/pods", pod).await;
        assert_eq!(code, 201, "{pod}");
        pod
    }
}

pub fn read(response: Response) -> (u16, Value) {
    let code = response.status.as_u16();
    match response.body {
        Body::Bytes(bytes) => (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null)),
        Body::List { objects, revision, continue_token } => {
            let items: Vec<Value> = objects.iter().map(api::Object::value).collect();
            (
                code,
                json!({"items": items, "metadata": {"resourceVersion": revision.to_string(), "continue": continue_token}}),
            )
        }
        _ => (code, Value::Null),
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let c = cluster().await;
    let (code, made) = c.post(MAPS, json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}})).await;
    assert_eq!(code, 201);
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-09-21T14:13:20Z");
    assert_eq!(made["metadata"]["uid"].as_str().unwrap().len(), 36);
    let (code, again) = c.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(again["message"], "configmaps \"a\" already exists");
    let path = format!("{MAPS}/a");
    assert_eq!(c.get(&path).await, (200, made.clone()));
    // An update that names an old revision, one that changes nothing, one that does.
    let mut next = made.clone();
    next["data"]["k"] = json!("w");
    let (code, changed) = c.put(&path, next.clone()).await;
    assert_eq!(code, 200);
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let (code, conflict) = c.put(&path, next).await;
    let text = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again";
    assert_eq!((code, conflict["message"].as_str().unwrap()), (409, text));
    let before = c.server.revision();
    assert_eq!(c.put(&path, changed.clone()).await, (200, changed));
    assert_eq!(c.server.revision(), before);
    let (code, gone) = c.delete(&path, json!({"preconditions": {"uid": "other"}})).await;
    assert_eq!(code, 409, "{gone}");
    let (code, gone) = c.delete(&path, Value::Null).await;
    assert_eq!((code, &gone["status"], &gone["details"]["kind"]), (200, &json!("Success"), &json!("configmaps")));
    assert_eq!(c.get(&path).await.1["message"], "configmaps \"a\" not found");
}

#[tokio::test]
async fn generated_names_collide_no_longer_than_they_must() {
    let c = cluster().await;
    let (code, a) = c.post(MAPS, json!({"metadata": {"generateName": "x-"}})).await;
    let (_, b) = c.post(MAPS, json!({"metadata": {"generateName": "x-"}})).await;
    assert_eq!(code, 201);
    let name = a["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
    assert_ne!(a["metadata"]["name"], b["metadata"]["name"]);
    let (_, space) = c.post("/api/v1/namespaces", json!({"metadata": {"generateName": "n-"}})).await;
    assert_eq!(space["metadata"]["labels"]["kubernetes.io/metadata.name"], space["metadata"]["name"]);
}

#[tokio::test]
async fn a_dry_run_answers_and_writes_nothing() {
    let c = cluster().await;
    let before = c.server.revision();
    let (code, map) = c.post(&format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "a"}})).await;
    assert_eq!((code, c.server.revision()), (201, before));
    assert_eq!(map["metadata"].get("resourceVersion"), None);
    assert_eq!(c.get(&format!("{MAPS}/a")).await.0, 404);
}

#[tokio::test]
async fn a_list_is_paged_from_one_snapshot() {
    let c = cluster().await;
    for name in ["a", "b", "c"] {
        c.post(MAPS, json!({"metadata": {"name": name, "labels": {"l": name}}})).await;
    }
    let (_, first) = c.get(&format!("{MAPS}?limit=2")).await;
    let names = |list: &Value| -> Vec<String> {
        list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&first), ["a", "b"]);
    c.post(MAPS, json!({"metadata": {"name": "d"}})).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = c.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!((names(&rest), &rest["metadata"]["continue"]), (vec!["c".to_string()], &json!("")));
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(names(&c.get(&format!("{MAPS}?labelSelector=l%20in%20(a,c)")).await.1), ["a", "c"]);
    assert_eq!(names(&c.get(&format!("{MAPS}?fieldSelector=metadata.name=b")).await.1), ["b"]);
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(names(&c.get(&exact).await.1), ["a", "b", "c"]);
    // History is gone: 410, with a token that goes on at the newest revision.
    c.server.0.store.compact(c.server.0.store.revision());
    let (code, gone) = c.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")));
    let token = gone["metadata"]["continue"].as_str().unwrap();
    assert_eq!(names(&c.get(&format!("{MAPS}?continue={token}")).await.1), ["c", "d"]);
}

#[tokio::test]
async fn a_watch_tells_what_begins_and_ceases_to_match() {
    let c = cluster().await;
    let (_, made) = c.post(MAPS, json!({"metadata": {"name": "a", "labels": {"on": "1"}}})).await;
    let response = c.raw(&c.admin, Method::GET, &format!("{MAPS}?watch=1&labelSelector=on"), "", "").await;
    let Body::Events(mut events) = response.body else { panic!("no events") };
    let first = events.next().await.unwrap();
    assert!(matches!(&first, api::WatchEvent::Added(o) if o.meta().name == "a"), "{first:?}");
    let path = format!("{MAPS}/a");
    c.patch(&path, "application/merge-patch+json", json!({"metadata": {"labels": {"on": null}}})).await;
    let (_, back) = c.patch(&path, "application/merge-patch+json", json!({"metadata": {"labels": {"on": "2"}}})).await;
    c.patch(&path, "application/merge-patch+json", json!({"data": {"k": "v"}})).await;
    c.delete(&path, Value::Null).await;
    let second = events.next().await.unwrap();
    let api::WatchEvent::Deleted(last) = &second else { panic!("{second:?}") };
    assert_eq!(last.meta().labels.get("on"), Some("1"));
    assert!(last.revision() > made["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap());
    let third = events.next().await.unwrap();
    assert!(
        matches!(&third, api::WatchEvent::Added(o) if o.meta().resource_version == back["metadata"]["resourceVersion"].as_str().unwrap())
    );
    assert!(matches!(events.next().await.unwrap(), api::WatchEvent::Modified(_)));
    assert!(matches!(events.next().await.unwrap(), api::WatchEvent::Deleted(_)));
}

#[tokio::test]
async fn a_watch_after_a_forgotten_revision_says_so() {
    let c = cluster().await;
    c.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    c.server.0.store.compact(c.server.0.store.revision());
    let response = c.raw(&c.admin, Method::GET, &format!("{MAPS}?watch=1&resourceVersion=1"), "", "").await;
    let Body::Events(mut events) = response.body else { panic!("no events") };
    let api::WatchEvent::Error(status) = events.next().await.unwrap() else { panic!("no error") };
    assert_eq!(status.code, 410);
    assert!(events.next().await.is_none());
    let streaming =
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let Body::Events(mut events) = c.raw(&c.admin, Method::GET, &streaming, "", "").await.body else { panic!() };
    assert!(matches!(events.next().await.unwrap(), api::WatchEvent::Added(_)));
    assert!(matches!(events.next().await.unwrap(), api::WatchEvent::Bookmark { initial_events_end: true, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_comes_each_minute_and_two_seconds_before_the_end_of_a_watch() {
    let c = cluster().await;
    let begun = tokio::time::Instant::now();
    let mut told = Vec::new();
    for seconds in [1, 2, 5, 70] {
        let path = format!("{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion=0");
        let Body::Events(mut events) = c.raw(&c.admin, Method::GET, &path, "", "").await.body else { panic!() };
        let begun = tokio::time::Instant::now();
        c.post(MAPS, json!({"metadata": {"name": format!("first-{seconds}")}})).await;
        while let Some(event) = events.next().await {
            if let api::WatchEvent::Bookmark { revision, .. } = event {
                told.push((seconds, begun.elapsed().as_secs(), revision == c.server.0.store.revision().0));
                c.post(MAPS, json!({"metadata": {"generateName": "later-"}})).await;
            }
        }
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
    assert_eq!(told, [(5, 3, true), (70, 60, true), (70, 68, true)]);
    assert_eq!(begun.elapsed().as_secs(), 78);
}

#[tokio::test]
async fn a_pod_is_completed_bound_once_and_ended_in_two_steps() {
    let c = cluster().await;
    c.account("default").await;
    let pod = c.pod("p").await;
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["priority"], 0);
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
    let volume = pod["spec"]["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-") && volume.len() == 21, "{volume}");
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], volume);
    assert_eq!(pod["status"]["phase"], "Pending");
    let path = "/api/v1/namespaces/default/pods/p";
    let binding = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let (code, status) = c.post(&format!("{path}/binding"), binding("n1")).await;
    assert_eq!((code, &status["status"]), (201, &json!("Success")), "{status}");
    let (code, status) = c.post(&format!("{path}/binding"), binding("n2")).await;
    let text = "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"";
    assert_eq!((code, status["message"].as_str().unwrap()), (409, text));
    let (_, bound) = c.get(path).await;
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["status"]["conditions"][0]["type"]),
        (&json!("n1"), &json!("PodScheduled"))
    );
    let (code, ending) = c.delete(path, Value::Null).await;
    assert_eq!((code, &ending["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(30)));
    let Body::Events(mut events) = c.raw(&c.admin, Method::GET, "/api/v1/pods?watch=1", "", "").await.body else {
        panic!()
    };
    events.next().await.unwrap();
    let uid = &ending["metadata"]["uid"];
    let (code, _) = c.delete(path, json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})).await;
    assert_eq!(code, 200);
    let api::WatchEvent::Modified(marked) = events.next().await.unwrap() else { panic!() };
    assert_eq!(marked.meta().deletion_grace_period_seconds, Some(0));
    assert!(matches!(events.next().await.unwrap(), api::WatchEvent::Deleted(_)));
    assert_eq!(c.get(path).await.0, 404);
}

#[tokio::test]
async fn nothing_is_created_where_there_is_no_namespace_or_one_that_ends() {
    let c = cluster().await;
    let map = json!({"metadata": {"name": "a"}});
    let (code, status) = c.post("/api/v1/namespaces/nowhere/configmaps", map.clone()).await;
    assert_eq!((code, status["message"].as_str().unwrap()), (404, "namespaces \"nowhere\" not found"));
    c.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await;
    let (code, space) = c.delete("/api/v1/namespaces/n", Value::Null).await;
    assert_eq!((code, &space["status"]["phase"]), (200, &json!("Terminating")));
    let (code, status) = c.post("/api/v1/namespaces/n/configmaps", map).await;
    let text =
        "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    let mut space = space;
    space["spec"]["finalizers"] = json!([]);
    let (code, _) = c.put("/api/v1/namespaces/n/finalize", space).await;
    assert_eq!((code, c.get("/api/v1/namespaces/n").await.0), (200, 404));
    let (code, status) = c.delete("/api/v1/namespaces/default", Value::Null).await;
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (403, "namespaces \"default\" is forbidden: this namespace may not be deleted")
    );
}

#[tokio::test]
async fn a_token_speaks_for_its_account_until_its_pod_is_gone() {
    let c = cluster().await;
    c.account("default").await;
    let pod = c.pod("p").await;
    let request = json!({"spec": {"audiences": [], "expirationSeconds": 3607, "boundObjectRef":
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}}});
    let (code, made) = c.post("/api/v1/namespaces/default/serviceaccounts/default/token", request).await;
    assert_eq!(code, 201, "{made}");
    let token = &made["status"]["token"];
    let review = json!({"spec": {"token": token}});
    let (_, answer) = c.post("/apis/authentication.k8s.io/v1/tokenreviews", review.clone()).await;
    assert_eq!(answer["status"]["user"]["username"], "system:serviceaccount:default:default", "{answer}");
    assert_eq!(answer["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    // Past the hour it asked for, well within the year it was given.
    c.clock.fetch_add(7200, Ordering::SeqCst);
    let (_, answer) = c.post("/apis/authentication.k8s.io/v1/tokenreviews", review.clone()).await;
    assert_eq!(answer["status"]["authenticated"], true);
    c.delete("/api/v1/namespaces/default/pods/p", Value::Null).await;
    let (_, answer) = c.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    assert_eq!(answer["status"]["authenticated"], Value::Null);
}

#[tokio::test]
async fn what_nobody_granted_is_refused() {
    let c = cluster().await;
    let account = Identity::authenticated("system:serviceaccount:a:b", "", vec![]);
    let (code, status) = read(c.raw(&account, Method::GET, "/api/v1/namespaces/y/pods", "", "").await);
    let text = "pods is forbidden: User \"system:serviceaccount:a:b\" cannot list resource \"pods\" in API group \"\" in the namespace \"y\"";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    let (code, review) = c
        .post(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            json!({"spec": {"user": "u",
        "groups": ["system:masters"], "resourceAttributes": {"verb": "get", "resource": "pods"}}}),
        )
        .await;
    assert_eq!((code, &review["status"]["allowed"]), (201, &json!(true)));
}

#[tokio::test]
async fn events_are_served_in_both_groups() {
    let c = cluster().await;
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started", "message": "hello", "type": "Normal", "firstTimestamp": "2026-01-01T00:00:00Z"});
    let (code, _) = c.post("/api/v1/namespaces/default/events", event).await;
    assert_eq!(code, 201);
    let (_, other) = c.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await;
    assert_eq!((&other["apiVersion"], &other["note"]), (&json!("events.k8s.io/v1"), &json!("hello")));
}

#[tokio::test]
async fn tables_carry_cells_and_metadata() {
    let c = cluster().await;
    let request = Request::get("/api/v1/namespaces")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    let (code, table) = read(c.server.handle(&c.admin, request.body(Default::default()).unwrap()).await);
    assert_eq!((code, &table["kind"]), (200, &json!("Table")));
    assert_eq!(table["rows"][0]["cells"], json!(["default", "Active", "0s"]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn protobuf_goes_both_ways() {
    let c = cluster().await;
    let media = api::proto::MEDIA_TYPE;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let schema = "io.k8s.api.core.v1.ConfigMap";
    let body = api::proto::encode(schema, &map).unwrap();
    assert_eq!(c.raw(&c.admin, Method::POST, MAPS, media, body).await.status.as_u16(), 201);
    let ask = |path: &str| Request::get(path).header("accept", media).body(bytes::Bytes::new()).unwrap();
    let response = c.server.handle(&c.admin, ask(&format!("{MAPS}/a"))).await;
    let Body::Bytes(body) = response.body else { panic!("no bytes") };
    assert_eq!(api::proto::decode(&body, schema).unwrap()["data"], map["data"]);
    let response = c.server.handle(&c.admin, ask(&format!("{MAPS}/b"))).await;
    let Body::Bytes(body) = response.body else { panic!("no bytes") };
    let status = api::proto::decode(&body, crate::protobuf::STATUS).unwrap();
    assert_eq!((response.status.as_u16(), &status["reason"]), (404, &json!("NotFound")));
}

#[tokio::test]
async fn a_deletion_that_its_node_completes_first_is_a_success() {
    let c = cluster().await;
    c.account("default").await;
    let Body::Events(mut events) = c.raw(&c.admin, Method::GET, "/api/v1/pods?watch=1", "", "").await.body else {
        panic!()
    };
    let path = "/api/v1/namespaces/default/pods/p";
    let now = || json!({"gracePeriodSeconds": 0});
    for _ in 0..50 {
        c.pod("p").await;
        // The one that plays the node deletes as soon as it sees the mark.
        let node = async {
            while !matches!(events.next().await.unwrap(), api::WatchEvent::Modified(_)) {}
            c.delete(path, now()).await.0
        };
        let (asked, by_node) = futures::join!(c.delete(path, now()), node);
        assert_eq!(asked.0, 200);
        assert!(matches!(by_node, 200 | 404), "{by_node}");
    }
}

#[tokio::test]
async fn all_namespaces_at_once_are_only_read() {
    let c = cluster().await;
    c.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(c.delete("/api/v1/configmaps", Value::Null).await.0, 405);
    assert_eq!(c.post("/api/v1/configmaps", json!({"metadata": {"name": "b"}})).await.0, 405);
    let (code, all) = c.get("/api/v1/configmaps").await;
    assert_eq!(code, 200);
    assert!(all["items"].as_array().unwrap().iter().any(|one| one["metadata"]["name"] == "a"));
}

#[tokio::test]
async fn an_object_is_made_in_its_collection_and_changed_by_its_name() {
    let c = cluster().await;
    let one = || json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let path = format!("{MAPS}/x");
    assert_eq!(c.post(&path, one()).await.0, 405);
    assert_eq!(c.get(&path).await.0, 404);
    assert_eq!(c.put(MAPS, one()).await.0, 405);
    assert_eq!(c.patch(MAPS, "application/merge-patch+json", json!({})).await.0, 405);
    assert_eq!(c.post("/api/v1/namespaces/default", json!({"metadata": {"name": "default"}})).await.0, 405);
    assert_eq!(c.post(MAPS, one()).await.0, 201);
    assert_eq!(c.put(&path, one()).await.0, 200);
}

#[tokio::test]
async fn a_grace_beyond_the_end_of_time_is_the_end_of_time() {
    let c = cluster().await;
    c.account("default").await;
    c.pod("a").await;
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(c.post("/api/v1/namespaces/default/pods/a/binding", binding).await.0, 201);
    let path = "/api/v1/namespaces/default/pods/a";
    let (code, pod) = c.delete(path, json!({"gracePeriodSeconds": 1_000_000_000_000_i64})).await;
    assert_eq!((code, &pod["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(1_000_000_000_000_i64)));
    let (code, pod) = c.delete(path, json!({"gracePeriodSeconds": 7})).await;
    assert_eq!((code, &pod["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(7)));
}

#[tokio::test]
async fn options_of_a_deletion_have_their_types() {
    let c = cluster().await;
    let path = format!("{MAPS}/a");
    c.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    for body in [
        json!({"preconditions": {"uid": 5}}),
        json!({"gracePeriodSeconds": "0"}),
        json!({"kind": "Pod", "apiVersion": "v1"}),
        json!([]),
    ] {
        assert_eq!(c.delete(&path, body.clone()).await.0, 400, "{body}");
    }
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}});
    assert_eq!(c.delete(&path, options).await.0, 409);
    assert_eq!(c.delete(&path, json!({"kind": "DeleteOptions", "apiVersion": "v1"})).await.0, 200);
}

#[tokio::test]
async fn options_of_a_write_are_judged_all_at_once() {
    let c = cluster().await;
    let path = format!("{MAPS}/a");
    let map = || json!({"metadata": {"name": "a"}});
    let asked = "dryRun=All&dryRun=some&fieldValidation=Maybe";
    let refused = |kind: &str, first: &str| {
        format!(
            "{kind}.meta.k8s.io \"\" is invalid: [{first}dryRun: Unsupported value: [\"All\",\"some\"]: supported values: \
             \"All\", fieldValidation: Unsupported value: \"Maybe\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"]"
        )
    };
    let (code, status) = c.post(&format!("{MAPS}?{asked}"), map()).await;
    assert_eq!((code, &status["message"]), (422, &json!(refused("CreateOptions", ""))));
    let long = "x".repeat(129);
    let (code, status) = c.put(&format!("{path}?{asked}&fieldManager={long}"), map()).await;
    let first = "fieldManager: Too long: may not be more than 128 bytes, ";
    assert_eq!((code, &status["message"]), (422, &json!(refused("UpdateOptions", first))));
    let merge = "application/merge-patch+json";
    let (code, status) = c.patch(&format!("{path}?{asked}&force=true"), merge, map()).await;
    let first = "force: Forbidden: may not be specified for non-apply patch, ";
    assert_eq!((code, &status["message"]), (422, &json!(refused("PatchOptions", first))));
    let (code, status) = c.delete(&format!("{path}?dryRun=some"), Value::Null).await;
    assert_eq!((code, &status["details"]["kind"]), (422, &json!("DeleteOptions")), "{status}");
    assert_eq!(c.get(&path).await.0, 404, "nothing was written");
}

#[tokio::test]
async fn a_watch_lasts_as_long_as_it_is_told() {
    let c = cluster().await;
    for (asked, code) in [("18446744073709551615", 400), ("soon", 400), ("9223372036854775807", 200), ("1", 200)] {
        let (found, status) = c.get(&format!("{MAPS}?watch=true&timeoutSeconds={asked}")).await;
        assert_eq!(found, code, "{asked}: {status}");
    }
}

#[tokio::test]
async fn a_review_asks_about_the_groups_it_names_and_no_others() {
    let c = cluster().await;
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let allowed = async |groups: Value| {
        let attributes = json!({"path": "/api", "verb": "get"});
        let spec = json!({"user": "u", "groups": groups, "nonResourceAttributes": attributes});
        c.post(path, json!({"spec": spec})).await.1["status"]["allowed"].clone()
    };
    assert_eq!(allowed(json!(["team"])).await, false);
    assert_eq!(allowed(json!(["system:authenticated"])).await, true);
}

#[tokio::test]
async fn a_request_is_somebody_elses_as_a_whole_or_not_at_all() {
    let c = cluster().await;
    let ask = async |who: &Identity, headers: &[(&str, &str)]| {
        let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(c.server.handle(who, request.body("{}".into()).unwrap()).await)
    };
    let bob = [("impersonate-user", "bob"), ("impersonate-group", "g"), ("impersonate-extra-a%2Fb", "c")];
    let (code, review) = ask(&c.admin, &bob).await;
    let user = json!({"username": "bob", "groups": ["g", "system:authenticated"], "extra": {"a/b": ["c"]}});
    assert_eq!((code, &review["status"]["userInfo"]), (201, &user));
    // Not the administrator, for want of a name.
    for alone in &bob[1..] {
        assert_eq!(ask(&c.admin, &[*alone]).await.0, 400, "{alone:?}");
    }
    let node = c.server.internal(Component::Node("n1".into()));
    for user in ["bob", "system:node:n1", "system:node:n2", "system:serviceaccount:default:default"] {
        assert_eq!(ask(&node, &[("impersonate-user", user)]).await.0, 403, "{user}");
    }
    // Whom an administrator speaks for gets no more than is theirs.
    let request = Request::get("/api/v1/secrets").header("impersonate-user", "bob").body("".into()).unwrap();
    assert_eq!(read(c.server.handle(&c.admin, request).await).0, 403);
}

/// As decoding has it in Kubernetes, which gives the default before anybody looks at what was there.
#[tokio::test]
async fn a_secret_put_without_a_type_is_opaque() {
    let c = cluster().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |kind: Value, more: Value| json!({"metadata": {"name": "s"}, "type": kind, "stringData": more});
    let (code, made) = c.post(secrets, secret(json!("example.com/x"), json!({"a": "b"}))).await;
    assert_eq!((code, &made["data"]["a"]), (201, &json!("Yg==")), "{made}");
    let fields = &made["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!((fields.get("f:stringData"), fields["f:data"].is_object()), (None, true), "{fields}");
    let (code, status) = c.put(&format!("{secrets}/s"), secret(Value::Null, json!({"a": "c"}))).await;
    let why = "Secret \"s\" is invalid: type: Invalid value: \"Opaque\": field is immutable";
    assert_eq!((code, status["message"].as_str().unwrap()), (422, why));
}

/// What decoding, ownership and the rows make of storage together (test/e2e/storage of Kubernetes).
#[tokio::test]
async fn storage_is_served_as_clients_expect_it() {
    let c = cluster().await;
    let group = "/apis/storage.k8s.io/v1";
    let (merge, strategic) = ("application/merge-patch+json", "application/strategic-merge-patch+json");
    let attachments = format!("{group}/volumeattachments");
    let source = json!({"persistentVolumeName": "v"});
    let attachment = json!({"metadata": {"name": "a", "uid": "mine"}, "spec": {"attacher": "e2e-test.storage.k8s.io",
        "nodeName": "n", "source": source}, "status": {"attached": true}});
    let (code, made) = c.post(&attachments, attachment).await;
    assert_eq!((code, &made["status"]), (201, &json!({"attached": false})), "{made}");
    assert_ne!(made["metadata"]["uid"], "mine");
    let one = format!("{attachments}/a");
    let labels = json!({"metadata": {"labels": {"a": "patched"}}, "status": {"attached": true}});
    let (_, patched) = c.patch(&one, merge, labels).await;
    assert_eq!(
        (&patched["metadata"]["labels"]["a"], &patched["status"]["attached"]),
        (&json!("patched"), &json!(false))
    );
    let status =
        json!({"metadata": {"labels": {"a": "status"}}, "status": {"attached": true}, "spec": {"nodeName": "m"}});
    let (code, patched) = c.patch(&format!("{one}/status"), merge, status).await;
    assert_eq!(code, 200, "{patched}");
    let labels = &patched["metadata"]["labels"]["a"];
    assert_eq!(
        (labels, &patched["status"]["attached"], &patched["spec"]["nodeName"]),
        (&json!("patched"), &json!(true), &json!("n"))
    );
    let mut cleared = patched.clone();
    cleared["status"] = json!({});
    assert_eq!(c.put(&format!("{one}/status"), cleared.clone()).await.1["status"], json!({"attached": false}));
    cleared["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(c.put(&one, cleared).await.0, 422, "no unconditional update");
    let (code, gone) = c.delete(&one, Value::Null).await;
    assert_eq!((code, &gone["kind"]), (200, &json!("VolumeAttachment")));

    let (_, node) = c.post(&format!("{group}/csinodes"), json!({"metadata": {"name": "n"}})).await;
    assert_eq!((&node["spec"]["drivers"], &node["status"]), (&Value::Null, &json!({})));
    let health = json!({"status": {"storageHealth": [{"name": "d", "healthConditions": []}]}});
    let (code, node) = c.patch(&format!("{group}/csinodes/n/status"), merge, health).await;
    assert_eq!((code, &node["status"]), (200, &json!({})), "{node}");
    let (_, driver) = c.post(&format!("{group}/csidrivers"), json!({"metadata": {"name": "d"}})).await;
    assert_eq!(driver["spec"]["volumeLifecycleModes"], json!(["Persistent"]));
    let capacities = format!("{group}/namespaces/default/csistoragecapacities");
    let (_, room) =
        c.post(&capacities, json!({"metadata": {"name": "r"}, "storageClassName": "s", "capacity": "1024Mi"})).await;
    assert_eq!(room["capacity"], "1Gi");
    let (_, gone) = c.delete(&format!("{capacities}/r"), Value::Null).await;
    assert_eq!(gone["kind"], "Status");
    let class = json!({"metadata": {"generateName": "e2e-"}, "provisioner": "e2e-fake-provisioner"});
    let (_, class) = c.post(&format!("{group}/storageclasses"), class).await;
    let path = format!("{group}/storageclasses/{}", class["metadata"]["name"].as_str().unwrap());
    let (code, class) = c.patch(&path, strategic, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!((code, &class["reclaimPolicy"]), (200, &json!("Delete")));

    let csi = json!({"driver": "d", "volumeHandle": "e2e-status-conformance"});
    let volume = json!({"metadata": {"generateName": "v-"}, "status": {"phase": "Bound"}, "spec": {"capacity":
        {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "csi": csi, "storageClassName": "s"}});
    let (_, volume) = c.post("/api/v1/persistentvolumes", volume).await;
    let path = format!("/api/v1/persistentvolumes/{}", volume["metadata"]["name"].as_str().unwrap());
    let (code, volume) = c.get(&format!("{path}/status")).await;
    assert_eq!((code, &volume["status"]["phase"]), (200, &json!("Pending")));
    assert!(volume["status"]["lastPhaseTransitionTime"].is_string());
    let told = json!({"status": {"message": "StatusPatched", "reason": "E2E patchStatus"}});
    assert_eq!(c.patch(&format!("{path}/status"), merge, told).await.1["status"]["reason"], "E2E patchStatus");
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "dataSource": snapshot,
        "resources": {"requests": {"storage": "2Gi"}}}});
    let (_, claim) = c.post(claims, claim).await;
    assert_eq!(
        (&claim["status"], &claim["spec"]["dataSourceRef"]),
        (&json!({"phase": "Pending"}), &snapshot),
        "{claim}"
    );
    let conditions =
        json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True", "reason": "E2E patched"}]}});
    let (code, claim) = c.patch(&format!("{claims}/c/status"), merge, conditions).await;
    assert_eq!((code, &claim["status"]["conditions"][0]["reason"]), (200, &json!("E2E patched")), "{claim}");
    // Whoever does not know the newer field keeps what it says.
    let mut older = claim.clone();
    older["spec"].as_object_mut().unwrap().remove("dataSourceRef");
    let (code, claim) = c.put(&format!("{claims}/c"), older).await;
    assert_eq!((code, &claim["spec"]["dataSourceRef"]), (200, &snapshot), "{claim}");

    c.account("default").await;
    let volumes = json!([{"name": "v", "csi": {"driver": "e2e.example.com", "fsType": "ext4", "readOnly": true}}]);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": volumes, "containers": [{"name": "c", "image": "i",
        "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}});
    let (code, pod) = c.post("/api/v1/namespaces/default/pods", pod).await;
    assert_eq!((code, &pod["spec"]["volumes"][0]), (201, &volumes[0]), "{pod}");
}

#[tokio::test]
async fn a_namespace_is_in_no_namespace_not_even_in_itself() {
    let c = cluster().await;
    assert_eq!(c.get("/api/v1/namespaces/default").await.0, 200);
    for path in ["default", "default/status", "kube-system", ""] {
        let (code, status) = c.get(&format!("/api/v1/namespaces/default/namespaces/{path}")).await;
        assert_eq!((code, &status["reason"]), (404, &json!("NotFound")), "{path}");
    }
    let (code, _) = c.delete("/api/v1/namespaces/default/namespaces/default", Value::Null).await;
    assert_eq!(code, 404);
}

/// Whoever may write Endpoints had the server connect to whatever they named.
#[tokio::test]
async fn of_a_services_endpoints_only_its_namespaces_pods_are_dialled() {
    let c = cluster().await;
    let (code, _) = c.post("/api/v1/namespaces", json!({"metadata": {"name": "other"}})).await;
    assert_eq!(code, 201);
    for namespace in ["default", "other"] {
        c.account(namespace).await;
        let metadata = json!({"name": "p"});
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let (code, mut pod) = c.post(&pods, json!({"metadata": metadata, "spec": spec})).await;
        assert_eq!(code, 201, "{pod}");
        // None that would be dialled: who comes that far is refused in other words.
        let ip = if namespace == "default" { "239.0.0.1" } else { "239.0.0.2" };
        pod["status"] = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]});
        let (code, pod) = c.put(&format!("{pods}/p/status"), pod).await;
        assert_eq!(code, 200, "{pod}");
    }
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    let (code, service) = c.post("/api/v1/namespaces/default/services", service).await;
    assert_eq!(code, 201, "{service}");
    let get = async |name: &str| {
        let (code, status) = c.get(&format!("/api/v1/namespaces/default/services/{name}/proxy/x")).await;
        (code, status["message"].as_str().unwrap_or_default().to_owned())
    };
    let none = (503, "no endpoints available for service \"web\"".to_owned());
    assert_eq!(get("web:80").await, none);
    assert_eq!(get("web:81").await, (503, "no service port 81 found for service \"web\"".into()));
    assert_eq!(get("gone:80").await, (404, "services \"gone\" not found".into()));
    assert_eq!(get("gone:http").await, (503, "no endpoints available for service \"gone\"".into()));

    let path = "/api/v1/namespaces/default/endpoints";
    let (code, made) = c.post(path, json!({"metadata": {"name": "web"}})).await;
    assert_eq!(code, 201, "{made}");
    let port = json!({"name": "http", "port": 8080});
    let pod = |namespace: &str, name: &str| json!({"kind": "Pod", "namespace": namespace, "name": name});
    for (ip, target, is_taken) in [
        ("192.0.2.7", Value::Null, false),
        ("192.0.2.7", pod("default", "p"), false),
        ("192.0.2.7", pod("default", "nobody"), false),
        ("192.0.2.7", json!({"kind": "Pod", "name": "p"}), false),
        ("239.0.0.1", Value::Null, false),
        ("239.0.0.2", pod("other", "p"), false),
        ("239.0.0.1", pod("other", "p"), false),
        ("239.0.0.1", pod("default", "p"), true),
    ] {
        let (addresses, ports) = (json!([{"ip": "192.0.2.8"}, {"ip": ip, "targetRef": target}]), json!([port]));
        let subsets = json!([{"addresses": addresses, "ports": ports}]);
        let (code, put) = c.put(&format!("{path}/web"), json!({"metadata": {"name": "web"}, "subsets": subsets})).await;
        assert_eq!(code, 200, "{put}");
        let want = if is_taken { (400, "address not allowed".into()) } else { none.clone() };
        for name in ["web:http", "web:80", "https:web:http"] {
            assert_eq!(get(name).await, want, "{name} {ip} {target}");
        }
    }
}
