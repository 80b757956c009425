//! The cluster addresses of a service: one per family, the first one for good.

use crate::validate::address::ip;
use crate::validate::at::{At, Errors};

pub fn addresses(spec: &At, errors: &mut Errors) {
    if spec.get("type").text() == "ExternalName" {
        return;
    }
    let (single, ips) = (spec.get("clusterIP").text(), spec.get("clusterIPs"));
    let first = ips.index(0);
    match (single, ips.len()) {
        ("", 0) => {}
        ("", _) => errors.push(ips.invalid("must be empty when `clusterIP` is not specified")),
        (_, 0) => errors.push(ips.required("")),
        (single, _) if first.text() != single => errors.push(ips.invalid("first value must match `clusterIP`")),
        _ => {}
    }
    families(spec, errors);
    let before = errors.len();
    for (index, address) in ips.items().enumerate() {
        if index == 0 && address.text() == "None" {
            if ips.len() > 1 {
                errors.push(ips.invalid("'None' must be the first and only value"));
            }
            continue;
        }
        ip(&address, errors);
    }
    let has_bad = errors.len() > before;
    if ips.len() > 2 {
        errors.push(ips.invalid("may only hold up to 2 values"));
    }
    if has_bad {
        return;
    }
    let is_v6: Vec<bool> = ips.items().map(|a| a.text().contains(':')).collect();
    if is_v6.len() > 1 && !(is_v6.contains(&true) && is_v6.contains(&false)) {
        errors.push(ips.invalid("may specify no more than one IP for each IP family"));
    }
    for (index, (address, family)) in ips.items().zip(spec.get("ipFamilies").items()).enumerate() {
        if address.text() == "None" {
            continue;
        }
        let wrong = match family.text() {
            "IPv4" if is_v6[index] => "an IPv4",
            "IPv6" if !is_v6[index] => "an IPv6",
            _ => continue,
        };
        errors.push(address.invalid(&format!("expected {wrong} value as indicated by `ipFamilies[{index}]`")));
    }
}

fn families(spec: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for family in spec.get("ipFamilies").items() {
        if !matches!(family.text(), "IPv4" | "IPv6") {
            errors.push(family.not_supported(&["IPv4", "IPv6"]));
        }
        if seen.contains(&family.text()) {
            errors.push(family.duplicate());
        }
        seen.push(family.text());
    }
    let policy = spec.get("ipFamilyPolicy");
    if policy.has() && !matches!(policy.text(), "SingleStack" | "PreferDualStack" | "RequireDualStack") {
        errors.push(policy.not_supported(&["PreferDualStack", "RequireDualStack", "SingleStack"]));
    }
}

/// What an update may not do to addresses, families and the load balancer's class.
pub fn changes(service: &At, old: &At, errors: &mut Errors) {
    let (spec, was) = (service.get("spec"), old.get("spec"));
    let kind = |spec: &At| spec.get("type").text().to_string();
    if kind(&spec) != "ExternalName" && kind(&was) != "ExternalName" {
        let (headless, was_headless) = (is_headless(&spec), is_headless(&was));
        if !(headless && was_headless) {
            cluster_ips(&spec, &was, errors);
        }
        if !headless && !was_headless {
            ip_families(&spec, &was, errors);
        }
    }
    let (class, class_before) = (spec.get("loadBalancerClass"), was.get("loadBalancerClass"));
    let both = kind(&spec) == "LoadBalancer" && kind(&was) == "LoadBalancer";
    if both && class.value != class_before.value {
        errors.push(class.invalid("may not change once set"));
    }
    let checks = |spec: &At| kind(spec) == "LoadBalancer" && spec.get("externalTrafficPolicy").text() == "Local";
    let health = spec.get("healthCheckNodePort");
    if checks(&spec) && checks(&was) && health.number() != was.get("healthCheckNodePort").number() {
        errors.push(health.forbidden("field is immutable"));
    }
}

fn cluster_ips(spec: &At, was: &At, errors: &mut Errors) {
    let (now, before) = (spec.get("clusterIPs"), was.get("clusterIPs"));
    const FIXED: &str = "may not change once set";
    if now.len() == before.len() {
        for (index, old) in before.items().enumerate() {
            if old.text() != now.index(index).text() {
                errors.push(now.index(index).with(now.value).invalid(FIXED));
            }
        }
        return;
    }
    let first = now.index(0).with(now.value);
    if now.is_empty() {
        errors.push(first.invalid("primary clusterIP can not be unset"));
    } else if !before.is_empty() && now.index(0).text() != before.index(0).text() {
        errors.push(first.invalid(FIXED));
    }
    let policy = spec.get("ipFamilyPolicy");
    if before.len() > now.len() && now.len() == 1 && policy.text() != "SingleStack" {
        errors.push(policy.invalid("must be set to 'SingleStack' when releasing the secondary clusterIP"));
    }
}

fn ip_families(spec: &At, was: &At, errors: &mut Errors) {
    let (now, before) = (spec.get("ipFamilies"), was.get("ipFamilies"));
    let first = now.index(0).with(now.value);
    const FIXED: &str = "may not change once set";
    if now.len() == before.len() {
        let differ = before.items().zip(now.items()).filter(|(a, b)| a.text() != b.text());
        errors.extend(differ.map(|_| first.invalid(FIXED)));
        return;
    }
    if !now.is_empty() && !before.is_empty() && now.index(0).text() != before.index(0).text() {
        errors.push(first.invalid(FIXED));
    }
    let policy = spec.get("ipFamilyPolicy");
    if before.len() > now.len() && now.len() == 1 && policy.text() != "SingleStack" {
        errors.push(policy.invalid("must be set to 'SingleStack' when releasing the secondary ipFamily"));
    }
}

/// It has no address, on purpose.
pub fn is_headless(spec: &At) -> bool {
    let ips = spec.get("clusterIPs");
    ips.len() == 1 && ips.index(0).text() == "None"
}
