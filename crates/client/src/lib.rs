//! How any part of Gousse speaks to the API server: transport, list+watch → cache → reconcile.
//!
//! Scheduler, controllers and node agents differ from any user of the API in nothing but their
//! credentials. Transport is HTTPS or, in the same process, the server itself.

#![forbid(unsafe_code)]

/// What comes back: objects, lists, watch events, errors.
mod answer;
/// A pause that grows with every failure.
mod backoff;
/// One kind, kept in memory by list and watch, and its changes.
pub mod cache;
/// The caches of one process.
mod caches;
/// Which resources the server has.
pub mod discovery;
/// Of several candidates one leads.
pub mod election;
/// The transport over the network.
pub mod https;
/// Where the server is and who we are, from kubeconfig files or a pod's service account.
pub mod kubeconfig;
/// Leases: held by one, renewed while held.
pub mod leases;
/// The loop that every actor runs: never two runs of one key at once.
pub mod reconcile;
/// Events about objects, counted and combined as upstream's clients do.
pub mod recorder;
/// The requests: get, list, create, update, patch, delete, watch.
mod requests;
/// The one seam: an HTTP request goes out, a reply with bytes or Objects comes back.
pub mod transport;

#[cfg(test)]
mod script;

pub use answer::{List, WatchStream};
pub use cache::{Cache, Change, Changes, Index, Key, Scope};
pub use caches::Caches;
pub use discovery::Resources;
pub use https::{Https, HttpsConfig};
pub use recorder::{ObjectReference, Recorder};
pub use requests::path;
pub use requests::{Client, DeleteOptions, ListOptions, PatchKind, WatchOptions};
pub use transport::{Body, Reply, Transport};
