//! ComponentStatus: how the parts of the cluster's own machinery are. Nothing of it is stored; it is only read.

use api::tree;
use serde_json::{Value, json};

use crate::row::*;

pub(crate) fn row() -> Kind {
    let kind = Kind {
        columns: vec![
            NAME,
            computed("Status", "Whether the part is well.", |one, _| match healthy(one) {
                None => json!("Unknown"),
                Some(condition) if condition["status"] == "True" => json!("Healthy"),
                Some(_) => json!("Unhealthy"),
            }),
            computed("Message", "What the part says.", |one, _| said(one, "message")),
            computed("Error", "Why the part could not be asked.", |one, _| said(one, "error")),
        ],
        ..Kind::cluster("v1", "ComponentStatus", "componentstatuses").short("cs").deprecated("in v1.19+")
    };
    ["create", "delete", "deletecollection", "patch", "update", "watch"].into_iter().fold(kind, Kind::without)
}

fn healthy(one: &Value) -> Option<&Value> {
    tree::list(one, "conditions").iter().find(|condition| condition["type"] == "Healthy")
}

fn said(one: &Value, field: &str) -> Value {
    json!(healthy(one).map(|condition| tree::text(condition, field)).unwrap_or_default())
}
