//! Which node: the FILTERS and SCORES tables, `place` (pure) and `bind` (the only effect).

#![forbid(unsafe_code)]
