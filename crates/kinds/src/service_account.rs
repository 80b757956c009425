//! ServiceAccount: an identity for the processes of a namespace's pods.

use api::tree;
use serde_json::Value;

use crate::row::*;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![act("token", Act::Token, "TokenRequest", "authentication.k8s.io/v1", CREATE)],
        hooks: Hooks { prepare, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::namespaced("v1", "ServiceAccount", "serviceaccounts").judged_as_new().short("sa")
    }
}

/// Of its secrets only the names are kept (pkg/registry/core/serviceaccount/strategy.go).
fn prepare(_: &Kind, account: &mut Value, _: Option<&Value>, _: &Context) {
    for secret in tree::each(account, "secrets").filter_map(Value::as_object_mut) {
        secret.retain(|key, _| key == "name");
    }
}
