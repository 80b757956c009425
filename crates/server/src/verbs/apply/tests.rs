use http::Method;
use serde_json::{Value, json};

use crate::answer::Body;
use crate::tests::cluster;

#[tokio::test]
async fn an_apply_is_held_to_its_manager_and_to_keys_that_are_there_once() {
    let c = cluster().await;
    let apply = async |query: &str| {
        let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: '1'\n  a: '2'\n";
        let path = format!("/api/v1/namespaces/default/configmaps/m?fieldManager={query}");
        let response = c.raw(&c.admin, Method::PATCH, &path, "application/apply-patch+yaml", body).await;
        let Body::Bytes(body) = response.body else { panic!("a list") };
        let message = serde_json::from_slice::<Value>(&body).unwrap()["message"].as_str().map(String::from);
        (response.status.as_u16(), message.unwrap_or_default(), response.headers)
    };
    let (code, message, _) = apply(&"x".repeat(129)).await;
    let wanted = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes";
    assert_eq!((code, message.as_str()), (422, wanted));
    let (code, message, _) = apply("me&fieldValidation=Strict").await;
    let wanted = "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \
                  \"a\" already set in map";
    assert_eq!((code, message.as_str()), (400, wanted));
    let (code, _, headers) = apply("me").await;
    assert_eq!(
        (code, headers["warning"].to_str().unwrap()),
        (201, "299 - \"line 7: key \\\"a\\\" already set in map\"")
    );
}

#[tokio::test]
async fn an_apply_names_the_version_and_kind_of_what_it_applies() {
    let c = cluster().await;
    let apply = async |what: Value| {
        let path = "/api/v1/namespaces/default/configmaps/m?fieldManager=me";
        let (code, answer) = c.patch(path, "application/apply-patch+yaml", what).await;
        (code, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(apply(json!({"data": {"a": "b"}})).await, (400, "invalid object type: /, Kind=".into()));
    assert_eq!(
        apply(json!({"apiVersion": "apps/v1", "kind": "ConfigMap"})).await,
        (400, "invalid object type: apps/v1, Kind=ConfigMap".into())
    );
    assert_eq!(apply(json!({"apiVersion": "v1"})).await.0, 400);
    let named = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    assert_eq!(apply(json!({"apiVersion": "v1", "kind": "ConfigMap"})).await.0, 400);
    assert_eq!(apply(named).await.0, 201);
    assert_eq!(apply(json!({"apiVersion": "v1", "kind": "ConfigMap"})).await.0, 200);
}
