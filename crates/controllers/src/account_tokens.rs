//! Secrets that hold an account's token: none without its account, none without its token.
//!
//! pkg/controller/serviceaccount/tokens_controller.go. The token itself is the server's work: it fills the Secret
//! when it is written under its name (`server`'s admission).

use std::sync::Arc;

use api::resource::{SECRETS, SERVICE_ACCOUNTS};
use api::{Object, Reason, Status, tree};
use client::cache::index::Index;
use client::reconcile::{self, Requeue};
use client::{DeleteOptions, Key};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::json;

use crate::Parts;

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Under their account: `default/builder`.
static ACCOUNT: Index = Index {
    name: "account",
    values: |secret| {
        let value = secret.value();
        let account = value["metadata"]["annotations"][NAME].as_str().filter(|_| value["type"] == TYPE);
        account.map(|name| format!("{}/{name}", secret.meta().namespace)).into_iter().collect()
    },
};

pub async fn run(parts: Arc<Parts>) {
    let (secrets, accounts) = (parts.cache(&SECRETS), parts.cache(&SERVICE_ACCOUNTS));
    parts.synced(&[&secrets, &accounts]).await;
    let of = secrets.clone();
    let theirs = move |account: Key| {
        let held = of.by(&ACCOUNT, &format!("{}/{}", account.namespace, account.name));
        stream::iter(held.iter().map(Key::of).collect::<Vec<_>>())
    };
    let keys = select(secrets.subscribe().keys(), accounts.subscribe().keys().flat_map(theirs));
    let work = |key: Key| {
        let parts = parts.clone();
        async move { ensure(&parts, &key).await }
    };
    reconcile::run(keys, 4, work).await;
}

async fn ensure(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let secrets = parts.cache(&SECRETS);
    let Some(secret) = secrets.get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let mut value = secret.value();
    if value["type"] != TYPE || secret.meta().is_deleting() {
        return Ok(Requeue::Done);
    }
    let text = |field: &str| value["metadata"]["annotations"][field].as_str().unwrap_or_default().to_string();
    let (name, uid) = (text(NAME), text(UID));
    let account = account(parts, &key.namespace, &name, &uid).await?;
    let answer = match account {
        None => {
            let options = DeleteOptions { uid: Some(secret.meta().uid.clone()), ..DeleteOptions::default() };
            parts.client.delete(&SECRETS, &key.namespace, &key.name, &options).await
        }
        Some(account) if tree::text(&value["data"], "token").is_empty() => {
            value["metadata"]["annotations"][UID] = json!(account.meta().uid);
            parts.client.update(&SECRETS, &key.namespace, &key.name, &value).await
        }
        Some(_) => return Ok(Requeue::Done),
    };
    match answer {
        Ok(written) => secrets.reached(written.revision()).await,
        Err(status) if status.reason == Reason::NotFound => {}
        Err(status) => return Err(status),
    }
    Ok(Requeue::Done)
}

/// The account that a Secret is of; whether one is gone is asked of the server, since a cache may be behind.
async fn account(parts: &Parts, namespace: &str, name: &str, uid: &str) -> Result<Option<Object>, Status> {
    let is_it = |account: &Object| uid.is_empty() || account.meta().uid == uid;
    if let Some(account) = parts.cache(&SERVICE_ACCOUNTS).get(namespace, name).filter(is_it) {
        return Ok(Some(account));
    }
    match parts.client.get(&SERVICE_ACCOUNTS, namespace, name).await {
        Ok(account) => Ok(Some(account).filter(is_it)),
        Err(status) if status.reason == Reason::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
