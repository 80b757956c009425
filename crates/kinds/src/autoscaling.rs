//! The autoscaling group: how many, by what is measured.

pub mod horizontal_pod_autoscaler;
