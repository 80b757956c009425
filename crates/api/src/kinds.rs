//! The kind table: one line per kind, one file per kind.
//!
//! The order is discovery's: the core group first, then the others; the names within a group as
//! upstream lists them, so that a client which takes the first match takes the same one.

use crate::kind::Kind;

pub mod config_map;
pub mod endpoints;
pub mod event;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod priority_class;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
mod shared;

/// Every built-in kind, in the order in which discovery lists them.
pub static KINDS: &[&Kind] = &[
    &config_map::CONFIG_MAP,
    &endpoints::ENDPOINTS,
    &event::EVENT,
    &namespace::NAMESPACE,
    &node::NODE,
    &pod::POD,
    &secret::SECRET,
    &service_account::SERVICE_ACCOUNT,
    &service::SERVICE,
    &lease::LEASE,
    &runtime_class::RUNTIME_CLASS,
    &priority_class::PRIORITY_CLASS,
];

#[cfg(test)]
mod tests;
