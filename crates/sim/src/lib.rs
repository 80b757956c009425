//! A whole cluster in one process on paused time: faults, checkers, seeds (dev only).

#![forbid(unsafe_code)]
