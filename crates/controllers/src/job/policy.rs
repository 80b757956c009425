//! What pods' failures mean, and which successes are enough. Pure.
//!
//! pkg/controller/job/{pod_failure_policy,success_policy}.go.

use super::indexes::Indexes;
use super::model::{ExitCodes, FailurePolicy, FailureRule, Job, SuccessPolicy};
use super::pod::JobPod;
use crate::workload::pod::ContainerStatus;

/// What a rule says of a pod that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts: no rule matched, or one that says so.
    Count,
    Ignore,
    FailIndex,
    /// The Job fails, for that reason.
    FailJob(String),
}

pub fn judge(policy: Option<&FailurePolicy>, pod: &JobPod) -> Verdict {
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    for (at, rule) in rules.iter().enumerate() {
        let Some(why) = matched(rule, pod) else { continue };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignore,
            "FailIndex" => return Verdict::FailIndex,
            "Count" => return Verdict::Count,
            "FailJob" => return Verdict::FailJob(format!("{why} matching FailJob rule at index {at}")),
            // Of a later version.
            _ => {}
        }
    }
    Verdict::Count
}

/// How the rule's match is told.
fn matched(rule: &FailureRule, pod: &JobPod) -> Option<String> {
    let meta = pod.object.meta();
    let (status, place) = (&pod.seen.status, format!("{}/{}", meta.namespace, meta.name));
    if let Some(codes) = &rule.on_exit_codes {
        let mut all = status.container_statuses.iter().chain(&status.init_container_statuses);
        let (name, code) = all.find_map(|of| Some((&of.name, exit_code(codes, of)?)))?;
        return Some(format!("Container {name} for pod {place} failed with exit code {code}"));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let is_it = |kind: &str, status: &str| patterns.iter().any(|p| p.r#type == kind && p.status == status);
    let condition = status.conditions.iter().find(|condition| is_it(&condition.r#type, &condition.status))?;
    Some(format!("Pod {place} has condition {}", condition.r#type))
}

fn exit_code(codes: &ExitCodes, of: &ContainerStatus) -> Option<i64> {
    let code = of.state.terminated.as_ref()?.exit_code;
    let is_it = codes.container_name.as_ref().is_none_or(|name| *name == of.name);
    let is_listed = codes.values.contains(&code);
    let matches = match codes.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        _ => false,
    };
    (is_it && code != 0 && matches).then_some(code)
}

impl Job {
    pub fn judge(&self, pod: &JobPod) -> Verdict {
        judge(self.spec.pod_failure_policy.as_ref(), pod)
    }
}

/// Which rule is met, as it is told.
pub fn success(policy: Option<&SuccessPolicy>, completions: i64, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let is_met = |rule: &super::model::SuccessRule| match &rule.succeeded_indexes {
        Some(text) => {
            let required = Indexes::parse(text, completions);
            let met = required.shared(succeeded);
            !required.is_empty() && (met == required.total() || rule.succeeded_count.is_some_and(|count| met >= count))
        }
        None => rule.succeeded_count.is_some_and(|count| succeeded.total() >= count),
    };
    policy?.rules.iter().position(is_met).map(|at| format!("Matched rules at index {at}"))
}
