use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::Status;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{again, keep_flows, seed};
use crate::admission::{Ask, Findings, Operation, Outside};
use crate::tests::{cluster, cluster_at};

const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

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
    assert_eq!((&range["spec"]["cidrs"], &range["status"]), (&json!(["10.96.0.0/16"]), &json!({})));
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
async fn flow_schemas_and_levels_come_again_when_they_are_deleted() {
    let c = cluster().await;
    let upkeep = tokio::spawn(keep_flows(c.server.clone()));
    for path in [format!("{FLOWS}/exempt"), format!("{FLOWS}/probes"), format!("{LEVELS}/catch-all")] {
        let (code, old) = c.get(&path).await;
        assert_eq!(code, 200, "{old}");
        let store = c.server.0.store.clone();
        let plural = path.split('/').rev().nth(1).unwrap();
        let key = format!("{plural}.flowcontrol.apiserver.k8s.io/{}", path.rsplit('/').next().unwrap());
        tokio::task::yield_now().await;
        let mut watch = store.watch(&key, store.revision()).unwrap();
        assert_eq!(c.delete(&path, Value::Null).await.0, 200);
        assert!(watch.next().await.unwrap().unwrap().deleted);
        assert!(!watch.next().await.unwrap().unwrap().deleted);
        assert_ne!(c.get(&path).await.1["metadata"]["uid"], old["metadata"]["uid"]);
    }
    upkeep.abort();
}

/// Refuses flow schemas as long as it is told to.
struct Refuses(Arc<AtomicUsize>);

impl Outside for Refuses {
    fn name(&self) -> &str {
        "refuses"
    }

    fn concerns(&self, ask: &Ask<'_>, _: &Value) -> bool {
        ask.kind().plural == "flowschemas" && ask.operation == Operation::Create
    }

    fn reinvoked(&self) -> bool {
        false
    }

    fn mutate<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        object: &'a mut Value,
        _: &'a mut Findings,
    ) -> BoxFuture<'a, Result<(), Status>> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let answer = if left { Err(ask.forbidden(object, "not now")) } else { Ok(()) };
        std::future::ready(answer).boxed()
    }

    fn validate<'a>(&'a self, _: &'a Ask<'a>, _: &'a Value, _: &'a mut Findings) -> BoxFuture<'a, Result<(), Status>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// It stayed away until the next of them was changed.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_anew_is_tried_again() {
    let c = cluster().await;
    let upkeep = tokio::spawn(keep_flows(c.server.clone()));
    tokio::task::yield_now().await;
    let left = Arc::new(AtomicUsize::new(3));
    c.server.0.outside.store(Arc::new(vec![Arc::new(Refuses(left.clone()))]));
    let store = c.server.0.store.clone();
    let mut watch = store.watch("flowschemas.flowcontrol.apiserver.k8s.io/probes", store.revision()).unwrap();
    let since = tokio::time::Instant::now();
    assert_eq!(c.delete(&format!("{FLOWS}/probes"), Value::Null).await.0, 200);
    assert!(watch.next().await.unwrap().unwrap().deleted);
    assert!(!watch.next().await.unwrap().unwrap().deleted);
    assert_eq!((left.load(Ordering::SeqCst), since.elapsed().as_secs()), (0, 1 + 2 + 4));
    assert_eq!([1, 2, 6, 7, 40].map(|failures| again(failures).as_secs()), [1, 2, 32, 60, 60]);
    upkeep.abort();
}
