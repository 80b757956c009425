//! Fields that an author set by updates become the author's by apply.
//!
//! The server tells owners apart by name and operation: what `create` set is not what `apply` owns, though
//! one person did both. Each later change would conflict with oneself, and what leaves the file would stay.
//! kubectl wants `create --save-config` for that; here `create` and `apply` go by one name, which is mark
//! enough. Whoever keeps kubectl's last-applied annotation is `kubectl apply`, which hands over to server-side
//! apply too (kubectl pkg/cmd/apply/apply.go, migrateToSSAIfNecessary; client-go util/csaupgrade). The
//! annotation itself is handed over and then in no file: it goes, since it would tell of an older one.

use api::{Object, Reason, Resource, Status};
use client::{Client, PatchKind};
use serde_json::{Value, json};

/// How often somebody may write in between.
const ATTEMPTS: usize = 5;
const LAST_APPLIED: &str = "/f:metadata/f:annotations/f:kubectl.kubernetes.io~1last-applied-configuration";

/// The object as it is when the manager owns by apply what it or `kubectl apply` owned by updates.
pub async fn take(client: &Client, kind: &Resource, mut object: Object, manager: &str) -> Result<Object, Status> {
    for _ in 0..ATTEMPTS {
        let Some(patch) = plan(&object.value(), manager) else { break };
        let meta = object.meta().clone();
        match client.patch(kind, &meta.namespace, &meta.name, "", PatchKind::Json, &patch).await {
            Err(status) if status.reason == Reason::Conflict => {
                object = client.get(kind, &meta.namespace, &meta.name).await?;
            }
            done => return done,
        }
    }
    Ok(object)
}

/// The JSON patch that hands over; None where there is nothing to.
fn plan(object: &Value, manager: &str) -> Option<Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let of_object = |entry: &Value| entry["subresource"].as_str().is_none_or(str::is_empty);
    let is_own = |entry: &Value| entry["operation"] == "Apply" && entry["manager"] == manager && of_object(entry);
    let is_taken = |entry: &Value| {
        let is_authors = entry["manager"] == manager || entry["fieldsV1"].pointer(LAST_APPLIED).is_some();
        entry["operation"] == "Update" && is_authors && of_object(entry)
    };
    let first = entries.iter().find(|entry| is_taken(entry))?;
    let mut own = entries.iter().find(|entry| is_own(entry)).unwrap_or(first).clone();
    (own["manager"], own["operation"]) = (json!(manager), json!("Apply"));
    let mut left = Vec::new();
    for entry in entries {
        // Fields are named as their version names them.
        match is_taken(entry) && entry["apiVersion"] == own["apiVersion"] {
            true => unite(&mut own["fieldsV1"], &entry["fieldsV1"]),
            false if is_own(entry) => {}
            false => left.push(entry.clone()),
        }
    }
    left.push(own);
    Some(json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": left},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]},
    ]))
}

/// Both sets of fields in one.
fn unite(fields: &mut Value, more: &Value) {
    let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) else { return };
    for (name, below) in more {
        unite(fields.entry(name).or_insert_with(|| json!({})), below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn after(entries: &[Value]) -> Option<Value> {
        let object = json!({"metadata": {"resourceVersion": "7", "managedFields": entries}});
        let patch = plan(&object, "gousse")?;
        assert_eq!(patch[1], json!({"op": "replace", "path": "/metadata/resourceVersion", "value": "7"}));
        Some(patch[0]["value"].clone())
    }

    #[test]
    fn what_the_author_set_by_updates_is_taken_over_and_nothing_else() {
        let (a, b) = (json!({"f:data": {"f:a": {}}}), json!({"f:data": {"f:b": {}}}));
        let both = json!({"f:data": {"f:a": {}, "f:b": {}}});
        let theirs = entry("kubectl-patch", "Update", a.clone());
        let mut status = entry("gousse", "Update", b.clone());
        status["subresource"] = json!("status");
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[theirs.clone(), status.clone(), entry("gousse", "Apply", a.clone())]), None);
        let taken = after(&[entry("gousse", "Update", a.clone()), theirs.clone(), status.clone()]).unwrap();
        assert_eq!(taken, json!([theirs, status, entry("gousse", "Apply", a.clone())]));
        let taken = after(&[entry("gousse", "Update", b.clone()), entry("gousse", "Apply", a)]).unwrap();
        assert_eq!(taken, json!([entry("gousse", "Apply", both)]));
        let mut older = entry("gousse", "Update", b.clone());
        older["apiVersion"] = json!("v1beta1");
        let taken = after(&[entry("gousse", "Update", b.clone()), older.clone()]).unwrap();
        assert_eq!(taken, json!([older, entry("gousse", "Apply", b)]));
    }

    #[test]
    fn client_side_apply_is_known_by_its_annotation() {
        let note = json!({"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/last-applied-configuration": {}}}});
        let taken = after(&[entry("kubectl-client-side-apply", "Update", note.clone())]).unwrap();
        assert_eq!(taken, json!([entry("gousse", "Apply", note)]));
    }
}
