//! The binary: parse, dispatch; the kubectl verbs; `up`, `server`, `agent` assemble the parts.

fn main() {}
