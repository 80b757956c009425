//! Each law is broken once, and found.

use serde_json::{Value, json};

use super::*;

const KEY: &str = "endpointslices.discovery.k8s.io/n/web-1";

fn endpoint(uid: &str, ready: bool, terminating: bool) -> Value {
    json!({"targetRef": {"uid": uid}, "conditions": {"ready": ready, "terminating": terminating}})
}

fn slice(endpoints: Vec<Value>) -> Value {
    let labels = json!({"kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": MANAGER});
    json!({"metadata": {"namespace": "n", "labels": labels}, "addressType": "IPv4", "endpoints": endpoints})
}

fn pod(uid: &str) -> Value {
    json!({"metadata": {"uid": uid, "namespace": "n", "labels": {"app": "web"}}, "status": {"phase": "Running",
        "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}})
}

#[test]
fn what_ends_and_is_ready_again_is_found() {
    let mut laws = Endpoints::default();
    laws.check(KEY, &slice(vec![endpoint("a", true, false)]), false);
    laws.check(KEY, &slice(vec![endpoint("a", false, true)]), false);
    assert_eq!(laws.take_violations(), [] as [String; 0]);
    laws.check(KEY, &slice(vec![endpoint("a", true, false)]), false);
    assert!(laws.take_violations()[0].contains("a is ending, and ready again"));
}

#[test]
fn a_slice_too_full_or_with_an_endpoint_twice_is_found() {
    let mut laws = Endpoints::default();
    let many = (0..101).map(|n| endpoint(&n.to_string(), true, false)).collect();
    laws.check(KEY, &slice(many), false);
    assert!(laws.take_violations()[0].contains("101 endpoints"));
    laws.check(KEY, &slice(vec![endpoint("a", true, false), endpoint("a", true, false)]), false);
    assert!(laws.take_violations()[0].contains("twice"));
}

#[test]
fn endpoints_that_are_not_the_pods_are_found() {
    let service = json!({"metadata": {"namespace": "n", "name": "web"}, "spec": {"selector": {"app": "web"}}});
    let told = |uids: &[&str]| {
        json!({"subsets": [{"addresses":
        uids.iter().map(|uid| json!({"targetRef": {"uid": uid}})).collect::<Vec<_>>()}]})
    };
    let mut objects: Objects = [
        ("services/n/web".to_owned(), service),
        ("pods/n/a".to_owned(), pod("a")),
        ("endpoints/n/web".to_owned(), told(&["a"])),
        (KEY.to_owned(), slice(vec![endpoint("a", true, false)])),
    ]
    .into();
    let found = |objects: &Objects| {
        let mut laws = Endpoints::default();
        laws.add_up(objects);
        laws.take_violations().join("\n")
    };
    assert_eq!(found(&objects), "");
    objects.insert("pods/n/b".into(), pod("b"));
    let both = found(&objects);
    assert!(both.contains(r#"slices tell ["a"] ready of ["a", "b"]"#) && both.contains("Endpoints tell"), "{both}");
    objects.insert(KEY.replace("-1", "-2"), slice(vec![endpoint("b", true, false), endpoint("c", false, true)]));
    objects.insert("endpoints/n/web".into(), told(&["a", "b"]));
    assert_eq!(found(&objects), r#"services/n/web: slices tell of pods that are gone: ["c"]"#);
}
