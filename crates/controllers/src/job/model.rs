//! What a Job says and what is said of it, decoded: only what its controller decides on.

use api::Object;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who manages a Job that names nobody.
const OURSELVES: &str = "kubernetes.io/job-controller";

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Job {
    pub spec: Spec,
    pub status: JobStatus,
    /// Filled from the metadata.
    #[serde(skip)]
    pub name: String,
    #[serde(skip)]
    pub is_deleting: bool,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    pub parallelism: Option<i64>,
    /// None: done once any pod has succeeded.
    pub completions: Option<i64>,
    pub active_deadline_seconds: Option<i64>,
    pub pod_failure_policy: Option<FailurePolicy>,
    pub success_policy: Option<SuccessPolicy>,
    pub backoff_limit: Option<i64>,
    pub backoff_limit_per_index: Option<i64>,
    pub max_failed_indexes: Option<i64>,
    pub completion_mode: Option<String>,
    pub suspend: Option<bool>,
    pub pod_replacement_policy: Option<String>,
    pub managed_by: Option<String>,
    pub ttl_seconds_after_finished: Option<i64>,
    pub selector: Value,
    pub template: Value,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct FailurePolicy {
    pub rules: Vec<FailureRule>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct FailureRule {
    pub action: String,
    pub on_exit_codes: Option<ExitCodes>,
    pub on_pod_conditions: Option<Vec<ConditionPattern>>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct ExitCodes {
    pub container_name: Option<String>,
    pub operator: String,
    pub values: Vec<i64>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct ConditionPattern {
    pub r#type: String,
    pub status: String,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct SuccessPolicy {
    pub rules: Vec<SuccessRule>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct SuccessRule {
    pub succeeded_indexes: Option<String>,
    pub succeeded_count: Option<i64>,
}

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct JobStatus {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub active: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub succeeded: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub completed_indexes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_indexes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncounted_terminated_pods: Option<Uncounted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<i64>,
}

/// The uids of pods that have ended, whose finalizer is not known to be gone: they are in no number yet.
#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct Uncounted {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Condition {
    /// One that is true from now on.
    pub fn new(kind: &str, reason: &str, message: &str, now: Timestamp) -> Condition {
        let at = Some(api::seconds(now));
        Condition {
            r#type: kind.into(),
            status: "True".into(),
            last_probe_time: at.clone(),
            last_transition_time: at,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

impl Job {
    /// None where it cannot be read.
    pub fn of(object: &Object) -> Option<Job> {
        let mut job: Job = object.view().ok()?;
        job.name = object.meta().name.clone();
        job.is_deleting = object.meta().is_deleting();
        Some(job)
    }

    pub fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    pub fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    /// A pod is replaced when it has ended, not when it was asked to.
    pub fn replaces_only_failed(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
    }

    /// How many of each index may fail, where each index counts by itself.
    pub fn limit_per_index(&self) -> Option<i64> {
        self.spec.backoff_limit_per_index
    }

    pub fn completions(&self) -> i64 {
        self.spec.completions.unwrap_or(0)
    }

    /// Somebody else's work.
    pub fn is_external(&self) -> bool {
        self.spec.managed_by.as_deref().is_some_and(|by| by != OURSELVES)
    }
}

impl JobStatus {
    /// The condition that is true.
    pub fn is(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.r#type == kind && condition.status == "True")
    }

    /// Complete or Failed.
    pub fn finished(&self) -> Option<&Condition> {
        let is_end = |condition: &&Condition| matches!(condition.r#type.as_str(), "Complete" | "Failed");
        self.conditions.iter().filter(is_end).find(|condition| condition.status == "True")
    }

    /// Sets a condition; one that is not there is not made to say that it is false. Whether anything changed.
    pub fn set(&mut self, condition: Condition) -> bool {
        match self.conditions.iter_mut().find(|old| old.r#type == condition.r#type) {
            Some(old) => {
                let is_same = (&old.status, &old.reason, &old.message)
                    == (&condition.status, &condition.reason, &condition.message);
                if !is_same {
                    *old = condition;
                }
                !is_same
            }
            None if condition.status == "False" => false,
            None => {
                self.conditions.push(condition);
                true
            }
        }
    }
}
