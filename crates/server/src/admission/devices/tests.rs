use serde_json::json;

use super::*;
use crate::identity::Identity;
use crate::tests::cluster;

#[tokio::test]
async fn devices_are_administered_only_from_a_namespace_that_says_so() {
    let c = cluster().await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let templates = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
    let spec = json!({"devices": {"requests": [
        {"name": "a", "exactly": {"deviceClassName": "c"}},
        {"name": "b", "exactly": {"deviceClassName": "c", "adminAccess": true}},
    ]}});
    let claim = json!({"metadata": {"name": "x"}, "spec": spec});
    let template = json!({"metadata": {"name": "x"}, "spec": {"spec": spec}});
    let why = "is invalid: spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the \
               `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    for (path, object, kind) in [(claims, &claim, "ResourceClaim"), (templates, &template, "ResourceClaimTemplate")] {
        let (code, status) = c.post(path, object.clone()).await;
        let text = format!("{kind}.resource.k8s.io \"x\" {why}");
        assert_eq!((code, status["message"].as_str().unwrap()), (422, text.as_str()));
    }
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    c.patch("/api/v1/namespaces/default", "application/merge-patch+json", label).await;
    assert_eq!(c.post(claims, claim).await.0, 201);
    assert_eq!(c.post(templates, template).await.0, 201);
}

#[tokio::test]
async fn who_writes_a_status_neither_allocates_nor_speaks_for_any_driver() {
    let c = cluster().await;
    let served = kinds::built_in().served(GROUP, "v1", "resourceclaims").unwrap();
    let asked = |identity: &Identity, new: Value, old: Value| {
        let claim = |status: Value| json!({"metadata": {"name": "x"}, "status": status});
        let (new, old) = (claim(new), claim(old));
        let ask = Ask {
            server: &c.server,
            identity,
            served: &served,
            operation: Operation::Update,
            verb: "patch",
            subresource: "status",
            schema: &served.kind.schema,
            namespace: "default",
            name: "x",
            old: Some(&old),
            dry_run: false,
        };
        (PLUGIN.validate)(&ask, &new, &mut Findings::default()).map_err(|status| status.message)
    };
    let eve = Identity::authenticated("eve", "", vec![]);
    let allocation = json!({"allocation": {"devices": {"results": [{"driver": "d"}]}}});
    let refused = |user: &str, resource: &str, verb: &str, scope: &str| {
        format!("User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"resource.k8s.io\" {scope}")
    };
    assert_eq!(
        asked(&eve, allocation.clone(), json!({})).unwrap_err(),
        format!(
            "ResourceClaim.resource.k8s.io \"x\" is invalid: status.allocation: Forbidden: changing status.allocation or \
             status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"patch\" permission: \
             resourceclaims.resource.k8s.io is forbidden: {}",
            refused("eve", "resourceclaims/binding", "patch", "at the cluster scope")
        )
    );
    assert!(asked(&eve, json!({"reservedFor": [{"uid": "u"}]}), json!({})).is_err());
    assert_eq!(asked(&eve, allocation.clone(), allocation.clone()), Ok(()));
    assert_eq!(asked(&c.admin, allocation, json!({})), Ok(()));

    let in_node = json!({"nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
        {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]}});
    let old = json!({"allocation": in_node, "devices": [{"driver": "d", "device": "a"}]});
    let new = json!({"allocation": in_node});
    let error = asked(&eve, new.clone(), old.clone()).unwrap_err();
    let scope = "in the namespace \"default\"";
    let permission = refused("eve", "resourceclaims/driver", "arbitrary-node:patch", scope);
    let verbs = "verb=\"[arbitrary-node:patch]\" permission: ";
    assert!(error.contains(verbs) && error.ends_with(&permission), "{error}");
    let driver = |name: &str, node: &str| {
        let extra = [(NODE_OF_ACCOUNT.to_string(), vec![node.to_string()])];
        Identity::authenticated(name, "", vec![]).with_extra(extra.into())
    };
    for (name, node, verbs) in [
        ("system:serviceaccount:a:b", "n1", "verb=\"[associated-node:patch arbitrary-node:patch]\""),
        ("system:serviceaccount:a:b", "n2", "verb=\"[arbitrary-node:patch]\""),
        ("b", "n1", "verb=\"[arbitrary-node:patch]\""),
    ] {
        let error = asked(&driver(name, node), new.clone(), old.clone()).unwrap_err();
        assert!(error.contains(verbs), "{name} in {node}: {error}");
    }
    assert_eq!(asked(&c.admin, new, old), Ok(()));
}
