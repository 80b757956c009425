//! What a read of told objects wants: of which kind, and which ones.

use kinds::{Kind, Served};

use crate::Server;

/// An empty namespace or name: all.
#[derive(Clone, Copy)]
pub struct Sought<'a> {
    pub server: &'a Server,
    pub served: &'a Served,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl Sought<'_> {
    pub fn kind(&self) -> &Kind {
        &self.served.kind
    }
}
