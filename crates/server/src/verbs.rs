//! One generic set of verbs over the kind table: what a request asks for, and who answers it.
//!
//! `perform` finds the row, the verb and the subresource, asks `authorize`, and calls one function
//! per verb. Nothing here knows a kind by name; what is special to one stands in `subresources`.

use api::decode::{self, Decoded, FieldValidation};
use api::patch::PatchKind;
use api::selector::Fields;
use api::{Reason, Status};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use kinds::kind::Act;
use kinds::{Kind, Served};
use serde_json::Value;

use crate::Server;
use crate::admission::{Ask, Operation};
use crate::answer::Reply;
use crate::authorize::Attributes;
use crate::identity::Identity;
use crate::protobuf;
use wire::query::Query;

use crate::request::Coming;
use crate::route::Target;
use crate::slow;

/// PATCH with a configuration that is applied.
mod apply;
/// POST of an object.
pub mod create;
/// DELETE of one object or a collection.
pub mod delete;
/// Which objects a list or watch is about.
pub mod filter;
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

/// Serves a request about a resource: its body is read once its head is allowed.
pub async fn perform(mut call: Call<'_>, coming: Coming<'_>) -> Result<Reply, Status> {
    let verb = verb_of(call.method, call.target, call.query);
    let subresource = match call.target.subresource.as_str() {
        "" => None,
        name => Some(*call.kind().subresource(name).ok_or_else(no_such_resource)?),
    };
    let known = match subresource {
        None => call.kind().can(verb),
        // A proxy carries whatever method it is given.
        Some(subresource) => subresource.act == Act::Proxy || subresource.verbs.contains(&verb),
    };
    let passes_on = subresource.is_some_and(|subresource| subresource.act == Act::Proxy);
    if call.target.namespace.is_empty() && call.kind().namespaced {
        if !call.target.name.is_empty() {
            return Err(no_such_resource());
        }
        // All namespaces at once are only read (endpoints/installer.go registers nothing else).
        if !["list", "watch"].contains(&verb) {
            return Err(method_not_allowed());
        }
    }
    // A POST is about a collection, a PUT or PATCH about one object.
    let misplaced = match verb {
        "create" => !call.target.name.is_empty(),
        "update" | "patch" => call.target.name.is_empty(),
        _ => false,
    };
    if subresource.is_none() && misplaced {
        return Err(method_not_allowed());
    }
    if !known {
        return Err(method_not_allowed());
    }
    call.authorize(verb)?;
    // Nobody looks at the body of what only reads (nor does upstream); a proxy passes it on.
    if !call.method.is_safe() || passes_on {
        call.body = coming.read().await?;
    }
    match subresource {
        Some(subresource) => crate::subresources::perform(call, verb, &subresource).await,
        None => match verb {
            "get" => read::get(call).await,
            "list" => read::list(call).await,
            "watch" => watch::watch(call).await,
            "create" => create::create(call).await,
            "update" => update::put(call, "").await,
            "patch" => patch(call, "").await,
            "delete" => delete::delete(call).await,
            "deletecollection" => delete::delete_collection(call).await,
            _ => Err(method_not_allowed()),
        },
    }
}

/// PATCH, by its content type.
pub async fn patch(call: Call<'_>, subresource: &str) -> Result<Reply, Status> {
    match PatchKind::of(call.content_type()) {
        Some(PatchKind::Apply) => apply::apply(call, subresource).await,
        Some(kind) => update::patch(call, kind, subresource).await,
        None => Err(unsupported(call.content_type())),
    }
}

fn unsupported(media: &str) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
         application/apply-patch+yaml (not {media:?})"
    );
    Status::new(Reason::UnsupportedMediaType, message)
}

/// The API's verb for a method (request/requestinfo.go).
pub fn verb_of(method: &Method, target: &Target, query: &Query) -> &'static str {
    let collection = target.name.is_empty();
    match method.as_str() {
        "POST" => "create",
        "GET" | "HEAD" if target.watch_prefix || (query.flag("watch") && target.subresource.is_empty()) => "watch",
        "GET" | "HEAD" if collection => "list",
        "GET" | "HEAD" => "get",
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

pub fn no_such_resource() -> Status {
    Status::new(Reason::NotFound, "the server could not find the requested resource")
}

pub fn method_not_allowed() -> Status {
    Status::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
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

    pub fn key(&self, name: &str) -> store::Key {
        crate::records::key(self.kind(), self.namespace(), name)
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
