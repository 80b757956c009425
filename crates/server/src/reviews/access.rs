//! What is asked of `authorization.k8s.io`: may this subject, may I, and what may I.
//!
//! pkg/apis/authorization/validation, pkg/registry/authorization (util/helpers.go): the answer, its reason and
//! what could not be read are upstream's.

use api::FieldError;
use api::Status;
use api::selector::{Fields, Labels};
use kinds::validate::at::{At, Errors, invalid_each};
use serde_json::{Value, json};

use super::{AUTHORIZATION, Asked};
use crate::authorize::Attributes;
use crate::authorize::rule::Rule;
use crate::identity::Identity;

/// SubjectAccessReview.
pub fn of_subject(asked: &Asked<'_>, review: &Value) -> Result<Value, Status> {
    let mut errors = Errors::new();
    judge(review, true, &mut errors);
    if !is_empty(&review["metadata"], &["managedFields"]) {
        errors.push(FieldError::invalid("metadata", &review["metadata"], "must be empty"));
    }
    refuse(&errors)?;
    Ok(decide(asked, &review["spec"], &subject(&review["spec"])))
}

/// LocalSubjectAccessReview.
pub fn in_namespace(asked: &Asked<'_>, review: &Value) -> Result<Value, Status> {
    let mut errors = Errors::new();
    judge(review, true, &mut errors);
    let at = At::root(review);
    if !is_empty(&review["metadata"], &["managedFields", "namespace"]) {
        errors.push(at.get("metadata").invalid("must be empty except for namespace"));
    }
    let (resource, path) = (at.get("spec").get("resourceAttributes"), at.get("spec").get("nonResourceAttributes"));
    let own = review["metadata"]["namespace"].as_str().unwrap_or(asked.namespace);
    if resource.has() && resource.get("namespace").text() != own {
        errors.push(resource.get("namespace").invalid("must match metadata.namespace"));
    }
    if path.has() {
        errors.push(path.invalid_as(go_path(path.value), "disallowed on this kind of request"));
    }
    refuse(&errors)?;
    if own != asked.namespace {
        let message = format!("spec.resourceAttributes.namespace must match namespace: {}", asked.namespace);
        return Err(Status::bad_request(message));
    }
    Ok(decide(asked, &review["spec"], &subject(&review["spec"])))
}

/// SelfSubjectAccessReview.
pub fn of_oneself(asked: &Asked<'_>, review: &Value) -> Result<Value, Status> {
    let mut errors = Errors::new();
    judge(review, false, &mut errors);
    if !is_empty(&review["metadata"], &["managedFields"]) {
        errors.push(FieldError::invalid("metadata", &review["metadata"], "must be empty"));
    }
    refuse(&errors)?;
    Ok(decide(asked, &review["spec"], asked.identity))
}

/// RBAC says all that it knows; who is a node may more than that.
pub fn rules(asked: &Asked<'_>, review: &Value) -> Result<Value, Status> {
    let namespace = review["spec"]["namespace"].as_str().unwrap_or("");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let access = asked.server.0.authorizer.access();
    let (rules, missing) = access.rules(asked.identity, namespace);
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in rules {
        let Rule { verbs, api_groups, resources: of, resource_names, paths: urls } = rule;
        if !of.is_empty() {
            let mut told = json!({"verbs": verbs, "apiGroups": api_groups, "resources": of});
            if !resource_names.is_empty() {
                told["resourceNames"] = json!(resource_names);
            }
            resources.push(told);
        }
        if !urls.is_empty() {
            paths.push(json!({"verbs": verbs, "nonResourceURLs": urls}));
        }
    }
    let is_node = asked.identity.node().is_some();
    let of_node = is_node.then(|| "node authorizer does not support user rule resolution".to_string());
    let errors: Vec<String> = of_node.into_iter().chain(Some(missing).filter(|text| !text.is_empty())).collect();
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": is_node});
    if !errors.is_empty() {
        status["evaluationError"] = json!(errors.join("; "));
    }
    Ok(status)
}

/// Upstream names no kind here (pkg/registry/authorization/subjectaccessreview/rest.go).
fn refuse(errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(AUTHORIZATION, "", "", errors)) }
}

/// Whether nothing is said but what stands in `beside`.
fn is_empty(metadata: &Value, beside: &[&str]) -> bool {
    let said = |value: &Value| !value.is_null() && *value != "";
    metadata
        .as_object()
        .is_none_or(|fields| !fields.iter().any(|(name, v)| said(v) && !beside.contains(&name.as_str())))
}

fn judge(review: &Value, names_a_subject: bool, errors: &mut Errors) {
    let spec = At::root(review).get("spec");
    let (resource, path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    if resource.has() == path.has() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(spec.invalid_as(go_path(path.value), why));
    }
    if names_a_subject && spec.get("user").text().is_empty() && spec.get("groups").is_empty() {
        errors.push(spec.get("user").invalid("at least one of user or group must be specified"));
    }
    for (field, of_labels) in [("fieldSelector", false), ("labelSelector", true)] {
        let selector = resource.get(field);
        let (raw, requirements) = (selector.get("rawSelector"), selector.get("requirements"));
        if !selector.has() {
            continue;
        }
        match (raw.text().is_empty(), requirements.is_empty()) {
            (false, false) => errors.push(raw.invalid("may not specified at the same time as requirements")),
            (true, true) => {
                let why = format!("when {} is specified, requirements or rawSelector is required", selector.path());
                errors.push(requirements.required(&why));
            }
            _ => {}
        }
        requirements.items().for_each(|requirement| judge_requirement(&requirement, of_labels, errors));
    }
}

/// An operator that is not known yet is let by: who asks may be newer.
fn judge_requirement(requirement: &At, of_labels: bool, errors: &mut Errors) {
    let (key, values) = (requirement.get("key"), requirement.get("values"));
    let mut found = Errors::new();
    match requirement.get("operator").text() {
        "In" | "NotIn" if values.is_empty() => {
            found.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            found.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        _ => {}
    }
    match of_labels {
        true => {
            errors.append(&mut found);
            invalid_each(&key, api::names::qualified(key.text()), errors);
            for value in values.items() {
                invalid_each(&value, api::names::label_value(value.text()), errors);
            }
        }
        false => {
            if key.text().is_empty() {
                errors.push(key.required("must be specified"));
            }
            errors.append(&mut found);
        }
    }
}

/// As Go's structure without tags is printed.
fn go_path(path: &Value) -> Value {
    if path.is_null() {
        return Value::Null;
    }
    json!({"Path": path["path"].as_str().unwrap_or(""), "Verb": path["verb"].as_str().unwrap_or("")})
}

/// Exactly the user and groups that are named.
fn subject(spec: &Value) -> Identity {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(String::from)).collect()
    };
    let text = |field: &str| spec[field].as_str().unwrap_or("").to_string();
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.clone(), texts(values))).collect();
    Identity::as_given(text("user"), texts(&spec["groups"])).with_uid(text("uid")).with_extra(extra)
}

fn decide(asked: &Asked<'_>, spec: &Value, identity: &Identity) -> Value {
    let (attributes, errors) = attributes(spec);
    let decision = asked.server.0.authorizer.decide(identity, &attributes);
    let mut status = json!({"allowed": decision.is_allowed()});
    let reason = decision.to_string();
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    if !errors.is_empty() {
        status["evaluationError"] = json!(errors.join("; "));
    }
    status
}

/// What is asked for, and what of its selectors could not be read: less of a selector asks for more.
fn attributes(spec: &Value) -> (Attributes, Vec<String>) {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or("").to_string();
    if !resource.is_object() {
        return (
            Attributes { verb: text(path, "verb"), path: text(path, "path"), ..Attributes::default() },
            Vec::new(),
        );
    }
    let (fields, of_fields) = field_selector(&resource["fieldSelector"]);
    let told = |selector: &str, what: Option<&str>| {
        what.map(|how| format!("spec.resourceAttributes.{selector} {how} due to parse error"))
    };
    let errors = told("fieldSelector", of_fields).into_iter();
    let errors = errors.chain(told("labelSelector", label_error(&resource["labelSelector"]))).collect();
    let attributes = Attributes {
        verb: text(resource, "verb"),
        group: text(resource, "group"),
        version: text(resource, "version"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: text(resource, "namespace"),
        name: text(resource, "name"),
        path: String::new(),
        fields,
    };
    (attributes, errors)
}

const IGNORED: &str = "ignored";
const PARTLY: &str = "partially ignored";

/// A field selector as a list's query would say it, and what of it was passed over.
fn field_selector(selector: &Value) -> (String, Option<&'static str>) {
    let raw = selector["rawSelector"].as_str().unwrap_or("");
    let Some(requirements) = selector["requirements"].as_array().filter(|list| !list.is_empty()) else {
        return match Fields::parse(raw) {
            Ok(_) => (raw.to_string(), None),
            Err(_) => (String::new(), Some(IGNORED)),
        };
    };
    let escaped = |value: &str| value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
    let terms: Vec<String> = requirements
        .iter()
        .filter_map(|one| {
            let [value] = one["values"].as_array()?.as_slice() else { return None };
            let operator = match one["operator"].as_str()? {
                "In" => "=",
                "NotIn" => "!=",
                _ => return None,
            };
            // A name of a field is no further term.
            let key = one["key"].as_str().filter(|key| !key.contains([',', '=', '!', '\\']))?;
            Some(format!("{key}{operator}{}", escaped(value.as_str()?)))
        })
        .collect();
    let passed = match terms.len() {
        all if all == requirements.len() => None,
        0 => Some(IGNORED),
        _ => Some(PARTLY),
    };
    (terms.join(","), passed)
}

/// What of a label selector cannot be read; no decision of ours looks at labels.
fn label_error(selector: &Value) -> Option<&'static str> {
    let raw = selector["rawSelector"].as_str().unwrap_or("");
    let Some(requirements) = selector["requirements"].as_array().filter(|list| !list.is_empty()) else {
        return Labels::parse(raw).is_err().then_some(IGNORED);
    };
    let is_good = |one: &&Value| Labels::from_label_selector(&json!({"matchExpressions": [one]})).is_ok();
    match requirements.iter().filter(is_good).count() {
        all if all == requirements.len() => None,
        0 => Some(IGNORED),
        _ => Some(PARTLY),
    }
}
