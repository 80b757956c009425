//! The last part of every write: from a finished tree to a durable revision, and what may go wrong.
//!
//! Also the facts that the server itself sets: uid, times, names made from a prefix.

use api::{Entropy, Reason, Status};
use kinds::Kind;
use serde_json::{Map, Value};
use store::{Entry, Error, Expect, Key, Room, Step, Sync, Written};

use crate::encode;

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
    Ok(Step::Put { key, expect, value, ttl: kind.writes.ttl, sync: Sync::First, room: Room::Free })
}

/// A step that puts a later version of an object. What is only renewed may wait for the next sync.
pub fn replace(kind: &Kind, entry: &Entry, old: &Value, object: &Value) -> Result<Step, Status> {
    let mut step = put(kind, entry.key.clone(), Expect::At(entry.revision), object)?;
    if let Step::Put { sync, room, value, .. } = &mut step {
        if (kind.writes.only_renews)(old, object) {
            *sync = Sync::Later;
        }
        if leads_to_less(kind, object) && value.head.len() + value.tail.len() <= entry.bytes.len() + GROWTH_MAX {
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

/// Whether a version of an object tells of its end, or of what must go on until then.
pub fn leads_to_less(kind: &Kind, object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some() || (kind.writes.leads_to_less)(object)
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
