//! Each metric of a spec: what it proposes, or why it cannot be told. Pure.
//!
//! horizontal.go computeReplicasForMetrics. Custom and external metrics have no API here: they fail as on a cluster on
//! which nobody serves one.

use std::sync::LazyLock;

use api::quantity::{Format, Quantity};
use api::selector::Labels;
use api::{Resource, tree};
use client::Key;
use client::recorder::Type;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Said;
use super::replicas::{self, Asked, Figure, Figures, Pod, Target, Tolerances};

/// What a target says of its pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// How many there shall be.
    pub replicas: i64,
    /// Which they are; empty where it does not say.
    pub selector: String,
}

impl Scale {
    pub fn of(scale: &Value) -> Scale {
        Scale {
            replicas: tree::int(scale, "spec.replicas").unwrap_or(0),
            selector: tree::text(scale, "status.selector").to_owned(),
        }
    }
}

pub static POD_METRICS: LazyLock<Resource> =
    LazyLock::new(|| Resource::namespaced("metrics.k8s.io/v1beta1", "PodMetrics", "pods"));

/// What all metrics come to.
#[derive(Debug)]
pub struct Measured {
    pub outcome: Result<Proposed, Failed>,
    /// `status.currentMetrics`: null, or one for each of the spec.
    pub statuses: Value,
    pub told: Vec<Said>,
}

/// The largest of what they propose, and the metric that does.
#[derive(Debug)]
pub struct Proposed {
    pub replicas: i64,
    pub metric: String,
}

/// Why nothing can be done: of the condition ScalingActive, and of the event.
#[derive(Debug)]
pub struct Failed {
    pub reason: &'static str,
    pub message: String,
    pub error: String,
}

/// One metric: how many, its name and its status; or of its failure a reason, what went wrong, and the same within what
/// is told of it.
type One = Result<(i64, String, Value), Wrong>;

struct Wrong {
    reason: &'static str,
    error: String,
    told: String,
}

/// The selector of a scale (validateAndParseSelector).
///
/// # Errors
/// What is said of one that is missing or cannot be read.
pub fn selector(text: &str) -> Result<Labels, Box<Measured>> {
    if text.is_empty() {
        let message = "the HPA target's scale is missing a selector";
        let measured = nothing("SelectorRequired", "InvalidSelector", "selector is required".into(), message.into());
        return Err(Box::new(measured));
    }
    Labels::parse(text).map_err(|status| {
        let why =
            format!("couldn't convert selector into a corresponding internal selector object: {}", status.message);
        Box::new(nothing("InvalidSelector", "InvalidSelector", why.clone(), why))
    })
}

/// Pods of two autoscalers are scaled by neither.
pub fn ambiguous(selector: &str, autoscalers: &[Key]) -> Measured {
    let named: Vec<String> = autoscalers.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    let why = format!("pods by selector {selector} are controlled by more than one HPA (e.g. [{}])", named.join(" "));
    nothing("AmbiguousSelector", "AmbiguousSelector", why.clone(), why)
}

fn nothing(event: &'static str, reason: &'static str, error: String, message: String) -> Measured {
    let told = vec![(Type::Warning, event, error.clone())];
    Measured { outcome: Err(Failed { reason, message, error }), statuses: Value::Null, told }
}

/// Whether it looks at what its pods use.
pub fn needs_figures(autoscaler: &Value) -> bool {
    let kinds = ["Resource", "ContainerResource"];
    tree::list(autoscaler, "spec.metrics").iter().any(|metric| kinds.contains(&tree::text(metric, "type")))
}

/// `figures` are PodMetrics, or why there are none.
pub fn measure(
    autoscaler: &Value,
    scale: &Scale,
    pods: &[Pod],
    figures: Result<&[Value], &String>,
    now: Timestamp,
) -> Measured {
    let specs = tree::list(autoscaler, "spec.metrics");
    let (mut statuses, mut told, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut best: Option<Proposed> = None;
    for spec in specs {
        match one(autoscaler, spec, scale, pods, figures, now) {
            Ok((replicas, metric, status)) => {
                statuses.push(status);
                if best.as_ref().is_none_or(|best| best.replicas == 0 || replicas > best.replicas) {
                    best = Some(Proposed { replicas, metric });
                }
            }
            Err(why) => {
                // What is written of one that is not there.
                statuses.push(json!({"type": ""}));
                told.push((Type::Warning, why.reason, why.error.clone()));
                wrong.push(why);
            }
        }
    }
    let few = best.as_ref().is_none_or(|best| best.replicas < scale.replicas);
    let outcome = match (wrong.first(), best) {
        (Some(first), best) if best.is_none() || few => Err(Failed {
            reason: first.reason,
            message: format!("the HPA was unable to compute the replica count: {}", first.error),
            error: format!(
                "invalid metrics ({} invalid out of {}), first error is: {}",
                wrong.len(),
                specs.len(),
                first.told
            ),
        }),
        (_, Some(best)) => Ok(best),
        // The server gives a spec without metrics one.
        (_, None) => Ok(Proposed { replicas: 0, metric: String::new() }),
    };
    Measured { outcome, statuses: statuses.into(), told }
}

fn one(
    autoscaler: &Value,
    spec: &Value,
    scale: &Scale,
    pods: &[Pod],
    figures: Result<&[Value], &String>,
    now: Timestamp,
) -> One {
    let namespace = tree::text(autoscaler, "metadata.namespace");
    match tree::text(spec, "type") {
        "Resource" => resource(autoscaler, &spec["resource"], false, scale, pods, figures, now),
        "ContainerResource" => resource(autoscaler, &spec["containerResource"], true, scale, pods, figures, now),
        "Pods" => Err(pods_metric(&spec["pods"])),
        "Object" => Err(object_metric(&spec["object"], namespace)),
        "External" => Err(external_metric(&spec["external"], namespace)),
        other => {
            let error = format!("unknown metric source type {other:?}");
            Err(Wrong { reason: "InvalidMetricSourceType", told: error.clone(), error })
        }
    }
}

/// computeStatusForResourceMetricGeneric
fn resource(
    autoscaler: &Value,
    source: &Value,
    of_container: bool,
    scale: &Scale,
    pods: &[Pod],
    figures: Result<&[Value], &String>,
    now: Timestamp,
) -> One {
    let (name, target) = (tree::text(source, "name"), &source["target"]);
    let container = of_container.then(|| tree::text(source, "container"));
    let failed = |error: String| match container {
        None => Wrong {
            reason: "FailedGetResourceMetric",
            told: format!("failed to get {name} resource metric value: {error}"),
            error,
        },
        Some(container) => Wrong {
            reason: "FailedGetContainerResourceMetric",
            told: format!("failed to get {container} container metric value: {error}"),
            error,
        },
    };
    let (target, what, metric) = match (&target["averageValue"], tree::int(target, "averageUtilization")) {
        (Value::Null, Some(percent)) => {
            let of = if of_container { "container resource" } else { "resource" };
            (Target::Utilization(percent), "utilization", format!("{name} {of} utilization (percentage of request)"))
        }
        (Value::Null, None) => return Err(failed(NO_TARGET.into())),
        (average, _) => (Target::Average(Quantity::of(average).milli_value()), "usage", format!("{name} resource")),
    };
    let asked = Asked { resource: name, container, target, tolerances: Tolerances::of(autoscaler) };
    let figures = figures.map(|all| all.iter().filter_map(|pod| figure(pod, name, container)).collect::<Figures>());
    let figures = figures.map_err(|why| format!("unable to get metrics for resource {name}: {why}"));
    let proposed = figures.and_then(|figures| replicas::propose(asked, scale.replicas, pods, figures, now));
    let proposed = proposed.map_err(|why| failed(format!("failed to get {name} {what}: {why}")))?;
    let mut current = json!({"averageValue": average(name, proposed.average)});
    if let Some(percent) = proposed.utilization {
        current["averageUtilization"] = json!(percent);
    }
    let mut status = json!({"name": name, "current": current});
    let status = match container {
        None => json!({"type": "Resource", "resource": status}),
        Some(container) => {
            status["container"] = json!(container);
            json!({"type": "ContainerResource", "containerResource": status})
        }
    };
    Ok((proposed.replicas, metric, status))
}

/// Of a PodMetrics, what the pod or one of its containers uses; None where that is not told whole (getPodMetrics,
/// getContainerMetrics).
fn figure(pod: &Value, resource: &str, container: Option<&str>) -> Option<(String, Figure)> {
    let mut containers = tree::list(pod, "containers").iter();
    let value = |of: &Value| of["usage"].get(resource).map(|amount| Quantity::of(amount).milli_value());
    let value = match container {
        Some(name) => value(containers.find(|one| tree::text(one, "name") == name)?)?,
        None if containers.len() == 0 => return None,
        None => containers.map(value).sum::<Option<i64>>()?,
    };
    let at = tree::text(pod, "timestamp").parse().ok()?;
    let window = api::go::duration(tree::text(pod, "window")).ok()?;
    let window = SignedDuration::from_nanos(window as i64);
    Some((tree::text(pod, "metadata.name").to_owned(), Figure { at, window, value }))
}

/// In the form in which figures are told (buildQuantity).
fn average(resource: &str, milli: i64) -> String {
    match milli % 1000 {
        0 if resource == "memory" => Quantity::from_units(milli / 1000, Format::BinarySi),
        _ => Quantity::from_milli(milli),
    }
    .to_string()
}

const NO_TARGET: &str = "invalid resource metric source: neither an average utilization target nor an average value \
                         (usage) target was set";
const NO_CUSTOM: &str =
    "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";

fn pods_metric(source: &Value) -> Wrong {
    let error = format!("unable to get metric {}: {NO_CUSTOM}", tree::text(source, "metric.name"));
    Wrong { reason: "FailedGetPodsMetric", told: format!("failed to get pods metric value: {error}"), error }
}

fn object_metric(source: &Value, namespace: &str) -> Wrong {
    let (metric, of) = (tree::text(source, "metric.name"), &source["describedObject"]);
    let (kind, name) = (tree::text(of, "kind"), tree::text(of, "name"));
    let error = format!("unable to get metric {metric} on {kind} {namespace}/{name}: {NO_CUSTOM}");
    let is_average = tree::text(source, "target.type") == "AverageValue";
    let within = if is_average { format!("failed to get {metric} object metric: {error}") } else { error.clone() };
    Wrong { reason: "FailedGetObjectMetric", told: format!("failed to get object metric value: {within}"), error }
}

fn external_metric(source: &Value, namespace: &str) -> Wrong {
    let metric = tree::text(source, "metric.name");
    let error = format!(
        "unable to get external metric {namespace}/{metric}/{}: unable to fetch metrics from external metrics API: the \
         server could not find the requested resource (get {metric}.external.metrics.k8s.io)",
        go_selector(&source["metric"]["selector"])
    );
    let within = match source["target"]["averageValue"].is_null() {
        true => format!("failed to get external metric {metric}: {error}"),
        false => format!("failed to get {metric} external metric: {error}"),
    };
    let told = format!("failed to get {metric} external metric value: {within}");
    Wrong { reason: "FailedGetExternalMetric", told, error }
}

/// A LabelSelector as its Go type prints itself.
fn go_selector(selector: &Value) -> String {
    if selector.is_null() {
        return "nil".into();
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels: String =
        tree::entries(selector, "matchLabels").map(|(key, value)| format!("{key}: {},", text(value))).collect();
    let one = |term: &Value| {
        let values: Vec<String> = tree::list(term, "values").iter().map(text).collect();
        let (key, operator) = (tree::text(term, "key"), tree::text(term, "operator"));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    };
    let terms: String = tree::list(selector, "matchExpressions").iter().map(one).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
}
