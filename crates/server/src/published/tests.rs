use api::Resource;
use http::Method;
use kinds::Kind;
use kinds::kind::Version;
use serde_json::{Value, json};

use crate::tests::cluster;

/// With the shape of a ConfigMap, in three versions of which the first is stored.
fn widget() -> Kind {
    let version = |name: &str, from_stored: fn(&mut Value), to_stored: fn(&mut Value)| Version {
        resource: Resource::namespaced(&format!("example.com/{name}"), "Widget", "widgets"),
        schema: "io.k8s.api.core.v1.ConfigMap".into(),
        from_stored,
        to_stored,
    };
    Kind {
        schema: "io.k8s.api.core.v1.ConfigMap".into(),
        versions: vec![
            version("v1beta1", |object| object["data"]["seen"] = json!("beta"), unmarked),
            version("v1alpha1", |object| object["data"]["seen"] = json!("alpha"), unmarked),
        ],
        ..Kind::namespaced("example.com/v1", "Widget", "widgets").short("wd")
    }
}

fn unmarked(object: &mut Value) {
    if let Some(data) = object["data"].as_object_mut() {
        data.remove("seen");
    }
}

#[tokio::test]
async fn kind_that_comes_while_the_server_runs_is_a_kind_like_any_other() {
    let c = cluster().await;
    let path = |version: &str| format!("/apis/example.com/{version}/namespaces/default/widgets");
    assert_eq!(c.get(&path("v1")).await.0, 404);
    assert_eq!(c.get("/apis/example.com").await.0, 404);
    // Made, and to be made anew.
    let aggregated = async || {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let request = http::Request::get("/apis").header("accept", accept).body(bytes::Bytes::new()).unwrap();
        let crate::Body::Bytes(body) = c.server.handle(&c.admin, request).await.body else { panic!("no document") };
        String::from_utf8(body.to_vec()).unwrap()
    };
    assert!(!aggregated().await.contains("widgets"));

    c.server.publish([widget()]);
    assert!(aggregated().await.contains("widgets"));
    let (_, list) = c.get("/apis/example.com/v1alpha1").await;
    assert_eq!(
        (&list["resources"][0]["name"], &list["resources"][0]["shortNames"]),
        (&json!("widgets"), &json!(["wd"]))
    );
    let (code, made) = c.post(&path("v1beta1"), json!({"metadata": {"name": "w"}, "data": {"a": "b"}})).await;
    assert_eq!((code, &made["data"]), (201, &json!({"a": "b", "seen": "beta"})), "{made}");
    for (version, data) in [
        ("v1", json!({"a": "b"})),
        ("v1beta1", json!({"a": "b", "seen": "beta"})),
        ("v1alpha1", json!({"a": "b", "seen": "alpha"})),
    ] {
        let (_, one) = c.get(&format!("{}/w", path(version))).await;
        assert_eq!((&one["apiVersion"], &one["data"]), (&json!(format!("example.com/{version}")), &data));
    }
    let (code, _) = c.call(Method::DELETE, &format!("{}/w", path("v1alpha1")), Value::Null).await;
    assert_eq!(code, 200);
    // What was there before is as it was.
    assert_eq!(c.get("/api/v1/namespaces/default/configmaps").await.0, 200);
}
