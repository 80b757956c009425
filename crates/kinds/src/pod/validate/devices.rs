//! What a status says of devices: the claims they come from, and how they fare.
//!
//! Matches validatePodResourceClaimStatuses, validatePodExtendedResourceClaimStatus and
//! validateContainerStatusAllocatedResourcesStatus of pkg/apis/core/validation/validation.go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::validate::at::{At, Errors, invalid_each};
use api::names;
use api::quantity::Quantity;
use api::tree;

const MESSAGE_MAX: usize = 1024;
const CLAIM: &str = "claim:";

pub fn claims(pod: &Value, errors: &mut Errors) {
    let status = At::root(pod).get("status");
    let known: BTreeSet<&str> = tree::list(pod, "spec.resourceClaims").iter().map(|c| tree::text(c, "name")).collect();
    let mut seen = BTreeSet::new();
    for claim in status.get("resourceClaimStatuses").items() {
        let name = claim.get("name");
        if !known.contains(name.text()) {
            errors.push(name.invalid("must match the name of an entry in `spec.resourceClaims`"));
        }
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        let object = claim.get("resourceClaimName");
        if object.has() {
            invalid_each(&object, names::dns_subdomain(object.text()), errors);
        }
    }
    let extended = status.get("extendedResourceClaimStatus");
    if extended.has() {
        self::extended(&extended, pod, errors);
    }
}

fn extended(at: &At, pod: &Value, errors: &mut Errors) {
    let containers = by_name(pod, &["initContainers", "containers"]);
    let mappings = at.get("requestMappings");
    if mappings.is_empty() {
        errors.push(mappings.required("at least one request mapping is required"));
    }
    let mut seen = BTreeSet::new();
    for mapping in mappings.items() {
        let [container, resource, request] = ["containerName", "resourceName", "requestName"].map(|f| mapping.get(f));
        match containers.get(container.text()) {
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(container.invalid(detail));
            }
            Some(found) if tree::at(found, "resources.requests").get(resource.text()).is_none() => {
                errors.push(resource.invalid(
                    "must match the extended resource name of an entry in spec.initContainers.resources.requests or \
                     spec.containers.resources.requests",
                ));
            }
            Some(_) => {}
        }
        invalid_each(&at.get("requestName").with(request.value), names::dns_label(request.text()), errors);
        if !seen.insert([container.text(), resource.text(), request.text()]) {
            errors.extend([&container, &resource, &request].map(At::duplicate));
        }
    }
    let object = at.get("resourceClaimName");
    match object.text() {
        "" => errors.push(object.required("")),
        name => invalid_each(&object, names::dns_subdomain(name), errors),
    }
}

pub fn allocated(pod: &Value, errors: &mut Errors) {
    let status = At::root(pod).get("status");
    for (list, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        let told: Vec<(At, At)> = status
            .get(list)
            .items()
            .flat_map(|c| c.get("allocatedResourcesStatus").items().map(move |resource| (c.clone(), resource)))
            .collect();
        if told.is_empty() {
            continue;
        }
        let containers = by_name(pod, &[containers]);
        for (container, resource) in told {
            // A container that is not there is passed over (kubernetes/kubernetes#124915).
            if let Some(container) = containers.get(container.get("name").text()) {
                named(&resource.get("name"), container, pod, errors);
            }
            health(&resource.get("resources"), errors);
        }
    }
    for container in status.get("ephemeralContainerStatuses").items() {
        let at = container.get("allocatedResourcesStatus");
        if !at.is_empty() {
            errors.push(at.forbidden("must not be specified in container status"));
        }
    }
}

/// The resource is one that the container asks for, or one of its claims.
fn named(at: &At, container: &Value, pod: &Value, errors: &mut Errors) {
    let Some(claim) = at.text().strip_prefix(CLAIM) else {
        if tree::at(container, "resources.requests").get(at.text()).is_none() {
            errors.push(at.invalid("must match one of the container's resource requests"));
        }
        return;
    };
    let (name, request) = claim.split_once('/').unwrap_or((claim, ""));
    let is_claim = tree::list(container, "resources.claims").iter().any(|own| match tree::text(own, "request") {
        "" => tree::text(own, "name") == claim,
        asked => claim.strip_prefix(tree::text(own, "name")).and_then(|rest| rest.strip_prefix('/')) == Some(asked),
    });
    let extended = tree::at(pod, "status.extendedResourceClaimStatus");
    let is_extended = !request.is_empty()
        && tree::text(extended, "resourceClaimName") == name
        && tree::list(extended, "requestMappings").iter().any(|mapping| {
            let amount = tree::at(container, "resources.requests").get(tree::text(mapping, "resourceName"));
            tree::text(mapping, "containerName") == tree::text(container, "name")
                && tree::text(mapping, "requestName") == request
                && amount.is_some_and(|amount| Quantity::of(amount) != Quantity::ZERO)
        });
    if !is_claim && !is_extended {
        errors.push(at.invalid(
            "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when \
             container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty",
        ));
    }
}

fn health(at: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for device in at.items() {
        let (health, message, id) = (device.get("health"), device.get("message"), device.get("resourceID"));
        if !matches!(health.text(), "Healthy" | "Unhealthy" | "Unknown") {
            errors.push(health.not_supported(&["Healthy", "Unhealthy", "Unknown"]));
        }
        if message.has() && message.text().is_empty() {
            errors.push(message.required("must be non-empty if specified"));
        } else if message.text().len() > MESSAGE_MAX {
            errors.push(message.too_long(MESSAGE_MAX));
        }
        if !seen.insert(id.text()) {
            errors.push(id.duplicate());
        }
    }
}

fn by_name<'p>(pod: &'p Value, lists: &[&str]) -> BTreeMap<&'p str, &'p Value> {
    let spec = tree::at(pod, "spec");
    lists.iter().flat_map(|list| tree::list(spec, list)).map(|c| (tree::text(c, "name"), c)).collect()
}
