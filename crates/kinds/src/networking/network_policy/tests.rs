use super::*;
use crate::tests::{kind, told};

fn policy(spec: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "n", "resourceVersion": "1"}, "spec": spec})
}

fn judged(spec: Value) -> Vec<String> {
    told(&kind("networkpolicies").validate(&policy(spec), None, &Context::default()))
}

fn block(block: Value) -> Vec<String> {
    judged(json!({"egress": [{"to": [{"ipBlock": block}]}]}))
}

#[test]
fn a_policy_is_of_ingress_and_with_egress_rules_of_both() {
    let kind = kind("networkpolicies");
    let types = |spec: Value| {
        let mut policy = policy(spec);
        kind.default(&mut policy);
        policy["spec"].clone()
    };
    assert_eq!(types(json!({}))["policyTypes"], json!(["Ingress"]));
    let both = types(json!({"egress": [{"ports": [{"port": 1}]}]}));
    assert_eq!(
        (&both["policyTypes"], &both["egress"][0]["ports"][0]["protocol"]),
        (&json!(["Ingress", "Egress"]), &json!("TCP"))
    );
    assert_eq!(types(json!({"policyTypes": ["Egress"]}))["policyTypes"], json!(["Egress"]));
    assert_eq!(
        judged(json!({"policyTypes": ["X"]})),
        [r#"spec.policyTypes[0]: Unsupported value: "X": supported values: "Ingress", "Egress""#]
    );
    assert_eq!(
        judged(json!({"policyTypes": ["X", "X", "X"]})),
        [r#"spec.policyTypes: Invalid value: ["X","X","X"]: may not specify more than two policyTypes"#]
    );
}

#[test]
fn rules_have_good_ports_and_peers() {
    let selector = json!({"matchLabels": {"a": "b"}});
    assert_eq!(
        judged(json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": selector, "namespaceSelector": {}}]}],
            "egress": [{"ports": [{"port": 80, "endPort": 90}, {"port": "http"}]}]})),
        [""; 0]
    );
    let at = "spec.ingress[0].ports";
    assert_eq!(
        judged(
            json!({"ingress": [{"ports": [{"protocol": "X"}, {"port": 0}, {"port": 9, "endPort": 8}, {"endPort": 1},
            {"port": "http", "endPort": 1}, {"port": "-"}]}]})
        )[..6],
        [
            format!(r#"{at}[0].protocol: Unsupported value: "X": supported values: "TCP", "UDP", "SCTP""#),
            format!("{at}[1].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
            format!("{at}[2].endPort: Invalid value: 8: must be greater than or equal to `port`"),
            format!("{at}[3].endPort: Invalid value: 1: may not be specified when `port` is not specified"),
            format!("{at}[4].endPort: Invalid value: 1: may not be specified when `port` is non-numeric"),
            format!("{at}[5].port: Invalid value: \"-\": must contain at least one letter (a-z)"),
        ]
    );
    assert_eq!(
        judged(json!({"ingress": [{"from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]})),
        [
            "spec.ingress[0].from[0]: Required value: must specify a peer",
            "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
        ]
    );
}

#[test]
fn blocks_are_ranges_within_each_other() {
    assert_eq!(block(json!({"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]})), [""; 0]);
    let at = "spec.egress[0].to[0].ipBlock";
    assert_eq!(block(json!({})), [format!("{at}.cidr: Required value")]);
    assert_eq!(
        block(json!({"cidr": "10.0.0.1/8"})),
        [format!("{at}.cidr: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length")]
    );
    assert_eq!(
        block(json!({"cidr": "10.0.0.0/08"})),
        [format!("{at}.cidr: Invalid value: \"10.0.0.0/08\": must not have leading 0s in IP or prefix length")]
    );
    assert_eq!(
        block(json!({"cidr": "::ffff:10.0.0.0/104"})),
        [format!("{at}.cidr: Invalid value: \"::ffff:10.0.0.0/104\": must not have an IPv4-mapped IPv6 address")]
    );
    let except = |range: &str, why: &str| format!("{at}.except[0]: Invalid value: {range:?}: {why}");
    let is_none = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    for (range, why) in [
        ("10.0.0.0/8", "must be a strict subset of `cidr`"),
        ("11.0.0.0/16", "must be a strict subset of `cidr`"),
        ("fd00::/16", "must be a strict subset of `cidr`"),
        ("10.0.0.0", is_none),
        ("10.0.0.0/33", is_none),
        ("10.0.0.0/+9", is_none),
    ] {
        assert_eq!(block(json!({"cidr": "10.0.0.0/8", "except": [range]})), [except(range, why)]);
    }
}

#[test]
fn ranges_of_older_versions_stay_and_odd_ones_are_told() {
    let kind = kind("networkpolicies");
    let of = |range: &str| policy(json!({"ingress": [{"from": [{"ipBlock": {"cidr": range}}]}]}));
    let (old, mut new) = (of("010.0.0.1/8"), of("010.0.0.1/8"));
    new["spec"]["egress"] = json!([{"to": [{"ipBlock": {"cidr": "010.0.0.1/8"}}]}]);
    assert_eq!(told(&kind.validate(&new, Some(&old), &Context::default())), [""; 0]);
    let at = "spec.ingress[0].from[0].ipBlock.cidr";
    let told = |range: &str| (kind.hooks.warnings)(kind, &of(range), None);
    assert_eq!(
        told("010.0.0.1/8"),
        [
            format!(
                "{at}: CIDR value \"010.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)"
            ),
            format!("{at}: non-standard CIDR value \"010.0.0.1/8\" is invalid: use \"10.0.0.0/8\""),
        ]
    );
    assert_eq!(
        told("fd00:0::/64"),
        [format!("{at}: IPv6 CIDR value \"fd00:0::/64\" should be in RFC 5952 canonical format (\"fd00::/64\")")]
    );
    assert_eq!(told("10.0.0.0/8"), [""; 0]);
}

#[test]
fn a_selector_is_shown_in_one_line() {
    let all = json!({"s": {"matchLabels": {"z": "1"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["c", "b"]},
        {"key": "b", "operator": "NotIn", "values": ["x"]}, {"key": "c", "operator": "Exists"}, {"key": "d", "operator": "DoesNotExist"}]}});
    assert_eq!(selector_text(&all["s"]), "a in (b,c),b notin (x),c,!d,z=1");
    assert_eq!(selector_text(&json!({})), "<none>");
}
