//! One version of one object in every form that was asked for, each made once and shared.
//!
//! A store entry holds the served bytes. Parsed metadata, watch events and other versions are made
//! when the first reader wants them and kept in a small table by revision, so that a hundred
//! watchers cost one encoding.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use api::Object;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use kinds::{Kind, Served};
use serde_json::Value;
use store::Entry;

/// Kept renditions, a power of two, and their bytes. What is not kept is made again.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 16 << 20;

pub struct Rendition {
    pub entry: Entry,
    object: OnceLock<Option<Object>>,
    /// The values of the kind's field selectors, in its order.
    fields: OnceLock<Box<[String]>>,
    events: [OnceLock<Bytes>; 3],
    /// The bytes in each further version of the kind.
    converted: OnceLock<Box<[OnceLock<Bytes>]>>,
}

/// The type of a watch event about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Added,
    Modified,
    Deleted,
}

/// The kept renditions, by revision.
pub struct Renditions {
    slots: Box<[ArcSwapOption<Rendition>]>,
    bytes: AtomicUsize,
}

impl Rendition {
    pub fn new(entry: Entry) -> Rendition {
        Rendition {
            entry,
            object: OnceLock::new(),
            fields: OnceLock::new(),
            events: Default::default(),
            converted: OnceLock::new(),
        }
    }

    /// Bytes that it holds, about: the entry, its metadata, an event.
    fn weight(&self) -> usize {
        3 * self.entry.bytes.len() + 1024
    }

    /// The object with its parsed metadata, in the stored version.
    pub fn object(&self) -> Option<&Object> {
        self.object.get_or_init(|| Object::parse(self.entry.bytes.clone()).ok()).as_ref()
    }

    /// The value of a field selector of the kind; None if it has no such one.
    pub fn field(&self, kind: &Kind, name: &str) -> Option<&str> {
        let index = kind.field_selectors.iter().position(|s| s.name == name)?;
        let fields = self.fields.get_or_init(|| {
            let tree = self.object().map(Object::value).unwrap_or_default();
            kind.field_selectors.iter().map(|s| s.of(&tree)).collect()
        });
        fields.get(index).map(String::as_str)
    }

    /// The object's bytes in a version of its kind.
    pub fn bytes(&self, served: &Served) -> Bytes {
        let Some(index) = served.index() else { return self.entry.bytes.clone() };
        let versions = || served.kind.versions.iter().map(|_| OnceLock::new()).collect();
        match self.converted.get_or_init(versions).get(index) {
            Some(slot) => slot.get_or_init(|| converted(&self.entry.bytes, served)).clone(),
            // The kind has more versions than when these bytes were first asked for.
            None => converted(&self.entry.bytes, served),
        }
    }

    /// `{"type":…,"object":…}` and a newline.
    pub fn event(&self, happened: Happened, served: &Served) -> Bytes {
        let encode = || event(happened, &self.bytes(served));
        match served.index() {
            None => self.events[happened as usize].get_or_init(encode).clone(),
            Some(_) => encode(),
        }
    }
}

impl Renditions {
    pub fn new() -> Renditions {
        Renditions { slots: (0..KEPT).map(|_| ArcSwapOption::empty()).collect(), bytes: AtomicUsize::new(0) }
    }

    /// The rendition of an entry, shared with whoever asked for it lately.
    pub fn of(&self, entry: &Entry) -> Arc<Rendition> {
        let at = entry.revision.0 as usize;
        let slot = &self.slots[at % KEPT];
        let kept = slot.load();
        if let Some(kept) = &*kept
            && kept.entry.revision == entry.revision
            && kept.entry.key == entry.key
        {
            return kept.clone();
        }
        let fresh = Arc::new(Rendition::new(entry.clone()));
        self.put(at, Some(fresh.clone()));
        // The oldest revisions stand behind the newest.
        for behind in 1..KEPT {
            if self.bytes.load(Ordering::Relaxed) <= KEPT_BYTES {
                break;
            }
            self.put(at + behind, None);
        }
        fresh
    }

    fn put(&self, at: usize, rendition: Option<Arc<Rendition>>) {
        let weight = |rendition: &Option<Arc<Rendition>>| rendition.as_ref().map_or(0, |kept| kept.weight());
        // Before and after: the sum is never less than what is kept.
        self.bytes.fetch_add(weight(&rendition), Ordering::Relaxed);
        let before = self.slots[at % KEPT].swap(rendition);
        self.bytes.fetch_sub(weight(&before), Ordering::Relaxed);
    }
}

impl Happened {
    pub fn as_str(self) -> &'static str {
        match self {
            Happened::Added => "ADDED",
            Happened::Modified => "MODIFIED",
            Happened::Deleted => "DELETED",
        }
    }
}

/// One line of a watch.
pub fn event(happened: Happened, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 40);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(happened.as_str().as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

/// A stored object in a version of its kind.
pub fn converted(bytes: &Bytes, served: &Served) -> Bytes {
    if served.index().is_none() {
        return bytes.clone();
    }
    let Ok(mut tree) = serde_json::from_slice::<Value>(bytes) else { return bytes.clone() };
    served.of_stored(&mut tree);
    serde_json::to_vec(&tree).map_or_else(|_| bytes.clone(), Bytes::from)
}

#[cfg(test)]
mod tests;
