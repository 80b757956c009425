//! `autoscale`: makes a HorizontalPodAutoscaler (autoscaling/v2) for each workload.
//!
//! kubectl tries autoscaling/v1 where v2 refuses; here what v2 says is told (pkg/cmd/autoscale).

use api::quantity::Quantity;
use api::{Object, Resource};
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::Run;
use crate::change::{DryRun, DryRunFlag, OutputFlag, aggregate};
use crate::failure::{Result, failure};
use crate::output;
use crate::selection::{Found, Given, Nameless, Selection, unmanaged};
use crate::session::{Login, Session};

/// Let a workload's size follow its load
#[derive(Args, Default)]
pub struct Autoscale {
    /// No selector: kubectl takes none here.
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// Fewest replicas; without or negative: the server's choice
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    min: i32,
    /// Most replicas; it must be given
    #[arg(long, allow_negative_numbers = true)]
    max: Option<i32>,
    /// Deprecated: --cpu=N%
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    cpu_percent: i32,
    /// Processor time to aim at: `70%` of what is requested, `500m` (or `500`) a pod
    #[arg(long, default_value = "", hide_default_value = true)]
    cpu: String,
    /// Memory to aim at: `60%` of what is requested, `200Mi` (or `200`) a pod
    #[arg(long, default_value = "", hide_default_value = true)]
    memory: String,
    /// Name of the autoscaler; else the workload's
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Name of the field manager
    #[arg(long, default_value = "kubectl-autoscale")]
    field_manager: String,
}

impl Run for Autoscale {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let dry_run = flags.dry_run.wanted()?;
        let said = flags.output.said(dry_run)?;
        if flags.cpu_percent != -1 {
            output::note(
                "Flag --cpu-percent has been deprecated, Use --cpu with percentage or resource quantity format (e.g., '70%' for utilization or '500m' for milliCPU).",
            );
        }
        let metrics = flags.metrics().map_err(failure)?;
        let selection = Selection { given: flags.given.clone(), selector: None };
        let objects = selection.objects(session, Nameless::Refused).await?;
        if objects.found.is_empty() && objects.failed.is_empty() {
            return Err(failure("no objects passed to autoscale"));
        }
        let kinds = session.kinds().await?;
        let autoscalers = kinds.iter().find(|kind| kind.is("autoscaling/v2", "HorizontalPodAutoscaler")).cloned();
        let autoscalers = autoscalers.ok_or_else(|| {
            failure("failed to create HorizontalPodAutoscaler using autoscaling/v2 API: the server has no such kind")
        })?;
        let mut failed = objects.failed;
        for found in &objects.found {
            if let Err(why) = scalable(&found.kind) {
                failed.push(failure(why));
                continue;
            }
            let asked = flags.autoscaler(found, &metrics, session.place().is_demanded.then_some(&session.namespace));
            let (name, done, shown) = match dry_run {
                DryRun::Client => (asked["metadata"]["name"].as_str().unwrap_or_default().into(), "created", asked),
                _ => match flags.made(session, &autoscalers, &asked, dry_run).await {
                    Ok(object) => (object.meta().name.clone(), "autoscaled", unmanaged(&object)),
                    Err(status) => {
                        failed.push(status.into());
                        continue;
                    }
                },
            };
            said.done(&autoscalers, &name, &shown, done)?;
        }
        aggregate(failed)
    }
}

impl Autoscale {
    async fn made(
        &self,
        session: &Session,
        kind: &Resource,
        asked: &Value,
        dry_run: DryRun,
    ) -> Result<Object, api::Status> {
        let path = client::path(kind, &session.namespace, &[]);
        let query = [("dryRun", dry_run.query()), ("fieldManager", &self.field_manager)];
        session.client.call(Method::POST, &path, &query, Some(("application/json", asked))).await?.object().await
    }

    /// What the flags aim at, or what is wrong with them.
    fn metrics(&self) -> Result<Vec<Value>, String> {
        let Autoscale { min, cpu_percent, .. } = *self;
        let max = self.max.ok_or("required flag(s) \"max\" not set")?;
        if max < 1 {
            return Err(format!("--max=MAXPODS is required and must be at least 1, max: {max}"));
        }
        if max < min {
            return Err(format!("--max=MAXPODS must be larger or equal to --min=MINPODS, max: {max}, min: {min}"));
        }
        if cpu_percent > 0 && !self.cpu.is_empty() {
            return Err("--cpu-percent and --cpu are mutually exclusive".into());
        }
        let metric =
            |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
        let mut metrics = Vec::new();
        if cpu_percent > 0 {
            metrics.push(metric("cpu", json!({"type": "Utilization", "averageUtilization": cpu_percent})));
        }
        for (name, given, unit) in [("cpu", &self.cpu, "m"), ("memory", &self.memory, "Mi")] {
            if !given.is_empty() {
                metrics.push(metric(name, target(name, given, unit)?));
            }
        }
        Ok(metrics)
    }

    fn autoscaler(&self, found: &Found, metrics: &[Value], namespace: Option<&String>) -> Value {
        let name = if self.name.is_empty() { found.name() } else { &self.name };
        let target = json!({"apiVersion": found.kind.api_version(), "kind": found.kind.kind, "name": found.name()});
        let mut asked = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {"maxReplicas": self.max, "scaleTargetRef": target},
        });
        if let Some(namespace) = namespace {
            asked["metadata"]["namespace"] = json!(namespace);
        }
        if self.min > 0 {
            asked["spec"]["minReplicas"] = json!(self.min);
        }
        if !metrics.is_empty() {
            asked["spec"]["metrics"] = json!(metrics);
        }
        asked
    }
}

/// `70%`, `500m`, or a number of the unit (parseResourceInput).
fn target(name: &str, given: &str, unit: &str) -> Result<Value, String> {
    let given = given.trim();
    if let Some(percent) = given.strip_suffix('%') {
        let number = percent.parse::<i32>().ok().filter(|number| *number >= 0);
        let number = number.ok_or_else(|| format!("invalid percentage value: {percent}"))?;
        return Ok(json!({"type": "Utilization", "averageUtilization": number}));
    }
    if given.is_empty() {
        return Err("empty input".into());
    }
    let text = match given.parse::<f64>() {
        Ok(number) => format!("{number}{unit}"),
        Err(_) => given.to_string(),
    };
    let amount = Quantity::parse(&text).map_err(|_| format!("invalid resource {name} value: {given}"))?;
    Ok(json!({"type": "AverageValue", "averageValue": amount.to_string()}))
}

/// Whether the kind has a size (client-go scale/util.go).
fn scalable(kind: &Resource) -> Result<(), String> {
    if kind.subresources.iter().any(|sub| sub == "scale") {
        return Ok(());
    }
    Err(format!(
        "cannot autoscale a {}: could not find scale subresource for {}/{}, Resource={} in discovery information",
        kind.kind, kind.group, kind.version, kind.plural
    ))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn targets_are_percentages_amounts_or_numbers_of_the_kinds_unit() {
        let rows = [
            ("cpu", "70%"),
            ("cpu", "500m"),
            ("cpu", "500"),
            ("cpu", " 1.5 "),
            ("memory", "200"),
            ("memory", "1Gi"),
            ("cpu", "-1%"),
            ("cpu", "x%"),
            ("memory", "lots"),
            ("cpu", " "),
        ];
        let told = rows.map(|(name, given)| {
            let unit = if name == "cpu" { "m" } else { "Mi" };
            format!(
                "{given:?}: {}\n",
                target(name, given, unit).map_or_else(|why| format!("error: {why}"), |v| v.to_string())
            )
        });
        expect![[r#"
            "70%": {"averageUtilization":70,"type":"Utilization"}
            "500m": {"averageValue":"500m","type":"AverageValue"}
            "500": {"averageValue":"500m","type":"AverageValue"}
            " 1.5 ": {"averageValue":"1500u","type":"AverageValue"}
            "200": {"averageValue":"200Mi","type":"AverageValue"}
            "1Gi": {"averageValue":"1Gi","type":"AverageValue"}
            "-1%": error: invalid percentage value: -1
            "x%": error: invalid percentage value: x
            "lots": error: invalid resource memory value: lots
            " ": error: empty input
        "#]]
        .assert_eq(&told.concat());
    }

    #[test]
    fn flags_that_contradict_are_refused_in_kubectls_words() {
        let why = |flags: Autoscale| flags.metrics().unwrap_err();
        let flags = |min: i32, max: i32| Autoscale { min, max: Some(max), cpu_percent: -1, ..Autoscale::default() };
        assert_eq!(why(flags(-1, 0)), "--max=MAXPODS is required and must be at least 1, max: 0");
        assert_eq!(why(flags(3, 2)), "--max=MAXPODS must be larger or equal to --min=MINPODS, max: 2, min: 3");
        let both = Autoscale { cpu_percent: 50, cpu: "50%".into(), ..flags(1, 2) };
        assert_eq!(why(both), "--cpu-percent and --cpu are mutually exclusive");
        assert_eq!(flags(1, 2).metrics(), Ok(Vec::new()));
    }

    #[test]
    fn only_kinds_with_a_size_are_scaled() {
        assert_eq!(
            scalable(&api::resource::PODS).unwrap_err(),
            "cannot autoscale a Pod: could not find scale subresource for /v1, Resource=pods in discovery information"
        );
        assert!(scalable(&api::resource::DEPLOYMENTS.with(|names| names.subresources = vec!["scale".into()])).is_ok());
    }
}
