//! autoscaling/v1: one target of CPU as a field; all else in annotations, as JSON.
//!
//! Matches pkg/apis/autoscaling/v1/conversion.go. What an annotation holds has v1's own names, and for the behavior
//! those of upstream's internal type. What cannot be read is passed over, as there.

use api::decode::FieldValidation;
use api::tree;
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ALL: [&str; 6] = [
    METRICS,
    CURRENT,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// One field in v2 and in v1; what v1 always writes is a quantity, or a name.
struct Pair {
    v2: &'static [&'static str],
    v1: &'static str,
    zero: Option<&'static str>,
}

const fn pair(v2: &'static [&'static str], v1: &'static str) -> Pair {
    Pair { v2, v1, zero: None }
}

const fn always(v2: &'static [&'static str], v1: &'static str, zero: &'static str) -> Pair {
    Pair { v2, v1, zero: Some(zero) }
}

/// By the source's field.
type Sources = [(&'static str, &'static [Pair]); 5];

const SPECS: Sources = [
    (
        "object",
        &[
            pair(&["describedObject"], "target"),
            always(&["metric", "name"], "metricName", ""),
            pair(&["metric", "selector"], "selector"),
            always(&["target", "value"], "targetValue", "0"),
            pair(&["target", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            always(&["metric", "name"], "metricName", ""),
            pair(&["metric", "selector"], "selector"),
            always(&["target", "averageValue"], "targetAverageValue", "0"),
        ],
    ),
    (
        "external",
        &[
            always(&["metric", "name"], "metricName", ""),
            pair(&["metric", "selector"], "metricSelector"),
            pair(&["target", "value"], "targetValue"),
            pair(&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            always(&["name"], "name", ""),
            pair(&["target", "averageUtilization"], "targetAverageUtilization"),
            pair(&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "containerResource",
        &[
            always(&["name"], "name", ""),
            always(&["container"], "container", ""),
            pair(&["target", "averageUtilization"], "targetAverageUtilization"),
            pair(&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
];

const STATUSES: Sources = [
    (
        "object",
        &[
            pair(&["describedObject"], "target"),
            always(&["metric", "name"], "metricName", ""),
            pair(&["metric", "selector"], "selector"),
            always(&["current", "value"], "currentValue", "0"),
            pair(&["current", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            always(&["metric", "name"], "metricName", ""),
            pair(&["metric", "selector"], "selector"),
            always(&["current", "averageValue"], "currentAverageValue", "0"),
        ],
    ),
    (
        "external",
        &[
            always(&["metric", "name"], "metricName", ""),
            pair(&["metric", "selector"], "metricSelector"),
            always(&["current", "value"], "currentValue", "0"),
            pair(&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "resource",
        &[
            always(&["name"], "name", ""),
            pair(&["current", "averageUtilization"], "currentAverageUtilization"),
            always(&["current", "averageValue"], "currentAverageValue", "0"),
        ],
    ),
    (
        "containerResource",
        &[
            always(&["name"], "name", ""),
            always(&["container"], "container", ""),
            pair(&["current", "averageUtilization"], "currentAverageUtilization"),
            always(&["current", "averageValue"], "currentAverageValue", "0"),
        ],
    ),
];

pub fn from_stored(scaler: &mut Value) {
    drop_annotations(scaler);
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = scaler.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec.remove("metrics").unwrap_or_default();
        let (cpu, others): (Vec<&Value>, Vec<&Value>) = items(&metrics).partition(|metric| is_cpu(metric));
        if let Some(cpu) = cpu.first() {
            spec.insert(
                "targetCPUUtilizationPercentage".into(),
                cpu["resource"]["target"]["averageUtilization"].clone(),
            );
        }
        if !others.is_empty() {
            notes.push((METRICS, others.into_iter().map(|metric| to_v1(metric, &SPECS)).collect()));
        }
        if let Some(behavior) = spec.remove("behavior").filter(Value::is_object) {
            notes.push((BEHAVIOR, internal(&behavior)));
        }
    }
    if let Some(status) = scaler.get_mut("status").and_then(Value::as_object_mut) {
        let current = status.remove("currentMetrics").unwrap_or_default();
        let percent = |metric: &Value| {
            let cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
            metric["resource"]["current"].get("averageUtilization").filter(|_| cpu).cloned()
        };
        if let Some(percent) = items(&current).filter_map(percent).last() {
            status.insert("currentCPUUtilizationPercentage".into(), percent);
        }
        if items(&current).next().is_some() {
            notes.push((CURRENT, items(&current).map(|metric| to_v1(metric, &STATUSES)).collect()));
        }
        if let Some(conditions) = status.remove("conditions").filter(|list| items(list).next().is_some()) {
            notes.push((CONDITIONS, conditions));
        }
        for field in ["currentReplicas", "desiredReplicas"] {
            status.entry(field).or_insert(json!(0));
        }
    }
    if notes.is_empty() {
        return;
    }
    if let Some(annotations) = tree::child(scaler, "metadata").and_then(|m| tree::child(m, "annotations")) {
        for (key, value) in notes {
            annotations[key] = json!(text(&value));
        }
    }
}

/// Of what a text says only what is of its type, as it is in a body (upstream: json.Unmarshal).
fn typed(value: Value, of: &str) -> Option<Value> {
    let schema = format!("io.k8s.api.autoscaling.v2.{of}");
    api::decode::tree(value, &schema, FieldValidation::Ignore).ok().map(|decoded| decoded.value)
}

pub fn to_stored(scaler: &mut Value) {
    let note = |key: &str| {
        let text = scaler["metadata"]["annotations"][key].as_str()?;
        serde_json::from_str::<Value>(text).ok()
    };
    let list = |key: &str| note(key).filter(|value| value.is_array() || value.is_null());
    let (metrics, current, conditions) = (list(METRICS), list(CURRENT), list(CONDITIONS));
    let behavior = note(BEHAVIOR).filter(Value::is_object).map(|behavior| external(&behavior));
    let behavior = behavior.and_then(|behavior| typed(behavior, "HorizontalPodAutoscalerBehavior"));
    drop_annotations(scaler);
    if let Some(spec) = scaler.get_mut("spec").and_then(Value::as_object_mut) {
        let mut all: Vec<Value> =
            metrics.iter().flat_map(items).filter_map(|metric| typed(to_v2(metric, &SPECS), "MetricSpec")).collect();
        let cpu = spec.remove("targetCPUUtilizationPercentage");
        all.extend(cpu.filter(|percent| !percent.is_null()).map(|percent| {
            json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": percent}}})
        }));
        if !all.is_empty() {
            spec.insert("metrics".into(), all.into());
        }
        if let Some(behavior) = behavior.filter(|behavior| behavior.as_object().is_some_and(|rules| !rules.is_empty()))
        {
            spec.insert("behavior".into(), behavior);
        }
    }
    let Some(status) = scaler.get_mut("status").and_then(Value::as_object_mut) else { return };
    let cpu = status.remove("currentCPUUtilizationPercentage").filter(|percent| !percent.is_null());
    let metrics = match (current, cpu) {
        (Some(current), _) => {
            items(&current).filter_map(|metric| typed(to_v2(metric, &STATUSES), "MetricStatus")).collect()
        }
        (None, Some(percent)) => {
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}])
        }
        (None, None) => Value::Null,
    };
    status.insert("currentMetrics".into(), metrics);
    if let Some(conditions) = conditions.filter(Value::is_array) {
        let of = "HorizontalPodAutoscalerCondition";
        status.insert("conditions".into(), items(&conditions).filter_map(|one| typed(one.clone(), of)).collect());
    }
}

/// Those that stand for fields are nobody's annotations.
pub fn drop_annotations(scaler: &mut Value) {
    let annotations = scaler.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    let Some(annotations) = annotations.and_then(Value::as_object_mut) else { return };
    annotations.retain(|key, _| !ALL.contains(&key.as_str()));
    if annotations.is_empty()
        && let Some(metadata) = scaler["metadata"].as_object_mut()
    {
        metadata.remove("annotations");
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is_cpu(metric: &Value) -> bool {
    let of = &metric["resource"];
    metric["type"] == "Resource" && of["name"] == "cpu" && of["target"].get("averageUtilization").is_some()
}

fn to_v1(metric: &Value, sources: &Sources) -> Value {
    let mut out = Map::from_iter([("type".to_string(), metric["type"].clone())]);
    for (source, pairs) in sources.iter().filter(|(source, _)| metric.get(source).is_some_and(Value::is_object)) {
        let mut fields = Map::new();
        for pair in *pairs {
            let value = pair.v2.iter().fold(&metric[*source], |here, step| &here[*step]);
            match (value, pair.zero) {
                (Value::Null, None) => {}
                (Value::Null, Some(zero)) => drop(fields.insert(pair.v1.into(), zero.into())),
                (value, _) => drop(fields.insert(pair.v1.into(), value.clone())),
            }
        }
        out.insert((*source).into(), fields.into());
    }
    out.into()
}

fn to_v2(metric: &Value, sources: &Sources) -> Value {
    let mut out = json!({"type": metric["type"].as_str().unwrap_or_default()});
    for (source, pairs) in sources.iter().filter(|(source, _)| metric.get(source).is_some_and(Value::is_object)) {
        let fields = &metric[*source];
        for pair in *pairs {
            let value = match (&fields[pair.v1], pair.zero) {
                (Value::Null, None) => continue,
                (Value::Null, Some(zero)) => zero.into(),
                (value, _) => value.clone(),
            };
            *pair.v2.iter().fold(&mut out[*source], |here, step| &mut here[*step]) = value;
        }
        if let Some(target) = out[*source].get_mut("target").and_then(Value::as_object_mut) {
            let has = |field: &str| target.contains_key(field);
            let kind = match *source {
                "object" if has("averageValue") => {
                    // v1 cannot leave it out.
                    if target.get("value").is_some_and(|value| value == "0") {
                        target.remove("value");
                    }
                    "AverageValue"
                }
                "object" => "Value",
                "external" if has("value") => "Value",
                "resource" | "containerResource" if has("averageUtilization") => "Utilization",
                _ => "AverageValue",
            };
            target.insert("type".into(), kind.into());
        }
    }
    out
}

/// In which order Go's types have the fields that an annotation shows, all of them in one: no two differ in it.
const ORDER: [&str; 40] = [
    "type",
    "status",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "targetAverageUtilization",
    "targetAverageValue",
    "currentValue",
    "currentAverageUtilization",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "lastTransitionTime",
    "reason",
    "message",
    "observedGeneration",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Tolerance",
    "Type",
    "Value",
    "PeriodSeconds",
];

/// JSON in the order in which Go writes it. The keys of a map are in that of the alphabet.
fn text(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
            let field = |(name, value): (&String, &Value)| match name.as_str() {
                "matchLabels" => format!("{name:?}:{value}"),
                _ => format!("{name:?}:{}", text(value)),
            };
            format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// Every field of upstream's internal type, by its Go name.
fn internal(behavior: &Value) -> Value {
    let rules = |rules: &Value| match rules {
        Value::Null => Value::Null,
        rules => {
            let policies = rules["policies"].as_array().map(|list| {
                let policy =
                    |p: &Value| json!({"Type": p["type"], "Value": p["value"], "PeriodSeconds": p["periodSeconds"]});
                list.iter().map(policy).collect::<Value>()
            });
            json!({"StabilizationWindowSeconds": rules["stabilizationWindowSeconds"],
                "SelectPolicy": rules["selectPolicy"], "Policies": policies, "Tolerance": rules["tolerance"]})
        }
    };
    json!({"ScaleUp": rules(&behavior["scaleUp"]), "ScaleDown": rules(&behavior["scaleDown"])})
}

/// And back: `ScaleUp` is `scaleUp`, and what is null is not there.
fn external(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let lower = |key: &str| {
                let mut letters = key.chars();
                letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
            };
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            set.map(|(key, value)| (lower(key), external(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(external).collect(),
        value => value.clone(),
    }
}
