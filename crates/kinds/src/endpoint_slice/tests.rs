use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn slice(with: Value) -> Value {
    let mut slice = json!({"metadata": {"name": "s", "namespace": "n", "resourceVersion": "1"},
        "addressType": "IPv4", "endpoints": [], "ports": []});
    for (key, value) in with.as_object().unwrap() {
        slice[key] = value.clone();
    }
    slice
}

fn judged(with: Value) -> Vec<String> {
    let kind = kind("endpointslices");
    let mut slice = slice(with);
    kind.default(&mut slice);
    told(&kind.validate(&slice, None, &Context::default()))
}

fn of(family: &str, addresses: &[&str]) -> Vec<String> {
    judged(json!({"addressType": family, "endpoints": [{"addresses": addresses}]}))
}

#[test]
fn addresses_are_of_the_slices_family() {
    assert_eq!(of("IPv4", &["10.0.0.1"]), [""; 0]);
    assert_eq!(of("IPv6", &["fd00::1"]), [""; 0]);
    assert_eq!(of("FQDN", &["a.example.com."]), [""; 0]);
    let first = "endpoints[0].addresses[0]: Invalid value: ";
    assert_eq!(
        of("IPv4", &["fd00::1"]),
        ["endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address"]
    );
    assert_eq!(
        of("IPv6", &["10.0.0.1"]),
        ["endpoints[0].addresses: Invalid value: \"10.0.0.1\": must be an IPv6 address"]
    );
    assert_eq!(of("IPv6", &["fd00:0::1"]), [format!("{first}\"fd00:0::1\": must be in canonical form (\"fd00::1\")")]);
    assert_eq!(of("IPv4", &["10.0.0.01"]), [format!("{first}\"10.0.0.01\": must not have leading 0s")]);
    assert_eq!(
        of("IPv4", &["x"]),
        [format!("{first}\"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    );
    assert_eq!(
        of("IPv4", &["127.0.0.1"]),
        [format!("{first}\"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)")]
    );
    assert_eq!(
        of("FQDN", &["host"]),
        [format!("{first}\"host\": should be a domain with at least two segments separated by dots")]
    );
    assert_eq!(of("FQDN", &[""]), ["endpoints[0].addresses[0]: Required value"]);
    assert_eq!(of("IPv4", &[]), ["endpoints[0].addresses: Required value"]);
    assert_eq!(of("IPv4", &["10.0.0.1"; 101]), ["endpoints[0].addresses: Too many: 101: must have at most 100 items"]);
    assert_eq!(of("", &["x"]), ["addressType: Required value"]);
    assert_eq!(
        of("IPX", &["x"]),
        [r#"addressType: Unsupported value: "IPX": supported values: "FQDN", "IPv4", "IPv6""#]
    );
}

#[test]
fn endpoints_ports_and_hints_are_judged() {
    assert_eq!(judged(json!({"ports": [{"port": 80}, {"name": "b", "protocol": "UDP"}]})), [""; 0]);
    assert_eq!(
        judged(json!({"ports": [{}, {"protocol": "X"}, {"name": "b", "appProtocol": "a/b/c"}]})),
        [
            "ports[1].name: Duplicate value: \"\"",
            r#"ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
            "ports[2].appProtocol: Invalid value: \"a/b/c\": a valid label key must consist of alphanumeric characters, \
             '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
             '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS \
             subdomain prefix and '/' (e.g. 'example.com/MyName')",
        ]
    );
    let endpoint = |with: Value| {
        let mut endpoint = json!({"addresses": ["10.0.0.1"]});
        endpoint.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        judged(json!({"endpoints": [endpoint]}))
    };
    assert_eq!(endpoint(json!({"hostname": "h", "nodeName": "n.x", "hints": {"forZones": [{"name": "z"}]}})), [""; 0]);
    assert_eq!(
        endpoint(
            json!({"hints": {"forZones": [{"name": "z"}, {"name": "z"}], "forNodes": vec![json!({"name": "n"}); 9]}})
        ),
        [
            "endpoints[0].hints.forZones[1].name: Duplicate value: \"z\"",
            "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
        ]
    );
    assert_eq!(endpoint(json!({"hostname": "H"})).len() + endpoint(json!({"nodeName": "N"})).len(), 2);
}

#[test]
fn labels_count_and_the_family_stays() {
    let kind = kind("endpointslices");
    let mut old = slice(json!({"endpoints": [{"addresses": ["a"], "deprecatedTopology": {"x": "y"}}]}));
    kind.prepare(&mut old, None, &Context::default());
    assert_eq!(old["endpoints"][0], json!({"addresses": ["a"]}), "the old topology is not written");
    let mut new = old.clone();
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!(new["metadata"]["generation"], 1);
    new["metadata"]["labels"] = json!({"a": "b"});
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!(new["metadata"]["generation"], 2);
    assert_eq!(told(&kind.validate(&new, Some(&old), &Context::default())), [""; 0], "endpoints as before");
    new["addressType"] = json!("IPv6");
    assert_eq!(
        told(&kind.validate(&new, Some(&old), &Context::default())),
        ["addressType: Invalid value: null: field is immutable"]
    );
}

#[test]
fn a_slice_is_shown_with_its_first_ports_and_addresses() {
    let slice = slice(json!({"ports": [{"name": "a"}, {"port": 80}, {}], "endpoints":
        [{"addresses": ["1", "2"]}, {"addresses": ["3"]}, {"addresses": ["4"]}]}));
    assert_eq!((some(ports(&slice)), some(addresses(&slice))), ("a,80,*".into(), "1,2,3 + 1 more...".into()));
    assert_eq!(some(Vec::new()), "<unset>");
    let fading = json!({"addressType": "FQDN"});
    assert_eq!(warnings(kind("endpointslices"), &fading, None), ["spec.addressType: FQDN endpoints are deprecated"]);
}

#[test]
fn the_family_stays() {
    let changed = |new: Value| {
        let old = slice(json!({}));
        told(&kind("endpointslices").validate(&slice(json!({"addressType": new})), Some(&old), &Context::default()))
    };
    let fixed = "addressType: Invalid value: null: field is immutable";
    let families = "supported values: \"FQDN\", \"IPv4\", \"IPv6\"";
    assert_eq!(changed(json!("IPv6")), [fixed]);
    assert_eq!(changed(json!("x")), [format!("addressType: Unsupported value: \"x\": {families}"), fixed.into()]);
}
