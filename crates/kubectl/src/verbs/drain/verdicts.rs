//! Which pods of a node go, which stay, and which keep it from being drained.
//!
//! Pure over what the API shows (kubectl pkg/drain/filters.go). Each question may end the matter; of those
//! that let a pod go, the last one's word counts.

use std::collections::BTreeMap;

use api::Object;
use jiff::Timestamp;
use serde_json::Value;

/// What the flags allow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    pub force: bool,
    pub ignore_daemon_sets: bool,
    pub delete_empty_dirs: bool,
    /// Seconds of being deleted after which a pod is left alone; 0 or less: never.
    pub skip_deleted_after: i64,
}

/// What becomes of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Goes,
    GoesWarned(String),
    Stays,
    StaysWarned(String),
    /// The node is not drained.
    Refused(String),
}

/// Why a DaemonSet was not seen: by namespace and name; absent where it is there.
pub type Missing = BTreeMap<(String, String), api::Status>;

/// A node's pods with what becomes of them.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(pub Vec<(Object, Verdict)>);

const DAEMON_SET_REFUSED: &str = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
const DAEMON_SET_WARNING: &str = "ignoring DaemonSet-managed Pods";
const LOCAL_REFUSED: &str = "Pods with local storage (use --delete-emptydir-data to override)";
const UNMANAGED_REFUSED: &str = "Pods that declare no controller (use --force to override)";
const UNMANAGED_WARNING: &str = "deleting Pods that declare no controller";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The DaemonSet of a pod that is not done yet, by name; whether it is there decides.
pub fn daemon_set_of(pod: &Object) -> Option<&str> {
    let owner = pod.meta().controller().filter(|owner| owner.kind == "DaemonSet" && owner.api_version == "apps/v1")?;
    (!is_done(&pod.value())).then_some(owner.name.as_str())
}

/// What becomes of one pod.
pub fn of(pod: &Object, missing: &Missing, allowed: Allowed, now: Timestamp) -> Verdict {
    let value = pod.value();
    if is_skipped(&value, allowed.skip_deleted_after, now) {
        return Verdict::Stays;
    }
    if let Some(name) = daemon_set_of(pod) {
        match missing.get(&(pod.meta().namespace.clone(), name.to_string())) {
            // An orphan is nobody's any more: the questions below decide.
            Some(status) if status.reason == api::Reason::NotFound && allowed.force => {}
            Some(status) => return Verdict::Refused(status.to_string()),
            None if allowed.ignore_daemon_sets => return Verdict::StaysWarned(DAEMON_SET_WARNING.into()),
            None => return Verdict::Refused(DAEMON_SET_REFUSED.into()),
        }
    }
    if pod.annotation(MIRROR).is_some() {
        return Verdict::Stays;
    }
    let is_done = is_done(&value);
    let volumes = value["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_local = !is_done && volumes.iter().any(|volume| volume["emptyDir"].is_object());
    if is_local && !allowed.delete_empty_dirs {
        return Verdict::Refused(LOCAL_REFUSED.into());
    }
    if is_done || pod.meta().controller().is_some() {
        return Verdict::Goes;
    }
    match allowed.force {
        true => Verdict::GoesWarned(UNMANAGED_WARNING.into()),
        false => Verdict::Refused(UNMANAGED_REFUSED.into()),
    }
}

/// Whether a pod has been on its way out for longer than one waits for it.
pub fn is_skipped(pod: &Value, after: i64, now: Timestamp) -> bool {
    deleted_at(pod).is_some_and(|at| after > 0 && now.duration_since(at).as_secs() > after)
}

/// When its end is due.
pub fn deleted_at(pod: &Value) -> Option<Timestamp> {
    pod["metadata"]["deletionTimestamp"].as_str()?.parse().ok()
}

fn is_done(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

impl Verdicts {
    /// Those that go.
    pub fn going(&self) -> Vec<Object> {
        let goes = |(pod, verdict): &(Object, Verdict)| {
            matches!(verdict, Verdict::Goes | Verdict::GoesWarned(_)).then(|| pod.clone())
        };
        self.0.iter().filter_map(goes).collect()
    }

    /// One sentence of all warnings, "" without any.
    pub fn warnings(&self) -> String {
        let lines = self.grouped(|verdict| match verdict {
            Verdict::GoesWarned(why) | Verdict::StaysWarned(why) => Some(why),
            _ => None,
        });
        lines.join("; ")
    }

    /// Why the node is not drained: a sentence for each reason.
    pub fn refusals(&self) -> Vec<String> {
        let lines = self.grouped(|verdict| match verdict {
            Verdict::Refused(why) => Some(why),
            _ => None,
        });
        lines.into_iter().map(|line| format!("cannot delete {line}")).collect()
    }

    /// `why: ns/a, ns/b`, in the order in which each came up.
    fn grouped<'v>(&'v self, of: impl Fn(&'v Verdict) -> Option<&'v String>) -> Vec<String> {
        let mut groups: Vec<(&String, Vec<String>)> = Vec::new();
        for (pod, verdict) in &self.0 {
            let Some(why) = of(verdict) else { continue };
            let name = format!("{}/{}", pod.meta().namespace, pod.meta().name);
            match groups.iter_mut().find(|(known, _)| *known == why) {
                Some((_, names)) => names.push(name),
                None => groups.push((why, vec![name])),
            }
        }
        groups.into_iter().map(|(why, names)| format!("{why}: {}", names.join(", "))).collect()
    }
}

#[cfg(test)]
mod tests;
