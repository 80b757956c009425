//! Patches: JSON patch, merge patch and strategic merge patch, applied; and the latter two made.
//!
//! `patched` is what a PATCH request does: apply, then decode the result like any body. Strategic
//! merge patch reads merge keys and strategies from the schema table. Error words and codes are
//! upstream's (apiserver endpoints/handlers/patch.go, apimachinery util/strategicpatch).

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation,
};
use serde_json::{Map, Value};

use crate::decode::text::replaced;
use crate::decode::{self, Decoded, FIELDS_DEPTH_MAX, FieldValidation, media_type};
use crate::{Reason, Status, go};

/// Patches as differences: two-way, and three-way for `apply`.
mod diff;
/// Where the items of a list stand.
mod places;
/// Strategic merge patch, applied.
mod strategic;
/// What the schema says about patching a field.
mod strategy;
#[cfg(test)]
mod tests;

use strategy::Meta;

pub use diff::{three_way_merge, three_way_strategic, two_way_merge, two_way_strategic};

const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// Upstream's JSONPatchMaxCopyBytes.
const JSON_PATCH_COPIED_MAX: usize = 3 << 20;

/// The kind of a patch, by the content type of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    /// Server-side apply: see `managed::apply`.
    Apply,
}

impl PatchKind {
    pub fn of(content_type: &str) -> Option<PatchKind> {
        match media_type(content_type) {
            "application/json-patch+json" => Some(PatchKind::Json),
            "application/merge-patch+json" => Some(PatchKind::Merge),
            "application/strategic-merge-patch+json" => Some(PatchKind::Strategic),
            "application/apply-patch+yaml" | "application/apply-patch+json" => Some(PatchKind::Apply),
            _ => None,
        }
    }
}

/// Applies a patch of any kind but Apply, and decodes the result: 400, 413, 415 or 422.
pub fn patched(
    kind: PatchKind,
    schema: &str,
    live: &Value,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let mut strict = match validation {
        FieldValidation::Ignore => Vec::new(),
        _ => decode::duplicates(body),
    };
    if kind == PatchKind::Json {
        if validation != FieldValidation::Ignore {
            strict.extend(unknown(body));
        }
        strict.iter_mut().for_each(|error| *error = format!("json patch {error}"));
    }
    let value = match kind {
        PatchKind::Json => json(live, body)?,
        PatchKind::Merge => merge(live, body)?,
        PatchKind::Strategic => strategic(schema, live, body)?,
        PatchKind::Apply => return Err(Status::internal("an apply patch goes to managed::apply")),
    };
    decode::patched(value, schema, validation, strict)
}

/// RFC 6902.
pub fn json(live: &Value, body: &[u8]) -> Result<Value, Status> {
    let operations = operations(&read(body)?)?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!(
                "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    let mut value = live.clone();
    let mut copied = 0;
    for operation in &operations {
        if nests(&value, operation) > FIELDS_DEPTH_MAX {
            return Err(Status::bad_request(format!(
                "a JSON patch may not nest deeper than {FIELDS_DEPTH_MAX} levels"
            )));
        }
        // Copies of copies grow exponentially.
        if let PatchOperation::Copy(copy) = operation {
            copied += value.pointer(copy.from.as_str()).map_or(0, |from| from.to_string().len());
            if copied > JSON_PATCH_COPIED_MAX {
                return Err(rejected());
            }
        }
        if lacks(&value, operation) {
            continue;
        }
        // What a document becomes is something (evanphx/json-patch).
        if matches!(operation, PatchOperation::Replace(replace) if replace.path.is_root() && replace.value.is_null()) {
            return Err(rejected());
        }
        let operation = lenient(&value, operation);
        json_patch::patch_unsafe(&mut value, std::slice::from_ref(&operation)).map_err(|_| rejected())?;
    }
    Ok(value)
}

/// A body of any patch but an apply: JSON at least (handlers/patch.go).
///
/// # Errors
/// 400.
pub fn read(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(&replaced(body)).map_err(|_| Status::bad_request("invalid JSON patch"))
}

/// The operations of an RFC 6902 patch, as evanphx/json-patch reads them: what is missing is found when it is
/// applied (422), and a value that is not there is null.
fn operations(patch: &Value) -> Result<Vec<PatchOperation>, Status> {
    let of_another_type = |value: &Value, wanted: &str| {
        let found = go::json_type(value);
        Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"
        ))
    };
    let items = match patch {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => return Err(of_another_type(other, "[]handlers.jsonPatchOp")),
    };
    let mut operations = Vec::with_capacity(items.len());
    for item in items {
        if !item.is_object() {
            return Err(of_another_type(item, "handlers.jsonPatchOp"));
        }
        let pointer = |name: &str| {
            let text = item[name].as_str().ok_or_else(rejected)?;
            PointerBuf::parse(text).map_err(|_| rejected())
        };
        let (path, value) = (pointer("path")?, item["value"].clone());
        operations.push(match item["op"].as_str() {
            Some("add") => PatchOperation::Add(AddOperation { path, value }),
            Some("remove") => PatchOperation::Remove(RemoveOperation { path }),
            Some("replace") => PatchOperation::Replace(ReplaceOperation { path, value }),
            Some("test") => PatchOperation::Test(TestOperation { path, value }),
            Some("move") => PatchOperation::Move(MoveOperation { path, from: pointer("from")? }),
            Some("copy") => PatchOperation::Copy(CopyOperation { path, from: pointer("from")? }),
            _ => return Err(rejected()),
        });
    }
    Ok(operations)
}

/// What no operation has: `unknown field "[0].more"`.
fn unknown(body: &[u8]) -> Vec<String> {
    let Ok(Value::Array(items)) = read(body) else { return Vec::new() };
    let fields = items.iter().enumerate().flat_map(|(index, item)| {
        let names = item.as_object().into_iter().flat_map(|map| map.keys());
        names.map(move |name| (index, name))
    });
    let fields = fields.filter(|(_, name)| !["op", "path", "from", "value"].contains(&name.as_str()));
    fields.map(|(index, name)| format!("unknown field \"[{index}].{name}\"")).collect()
}

/// Upstream's library sets what is not in an object where it should replace it, and copies as null what is not in one.
fn lenient(value: &Value, operation: &PatchOperation) -> PatchOperation {
    match operation {
        PatchOperation::Replace(replace) => match replace.path.split_back() {
            Some((parent, _)) if value.pointer(parent.as_str()).is_some_and(Value::is_object) => {
                PatchOperation::Add(AddOperation { path: replace.path.clone(), value: replace.value.clone() })
            }
            _ => operation.clone(),
        },
        PatchOperation::Copy(copy) => {
            let holder = copy.from.parent().and_then(|parent| value.pointer(parent.as_str()));
            match holder.is_some_and(Value::is_object) && value.pointer(copy.from.as_str()).is_none() {
                true => PatchOperation::Add(AddOperation { path: copy.path.clone(), value: Value::Null }),
                false => operation.clone(),
            }
        }
        _ => operation.clone(),
    }
}

/// Whether it is a test for null of a field that is not there: upstream's library lets it pass (evanphx/json-patch),
/// and clients ask so whether they are the first (the finalizers of kube-rs).
fn lacks(value: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(test) = operation else { return false };
    let parent = test.path.parent().and_then(|parent| value.pointer(parent.as_str()));
    test.value.is_null() && parent.is_some_and(Value::is_object) && value.pointer(test.path.as_str()).is_none()
}

/// How deep the tree is where an operation puts something; 0 when it makes nothing deeper.
fn nests(value: &Value, operation: &PatchOperation) -> usize {
    let (path, put) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Copy(copy) => (&copy.path, value.pointer(copy.from.as_str())),
        // What moves to the same height or up needs no look, and large things may move often.
        PatchOperation::Move(moved) if moved.path.count() <= moved.from.count() => return 0,
        PatchOperation::Move(moved) => (&moved.path, value.pointer(moved.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return 0,
    };
    path.count() + put.map_or(0, depth)
}

/// Objects and lists inside each other. It does not recurse: what it measures may be of any depth.
fn depth(value: &Value) -> usize {
    let mut left = vec![(value, 1)];
    let mut deepest = 0;
    while let Some((value, level)) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(map) => left.extend(map.values().map(|item| (item, level + 1))),
            _ => continue,
        }
        deepest = deepest.max(level);
    }
    deepest
}

/// RFC 7396.
pub fn merge(live: &Value, body: &[u8]) -> Result<Value, Status> {
    let patch = object(body, "error decoding patch: ")?;
    if body.trim_ascii() == b"null" {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    let mut value = live.clone();
    merge_into(&mut value, Value::Object(patch));
    Ok(value)
}

/// As evanphx/json-patch merges: what is set anew has no nulls in its objects, also inside lists; but a list that takes
/// an object's place comes as it is.
fn merge_into(live: &mut Value, patch: Value) {
    match (live, patch) {
        (Value::Object(live), Value::Object(patch)) => {
            for (key, value) in patch {
                match live.get_mut(&key).filter(|old| !old.is_null()) {
                    _ if value.is_null() => drop(live.remove(&key)),
                    Some(old) => merge_into(old, value),
                    None => drop(live.insert(key, without_nulls(value))),
                }
            }
        }
        (live @ Value::Object(_), patch) => *live = patch,
        (live, patch) => *live = without_nulls(patch),
    }
}

fn without_nulls(mut value: Value) -> Value {
    strategic::drop_nulls(&mut value);
    value
}

/// Kubernetes' own. 415 where the schema is unknown: custom resources have no merge keys.
pub fn strategic(schema: &str, live: &Value, body: &[u8]) -> Result<Value, Status> {
    let meta = known(schema)?;
    let patch = object(body, "")?;
    let live = live.as_object().cloned().unwrap_or_default();
    strategic::merge(live, patch, meta, strategic::Mode::Apply).map(Value::Object).map_err(Status::from)
}

/// What is wrong with a strategic patch.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// The patch is malformed: 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// It asks for what cannot be: 422, and the client sees no detail.
    #[error("{0}")]
    Impossible(&'static str),
    /// The rest; upstream lets it become a 500.
    #[error("{0}")]
    Other(String),
}

impl PatchError {
    const PRIMITIVE_LIST: PatchError = PatchError::Malformed("invalid patch format of primitive list");
    const RETAIN_KEYS: PatchError = PatchError::Malformed("invalid patch format of retainKeys");
    const ELEMENT_ORDER: PatchError = PatchError::Malformed("invalid patch format of setElementOrder list");
    const LIST_OF_LISTS: PatchError = PatchError::Impossible("lists of lists are not supported");

    fn no_merge_key(item: &Map<String, Value>, key: &str) -> PatchError {
        PatchError::Other(format!("map: {} does not contain declared merge key: {key}", go::plain_map(item)))
    }

    fn wrong_type(expected: &str, found: &Value) -> PatchError {
        let found = if found.is_null() { "%!s(<nil>)" } else { go::type_of(found) };
        PatchError::Other(format!("expected a {expected}, but received a {found}"))
    }

    fn unknown_directive(directive: &Value, item: &Map<String, Value>) -> PatchError {
        let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_string);
        PatchError::Other(format!("unknown patch type: {directive} in map: {}", go::plain_map(item)))
    }
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Status {
        match error {
            PatchError::Malformed(why) => Status::bad_request(why),
            PatchError::Impossible(_) => rejected(),
            PatchError::Other(why) => Status::unknown(why),
        }
    }
}

fn known(schema: &str) -> Result<Meta, Status> {
    let unsupported = "the body of the request was in an unknown format - accepted media types include: \
                       application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let of = crate::schema::get(schema).ok_or_else(|| Status::new(Reason::UnsupportedMediaType, unsupported))?;
    Ok(Meta::Type(of))
}

fn object(body: &[u8], prefix: &str) -> Result<Map<String, Value>, Status> {
    let found = match read(body)? {
        Value::Object(map) => return Ok(map),
        Value::Null => return Ok(Map::new()),
        other => go::json_type(&other),
    };
    let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
    Err(Status::bad_request(format!("{prefix}{why}")))
}

/// Upstream's NewGenericServerResponse for 422: it hides why.
fn rejected() -> Status {
    Status::generic(Reason::Invalid, "the server rejected our request due to an error in our request")
}
