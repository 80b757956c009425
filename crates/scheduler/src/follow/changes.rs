//! Changes taken in as the watches tell of them, and who is woken by each.

use std::sync::Arc;

use api::Object;
use client::Change;
use serde::Deserialize;

use super::Scheduler;
use crate::cluster::Node;
use crate::hints::Event;
use crate::pod::{Pod, strings};

/// What is looked at of a placed pod's new status.
#[derive(Deserialize)]
struct Looked {
    #[serde(default)]
    status: StatusOnly,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusOnly {
    #[serde(default)]
    phase: String,
    #[serde(default)]
    start_time: String,
}

impl Scheduler {
    pub(super) fn pod_changed(&mut self, change: Change) {
        let uid = |object: &Object| object.meta().uid.clone();
        if let Some(old) = &change.old
            && change.new.as_ref().is_none_or(|new| uid(new) != uid(old))
        {
            self.forget(&uid(old));
        }
        let Some(object) = change.new else { return };
        if self.knows(&object) {
            return;
        }
        let pod = Arc::new(Pod::read(&object));
        if pod.ended {
            self.forget(&pod.uid);
        } else if !pod.node.is_empty() {
            self.placed(pod);
        } else {
            self.pending(pod);
        }
    }

    /// A placed pod whose status alone changed, and not to its end: most of all changes.
    fn knows(&self, object: &Object) -> bool {
        let meta = object.meta();
        let Some(pod) = self.cluster.placed(&meta.uid).filter(|p| !self.assumed.contains(&p.uid)) else {
            return false;
        };
        let same = pod.generation == meta.generation && meta.labels == pod.labels && pod.deleting == meta.is_deleting();
        let goes_on = |status: &StatusOnly| {
            !matches!(status.phase.as_str(), "Succeeded" | "Failed") && *status.start_time == pod.started
        };
        same && object.view::<Looked>().is_ok_and(|looked| goes_on(&looked.status))
    }

    fn placed(&mut self, pod: Arc<Pod>) {
        self.assumed.remove(&pod.uid);
        self.queue.remove(&pod.uid);
        self.forget_promise(&pod.uid, &pod.node);
        match self.cluster.placed(&pod.uid).cloned() {
            None => {
                self.cluster.add_pod(pod.clone());
                self.wake(Event::PodPlaced(&pod));
            }
            Some(old) => {
                let moved = old.node != pod.node;
                self.cluster.add_pod(pod.clone());
                if moved {
                    self.wake(Event::PodGone(&old));
                    self.wake(Event::PodPlaced(&pod));
                } else if old.labels != pod.labels || old.requests != pod.requests {
                    self.wake(Event::PodChanged { old: &old, new: &pod });
                }
            }
        }
    }

    fn pending(&mut self, pod: Arc<Pod>) {
        if !self.parties.contains_key(&pod.scheduler) || !pod.gates.is_empty() || pod.deleting {
            if !self.assumed.contains(&pod.uid) {
                self.queue.remove(&pod.uid);
                self.forget_promise(&pod.uid, "");
            }
            return;
        }
        if !self.assumed.contains(&pod.uid) {
            if !pod.nominated.is_empty() {
                let before = self.cluster.nominate(&pod);
                self.promise_ended(before, &pod.nominated);
            } else if let Some(known) = self.queue.get(&pod.uid)
                // A promise that the server has not heard of yet stays.
                && self.cluster.promised(&pod.uid) == Some(&known.nominated)
            {
                self.forget_promise(&pod.uid, "");
            }
        }
        self.queue.put(pod);
    }

    fn forget(&mut self, uid: &str) {
        self.assumed.remove(uid);
        self.queue.remove(uid);
        self.forget_promise(uid, "");
        if let Some(gone) = self.cluster.remove_pod(uid) {
            self.wake(Event::PodGone(&gone));
        }
    }

    pub(super) fn forget_promise(&mut self, uid: &str, taken: &str) {
        let promised = self.cluster.forget_nomination(uid);
        self.promise_ended(promised, taken);
    }

    /// Room that was promised is free again, unless it is taken as promised, or still promised.
    pub(super) fn promise_ended(&mut self, promised: Option<Arc<Pod>>, node: &str) {
        if let Some(promised) = promised
            && *promised.nominated != *node
        {
            self.wake(Event::PodGone(&promised));
        }
    }

    pub(super) fn node_changed(&mut self, change: Change) {
        let old = self.cluster.node(&change.key.name).cloned();
        let Some(object) = change.new else {
            self.cluster.remove_node(&change.key.name);
            if let Some(old) = old {
                self.wake(Event::NodeGone(&old));
            }
            return;
        };
        let node = Node::read(&object);
        let event = match &old {
            None => Event::NodeAdded(&node),
            Some(old) if old.is_like(&node) => return,
            Some(old) => Event::NodeChanged { old, new: &node },
        };
        self.cluster.set_node(node.clone());
        self.wake(event);
    }

    pub(super) fn namespace_changed(&mut self, change: Change) {
        let labels = change.new.map(|object| strings(&object.value(), "metadata.labels"));
        if self.cluster.set_namespace(&change.key.name, labels) {
            self.wake(Event::NamespaceLabels);
        }
    }
}
