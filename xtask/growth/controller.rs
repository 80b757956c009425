//! Tells in the log how many ConfigMaps a namespace has, when that changes.

use std::sync::Arc;

use api::Status;
use api::resource::CONFIG_MAPS;
use client::Key;
use client::reconcile::{self, Requeue};

use crate::Parts;

pub async fn run(parts: Arc<Parts>) {
    let maps = parts.cache(&CONFIG_MAPS);
    parts.synced(&[&maps]).await;
    let work = |key: Key| {
        let maps = maps.clone();
        async move {
            let count = maps.list().iter().filter(|map| map.meta().namespace == *key.namespace).count();
            tracing::debug!(namespace = %key.namespace, count, "ConfigMaps");
            Ok::<Requeue, Status>(Requeue::Done)
        }
    };
    reconcile::run(maps.subscribe().keys(), 1, work).await;
}
