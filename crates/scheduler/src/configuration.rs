//! KubeSchedulerConfiguration: every field is honoured or refused by name.
//!
//! Matches pkg/scheduler/apis/config: v1 (defaults, how plugins are merged), validation, and
//! framework/runtime (expandMultiPointPlugins). What is refused is what there is no part for here:
//! extenders, leader election, another client.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::profile::Profile;
use crate::queue::Backoff;

/// Arguments of plugins.
mod args;
/// Fields, each read once.
mod fields;
/// Which plugins run where.
mod plugins;

use fields::Fields;

#[derive(Clone)]
pub struct Configuration {
    /// At least one; each with a name of its own.
    pub profiles: Vec<Profile>,
    pub backoff: Backoff,
}

impl Default for Configuration {
    fn default() -> Configuration {
        Configuration { profiles: vec![Profile::default()], backoff: Backoff::default() }
    }
}

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";

impl Configuration {
    /// The error names the field, and says what is wrong or why it is refused.
    pub fn read(value: &Value) -> Result<Configuration, String> {
        let fields = Fields::of(value, "")?;
        if fields.text("apiVersion")? != API_VERSION || fields.text("kind")? != "KubeSchedulerConfiguration" {
            return Err(format!("apiVersion, kind: expected {API_VERSION}, KubeSchedulerConfiguration"));
        }
        for (field, why) in REFUSED {
            fields.refuse(field, why)?;
        }
        leader_election(&fields)?;
        let percentage = percentage(&fields)?.unwrap_or(0);
        let backoff = backoff(&fields)?;
        let mut profiles = Vec::new();
        let given = fields.list("profiles")?;
        let none = Value::Null;
        let given = if given.is_empty() { vec![&none] } else { given };
        for (number, value) in given.iter().enumerate() {
            let of = Fields::of(value, &format!("profiles[{number}]"))?;
            profiles.push(profile(&of, number, given.len(), percentage)?);
        }
        let mut names = BTreeSet::new();
        if let Some(at) = profiles.iter().position(|profile| !names.insert(profile.name.as_str())) {
            return Err(format!("profiles[{at}].schedulerName: Duplicate value: {:?}", profiles[at].name));
        }
        fields.done()?;
        Ok(Configuration { profiles, backoff })
    }
}

/// Fields that nothing here corresponds to, and why.
const REFUSED: &[(&str, &str)] = &[
    ("parallelism", "pods are placed one after the other"),
    ("clientConnection", "the scheduler runs in the server's process"),
    ("extenders", "extenders are not built"),
    ("delayCacheUntilActive", "there is no other scheduler to wait for"),
    ("enableProfiling", "there is no profiling by HTTP"),
    ("enableContentionProfiling", "there is no profiling by HTTP"),
];

fn leader_election(fields: &Fields<'_>) -> Result<(), String> {
    let Some(value) = fields.get("leaderElection") else { return Ok(()) };
    let of = Fields::of(value, "leaderElection")?;
    if of.flag("leaderElect")?.unwrap_or(true) {
        return Err("leaderElection.leaderElect: only false: the server's process has the one scheduler".into());
    }
    for field in ["leaseDuration", "renewDeadline", "retryPeriod", "resourceLock", "resourceName", "resourceNamespace"]
    {
        of.refuse(field, "there is no election")?;
    }
    of.done()
}

fn percentage(fields: &Fields<'_>) -> Result<Option<usize>, String> {
    match fields.int("percentageOfNodesToScore")? {
        None => Ok(None),
        Some(percent @ 0..=100) => Ok(Some(percent as usize)),
        Some(percent) => Err(fields.invalid("percentageOfNodesToScore", percent, "not in valid range [0-100]")),
    }
}

fn backoff(fields: &Fields<'_>) -> Result<Backoff, String> {
    let min = fields.int("podInitialBackoffSeconds")?.unwrap_or(1);
    let max = fields.int("podMaxBackoffSeconds")?.unwrap_or(10);
    if min <= 0 {
        return Err(fields.invalid("podInitialBackoffSeconds", min, "must be greater than 0"));
    }
    if max < min {
        let why = "must be greater than or equal to PodInitialBackoffSeconds";
        return Err(fields.invalid("podMaxBackoffSeconds", max, why));
    }
    Ok(Backoff { min: Duration::from_secs(min as u64), max: Duration::from_secs(max as u64) })
}

fn profile(fields: &Fields<'_>, number: usize, of: usize, percent: usize) -> Result<Profile, String> {
    let name = match (fields.get("schedulerName"), fields.text("schedulerName")?) {
        // Only where there is one, and only in place of what is not there (SetDefaults_KubeSchedulerConfiguration).
        (None, _) if of == 1 => "default-scheduler",
        (_, "") => return Err(format!("{}: Required value", fields.at("schedulerName"))),
        (_, name) => name,
    };
    let percent = percentage(fields)?.unwrap_or(percent);
    let percentage = (percent > 0).then_some(percent);
    let mut profile = Profile { name: name.into(), number, percentage, ..Profile::default() };
    plugins::read(fields, &mut profile)?;
    args::read(fields, &mut profile)?;
    fields.done()?;
    Ok(profile)
}

#[cfg(test)]
mod tests;
