//! The kind table: one line per kind, one file per kind.

use crate::kind::Kind;

/// Every built-in kind, in the order in which discovery lists them.
pub static KINDS: &[&Kind] = &[];
