//! What the project does to itself: `ci`, `tidy`, `schema`, `bench`, `conformance`, `dist`.

fn main() {}
