//! Services on the server: their pods in slices and Endpoints, and Endpoints that others write.

use api::resource::{ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES};
use client::ListOptions;

use super::*;

const MANAGER: &str = "endpointslice-controller.k8s.io";
const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";

async fn with_node() -> Cluster {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.create("nodes", "", json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    c
}

fn service(name: &str, spec: Value) -> Value {
    let mut whole = json!({"selector": {"app": name}, "clusterIP": "None",
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": whole})
}

/// The slices of a Service as one sees them: a line an endpoint, sorted.
fn told(slices: &[Value]) -> Vec<String> {
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let mut lines: Vec<String> = endpoints
        .map(|endpoint| {
            let conditions = &endpoint["conditions"];
            let is =
                |condition: &str| if conditions[condition] == true { format!(" {condition}") } else { String::new() };
            let (name, ip) = (&endpoint["targetRef"]["name"], &endpoint["addresses"][0]);
            let name = name.as_str().unwrap_or("-");
            format!("{name} {}{}{}{}", ip.as_str().unwrap(), is("ready"), is("serving"), is("terminating"))
        })
        .collect();
    lines.sort();
    lines
}

impl Cluster {
    /// A pod of the Service that nobody runs yet.
    async fn pod(&self, name: &str, app: &str) {
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        self.create("pods", "n", json!({"metadata": {"name": name, "labels": {"app": app}}, "spec": spec})).await;
    }

    /// As its node would tell.
    async fn serves(&self, name: &str, ip: &str, ready: &str) {
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        self.client.patch(&PODS, "n", name, "status", PatchKind::Merge, &status).await.unwrap();
    }

    /// Those of a Service that this writer wrote.
    async fn slices(&self, service: &str, manager: &str) -> Vec<Value> {
        let selector = format!("kubernetes.io/service-name={service},endpointslice.kubernetes.io/managed-by={manager}");
        let options = ListOptions { label_selector: selector, ..ListOptions::default() };
        let list = self.client.list(&ENDPOINT_SLICES, "n", &options).await.unwrap();
        list.objects.iter().map(Object::value).collect()
    }

    /// Waits, by a watch, until the slices of a Service tell this.
    async fn tells(&self, service: &str, manager: &str, lines: &[&str]) -> Vec<Value> {
        let cache = Cache::start(self.client.clone(), &ENDPOINT_SLICES, Scope::default());
        cache.synced().await;
        let mut changes = cache.subscribe();
        let wait = async {
            loop {
                let slices = self.slices(service, manager).await;
                if told(&slices) == lines && !slices.is_empty() {
                    return slices;
                }
                changes.next().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), wait).await {
            Ok(slices) => slices,
            Err(_) => panic!("{service}: {:#?}", self.slices(service, manager).await),
        }
    }

    /// Waits until the addresses of Endpoints are these, ready and not.
    async fn has_addresses(&self, name: &str, ready: Value, others: Value) {
        let ips = |list: &Value| -> Vec<Value> {
            list.as_array().into_iter().flatten().map(|address| address["ip"].clone()).collect()
        };
        let good = |endpoints: Option<&Value>| {
            let subset = |field: &str| endpoints.map(|e| json!(ips(&e["subsets"][0][field]))).unwrap_or_default();
            endpoints.is_some() && subset("addresses") == ready && subset("notReadyAddresses") == others
        };
        self.until_of(&ENDPOINTS, "n", name, good).await;
    }

    /// Returns when everything that came before this was looked at: a Service and a pod that are made now are told of.
    async fn settled(&self, mark: &str, ip: &str) {
        self.create("services", "n", service(mark, json!({}))).await;
        self.pod(mark, mark).await;
        self.serves(mark, ip, "True").await;
        self.tells(mark, MANAGER, &[&format!("{mark} {ip} ready serving")]).await;
        self.has_addresses(mark, json!([ip]), json!([])).await;
    }
}

#[tokio::test]
async fn a_services_pods_come_are_ready_end_and_go() {
    let c = with_node().await;
    c.create("services", "n", service("web", json!({}))).await;
    let slices = c.tells("web", MANAGER, &[]).await;
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0]["metadata"]["ownerReferences"][0]["kind"], "Service");
    c.pod("a", "web").await;
    c.serves("a", "10.0.0.1", "False").await;
    c.tells("web", MANAGER, &["a 10.0.0.1"]).await;
    c.has_addresses("web", json!([]), json!(["10.0.0.1"])).await;
    c.serves("a", "10.0.0.1", "True").await;
    let slices = c.tells("web", MANAGER, &["a 10.0.0.1 ready serving"]).await;
    c.has_addresses("web", json!(["10.0.0.1"]), json!([])).await;
    let (slice, endpoint) = (&slices[0], &slices[0]["endpoints"][0]);
    assert_eq!((&endpoint["zone"], &endpoint["nodeName"]), (&json!("z1"), &json!("n1")));
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    let note = &slice["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"];
    assert_eq!(slice["metadata"]["generation"], 3, "one write for the address, one for that it is ready");
    assert!(note.is_null(), "its time did not change: {note}");
    // It ends, and is there for who has no other.
    c.client.delete(&PODS, "n", "a", &DeleteOptions::default()).await.unwrap();
    let slices = c.tells("web", MANAGER, &["a 10.0.0.1 serving terminating"]).await;
    assert_eq!(slices[0]["metadata"]["generation"], 4);
    c.has_addresses("web", json!([]), json!([])).await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    c.client.delete(&PODS, "n", "a", &now).await.unwrap();
    c.tells("web", MANAGER, &[]).await;
    // Another takes its address, under its name.
    c.pod("a", "web").await;
    c.serves("a", "10.0.0.1", "True").await;
    c.tells("web", MANAGER, &["a 10.0.0.1 ready serving"]).await;
    // It is somebody else's by its label.
    let other = json!({"metadata": {"labels": {"app": "other"}}});
    c.client.patch(&PODS, "n", "a", "", PatchKind::Merge, &other).await.unwrap();
    let slices = c.tells("web", MANAGER, &[]).await;
    c.has_addresses("web", json!([]), json!([])).await;
    c.client.delete(&SERVICES, "n", "web", &DeleteOptions::default()).await.unwrap();
    c.until_of(&ENDPOINTS, "n", "web", |endpoints| endpoints.is_none()).await;
    let name = slices[0]["metadata"]["name"].as_str().unwrap();
    c.until_of(&ENDPOINT_SLICES, "n", name, |slice| slice.is_none()).await;
}

#[tokio::test]
async fn what_no_endpoint_tells_of_writes_nothing() {
    let c = with_node().await;
    c.create("services", "n", service("web", json!({}))).await;
    c.pod("a", "web").await;
    c.serves("a", "10.0.0.1", "True").await;
    c.tells("web", MANAGER, &["a 10.0.0.1 ready serving"]).await;
    c.has_addresses("web", json!(["10.0.0.1"]), json!([])).await;
    c.settled("first", "10.9.0.1").await;
    let versions = async || {
        let endpoints = c.client.get(&ENDPOINTS, "n", "web").await.unwrap().meta().resource_version.clone();
        (c.slices("web", MANAGER).await[0]["metadata"]["resourceVersion"].clone(), endpoints)
    };
    let before = versions().await;
    for (sub, patch) in [
        ("", json!({"metadata": {"annotations": {"note": "x"}}})),
        ("", json!({"metadata": {"labels": {"more": "x"}}})),
        ("status", json!({"status": {"hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.1"}]}})),
    ] {
        c.client.patch(&PODS, "n", "a", sub, PatchKind::Merge, &patch).await.unwrap();
    }
    let touch = json!({"metadata": {"annotations": {"note": "x"}}});
    c.client.patch(&SERVICES, "n", "web", "", PatchKind::Merge, &touch).await.unwrap();
    c.client.patch(&NODES, "", "n1", "", PatchKind::Merge, &touch).await.unwrap();
    c.settled("second", "10.9.0.2").await;
    assert_eq!(versions().await, before);
}

/// kubernetes/kubernetes#85353
#[tokio::test]
async fn slices_that_somebody_spoils_are_mended() {
    let c = with_node().await;
    c.create("services", "n", service("web", json!({}))).await;
    c.pod("a", "web").await;
    c.serves("a", "10.0.0.1", "True").await;
    let right = ["a 10.0.0.1 ready serving"];
    let name = c.tells("web", MANAGER, &right).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let spoil = json!({"endpoints": [{"addresses": ["10.0.0.9"]}]});
    c.client.patch(&ENDPOINT_SLICES, "n", &name, "", PatchKind::Merge, &spoil).await.unwrap();
    c.tells("web", MANAGER, &right).await;
    c.client.delete(&ENDPOINT_SLICES, "n", &name, &DeleteOptions::default()).await.unwrap();
    let name = c.tells("web", MANAGER, &right).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    // It is another's: the Service gets one of its own.
    let taken = json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": "me"}}});
    c.client.patch(&ENDPOINT_SLICES, "n", &name, "", PatchKind::Merge, &taken).await.unwrap();
    let slices = c.tells("web", MANAGER, &right).await;
    assert_ne!(slices[0]["metadata"]["name"], *name);
    let back = json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": MANAGER}}});
    c.client.patch(&ENDPOINT_SLICES, "n", &name, "", PatchKind::Merge, &back).await.unwrap();
    c.tells("web", MANAGER, &right).await;
    // So are its Endpoints, where they go.
    c.client.delete(&ENDPOINTS, "n", "web", &DeleteOptions::default()).await.unwrap();
    c.has_addresses("web", json!(["10.0.0.1"]), json!([])).await;
}

#[tokio::test]
async fn a_pod_waits_for_its_node_and_follows_its_zone() {
    let c = with_node().await;
    c.create("services", "n", service("web", json!({"trafficDistribution": "PreferSameZone"}))).await;
    c.pod("a", "web").await;
    let spec = json!({"nodeName": "late", "containers": [{"name": "c", "image": "i"}]});
    c.create("pods", "n", json!({"metadata": {"name": "b", "labels": {"app": "web"}}, "spec": spec})).await;
    c.serves("a", "10.0.0.1", "True").await;
    c.serves("b", "10.0.0.2", "True").await;
    c.tells("web", MANAGER, &["a 10.0.0.1 ready serving"]).await;
    c.create("nodes", "", json!({"metadata": {"name": "late"}})).await;
    c.tells("web", MANAGER, &["a 10.0.0.1 ready serving", "b 10.0.0.2 ready serving"]).await;
    let moved = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z2"}}});
    c.client.patch(&NODES, "", "n1", "", PatchKind::Merge, &moved).await.unwrap();
    let name = c.slices("web", MANAGER).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let hints = |slice: Option<&Value>| {
        let a = slice.and_then(|s| s["endpoints"].as_array()?.iter().find(|e| e["targetRef"]["name"] == "a").cloned());
        a.is_some_and(|a| a["zone"] == "z2" && a["hints"] == json!({"forZones": [{"name": "z2"}]}))
    };
    c.until_of(&ENDPOINT_SLICES, "n", &name, hints).await;
}

#[tokio::test]
async fn endpoints_of_services_without_pods_are_mirrored() {
    let c = with_node().await;
    let port = json!([{"name": "db", "port": 5432}]);
    let addresses = |ip: &str| json!({"subsets": [{"addresses": [{"ip": ip}], "ports": port}]});
    let mut own = addresses("192.0.2.1");
    own["metadata"] = json!({"name": "db", "labels": {"tier": "a"}});
    c.create("endpoints", "n", own).await;
    // Of one family: without a selector it would be of both, and with one that it gets later it may not be, here.
    let spec = json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack", "ports": port});
    c.create("services", "n", json!({"metadata": {"name": "db"}, "spec": spec})).await;
    let slices = c.tells("db", MIRROR, &["- 192.0.2.1 ready"]).await;
    assert_eq!((&slices[0]["metadata"]["labels"]["tier"], slices.len()), (&json!("a"), 1));
    c.client.patch(&ENDPOINTS, "n", "db", "", PatchKind::Merge, &addresses("192.0.2.2")).await.unwrap();
    let again = c.tells("db", MIRROR, &["- 192.0.2.2 ready"]).await;
    assert_eq!(again[0]["metadata"]["name"], slices[0]["metadata"]["name"]);
    let name = again[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let skip = |word: Value| json!({"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": word}}});
    c.client.patch(&ENDPOINTS, "n", "db", "", PatchKind::Merge, &skip(json!("true"))).await.unwrap();
    c.until_of(&ENDPOINT_SLICES, "n", &name, |slice| slice.is_none()).await;
    c.client.patch(&ENDPOINTS, "n", "db", "", PatchKind::Merge, &skip(Value::Null)).await.unwrap();
    let name = c.tells("db", MIRROR, &["- 192.0.2.2 ready"]).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    // The Service gets a selector: its Endpoints are its pods now.
    let selects = json!({"spec": {"selector": {"app": "db"}}});
    c.client.patch(&SERVICES, "n", "db", "", PatchKind::Merge, &selects).await.unwrap();
    c.until_of(&ENDPOINT_SLICES, "n", &name, |slice| slice.is_none()).await;
    c.tells("db", MANAGER, &[]).await;
    c.has_addresses("db", json!([]), json!([])).await;
}

/// What the server itself tells of itself is let alone.
#[tokio::test]
async fn the_servers_own_service_keeps_its_endpoints() {
    let c = with_node().await;
    c.settled("mark", "10.9.0.3").await;
    let options =
        ListOptions { label_selector: "kubernetes.io/service-name=kubernetes".into(), ..ListOptions::default() };
    let slices = c.client.list(&ENDPOINT_SLICES, "default", &options).await.unwrap().objects;
    let names: Vec<&str> = slices.iter().map(|slice| slice.meta().name.as_str()).collect();
    assert!(names.iter().all(|name| *name == "kubernetes"), "{names:?}");
}

/// kubernetes/kubernetes#94720, #141592: a Service and its pods that are made anew at once.
#[tokio::test]
async fn a_service_that_is_made_anew_has_slices_of_its_own() {
    let c = with_node().await;
    for turn in 0..5 {
        let made = c.create("services", "n", service("web", json!({}))).await;
        c.pod("a", "web").await;
        c.serves("a", "10.0.0.1", "True").await;
        let slices = c.tells("web", MANAGER, &["a 10.0.0.1 ready serving"]).await;
        c.has_addresses("web", json!(["10.0.0.1"]), json!([])).await;
        assert_eq!(slices[0]["metadata"]["ownerReferences"][0]["uid"], *made.meta().uid, "turn {turn}");
        c.client.delete(&SERVICES, "n", "web", &DeleteOptions::default()).await.unwrap();
        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        c.client.delete(&PODS, "n", "a", &now).await.unwrap();
    }
}
