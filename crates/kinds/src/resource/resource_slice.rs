//! ResourceSlice: devices that a driver offers, in a node or for several.

/// How much of a device may be asked for.
mod capacity;

use api::{FieldError, FieldErrorClass, names, tree};
use serde_json::{Value, json};

use super::validate::{
    binding_conditions, declared_last, distinct, distinct_items, driver, label, limited, pool, qualified, short_name,
    short_name_complaints, taint,
};
use crate::pod::validate::placement::node_selector;
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

const DEVICES_MAX: usize = 128;
/// If some are tainted or share counters.
const LARGE_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMED_SETS_MAX: usize = 2;
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_VALUE_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
/// Bytes of a key in a path; a longer one loses its middle.
const KEY_MAX: usize = 96;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            text("Node", "The node whose devices they are.", "spec.nodeName"),
            text("Driver", "Who offers them.", "spec.driver"),
            text("Pool", "Which pool they belong to.", "spec.pool.name"),
            AGE,
        ],
        field_selectors: vec![field("spec.nodeName"), field("spec.driver"), field("spec.pool.name")],
        hooks: Hooks { prepare, validate, warnings, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::cluster("resource.k8s.io/v1", "ResourceSlice", "resourceslices")
            .dormant(super::DORMANT)
            .unselected("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: %")
    }
}

/// What is behind a gate that is off goes (dropDisabledFields). A taint holds from when it was set.
fn prepare(_: &Kind, slice: &mut Value, old: Option<&Value>, context: &Context) {
    for device in slice.get_mut("spec").into_iter().flat_map(|spec| tree::each(spec, "devices")) {
        for taint in tree::each(device, "taints") {
            tree::set_default_text(taint, "timeAdded", &context.now);
        }
    }
    // What goes counts as a change (PrepareForUpdate).
    count_generation(slice, old);
    if let Some(spec) = slice.get_mut("spec") {
        forget(spec, &["partitionTypeAttribute", "skipNodeOperations"]);
        for device in tree::each(spec, "devices") {
            forget(device, &["nodeAllocatableResources"]);
            tree::each(device, "consumesCounters").for_each(|consumed| forget(consumed, &["compatibilityGroups"]));
            let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
            for attribute in attributes.into_iter().flat_map(|map| map.values_mut()) {
                forget(attribute, &["bools", "ints", "strings", "versions"]);
            }
        }
    }
}

fn forget(tree: &mut Value, fields: &[&str]) {
    if let Some(map) = tree.as_object_mut() {
        map.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

fn warnings(_: &Kind, slice: &Value, _: Option<&Value>) -> Vec<String> {
    let driver = tree::text(slice, "spec.driver");
    let text = format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters");
    (driver.to_lowercase() != driver).then_some(text).into_iter().collect()
}

fn validate(kind: &Kind, slice: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, slice, old);
    let spec = At::root(slice).get("spec");
    driver(&spec.get("driver"), &mut errors);
    let named = spec.get("pool");
    pool(&named.get("name"), &mut errors);
    let (count, generation) = (named.get("resourceSliceCount"), named.get("generation"));
    if count.number() <= 0 {
        errors.push(count.invalid_as(count.number(), "must be greater than zero"));
    }
    if generation.number() < 0 {
        errors.push(generation.invalid("must be greater than or equal to zero"));
    }
    if let Some(old) = old {
        let was = At::root(old).get("spec");
        meta::immutable(&named.get("name"), &was.get("pool").get("name"), &mut errors);
        meta::immutable(&spec.get("driver"), &was.get("driver"), &mut errors);
        let name = spec.get("nodeName");
        if name.value != was.get("nodeName").value {
            errors.push(name.invalid_as(name.value.clone(), "field is immutable"));
        }
    }
    nodes(&spec, &mut errors);
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if devices.has() && counters.has() {
        errors.push(spec.invalid_as("", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let is_large = |device: At| !device.get("taints").is_empty() || !device.get("consumesCounters").is_empty();
    let limit = if devices.items().any(is_large) { LARGE_DEVICES_MAX } else { DEVICES_MAX };
    if limited(&devices, limit, &mut errors) {
        let by_device = spec.get("perDeviceNodeSelection").flag();
        for device in devices.items() {
            let is_same = |was: &&Value| was["name"] == device.value["name"];
            let was = old.and_then(|old| tree::list(old, "spec.devices").iter().find(is_same));
            judge(&device, was, by_device, &mut errors);
        }
        distinct(&devices, |device| device.get("name"), &mut errors);
    }
    if limited(&counters, COUNTER_SETS_MAX, &mut errors) {
        counters.items().for_each(|set| counter_set(&set, "name", &mut errors));
        distinct_items(&counters, &["name"], &mut errors);
    }
    declared_last(&mut errors, declared);
    let mut of_attributes = Errors::new();
    for attributes in devices.items().map(|device| device.get("attributes")) {
        for (name, value) in attributes.entries() {
            one_value(&attributes.key(&truncated(name)).with(value.value), &mut of_attributes);
        }
    }
    let first = errors.iter().position(|error| declared(error).is_some()).unwrap_or(errors.len());
    errors.splice(first..first, of_attributes);
    errors
}

/// Which of upstream's generated rules it is that finds it, but for those of attributes.
fn declared(error: &FieldError) -> Option<u8> {
    let field = &error.field;
    let is_of = |list: &str| field.contains(list);
    let is_left_out = error.class == FieldErrorClass::Required && field.ends_with(".counters");
    match field {
        _ if is_of(".consumesCounters[") && (field.ends_with(".counterSet") || is_left_out) => Some(0),
        _ if is_of(".taints[") && field.ends_with(".effect") => Some(1),
        _ => None,
    }
}

/// In which nodes the devices are: said in one way.
fn nodes(spec: &At, errors: &mut Errors) {
    let mut said = Vec::new();
    node_name(spec, "must be either unset or set to a non-empty string", &mut said, errors);
    let selector = spec.get("nodeSelector");
    if selector.has() {
        said.push("`nodeSelector`");
        node_selector(&selector, errors);
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            errors.push(terms.invalid_as(terms.value.clone(), "must have exactly one node selector term"));
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        only_true(&spec.get(field), shown, &mut said, errors);
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match said.len() {
        0 => errors.push(spec.required(why)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", said.join(", "));
            errors.push(spec.invalid_as(shown, &format!("{why}, but multiple fields are set")));
        }
    }
}

fn node_name(at: &At, empty: &str, said: &mut Vec<&str>, errors: &mut Errors) {
    let name = at.get("nodeName");
    if name.has() && name.text().is_empty() {
        errors.push(name.invalid(empty));
    } else if name.has() {
        said.push("`nodeName`");
        invalid_each(&name, names::dns_subdomain(name.text()), errors);
    }
}

fn only_true<'s>(flag: &At, shown: &'s str, said: &mut Vec<&'s str>, errors: &mut Errors) {
    if flag.flag() {
        said.push(shown);
    } else if flag.has() {
        errors.push(flag.invalid("must be either unset or set to true"));
    }
}

fn judge(device: &At, was: Option<&Value>, by_device: bool, errors: &mut Errors) {
    label(&device.get("name"), errors);
    let (attributes, capacity) = (device.get("attributes"), device.get("capacity"));
    let count = attributes.len() + capacity.len();
    if count > ATTRIBUTES_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.push(device.invalid_as(count, &why));
    }
    for (name, value) in attributes.entries() {
        qualified(&attributes, name, errors);
        attribute(&attributes.key(&truncated(name)).with(value.value), errors);
    }
    let is_same = |field: &str| was.is_some_and(|was| was[field] == device.value[field]);
    if !is_same("capacity") {
        for (name, value) in capacity.entries() {
            qualified(&capacity, name, errors);
            let at = capacity.key(&truncated(name)).with(value.value);
            capacity::judge(&at, device.get("allowMultipleAllocations").flag(), errors);
        }
    }
    let taints = device.get("taints");
    if !is_same("taints") && limited(&taints, TAINTS_MAX, errors) {
        taints.items().for_each(|one| taint(&one, errors));
    }
    let consumed = device.get("consumesCounters");
    if limited(&consumed, CONSUMED_SETS_MAX, errors) {
        consumed.items().for_each(|set| counter_set(&set, "counterSet", errors));
        distinct_items(&consumed, &["counterSet"], errors);
    }
    device_nodes(device, by_device, errors);
    binding_conditions(device, errors);
}

fn truncated(key: &str) -> String {
    if key.len() <= KEY_MAX {
        return key.into();
    }
    let kept = KEY_MAX - 3;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (head, tail) = (&key.as_bytes()[..kept.div_ceil(2)], &key.as_bytes()[key.len() - kept / 2..]);
    format!("{}...{}", text(head), text(tail))
}

fn attribute(at: &At, errors: &mut Errors) {
    let [text, version] = ["string", "version"].map(|field| at.get(field));
    if version.has() && !is_semantic_version(version.text()) {
        errors.push(version.invalid("must be a string compatible with semver.org spec 2.0.0"));
    }
    for value in [text, version].iter().filter(|value| value.text().len() > ATTRIBUTE_VALUE_MAX) {
        errors.push(value.too_long(ATTRIBUTE_VALUE_MAX));
    }
}

fn one_value(at: &At, errors: &mut Errors) {
    const ALL: &str = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`";
    let said: Vec<&str> = ["int", "bool", "string", "version"].into_iter().filter(|f| at.has_field(f)).collect();
    match said.len() {
        0 => errors.push(at.invalid_as("", &format!("must specify one of: {ALL}"))),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", said.join(", "));
            errors.push(at.invalid_as(shown, &format!("must specify exactly one of: {ALL}")));
        }
    }
}

/// `1.2.3-rc.1+build`
fn is_semantic_version(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let is_number = |part: &str| is_digits(part) && (part == "0" || !part.starts_with('0')) && !part.is_empty();
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part))))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

/// A set of counters, or what a device consumes of one.
fn counter_set(at: &At, name: &'static str, errors: &mut Errors) {
    short_name(&at.get(name), errors);
    let counters = at.get("counters");
    if counters.is_empty() {
        errors.push(counters.required(""));
    } else if limited(&counters, COUNTERS_MAX, errors) {
        for (name, _) in counters.entries() {
            errors.extend(short_name_complaints(name).iter().map(|m| counters.invalid_as(name.as_str(), m)));
        }
    }
}

fn device_nodes(device: &At, by_device: bool, errors: &mut Errors) {
    if !by_device {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|field| device.has_field(field)) {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to \
                       true in the ResourceSlice spec";
            errors.push(device.invalid_as(Value::Null, why));
        }
        return;
    }
    let mut said = Vec::new();
    node_name(device, "must not be empty", &mut said, errors);
    if device.has_field("nodeSelector") {
        said.push("`nodeSelector`");
        node_selector(&device.get("nodeSelector"), errors);
    }
    only_true(&device.get("allNodes"), "`allNodes`", &mut said, errors);
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is \
               set to true in the ResourceSlice spec";
    match said.len() {
        0 => errors.push(device.required(why)),
        1 => {}
        _ => errors.push(device.invalid_as(json!(format!("{{{}}}", said.join(", "))), why)),
    }
}

#[cfg(test)]
mod tests;
