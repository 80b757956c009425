//! The policy group: what may be taken from an application at a time.

pub mod pod_disruption_budget;
