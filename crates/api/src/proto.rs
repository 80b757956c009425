//! Protobuf, along the schema table: the tree of an object into its message and back.
//!
//! A body is the magic `k8s\0` and a `runtime.Unknown` that names the kind and holds the object's own
//! message (apimachinery runtime/serializer/protobuf). Messages can be joined without decoding them: a
//! list is its metadata and the messages of its items, a watch event holds an object's body.
//! Zero and absent are the same here, as they are for Go, unless the field is a pointer there.

use serde_json::Value;

use crate::schema::{self, Type};

/// OpenAPI documents, in gnostic's messages.
pub mod gnostic;
/// Messages into trees.
mod read;
#[cfg(test)]
mod tests;
/// Stored JSON into messages.
mod transcode;
/// The wire: tags, varints, lengths.
pub mod wire;
/// Trees into messages.
mod write;

pub use read::duration;

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
/// Messages do not nest deeper (protobuf's own limit).
const DEPTH_MAX: usize = 100;

/// Why a body is none, or an object has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// As Go prints the magic (serializer/protobuf/protobuf.go).
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    #[error("empty data")]
    NoData,
    /// The magic, and nothing behind it.
    #[error("empty body")]
    Empty,
    /// As Go says of most that is cut or bent.
    #[error("unexpected EOF")]
    Malformed,
    #[error("{0} has no protobuf form")]
    Formless(String),
}

/// The body of an object: envelope and message.
pub fn encode(schema: &str, object: &Value) -> Result<Vec<u8>, ProtoError> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    Ok(envelope(text("apiVersion"), text("kind"), &message(schema, object)?))
}

/// The object of a body. What is zero without a pointer may be there: `decode::tree` makes it canonical.
pub fn decode(body: &[u8], schema: &str) -> Result<Value, ProtoError> {
    let of = known(schema)?;
    read::body(body, of)
}

/// The object's own message, without the envelope: what lists are joined from.
pub fn message(schema: &str, object: &Value) -> Result<Vec<u8>, ProtoError> {
    let of = known(schema)?;
    if of.slots.is_empty() {
        return Err(ProtoError::Formless(schema.into()));
    }
    let mut out = Vec::with_capacity(512);
    write::object(of, object.as_object().ok_or(ProtoError::Malformed)?, &mut out);
    Ok(out)
}

/// Adds the message of an object, from its canonical JSON: what `message` makes of its tree, but for the order of fields.
pub fn transcode(schema: &'static Type, json: &[u8], out: &mut Vec<u8>) -> Result<(), ProtoError> {
    if schema.slots.is_empty() {
        return Err(ProtoError::Formless(schema.name.into()));
    }
    transcode::object(schema, json, out).map_err(|_| ProtoError::Malformed)
}

/// `runtime.Unknown` around a message.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut body = opened(api_version, kind, message.len());
    body.extend_from_slice(message);
    body.extend_from_slice(TAIL);
    body
}

/// Encoding and type of the content, which end an envelope: upstream writes them empty.
pub const TAIL: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// An envelope up to the message of that length.
fn opened(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    wire::bytes(1, api_version.as_bytes(), &mut meta);
    wire::bytes(2, kind.as_bytes(), &mut meta);
    let mut body = Vec::with_capacity(length + meta.len() + 16);
    body.extend_from_slice(MAGIC);
    wire::bytes(1, &meta, &mut body);
    wire::varint(2 << 3 | 2, &mut body);
    wire::varint(length as u64, &mut body);
    body
}

/// The tag of a list's items.
pub const ITEMS: u32 = 2;

/// The body of a list up to its items, which are that long together, each under `ITEMS`; `TAIL` follows them.
pub fn list_head(api_version: &str, kind: &str, metadata: &Value, items: usize) -> Result<Vec<u8>, ProtoError> {
    let metadata = message("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", metadata)?;
    let mut first = Vec::with_capacity(metadata.len() + 2);
    wire::bytes(1, &metadata, &mut first);
    let mut head = opened(api_version, kind, first.len() + items);
    head.append(&mut first);
    Ok(head)
}

/// The body of a list: `metadata` is its ListMeta as JSON, each item a `message`.
pub fn list<'a>(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, ProtoError> {
    let mut joined = Vec::new();
    items.into_iter().for_each(|item| wire::bytes(ITEMS, item, &mut joined));
    let mut body = list_head(api_version, kind, metadata, joined.len())?;
    body.append(&mut joined);
    body.extend_from_slice(TAIL);
    Ok(body)
}

/// One frame of a watch: its length, and a `WatchEvent` of that type around an object's body.
pub fn watch_frame(event: &str, body: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(body.len() + 8);
    wire::bytes(1, body, &mut raw);
    let mut message = Vec::with_capacity(raw.len() + 32);
    wire::bytes(1, event.as_bytes(), &mut message);
    wire::bytes(2, &raw, &mut message);
    let length = u32::try_from(message.len()).expect("objects are bounded far below 4 GiB");
    let mut frame = length.to_be_bytes().to_vec();
    frame.append(&mut message);
    frame
}

fn known(schema: &str) -> Result<&'static Type, ProtoError> {
    schema::get(schema).ok_or_else(|| ProtoError::Formless(schema.into()))
}
