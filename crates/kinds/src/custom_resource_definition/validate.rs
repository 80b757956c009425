//! What a definition must say: names, versions, columns, subresources, conversion.
//!
//! apiextensions-apiserver pkg/apis/apiextensions/validation. Upstream judges another form than the one that
//! clients send: what all versions have alike stands once, above them, and so do the paths of its errors.

use api::{FieldError, names, tree};
use serde_json::Value;

use super::{APPROVED, field_path, schemas};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::{meta, webhook};

const SCOPES: &[&str] = &["Cluster", "Namespaced"];
const STRATEGIES: &[&str] = &["None", "Webhook"];
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const SELECTABLE_MAX: usize = 8;
const WARNING_MAX: usize = 256;
/// Fields of a version, and where they stand if all versions have them alike.
const MERGED: [(&str, &str); 4] = [
    ("subresources", "subresources"),
    ("schema", "validation"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// A spec as upstream judges it.
pub fn merged(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for (field, above) in MERGED {
        let versions = tree::list(&spec, "versions");
        let first = versions.first().map(|version| version[field].clone()).unwrap_or_default();
        if first.is_null() || versions.iter().any(|version| version[field] != first) {
            continue;
        }
        for version in tree::each(&mut spec, "versions").filter_map(Value::as_object_mut) {
            version.remove(field);
        }
        spec[above] = first;
    }
    if let Some(webhook) = spec.pointer("/conversion/webhook").cloned() {
        for (field, above) in
            [("clientConfig", "webhookClientConfig"), ("conversionReviewVersions", "conversionReviewVersions")]
        {
            if tree::has(&webhook, field) {
                spec["conversion"][above] = webhook[field].clone();
            }
        }
    }
    spec
}

pub fn definition(kind: &Kind, definition: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = At::root(definition);
    let group = at.get("spec").get("group");
    let called = format!("{}.{}", tree::text(definition, "spec.names.plural"), group.text());
    let rule = |name: &str| {
        let mut complaints = names::dns_subdomain(name);
        if name != called {
            complaints.push("must be spec.names.plural+\".\"+spec.group".into());
        }
        complaints
    };
    meta::object(kind, definition, old, rule, &mut errors);
    meta::by_library(&mut errors);
    if context.subresource == "status" {
        kind_names(&at.get("status").get("acceptedNames"), &mut errors);
        return errors;
    }
    let mut judged = definition.clone();
    judged["spec"] = merged(&definition["spec"]);
    let judged = At::root(&judged);
    spec(&judged.get("spec"), &mut errors);
    if let Some(old) = old {
        let (spec, was) = (at.get("spec"), At::root(old).get("spec"));
        if is_established(old) {
            meta::immutable(&spec.get("scope"), &was.get("scope"), &mut errors);
            meta::immutable(&spec.get("names").get("kind"), &was.get("names").get("kind"), &mut errors);
        }
        meta::immutable(&group, &was.get("group"), &mut errors);
        meta::immutable(&spec.get("names").get("plural"), &was.get("names").get("plural"), &mut errors);
    }
    kind_names(&at.get("status").get("acceptedNames"), &mut errors);
    stored_versions(&at, &mut errors);
    approval(&at, old, &mut errors);
    let preserves = at.get("spec").get("preserveUnknownFields");
    if preserves.flag() && !old.is_some_and(|old| tree::flag(old, "spec.preserveUnknownFields")) {
        errors.push(preserves.invalid(
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    errors
}

pub fn is_established(definition: &Value) -> bool {
    let is = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
    tree::list(definition, "status.conditions").iter().any(is)
}

fn spec(spec: &At, errors: &mut Errors) {
    let (group, scope) = (spec.get("group"), spec.get("scope"));
    let complaints = names::dns_subdomain(group.text());
    if group.text().is_empty() {
        errors.push(group.required(""));
    } else if !complaints.is_empty() {
        errors.push(group.invalid(&complaints.join(",")));
    } else if !group.text().contains('.') {
        errors.push(group.invalid("should be a domain with at least one dot"));
    }
    match scope.text() {
        "" => errors.push(scope.required("")),
        text if SCOPES.contains(&text) => {}
        _ => errors.push(scope.not_supported(SCOPES)),
    }
    let versions = spec.get("versions");
    let above = spec.get("validation");
    if !above.has_field("openAPIV3Schema") {
        for schema in versions.items().map(|version| version.get("schema")) {
            if !schema.has_field("openAPIV3Schema") {
                errors.push(schema.get("openAPIV3Schema").required(""));
            }
        }
    }
    let has_status = |at: &At| at.get("subresources").has_field("status");
    for item in versions.items() {
        one_label(&item.get("name"), "", errors);
        version(&item, has_status(spec) || has_status(&item), errors);
    }
    let mut labels: Vec<&str> = versions.items().map(|version| version.get("name").text()).collect();
    labels.sort_unstable();
    if labels.windows(2).any(|pair| pair[0] == pair[1]) {
        errors.push(versions.invalid("must contain unique version names"));
    }
    if versions.items().filter(|version| version.get("storage").flag()).count() != 1 {
        errors.push(
            versions.invalid_as(versions.value.clone(), "must have exactly one version marked as storage version"),
        );
    }
    // The form that upstream judges names the first version once more.
    let first = versions.index(0).get("name").text().to_owned();
    let complaints = if first.is_empty() { Vec::new() } else { names::dns_1035_label(&first) };
    if !complaints.is_empty() {
        errors.push(spec.get("version").invalid_as(first, &complaints.join(",")));
    }
    let called = spec.get("names");
    for field in ["plural", "singular", "kind", "listKind"].map(|field| called.get(field)) {
        if field.text().is_empty() {
            errors.push(field.required(""));
        }
    }
    kind_names(&called, errors);
    let any_status = has_status(spec) || versions.items().any(|version| has_status(&version));
    schemas::judge(&above, any_status, errors);
    subresources(&spec.get("subresources"), errors);
    spec.get("additionalPrinterColumns").items().for_each(|one| column(&one, errors));
    if above.has() {
        selectable(&spec.get("selectableFields"), &above, errors);
    } else if !spec.get("selectableFields").is_empty() {
        errors.push(spec.get("selectableFields").invalid_as("", "may only be set when validations.schema is included"));
    }
    conversion(&spec.get("conversion"), errors);
}

fn version(version: &At, has_status: bool, errors: &mut Errors) {
    let warning = version.get("deprecationWarning");
    deprecation(&warning, version.get("deprecated").flag(), errors);
    let schema = version.get("schema");
    schemas::judge(&schema, has_status, errors);
    subresources(&version.get("subresources"), errors);
    version.get("additionalPrinterColumns").items().for_each(|one| column(&one, errors));
    let fields = version.get("selectableFields");
    if !fields.is_empty() && !schema.has_field("openAPIV3Schema") {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        errors.push(fields.invalid_as("", why));
    } else {
        selectable(&fields, &schema, errors);
    }
}

fn deprecation(warning: &At, is_deprecated: bool, errors: &mut Errors) {
    if !warning.has() {
        return;
    }
    if !is_deprecated {
        return errors.push(warning.invalid("can only be set for deprecated versions"));
    }
    if warning.text().len() > WARNING_MAX {
        errors.push(warning.invalid("must be <= 256 characters long"));
    }
    if warning.text().is_empty() {
        errors.push(warning.invalid("must not be an empty string"));
    }
    if let Some((index, _)) = warning.text().char_indices().find(|(_, c)| !meta::is_print(*c)) {
        let why =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        errors.push(warning.invalid(&why));
    }
}

/// Complaints in one, behind `before`.
fn one_label(at: &At, before: &str, errors: &mut Errors) {
    let complaints =
        names::dns_1035_label(&if before.is_empty() { at.text().into() } else { at.text().to_lowercase() });
    if !complaints.is_empty() {
        errors.push(at.invalid(&format!("{before}{}", complaints.join(","))));
    }
}

fn kind_names(at: &At, errors: &mut Errors) {
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    for (field, before) in [("plural", ""), ("singular", ""), ("kind", MIXED), ("listKind", MIXED)] {
        if !at.get(field).text().is_empty() {
            one_label(&at.get(field), before, errors);
        }
    }
    at.get("shortNames").items().for_each(|name| one_label(&name, "", errors));
    let list = at.get("listKind");
    if !list.text().is_empty() && list.text() == at.get("kind").text() {
        errors.push(list.invalid("kind and listKind may not be the same"));
    }
    at.get("categories").items().for_each(|category| one_label(&category, "", errors));
}

fn column(at: &At, errors: &mut Errors) {
    let [name, kind, format] = ["name", "type", "format"].map(|field| at.get(field));
    if name.text().is_empty() {
        errors.push(name.required(""));
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    match kind.text() {
        "" => errors.push(kind.required(&types)),
        text if COLUMN_TYPES.contains(&text) => {}
        _ => errors.push(kind.invalid(&types)),
    }
    if !format.text().is_empty() && !COLUMN_FORMATS.contains(&format.text()) {
        errors.push(format.invalid(&format!("must be one of {}", COLUMN_FORMATS.join(","))));
    }
    let path = at.get("JSONPath").with(at.get("jsonPath").value);
    simple_path(&path, errors);
}

/// `.spec.replicas`; whether it is one.
fn simple_path(at: &At, errors: &mut Errors) -> bool {
    match at.text() {
        "" => errors.push(at.required("")),
        text if text.starts_with('.') => return true,
        _ => errors.push(at.invalid("must be a simple json path starting with .")),
    }
    false
}

fn subresources(at: &At, errors: &mut Errors) {
    let scale = at.get("scale");
    if !scale.has() {
        return;
    }
    for (field, below) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let path = scale.get(field);
        if simple_path(&path, errors) && !path.text().starts_with(below) {
            let why = format!("should be a json path under {}", &below[..below.len() - 1]);
            errors.push(path.invalid(&why));
        }
    }
    let labels = scale.get("labelSelectorPath");
    let is_below = [".spec.", ".status."].iter().any(|below| labels.text().starts_with(below));
    if !labels.text().is_empty() && simple_path(&labels, errors) && !is_below {
        errors.push(labels.invalid("should be a json path under either .spec or .status"));
    }
}

/// Fields that objects can be selected by.
fn selectable(fields: &At, validation: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for path in fields.items().map(|field| field.get("jsonPath")) {
        if path.text().is_empty() {
            errors.push(path.required(""));
            continue;
        }
        match field_path::found(path.text(), validation.get("openAPIV3Schema").value, false) {
            Err(why) => {
                errors.push(path.invalid(&format!("is an invalid path: {why}")));
                continue;
            }
            Ok(schema) => {
                if path.text().trim_start_matches('.').split('.').next() == Some("metadata") {
                    errors.push(path.invalid("must not point to fields in metadata"));
                }
                if !matches!(tree::text(schema, "type"), "string" | "boolean" | "integer") {
                    errors.push(path.invalid(
                        "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                         formats are allowed.",
                    ));
                }
            }
        }
        match seen.contains(&path.text()) {
            true => errors.push(path.duplicate()),
            false => seen.push(path.text()),
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.push(FieldError::too_many(&fields.path(), seen.len(), SELECTABLE_MAX));
    }
}

fn conversion(at: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    let [strategy, client, reviews] =
        ["strategy", "webhookClientConfig", "conversionReviewVersions"].map(|field| at.get(field));
    match strategy.text() {
        "" => errors.push(strategy.required("")),
        text if STRATEGIES.contains(&text) => {}
        _ => errors.push(strategy.not_supported(STRATEGIES)),
    }
    if strategy.text() != "Webhook" {
        const WHY: &str = "should not be set when strategy is not set to Webhook";
        if client.has() {
            errors.push(client.forbidden(WHY));
        }
        if !reviews.is_empty() {
            errors.push(reviews.forbidden(WHY));
        }
        return;
    }
    match (client.has(), client.has_field("url"), client.has_field("service")) {
        (false, ..) => errors.push(client.required("required when strategy is set to Webhook")),
        (_, true, false) => webhook::url(&client.get("url"), errors),
        (_, false, true) => webhook::service(&client.get("service"), errors),
        _ => errors.push(client.required("exactly one of url or service is required")),
    }
    if reviews.is_empty() {
        return errors.push(reviews.required(""));
    }
    let mut seen = Vec::new();
    for review in reviews.items() {
        if seen.contains(&review.text()) {
            errors.push(review.invalid("duplicate version"));
            continue;
        }
        seen.push(review.text());
        invalid_each(&review, names::dns_1035_label(review.text()), errors);
    }
    if !REVIEWS.iter().any(|known| seen.contains(known)) {
        errors.push(reviews.invalid(&format!("must include at least one of {}", REVIEWS.join(", "))));
    }
}

fn stored_versions(definition: &At, errors: &mut Errors) {
    let (stored, versions) = (definition.get("status").get("storedVersions"), definition.get("spec").get("versions"));
    if stored.is_empty() {
        // Never a list without elements: none is not set (strategy.go PrepareForCreate).
        return errors.push(stored.invalid_as(Value::Null, "must have at least one stored version"));
    }
    // Each stored version is found once (ValidateCustomResourceDefinitionStoredVersions).
    let mut left: Vec<&str> = stored.items().map(|version| version.text()).collect();
    for version in versions.items() {
        let name = version.get("name").text();
        let is_left = left.contains(&name);
        left.retain(|known| *known != name);
        if version.get("storage").flag() && !is_left {
            errors.push(stored.invalid(&format!("must have the storage version {name}")));
        }
    }
    let is_served = |name: &str| versions.items().any(|version| version.get("name").text() == name);
    for version in stored.items().filter(|version| !is_served(version.text())) {
        let name = version.text();
        let why = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until \
             a storage migration ensures no data remains persisted in {name} and removes {name} from \
             status.storedVersions"
        );
        errors.push(version.invalid(&why));
    }
}

#[derive(PartialEq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

/// In the groups of the project only what it approved, or what says that it is not (apihelpers).
fn approval(definition: &At, old: Option<&Value>, errors: &mut Errors) {
    let group = definition.get("spec").get("group").text();
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let annotation = definition.get("metadata").get("annotations").key(APPROVED);
    let state = state_of(annotation.text());
    let before = old.map(|old| state_of(old["metadata"]["annotations"][APPROVED].as_str().unwrap_or_default()));
    if !is_protected || before.is_some_and(|before| before == state) {
        return;
    }
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match state {
        Approval::Missing => {
            let why = format!("protected groups must have approval annotation {APPROVED:?}, {see}");
            errors.push(annotation.required(&why));
        }
        Approval::Invalid => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", {see}"
            );
            errors.push(annotation.invalid(&why));
        }
        Approval::Bypassed | Approval::Approved => {}
    }
}

fn state_of(annotation: &str) -> Approval {
    let is_address = annotation.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !rest.is_empty() && !rest.starts_with('/')
    });
    match annotation {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Bypassed,
        _ if is_address => Approval::Approved,
        _ => Approval::Invalid,
    }
}

#[cfg(test)]
mod tests;
