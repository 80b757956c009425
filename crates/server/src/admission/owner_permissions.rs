//! OwnerReferencesPermissionEnforcement: owners are set by who may delete the object.
//!
//! And they hold up the deletion of their owner only for who may write that one's finalizers.
//! plugin/pkg/admission/gc.

use api::Status;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin, each};
use crate::authorize::{Attributes, Decision};

pub const PLUGIN: Plugin = Plugin {
    name: "OwnerReferencesPermissionEnforcement",
    operations: &[Operation::Create, Operation::Update],
    validate,
    by_default: false,
    ..NONE
};

fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    // A status write changes no owners.
    let old = ask.old.map_or(&Value::Null, |old| &old["metadata"]["ownerReferences"]);
    let new = &object["metadata"]["ownerReferences"];
    if (ask.is("pods") && ask.subresource == "status") || each(old).eq(each(new)) {
        return Ok(());
    }
    if ask.operation != Operation::Create {
        let deletes = Attributes {
            verb: "delete".into(),
            namespace: ask.namespace.into(),
            group: ask.kind().group.clone(),
            version: ask.served.resource().version.clone(),
            resource: ask.kind().plural.clone(),
            subresource: ask.subresource.into(),
            name: ask.name.into(),
            ..Attributes::default()
        };
        may(ask, &deletes).map_err(|why| {
            ask.forbidden(object, &format!("cannot set an ownerRef on a resource you can't delete: {why}, <nil>"))
        })?;
    }
    let blocks = |one: &&Value| one["blockOwnerDeletion"] == true;
    let blocked = |one: &&Value| each(old).any(|before| before["uid"] == one["uid"] && blocks(&before));
    let newly: Vec<&Value> = each(new).filter(blocks).filter(|one| !blocked(one)).collect();
    let finalizes = |group: &str, version: &str, resource: &str, name: &str, namespace: &str| Attributes {
        verb: "update".into(),
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
        subresource: "finalizers".into(),
        name: name.into(),
        namespace: namespace.into(),
        ..Attributes::default()
    };
    if newly.is_empty() || may(ask, &finalizes("*", "*", "*", "*", "")).is_ok() {
        return Ok(());
    }
    for owner in newly {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kinds = ask.server.kinds();
        let Some(found) = kinds.by_kind(api_version, kind) else {
            let why = format!("no matches for kind {kind:?} in version {api_version:?}");
            let what = "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion";
            return Err(ask.forbidden(object, &format!("{what} {api_version} Kind {kind}: {why}")));
        };
        let namespace = if found.namespaced { ask.namespace } else { "" };
        may(ask, &finalizes(group, version, &found.plural, text("name"), namespace)).map_err(|why| {
            let what =
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on:";
            ask.forbidden(object, &format!("{what} {why}, <nil>"))
        })?;
    }
    Ok(())
}

/// The reason where not.
fn may(ask: &Ask<'_>, asked: &Attributes) -> Result<(), String> {
    match ask.server.0.authorizer.decide(ask.identity, asked) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) => Err(why),
    }
}
