//! The last part of every write: from a finished tree to a durable revision, and what may go wrong.
//!
//! Also the facts that the server itself sets: uid, times, names made from a prefix.

use std::time::Duration;

use api::{Entropy, Kind, Reason, Status};
use serde_json::{Map, Value};
use store::{Entry, Error, Expect, Key, Room, Step, Sync, Written};

use crate::encode;

/// How long an Event is kept after it was last written (upstream's --event-ttl).
const EVENT_TTL: Duration = Duration::from_secs(3600);
/// The letters of generated names: no vowels, nothing that looks alike (util/rand).
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// An object may not be larger (etcd's --max-request-bytes of 1.5 MiB).
const OBJECT_MAX: usize = 3 << 19;
/// What leads to less may make an object larger by so much on a full disk.
const GROWTH_MAX: usize = 4 << 10;

/// A step that puts an object.
pub fn put(kind: &Kind, key: Key, expect: Expect, object: &Value) -> Result<Step, Status> {
    let value = encode::split(object);
    if value.head.len() + value.tail.len() > OBJECT_MAX {
        let message = format!("Request entity too large: limit is {OBJECT_MAX}");
        return Err(Status::new(Reason::RequestEntityTooLarge, message));
    }
    let ttl = (kind.plural == "events" && kind.group.is_empty()).then_some(EVENT_TTL);
    Ok(Step::Put { key, expect, value, ttl, sync: Sync::First, room: Room::Free })
}

/// A step that puts a later version of an object. A Lease that its holder only renews may wait for
/// the next sync: lost in a crash, it reads like a renewal that came late.
pub fn replace(kind: &Kind, entry: &Entry, old: &Value, object: &Value) -> Result<Step, Status> {
    let mut step = put(kind, entry.key.clone(), Expect::At(entry.revision), object)?;
    if let Step::Put { sync, room, value, .. } = &mut step {
        if kind.plural == "leases" && is_renewal(old, object) {
            *sync = Sync::Later;
        }
        if leads_to_less(kind.plural, object) && value.head.len() + value.tail.len() <= entry.bytes.len() + GROWTH_MAX {
            *room = Room::Kept;
        }
    }
    Ok(step)
}

/// The first step of a deletion: it may use all the room that there is.
pub fn mark(kind: &Kind, key: Key, expect: Expect, object: &Value) -> Result<Step, Status> {
    Ok(with_room(put(kind, key, expect, object)?, Room::Last))
}

/// A put that may use so much of a full disk.
pub fn with_room(mut step: Step, given: Room) -> Step {
    if let Step::Put { room, .. } = &mut step {
        *room = given;
    }
    step
}

/// Whether a version of an object tells of its end, or of what must go on until then: a node that
/// could not renew its lease would lose its pods, and one that cannot say that a pod has ended keeps it.
pub fn leads_to_less(plural: &str, object: &Value) -> bool {
    let is_target = |condition: &Value| condition["type"] == "DisruptionTarget" && condition["status"] == "True";
    let status = &object["status"];
    object["metadata"].get("deletionTimestamp").is_some()
        || match plural {
            "leases" | "nodes" => true,
            "pods" => {
                matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
                    || status["conditions"].as_array().is_some_and(|all| all.iter().any(is_target))
            }
            _ => false,
        }
}

/// Whether nothing changed but when the lease was renewed, and who says so.
fn is_renewal(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value, part: &str, moving: &[&str]| {
        let mut fields = object[part].as_object().cloned().unwrap_or_default();
        fields.retain(|name, _| !moving.contains(&name.as_str()));
        fields
    };
    let same = |part: &str, moving: &[&str]| rest(old, part, moving) == rest(new, part, moving);
    same("spec", &["renewTime"]) && same("metadata", &["managedFields", "resourceVersion"])
}

/// A step that deletes an object; watchers see `last`.
pub fn delete(key: Key, expect: Expect, last: &Value) -> Step {
    Step::Delete { key, expect, last: encode::split(last) }
}

/// The first entry that a write made.
pub fn first(written: Written) -> Entry {
    written.entries.into_iter().flatten().next().expect("a write has one changing step at least")
}

/// What a client is told when the store did not write or read. Conflicts are decided by the caller.
pub fn failed(error: &Error) -> Status {
    match error {
        Error::Conflict { .. } => Status::new(Reason::Conflict, error.to_string()),
        Error::Compacted { .. } => Status::new(Reason::Expired, error.to_string()),
        Error::Future { .. } | Error::Lagged => Status::new(Reason::Timeout, error.to_string()),
        Error::Refused(why) => {
            Status { code: 507, ..Status::new(Reason::InternalError, format!("the store refuses writes: {why}")) }
        }
        Error::Poisoned(why) => Status::new(
            Reason::ServiceUnavailable,
            format!("the outcome of this write is unknown, read it back: {why}"),
        ),
    }
}

/// `prefix` and five letters (names/generate.go).
pub fn generated(prefix: &str, entropy: &Entropy) -> String {
    const RANDOM: usize = 5;
    const MAX: usize = 63 - RANDOM;
    let cut = prefix.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX).last().unwrap_or(0);
    format!("{}{}", &prefix[..cut], suffix(RANDOM, entropy))
}

/// Random letters of the names' alphabet, without bias.
pub fn suffix(length: usize, entropy: &Entropy) -> String {
    let whole = 256 - 256 % ALPHABET.len();
    let mut out = String::new();
    while out.len() < length {
        let mut bytes = [0; 16];
        entropy(&mut bytes);
        let letters = bytes.iter().map(|b| usize::from(*b)).filter(|b| *b < whole);
        out.extend(letters.map(|b| char::from(ALPHABET[b % ALPHABET.len()])).take(length - out.len()));
        if bytes.iter().all(|b| usize::from(*b) >= whole) {
            // A test's entropy that is a constant: any letter does.
            out.push('x');
        }
    }
    out
}

/// The metadata of an object, made if it is absent.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    let slot = &mut object["metadata"];
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("made an object above")
}

pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or("")
}

#[cfg(test)]
mod tests;
