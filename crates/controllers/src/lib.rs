//! Intent into intent: the CONTROLLERS table, one file each.

#![forbid(unsafe_code)]
