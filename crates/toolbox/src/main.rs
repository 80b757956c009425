//! A small static multi-call program; shipped inside the binary as the built-in image.

fn main() {}
