//! People who create, change and delete at random, and never send anything that is wrong in itself.
//!
//! What they are refused must be one of the ways in which a sound request can fail; anything else is
//! reported. They work through the same clients as everybody, in the same weather.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::resource::{self, PODS, SERVICE_ACCOUNTS};
use api::{Object, Reason, Resource, Status};
use client::{Client, DeleteOptions, ListOptions, PatchKind};
use serde_json::{Value, json};

use crate::Chance;

const NAMES: u64 = 6;
const HOLD: &str = "sim.invalid/hold";
const NAMESPACES: &[&str] = &["default", "team-a", "team-b"];

/// One person.
pub struct User {
    client: Client,
    chance: Chance,
    /// Refusals that no sound request should get.
    surprises: Arc<Mutex<Vec<String>>>,
}

impl User {
    pub fn new(client: Client, seed: u64, name: &str) -> User {
        User { client, chance: Chance::new(seed, name), surprises: Arc::default() }
    }

    pub fn surprises(&self) -> Arc<Mutex<Vec<String>>> {
        self.surprises.clone()
    }

    /// Does so many things, with pauses between them.
    pub async fn work(mut self, deeds: u32, pause: Duration) {
        for _ in 0..deeds {
            let deed = self.chance.below(100);
            let (what, result) = match deed {
                0..30 => ("create", self.create().await),
                30..45 => ("label", self.label().await),
                45..55 => ("report", self.report().await),
                55..75 => ("delete", self.delete().await),
                75..88 => ("let go", self.let_go().await),
                88..95 => ("list", self.list().await),
                _ => ("namespace", self.namespace().await),
            };
            if let Err(status) = result
                && !is_usual(&status)
            {
                let text = format!("{what}: {} {}: {}", status.code, status.reason.as_str(), status.message);
                self.surprises.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
            let pause = self.chance.pause(pause);
            tokio::time::sleep(pause).await;
        }
    }

    fn place(&mut self) -> (&'static str, String) {
        let namespace = *self.chance.pick(NAMESPACES);
        (namespace, format!("x{}", self.chance.below(NAMES)))
    }

    fn kind(&mut self) -> &'static Resource {
        let names = [("v1", "Pod"), ("v1", "Pod"), ("v1", "ConfigMap"), ("v1", "Secret")];
        let (version, kind) = *self.chance.pick(&names);
        kinds::built_in().by_kind(version, kind).expect("a built-in kind")
    }

    async fn create(&mut self) -> Result<(), Status> {
        let (kind, (namespace, name)) = (self.kind(), self.place());
        let mut object = json!({"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": name}});
        if self.chance.happens(200) {
            object["metadata"]["finalizers"] = json!([HOLD]);
        }
        if self.chance.happens(100) {
            object["metadata"] = json!({"generateName": "g-"});
        }
        if kind.kind == "Pod" {
            let cpu = format!("{}m", 10 * (1 + self.chance.below(20)));
            let grace = self.chance.below(40);
            object["spec"] = json!({"terminationGracePeriodSeconds": grace, "containers": [
                {"name": "c", "image": "toolbox", "resources": {"requests": {"cpu": cpu}}}]});
        }
        self.client.create(kind, namespace, &object).await.map(|_| ())
    }

    /// A read, a change and a write back, or a patch.
    async fn label(&mut self) -> Result<(), Status> {
        let (kind, (namespace, name)) = (self.kind(), self.place());
        let value = self.chance.below(1000).to_string();
        if self.chance.happens(500) {
            let patch = json!({"metadata": {"labels": {"by": value}}});
            return self.client.patch(kind, namespace, &name, "", PatchKind::Merge, &patch).await.map(|_| ());
        }
        let mut object = self.client.get(kind, namespace, &name).await?.value();
        object["metadata"]["labels"]["by"] = json!(value);
        self.client.update(kind, namespace, &name, &object).await.map(|_| ())
    }

    /// Writes a condition into a pod's status, and tries to change its spec in the same breath.
    async fn report(&mut self) -> Result<(), Status> {
        let kind = &*PODS;
        let (namespace, name) = self.place();
        let mut pod = self.client.get(kind, namespace, &name).await?.value();
        pod["spec"]["activeDeadlineSeconds"] = json!(1 + self.chance.below(1000));
        let condition =
            json!({"type": "sim.invalid/Seen", "status": "True", "reason": format!("N{}", self.chance.below(9))});
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let others = conditions.into_iter().filter(|c| c["type"] != condition["type"]);
        pod["status"]["conditions"] = others.chain([condition.clone()]).collect();
        self.client.update_sub(kind, namespace, &name, "status", &pod).await.map(|_| ())
    }

    async fn delete(&mut self) -> Result<(), Status> {
        let (kind, (namespace, name)) = (self.kind(), self.place());
        let grace = [None, None, Some(0), Some(5)][self.chance.below(4) as usize];
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        self.client.delete(kind, namespace, &name, &options).await.map(|_| ())
    }

    /// Takes the finalizers off something that is being deleted, and ends a bound pod's deletion as
    /// its node would.
    async fn let_go(&mut self) -> Result<(), Status> {
        let (kind, (namespace, name)) = (self.kind(), self.place());
        let object = self.client.get(kind, namespace, &name).await?;
        if !object.meta().is_deleting() {
            return Ok(());
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            uid: Some(object.meta().uid.clone()),
            ..DeleteOptions::default()
        };
        if kind.kind == "Pod" {
            self.client.delete(kind, namespace, &name, &options).await?;
        }
        let mut value: Value = object.value();
        value["metadata"]["finalizers"] = json!([]);
        self.client.update(kind, namespace, &name, &value).await.map(|_| ())
    }

    /// Pages of one list are one snapshot: sorted, without doubles, none newer than the list.
    async fn list(&mut self) -> Result<(), Status> {
        let kind = self.kind();
        let mut options = ListOptions { limit: 1 + self.chance.below(4) as usize, ..ListOptions::default() };
        let mut seen: Vec<Object> = Vec::new();
        let mut revision = None;
        loop {
            let page = self.client.list(kind, "", &options).await?;
            let first = *revision.get_or_insert(page.revision);
            let sound = page.revision == first && page.objects.iter().all(|object| object.revision() <= first);
            self.expect(sound, "a page shows another revision than the first");
            seen.extend(page.objects);
            if page.continue_token.is_empty() {
                break;
            }
            options.continue_token = page.continue_token;
            tokio::time::sleep(self.chance.pause(Duration::from_millis(50))).await;
        }
        let keys: Vec<_> = seen.iter().map(|object| (&object.meta().namespace, &object.meta().name)).collect();
        self.expect(keys.is_sorted_by(|a, b| a < b), "a list is not in order");
        Ok(())
    }

    async fn namespace(&mut self) -> Result<(), Status> {
        let kind = &*resource::NAMESPACES;
        let name = *self.chance.pick(&NAMESPACES[1..]);
        if self.chance.happens(250) {
            return self.client.delete(kind, "", name, &DeleteOptions::default()).await.map(|_| ());
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.client.create(kind, "", &object).await.map(|_| ())
    }

    fn expect(&self, holds: bool, what: &str) {
        if !holds {
            self.surprises.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
        }
    }
}

/// A service account for every namespace there is, as a controller would make it.
pub async fn account(client: &Client, namespace: &str) -> Result<(), Status> {
    let kind = &*SERVICE_ACCOUNTS;
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    match client.create(kind, namespace, &object).await {
        Err(status) if status.reason != Reason::AlreadyExists => Err(status),
        _ => Ok(()),
    }
}

/// Ways in which a sound request may fail.
fn is_usual(status: &Status) -> bool {
    let refused_by_the_store = status.code == 507;
    // A namespace that is ending takes nothing new; one without its account takes no pods yet.
    let no_entry = status.reason == Reason::Forbidden
        && (status.message.contains("being terminated") || status.message.contains("service account"));
    refused_by_the_store
        || no_entry
        || matches!(
            status.reason,
            Reason::Conflict | Reason::NotFound | Reason::AlreadyExists | Reason::ServiceUnavailable | Reason::Expired
        )
}
