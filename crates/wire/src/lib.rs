//! TLS both ways, HTTP connections, URLs, upgrades, WebSocket, SPDY/3.1. Knows no kinds.
//!
//! X never knows Y: this crate carries bytes between two ends and knows neither the API nor who they
//! are. One crypto provider (ring), named explicitly wherever a TLS configuration is made.

#![forbid(unsafe_code)]

/// Names to addresses, addresses to connections, plain or TLS.
pub mod dial;
/// Requests with a target longer than a URI can be.
pub mod heads;
/// A connection that gives up on a peer who takes nothing.
pub mod patience;
/// Who may have how many connections to a listener.
pub mod places;
/// The connections of a port-forward.
pub mod ports;
/// Parameters and paths of a URL.
pub mod query;
/// The server's side of one connection.
pub mod serve;
/// SPDY/3.1: many streams over one connection.
pub mod spdy;
/// The streams of an exec or attach.
pub mod streams;
/// TLS configurations for both ends, from PEM.
pub mod tls;
/// Large heads of strangers, few at once.
mod turns;
/// Requests that leave HTTP behind, and the splice that carries what follows.
pub mod upgrade;
/// WebSocket handshakes, sockets and tunnels.
pub mod websocket;

pub use dial::{Connection, Duplex, dial, dial_as, resolve};
pub use tls::{Pair, Trust};
