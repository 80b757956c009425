use serde_json::json;

use super::*;
use crate::kind::{Context, by_kind, by_plural};

#[test]
fn every_kind_is_found_by_its_names() {
    for kind in KINDS {
        assert!(std::ptr::eq(by_plural(kind.group, kind.plural).unwrap(), *kind));
        assert!(std::ptr::eq(by_kind(&kind.api_version(), kind.kind).unwrap(), *kind));
        assert_eq!(kind.singular, kind.kind.to_lowercase());
        assert!(kind.verbs.is_sorted() && kind.subresources.is_sorted_by_key(|s| s.name));
    }
    assert_eq!(by_kind("events.k8s.io/v1", "Event").unwrap().plural, "events");
}

#[test]
fn events_survive_the_way_to_the_other_group_and_back() {
    let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "hello",
        "involvedObject": {"kind": "Pod", "name": "p"}, "reportingComponent": "kubelet", "count": 3});
    let version = &event::EVENT.versions[0];
    let mut event = core.clone();
    (version.from_stored)(&mut event);
    assert_eq!(event["note"], "hello");
    assert_eq!(event["reportingController"], "kubelet");
    assert_eq!(event["apiVersion"], "events.k8s.io/v1");
    (version.to_stored)(&mut event);
    assert_eq!(event, core);
}

#[test]
fn string_data_lands_in_data() {
    let mut s = json!({"stringData": {"a": "b"}, "data": {"a": "eA==", "c": "eA=="}});
    (secret::SECRET.hooks.prepare)(&mut s, None, &Context::default());
    assert_eq!(s, json!({"data": {"a": "Yg==", "c": "eA=="}}));
}
