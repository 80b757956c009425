//! Request bodies into trees: JSON, YAML or protobuf, pruned, checked and made canonical.
//!
//! One walk along the schema table does it all while the parser runs: unknown and duplicate fields
//! (`fieldValidation`), type errors in upstream's words with their paths, numbers exact, times and
//! quantities in their canonical form, and what Go would leave out (zero without a pointer) or always
//! write (embedded objects). So clean JSON costs one parse. Upstream: sigs.k8s.io/json and
//! apiserver endpoints/handlers (transformDecodeError).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use serde::de::DeserializeSeed;
use serde_json::Value;

use crate::proto;
use crate::schema::{self, Type};
use crate::{FieldError, Status};

/// Values that are kept as they are.
mod any;
/// Several in one text.
mod documents;
/// Duplicate fields of JSON that has no schema of its own.
mod duplicates;
/// Scalars with a form of their own: quantities, times, bytes.
mod leaf;
/// Where the walk is.
mod path;
#[cfg(test)]
pub(crate) mod tests;
/// Text as Go reads it.
pub(crate) mod text;
/// The walk along the schema.
mod walk;
/// YAML as the JSON that it stands for.
mod yaml;

pub use documents::documents;

use any::Anything;
use walk::{Root, Walk};
use yaml::Yaml;

/// Objects and lists may not nest deeper than this. What is stored is read back by parsers that
/// recurse to 127, inside lists and events, and with field sets that are as deep as the object.
const DEPTH_MAX: usize = 100;
/// What is owned in an object of the greatest depth, and where that is told, must be accepted again.
pub(crate) const FIELDS_DEPTH_MAX: usize = DEPTH_MAX + 10;
/// What aliases of a YAML body may add to it.
const ALIASED_NODES_MAX: usize = 2_000;
const ALIASED_BYTES_MAX: usize = 256 << 10;
/// Go's encoding/json says it so (of 10,000).
const TOO_DEEP: &str = "exceeded max depth";

/// What is done about unknown and duplicate fields (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Refused.
    #[default]
    Strict,
    /// Dropped, with a warning each.
    Warn,
    /// Dropped.
    Ignore,
}

impl FieldValidation {
    /// The query parameter; empty is upstream's default, `Warn`. None: not a value of it.
    pub fn parse(text: &str) -> Option<FieldValidation> {
        match text {
            "Strict" => Some(FieldValidation::Strict),
            "" | "Warn" => Some(FieldValidation::Warn),
            "Ignore" => Some(FieldValidation::Ignore),
            _ => None,
        }
    }
}

/// A body in canonical form.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// For `Warning` headers: `unknown field "spec.foo"`.
    pub warnings: Vec<String>,
}

/// Decodes the body of a create or update. Errors are BadRequest, or UnsupportedMediaType.
pub fn decode(body: &[u8], content_type: &str, schema: &str, validation: FieldValidation) -> Result<Decoded, Status> {
    let of = known(schema)?;
    match media_type(content_type) {
        "application/json" | "" => json(body, of, validation),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(body, of, validation),
        proto::MEDIA_TYPE => {
            let value = proto::decode(body, schema).map_err(|e| unreadable(of, &e.to_string(), body))?;
            tree(value, schema, validation)
        }
        _ => Err(unsupported()),
    }
}

/// Whether a body is read by the parser of YAML, which is many times slower than that of JSON.
pub fn is_slow(body: &[u8], content_type: &str) -> bool {
    match media_type(content_type) {
        "application/yaml" | "application/x-yaml" | "text/yaml" => true,
        "application/apply-patch+yaml" | "application/apply-patch+json" => plain_json(body).is_none(),
        _ => false,
    }
}

/// The same for a tree, as if it had come as JSON.
pub fn tree(value: Value, schema: &str, validation: FieldValidation) -> Result<Decoded, Status> {
    let of = known(schema)?;
    let walk = Walk::new(validation);
    let value = Root { walk: &walk, of }.deserialize(value).map_err(|e| unreadable(of, &e.to_string(), b""))?;
    walk.finish(of, value)
}

/// What an apply has made of an object, which is checked already but for what a field's own type tells.
///
/// # Errors
/// The first value that its field cannot hold, in the words of apimachinery's runtime/converter.go.
pub fn converted(value: Value, schema: &str) -> Result<Value, String> {
    let of = known(schema).map_err(|status| status.message)?;
    let walk = Walk::of_unstructured();
    let value = Root { walk: &walk, of }.deserialize(value).map_err(|e| e.to_string())?;
    match walk.found() {
        (Some(why), _) => Err(why),
        (None, _) => Ok(value),
    }
}

/// What a patch has made of an object; `strict` are the errors that the patch itself had. 422.
pub(crate) fn patched(
    value: Value,
    schema: &str,
    validation: FieldValidation,
    strict: Vec<String>,
) -> Result<Decoded, Status> {
    let of = known(schema)?;
    let walk = Walk::new(validation);
    let invalid = |why: &str, patched: &Value| {
        let shown = Value::String(patched.to_string());
        Status::invalid("", "", "", &[FieldError::invalid("patch", &shown, why)])
    };
    let decoded = Root { walk: &walk, of }.deserialize(&value).map_err(|e| invalid(&e.to_string(), &value))?;
    let (wrong, unknown) = walk.found();
    if let Some(why) = wrong {
        return Err(invalid(&why, &value));
    }
    let warnings: Vec<String> = strict.into_iter().chain(unknown).collect();
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(invalid(&format!("strict decoding error: {}", warnings.join(", ")), &value));
    }
    Ok(Decoded { value: decoded, warnings })
}

/// The duplicate fields of JSON without a schema: `duplicate field "spec.x"`.
pub(crate) fn duplicates(body: &[u8]) -> Vec<String> {
    let walk = Walk::new(FieldValidation::Warn);
    let body = text::replaced(body);
    let mut deserializer = serde_json::Deserializer::from_slice(&body);
    // Whether it is JSON at all is said by whoever applies it.
    let _ = duplicates::Duplicates::at_root(&walk).deserialize(&mut deserializer);
    walk.found().1
}

/// YAML or JSON into a tree without a schema.
pub fn untyped(body: &[u8]) -> Result<Value, Status> {
    let decoded = loose(body).map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
    Ok(decoded.value)
}

/// The same for a file of settings, which no key may be in twice.
///
/// # Errors
/// BadRequest, of those keys in the words of upstream's strict codecs (serializer/json/json.go).
pub fn untyped_strict(body: &[u8]) -> Result<Value, Status> {
    let decoded = loose(body).map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
    match decoded.warnings.as_slice() {
        [] => Ok(decoded.value),
        twice => {
            let lines = twice.join("\n  ");
            Err(Status::bad_request(format!("strict decoding error: yaml: unmarshal errors:\n  {lines}")))
        }
    }
}

/// The body of an apply patch, if it is JSON about which there is nothing to say; `applied` reads any.
pub fn applied_json(body: &[u8]) -> Option<Decoded> {
    plain_json(body).map(|value| Decoded { value, warnings: Vec::new() })
}

/// The body of an apply patch: YAML or JSON, both read as YAML by upstream (handlers/patch.go
/// applyPatcher). Keys that are there twice are refused or warned about.
pub fn applied(body: &[u8], validation: FieldValidation) -> Result<Decoded, Status> {
    const TO_JSON: &str = "error converting YAML to JSON: yaml";
    let Decoded { value, mut warnings } =
        loose(body).map_err(|why| Status::bad_request(format!("error decoding patch: {TO_JSON}: {why}")))?;
    match validation {
        FieldValidation::Strict if !warnings.is_empty() => {
            let lines = warnings.join("\n  ");
            Err(Status::bad_request(format!("error strict decoding patch: {TO_JSON}: unmarshal errors:\n  {lines}")))
        }
        FieldValidation::Ignore => {
            warnings.clear();
            Ok(Decoded { value, warnings })
        }
        _ => Ok(Decoded { value, warnings }),
    }
}

/// A tree without a schema, and the lines of keys that are there twice.
fn loose(body: &[u8]) -> Result<Decoded, String> {
    if let Some(decoded) = applied_json(body) {
        return Ok(decoded);
    }
    let duplicates = RefCell::new(Vec::new());
    let seed = |d: serde_saphyr::Deserializer<'_, '_>| Yaml { duplicates: &duplicates }.deserialize(d);
    let value =
        serde_saphyr::with_deserializer_from_slice_with_options(documents::only(body)?, yaml_options(body.len()), seed)
            .map_err(|e| one_line(&e.to_string()))?;
    Ok(Decoded { value, warnings: duplicates.into_inner() })
}

/// A JSON object in which no key is there twice: of those the YAML parser knows the lines.
fn plain_json(body: &[u8]) -> Option<Value> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let (twice, body) = (Cell::new(false), text::replaced(body));
    let mut deserializer = serde_json::Deserializer::from_slice(&body);
    let anything = Anything { depth: 0, max: usize::MAX, twice: Some(&twice) };
    let value = anything.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.ok().filter(|_| !twice.get())
}

fn json(body: &[u8], of: &'static Type, validation: FieldValidation) -> Result<Decoded, Status> {
    match (strict_json(body, of, validation), text::replaced(body)) {
        (Err(_), Cow::Owned(body)) => strict_json(&body, of, validation),
        (decoded, _) => decoded,
    }
}

fn strict_json(body: &[u8], of: &'static Type, validation: FieldValidation) -> Result<Decoded, Status> {
    // Go reads a null into anything, and changes nothing.
    let body = if body.trim_ascii() == b"null" { b"{}" } else { body };
    let walk = Walk::new(validation);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Root { walk: &walk, of }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|e| unreadable(of, &go_words(&e, body), body))?;
    // Which kind it is, is read first of all, and apart (apimachinery, serializer/json/meta.go Interpret).
    if let Some(why) = walk.nameless() {
        return Err(unreadable(of, &why, body));
    }
    walk.finish(of, value)
}

/// As upstream: into JSON first, where keys are sorted; duplicates are told by the first step.
fn yaml(body: &[u8], of: &'static Type, validation: FieldValidation) -> Result<Decoded, Status> {
    let duplicates = RefCell::new(Vec::new());
    let seed = |d: serde_saphyr::Deserializer<'_, '_>| Yaml { duplicates: &duplicates }.deserialize(d);
    let only = documents::only(body).map_err(|why| unreadable(of, &why, body))?;
    let value = serde_saphyr::with_deserializer_from_slice_with_options(only, yaml_options(body.len()), seed)
        .map_err(|e| unreadable(of, &one_line(&e.to_string()), body))?;
    let walk = Walk::new(validation);
    walk.twice_in_yaml(duplicates.into_inner());
    let value = Root { walk: &walk, of }.deserialize(value).map_err(|e| unreadable(of, &e.to_string(), body))?;
    walk.finish(of, value)
}

/// As sigs.k8s.io/yaml reads it: YAML 1.1 booleans and octal numbers; duplicates are found by the walk.
/// The parser's frames are large: its own bound of 64 levels, aliases included, stands. What aliases stand
/// for costs as if it were written out, so a body may say little more than it has bytes.
fn yaml_options(bytes: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: bytes + ALIASED_NODES_MAX,
            max_total_scalar_bytes: bytes + ALIASED_BYTES_MAX,
        },
        legacy_octal_numbers: true,
        strict_booleans: false,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    }
}

fn known(schema: &str) -> Result<&'static Type, Status> {
    schema::get(schema).ok_or_else(|| Status::internal(format!("no schema {schema:?}")))
}

/// `application/json` of `application/json; charset=utf-8`.
pub(crate) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or("").trim()
}

/// Upstream's NewUnsupportedMediaType error of the content negotiation.
fn unsupported() -> Status {
    let message = String::from(
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml, application/vnd.kubernetes.protobuf",
    );
    Status::new(crate::Reason::UnsupportedMediaType, message)
}

/// What Go's decoder says of JSON that cannot be read, or is no object (encoding/json scanner.go).
fn go_words(error: &serde_json::Error, body: &[u8]) -> String {
    const HEAD: &str =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let told = error.to_string();
    if let Some(found) = told.strip_prefix("invalid type: ") {
        let found = match found.split([' ', ',']).next().unwrap_or_default() {
            "sequence" => "array",
            "boolean" => "bool",
            "integer" | "floating" => "number",
            other => other,
        };
        return format!("json: cannot unmarshal {found} into Go value of type {HEAD}");
    }
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let Some(found) = line.get(error.column().saturating_sub(1)).copied().filter(u8::is_ascii) else { return told };
    let place = match told.split(" at line").next().unwrap_or_default() {
        "expected value" => "looking for beginning of value",
        "trailing characters" => "after top-level value",
        "invalid escape" => "in string escape code",
        "trailing comma" | "key must be a string" => "looking for beginning of object key string",
        "expected `:`" => "after object key",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        "invalid number" => "in numeric literal",
        text if text.starts_with("control character") => "in string literal",
        _ => return told,
    };
    let shown = match found {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        other => format!("'{}'", char::from(other).escape_default()),
    };
    format!("invalid character {shown} {place}")
}

/// Upstream's words for a body that is no JSON at all: with the body's first 30 bytes.
fn unreadable(of: &Type, why: &str, body: &[u8]) -> Status {
    unrecognized(of.short_name(), &format!("couldn't get version/kind; json parse error: {why}"), body)
}

/// A body that cannot be read as an object of a kind at all (endpoints/handlers/rest.go transformDecodeError).
pub fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
    let shown = summary(body);
    Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({shown})"))
}

fn summary(body: &[u8]) -> String {
    let (shown, more) = if body.len() > 30 { (&body[..30], " ...") } else { (body, "") };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => format!("{}{more}", shown.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
