//! The form of an answer: bytes for HTTPS, Objects inside the process.
//!
//! A LIST is a concatenation of stored bytes, streamed in blocks so that memory stays constant; a
//! watch event is encoded once for all watchers. Tables and metadata are made from the same objects.

use std::io::Write;
use std::pin::Pin;

use api::{Object, Reason, Status, WatchEvent, schema};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kinds::Served;
use kinds::print::{self, Include};
use serde_json::{Value, json};
use wire::websocket::Message;

use crate::accept::{self, Accept, Encoding, Form};
use crate::answer::{Body, Page, Payload, Reply, Response, warning_headers};
use crate::rendition::{Happened, Rendition};
use crate::watching::{Told, Watching};
use crate::{Server, protobuf, sockets};

/// Long lists.
mod lists;

/// Answers below this are not worth compressing (responsewriters/writers.go).
const GZIP_FROM: usize = 128 << 10;
/// Whole objects in protobuf.
const PROTOBUF: Accept = Accept { form: Form::Whole, encoding: Encoding::Protobuf, beta: false };
/// Blocks in which lists are handed to the connection.
const BLOCK: usize = 64 << 10;

/// A served request, before its answer has a form.
pub struct Outcome {
    pub accept: Accept,
    pub include: Include,
    pub gzip: bool,
    /// `Warning` headers of the request itself, whatever becomes of it; those of the reply come after them.
    pub warnings: Vec<String>,
    pub reply: Result<Reply, Status>,
}

impl Outcome {
    /// An answer as JSON, whatever was asked for.
    pub fn plain(reply: Result<Reply, Status>) -> Outcome {
        Outcome { accept: accept::PLAIN, include: Include::default(), gzip: false, warnings: Vec::new(), reply }
    }

    /// Whether the answer comes as things happen, and its reader may take their time.
    pub fn lasts(&self) -> bool {
        match self.reply.as_ref().map(|reply| &reply.payload) {
            Ok(Payload::Watch(_)) => true,
            // A log, or what is passed on.
            Ok(Payload::Ready(response)) => matches!(response.body, Body::Stream(_)),
            _ => false,
        }
    }

    /// The answer as bytes.
    pub fn over_http(self, server: &Server) -> Response {
        let (accept, include, gzip) = (self.accept, self.include, self.gzip);
        let reply = match self.reply {
            Ok(reply) => reply,
            Err(status) => {
                let status = status.warned(&self.warnings);
                return match accept.encoding {
                    // A refusal is neither a Table nor has it metadata alone.
                    _ if accept.form != Form::Whole => Response::refused(&status),
                    // Where no form was found, JSON is left.
                    Encoding::Protobuf if status.reason == Reason::NotAcceptable => Response::refused(&status),
                    Encoding::Protobuf => protobuf::refused(&status),
                    encoding => refused(&status, encoding),
                };
            }
        };
        let mut warnings = HeaderMap::new();
        warning_headers(&self.warnings, &mut warnings);
        warning_headers(&reply.warnings, &mut warnings);
        let now = server.now();
        let code = reply.code;
        let ends = matches!(reply.payload, Payload::List(_));
        let mut response = match reply.payload {
            Payload::Ready(response) => response,
            Payload::Value(value) => encoded(code, &value, accept.encoding),
            Payload::Object { served, rendition } => object(code, &served, &rendition, accept, include, &now),
            Payload::List(page) => list(code, page, accept, include, &now),
            Payload::Watch(watching) => watch(watching, accept, include),
        };
        if gzip {
            compress(&mut response, ends);
        }
        response.headers.extend(warnings);
        response
    }

    /// The answer inside the process.
    pub async fn local(self, server: &Server) -> Response {
        if self.accept != accept::PLAIN {
            return Outcome { gzip: false, ..self }.over_http(server);
        }
        let reply = match self.reply {
            Ok(reply) => reply,
            reply => return Outcome { reply, ..self }.over_http(server),
        };
        let mut headers = HeaderMap::new();
        warning_headers(&self.warnings, &mut headers);
        warning_headers(&reply.warnings, &mut headers);
        let body = match reply.payload {
            Payload::List(page) if page.served.index().is_none() => Body::List {
                objects: page.items.iter().filter_map(|item| item.object().cloned()).collect(),
                revision: page.revision,
                continue_token: page.continue_token,
            },
            Payload::Watch(watching) if watching.served.index().is_none() => Body::Events(events(watching)),
            payload => {
                let reply = Reply { code: reply.code, warnings: reply.warnings, payload };
                let plain = Outcome { reply: Ok(reply), gzip: false, ..self };
                return plain.over_http(server);
            }
        };
        Response { status: reply.code, headers, body }
    }
}

/// A refusal in the encoding asked for.
fn refused(status: &Status, encoding: Encoding) -> Response {
    let mut response = Response::refused(status);
    if encoding == Encoding::Yaml {
        let Response { status: code, headers, body } = encoded(response.status, &status.to_value(), encoding);
        response.headers.remove(header::CONTENT_TYPE);
        response.headers.extend(headers);
        (response.status, response.body) = (code, body);
    }
    response
}

/// A tree in the encoding asked for.
fn encoded(code: StatusCode, value: &Value, encoding: Encoding) -> Response {
    match encoding {
        Encoding::Protobuf => protobuf::value(code, &protobuf::schema_of(value, None), value),
        Encoding::Json => Response::json(code, value),
        Encoding::Yaml => Response::bytes(code, "application/yaml", api::yaml::print(value)),
    }
}

fn object(
    code: StatusCode,
    served: &Served,
    rendition: &Rendition,
    accept: Accept,
    include: Include,
    now: &str,
) -> Response {
    if (accept.form, accept.encoding) == (Form::Whole, Encoding::Json) {
        return Response::bytes(code, "application/json", rendition.bytes(served));
    }
    let mut value = match accept.form {
        Form::Whole if accept.encoding == Encoding::Protobuf => {
            return protobuf::value(code, served.schema(), &tree(&rendition.bytes(served)));
        }
        Form::Whole => tree(&rendition.bytes(served)),
        Form::Partial | Form::PartialList => print::partial(&tree(&rendition.entry.bytes)),
        Form::Table => {
            let object = tree(&rendition.entry.bytes);
            let mut table = print::table(&served.kind, [], now, include);
            table["rows"] = json!([row(served, &object, now, include)]);
            table["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
            table
        }
    };
    name_version(&mut value, accept);
    encoded(code, &value, accept.encoding)
}

/// Tables and metadata say in which version they were asked for, and so does what is inside them.
fn name_version(value: &mut Value, accept: Accept) {
    if !accept.beta {
        return;
    }
    let name = |value: &mut Value| {
        if value["apiVersion"] == "meta.k8s.io/v1" {
            value["apiVersion"] = "meta.k8s.io/v1beta1".into();
        }
    };
    name(value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        name(item);
    }
    for row in value.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        name(&mut row["object"]);
    }
}

fn row(served: &Served, object: &Value, now: &str, include: Include) -> Value {
    let mut row = print::row(&served.kind, object, now, include);
    if include == Include::Object {
        served.of_stored(&mut row["object"]);
    }
    row
}

fn tree(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

fn list(code: StatusCode, page: Page, accept: Accept, include: Include, now: &str) -> Response {
    let mut metadata = json!({});
    // What is not stored has none.
    if page.revision != 0 {
        metadata["resourceVersion"] = page.revision.to_string().into();
    }
    if !page.continue_token.is_empty() {
        metadata["continue"] = page.continue_token.clone().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let served = &page.served;
    if (accept.form, accept.encoding) == (Form::Whole, Encoding::Json) {
        return lists::concatenated(code, page, &metadata);
    }
    if (accept.form, accept.encoding) == (Form::Whole, Encoding::Protobuf) {
        return match lists::is_long(&page) {
            true => lists::protobuf(code, page, &metadata),
            false => protobuf::list(code, &page, &metadata),
        };
    }
    if (accept.form, accept.encoding, accept.beta) == (Form::Table, Encoding::Json, false) && lists::is_long(&page) {
        return lists::table(code, page, &metadata, include, now);
    }
    let objects = page.items.iter().map(|item| tree(&item.entry.bytes));
    let mut value = match accept.form {
        Form::Whole => {
            let items: Vec<Value> = page.items.iter().map(|item| tree(&item.bytes(served))).collect();
            json!({"kind": served.kind.list_kind, "apiVersion": served.api_version(), "items": items})
        }
        Form::Partial | Form::PartialList => {
            let objects: Vec<Value> = objects.collect();
            print::partial_list(&objects)
        }
        Form::Table => {
            let rows: Vec<Value> = objects.map(|object| row(served, &object, now, include)).collect();
            let mut table = print::table(&served.kind, [], now, include);
            table["rows"] = rows.into();
            table
        }
    };
    // Go's list of nothing, where it is made anew (handlers/response.go asPartialObjectMetadataList).
    if page.items.is_empty() && matches!(accept.form, Form::Partial | Form::PartialList) {
        value["items"] = Value::Null;
    }
    value["metadata"] = metadata;
    name_version(&mut value, accept);
    encoded(code, &value, accept.encoding)
}

/// A watch as messages of a websocket, or as lines; what is ready together goes out together.
fn watch(mut watching: Box<Watching>, accept: Accept, include: Include) -> Response {
    if let Some(accepted) = watching.socket.take() {
        return sockets::send(accepted, messages(watching, accept, include));
    }
    let state = (watching, false, false);
    let lines = stream::unfold(state, move |(mut watching, mut columns, ended)| async move {
        if ended {
            return None;
        }
        let mut next = watching.next().await;
        let mut block: Vec<Bytes> = Vec::new();
        let mut size = 0;
        let ended = loop {
            let Some(told) = next else { break true };
            let error = matches!(told, Told::Error(_));
            let line = line(&watching, told, accept, include, &mut columns);
            size += line.len();
            block.push(line);
            if error || size >= BLOCK {
                break error;
            }
            next = watching.ready();
            if next.is_none() {
                break false;
            }
        };
        let bytes = match block.len() {
            0 => return None,
            1 => block.swap_remove(0),
            _ => block.concat().into(),
        };
        Some((Ok(bytes), (watching, columns, ended)))
    });
    let media = match accept.encoding {
        Encoding::Protobuf => protobuf::WATCH_MEDIA_TYPE,
        _ => "application/json",
    };
    let mut response = Response::bytes(StatusCode::OK, media, Bytes::new());
    response.body = Body::Stream(Box::pin(lines));
    response
}

/// Each event as one message: text, or binary for protobuf, which needs no frame here.
fn messages(watching: Box<Watching>, accept: Accept, include: Include) -> impl Stream<Item = Message> + Send {
    stream::unfold((watching, false, false), move |(mut watching, mut columns, ended)| async move {
        let told = if ended { None } else { watching.next().await }?;
        let ended = matches!(told, Told::Error(_));
        let line = line(&watching, told, accept, include, &mut columns);
        let message = match accept.encoding {
            Encoding::Protobuf => Message::binary(line.slice(protobuf::FRAME..)),
            _ => Message::text(String::from_utf8_lossy(&line).into_owned()),
        };
        Some((message, (watching, columns, ended)))
    })
}

/// One event in the form asked for.
fn line(watching: &Watching, told: Told, accept: Accept, include: Include, columns: &mut bool) -> Bytes {
    let (served, form) = (&watching.served, accept.form);
    let json_line = |word: &str, object: &Value| match accept.encoding {
        Encoding::Protobuf => protobuf::frame(word, &protobuf::schema_of(object, Some(served)), object),
        _ => json_line(word, object),
    };
    match told {
        Told::Error(status) => json_line("ERROR", &status.to_value()),
        Told::Bookmark { revision, initial_events_end } => {
            let mut object = Watching::bookmark(served, revision, initial_events_end);
            match form {
                // An object that nobody filled (storage/cacher/watch_progress.go).
                Form::Whole => {
                    if let (Some(of), Some(object)) = (schema::get(served.schema()), object.as_object_mut()) {
                        of.blank(object);
                    }
                }
                Form::Partial | Form::PartialList => {
                    object["kind"] = "PartialObjectMetadata".into();
                    object["apiVersion"] = "meta.k8s.io/v1".into();
                }
                Form::Table => object = one_row(watching, &object, include, columns),
            }
            name_version(&mut object, accept);
            json_line("BOOKMARK", &object)
        }
        Told::Object { happened, rendition, spliced } if accept == PROTOBUF => {
            let bytes = match spliced {
                Some(bytes) => crate::rendition::converted(&bytes, served),
                None => rendition.bytes(served),
            };
            json_line(happened.as_str(), &tree(&bytes))
        }
        Told::Object { happened, rendition, spliced } => match (form, spliced) {
            (Form::Whole, None) => rendition.event(happened, served),
            (Form::Whole, Some(bytes)) => {
                crate::rendition::event(happened, &crate::rendition::converted(&bytes, served))
            }
            (form, spliced) => {
                let object = tree(spliced.as_ref().unwrap_or(&rendition.entry.bytes));
                let mut value = match form {
                    Form::Partial | Form::PartialList => print::partial(&object),
                    _ => one_row(watching, &object, include, columns),
                };
                name_version(&mut value, accept);
                json_line(happened.as_str(), &value)
            }
        },
    }
}

/// The Table of an event. Only the first of a watch describes its columns (apiserver handlers/response.go asTable).
fn one_row(watching: &Watching, object: &Value, include: Include, columns: &mut bool) -> Value {
    let (served, now) = (&watching.served, watching.now());
    let mut table = print::table(&served.kind, [], &now, include);
    table["rows"] = json!([row(served, object, &now, include)]);
    table["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
    if std::mem::replace(columns, true) {
        table["columnDefinitions"] = Value::Null;
    }
    table
}

fn json_line(kind: &str, object: &Value) -> Bytes {
    let mut line = json!({"type": kind, "object": object}).to_string();
    line.push('\n');
    line.into()
}

/// A watch as events with Objects.
fn events(watching: Box<Watching>) -> Pin<Box<dyn Stream<Item = WatchEvent> + Send>> {
    let events = stream::unfold(watching, |mut watching| async move {
        let told = watching.next().await?;
        Some((event(told), watching))
    });
    Box::pin(events.filter_map(std::future::ready))
}

fn event(told: Told) -> Option<WatchEvent> {
    Some(match told {
        Told::Error(status) => WatchEvent::Error(status),
        Told::Bookmark { revision, initial_events_end } => WatchEvent::Bookmark { revision, initial_events_end },
        Told::Object { happened, rendition, spliced } => {
            let object = match spliced {
                Some(bytes) => Object::parse(bytes).ok()?,
                None => rendition.object()?.clone(),
            };
            match happened {
                Happened::Added => WatchEvent::Added(object),
                Happened::Modified => WatchEvent::Modified(object),
                Happened::Deleted => WatchEvent::Deleted(object),
            }
        }
    })
}

/// Compresses a large JSON body, whole or as it comes. One that does not end goes out as it is.
fn compress(response: &mut Response, ends: bool) {
    let json =
        response.headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    if !json || response.headers.contains_key(header::CONTENT_ENCODING) {
        return;
    }
    match &mut response.body {
        Body::Bytes(bytes) if bytes.len() >= GZIP_FROM => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let Ok(packed) = encoder.write_all(bytes).and_then(|()| encoder.finish()) else { return };
            response.body = Body::Bytes(packed.into());
        }
        Body::Stream(_) if ends => {
            let Body::Stream(blocks) = std::mem::replace(&mut response.body, Body::Bytes(Bytes::new())) else { return };
            response.headers.remove(header::CONTENT_LENGTH);
            response.body = Body::Stream(Box::pin(gzipped(blocks)));
        }
        _ => return,
    }
    response.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

type Blocks = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

fn gzipped(blocks: Blocks) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    stream::unfold(Some((blocks, encoder)), |state| async move {
        let (mut blocks, mut encoder) = state?;
        loop {
            match blocks.next().await {
                Some(Ok(block)) => {
                    if let Err(e) = encoder.write_all(&block) {
                        return Some((Err(e), None));
                    }
                    let packed = std::mem::take(encoder.get_mut());
                    if !packed.is_empty() {
                        return Some((Ok(packed.into()), Some((blocks, encoder))));
                    }
                }
                Some(Err(e)) => return Some((Err(e), None)),
                None => return Some((encoder.finish().map(Bytes::from), None)),
            }
        }
    })
}
