//! StatefulSet: pods with a name and a memory of their own, one after another.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::pod::{defaults, validate as pod};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each, non_negative};
use crate::validate::claim;
use crate::validate::{meta, selector};
use crate::workload::{self, amount, at_most_all, int_or_percent};

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![SCALE, STATUS],
        columns: columns(),
        hooks: Hooks {
            prepare: |_, set, old, _| {
                workload::count_born(set, old, json!({"availableReplicas": 0, "replicas": 0}));
            },
            default,
            validate,
            warnings,
            ..HOOKS
        },
        ..Kind::namespaced("apps/v1", "StatefulSet", "statefulsets").short("sts").in_all()
    }
}

fn columns() -> Vec<Column> {
    let ready = computed("Ready", "How many pods are ready, of how many.", |set, _| json!(workload::ready_of(set)));
    [NAME, ready, AGE].into_iter().chain(workload::containers()).collect()
}

fn default(_: &Kind, set: &mut Value) {
    let Some(spec) = workload::default_spec(set) else { return };
    tree::set_default_text(spec, "podManagementPolicy", "OrderedReady");
    tree::set_default(spec, "replicas", 1);
    tree::set_default(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = tree::child(spec, "updateStrategy") {
        if tree::text(strategy, "type").is_empty() {
            tree::set_default_text(strategy, "type", "RollingUpdate");
            tree::child(strategy, "rollingUpdate");
        }
        let rolls = tree::text(strategy, "type") == "RollingUpdate";
        if let Some(update) = strategy.get_mut("rollingUpdate").filter(|update| rolls && update.is_object()) {
            tree::set_default(update, "partition", 0);
            tree::set_default(update, "maxUnavailable", 1);
        }
    }
    if let Some(claims) = tree::child(spec, "persistentVolumeClaimRetentionPolicy") {
        tree::set_default_text(claims, "whenDeleted", "Retain");
        tree::set_default_text(claims, "whenScaled", "Retain");
    }
    for claim in tree::each(spec, "volumeClaimTemplates").filter(|claim| claim.is_object()) {
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        if let Some(status) = tree::child(claim, "status") {
            tree::set_default_text(status, "phase", "Pending");
        }
        if let Some(spec) = tree::child(claim, "spec") {
            defaults::claim(spec);
        }
    }
}

fn validate(kind: &Kind, set: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(kind, set, old, names::dns_label, &mut errors);
    let (at, was) = (At::root(set), old.map(At::root));
    if context.subresource == "status" {
        status(&at.get("status"), was.map(|was| was.get("status")), &mut errors);
        return errors;
    }
    let judged = at.get("spec");
    let Some(was) = was.map(|was| was.get("spec")) else {
        spec(&judged, As::New, context, &mut errors);
        return errors;
    };
    // What was let in by an older version may stay.
    let mut old_errors = Errors::new();
    spec(&was, As::Changed, context, &mut old_errors);
    spec(&judged, if old_errors.is_empty() { As::Changed } else { As::LetIn }, context, &mut errors);
    selector::immutable(&judged.get("selector"), &was.get("selector"), &mut errors);
    let (claims, before) = (judged.get("volumeClaimTemplates"), was.get("volumeClaimTemplates"));
    if claims.value != before.value {
        errors.push(claims.invalid_as(claims.value.clone(), "field is immutable"));
    }
    for field in ["serviceName", "podManagementPolicy"] {
        meta::immutable(&judged.get(field), &was.get(field), &mut errors);
    }
    errors
}

/// What of a spec is judged.
#[derive(Clone, Copy, PartialEq)]
enum As {
    New,
    /// What may not change was judged before.
    Changed,
    /// Of one that would not be let in today, nor the template.
    LetIn,
}

fn spec(spec: &At, judged: As, context: &Context, errors: &mut Errors) {
    let management = spec.get("podManagementPolicy");
    match management.text() {
        "OrderedReady" | "Parallel" => {}
        "" => errors.push(management.required("")),
        _ => errors.push(management.invalid("must be 'OrderedReady' or 'Parallel'")),
    }
    strategy(&spec.get("updateStrategy"), errors);
    let claims = spec.get("persistentVolumeClaimRetentionPolicy");
    for policy in ["whenDeleted", "whenScaled"].map(|field| claims.get(field)) {
        if claims.has() && !matches!(policy.text(), "Retain" | "Delete") {
            errors.push(policy.not_supported(&["Retain", "Delete"]));
        }
    }
    if judged == As::New {
        for made in spec.get("volumeClaimTemplates").items() {
            claim::spec(&made.get("spec"), None, errors);
        }
    }
    non_negative(&spec.get("replicas"), errors);
    non_negative(&spec.get("minReadySeconds"), errors);
    non_negative(&spec.get("ordinals").get("start"), errors);
    let name = spec.get("serviceName");
    if judged == As::New && !name.text().is_empty() {
        invalid_each(&name, names::dns_label(name.text()), errors);
    }
    let template = spec.get("template");
    if let Some(selector) = workload::selector(spec, "statefulset", "", errors) {
        workload::matches(&template, &selector, errors);
        if judged != As::LetIn {
            let made = as_made(spec.value);
            pod::template(&template.with(&made), context, errors);
        }
    }
    workload::runs_for_good(&template, "StatefulSet", errors);
}

/// The template as pods get it: their names and claims are not its own.
fn as_made(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else { return template };
    pod.remove("hostname");
    pod.remove("subdomain");
    let claims = tree::list(spec, "volumeClaimTemplates").iter().map(|claim| tree::text(claim, "metadata.name"));
    let claims: std::collections::BTreeSet<&str> = claims.collect();
    if claims.is_empty() {
        return template;
    }
    let own = pod.remove("volumes").unwrap_or_default();
    let own = own.as_array().into_iter().flatten().filter(|volume| !claims.contains(tree::text(volume, "name")));
    let volume = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let volumes: Vec<Value> = claims.iter().map(volume).chain(own.cloned()).collect();
    pod.insert("volumes".into(), volumes.into());
    template
}

fn strategy(strategy: &At, errors: &mut Errors) {
    let update = strategy.get("rollingUpdate");
    let internal = || {
        let (partition, missing) = (update.get("partition").number(), update.get("maxUnavailable").value);
        let shown = format!("{{\"Partition\":{partition},\"MaxUnavailable\":{missing}}}");
        if update.has() { shown } else { "null".into() }
    };
    match strategy.get("type").text() {
        "" => errors.push(strategy.required("")),
        "OnDelete" if update.has() => {
            errors.push(update.invalid_shown(internal(), "only allowed for updateStrategy 'RollingUpdate'"));
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            non_negative(&update.get("partition"), errors);
            let missing = update.get("maxUnavailable");
            if missing.has() {
                int_or_percent(&missing, errors);
                if amount(&missing) == 0 {
                    errors.push(missing.invalid("cannot be 0"));
                }
                at_most_all(&missing, errors);
            }
        }
        other => {
            let shown = format!("{{\"Type\":{other:?},\"RollingUpdate\":{}}}", internal());
            errors.push(strategy.invalid_shown(shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
}

fn status(status: &At, was: Option<At>, errors: &mut Errors) {
    let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    let all = [&["replicas"], &parts[..], &["observedGeneration", "collisionCount"]].concat();
    workload::counts(status, &all, &parts, errors);
    workload::available_are_ready(status, "status.readyReplicas", errors);
    if let Some(was) = was {
        workload::collisions(status, &was, errors);
    }
}

fn warnings(_: &Kind, set: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = workload::warnings(set, old);
    let writes_spec = old.is_none_or(|old| old["status"] == set["status"]);
    if writes_spec && tree::int(set, "spec.revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        let text = "a negative value retains all historical revisions; a value >= 0 is recommended";
        out.push(format!("spec.revisionHistoryLimit: {text}"));
    }
    out
}

#[cfg(test)]
mod tests;
