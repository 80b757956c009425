use api::Reason;
use serde_json::{Value, json};

use super::Resources;
use crate::script::{Script, ok, silent};

fn documents(asked: &str) -> Value {
    let resource = |plural: &str, kind: &str, scope: &str, verbs: &[&str]| {
        json!({"resource": plural, "responseKind": {"group": "", "version": "v1", "kind": kind}, "scope": scope,
            "singularResource": kind.to_lowercase(), "verbs": verbs})
    };
    let mut pods = resource("pods", "Pod", "Namespaced", &["get", "list", "watch"]);
    pods["shortNames"] = json!(["po"]);
    pods["categories"] = json!(["all"]);
    pods["subresources"] = json!([{"subresource": "log"}, {"subresource": "status"}]);
    let nodes = resource("nodes", "Node", "Cluster", &["get", "list"]);
    let reviews = resource("tokenreviews", "TokenReview", "Cluster", &["create"]);
    let item = |group: &str, versions: Value| json!({"metadata": {"name": group}, "versions": versions});
    let items = match asked {
        "GET /api" => json!([{"metadata": {}, "versions": [{"version": "v1", "resources": [pods, nodes]}]}]),
        "GET /apis" => json!([
            item("authentication.k8s.io", json!([{"version": "v1", "resources": [reviews]}])),
            item(
                "example.com",
                json!([
                    {"version": "v2", "resources": [resource("widgets", "Widget", "Namespaced", &["get"])]},
                    {"version": "v1", "resources": [resource("widgets", "Widget", "Namespaced", &["get"])]},
                ])
            ),
        ]),
        other => panic!("{other}"),
    };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items})
}

#[tokio::test]
async fn every_kind_is_known_in_all_its_versions() {
    let (client, _) = Script::client(|asked| ok(documents(&asked.line)));
    let all = Resources::ask(&client).await.unwrap();
    let pods = all.by_kind("v1", "Pod").unwrap();
    assert_eq!((pods.plural.as_str(), pods.singular.as_str(), pods.list_kind.as_str()), ("pods", "pod", "PodList"));
    assert!(pods.namespaced && pods.can("watch") && !pods.can("create"));
    assert_eq!((&pods.short_names[..], &pods.categories[..]), (&["po".into()][..], &["all".into()][..]));
    assert_eq!(pods.subresources, ["log", "status"]);
    assert!(!all.by_kind("v1", "Node").unwrap().namespaced);
    let widgets: Vec<String> = all.iter().filter(|r| r.kind == "Widget").map(|r| r.api_version()).collect();
    assert_eq!(widgets, ["example.com/v2", "example.com/v1"]);
    // Nobody can hold one.
    assert!(all.by_kind("authentication.k8s.io/v1", "TokenReview").is_none());
}

#[tokio::test(start_paused = true)]
async fn server_that_is_not_there_yet_is_asked_again() {
    let times = std::sync::atomic::AtomicUsize::new(0);
    let (client, asked) = Script::client(move |asked| {
        match times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => silent(),
            // An older server: no aggregated discovery.
            1 => ok(json!({"kind": "APIVersions", "versions": ["v1"]})),
            _ => ok(documents(&asked.line)),
        }
    });
    assert_eq!(Resources::ask(&client).await.unwrap_err().reason, Reason::ServiceUnavailable);
    assert!(Resources::of(&client).await.by_kind("v1", "Pod").is_some());
    assert_eq!(asked.lock().unwrap().len(), 4);
}
