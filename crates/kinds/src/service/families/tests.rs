use serde_json::json;

use super::*;
use crate::tests::told;

/// Families and policy, or what is wrong.
fn made(spec: Value, old: Option<Value>) -> String {
    let mut service = json!({"spec": spec});
    let old = old.map(|spec| json!({"spec": spec}));
    let errors = initialize(&mut service, old.as_ref(), "IPv4");
    match errors.is_empty() {
        true => format!("{} {}", service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]),
        false => told(&errors).join("; "),
    }
}

fn headless(mut more: Value) -> Value {
    let spec = json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]});
    more.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    more
}

#[test]
fn families_are_of_the_addresses_or_of_the_cluster() {
    assert_eq!(made(json!({"type": "ClusterIP"}), None), r#""SingleStack" ["IPv4"]"#);
    assert_eq!(made(headless(json!({"selector": {"a": "b"}})), None), r#""SingleStack" ["IPv4"]"#);
    assert_eq!(made(headless(json!({})), None), r#""RequireDualStack" ["IPv4","IPv6"]"#);
    assert_eq!(made(headless(json!({"ipFamilies": ["IPv6"]})), None), r#""RequireDualStack" ["IPv6","IPv4"]"#);
    assert_eq!(made(json!({"type": "ExternalName"}), None), "null null");
    assert_eq!(
        made(json!({"type": "ClusterIP", "clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]}), None),
        r#"spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster"#
    );
    assert_eq!(
        made(json!({"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}), None),
        r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#
    );
    assert_eq!(
        made(json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}), None),
        r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#
    );
    assert_eq!(
        made(headless(json!({"ipFamilyPolicy": "x", "ports": [{"port": 0}]})), None),
        r#"spec.ipFamilyPolicy: Unsupported value: "x": supported values: "PreferDualStack", "RequireDualStack", "SingleStack""#,
        "nothing else is judged"
    );
}

#[test]
fn a_policy_stays_until_it_is_changed() {
    let dual = || headless(json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}));
    assert_eq!(made(headless(json!({})), Some(dual())), r#""RequireDualStack" ["IPv4","IPv6"]"#);
    let single = headless(json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}));
    assert_eq!(made(single, Some(dual())), r#""SingleStack" ["IPv4"]"#);
    assert_eq!(
        made(headless(json!({"ipFamilies": ["IPv4"]})), Some(dual())),
        r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be 'SingleStack' to release the secondary IP family"#
    );
}
