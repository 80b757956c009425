//! Endpoints that others wrote, and the slices that mirror them, as tables.

use std::fmt::Write;

use expect_test::expect;
use serde_json::{Value, json};

use super::*;

fn endpoints(meta: Value, subsets: Value) -> Object {
    let mut whole = json!({"name": "web", "namespace": "n", "uid": "e", "resourceVersion": "1"});
    for (field, value) in meta.as_object().unwrap() {
        whole[field] = value.clone();
    }
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": whole, "subsets": subsets});
    Object::from_value(&endpoints).unwrap()
}

fn two() -> Value {
    json!([{"addresses": [{"ip": "192.0.2.1", "hostname": "h", "nodeName": "n1"}, {"ip": "2001:0db8::1"}],
        "notReadyAddresses": [{"ip": "192.0.2.2", "targetRef": {"kind": "Pod", "name": "p"}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"}]}])
}

fn planned(endpoints: &Object, found: Vec<Slice>) -> Changes {
    plan(endpoints, &annotations(endpoints), desired(&subset::of(endpoints), MOST), found)
}

fn stored(endpoints: &Object, changes: Changes) -> Vec<Slice> {
    let Changes { create, update, mut keep, .. } = changes;
    for (at, slice) in create.into_iter().chain(update).enumerate() {
        let mut value = slice.to_value(endpoints, &annotations(endpoints));
        if slice.found.is_none() {
            value["metadata"]["name"] = json!(format!("web-{at}"));
        }
        keep.push(Slice::of(&Object::from_value(&value).unwrap()).unwrap());
    }
    keep
}

fn shown(changes: &Changes) -> String {
    let mut text = String::new();
    let Changes { create, update, delete, keep } = changes;
    for (sign, slices) in [('+', create), ('~', update), ('-', delete), ('=', keep)] {
        for slice in slices {
            let (ports, endpoints) = (json!(slice.ports), json!(slice.endpoints));
            writeln!(text, "{sign} {} {ports} {endpoints}", slice.family.as_str()).unwrap();
        }
    }
    text
}

#[test]
fn each_family_and_set_of_ports_is_a_slice() {
    let own = endpoints(json!({}), two());
    let first = planned(&own, Vec::new());
    expect![[r#"
        + IPv4 [{"appProtocol":"http","name":"http","port":80,"protocol":"TCP"}] [{"addresses":["192.0.2.1"],"conditions":{"ready":true},"hostname":"h","nodeName":"n1"},{"addresses":["192.0.2.2"],"conditions":{"ready":false},"targetRef":{"kind":"Pod","name":"p"}}]
        + IPv6 [{"appProtocol":"http","name":"http","port":80,"protocol":"TCP"}] [{"addresses":["2001:db8::1"],"conditions":{"ready":true}}]
    "#]]
    .assert_eq(&shown(&first));
    let slices = stored(&own, first);
    let again = planned(&own, slices.clone());
    assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(), "{}", shown(&again));
    // Other ports: the same slices, changed; a family that goes loses its own.
    let moved =
        endpoints(json!({}), json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 81, "protocol": "TCP"}]}]));
    expect![[r#"
        ~ IPv4 [{"name":"","port":81,"protocol":"TCP"}] [{"addresses":["192.0.2.1"],"conditions":{"ready":true}}]
        - IPv6 [{"appProtocol":"http","name":"http","port":80,"protocol":"TCP"}] [{"addresses":["2001:db8::1"],"conditions":{"ready":true}}]
    "#]]
    .assert_eq(&shown(&planned(&moved, slices.clone())));
    assert_eq!(planned(&endpoints(json!({}), json!([])), slices).delete.len(), 2);
}

#[test]
fn labels_and_annotations_come_over_but_for_their_own() {
    let notes = json!({"mine": "x", TRIGGER_TIME: "now", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
    let own = endpoints(json!({"labels": {"tier": "a", MANAGED_BY: "me"}, "annotations": notes}), two());
    let slices = stored(&own, planned(&own, Vec::new()));
    let meta = slices[0].found.as_ref().unwrap().value()["metadata"].clone();
    let owner = json!([{"apiVersion": "v1", "kind": "Endpoints", "name": "web", "uid": "e", "controller": true,
        "blockOwnerDeletion": true}]);
    let labels = json!({"tier": "a", SERVICE_NAME: "web", MANAGED_BY: MANAGER});
    assert_eq!(
        meta,
        json!({"name": "web-0", "generateName": "web-", "namespace": "n", "labels": labels,
        "annotations": {"mine": "x"}, "ownerReferences": owner})
    );
    assert!(planned(&own, slices.clone()).update.is_empty());
    for meta in [json!({"labels": {"tier": "b"}}), json!({"labels": {"tier": "a"}, "annotations": {"mine": "y"}})] {
        assert_eq!(planned(&endpoints(meta, two()), slices.clone()).update.len(), 2);
    }
    // kubernetes/kubernetes#125354: Endpoints that were made anew while nobody looked; their slices would go with the old.
    let anew = endpoints(json!({"uid": "new", "labels": {"tier": "a"}, "annotations": {"mine": "x"}}), two());
    let changes = planned(&anew, slices);
    assert_eq!((changes.update.len(), changes.keep.len()), (2, 0));
    assert_eq!(stored(&anew, changes)[0].found.as_ref().unwrap().meta().owner_references[0].uid, "new");
}

#[test]
fn what_is_too_much_or_no_address_is_left_out_and_said() {
    let subset = json!([{"addresses": [{"ip": "192.0.2.1"}, {"ip": "x"}, {"ip": "192.0.2.3"}],
        "notReadyAddresses": [{"ip": "192.0.2.4"}, {"ip": "192.0.2.5"}], "ports": [{"port": 1, "protocol": "TCP"}]}]);
    let desired = desired(&subset::of(&endpoints(json!({}), subset)), 2);
    assert_eq!(desired.slices.values().map(BTreeMap::len).sum::<usize>(), 2);
    expect![[r#"
        [
            (
                "TooManyAddressesToMirror",
                "A max of 2 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped",
            ),
        ]
    "#]]
    .assert_debug_eq(&desired.told);
}

#[test]
fn leases_and_those_that_say_so_are_not_mirrored() {
    for (meta, mirrored) in [
        (json!({}), true),
        (json!({"labels": {SKIP: "true"}}), false),
        (json!({"labels": {SKIP: "yes"}}), true),
        (json!({"annotations": {LEADER: "{}"}}), false),
    ] {
        assert_eq!(is_mirrored(&endpoints(meta.clone(), json!([]))), mirrored, "{meta}");
    }
}
