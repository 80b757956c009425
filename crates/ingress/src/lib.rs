//! Ingress: from outside over HTTP to the endpoints of Services, with a controller of its own.
//!
//! Objects become routes (`plan`), routes become a table (`table`), both pure; the proxy asks the table for
//! each request, and a new table takes the place of the old one as a whole while connections go on.
//! Gateway API's HTTPRoute fills the same table once custom resources are there: it needs another `plan`.
//! X never knows Y: this crate knows the API and HTTP, and neither the store nor the node that it runs on.

#![forbid(unsafe_code)]

/// Which certificate is shown to whom.
pub mod certificates;
/// The controller: caches into tables, addresses into statuses, troubles into events.
pub mod follow;
/// The heads of requests and answers: what is refused, taken out and put in.
pub mod heads;
/// Where requests come in.
mod listeners;
/// Ingresses, Services, slices and Secrets into routes.
pub mod plan;
/// Connections to endpoints, kept for the next request.
mod pool;
/// Requests in, answers out.
pub mod proxy;
/// Routes into a table, and what a request finds there.
pub mod table;

pub use follow::{Config, run};
