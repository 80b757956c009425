//! How the parts beside the server are, told as objects (`told`).
//!
//! kubernetes pkg/registry/core/componentstatus, which asks the parts' own ports. Here they are parts of this process,
//! or none is known; what is called etcd is the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kinds::Kind;
use serde_json::{Value, json};
use store::{Entry, Revision};

use crate::{Server, records};

/// In the order in which they are told.
const PARTS: [&str; 2] = ["controller-manager", "scheduler"];

/// Those that run: as long as somebody holds their sign of life.
#[derive(Default)]
pub struct Parts(Mutex<BTreeMap<&'static str, Weak<()>>>);

impl Parts {
    /// The sign of life of a part (`scheduler`, `controller-manager`), for the part to hold.
    pub fn begin(&self, name: &'static str) -> Arc<()> {
        let life = Arc::new(());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::downgrade(&life));
        life
    }

    fn runs(&self, name: &str) -> bool {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.get(name).is_some_and(|life| life.strong_count() > 0)
    }
}

/// All objects.
pub fn all(server: &Server, kind: &Kind) -> Vec<Entry> {
    let parts = PARTS.map(|name| (name, server.0.parts.runs(name), "it does not run in the server's process"));
    let store = ("etcd-0", server.0.store.is_writable(), "the store takes no writes");
    let entry = |(name, is_well, why)| Entry {
        key: records::key(kind, "", name),
        revision: Revision(0),
        created: Revision(0),
        bytes: told(name, is_well, why).to_string().into(),
    };
    let mut all: Vec<Entry> = parts.into_iter().chain([store]).map(entry).collect();
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all
}

fn told(name: &str, is_well: bool, why: &str) -> Value {
    let (status, message) = if is_well { ("True", "ok") } else { ("False", why) };
    json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}]})
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::Value;

    use super::*;
    use crate::tests::cluster;

    const PATH: &str = "/api/v1/componentstatuses";

    #[tokio::test]
    async fn parts_are_well_as_long_as_they_run() {
        let c = cluster().await;
        let scheduler = c.server.part("scheduler");
        let told = async || {
            let (code, list) = c.get(PATH).await;
            assert_eq!(code, 200, "{list}");
            let items = list["items"].as_array().unwrap().clone();
            let of = |one: &Value| {
                let condition = &one["conditions"][0];
                assert_eq!(condition["type"], "Healthy");
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                [text(&one["metadata"]["name"]), text(&condition["status"]), text(&condition["message"])]
            };
            items.iter().map(of).collect::<Vec<_>>()
        };
        let away = "it does not run in the server's process";
        let well = |name: &str| [name, "True", "ok"].map(String::from);
        let ill = |name: &str| [name, "False", away].map(String::from);
        assert_eq!(told().await, [ill("controller-manager"), well("etcd-0"), well("scheduler")]);
        drop(scheduler);
        assert_eq!(told().await, [ill("controller-manager"), well("etcd-0"), ill("scheduler")]);
        let (code, one) = c.get(&format!("{PATH}/etcd-0")).await;
        assert_eq!((code, &one["metadata"]), (200, &json!({"name": "etcd-0"})), "{one}");
        let (code, status) = c.get(&format!("{PATH}/etcd-1")).await;
        assert_eq!((code, &status["message"]), (404, &json!("componentstatus \"etcd-1\" not found")));
        let chosen = c.get(&format!("{PATH}?fieldSelector=metadata.name%3Dscheduler")).await.1;
        assert_eq!(chosen["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(c.get(&format!("{PATH}?labelSelector=a%3Db")).await.1["items"], json!([]));
        assert_eq!(c.post(PATH, json!({"metadata": {"name": "x"}})).await.0, 405);
        assert_eq!(c.get(&format!("{PATH}?watch=true")).await.0, 405);
        assert_eq!(c.call_as(&c.admin, Method::DELETE, &format!("{PATH}/etcd-0"), String::new()).await.0, 405);
    }
}
