//! TLS dialling, upgrades, WebSocket, SPDY/3.1, duplex streams. Knows no kinds.

#![forbid(unsafe_code)]
