use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::Status;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{again, keep};
use crate::admission::{Ask, Findings, Operation, Outside};
use crate::tests::cluster;

const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";

#[tokio::test]
async fn flow_schemas_and_levels_come_again_when_they_are_deleted() {
    let c = cluster().await;
    let upkeep = tokio::spawn(keep(c.server.clone()));
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

#[tokio::test]
async fn a_schema_says_whether_its_level_exists() {
    let c = cluster().await;
    let store = c.server.0.store.clone();
    let mut watch = store.watch("flowschemas.flowcontrol.apiserver.k8s.io/mine", store.revision()).unwrap();
    let upkeep = tokio::spawn(keep(c.server.clone()));
    tokio::task::yield_now().await;
    let spec = json!({"matchingPrecedence": 5, "priorityLevelConfiguration": {"name": "own"}});
    assert_eq!(c.post(FLOWS, json!({"metadata": {"name": "mine"}, "spec": spec})).await.0, 201);
    assert!(watch.next().await.unwrap().is_ok());
    let mut told = async || {
        let change = watch.next().await.unwrap().unwrap();
        let schema: Value = serde_json::from_slice(&change.entry.bytes).unwrap();
        let said = schema["status"]["conditions"][0].clone();
        (
            said["type"].clone(),
            said["status"].clone(),
            said["reason"].clone(),
            schema["metadata"]["managedFields"][0].clone(),
        )
    };
    let (kind, status, reason, fields) = told().await;
    assert_eq!((kind, status, reason), (json!("Dangling"), json!("True"), json!("NotFound")));
    assert_eq!(fields["manager"], "api-priority-and-fairness-config-consumer-v1");
    assert_eq!((&fields["operation"], &fields["subresource"]), (&json!("Apply"), &json!("status")));
    let level = json!({"metadata": {"name": "own"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}});
    assert_eq!(c.post(LEVELS, level).await.0, 201);
    let (_, status, reason, _) = told().await;
    assert_eq!((status, reason), (json!("False"), json!("Found")));
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
    let upkeep = tokio::spawn(keep(c.server.clone()));
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
