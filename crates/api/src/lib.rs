//! The vocabulary of the Kubernetes API, pure: what an object is and what may be done to it.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no I/O. The server, the
//! clients, the scheduler and the node agent share it, so that one table describes a kind for all.
//! X never knows Y: this crate knows neither HTTP nor the store nor any machine.

#![forbid(unsafe_code)]

/// Ages as kubectl prints them.
pub mod age;
/// Request bodies into trees: pruned, checked, canonical.
pub mod decode;
/// What a watch delivers.
pub mod event;
/// What one row of the kind table says.
pub mod kind;
/// The rows: one file per kind.
pub mod kinds;
/// Who owns which field, and server-side apply.
pub mod managed;
/// An object: its canonical JSON and the metadata that everybody asks for.
pub mod object;
/// OpenAPI documents, made when a client asks.
pub mod openapi;
/// Patches of every type, made and applied.
pub mod patch;
/// Protobuf, along the table of types.
pub mod proto;
/// Exact amounts of resources: `100m`, `1.5Gi`.
pub mod quantity;
/// What every type of the API looks like: a table of facts.
pub mod schema;
/// Label and field selectors.
pub mod selector;
/// The error that a client gets: `Status`, and the field errors inside it.
pub mod status;
/// What `kubectl get` prints, computed on the server.
pub mod table;
/// Reading a JSON tree by dotted paths.
pub mod tree;
/// All that is wrong with an object, field by field, in upstream's words.
pub mod validate;

pub use event::WatchEvent;
pub use kind::{KINDS, Kind};
pub use object::{Meta, Object, OwnerReference};
pub use status::{Cause, FieldError, Reason, Status};

/// The typed views (Kubernetes v1.37): decoded for one call, never stored or cached.
pub use k8s_openapi as view;

/// Time and randomness, injected, so that the simulator can own them.
pub mod seam;
pub use seam::{Clock, Entropy, later};
