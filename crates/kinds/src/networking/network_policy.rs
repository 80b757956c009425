//! NetworkPolicy: who may talk with the pods that it selects.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::address::{Range, cidr, cidr_warnings};
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

/// Which rules there are, and where their peers stand.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            computed("Pod-Selector", "The labels of its pods.", |policy, _| {
                json!(selector_text(tree::at(policy, "spec.podSelector")))
            }),
            AGE,
        ],
        hooks: Hooks {
            default,
            prepare: |_, policy, old, _| count_generation(policy, old),
            validate,
            warnings: |_, policy, _| blocks(&At::root(policy)).flat_map(|(_, range)| cidr_warnings(&range)).collect(),
            ..HOOKS
        },
        ..Kind::namespaced("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies").short("netpol")
    }
}

fn default(_: &Kind, policy: &mut Value) {
    let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    for (direction, _) in DIRECTIONS {
        for rule in tree::each(spec, direction) {
            tree::each(rule, "ports").for_each(|port| {
                tree::set_default(port, "protocol", "TCP");
            });
        }
    }
    if tree::list(spec, "policyTypes").is_empty() {
        let both = !tree::list(spec, "egress").is_empty();
        spec["policyTypes"] = if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

fn peers<'a>(policy: &At<'a>) -> impl Iterator<Item = At<'a>> {
    let spec = policy.get("spec");
    DIRECTIONS
        .into_iter()
        .flat_map(move |(direction, side)| spec.get(direction).items().flat_map(move |rule| rule.get(side).items()))
}

/// Every range of addresses, with the one that it must lie in.
fn blocks<'a>(policy: &At<'a>) -> impl Iterator<Item = (At<'a>, At<'a>)> {
    peers(policy).map(|peer| peer.get("ipBlock")).filter(At::has).flat_map(|block| {
        let whole = block.get("cidr");
        let around = whole.clone();
        std::iter::once((whole.clone(), whole))
            .chain(block.get("except").items().map(move |part| (around.clone(), part)))
    })
}

fn validate(kind: &Kind, policy: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, policy, old);
    let (at, was) = (At::root(policy), old.map(At::root));
    // What an older version let in may stay, wherever it stands now.
    let known: Vec<&str> = was.iter().flat_map(blocks).map(|(_, range)| range.text()).collect();
    let spec = at.get("spec");
    // What upstream's declared rules find stands last.
    let mut declared = Errors::new();
    meta::label_selector(&spec.get("podSelector"), &mut errors);
    for (direction, side) in DIRECTIONS {
        for rule in spec.get(direction).items() {
            rule.get("ports").items().for_each(|at| port(&at, &mut errors));
            rule.get(side).items().for_each(|at| peer(&at, &known, &mut errors, &mut declared));
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > DIRECTIONS.len() {
        errors.push(types.invalid("may not specify more than two policyTypes"));
    } else {
        for one in types.items().filter(|one| !matches!(one.text(), "Ingress" | "Egress")) {
            errors.push(one.not_supported(&["Ingress", "Egress"]));
        }
    }
    errors.extend(declared);
    errors
}

fn port(at: &At, errors: &mut Errors) {
    let (protocol, port, end) = (at.get("protocol"), at.get("port"), at.get("endPort"));
    if protocol.has() && !matches!(protocol.text(), "TCP" | "UDP" | "SCTP") {
        errors.push(protocol.not_supported(&["TCP", "UDP", "SCTP"]));
    }
    match port.int() {
        Some(number) => {
            invalid_each(&port, names::port_number(number), errors);
            if let Some(last) = end.int() {
                if last < number {
                    errors.push(end.invalid("must be greater than or equal to `port`"));
                }
                invalid_each(&end, names::port_number(last), errors);
            }
        }
        None if port.has() => {
            if end.has() {
                errors.push(end.invalid("may not be specified when `port` is non-numeric"));
            }
            invalid_each(&port, names::port_name(port.text()), errors);
        }
        None if end.has() => errors.push(end.invalid("may not be specified when `port` is not specified")),
        None => {}
    }
}

fn peer(at: &At, known: &[&str], errors: &mut Errors, declared: &mut Errors) {
    let selectors = ["podSelector", "namespaceSelector"].map(|field| at.get(field));
    let block = at.get("ipBlock");
    selectors.iter().for_each(|selector| meta::label_selector(selector, errors));
    if block.has() {
        ip_block(&block, known, errors, declared);
    }
    match (selectors.iter().any(At::has), block.has()) {
        (false, false) => errors.push(at.required("must specify a peer")),
        (true, true) => errors.push(at.forbidden("may not specify both ipBlock and another peer")),
        _ => {}
    }
}

fn ip_block(block: &At, known: &[&str], errors: &mut Errors, declared: &mut Errors) {
    let whole = block.get("cidr");
    if whole.text().is_empty() {
        return declared.push(whole.required(""));
    }
    let mut judge = |at: &At| {
        if !known.contains(&at.text()) {
            cidr(at, errors);
        }
        Range::sloppy(at.text())
    };
    let Some(range) = judge(&whole) else { return };
    let parts: Vec<(At, Option<Range>)> =
        block.get("except").items().map(|part| (part.clone(), judge(&part))).collect();
    for (part, within) in parts {
        if within.is_some_and(|within| !within.is_strictly_within(&range)) {
            errors.push(part.invalid("must be a strict subset of `cidr`"));
        }
    }
}

#[cfg(test)]
mod tests;
