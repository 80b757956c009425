//! The command line's Kubernetes verbs: each takes its flags, asks the server and prints the answer.
//!
//! It knows a kubeconfig and nothing else: which kinds there are, the server's discovery tells. Nothing
//! is decided here that the server decides: tables, validation and defaults are its.

#![forbid(unsafe_code)]

/// What verbs that change objects share.
pub mod change;
/// The kinds that the server serves.
pub mod discovery;
/// The one error of the command line.
pub mod failure;
/// kubectl's booleans, and the flags that every verb has.
pub mod flags;
/// The forms that objects are shown in.
pub mod form;
/// YAML documents from files.
pub mod manifest;
/// What `label` and `annotate` share.
mod marks;
/// Standard output: the one place where anything is written to it.
pub mod output;
/// What a user writes for objects.
pub mod resource;
/// The objects that a verb works on.
pub mod selection;
/// A connection as flags and kubeconfig give it.
pub mod session;
/// What exec and attach share.
mod streams;
/// The server's tables as text.
pub mod table;
/// kubectl's verbs, a file and a line each.
pub mod verbs;
/// JSON trees as YAML.
pub use api::yaml;

pub use discovery::Kinds;
pub use flags::{Connection, booleans};
pub use session::{Login, Session};
pub use verbs::{Chosen, VERBS};
