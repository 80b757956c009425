//! HTTP in: one generic set of verbs over the kind table; the only crate that sees the store.

#![forbid(unsafe_code)]
