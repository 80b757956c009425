//! ResourceClaim: devices that pods share; its status says which were allocated and how they fare.

use std::collections::BTreeSet;

use api::{FieldError, tree};
use serde_json::{Value, json};

use super::requests::{self, Requests};
use super::validate::{
    LIST_MAX, binding_conditions, caseless_driver, configuration, declared_last, distinct_items, driver,
    json as json_object, label, limited, pool, pool_in_segments, tolerations, uuid,
};
use crate::pod::validate::placement::node_selector;
use crate::row::*;
use crate::validate::address::interface;
use crate::validate::at::{At, Errors};
use crate::validate::conditions::conditions;

const CONSUMERS_MAX: usize = 256;
const ALLOCATED_CONFIG_MAX: usize = 64;
const CONDITIONS_MAX: usize = 8;
const ADDRESSES_MAX: usize = 16;
const SOURCES: &[&str] = &["FromClaim", "FromClass"];

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS_ALONE],
        columns: vec![
            NAME,
            computed("State", "Whether devices were allocated, and whether pods use them.", |claim, _| {
                json!(state(claim))
            }),
            AGE,
        ],
        hooks: Hooks {
            default: |_, claim| {
                if let Some(spec) = claim.get_mut("spec") {
                    requests::default(spec);
                }
            },
            prepare,
            validate,
            ..HOOKS
        },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::namespaced("resource.k8s.io/v1", "ResourceClaim", "resourceclaims")
            .judged_as_new()
            .dormant(super::UNCOMPILED)
    }
}

fn state(claim: &Value) -> String {
    let is_deleted = tree::has(claim, "metadata.deletionTimestamp");
    let is_allocated = tree::has(claim, "status.allocation");
    let states = [
        ("deleted", is_deleted),
        ("pending", !is_deleted && !is_allocated),
        ("allocated", is_allocated),
        ("reserved", is_allocated && !tree::list(claim, "status.reservedFor").is_empty()),
    ];
    states.iter().filter(|(_, holds)| *holds).map(|(word, _)| *word).collect::<Vec<_>>().join(",")
}

/// A device, and the share of it: `driver`, `pool`, `device`, `shareID`.
type Device = [String; 4];

fn device_of(entry: &Value) -> Device {
    ["driver", "pool", "device", "shareID"].map(|field| tree::text(entry, field).to_owned())
}

fn allocated(claim: &Value) -> BTreeSet<Device> {
    tree::list(claim, "status.allocation.devices.results").iter().map(device_of).collect()
}

/// A new one has an empty status, which upstream shows. With a device goes what was said of it.
fn prepare(_: &Kind, claim: &mut Value, old: Option<&Value>, context: &Context) {
    let Some(old) = old else {
        claim["status"] = json!({});
        return;
    };
    if context.subresource != "status" {
        return;
    }
    for result in claim.pointer_mut("/status/allocation/devices").into_iter().flat_map(|d| tree::each(d, "results")) {
        if let Some(map) = result.as_object_mut() {
            map.remove("skipNodeOperations");
        }
    }
    let freed: BTreeSet<Device> = allocated(old).difference(&allocated(claim)).cloned().collect();
    let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) else { return };
    if let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut) {
        devices.retain(|device| !freed.contains(&device_of(device)));
        if devices.is_empty() {
            status.remove("devices");
        }
    }
}

fn validate(kind: &Kind, claim: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, claim, old);
    let at = At::root(claim);
    match old {
        None => requests::validate(&at.get("spec"), &mut errors),
        Some(old) if context.subresource == "status" => status(&at, &At::root(old), &mut errors),
        Some(old) if old["spec"] != claim["spec"] => {
            errors.push(at.get("spec").invalid_as(Value::Null, "field is immutable"));
        }
        Some(_) => {}
    }
    errors
}

fn status(claim: &At, old: &At, errors: &mut Errors) {
    let (status, was) = (claim.get("status"), old.get("status"));
    let (consumers, allocation) = (status.get("reservedFor"), status.get("allocation"));
    if limited(&consumers, CONSUMERS_MAX, errors) {
        for field in consumers.items().flat_map(|consumer| ["resource", "name", "uid"].map(|f| consumer.get(f))) {
            if field.text().is_empty() {
                errors.push(field.required(""));
            }
        }
        distinct_items(&consumers, &["uid"], errors);
    }
    let known = allocated(claim.value);
    status.get("devices").items().for_each(|device| device_status(&device, &known, errors));
    distinct_items(&status.get("devices"), &["driver", "device", "pool", "shareID"], errors);
    if !consumers.is_empty() && !allocation.has() {
        errors.push(consumers.forbidden("may not be specified when `allocated` is not set"));
    } else if claim.get("metadata").has_field("deletionTimestamp") {
        let before: Vec<&Value> = was.get("reservedFor").items().map(|consumer| consumer.value).collect();
        if consumers.items().any(|consumer| !before.contains(&consumer.value)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(consumers.forbidden(why));
        }
    }
    match (was.has_field("allocation"), allocation.has()) {
        (true, true) if was.get("allocation").value != allocation.value => {
            errors.push(allocation.invalid_as(Value::Null, "field cannot be modified once set"));
        }
        (false, true) => judge_allocation(&allocation, &Requests::of(&claim.get("spec").get("devices")), errors),
        _ => {}
    }
    declared_last(errors, declared);
}

/// Which of upstream's generated rules of a status it is that finds it.
fn declared(error: &FieldError) -> Option<u8> {
    let field = &error.field;
    let is_about = |names: &[&str]| names.iter().any(|name| field.ends_with(name));
    let of_allocation = || is_about(&[".driver", ".pool", ".shareID", ".source"]) || field.contains(".tolerations[");
    match field {
        _ if field.starts_with("status.allocation.") && of_allocation() => Some(0),
        _ if field.starts_with("status.devices[") && is_about(&[".shareID", ".interfaceName", ".hardwareAddress"]) => {
            Some(1)
        }
        _ => None,
    }
}

fn judge_allocation(allocation: &At, known: &Requests, errors: &mut Errors) {
    let (results, config) = (allocation.get("devices").get("results"), allocation.get("devices").get("config"));
    if limited(&results, LIST_MAX, errors) {
        for result in results.items() {
            known.reference(&result.get("request"), errors);
            caseless_driver(&result.get("driver"), errors);
            pool_in_segments(&result.get("pool"), errors);
            label(&result.get("device"), errors);
            binding_conditions(&result, errors);
            tolerations(&result.get("tolerations"), errors);
            if result.has_field("shareID") {
                uuid(&result.get("shareID"), errors);
            }
        }
    }
    if limited(&config, ALLOCATED_CONFIG_MAX, errors) {
        for config in config.items() {
            let source = config.get("source");
            match source.text() {
                "" => errors.push(source.required("")),
                text if SOURCES.contains(&text) => {}
                _ => errors.push(source.not_supported(SOURCES)),
            }
            known.references(&config.get("requests"), errors);
            configuration(&config, false, errors);
        }
    }
    if allocation.has_field("nodeSelector") {
        node_selector(&allocation.get("nodeSelector"), errors);
    }
}

fn device_status(at: &At, known: &BTreeSet<Device>, errors: &mut Errors) {
    driver(&at.get("driver"), errors);
    pool(&at.get("pool"), errors);
    label(&at.get("device"), errors);
    if at.has_field("shareID") {
        uuid(&at.get("shareID"), errors);
    }
    let device = device_of(at.value);
    if !known.contains(&device) {
        let mut error = at.invalid("must be an allocated device in the claim");
        let [driver, pool, name, share] = device.each_ref().map(|part| Value::from(part.as_str()));
        // As Go's structure without tags is printed.
        error.value = format!(r#"{{"Driver":{driver},"Pool":{pool},"Device":{name},"ShareID":{share}}}"#);
        errors.push(error);
    }
    let said = at.get("conditions");
    if said.len() > CONDITIONS_MAX {
        errors.push(said.too_many(CONDITIONS_MAX));
    }
    conditions(&said, errors);
    if at.has_field("data") {
        json_object(&at.get("data"), false, errors);
    }
    network(&at.get("networkData"), errors);
}

fn network(at: &At, errors: &mut Errors) {
    for (field, limit) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if at.get(field).text().len() > limit {
            errors.push(at.get(field).too_long(limit));
        }
    }
    let addresses = at.get("ips");
    if limited(&addresses, ADDRESSES_MAX, errors) {
        addresses.items().for_each(|address| interface(&address, errors));
        distinct_items(&addresses, &[], errors);
    }
}

#[cfg(test)]
mod tests;
