use http::{Method, Request};
use serde_json::{Value, json};

use crate::tests::{cluster, read};

const ALL: &str = "/apis/apps/v1/namespaces/default/deployments";
const ONE: &str = "/apis/apps/v1/namespaces/default/deployments/d";
const SCALE: &str = "/apis/apps/v1/namespaces/default/deployments/d/scale";

fn deployment() -> Value {
    json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// Manager, operation and subresource of who owns the replicas.
fn owners(object: &Value) -> Vec<(String, String, String)> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let owns = entries.filter(|entry| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some());
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_string();
    owns.map(|e| (text(e, "manager"), text(e, "operation"), text(e, "subresource"))).collect()
}

#[tokio::test]
async fn replicas_are_read_and_written_as_a_scale() {
    let cluster = cluster().await;
    let (code, made) = cluster.post(&format!("{ALL}?fieldManager=maker"), deployment()).await;
    assert_eq!(code, 201, "{made}");
    let (code, mut scale) = cluster.get(SCALE).await;
    assert_eq!((code, &scale["kind"], &scale["apiVersion"]), (200, &json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 0, "selector": "a=b"}))
    );
    scale["spec"]["replicas"] = json!(5);
    let (code, told) = cluster.put(&format!("{SCALE}?fieldManager=scaler"), scale.clone()).await;
    assert_eq!((code, &told["spec"]["replicas"]), (200, &json!(5)), "{told}");
    let (_, object) = cluster.get(ONE).await;
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(5), &json!(2)));
    assert_eq!(object["spec"]["template"], made["spec"]["template"]);
    let entry = |manager: &str, operation: &str| (manager.to_string(), operation.to_string(), "scale".to_string());
    assert_eq!(owners(&object), [entry("scaler", "Update")], "it was taken from who had it");
    // The revision that it names is no more; another uid is another object.
    assert_eq!(cluster.put(SCALE, scale.clone()).await.0, 409);
    scale["metadata"]["resourceVersion"] = json!("");
    scale["metadata"]["uid"] = json!("other");
    assert_eq!(cluster.put(SCALE, scale).await.0, 409);
    let (code, told) = cluster.put(SCALE, json!({"metadata": {"name": "d"}, "spec": {"replicas": -1}})).await;
    let line =
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!((code, told["message"].as_str()), (422, Some(line)));
    assert_eq!(cluster.put(SCALE, json!({"kind": "Deployment"})).await.0, 400);
    assert_eq!(cluster.put(SCALE, json!({"metadata": {"name": "e"}})).await.0, 400);
    assert_eq!(cluster.get(&SCALE.replace("/d/", "/e/")).await.0, 404);
    let patch = async |media: &str, query: &str, body: &str| {
        let path = format!("{SCALE}?{query}");
        read(cluster.raw(&cluster.admin, Method::PATCH, &path, media, body.to_string()).await)
    };
    let (code, told) = patch("application/merge-patch+json", "dryRun=All", r#"{"spec": {"replicas": 7}}"#).await;
    assert_eq!((code, &told["spec"]["replicas"]), (200, &json!(7)), "{told}");
    assert_eq!(cluster.get(ONE).await.1["spec"]["replicas"], 5);
    let body = r#"[{"op": "replace", "path": "/spec/replicas", "value": 0}]"#;
    let (code, told) = patch("application/json-patch+json", "", body).await;
    assert_eq!((code, &told["spec"]), (200, &json!({})), "{told}");
    let config =
        r#"{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 4}}"#;
    let media = "application/apply-patch+yaml";
    assert_eq!(patch(media, "fieldManager=applier", config).await.0, 409, "somebody else owns it");
    let (code, told) = patch(media, "fieldManager=applier&force=true", config).await;
    assert_eq!((code, &told["spec"]["replicas"]), (200, &json!(4)), "{told}");
    let (_, object) = cluster.get(ONE).await;
    assert_eq!(owners(&object), [entry("applier", "Apply")]);
    assert_eq!(patch(media, "fieldManager=applier", &config.replace("autoscaling/v1", "apps/v1")).await.0, 400);
}

#[tokio::test]
async fn a_scale_is_shown_as_a_table_and_speaks_protobuf() {
    let cluster = cluster().await;
    assert_eq!(cluster.post(ALL, deployment()).await.0, 201);
    let ask = async |accept: &str| {
        let request = Request::builder().uri(SCALE).header("accept", accept).body(bytes::Bytes::new()).unwrap();
        cluster.server.handle(&cluster.admin, request).await
    };
    let (code, table) = read(ask("application/json;as=Table;v=v1;g=meta.k8s.io").await);
    assert_eq!((code, &table["kind"]), (200, &json!("Table")));
    assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("d"), json!(2), json!(0)]);
    let crate::answer::Body::Bytes(bytes) = ask("application/vnd.kubernetes.protobuf").await.body else { panic!() };
    assert!(bytes.starts_with(b"k8s\0"), "{bytes:?}");
    let scale = crate::protobuf::decode(&bytes, kinds::autoscaling::scale::SCHEMA).unwrap();
    assert_eq!(scale["spec"]["replicas"], 2);
}
