//! Of pods and what they use, how many there shall be. Pure.
//!
//! pkg/controller/podautoscaler/replica_calculator.go: pods that are not ready, or of which nothing is known, never
//! drive a change, they only hold it back.

use std::collections::{BTreeMap, BTreeSet};

use api::pod::Demands;
use api::quantity::Quantity;
use api::{Object, tree};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// --horizontal-pod-autoscaler-cpu-initialization-period and -initial-readiness-delay.
const INITIALIZATION: SignedDuration = SignedDuration::from_secs(300);
const READINESS_DELAY: SignedDuration = SignedDuration::from_secs(30);

/// What one pod uses of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub at: Timestamp,
    pub window: SignedDuration,
    /// Thousandths.
    pub value: i64,
}

/// By the pods' names.
pub type Figures = BTreeMap<String, Figure>;

/// A pod as it counts here.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    value: Value,
    is_deleting: bool,
}

/// How many a metric proposes, and what is used now.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub replicas: i64,
    /// Percent of what is requested.
    pub utilization: Option<i64>,
    /// Thousandths, of each pod on average.
    pub average: i64,
}

/// What shall be used: percent of what is requested, or thousandths of each pod on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    Utilization(i64),
    Average(i64),
}

/// By which part usage may be off before anything is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Tolerances {
    /// Those of an autoscaler, else --horizontal-pod-autoscaler-tolerance.
    pub fn of(autoscaler: &Value) -> Tolerances {
        let of = |direction: &str| {
            let told = &autoscaler["spec"]["behavior"][direction]["tolerance"];
            if told.is_null() { 0.1 } else { Quantity::of(told).nanos() as f64 / 1e9 }
        };
        Tolerances { down: of("scaleDown"), up: of("scaleUp") }
    }

    fn allow(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// Pods in kinds: a ready one drives what is done.
#[derive(Debug, Default, PartialEq)]
struct Grouped<'a> {
    ready: usize,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    ignored: BTreeSet<&'a str>,
}

impl Pod {
    pub fn of(object: &Object) -> Pod {
        let meta = object.meta();
        Pod { name: meta.name.clone(), value: object.value(), is_deleting: meta.is_deleting() }
    }

    /// Thousandths of a resource that it asks for, or one container of it (calculateRequests).
    fn request(&self, resource: &str, container: Option<&str>) -> Result<i64, String> {
        let spec = &self.value["spec"];
        let supported = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
        if container.is_none() && tree::entries(spec, "resources.requests").any(|(name, _)| supported(name)) {
            let requests = Demands::of(&self.value).requests();
            let request = requests.get(resource).map(|amount| amount.milli_value());
            return request.ok_or_else(|| format!("missing pod-level request for {resource} in Pod {}", self.name));
        }
        let sidecars = tree::list(spec, "initContainers").iter().filter(|c| c["restartPolicy"] == "Always");
        let mut sum = 0_i64;
        for one in tree::list(spec, "containers").iter().chain(sidecars) {
            let name = tree::text(one, "name");
            if container.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let Some(amount) = one["resources"]["requests"].get(resource) else {
                return Err(format!("missing request for {resource} in container {name} of Pod {}", self.name));
            };
            sum = sum.saturating_add(Quantity::of(amount).milli_value());
            if container.is_some() {
                return Ok(sum);
            }
        }
        match container {
            Some(container) => Err(format!("container {container} not found in Pod {}", self.name)),
            None => Ok(sum),
        }
    }

    /// Whether what it uses of the processor says nothing yet (groupPods).
    fn is_unready(&self, figure: &Figure, now: Timestamp) -> bool {
        let status = &self.value["status"];
        let time = |of: &Value, field: &str| of[field].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let ready = tree::list(status, "conditions").iter().find(|condition| condition["type"] == "Ready");
        let (Some(ready), Some(started)) = (ready, time(status, "startTime")) else { return true };
        let is_false = ready["status"] == "False";
        let changed = time(ready, "lastTransitionTime").unwrap_or(Timestamp::UNIX_EPOCH);
        match after(started, INITIALIZATION) > now {
            true => is_false || figure.at < after(changed, figure.window),
            // It has never been ready.
            false => is_false && after(started, READINESS_DELAY) > changed,
        }
    }
}

fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

fn group<'a>(pods: &'a [Pod], figures: &Figures, resource: &str, now: Timestamp) -> Grouped<'a> {
    let mut grouped = Grouped::default();
    for pod in pods {
        let phase = tree::text(&pod.value, "status.phase");
        let of = match (phase, figures.get(&pod.name)) {
            _ if pod.is_deleting => &mut grouped.ignored,
            ("Failed", _) => &mut grouped.ignored,
            ("Pending", _) => &mut grouped.unready,
            (_, None) => &mut grouped.missing,
            (_, Some(figure)) if resource == "cpu" && pod.is_unready(figure, now) => &mut grouped.unready,
            _ => {
                grouped.ready += 1;
                continue;
            }
        };
        of.insert(&pod.name);
    }
    grouped
}

/// What is asked for of a resource: of all of the pods, or of their containers of that name.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub resource: &'a str,
    pub container: Option<&'a str>,
    pub target: Target,
    pub tolerances: Tolerances,
}

/// GetResourceReplicas, GetRawResourceReplicas
pub fn propose(
    asked: Asked<'_>,
    current: i64,
    pods: &[Pod],
    mut figures: Figures,
    now: Timestamp,
) -> Result<Proposal, String> {
    let Asked { resource, container, target, tolerances } = asked;
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let Grouped { ready, unready, missing, ignored } = group(pods, &figures, resource, now);
    figures.retain(|name, _| !ignored.contains(name.as_str()) && !unready.contains(name.as_str()));
    if figures.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let mut used: BTreeMap<&str, i64> = figures.iter().map(|(name, figure)| (name.as_str(), figure.value)).collect();
    let requests: BTreeMap<&str, i64> = match target {
        Target::Average(_) => BTreeMap::new(),
        Target::Utilization(_) => {
            let of = |pod: &'_ Pod| pod.request(resource, container);
            pods.iter().map(|pod| Ok((pod.name.as_str(), of(pod)?))).collect::<Result<_, String>>()?
        }
    };
    let (ratio, utilization, average) = ratio(&used, &requests, target)?;
    let told = |replicas| Ok(Proposal { replicas, utilization, average });
    let held_by_unready = !unready.is_empty() && ratio > 1.0;
    if !held_by_unready && missing.is_empty() {
        return told(if tolerances.allow(ratio) { current } else { ceil(ratio, ready) });
    }
    if ratio < 1.0 {
        // As if they used what they shall, or all that they ask for.
        used.extend(missing.iter().map(|name| (*name, assumed(target, requests.get(name).copied().unwrap_or(0)))));
    } else if ratio > 1.0 {
        used.extend(missing.iter().map(|name| (*name, 0)));
    }
    if held_by_unready {
        used.extend(unready.iter().map(|name| (*name, 0)));
    }
    let (again, ..) = self::ratio(&used, &requests, target)?;
    if tolerances.allow(again) || (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0) {
        return told(current);
    }
    let replicas = ceil(again, used.len());
    let turned = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    told(if turned { current } else { replicas })
}

/// What a pod of which nothing is known counts for on the way down.
fn assumed(target: Target, request: i64) -> i64 {
    match target {
        Target::Average(target) => target,
        Target::Utilization(target) => narrow(i128::from(request) * i128::from(target.max(100)) / 100),
    }
}

/// Of what shall be used, the part that is; with the percentage and the average (metrics/utilization.go).
fn ratio(
    used: &BTreeMap<&str, i64>,
    requests: &BTreeMap<&str, i64>,
    target: Target,
) -> Result<(f64, Option<i64>, i64), String> {
    match target {
        Target::Average(target) => {
            let total: i128 = used.values().copied().map(i128::from).sum();
            let average = narrow(total / used.len().max(1) as i128);
            Ok((average as f64 / target as f64, None, average))
        }
        Target::Utilization(target) => {
            let pairs =
                used.iter().filter_map(|(name, used)| Some((i128::from(*used), i128::from(*requests.get(name)?))));
            let (total, requested, count) = pairs.fold((0, 0, 0), |(total, requested, count), (used, request)| {
                (total + used, requested + request, count + 1)
            });
            if requested == 0 {
                return Err("no metrics returned matched known pods".into());
            }
            let utilization = narrow(total * 100 / requested).min(i64::from(i32::MAX));
            Ok((utilization as f64 / target as f64, Some(utilization), narrow(total / count)))
        }
    }
}

fn narrow(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// No more than a count of pods can be.
fn ceil(ratio: f64, pods: usize) -> i64 {
    i64::from((ratio * pods as f64).ceil() as i32)
}
