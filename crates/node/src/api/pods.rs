//! `/pods`: what this node should run; `/runningpods`: what the runtime runs.

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{self, Response};
use crate::Control;
use crate::observe::is_running;
use crate::pod::{LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID};

pub fn all(control: &Control) -> Response {
    let items = control.pods().into_iter().map(|pod| {
        let mut value = pod.value().clone();
        // Items of a typed list carry no type of their own.
        if let Some(fields) = value.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        value
    });
    answer::json(&list(items.collect()))
}

/// Names, namespaces, UIDs and containers only (kubecontainer.Pod.ToAPIPod).
pub async fn running(control: &Control) -> Response {
    let sandboxes = match control.engine().list().await {
        Ok(sandboxes) => sandboxes,
        Err(why) => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    };
    let items = sandboxes.iter().filter(|s| s.containers.iter().any(is_running)).map(|sandbox| {
        let containers = sandbox
            .containers
            .iter()
            .filter(|c| is_running(c))
            .map(|c| json!({"name": c.spec.name, "image": c.spec.image_name, "resources": {}}));
        json!({
            "metadata": {
                "name": sandbox.spec.labels.get(LABEL_POD_NAME),
                "namespace": sandbox.spec.labels.get(LABEL_POD_NAMESPACE),
                "uid": sandbox.spec.labels.get(LABEL_POD_UID),
            },
            "spec": {"containers": containers.collect::<Vec<_>>()},
            "status": {},
        })
    });
    answer::json(&list(items.collect()))
}

fn list(items: Vec<Value>) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}
