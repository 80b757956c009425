//! Metadata: names, labels, annotations, owners, finalizers, and what of them may change.
//!
//! Matches apimachinery pkg/api/validation/objectmeta.go and pkg/apis/meta/v1/validation.

use std::collections::BTreeSet;

use api::{names, tree};
use serde_json::{Value, json};

use super::at::{At, Errors, invalid_each};
use crate::Kind;

/// All annotations together, keys included.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

/// apimachinery pkg/apis/meta/v1/validation: FieldManagerMaxLength, MaxSubresourceNameLength.
/// Bytes of a manager's name (FieldManagerMaxLength).
pub const MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;

/// A rule for a name.
pub type NameRule = fn(&str) -> Vec<String>;

/// Metadata of a new object. `rule` judges its name.
pub fn create(at: &At, namespaced: bool, rule: impl Fn(&str) -> Vec<String>, errors: &mut Errors) {
    create_of_any_kind(at, namespaced, rule, errors);
    standard_finalizers(&at.get("finalizers"), errors);
}

/// The part of it that is asked of every kind (registry/rest/create.go BeforeCreate).
pub fn create_of_any_kind(at: &At, namespaced: bool, rule: impl Fn(&str) -> Vec<String>, errors: &mut Errors) {
    prefix(at, &rule, errors);
    generated(at, namespaced, rule, errors);
}

/// By the newer of upstream's libraries, which counts a name's bytes: what it is made of is judged in it
/// (ValidateObjectMetaWithOpts). As `object`.
pub fn object_by_bytes(kind: &Kind, object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let at = At::root(object).get("metadata");
    let rule = |name: &str| -> Vec<String> {
        names::dns_subdomain(name).into_iter().map(|why| why.replace("253 characters", "253 bytes")).collect()
    };
    match old {
        None => {
            prefix(&at, segment, errors);
            generated(&at, kind.namespaced, rule, errors);
            standard_finalizers(&at.get("finalizers"), errors);
        }
        Some(old) => update(&at, &At::root(old).get("metadata"), errors),
    }
}

/// Whatever the name was made of.
fn generated(at: &At, namespaced: bool, rule: impl Fn(&str) -> Vec<String>, errors: &mut Errors) {
    let name = at.get("name");
    match name.text() {
        "" => errors.push(name.required("name or generateName is required")),
        text => invalid_each(&name, rule(text), errors),
    }
    let namespace = at.get("namespace");
    match (namespaced, namespace.text()) {
        (true, "") => errors.push(namespace.required("")),
        (true, text) => invalid_each(&namespace, names::dns_label(text), errors),
        (false, "") => {}
        (false, _) => errors.push(namespace.forbidden("not allowed on this type")),
    }
    common(at, errors);
}

/// What names are made of. It may end in a dash, which the generated part follows.
fn prefix(at: &At, rule: impl Fn(&str) -> Vec<String>, errors: &mut Errors) {
    let prefix = at.get("generateName");
    if !prefix.text().is_empty() {
        let masked = match prefix.text().strip_suffix('-') {
            Some(stem) => format!("{stem}a"),
            None => prefix.text().into(),
        };
        invalid_each(&prefix, rule(&masked), errors);
    }
}

/// What can be part of a path (apimachinery api/validation/path IsValidPathSegmentPrefix).
fn segment(text: &str) -> Vec<String> {
    ['/', '%'].into_iter().filter(|c| text.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// Metadata of a changed object.
pub fn update(at: &At, old: &At, errors: &mut Errors) {
    update_of_any_kind(at, old, errors);
    standard_finalizers(&at.get("finalizers"), errors);
}

/// The part of it that is asked of every kind (registry/rest/update.go validateCommonFields).
pub fn update_of_any_kind(at: &At, old: &At, errors: &mut Errors) {
    prefix(at, segment, errors);
    if old.has_field("deletionTimestamp") {
        let before: BTreeSet<&str> = strings(&old.get("finalizers")).collect();
        let added: Vec<String> =
            strings(&at.get("finalizers")).filter(|f| !before.contains(f)).map(|f| format!("{f:?}")).collect();
        if !added.is_empty() {
            errors.push(at.get("finalizers").forbidden(&format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            )));
        }
    }
    if at.get("resourceVersion").text().is_empty() {
        errors.push(at.get("resourceVersion").invalid("must be specified for an update"));
    }
    if at.get("generation").number() < old.get("generation").number() {
        errors.push(at.get("generation").invalid_as(at.get("generation").number(), "must not be decremented"));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if at.get(field).value != old.get(field).value {
            errors.push(at.get(field).invalid("field is immutable"));
        }
    }
    common(at, errors);
}

/// `create` for a new object, `update` for a changed one.
pub fn object(
    kind: &Kind,
    object: &Value,
    old: Option<&Value>,
    rule: impl Fn(&str) -> Vec<String>,
    errors: &mut Errors,
) {
    let at = At::root(object).get("metadata");
    match old {
        None => create(&at, kind.namespaced, rule, errors),
        Some(old) => {
            update(&at, &At::root(old).get("metadata"), errors);
            if kind.judged_as_new {
                prefix(&at, rule, errors);
            }
        }
    }
}

/// Of a kind whose metadata upstream judges by its library alone: a finalizer need be neither standard nor qualified.
pub fn by_library(errors: &mut Errors) {
    errors.retain(|error| error.detail != NOT_A_FINALIZER);
}

/// Keys and values of labels.
pub fn labels(at: &At, errors: &mut Errors) {
    for (key, value) in at.entries() {
        errors.extend(names::qualified(key).iter().map(|m| at.invalid_as(key.as_str(), m)));
        errors.extend(names::label_value(value.text()).iter().map(|m| at.invalid_as(value.text(), m)));
    }
}

pub fn annotations(at: &At, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in at.entries() {
        size += key.len() + value.text().len();
        errors.extend(names::qualified(&key.to_lowercase()).iter().map(|m| at.invalid_as(key.as_str(), m)));
    }
    if size > ANNOTATIONS_MAX {
        errors.push(at.too_long(ANNOTATIONS_MAX));
    }
}

/// A `LabelSelector` inside an object.
pub fn label_selector(at: &At, errors: &mut Errors) {
    labels(&at.get("matchLabels"), errors);
    for expression in at.get("matchExpressions").items() {
        let (key, values) = (expression.get("key"), expression.get("values"));
        match expression.get("operator").text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(expression.get("operator").invalid("not a valid selector operator")),
        }
        invalid_each(&key, names::qualified(key.text()), errors);
        for value in values.items() {
            invalid_each(&value, names::label_value(value.text()), errors);
        }
    }
}

/// The value may not differ from the old one.
pub fn immutable(at: &At, old: &At, errors: &mut Errors) {
    if at.value != old.value {
        errors.push(at.invalid("field is immutable"));
    }
}

/// The same by upstream's declared rules, which show no value.
pub fn fixed(at: &At, old: &At, errors: &mut Errors) {
    if at.value != old.value {
        errors.push(at.invalid_as(Value::Null, "field is immutable"));
    }
}

fn common(at: &At, errors: &mut Errors) {
    if at.get("generation").number() < 0 {
        errors.push(at.get("generation").invalid("must be greater than or equal to 0"));
    }
    labels(&at.get("labels"), errors);
    annotations(&at.get("annotations"), errors);
    owners(&at.get("ownerReferences"), errors);
    finalizers(&at.get("finalizers"), errors);
    managed_fields(at, errors);
}

/// Entries that the server wrote itself are always good: no paths are made for them.
pub fn managed_fields(at: &At, errors: &mut Errors) {
    for (index, entry) in tree::list(at.value, "managedFields").iter().enumerate() {
        let place = || at.get("managedFields").index(index);
        match tree::text(entry, "operation") {
            "Apply" | "Update" => {}
            "" => errors.push(place().get("operation").required("must not be empty")),
            _ => errors.push(place().get("operation").not_supported(&["Apply", "Update"])),
        }
        if !matches!(tree::text(entry, "fieldsType"), "" | "FieldsV1") {
            errors.push(place().get("fieldsType").invalid("must be `FieldsV1`"));
        }
        let manager = tree::text(entry, "manager");
        if !is_manager(manager) {
            field_manager(&place().get("manager"), errors);
        }
        if tree::text(entry, "subresource").len() > SUBRESOURCE_MAX {
            errors.push(place().get("subresource").too_long(SUBRESOURCE_MAX));
        }
    }
}

/// What is wrong with the `fieldManager` of a query.
pub fn asked_manager(manager: &str) -> Errors {
    let (query, mut errors) = (json!({ "fieldManager": manager }), Errors::new());
    field_manager(&At::root(&query).get("fieldManager"), &mut errors);
    errors
}

/// Who writes, as a query or an entry of the managed fields names it. Of a long one no letter is judged.
fn field_manager(at: &At, errors: &mut Errors) {
    if at.text().len() > MANAGER_MAX {
        errors.push(at.too_long(MANAGER_MAX));
        return;
    }
    for (position, c) in at.text().char_indices().filter(|(_, c)| !is_print(*c)) {
        errors.push(at.invalid(&format!("invalid character U+{:04X} (at position {position})", u32::from(c))));
    }
}

fn is_manager(text: &str) -> bool {
    text.len() <= MANAGER_MAX && text.chars().all(is_print)
}

/// Go's unicode.IsPrint: of blanks only the plain one. Behind a letter, marks are no reason to escape.
pub fn is_print(c: char) -> bool {
    match c.is_ascii() {
        true => matches!(c, ' '..='~'),
        false => !c.is_whitespace() && format!("a{c}").escape_debug().count() == 2,
    }
}

fn owners(at: &At, errors: &mut Errors) {
    let mut controller = String::new();
    for owner in at.items() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(field).text().is_empty() {
                errors.push(owner.get(field).required("must not be empty"));
            }
        }
        let version = owner.get("apiVersion");
        if version.text().matches('/').count() > 1 || version.text().ends_with('/') {
            errors.push(version.invalid("must be <group>/<version> or <version>"));
        }
        if version.text() == "v1" && owner.get("kind").text() == "Event" {
            errors.push(owner.invalid("/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner.get("controller").flag() {
            let this = format!("{}/{}", owner.get("kind").text(), owner.get("name").text());
            if controller.is_empty() {
                controller = this;
            } else {
                errors.push(at.invalid(&format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {controller} \
                     and {this}"
                )));
            }
        }
    }
}

fn finalizers(at: &At, errors: &mut Errors) {
    for finalizer in strings(at) {
        errors.extend(names::qualified(finalizer).iter().map(|m| at.invalid_as(finalizer, m)));
    }
    let has = |name: &str| strings(at).any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.push(at.invalid_as(json!(at.value), "finalizer orphan and foregroundDeletion cannot be both set"));
    }
}

fn standard_finalizers(at: &At, errors: &mut Errors) {
    for item in at.items().filter(|f| !f.text().contains('/') && !is_standard_finalizer(f.text())) {
        errors.push(item.invalid(NOT_A_FINALIZER));
    }
}

pub const NOT_A_FINALIZER: &str = "name is neither a standard finalizer name nor is it fully qualified";

pub fn is_standard_finalizer(name: &str) -> bool {
    matches!(name, "kubernetes" | "orphan" | "foregroundDeletion")
}

fn strings<'a>(at: &At<'a>) -> impl Iterator<Item = &'a str> {
    at.value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
