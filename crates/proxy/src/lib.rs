//! What a node's network is told: services, names, policies and other nodes, from the API's objects.
//!
//! Each part is a pure function from objects to plain specs of `net`, with a task beside it that follows
//! the caches and hands the differences over. The parts do not know each other.

#![forbid(unsafe_code)]

/// Other nodes.
pub mod peers;
/// Who may talk with whom.
pub mod policy;
/// Services: which address and port leads to which endpoints.
pub mod services;
/// Names of services and pods, as a node's DNS server tells them.
pub mod zone;
