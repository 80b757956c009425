//! The address families of a service: said by its writer, or taken from its addresses and the cluster.
//!
//! Matches pkg/registry/core/service/storage/alloc.go initIPFamilyFields on a cluster with one range of addresses.
//! Upstream does it before the rest is judged, and what is wrong here is all that the writer hears.

use api::tree;
use serde_json::{Value, json};

use super::addresses;
use crate::validate::at::{At, Errors};

/// Sets `ipFamilyPolicy` and `ipFamilies` of a new or changed service. `cluster` is the family of its range: `IPv4`;
/// empty: there is none. What is wrong; then the families are left as they are.
pub fn initialize(service: &mut Value, old: Option<&Value>, cluster: &str) -> Errors {
    let was = old.map(|old| tree::at(old, "spec"));
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return Errors::new() };
    if tree::text(spec, "type") == "ExternalName" || was.is_some_and(|was| stays_preferred(spec, was)) {
        return Errors::new();
    }
    let selects = tree::at(spec, "selector").as_object().is_some_and(|selector| !selector.is_empty());
    let bare = tree::text(spec, "clusterIP") == "None" && !selects;
    if !tree::has(spec, "ipFamilyPolicy") {
        let before = was.map(|was| tree::at(was, "ipFamilyPolicy")).filter(|policy| !policy.is_null());
        let made = if bare { "RequireDualStack" } else { "SingleStack" };
        spec["ipFamilyPolicy"] = before.cloned().unwrap_or_else(|| json!(made));
    }
    let mut errors = Errors::new();
    addresses::addresses(&At::root(service).get("spec"), &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    let mut spec = service["spec"].clone();
    if let Some(was) = was {
        give_up(&mut spec, was, &mut errors);
    }
    let policy = At::root(service).get("spec").get("ipFamilyPolicy");
    let single = tree::text(&spec, "ipFamilyPolicy") == "SingleStack";
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if single && tree::list(&spec, field).len() == 2 {
            errors.push(policy.invalid(&format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            )));
        }
    }
    let mut families: Vec<Value> = tree::list(&spec, "ipFamilies").to_vec();
    let at = At::root(service).get("spec");
    for (index, ip) in tree::list(&spec, "clusterIPs").iter().enumerate() {
        let text = ip.as_str().unwrap_or_default();
        if text == "None" {
            break;
        }
        let family = if text.contains(':') { "IPv6" } else { "IPv4" };
        match index >= families.len() {
            true if !cluster.is_empty() && family != cluster => {
                let ips = at.get("clusterIPs");
                let detail = format!("{family} is not configured on this cluster");
                errors.push(ips.index(index).with(ips.value).invalid(&detail));
            }
            true => families.push(json!(family)),
            false => {}
        }
    }
    if errors.is_empty() && !bare {
        if tree::text(&spec, "ipFamilyPolicy") == "RequireDualStack" {
            errors.push(policy.invalid("this cluster is not configured for dual-stack services"));
        }
        let others = families.iter().enumerate().filter(|(_, family)| !cluster.is_empty() && *family != cluster);
        errors.extend(others.map(|(index, family)| {
            at.get("ipFamilies").index(index).with(family).invalid("not configured on this cluster")
        }));
    }
    if !errors.is_empty() {
        return errors;
    }
    if families.is_empty() && !cluster.is_empty() {
        families.push(json!(cluster));
    }
    if bare && !single && families.len() == 1 {
        families.push(json!(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }));
    }
    if !families.is_empty() {
        spec["ipFamilies"] = Value::Array(families);
    }
    service["spec"] = spec;
    errors
}

/// Who goes back to one family gives up the second address; who does not say so may not.
fn give_up(spec: &mut Value, was: &Value, errors: &mut Errors) {
    let single = tree::text(spec, "ipFamilyPolicy") == "SingleStack";
    let policy = tree::at(spec, "ipFamilyPolicy").clone();
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (tree::list(spec, field), tree::list(was, field));
        if single && now == before && now.len() > 1 {
            spec[field] = json!([now[0]]);
        } else if !single && !now.is_empty() && now.len() < before.len() {
            let shown = json!({"spec": {"ipFamilyPolicy": policy}});
            let at = At::root(&shown).get("spec").get("ipFamilyPolicy");
            errors.push(at.invalid(&format!("must be 'SingleStack' to release the secondary {what}")));
        }
    }
}

/// A service that prefers both families, and says of addresses and families what it said before, is not moved.
pub fn stays_preferred(spec: &Value, was: &Value) -> bool {
    let prefers = |spec: &Value| tree::text(spec, "ipFamilyPolicy") == "PreferDualStack";
    let same = |field: &str| tree::list(spec, field) == tree::list(was, field);
    prefers(spec)
        && (prefers(was) || !tree::has(was, "ipFamilyPolicy"))
        && tree::text(spec, "type") == tree::text(was, "type")
        && same("clusterIPs")
        && same("ipFamilies")
}

#[cfg(test)]
mod tests;
