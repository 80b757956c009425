//! `Object`: the canonical JSON of one API object and its parsed metadata, cheap to clone.
//!
//! Canonical JSON is compact, with the keys of every map sorted bytewise (docs/data-format). An
//! object is never round-tripped through a struct: unknown fields survive. Caches hold these, so
//! they share the bytes of the store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Pairs;

/// One API object. Clone is a reference count.
#[derive(Clone)]
pub struct Object(Arc<Inner>);

struct Inner {
    bytes: Bytes,
    meta: Meta,
}

/// The fields that everybody asks an object for. Times are RFC 3339 strings as they stand. One is kept for every
/// stored object; annotations, which few ask for and which may be long, are not here (`Object::annotation`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    #[serde(skip)]
    pub api_version: String,
    #[serde(skip)]
    pub kind: String,
    pub name: String,
    pub generate_name: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub uid: String,
    /// The revision as the API shows it: a decimal string, empty before the first write.
    pub resource_version: String,
    pub generation: i64,
    pub labels: Pairs,
    pub creation_timestamp: Option<String>,
    pub deletion_timestamp: Option<String>,
    pub deletion_grace_period_seconds: Option<i64>,
    pub finalizers: Vec<String>,
    pub owner_references: Vec<OwnerReference>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Meta,
}

impl Object {
    /// Wraps JSON bytes; reads only kind, apiVersion and metadata. Errors when they are no such JSON.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Object, serde_json::Error> {
        let bytes = bytes.into();
        let envelope: Envelope = serde_json::from_slice(&bytes)?;
        let meta = Meta { api_version: envelope.api_version, kind: envelope.kind, ..envelope.metadata };
        Ok(Object(Arc::new(Inner { bytes, meta })))
    }

    /// Encodes a tree canonically and wraps it.
    pub fn from_value(value: &Value) -> Result<Object, serde_json::Error> {
        Object::parse(serde_json::to_vec(value)?)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// The revision of this version of the object; 0 before the first write.
    pub fn revision(&self) -> u64 {
        self.0.meta.resource_version.parse().unwrap_or(0)
    }

    /// What the reader's own type has of it: each declares the few fields that it reads.
    pub fn view<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0.bytes)
    }

    /// Read from the bytes at each call.
    pub fn annotation(&self, key: &str) -> Option<String> {
        self.annotations().get(key).map(|value| value.to_string())
    }

    /// Read from the bytes at each call.
    pub fn annotations(&self) -> BTreeMap<Cow<'_, str>, Cow<'_, str>> {
        #[derive(Deserialize)]
        struct Noted<'a> {
            #[serde(borrow)]
            metadata: Notes<'a>,
        }
        #[derive(Deserialize)]
        struct Notes<'a> {
            #[serde(borrow, default)]
            annotations: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
        }
        serde_json::from_slice::<Noted<'_>>(&self.0.bytes).map(|noted| noted.metadata.annotations).unwrap_or_default()
    }

    /// The whole object as a tree.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.0.bytes).expect("an Object was parsed when it was made")
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let m = self.meta();
        write!(f, "{} {}/{} @{}", m.kind, m.namespace, m.name, m.resource_version)
    }
}

impl Meta {
    /// The owner that manages this object, if any.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|o| o.controller)
    }

    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}
