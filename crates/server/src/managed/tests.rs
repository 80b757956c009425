use http::Method;
use serde_json::Value;

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
