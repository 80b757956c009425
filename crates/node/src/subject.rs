//! The pod that an actor is for, as those have it who want it: the API, a manifest, the runtime.

use std::sync::Arc;

use crate::view as core;
use api::Object;
use client::ObjectReference;

/// Where a pod comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Api,
    /// A manifest of this machine; its status goes to a mirror object.
    Static,
    /// Only the runtime knows it.
    Orphan,
}

pub struct Subject {
    pub uid: String,
    pub origin: Origin,
    /// Where the spec stands.
    pub object: Object,
    /// Static pods: where the status goes.
    mirror: Option<Object>,
    /// Both decoded, as long as there is something to do: at rest a pod is its bytes.
    decoded: Option<Arc<core::Pod>>,
    pub wanted: bool,
}

impl Subject {
    pub fn new(origin: Origin, object: Object, uid: String) -> Subject {
        Subject { uid, origin, object, mirror: None, decoded: None, wanted: origin != Origin::Orphan }
    }

    /// A version that came; true where files of the downward API show what is new.
    pub fn renew(&mut self, object: Object) -> bool {
        if object.revision() <= self.object.revision() && self.origin != Origin::Static {
            return false;
        }
        let old = &self.object;
        let shows = old.meta().labels != object.meta().labels || old.annotations() != object.annotations();
        self.object = object;
        self.decoded = None;
        shows
    }

    pub fn set_mirror(&mut self, mirror: Option<Object>) {
        self.mirror = mirror;
        self.decoded = None;
    }

    /// The pod with its status. None: nothing that this node can read.
    pub fn view(&mut self) -> Option<Arc<core::Pod>> {
        if let Some(pod) = &self.decoded {
            return Some(pod.clone());
        }
        let mut pod: core::Pod = match self.object.view() {
            Ok(pod) => pod,
            Err(why) => {
                tracing::error!(pod = %self.uid, "not a pod that this node can read: {why}");
                return None;
            }
        };
        if self.origin == Origin::Static {
            pod.status = self.mirror.as_ref().and_then(|m| m.view::<core::Pod>().ok()?.status);
        }
        Some(self.decoded.insert(Arc::new(pod)).clone())
    }

    /// There is nothing to do for a while.
    pub fn rest(&mut self) {
        self.decoded = None;
    }

    /// Where the status goes.
    pub fn target(&self) -> Option<&Object> {
        match self.origin {
            Origin::Api => Some(&self.object),
            Origin::Static => self.mirror.as_ref(),
            Origin::Orphan => None,
        }
    }

    /// What the server made of a status.
    pub fn written(&mut self, object: Object) {
        let target = if self.origin == Origin::Static { self.mirror.as_mut() } else { Some(&mut self.object) };
        if let Some(target) = target.filter(|target| target.meta().uid == object.meta().uid)
            && object.revision() > target.revision()
        {
            *target = object;
            self.decoded = None;
        }
    }

    /// The version that is known of a pod of the API: what is no newer is no news.
    pub fn known(&self) -> Option<u64> {
        (self.origin == Origin::Api).then(|| self.object.revision())
    }

    /// Whether what the server knows of the pod is known here: of a static pod it is told later.
    pub fn is_known(&self) -> bool {
        self.origin != Origin::Static || self.mirror.is_some()
    }

    /// What events are about.
    pub fn reference(&self) -> ObjectReference {
        let meta = self.object.meta();
        ObjectReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: self.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }
}
