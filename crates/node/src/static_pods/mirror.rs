//! The mirror of a static pod: an object at the server that shows it and takes its status.
//!
//! One task per full name keeps it while the pod runs, or removes it afterwards. It looks at the cache,
//! writes, and waits for the watch to tell what came of it; what the server refuses is tried again with
//! back-off. Upstream: kubelet.go tryReconcileMirrorPods, pod/mirror_client.go.

use std::sync::Arc;
use std::time::Duration;

use api::resource::PODS;
use api::{Object, Reason};
use client::{Cache, DeleteOptions};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::act::remove::is_there;
use crate::pod::{CONFIG_HASH, CONFIG_MIRROR};
use crate::shared::Shared;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What is done about one mirror; ends when dropped.
pub struct Mirror {
    /// The hash that it must show; empty: it is not to be.
    hash: String,
    /// The UID of one that tells of a former life of the same pod.
    former: String,
    news: Arc<Notify>,
    task: AbortHandle,
}

impl Mirror {
    /// Makes it where it is missing, and anew where it is another's, or `former`.
    pub fn keep(shared: Arc<Shared>, pods: Arc<Cache>, pod: Object, former: String) -> Mirror {
        let hash = pod.annotation(CONFIG_HASH).unwrap_or_default();
        let news = Arc::new(Notify::new());
        let keeper = Keeper { shared, pods, pod, hash: hash.clone(), former: former.clone() };
        let task = tokio::spawn(keeper.run(news.clone())).abort_handle();
        Mirror { hash, former, news, task }
    }

    /// Removes one that nobody owns any more.
    pub fn remove(shared: Arc<Shared>, mirror: Object) -> Mirror {
        let task = tokio::spawn(async move {
            let mut pause = RETRY_MIN;
            while let Err(why) = delete(&shared, &mirror).await {
                tracing::warn!(pod = %mirror.meta().name, "a mirror is not deleted: {why}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        });
        Mirror { hash: String::new(), former: String::new(), news: Arc::default(), task: task.abort_handle() }
    }

    /// The pod's status may go there.
    pub fn fits(&self, mirror: &Object) -> bool {
        fits(mirror, &self.hash, &self.former)
    }

    /// The cache has something new of it.
    pub fn look(&self) {
        self.news.notify_one();
    }

    /// Neither kept nor removed from now on: its pod is ending, and tells so there.
    pub fn leave(&self) {
        self.task.abort();
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    shared: Arc<Shared>,
    pods: Arc<Cache>,
    pod: Object,
    hash: String,
    former: String,
}

impl Keeper {
    async fn run(self, news: Arc<Notify>) {
        self.pods.synced().await;
        let (mut pause, mut said) = (RETRY_MIN, String::new());
        loop {
            match self.step().await {
                Ok(()) => {
                    pause = RETRY_MIN;
                    said.clear();
                    news.notified().await;
                }
                Err(why) => {
                    // A node that starts for the first time is not registered for a moment.
                    if why != said && pause > RETRY_MIN * 2 {
                        tracing::warn!(pod = %self.pod.meta().name, "a static pod has no mirror yet: {why}");
                        said = why;
                    }
                    tokio::select! {
                        biased;
                        () = news.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// One write at most: the watch tells when it is time for the next.
    async fn step(&self) -> Result<(), String> {
        let meta = self.pod.meta();
        match self.pods.get(&meta.namespace, &meta.name) {
            Some(mirror) if fits(&mirror, &self.hash, &self.former) => Ok(()),
            Some(mirror) => delete(&self.shared, &mirror).await,
            None => self.create().await,
        }
    }

    /// Owned by the Node: NodeRestriction takes no other (KEP 1314).
    async fn create(&self) -> Result<(), String> {
        let (shared, name) = (&self.shared, &self.shared.config.node_name);
        let node = &*api::resource::NODES;
        let owner = shared.client.get(node, "", name).await;
        let owner = owner.map_err(|status| format!("its node: {}", status.message))?;
        if owner.meta().deletion_timestamp.is_some() {
            return Err("its node is being deleted".into());
        }
        let mut tree = self.pod.value();
        let meta = &mut tree["metadata"];
        meta["annotations"][CONFIG_MIRROR] = json!(self.hash);
        meta["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": name,
            "uid": owner.meta().uid, "controller": true}]);
        // Both are the server's to give.
        meta.as_object_mut().map(|meta| meta.remove("uid"));
        tree.as_object_mut().map(|tree| tree.remove("status"));
        let made = shared.client.create(&PODS, &self.pod.meta().namespace, &tree).await;
        made.map(drop).map_err(|status| status.message)
    }
}

fn fits(mirror: &Object, hash: &str, former: &str) -> bool {
    let meta = mirror.meta();
    let shown = mirror.annotation(CONFIG_MIRROR).is_some_and(|shown| !hash.is_empty() && shown == hash);
    shown && meta.deletion_timestamp.is_none() && meta.uid != former
}

/// One that is gone, or another's by now, needs nothing more.
async fn delete(shared: &Shared, mirror: &Object) -> Result<(), String> {
    let meta = mirror.meta();
    let options =
        DeleteOptions { grace_period_seconds: Some(0), uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
    match shared.client.delete(&PODS, &meta.namespace, &meta.name, &options).await {
        Ok(_) => Ok(()),
        Err(status) if matches!(status.reason, Reason::NotFound | Reason::Gone) => Ok(()),
        Err(status)
            if status.reason == Reason::Conflict && !is_there(shared, &meta.namespace, &meta.name, &meta.uid).await =>
        {
            Ok(())
        }
        Err(status) => Err(status.message),
    }
}
