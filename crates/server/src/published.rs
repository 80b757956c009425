//! What is served now: the kinds, and the documents that are made of them. Swapped as a whole.
//!
//! A request takes the kinds once and sees no change until it ends. Built-in rows and, later, custom
//! resources fill the table alike.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kinds::{Kind, Kinds};

use crate::Server;

pub struct Published {
    pub kinds: Arc<Kinds>,
    pub documents: Documents,
}

/// The documents of discovery, made once.
#[derive(Default)]
pub struct Documents {
    pub core: OnceLock<Document>,
    pub groups: OnceLock<Document>,
}

pub struct Document {
    pub text: Bytes,
    pub etag: String,
}

impl Published {
    pub fn new(kinds: Arc<Kinds>) -> Published {
        Published { kinds, documents: Documents::default() }
    }
}

impl Server {
    /// Every kind that is served. Who holds it sees no change.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.0.published.load().kinds.clone()
    }

    /// Serves these kinds too, from the next request on.
    // Custom resources call it when they come; until then the tests do.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn publish(&self, more: impl IntoIterator<Item = Kind>) {
        let kinds = Arc::new(self.kinds().with(more));
        self.0.published.store(Arc::new(Published::new(kinds)));
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

#[cfg(test)]
mod tests;
