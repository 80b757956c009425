//! The autoscaling group: how many, by what is measured.

pub mod horizontal_pod_autoscaler;
/// What says how many there shall be, of any kind that can be scaled.
pub mod scale;
