//! What is to be done, of all that is known. Pure.
//!
//! horizontal.go reconcileAutoscaler: conditions in the order in which they are set there.

use api::tree;
use client::recorder::Type;
use jiff::Timestamp;
use serde_json::Value;

use super::metrics::{Failed, Measured, Scale};
use super::scaling::{Bounds, Memory};
use super::{Said, conditions};

/// What can be said before anything is measured.
#[derive(Debug, PartialEq)]
pub enum First {
    /// Somebody scaled it to nothing.
    Disabled,
    /// It is beyond its bounds: so many, and why.
    Bounded(i64, &'static str),
    Measure,
}

/// What comes of a look.
#[derive(Debug)]
pub struct Decision {
    /// To how many it is scaled; None: it is not.
    pub rescale: Option<i64>,
    pub told: Vec<Said>,
    pub outcome: Outcome,
}

/// What is told of a rescaling when it is done.
#[derive(Debug, Default)]
pub struct Outcome {
    reason: String,
    statuses: Value,
}

/// Nobody says how many there are.
pub fn no_scale(autoscaler: &mut Value, why: &str, now: Timestamp) {
    let message = format!("the HPA controller was unable to get the target's current scale: {why}");
    conditions::set(autoscaler, "AbleToScale", false, "FailedGetScale", &message, now);
}

/// Somebody does.
pub fn with(memory: &mut Memory, scale: &Scale, autoscaler: &mut Value, now: Timestamp) {
    let message = "the HPA controller was able to get the target's current scale";
    conditions::set(autoscaler, "AbleToScale", true, "SucceededGetScale", message, now);
    memory.begin(scale.replicas, now);
}

pub fn first(autoscaler: &Value, scale: &Scale) -> First {
    let Bounds { min, max } = bounds(autoscaler);
    let was_scaled_to_zero = conditions::is(autoscaler, "ScaledToZero");
    match scale.replicas {
        0 if was_scaled_to_zero && (min != 0 || looks_outside(autoscaler)) => First::Measure,
        0 => First::Disabled,
        many if many > max => First::Bounded(max, "Current number of replicas above Spec.MaxReplicas"),
        few if few < min => First::Bounded(min, "Current number of replicas below Spec.MinReplicas"),
        _ => First::Measure,
    }
}

/// `measured` is there where `first` asks for it.
pub fn decide(
    autoscaler: &mut Value,
    scale: &Scale,
    measured: Option<Measured>,
    memory: &mut Memory,
    now: Timestamp,
) -> Decision {
    let current = scale.replicas;
    let stays = |told| Decision { rescale: None, told, outcome: Outcome::default() };
    let Some(Measured { outcome, statuses, mut told }) = measured else {
        return match first(autoscaler, scale) {
            First::Bounded(desired, reason) => {
                let outcome = Outcome { reason: reason.into(), statuses: Value::Null };
                Decision { rescale: Some(desired), told: Vec::new(), outcome }
            }
            _ => {
                let message = "scaling is disabled since the replica count of the target is zero";
                conditions::set(autoscaler, "ScalingActive", false, "ScalingDisabled", message, now);
                conditions::count(autoscaler, current, current, Value::Null, None);
                stays(Vec::new())
            }
        };
    };
    let proposed = match outcome {
        Ok(proposed) => proposed,
        Err(Failed { reason, message, error }) => {
            conditions::set(autoscaler, "ScalingActive", false, reason, &message, now);
            let desired = tree::int(autoscaler, "status.desiredReplicas").unwrap_or(0);
            conditions::count(autoscaler, current, desired, statuses, None);
            told.push((Type::Warning, "FailedComputeMetricsReplicas", error));
            return stays(told);
        }
    };
    let found = format!("the HPA was able to successfully calculate a replica count from {}", proposed.metric);
    conditions::set(autoscaler, "ScalingActive", true, "ValidMetricFound", &found, now);
    let mut reason = match proposed.replicas {
        more if more > current => format!("{} above target", proposed.metric),
        less if less < current => "All metrics below target".into(),
        _ => String::new(),
    };
    let bounds = bounds(autoscaler);
    let limited = memory.limit(&autoscaler["spec"]["behavior"], current, proposed.replicas, bounds, now);
    conditions::set(autoscaler, "AbleToScale", true, limited.able.0, limited.able.1, now);
    let (is_limited, why) = limited.limited;
    conditions::set(autoscaler, "ScalingLimited", is_limited, why.0, why.1, now);
    let mut desired = limited.desired;
    if current == 0 && conditions::is(autoscaler, "ScaledToZero") && desired < bounds.min {
        desired = bounds.min;
        if reason.is_empty() {
            reason = "Current number of replicas below Spec.MinReplicas".into();
        }
    }
    if desired == current {
        conditions::count(autoscaler, current, current, statuses, None);
        return stays(told);
    }
    Decision { rescale: Some(desired), told, outcome: Outcome { reason, statuses } }
}

/// What is said and remembered once it was scaled, or could not be.
pub fn rescaled(
    autoscaler: &mut Value,
    outcome: &Outcome,
    scale: &Scale,
    desired: i64,
    done: Result<(), String>,
    memory: &mut Memory,
    now: Timestamp,
) -> Option<Said> {
    let (current, reason, statuses) = (scale.replicas, &outcome.reason, outcome.statuses.clone());
    if let Err(why) = done {
        let message = format!("the HPA controller was unable to update the target scale: {why}");
        conditions::set(autoscaler, "AbleToScale", false, "FailedUpdateScale", &message, now);
        let before = tree::int(autoscaler, "status.desiredReplicas").unwrap_or(0);
        conditions::count(autoscaler, current, before, statuses, None);
        let told = format!("New size: {desired}; reason: {reason}; error: {why}");
        return Some((Type::Warning, "FailedRescale", told));
    }
    let message = format!("the HPA controller was able to update the target scale to {desired}");
    conditions::set(autoscaler, "AbleToScale", true, "SucceededRescale", &message, now);
    memory.scaled(&autoscaler["spec"]["behavior"], current, desired, now);
    let to_zero = current > 0 && desired == 0 && bounds(autoscaler).min == 0 && looks_outside(autoscaler);
    let (reason_of_zero, message) = match to_zero {
        true => ("ScaledToZero", "the HPA controller scaled the workload to zero"),
        false => ("NotScaledToZero", "the HPA controller did not scale the workload to zero"),
    };
    conditions::set(autoscaler, "ScaledToZero", to_zero, reason_of_zero, message, now);
    conditions::count(autoscaler, current, desired, statuses, Some(now));
    Some((Type::Normal, "SuccessfulRescale", format!("New size: {desired}; reason: {reason}")))
}

fn bounds(autoscaler: &Value) -> Bounds {
    let number = |path: &str| tree::int(autoscaler, path);
    Bounds { min: number("spec.minReplicas").unwrap_or(1), max: number("spec.maxReplicas").unwrap_or(0) }
}

/// It has a metric that can be told where no pod runs (hasObjectOrExternalMetrics).
fn looks_outside(autoscaler: &Value) -> bool {
    let kinds = ["Object", "External"];
    tree::list(autoscaler, "spec.metrics").iter().any(|metric| kinds.contains(&tree::text(metric, "type")))
}
