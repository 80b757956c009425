//! How any part of Gousse speaks to the API server: transport, list+watch → cache → reconcile.
//!
//! Scheduler, controllers and node agents differ from any user of the API in nothing but their
//! credentials. Transport is HTTPS or, in the same process, the server itself.

#![forbid(unsafe_code)]

/// The one seam: an HTTP request goes out, a reply with bytes or Objects comes back.
pub mod transport;

pub use transport::{Body, Reply, Transport};
