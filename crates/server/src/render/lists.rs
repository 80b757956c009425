//! Long lists, made a block at a time, however many read at once.
//!
//! JSON is a concatenation of stored bytes. Other forms are made of the same bytes on the runtime's threads for work, a
//! few blocks ahead of the reader. A list in protobuf says first how long it is: its messages are kept for the sending
//! as far as all lists' together fit into `KEPT`, and made once more where they do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::proto::{self, ProtoError, wire};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use kinds::Served;
use kinds::print::{self, Include};
use serde_json::Value;

use super::BLOCK;
use crate::answer::{Body, Page, Response};
use crate::rendition::Rendition;

/// Stored bytes of which a block is made on a thread of its own.
const WORK: usize = 256 << 10;
/// Blocks that are made ahead of the reader.
const AHEAD: usize = 3;
/// Bytes of messages that wait to be sent, of all lists.
const KEPT: usize = 32 << 20;

type Items = Vec<Arc<Rendition>>;

/// Whether a list is long enough to be made in blocks.
pub fn is_long(page: &Page) -> bool {
    let mut rest = WORK;
    page.items.iter().any(|item| {
        rest = rest.saturating_sub(item.entry.bytes.len());
        rest == 0
    })
}

/// A whole list: head, objects with commas, tail; in blocks when it is large.
pub fn concatenated(code: StatusCode, page: Page, metadata: &Value) -> Response {
    let served = &page.served;
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        served.kind.list_kind,
        served.api_version()
    );
    let tail = "]}\n";
    let parts: Vec<Bytes> = page.items.iter().map(|item| item.bytes(served)).collect();
    let commas = parts.len().saturating_sub(1);
    let length = head.len() + tail.len() + commas + parts.iter().map(Bytes::len).sum::<usize>();
    if length <= BLOCK {
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(head.as_bytes());
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(part);
        }
        out.extend_from_slice(tail.as_bytes());
        return Response::bytes(code, "application/json", out);
    }
    let blocks = stream::unfold((Some(head), parts.into_iter(), false), move |(head, mut parts, ended)| async move {
        if ended {
            return None;
        }
        let first = head.is_some();
        let mut out = Vec::with_capacity(BLOCK + (8 << 10));
        out.extend_from_slice(head.unwrap_or_default().as_bytes());
        let mut started = !first;
        while out.len() < BLOCK {
            let Some(part) = parts.next() else {
                out.extend_from_slice(tail.as_bytes());
                return Some((Ok(Bytes::from(out)), (None, parts, true)));
            };
            if started {
                out.push(b',');
            }
            started = true;
            out.extend_from_slice(&part);
        }
        Some((Ok(Bytes::from(out)), (None, parts, false)))
    });
    let mut response = Response::bytes(code, "application/json", Bytes::new());
    response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response.body = Body::Stream(Box::pin(blocks));
    response
}

/// A long list as a Table, in JSON.
pub fn table(code: StatusCode, page: Page, metadata: &Value, include: Include, now: &str) -> Response {
    let columns = print::columns(&page.served.kind);
    let head = format!(
        "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"columnDefinitions\":{columns},\"rows\":["
    );
    let (served, now) = (page.served.clone(), now.to_owned());
    let mut is_first = true;
    let rows = made(page.items, move |items| {
        let mut out = Vec::with_capacity(WORK);
        for item in items {
            out.push(b',');
            row(&served, item, &now, include, &mut out)?;
        }
        Ok(out)
    });
    let rows = rows.map(move |block| {
        // No comma stands before the first.
        let block: Bytes = block?.into();
        Ok(if std::mem::take(&mut is_first) { block.slice(1..) } else { block })
    });
    let ends = |text: String| stream::iter([Ok(Bytes::from(text))]);
    let mut response = Response::bytes(code, "application/json", Bytes::new());
    response.body = Body::Stream(Box::pin(ends(head).chain(rows).chain(ends("]}\n".to_owned()))));
    response
}

/// A row's JSON. What of it is stored bytes is copied, and nobody's cells tell of field managers.
fn row(served: &Served, item: &Rendition, now: &str, include: Include, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    let bytes = &item.entry.bytes;
    let lean = lean::read(bytes).map_err(|_| ProtoError::Malformed)?;
    let mut row = print::row(&served.kind, &lean.object, now, Include::None);
    let fields = row.as_object_mut().ok_or(ProtoError::Malformed)?;
    fields.remove("object");
    let text = row.to_string();
    out.extend_from_slice(&text.as_bytes()[..text.len() - 1]);
    out.extend_from_slice(b",\"object\":");
    match include {
        Include::None => out.extend_from_slice(b"null"),
        Include::Metadata => {
            out.extend_from_slice(
                b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
            );
            out.extend_from_slice(lean.metadata.as_bytes());
            out.push(b'}');
        }
        Include::Object => out.extend_from_slice(&item.bytes(served)),
    }
    out.push(b'}');
    Ok(())
}

/// A long list in protobuf.
pub fn protobuf(code: StatusCode, page: Page, metadata: &Value) -> Response {
    let served = page.served.clone();
    let schema = match api::schema::get(served.schema()).filter(|schema| !schema.slots.is_empty()) {
        Some(schema) => schema,
        None => return crate::protobuf::list(code, &page, metadata),
    };
    let encode = {
        let served = served.clone();
        move |items: &[Arc<Rendition>]| {
            let (mut out, mut message) = (Vec::with_capacity(WORK), Vec::new());
            for item in items {
                message.clear();
                proto::transcode(schema, &item.bytes(&served), &mut message)?;
                wire::bytes(proto::ITEMS, &message, &mut out);
            }
            Ok(out)
        }
    };
    let head = {
        let metadata = metadata.clone();
        move |length: usize| proto::list_head(&served.api_version(), &served.kind.list_kind, &metadata, length)
    };
    let body = async move {
        let measured: Vec<std::io::Result<Measured>> = blocks(page.items, {
            let encode = encode.clone();
            move |items| encode(&items).map(|bytes| Measured::of(items, bytes))
        })
        .collect()
        .await;
        let measured = match measured.into_iter().collect::<std::io::Result<Vec<Measured>>>() {
            Ok(measured) => measured,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let head = head(measured.iter().map(|block| block.length).sum()).map_err(std::io::Error::other);
        let items = stream::iter(measured).map(move |block| {
            let encode = encode.clone();
            async move {
                match block.kept {
                    Some(kept) => Ok(Bytes::from_owner(kept)),
                    None => on_thread(move || encode(&block.items)).await.map(Bytes::from),
                }
            }
        });
        let tail = stream::iter([Ok(Bytes::from_static(proto::TAIL))]);
        stream::iter([head.map(Bytes::from)]).chain(items.buffered(AHEAD)).chain(tail).boxed()
    };
    let mut response = Response::bytes(code, proto::MEDIA_TYPE, Bytes::new());
    response.body = Body::Stream(Box::pin(stream::once(body).flatten()));
    response
}

/// A block's messages: how long they are, and they themselves where there is room for them.
struct Measured {
    length: usize,
    kept: Option<Held>,
    /// Of which they are made again.
    items: Items,
}

/// Messages that wait to be sent.
struct Held(Vec<u8>);

static HELD: AtomicUsize = AtomicUsize::new(0);

impl Measured {
    fn of(items: Items, bytes: Vec<u8>) -> Measured {
        let length = bytes.len();
        let kept = Held::of(bytes);
        Measured { length, items: if kept.is_some() { Vec::new() } else { items }, kept }
    }
}

impl Held {
    fn of(mut bytes: Vec<u8>) -> Option<Held> {
        bytes.shrink_to_fit();
        let before = HELD.fetch_add(bytes.len(), Ordering::Relaxed);
        let held = Held(bytes);
        // Dropped, it is given back.
        (before + held.0.len() <= KEPT).then_some(held)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

/// What is made of each block of items, in their order.
fn made<F>(items: Items, make: F) -> impl Stream<Item = std::io::Result<Vec<u8>>> + Send
where
    F: Fn(&[Arc<Rendition>]) -> Result<Vec<u8>, ProtoError> + Clone + Send + 'static,
{
    blocks(items, move |items| make(&items))
}

fn blocks<F, T>(items: Items, make: F) -> impl Stream<Item = std::io::Result<T>> + Send
where
    F: Fn(Items) -> Result<T, ProtoError> + Clone + Send + 'static,
    T: Send + 'static,
{
    let mut items = items.into_iter();
    let cut = std::iter::from_fn(move || {
        let (mut block, mut size) = (Vec::new(), 0);
        while size < WORK
            && let Some(item) = items.next()
        {
            size += item.entry.bytes.len();
            block.push(item);
        }
        (!block.is_empty()).then_some(block)
    });
    let work = move |block: Items| {
        let make = make.clone();
        on_thread(move || make(block))
    };
    stream::iter(cut).map(work).buffered(AHEAD)
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProtoError> + Send + 'static,
) -> std::io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?;
    done.map_err(std::io::Error::other)
}

/// An object without what its field managers own, and its metadata as it is stored.
mod lean {
    use std::borrow::Cow;
    use std::fmt;

    use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
    use serde_json::value::RawValue;
    use serde_json::{Map, Value};

    pub struct Lean<'a> {
        pub object: Value,
        pub metadata: Cow<'a, str>,
    }

    pub fn read(bytes: &[u8]) -> Result<Lean<'_>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let lean = reader.deserialize_map(Whole)?;
        reader.end()?;
        Ok(lean)
    }

    struct Whole;

    impl<'de> Visitor<'de> for Whole {
        type Value = Lean<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Lean<'de>, M::Error> {
            let (mut object, mut metadata) = (Map::new(), Cow::Borrowed("{}"));
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if key == "metadata" {
                    let raw = map.next_value::<&RawValue>()?;
                    let mut reader = serde_json::Deserializer::from_str(raw.get());
                    let read = Metadata.deserialize(&mut reader).map_err(serde::de::Error::custom)?;
                    object.insert(key.into_owned(), read);
                    metadata = Cow::Borrowed(raw.get());
                } else {
                    object.insert(key.into_owned(), map.next_value()?);
                }
            }
            Ok(Lean { object: Value::Object(object), metadata })
        }
    }

    struct Metadata;

    impl<'de> DeserializeSeed<'de> for Metadata {
        type Value = Value;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
            deserializer.deserialize_map(self)
        }
    }

    impl<'de> Visitor<'de> for Metadata {
        type Value = Value;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("metadata")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
            let mut metadata = Map::new();
            while let Some(key) = map.next_key::<String>()? {
                if key == "managedFields" {
                    map.next_value::<IgnoredAny>()?;
                } else {
                    metadata.insert(key, map.next_value()?);
                }
            }
            Ok(Value::Object(metadata))
        }
    }
}

#[cfg(test)]
mod tests;
