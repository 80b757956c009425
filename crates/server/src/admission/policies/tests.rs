use serde_json::json;

use super::*;
use crate::identity::Identity;
use crate::tests::cluster;

#[tokio::test]
async fn nobody_reads_by_a_policy_what_they_may_not_read() {
    let c = cluster().await;
    let asked = |identity: &Identity, plural: &str, new: Value, old: Option<Value>| {
        let served = kinds::built_in().served(GROUP, "v1", plural).unwrap();
        let of = |spec: Value| json!({"metadata": {"name": "x"}, "spec": spec});
        let (new, old) = (of(new), old.map(of));
        let ask = Ask {
            server: &c.server,
            identity,
            served: &served,
            operation: if old.is_some() { Operation::Update } else { Operation::Create },
            verb: "create",
            subresource: "",
            schema: &served.kind.schema,
            namespace: "",
            name: "x",
            old: old.as_ref(),
            dry_run: false,
        };
        (PLUGIN.validate)(&ask, &new, &mut Findings::default()).map_err(|status| status.message)
    };
    let eve = Identity::authenticated("eve", "", vec![]);
    let secrets = json!({"paramKind": {"apiVersion": "v1", "kind": "Secret"}});
    let shown = "user &{eve  [system:authenticated] map[]}";
    for (plural, kind) in [
        ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
    ] {
        assert_eq!(
            asked(&eve, plural, secrets.clone(), None).unwrap_err(),
            format!(
                "{kind}.{GROUP} \"x\" is invalid: spec.paramKind: Forbidden: {shown} must have \"get\" permission on all \
                 objects of the referenced paramKind (kind=Secret, apiVersion=v1)"
            )
        );
        assert!(asked(&eve, plural, secrets.clone(), Some(json!({}))).is_err(), "nor later");
        assert_eq!(asked(&eve, plural, secrets.clone(), Some(secrets.clone())), Ok(()));
        assert_eq!(asked(&eve, plural, json!({}), None), Ok(()));
        assert_eq!(asked(&c.admin, plural, secrets.clone(), None), Ok(()));
    }
    let binding = |reference: Value| json!({"policyName": "p", "paramRef": reference});
    let plural = "validatingadmissionpolicybindings";
    let error = asked(&eve, plural, binding(json!({"name": "s"})), None).unwrap_err();
    assert!(error.contains("spec.paramRef: Forbidden: unable to get policy p to determine minimum"), "{error}");
    let policy = json!({"metadata": {"name": "p"}, "spec": {"paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "matchConstraints": {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods"]}]}, "validations": [{"expression": "true"}]}});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let (code, made) = c.post(path, policy).await;
    assert_eq!(code, 201, "{made}");
    for (reference, verb) in [(json!({"name": "s", "namespace": "n"}), "get"), (json!({"selector": {}}), "list")] {
        let error = asked(&eve, plural, binding(reference.clone()), None).unwrap_err();
        let why = format!("{shown} does not have \"{verb}\" permission on the object referenced by paramRef");
        assert!(error.ends_with(&why), "{error}");
        assert_eq!(asked(&eve, plural, binding(reference.clone()), Some(binding(reference.clone()))), Ok(()));
        assert_eq!(asked(&c.admin, plural, binding(reference), None), Ok(()));
    }
    let bound = Identity::authenticated("system:kube-controller-manager", "", vec![]);
    assert_eq!(asked(&bound, plural, binding(json!({"name": "s"})), None), Ok(()), "who may read all");
}
