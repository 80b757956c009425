use super::*;
use crate::tests::{kind, told};

fn binding(plural: &str, role: Value, subjects: Value) -> Value {
    let kind = kind(plural);
    let mut binding = json!({"metadata": {"name": "b", "resourceVersion": "1"}, "roleRef": role, "subjects": subjects});
    if kind.namespaced {
        binding["metadata"]["namespace"] = json!("n");
    }
    kind.default(&mut binding);
    binding
}

fn judged(plural: &str, role: Value, subjects: Value) -> Vec<String> {
    told(&kind(plural).validate(&binding(plural, role, subjects), None, &Context::default()))
}

#[test]
fn a_binding_gives_a_role_to_users_groups_and_accounts() {
    let role = json!({"kind": "ClusterRole", "name": "view"});
    let subjects = json!([{"kind": "User", "name": "a"}, {"kind": "Group", "name": "b"},
        {"kind": "ServiceAccount", "name": "c", "namespace": "d"}]);
    let made = binding("clusterrolebindings", role.clone(), subjects.clone());
    assert_eq!(made["roleRef"]["apiGroup"], GROUP);
    let groups: Vec<_> = tree::list(&made, "subjects").iter().map(|s| tree::text(s, "apiGroup")).collect();
    assert_eq!(groups, [GROUP, GROUP, ""]);
    let cells: Vec<Value> = kind("rolebindings").columns[1..].iter().map(|c| c.of(&made, "")).collect();
    assert_eq!((&cells[0], &cells[2..]), (&json!("ClusterRole/view"), &[json!("a"), json!("b"), json!("d/c")][..]));
    assert_eq!(judged("clusterrolebindings", role.clone(), subjects.clone()), [""; 0]);
    assert_eq!(judged("rolebindings", role, subjects), [""; 0]);
}

#[test]
fn a_binding_says_whom_and_what() {
    let role = json!({"apiGroup": "apps", "kind": "Role"});
    assert_eq!(
        judged("clusterrolebindings", role, json!([{"kind": "ServiceAccount", "name": "A", "apiGroup": "x"}]))
            .iter()
            .map(|line| line.split(" a lowercase").next().unwrap())
            .collect::<Vec<_>>(),
        [
            r#"roleRef.apiGroup: Unsupported value: "apps": supported values: "rbac.authorization.k8s.io""#,
            r#"roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole""#,
            r#"subjects[0].name: Invalid value: "A":"#,
            r#"subjects[0].apiGroup: Unsupported value: "x": supported values: """#,
            "subjects[0].namespace: Required value",
            "roleRef.name: Required value",
        ]
    );
    assert_eq!(
        judged(
            "rolebindings",
            json!({"kind": "Other", "name": "a/b"}),
            json!([{"kind": "Robot"}, {"kind": "User", "name": "u", "apiGroup": "x"}])
        ),
        [
            r#"roleRef.kind: Unsupported value: "Other": supported values: "Role", "ClusterRole""#,
            r#"roleRef.name: Invalid value: "a/b": may not contain '/'"#,
            r#"subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group""#,
            r#"subjects[1].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io""#,
            "subjects[0].name: Required value",
        ]
    );
}

#[test]
fn a_bindings_role_stays() {
    for plural in ["rolebindings", "clusterrolebindings"] {
        let with = |name: &str| binding(plural, json!({"kind": "ClusterRole", "name": name}), json!([]));
        assert_eq!(
            told(&kind(plural).validate(&with("b"), Some(&with("a")), &Context::default())),
            [
                r#"roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"b"}: field is immutable"#
            ]
        );
    }
}
