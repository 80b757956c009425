//! What of volumes pods, claims, persistent volumes and their drivers have in common.

use api::names;
use api::quantity::Quantity;

use super::at::{At, Errors, invalid_each};

/// What a volume is made of.
pub mod sources;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const DRIVER_MAX: usize = 63;

/// The annotation by which a claim or a volume named its class before there was a field.
pub const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// A CSI driver by its name, in whatever case.
pub fn driver(at: &At, errors: &mut Errors) {
    if at.text().is_empty() {
        return errors.push(at.required(""));
    }
    if at.text().len() > DRIVER_MAX {
        errors.push(at.too_long(DRIVER_MAX));
    }
    invalid_each(at, names::dns_subdomain(&at.text().to_lowercase()), errors);
}

/// Each one is known; the one of a single pod stands alone. Upstream shows them at the list.
pub fn access_modes(at: &At, errors: &mut Errors) {
    let unknown = at.items().filter(|mode| !ACCESS_MODES.contains(&mode.text()));
    errors.extend(unknown.map(|mode| at.with(mode.value).not_supported(&ACCESS_MODES)));
    let known = at.items().map(|mode| mode.text()).filter(|mode| ACCESS_MODES.contains(mode));
    let (single, shared): (Vec<&str>, Vec<&str>) = known.partition(|mode| *mode == "ReadWriteOncePod");
    if !single.is_empty() && !shared.is_empty() {
        errors.push(at.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

/// `RWO,RWX`, as columns show access modes.
pub fn access_modes_text(modes: &[serde_json::Value]) -> String {
    let names =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let shown = names.iter().filter(|(mode, _)| modes.iter().any(|one| one == mode)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

/// The class that a claim or a volume names; the annotation comes first.
pub fn class_of(object: &serde_json::Value) -> Option<&str> {
    let noted = object["metadata"]["annotations"].get(CLASS).and_then(serde_json::Value::as_str);
    noted.or_else(|| object["spec"]["storageClassName"].as_str())
}

/// More than nothing.
pub fn positive(at: &At, errors: &mut Errors) {
    let amount = Quantity::of(at.value);
    if amount.is_negative() || amount.is_zero() {
        errors.push(at.invalid_as(amount.to_string(), "must be greater than zero"));
    }
}

/// Nothing or more, counted in whole pieces.
pub fn resource(at: &At, errors: &mut Errors) {
    let pieces = Quantity::of(at.value).value();
    if pieces < 0 {
        errors.push(at.invalid_as(pieces, "must be a valid resource quantity"));
    }
}

/// A class by its name.
pub fn class(at: &At, errors: &mut Errors) {
    invalid_each(at, names::dns_subdomain(at.text()), errors);
}

/// How long a token holds, where somebody says it.
pub fn token_lifetime(at: &At, errors: &mut Errors) {
    match at.int() {
        Some(seconds) if seconds < 600 => {
            errors.push(at.invalid("may not specify a duration less than 10 minutes"));
        }
        Some(seconds) if seconds > 1 << 32 => {
            errors.push(at.invalid("may not specify a duration larger than 2^32 seconds"));
        }
        _ => {}
    }
}
