//! The vocabulary of the Kubernetes API, pure: what an object is and what may be done to it.
//!
//! Everything here is a function of its arguments: no clock, no randomness, no I/O. The server, the
//! clients, the scheduler and the node agent share it. How a kind is judged stands in `kinds`. X never
//! knows Y: this crate knows neither HTTP nor the store nor any machine.

#![forbid(unsafe_code)]

/// Ages as kubectl prints them.
pub mod age;
/// When something shall happen again and again: `*/5 8-17 * * mon-fri`.
pub mod cron;
/// Request bodies into trees: pruned, checked, canonical.
pub mod decode;
/// The condition of a disruption budget.
pub mod disruption;
/// What a watch delivers.
pub mod event;
/// Values as Go prints them.
pub mod go;
/// Paths into objects as users write them: `{.items[*].metadata.name}`.
pub mod jsonpath;
/// Who owns which field, and server-side apply.
pub mod managed;
/// What a name may look like.
pub mod names;
/// An object: its canonical JSON and the metadata that everybody asks for.
pub mod object;
/// Labels as they are kept.
pub mod pairs;
/// Patches of every type, made and applied.
pub mod patch;
/// What scheduler and node agents ask of a pod.
pub mod pod;
/// Protobuf, along the table of types.
pub mod proto;
/// Exact amounts of resources: `100m`, `1.5Gi`.
pub mod quantity;
/// What objects count for in a ResourceQuota.
pub mod quota;
/// What everybody knows of a kind: its names.
pub mod resource;
/// What every type of the API looks like: a table of facts.
pub mod schema;
/// Label and field selectors.
pub mod selector;
/// The error that a client gets: `Status`, and the field errors inside it.
pub mod status;
/// Taints, and what stands them.
pub mod taint;
/// Reading a JSON tree by dotted paths.
pub mod tree;
/// Trees as YAML.
pub mod yaml;

pub use event::WatchEvent;
pub use object::{Meta, Object, OwnerReference};
pub use pairs::Pairs;
pub use resource::Resource;
pub use status::{Cause, FieldError, FieldErrorClass, Reason, Status};

/// Time and randomness, injected, so that the simulator can own them.
pub mod seam;
pub use seam::{Clock, Entropy, later, seconds};
