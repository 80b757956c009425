//! Ranges, addresses and balancers of services: who has what, whoever writes.

use api::resource::{EVENTS, IP_ADDRESSES, NODES, SERVICE_CIDRS, SERVICES};
use client::ListOptions;

use super::*;

fn service(name: &str, more: Value) -> Value {
    let mut spec = json!({"ports": [{"port": 80}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

fn condition(range: Option<&Value>) -> (String, String) {
    let ready = range.map(|range| range["status"]["conditions"][0].clone()).unwrap_or_default();
    (ready["status"].as_str().unwrap_or_default().into(), ready["message"].as_str().unwrap_or_default().into())
}

impl Cluster {
    async fn delete(&self, kind: &api::Resource, namespace: &str, name: &str) {
        self.client.delete(kind, namespace, name, &DeleteOptions::default()).await.unwrap();
    }

    /// Until somebody has said so of an object of the name.
    async fn told(&self, namespace: &str, name: &str, reason: &str) {
        let cache = Cache::start(self.client.clone(), &EVENTS, Scope::default());
        cache.synced().await;
        let is_it = |event: &Object| {
            let event = event.value();
            event["reason"] == reason
                && event["involvedObject"]["name"] == name
                && event["metadata"]["namespace"] == namespace
        };
        let wait = cache.until(|cache| cache.visit(|all| all.filter(|event| is_it(event)).count() > 0));
        assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "{name}: {reason}");
    }
}

#[tokio::test]
async fn a_range_is_ready_and_goes_when_no_address_needs_it() {
    let c = cluster().await;
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
        "spec": {"cidrs": ["10.9.0.0/24"]}});
    c.client.create(&SERVICE_CIDRS, "", &range).await.unwrap();
    let is_ready = |range: Option<&Value>| {
        range
            .is_some_and(|range| range["metadata"]["finalizers"] == json!(["networking.k8s.io/service-cidr-finalizer"]))
            && condition(range) == ("True".into(), "Kubernetes Service CIDR is ready".into())
    };
    c.until_of(&SERVICE_CIDRS, "", "more", is_ready).await;
    c.until_of(&SERVICE_CIDRS, "", "kubernetes", is_ready).await;
    c.create("services", "default", service("web", json!({"clusterIP": "10.9.0.9"}))).await;
    c.delete(&SERVICE_CIDRS, "", "more").await;
    c.until_of(&SERVICE_CIDRS, "", "more", |range| condition(range).0 == "False").await;
    c.delete(&SERVICES, "default", "web").await;
    c.until_of(&SERVICE_CIDRS, "", "more", |range| range.is_none()).await;
    // One that lies in another goes though its addresses are used.
    c.client
        .create(&SERVICE_CIDRS, "", &json!({"metadata": {"name": "part"}, "spec": {"cidrs": ["10.96.0.0/24"]}}))
        .await
        .unwrap();
    c.until_of(&SERVICE_CIDRS, "", "part", is_ready).await;
    c.delete(&SERVICE_CIDRS, "", "part").await;
    c.until_of(&SERVICE_CIDRS, "", "part", |range| range.is_none()).await;
}

#[tokio::test]
async fn addresses_are_put_right_whoever_writes_them() {
    let c = cluster().await;
    let is_of = |service: &'static str| {
        move |ip: Option<&Value>| ip.is_some_and(|ip| ip["spec"]["parentRef"]["name"] == service)
    };
    c.create("services", "default", service("web", json!({"clusterIP": "10.96.0.9"}))).await;
    let uid = c.client.get(&IP_ADDRESSES, "", "10.96.0.9").await.unwrap().meta().uid.clone();
    c.delete(&IP_ADDRESSES, "", "10.96.0.9").await;
    let is_new = |ip: Option<&Value>| is_of("web")(ip) && ip.is_some_and(|ip| ip["metadata"]["uid"] != uid.as_str());
    c.until_of(&IP_ADDRESSES, "", "10.96.0.9", is_new).await;
    c.told("default", "web", "ClusterIPNotAllocated").await;
    // Its labels are how it is found.
    let patch = json!({"metadata": {"labels": null}});
    c.client.patch(&IP_ADDRESSES, "", "10.96.0.9", "", PatchKind::Merge, &patch).await.unwrap();
    c.delete(&SERVICES, "default", "web").await;
    c.until_of(&IP_ADDRESSES, "", "10.96.0.9", |ip| ip.is_none()).await;
    // Of a service that is not there, or has another address; what somebody else manages stays.
    let address = |name: &str, service: &str, by: &str| {
        json!({"metadata": {"name": name, "labels": {"ipaddress.kubernetes.io/managed-by": by}},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": service}}})
    };
    let ours = "ipallocator.k8s.io";
    for (name, service, by) in
        [("10.96.0.20", "gone", ours), ("10.96.0.21", "kubernetes", ours), ("10.96.0.22", "gone", "a.example")]
    {
        c.client.create(&IP_ADDRESSES, "", &address(name, service, by)).await.unwrap();
    }
    c.until_of(&IP_ADDRESSES, "", "10.96.0.20", |ip| ip.is_none()).await;
    c.until_of(&IP_ADDRESSES, "", "10.96.0.21", |ip| ip.is_none()).await;
    c.told("default", "10.96.0.20", "IPAddressNotAllocated").await;
    c.told("default", "10.96.0.21", "IPAddressWrongReference").await;
    let all = c.client.list(&IP_ADDRESSES, "", &ListOptions::default()).await.unwrap().objects;
    let names: Vec<&str> = all.iter().map(|ip| ip.meta().name.as_str()).collect();
    assert_eq!(names, ["10.96.0.1", "10.96.0.10", "10.96.0.22"]);
}

fn ingress(service: Option<&Value>) -> Vec<String> {
    let all = service.and_then(|service| service["status"]["loadBalancer"]["ingress"].as_array().cloned());
    all.unwrap_or_default().iter().map(|one| format!("{} {}", one["ip"], one["ipMode"]).replace('"', "")).collect()
}

#[tokio::test]
async fn a_balancer_has_the_nodes_addresses_and_one_port_is_one_services() {
    let c = cluster().await;
    let node = |name: &str, ip: &str| {
        json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": ip}]}})
    };
    let balancer = |name: &str| service(name, json!({"type": "LoadBalancer"}));
    c.create("services", "default", balancer("web")).await;
    c.told("default", "web", "UnAvailableLoadBalancer").await;
    c.client.create(&NODES, "", &node("n1", "192.0.2.1")).await.unwrap();
    let is_held = |service: Option<&Value>| {
        service
            .is_some_and(|one| one["metadata"]["finalizers"] == json!(["service.kubernetes.io/load-balancer-cleanup"]))
    };
    let is_at_one = |service: Option<&Value>| ingress(service) == ["192.0.2.1 VIP"] && is_held(service);
    c.until_of(&SERVICES, "default", "web", is_at_one).await;
    c.told("default", "web", "EnsuredLoadBalancer").await;
    c.client.create(&NODES, "", &node("n2", "192.0.2.2")).await.unwrap();
    c.until_of(&SERVICES, "default", "web", |service| ingress(service) == ["192.0.2.1 VIP", "192.0.2.2 VIP"]).await;
    c.create("services", "default", balancer("late")).await;
    c.told("default", "late", "SyncLoadBalancerFailed").await;
    c.delete(&NODES, "", "n2").await;
    c.until_of(&SERVICES, "default", "web", is_at_one).await;
    // Whoever wanted the port gets it when it is given up, by a change of type or a deletion.
    let patch = json!({"spec": {"type": "ClusterIP"}});
    c.client.patch(&SERVICES, "default", "web", "", PatchKind::Merge, &patch).await.unwrap();
    c.until_of(&SERVICES, "default", "late", is_at_one).await;
    c.until_of(&SERVICES, "default", "web", |web| ingress(web).is_empty() && !is_held(web)).await;
    c.create("services", "default", balancer("last")).await;
    c.delete(&SERVICES, "default", "late").await;
    c.until_of(&SERVICES, "default", "late", |late| late.is_none()).await;
    c.until_of(&SERVICES, "default", "last", is_at_one).await;
    // Somebody else's class is somebody else's.
    let other =
        service("other", json!({"type": "LoadBalancer", "loadBalancerClass": "a.example/b", "ports": [{"port": 81}]}));
    c.create("services", "default", other).await;
    let own = service(
        "own",
        json!({"type": "LoadBalancer", "loadBalancerClass": "gousse.dev/node", "ports": [{"port": 82}]}),
    );
    c.create("services", "default", own).await;
    c.until_of(&SERVICES, "default", "own", is_at_one).await;
    let other = c.client.get(&SERVICES, "default", "other").await.unwrap().value();
    assert!(ingress(Some(&other)).is_empty() && !is_held(Some(&other)), "{other}");
}
