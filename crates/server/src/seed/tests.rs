use serde_json::{Value, json};

use super::seed;
use crate::tests::cluster_at;

const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";

#[tokio::test]
async fn the_service_of_the_api_has_its_endpoint_in_both_forms_and_a_range() {
    let c = cluster_at("10.1.2.3:6443").await;
    let (_, endpoints) = c.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    let (code, slice) = c.get(SLICE).await;
    assert_eq!(code, 200, "{slice}");
    assert_eq!(endpoints["subsets"][0]["addresses"], json!([{"ip": "10.1.2.3"}]));
    assert_eq!(slice["metadata"]["labels"], json!({"kubernetes.io/service-name": "kubernetes"}));
    assert_eq!(slice["addressType"], "IPv4");
    assert_eq!(slice["endpoints"], json!([{"addresses": ["10.1.2.3"], "conditions": {"ready": true}}]));
    assert_eq!(slice["ports"], json!([{"name": "https", "port": 6443, "protocol": "TCP"}]));
    let (_, range) = c.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    let ready = &range["status"]["conditions"][0];
    assert_eq!(ready["message"], "Kubernetes default Service CIDR is ready", "{range}");
    let (_, service) = c.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!(service["spec"]["clusterIPs"], json!(["10.96.0.1"]));
    let (_, address) = c.get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.1").await;
    let parent = json!({"resource": "services", "namespace": "default", "name": "kubernetes"});
    assert_eq!(address["spec"]["parentRef"], parent, "{address}");
}

#[tokio::test]
async fn a_further_start_writes_only_what_is_not_as_it_shall_be() {
    let c = cluster_at("10.1.2.3:6443").await;
    let before = c.server.revision();
    seed(&c.server).await.unwrap();
    assert_eq!(c.server.revision(), before, "an own address that is there as it is was put anew");
    let (_, mut slice) = c.get(SLICE).await;
    let uid = slice["metadata"]["uid"].clone();
    slice["endpoints"] = json!([]);
    assert_eq!(c.put(SLICE, slice).await.0, 200);
    let patch = json!({"spec": {"matchingPrecedence": 9}});
    let media = "application/merge-patch+json";
    assert_eq!(c.patch(&format!("{FLOWS}/probes"), media, patch.clone()).await.0, 200);
    assert_eq!(c.patch(&format!("{FLOWS}/exempt"), media, patch).await.0, 422, "its spec is the server's");
    seed(&c.server).await.unwrap();
    let (_, slice) = c.get(SLICE).await;
    assert_eq!((&slice["endpoints"][0]["addresses"][0], &slice["metadata"]["uid"]), (&json!("10.1.2.3"), &uid));
    assert_eq!(c.get(&format!("{FLOWS}/probes")).await.1["spec"]["matchingPrecedence"], 2, "the annotation says so");
    // As a start with an address of the other family finds it.
    assert_eq!(c.delete(SLICE, Value::Null).await.0, 200);
    let other = json!({"metadata": {"name": "kubernetes"}, "addressType": "IPv6", "endpoints": [], "ports": []});
    assert_eq!(c.post(SLICE.strip_suffix("/kubernetes").unwrap(), other).await.0, 201);
    seed(&c.server).await.unwrap();
    assert_eq!(c.get(SLICE).await.1["addressType"], "IPv4");
}

#[tokio::test]
async fn others_are_told_whose_certificates_count_and_since_when_tokens_are_tracked() {
    const MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
    let c = cluster_at("10.1.2.3:6443").await;
    let own = format!("{MAPS}/extension-apiserver-authentication");
    let (code, found) = c.get(&own).await;
    assert_eq!((code, &found["data"]), (200, &json!({"client-ca-file": c.server.authority()})));
    let (_, tracked) = c.get(&format!("{MAPS}/kube-apiserver-legacy-service-account-token-tracking")).await;
    let since = tracked["data"]["since"].as_str().unwrap().to_owned();
    assert!(since.parse::<jiff::civil::Date>().is_ok(), "{since}");
    // Whoever writes it away: the next start puts it back.
    let mut changed = found.clone();
    changed["data"] = json!({"client-ca-file": "another"});
    assert_eq!(c.put(&own, changed).await.0, 200);
    seed(&c.server).await.unwrap();
    assert_eq!(c.get(&own).await.1["data"], found["data"]);
}

#[tokio::test]
async fn pods_find_the_clusters_dns_under_a_service_that_is_made_once() {
    const OWN: &str = "/api/v1/namespaces/kube-system/services/kube-dns";
    let c = cluster_at("10.1.2.3:6443").await;
    let (code, found) = c.get(OWN).await;
    assert_eq!((code, &found["spec"]["clusterIP"]), (200, &json!("10.96.0.10")), "{found}");
    assert_eq!(found["spec"]["selector"], Value::Null);
    let ports: Vec<&Value> = found["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["protocol"]).collect();
    assert_eq!(ports, ["UDP", "TCP"]);
    // Somebody has their own pods serve it.
    let patch = json!({"spec": {"selector": {"k8s-app": "kube-dns"}}});
    assert_eq!(c.patch(OWN, "application/merge-patch+json", patch).await.0, 200);
    seed(&c.server).await.unwrap();
    assert_eq!(c.get(OWN).await.1["spec"]["selector"], json!({"k8s-app": "kube-dns"}));
}
