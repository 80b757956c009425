use api::schema;
use serde_json::json;
use store::{Entry, Key, Revision};

use super::*;

fn page(count: usize) -> Page {
    let items = (0..count).map(|number| {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("p{number}"), "resourceVersion": (number + 1).to_string(), "uid": "u",
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"a/b": "\"ä\""},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
            "spec": {"containers": [{"name": "c", "image": "x".repeat(900), "ports": [{"containerPort": 80}]}]},
            "status": {"phase": "Running", "containerStatuses": [{"ready": true, "restartCount": 2, "name": "c"}]}});
        let bytes = Bytes::from(pod.to_string());
        let (key, revision) = (Key(format!("/pods/p{number}").into()), Revision(number as u64 + 1));
        let entry = Entry { key, revision, created: revision, bytes };
        Arc::new(Rendition::new(entry))
    });
    let items = items.collect();
    let served = kinds::built_in().all_served().find(|served| served.kind.plural == "pods").unwrap();
    Page { served, items, revision: 77, continue_token: String::new(), remaining: None }
}

async fn whole(response: Response) -> Vec<u8> {
    let Body::Stream(mut stream) = response.body else { panic!("a long list is streamed") };
    let mut whole = Vec::new();
    while let Some(block) = stream.next().await {
        whole.extend_from_slice(&block.unwrap());
    }
    whole
}

#[tokio::test]
async fn a_long_list_in_protobuf_is_what_it_is_at_once() {
    let metadata = json!({"resourceVersion": "77"});
    assert!(!is_long(&page(3)));
    assert!(is_long(&page(1000)));
    let at_once = crate::protobuf::list(StatusCode::OK, &page(1000), &metadata);
    let Body::Bytes(want) = at_once.body else { panic!("made at once") };
    assert!(whole(protobuf(StatusCode::OK, page(1000), &metadata)).await == want);
    // Where there is no room for its messages they are made twice.
    let taken = Held::of(vec![0; KEPT]).unwrap();
    assert!(whole(protobuf(StatusCode::OK, page(1000), &metadata)).await == want);
    drop(taken);
    let read = proto::decode(&want, "io.k8s.api.core.v1.PodList").unwrap();
    assert_eq!(read["items"].as_array().unwrap().len(), 1000);
    assert_eq!(read["items"][999]["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {}}));
    assert!(schema::get("io.k8s.api.core.v1.PodList").is_some());
}

#[tokio::test]
async fn a_long_table_is_what_it_is_at_once() {
    for include in [Include::None, Include::Metadata, Include::Object] {
        let page = page(1000);
        let kind = page.served.kind.clone();
        let objects: Vec<Value> = page.items.iter().map(|i| serde_json::from_slice(&i.entry.bytes).unwrap()).collect();
        let mut want = print::table(&kind, &objects, "2026-01-01T00:01:00Z", include);
        want["metadata"] = json!({"resourceVersion": "77"});
        let metadata = want["metadata"].clone();
        let made = whole(table(StatusCode::OK, page, &metadata, include, "2026-01-01T00:01:00Z")).await;
        assert!(serde_json::from_slice::<Value>(&made).unwrap() == want);
    }
}
