//! FlowSchemas and PriorityLevelConfigurations that every cluster has: two of each are mandatory.
//!
//! apiserver pkg/apis/flowcontrol/bootstrap/default.go and registry/flowcontrol/ensurer.

use serde_json::{Value, json};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const LEASES: &str = "coordination.k8s.io";
const ALL_USERS: &[&str] = &["Group/system:unauthenticated", "Group/system:authenticated"];
const NODES: &[&str] = &["Group/system:nodes"];

/// An object that is made at the start when it is missing.
pub struct Bootstrap {
    /// `flowschemas`
    pub plural: &'static str,
    /// Its spec is the server's; what people make of the others' is theirs.
    pub is_mandatory: bool,
    pub object: Value,
}

/// Priority levels first.
pub fn all() -> Vec<Bootstrap> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let catch_all = limited(5, 0, json!({"type": "Reject"}));
    let levels = [
        level("exempt", true, exempt),
        level("catch-all", true, catch_all),
        level("system", false, queued(30, 33, 64, 6)),
        level("node-high", false, queued(40, 25, 64, 6)),
        level("leader-election", false, queued(10, 0, 16, 4)),
        level("workload-high", false, queued(40, 50, 128, 6)),
        level("workload-low", false, queued(100, 90, 128, 6)),
        level("global-default", false, queued(20, 50, 128, 6)),
    ];
    let manager = &["User/system:kube-controller-manager"];
    let scheduler = &["User/system:kube-scheduler"];
    let electing = &[manager[0], scheduler[0], "ServiceAccount/*"];
    let schemas = [
        schema("exempt", true, "exempt", 1, "", &["Group/system:masters"], everything()),
        schema("catch-all", true, "catch-all", 10_000, "ByUser", ALL_USERS, everything()),
        schema("system-nodes", false, "system", 500, "ByUser", NODES, everything()),
        schema("system-node-high", false, "node-high", 400, "ByUser", NODES, of_nodes()),
        schema("probes", false, "exempt", 2, "", ALL_USERS, probes()),
        schema("system-leader-election", false, "leader-election", 100, "ByUser", electing, elections()),
        schema("kube-controller-manager", false, "workload-high", 800, "ByNamespace", manager, everything()),
        schema("kube-scheduler", false, "workload-high", 800, "ByNamespace", scheduler, everything()),
        schema(
            "kube-system-service-accounts",
            false,
            "workload-high",
            900,
            "ByNamespace",
            &["ServiceAccount/*"],
            everything(),
        ),
        schema(
            "service-accounts",
            false,
            "workload-low",
            9000,
            "ByUser",
            &["Group/system:serviceaccounts"],
            everything(),
        ),
        schema("global-default", false, "global-default", 9900, "ByUser", ALL_USERS, everything()),
    ];
    levels.into_iter().chain(schemas).collect()
}

/// What a stored object is to become; None: it is as it shall be. People may keep a suggested one as theirs by
/// the annotation, and by changing it where that is missing.
pub fn revised(own: &Bootstrap, current: &Value) -> Option<Value> {
    let told = match current["metadata"]["annotations"][AUTO_UPDATE].as_str() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let updates = own.is_mandatory || told.unwrap_or(current["metadata"]["generation"] == 1);
    let mut revised = current.clone();
    if updates {
        revised["spec"] = own.object["spec"].clone();
        if own.object["spec"]["type"] == "Exempt" && current["spec"]["exempt"].is_object() {
            revised["spec"]["exempt"] = current["spec"]["exempt"].clone();
        }
    }
    if told != Some(updates) {
        if !revised["metadata"]["annotations"].is_object() {
            revised["metadata"]["annotations"] = json!({});
        }
        revised["metadata"]["annotations"][AUTO_UPDATE] = json!(updates.to_string());
    }
    (revised != *current).then_some(revised)
}

/// The spec of a mandatory object.
pub(super) fn mandatory(plural: &str, name: &str) -> Option<Value> {
    let mut all = all().into_iter().filter(|own| own.is_mandatory && own.plural == plural);
    all.find(|own| own.object["metadata"]["name"] == name).map(|own| own.object["spec"].clone())
}

fn level(name: &str, is_mandatory: bool, spec: Value) -> Bootstrap {
    let object = object("PriorityLevelConfiguration", name, spec);
    Bootstrap { plural: "prioritylevelconfigurations", is_mandatory, object }
}

fn limited(shares: i64, lendable: i64, response: Value) -> Value {
    let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
    json!({"type": "Limited", "limited": limited})
}

fn queued(shares: i64, lendable: i64, queues: i64, hand: i64) -> Value {
    let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
    limited(shares, lendable, json!({"type": "Queue", "queuing": queuing}))
}

fn schema(
    name: &str,
    is_mandatory: bool,
    level: &str,
    precedence: i64,
    method: &str,
    subjects: &[&str],
    mut rule: Value,
) -> Bootstrap {
    rule["subjects"] = subjects.iter().map(|text| subject(text)).collect();
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
        "rules": [rule]});
    if !method.is_empty() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    Bootstrap { plural: "flowschemas", is_mandatory, object: object("FlowSchema", name, spec) }
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "annotations": {AUTO_UPDATE: "true"}});
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

/// `Group/system:nodes`; service accounts are those of kube-system.
fn subject(text: &str) -> Value {
    match text.split_once('/').expect("a kind and a name") {
        ("Group", name) => json!({"kind": "Group", "group": {"name": name}}),
        ("User", name) => json!({"kind": "User", "user": {"name": name}}),
        (kind, name) => json!({"kind": kind, "serviceAccount": {"name": name, "namespace": "kube-system"}}),
    }
}

fn everything() -> Value {
    let other = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
    json!({"resourceRules": [resources(&["*"], "*", &["*"], true)], "nonResourceRules": [other]})
}

fn probes() -> Value {
    let urls = ["/healthz", "/readyz", "/livez"];
    json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": urls}]})
}

fn elections() -> Value {
    json!({"resourceRules": [resources(&["get", "create", "update"], LEASES, &["leases"], false)]})
}

fn of_nodes() -> Value {
    let nodes = resources(&["*"], "", &["nodes", "nodes/status"], true);
    json!({"resourceRules": [nodes, resources(&["*"], LEASES, &["leases"], false)]})
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], is_cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if is_cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;
    use crate::tests::{kind, told};

    #[test]
    fn every_object_is_good_and_as_defaulting_leaves_it() {
        for own in all() {
            let mut object = own.object.clone();
            kind(own.plural).default(&mut object);
            assert_eq!(object, own.object);
            assert_eq!(told(&kind(own.plural).validate(&object, None, &Context::default())), [""; 0], "{object}");
        }
        assert_eq!(all().iter().filter(|own| own.is_mandatory).count(), 4);
    }

    #[test]
    fn what_people_change_stays_theirs_but_for_the_mandatory() {
        let all = all();
        let find = |plural: &str, name: &str| {
            all.iter().find(|own| own.plural == plural && own.object["metadata"]["name"] == name).unwrap()
        };
        let changed = |own: &Bootstrap, annotation: Value, generation: i64| {
            let mut current = own.object.clone();
            current["spec"]["matchingPrecedence"] = json!(7);
            current["metadata"]["generation"] = json!(generation);
            current["metadata"]["annotations"] = json!({AUTO_UPDATE: annotation});
            let revised = revised(own, &current)?;
            Some((
                revised["spec"]["matchingPrecedence"].clone(),
                revised["metadata"]["annotations"][AUTO_UPDATE].clone(),
            ))
        };
        let probes = find("flowschemas", "probes");
        assert_eq!(revised(probes, &probes.object), None);
        assert_eq!(changed(probes, json!("true"), 2), Some((json!(2), json!("true"))));
        assert_eq!(changed(probes, json!("false"), 2), None);
        assert_eq!(changed(probes, Value::Null, 2), Some((json!(7), json!("false"))));
        assert_eq!(changed(probes, Value::Null, 1), Some((json!(2), json!("true"))));
        assert_eq!(changed(find("flowschemas", "exempt"), json!("false"), 2), Some((json!(1), json!("true"))));
        let exempt = find("prioritylevelconfigurations", "exempt");
        let mut current = exempt.object.clone();
        current["spec"]["exempt"]["lendablePercent"] = json!(5);
        assert_eq!(revised(exempt, &current), None, "how much is lent is people's");
    }
}
