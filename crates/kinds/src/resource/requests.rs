//! What a claim asks for: requests, constraints between them, configuration. A template holds the same.

use std::collections::{BTreeMap, BTreeSet};

use api::{names, tree};
use serde_json::Value;

use super::validate::{
    LIST_MAX, configuration, distinct_items, fully_qualified, label, limited, selectors, tolerations,
};
use crate::validate::at::{At, Errors, invalid_each};

const ALTERNATIVES_MAX: usize = 8;
const MODES: &[&str] = &["All", "ExactCount"];

/// SetDefaults_ExactDeviceRequest, SetDefaults_DeviceSubRequest; what is behind a gate goes. No request is shown as
/// such: the field has no omitempty.
pub fn default(spec: &mut Value) {
    let Some(devices) = spec.get_mut("devices").filter(|devices| devices.is_object()) else { return };
    tree::set_default(devices, "requests", Value::Null);
    for request in tree::each(devices, "requests") {
        if let Some(exactly) = request.get_mut("exactly").filter(|exactly| exactly.is_object()) {
            default_request(exactly);
        }
        tree::each(request, "firstAvailable").for_each(default_request);
    }
}

fn default_request(request: &mut Value) {
    tree::set_default_text(request, "allocationMode", "ExactCount");
    if tree::text(request, "allocationMode") == "ExactCount" && tree::int(request, "count").unwrap_or(0) == 0 {
        request["count"] = 1.into();
    }
    if let Some(map) = request.as_object_mut() {
        map.remove("derivedAttributes");
    }
}

/// Requests by name, each with its alternatives.
pub struct Requests<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Requests<'a> {
    pub fn of(devices: &At<'a>) -> Requests<'a> {
        let named = |request: At<'a>| {
            let alternatives = request.get("firstAvailable").items().map(|one| one.get("name").text());
            (request.get("name").text(), alternatives.collect())
        };
        Requests(devices.get("requests").items().map(named).collect())
    }

    /// `request` or `request/alternative`
    pub fn reference(&self, at: &At, errors: &mut Errors) {
        const WHY: &str = "must be the name of a request in the claim or the name of a request and a subrequest \
                           separated by '/'";
        let parts: Vec<&str> = at.text().split('/').collect();
        if parts.len() > 2 {
            return errors.push(at.invalid(WHY));
        }
        for part in &parts {
            errors.extend(names::dns_label(part).iter().map(|m| at.invalid_as(*part, m)));
        }
        let found = self.0.get(parts[0]);
        if !found.is_some_and(|alternatives| parts.get(1).is_none_or(|part| alternatives.contains(part))) {
            errors.push(at.invalid(WHY));
        }
    }

    /// Each named once.
    pub fn references(&self, at: &At, errors: &mut Errors) {
        if limited(at, LIST_MAX, errors) {
            at.items().for_each(|name| self.reference(&name, errors));
            distinct_items(at, &[], errors);
        }
    }
}

/// The spec of a claim.
pub fn validate(spec: &At, errors: &mut Errors) {
    let devices = spec.get("devices");
    let (requests, constraints) = (devices.get("requests"), devices.get("constraints"));
    let known = Requests::of(&devices);
    if limited(&requests, LIST_MAX, errors) {
        requests.items().for_each(|request| judge(&request, errors));
        distinct_items(&requests, &["name"], errors);
    }
    if limited(&constraints, LIST_MAX, errors) {
        constraints.items().for_each(|constraint| judge_constraint(&constraint, &known, errors));
    }
    if limited(&devices.get("config"), LIST_MAX, errors) {
        for config in devices.get("config").items() {
            known.references(&config.get("requests"), errors);
            configuration(&config, false, errors);
        }
    }
    for request in requests.items() {
        let exactly = [request.get("exactly")].into_iter().filter(At::has);
        exactly.chain(request.get("firstAvailable").items()).for_each(|one| declared(&one, errors));
    }
}

/// What upstream judges by declaration: after the rest, whatever else is wrong.
fn declared(request: &At, errors: &mut Errors) {
    let (class, mode) = (request.get("deviceClassName"), request.get("allocationMode"));
    if class.text().is_empty() {
        errors.push(class.required(""));
    }
    if !MODES.contains(&mode.text()) {
        errors.push(mode.not_supported(MODES));
    }
}

fn judge(request: &At, errors: &mut Errors) {
    label(&request.get("name"), errors);
    let (exactly, alternatives) = (request.get("exactly"), request.get("firstAvailable"));
    match (exactly.has(), !alternatives.is_empty()) {
        (false, false) => {
            errors.push(request.required("exactly one of `exactly` or `firstAvailable` is required"));
        }
        (true, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(request.invalid_as(Value::Null, why));
        }
        (true, false) => devices(&exactly, errors),
        (false, true) if limited(&alternatives, ALTERNATIVES_MAX, errors) => {
            for one in alternatives.items() {
                label(&one.get("name"), errors);
                devices(&one, errors);
            }
            distinct_items(&alternatives, &["name"], errors);
        }
        (false, true) => {}
    }
}

/// Which devices, and how many.
fn devices(at: &At, errors: &mut Errors) {
    let [class, mode, count] = ["deviceClassName", "allocationMode", "count"].map(|field| at.get(field));
    if !class.text().is_empty() {
        invalid_each(&class, names::dns_subdomain(class.text()), errors);
    }
    selectors(&at.get("selectors"), false, errors);
    // A class that is missing and a mode that nobody knows are told of by declaration.
    match mode.text() {
        "All" if count.number() != 0 => {
            errors.push(count.invalid("must not be specified when allocationMode is 'All'"));
        }
        "ExactCount" if count.number() <= 0 => {
            errors.push(count.invalid_as(count.number(), "must be greater than zero"));
        }
        _ => {}
    }
    tolerations(&at.get("tolerations"), errors);
}

fn judge_constraint(constraint: &At, known: &Requests, errors: &mut Errors) {
    known.references(&constraint.get("requests"), errors);
    let attributes = ["matchAttribute", "distinctAttribute"].map(|field| constraint.get(field));
    attributes.iter().filter(|attribute| attribute.has()).for_each(|attribute| fully_qualified(attribute, errors));
    if !attributes.iter().any(At::has) {
        errors.push(constraint.required(
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        ));
    }
}
