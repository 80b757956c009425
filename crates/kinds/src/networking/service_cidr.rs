//! ServiceCIDR: ranges that the addresses of Services come from.

use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::address::{Range, canonical_cidr};
use crate::validate::at::{At, Errors};

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS_ALONE],
        columns: vec![
            NAME,
            computed("CIDRs", "Its ranges, at most one of a family.", |cidr, _| {
                let ranges: Vec<&str> = tree::list(cidr, "spec.cidrs").iter().filter_map(Value::as_str).collect();
                json!(ranges.join(","))
            }),
            AGE,
        ],
        hooks: Hooks { validate, ..HOOKS },
        ..Kind::cluster("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs")
    }
}

fn validate(kind: &Kind, cidr: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, cidr, old);
    if context.subresource == "status" {
        return errors;
    }
    let ranges = At::root(cidr).get("spec").get("cidrs");
    let Some(old) = old else {
        judge(&ranges, &mut errors);
        return errors;
    };
    // A further family may be added.
    let was = tree::list(old, "spec.cidrs");
    match (was.len(), ranges.len()) {
        (before, now) if before == now || (before == 1 && now == 2) => {
            for (range, _) in ranges.items().zip(was).filter(|(range, was)| range.value != *was) {
                errors.push(range.invalid("field is immutable"));
            }
            if before != now {
                judge(&ranges, &mut errors);
            }
        }
        _ => errors.push(ranges.invalid_as(ranges.value.clone(), "field is immutable")),
    }
    errors
}

fn judge(ranges: &At, errors: &mut Errors) {
    match ranges.len() {
        0 => return errors.push(ranges.required("at least one CIDR required")),
        1 | 2 => {}
        _ => {
            return errors.push(ranges.invalid_as(json!({"CIDRs": ranges.value}), "may only hold up to 2 values"));
        }
    }
    ranges.items().for_each(|range| canonical_cidr(&range, errors));
    let families: Vec<bool> =
        ranges.items().filter_map(|range| Range::sloppy(range.text())).map(|r| r.is_ipv4()).collect();
    if let [one, other] = families[..]
        && one == other
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(ranges.invalid(why));
    }
}

#[cfg(test)]
mod tests;
