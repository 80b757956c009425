//! One generic set of verbs over the kind table: one function each, which gets the call that it serves.
//!
//! `request` has found the row, the verb and the subresource, has asked `authorize` and read the body.
//! Nothing here knows a kind by name; what is special to one stands in `subresources`.

use api::decode::{self, Decoded, FieldValidation};
use api::patch::PatchKind;
use api::selector::Fields;
use api::{Reason, Status};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use kinds::{Kind, Served};
use serde_json::Value;

use crate::Server;
use crate::admission::{Ask, Operation};
use crate::answer::Reply;
use crate::authorize::Attributes;
use crate::filter::Filter;
use crate::identity::Identity;
use crate::{protobuf, records};
use wire::query::Query;

use crate::route::Target;
use crate::slow;
use crate::sought::Sought;

/// PATCH with a configuration that is applied.
mod apply;
/// POST of an object.
pub mod create;
/// DELETE of one object or a collection.
pub mod delete;
/// What every write goes through.
pub mod judge;
/// What a write asks beside its object.
pub mod options;
/// GET of one object or a list.
pub mod read;
/// PUT and PATCH: the next version of an object.
pub mod update;
/// GET with `watch`.
pub mod watch;

/// One request about a resource.
pub struct Call<'a> {
    pub server: &'a Server,
    pub identity: &'a Identity,
    pub served: Served,
    pub target: &'a Target,
    pub method: &'a Method,
    pub query: &'a Query,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    /// The path as it came in: what a proxy forwards.
    pub uri: &'a http::Uri,
    /// And the query.
    pub raw_query: &'a str,
}

/// PATCH, by its content type.
pub async fn patch(call: Call<'_>, subresource: &str) -> Result<Reply, Status> {
    match PatchKind::of(call.content_type()) {
        Some(PatchKind::Apply) => apply::apply(call, subresource).await,
        Some(kind) => update::patch(call, kind, subresource).await,
        None => Err(unsupported()),
    }
}

/// A route is found by what it consumes too (emicklei/go-restful jsr311.go).
pub fn unsupported() -> Status {
    Status::generic(Reason::UnsupportedMediaType, "415: Unsupported Media Type")
}

/// The API's verb for a method (request/requestinfo.go).
pub fn verb_of(method: &Method, target: &Target, query: &Query) -> &'static str {
    let collection = target.name.is_empty();
    match method.as_str() {
        "POST" => "create",
        // Of one object `watch` asks nothing.
        "GET" if target.watch_prefix || (query.flag("watch") && collection) => "watch",
        "GET" if collection => "list",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if collection => "deletecollection",
        "DELETE" => "delete",
        _ => "",
    }
}

/// What is asked of a resource.
pub fn attributes(target: &Target, query: &Query, verb: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        group: target.group.clone(),
        version: target.version.clone(),
        resource: target.resource.clone(),
        subresource: target.subresource.clone(),
        namespace: target.namespace.clone(),
        name: named(target, query, verb),
        path: String::new(),
        fields: query.get("fieldSelector").into(),
    }
}

/// The name that a request is about: of a list or watch also by a field selector (requestinfo.go).
fn named(target: &Target, query: &Query, verb: &str) -> String {
    let fields = query.get("fieldSelector");
    if !target.name.is_empty() || fields.is_empty() || !matches!(verb, "list" | "watch") {
        return target.name.clone();
    }
    let fields = Fields::parse(fields).unwrap_or_default();
    // What cannot be a segment of a path names nothing (api/validation/path IsValidPathSegmentName).
    let name = fields.exact("metadata.name").filter(|name| !matches!(*name, "." | "..") && !name.contains(['/', '%']));
    name.unwrap_or_default().to_string()
}

impl Call<'_> {
    pub fn kind(&self) -> &Kind {
        &self.served.kind
    }

    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// The namespace of the object, empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        if self.kind().namespaced { &self.target.namespace } else { "" }
    }

    /// What a read of told objects wants.
    pub fn sought(&self) -> Sought<'_> {
        Sought { server: self.server, served: &self.served, namespace: self.namespace(), name: self.name() }
    }

    pub fn key(&self, name: &str) -> store::Key {
        crate::records::key(self.kind(), self.namespace(), name)
    }

    /// Which objects of a collection are meant.
    pub fn filter(&self) -> Result<Filter, Status> {
        Filter::of(&self.served, self.name(), self.query)
    }

    pub fn authorize(&self, verb: &str) -> Result<(), Status> {
        self.server.authorize(self.identity, &attributes(self.target, self.query, verb))
    }

    /// What admission is asked about an object of the kind.
    pub fn ask<'a>(&'a self, operation: Operation, subresource: &'a str, dry_run: bool) -> Ask<'a> {
        Ask {
            server: self.server,
            identity: self.identity,
            served: &self.served,
            operation,
            verb: verb_of(self.method, self.target, self.query),
            subresource,
            schema: &self.kind().schema,
            namespace: self.namespace(),
            name: self.name(),
            old: None,
            dry_run,
        }
    }

    /// The body as a tree of a schema, checked and canonical; and warnings.
    pub fn decode(&self, schema: &str, validation: FieldValidation) -> Result<Decoded, Status> {
        if protobuf::is_meant(self.content_type()) {
            return decode::tree(protobuf::decode(&self.body, schema)?, schema, validation);
        }
        let read = || decode::decode(&self.body, self.content_type(), schema, validation);
        slow::reading(&self.body, self.content_type(), read)
    }

    pub fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json")
    }

    pub fn not_found(&self, name: &str) -> Status {
        self.served.not_found(name)
    }

    pub fn conflict(&self, name: &str, why: &str) -> Status {
        Status::conflict(self.served.group(), &self.kind().plural, name, why)
    }

    /// As upstream's store says what is wrong with an object, by the place where it would keep it (storage/errors.go);
    /// of what is only tried, the place is not yet in etcd's tree.
    pub fn invalid_object(&self, name: &str, dry_run: bool, why: &str) -> String {
        let root = if dry_run { "" } else { "/registry" };
        let place = records::upstream_place(self.kind(), self.namespace(), name);
        format!(
            "StorageError: invalid object, Code: 4, Key: {root}{place}, ResourceVersion: 0, AdditionalErrorMsg: {why}"
        )
    }

    /// A stored object in the version of the request.
    pub fn in_version(&self, object: &Value) -> Value {
        let mut object = object.clone();
        self.served.of_stored(&mut object);
        object
    }

    /// An object of a further version in the stored one.
    pub fn to_stored(&self, object: &mut Value) {
        self.served.to_stored(object);
    }
}

#[cfg(test)]
mod tests;
