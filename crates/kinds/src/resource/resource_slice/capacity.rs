//! How much of a device's capacity may be asked for, where several requests share the device.
//!
//! pkg/apis/resource/validation, validateRequestPolicy, with DRAFractionalCapacityRange.

use std::collections::BTreeSet;

use api::quantity::Quantity;

use crate::validate::at::{At, Errors};

const OPTIONS_MAX: usize = 10;
const MILLI: i128 = 1_000_000;

/// One capacity of a device.
pub fn judge(capacity: &At, is_shared: bool, errors: &mut Errors) {
    let policy = capacity.get("requestPolicy");
    if !policy.has() {
        return;
    }
    if !is_shared {
        return errors.push(policy.forbidden("allowMultipleAllocations must be true"));
    }
    let all = Quantity::of(capacity.get("value").value);
    let (values, range, default) = (policy.get("validValues"), policy.get("validRange"), policy.get("default"));
    let (name, has_values) = match (!values.is_empty(), range.has()) {
        (true, true) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the \
                       same time";
            return errors.push(policy.forbidden(why));
        }
        (true, false) => ("validValues", true),
        (false, true) => ("validRange", false),
        (false, false) => return,
    };
    if !default.has() {
        errors.push(default.required(&format!("required when {name} is defined")));
    } else if has_values {
        judge_values(&values, all, Quantity::of(default.value), errors);
    } else {
        judge_range(&range, all, Quantity::of(default.value), errors);
    }
}

fn quantity(at: &At) -> Quantity {
    Quantity::of(at.value)
}

fn shown(quantity: Quantity) -> String {
    quantity.to_string()
}

fn judge_values(values: &At, all: Quantity, default: Quantity, errors: &mut Errors) {
    for (index, value) in values.items().enumerate().skip(1) {
        if quantity(&values.index(index - 1)) > quantity(&value) {
            errors.push(value.invalid_as(shown(quantity(&value)), "values must be sorted in ascending order"));
        }
    }
    let mut has_default = false;
    if values.len() > OPTIONS_MAX {
        errors.push(values.too_many(OPTIONS_MAX));
    } else {
        let mut seen = BTreeSet::new();
        for value in values.items() {
            if quantity(&value) > all {
                let why = format!("option is larger than capacity value: {all}");
                errors.push(value.invalid_as(shown(quantity(&value)), &why));
            }
            has_default |= quantity(&value) == default;
        }
        for value in values.items().filter(|value| !seen.insert(quantity(value).nanos())) {
            errors.push(value.duplicate());
        }
    }
    if !has_default {
        errors.push(values.invalid_as(shown(default), "default value is not valid according to the requestPolicy"));
    }
}

fn judge_range(range: &At, all: Quantity, default: Quantity, errors: &mut Errors) {
    let (low, high, step) = (range.get("min"), range.get("max"), range.get("step"));
    if !low.has() {
        return errors.push(low.required("required when validRange is defined"));
    }
    let min = quantity(&low);
    let at_default = range.get("default");
    if min > all {
        errors.push(low.invalid_as(shown(min), &format!("min is larger than capacity value: {all}")));
    }
    if default < min {
        errors.push(at_default.invalid_as(shown(default), &format!("default is less than min: {min}")));
    }
    if high.has() {
        let max = quantity(&high);
        if min > max {
            errors.push(high.invalid_as(shown(min), &format!("min is larger than max: {max}")));
        }
        if max > all {
            errors.push(high.invalid_as(shown(max), &format!("max is larger than capacity value: {all}")));
        }
        if default > max {
            errors.push(at_default.invalid_as(shown(default), &format!("default is more than max: {max}")));
        }
    }
    let given = [(&at_default, default), (&low, min), (&high, quantity(&high)), (&step, quantity(&step))];
    let is_milli = given.iter().any(|(_, amount)| !amount.is_integer());
    let has_bad = |errors: &mut Errors, is_bad: fn(Quantity) -> bool, why: &str| {
        let bad: Vec<_> = given.iter().filter(|(_, amount)| is_bad(*amount)).collect();
        errors.extend(bad.iter().map(|(at, amount)| at.invalid_as(shown(*amount), why)));
        !bad.is_empty()
    };
    let no_milli = |amount: Quantity| amount.nanos() % MILLI != 0 || i64::try_from(amount.nanos() / MILLI).is_err();
    if is_milli && has_bad(errors, no_milli, "value cannot be represented as a milli value") {
        return;
    }
    if !step.has() {
        return;
    }
    let size = quantity(&step);
    if size.is_zero() || size.is_negative() {
        return errors.push(step.invalid_as(shown(size), "must be greater than zero"));
    }
    let first = min.plus(size);
    if first > all {
        let why = format!("one step {first} is larger than capacity value: {all}");
        errors.push(step.invalid_as(shown(size), &why));
    }
    if !is_milli && has_bad(errors, Quantity::is_negative, "must be greater than or equal to 0") {
        return;
    }
    let ends = [Some(default), high.has().then(|| quantity(&high))];
    for value in ends.into_iter().flatten().filter(|value| value.minus(min).nanos() % size.nanos() != 0) {
        let why = format!("value is not a multiple of a given step ({size}) from ({min})");
        errors.push(step.invalid_as(shown(value), &why));
    }
}
