//! Kinds that are only asked, never stored: who is this token, may they, what may I.
//!
//! One table; each answers a POST with its own object and a status (pkg/registry/authentication,
//! pkg/registry/authorization).

use std::sync::LazyLock;

use api::decode;
use api::managed::{self, Write};
use api::resource::PODS;
use api::{Resource, Status};
use http::request::Parts;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::Server;
use crate::accept;
use crate::answer::{Payload, Reply};
use crate::authenticate;
use crate::identity::Identity;
use crate::protobuf;
use wire::query::Query;

use crate::body::Coming;
use crate::route::{Target, method_not_allowed, no_such_resource};
use crate::slow;
use crate::tokens::ISSUER;
use crate::verbs::options::manager_of;
use crate::verbs::{self, Call};
use crate::write;

/// May they, and what may I.
mod access;

/// One such kind.
pub struct Review {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub schema: &'static str,
    answers: Answers,
}

/// How a review is answered.
enum Answers {
    /// With the status that the body leads to.
    Judged(fn(&Asked<'_>, &Value) -> Result<Value, Status>),
    /// With an object of its own, whatever the body says beside its form (selfsubjectreview/rest.go Create).
    Told(fn(&Asked<'_>) -> Value),
    /// It is another way to write a subresource of the object that it names.
    For { resource: &'static LazyLock<Resource>, subresource: &'static str },
}

/// Who asks, and where.
pub struct Asked<'a> {
    server: &'a Server,
    identity: &'a Identity,
    namespace: &'a str,
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

pub static REVIEWS: &[Review] = &[
    Review {
        group: "",
        version: "v1",
        plural: "bindings",
        singular: "binding",
        kind: "Binding",
        namespaced: true,
        schema: "io.k8s.api.core.v1.Binding",
        answers: Answers::For { resource: &PODS, subresource: "binding" },
    },
    Review {
        group: AUTHENTICATION,
        version: "v1",
        plural: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        namespaced: false,
        schema: "io.k8s.api.authentication.v1.TokenReview",
        answers: Answers::Judged(token_review),
    },
    Review {
        group: AUTHENTICATION,
        version: "v1",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        namespaced: false,
        schema: "io.k8s.api.authentication.v1.SelfSubjectReview",
        answers: Answers::Told(|asked| {
            let (metadata, user) = (json!({"creationTimestamp": asked.server.now()}), asked.identity.to_value());
            json!({"metadata": metadata, "status": {"userInfo": user}})
        }),
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        namespaced: false,
        schema: "io.k8s.api.authorization.v1.SubjectAccessReview",
        answers: Answers::Judged(access::of_subject),
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        kind: "LocalSubjectAccessReview",
        namespaced: true,
        schema: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        answers: Answers::Judged(access::in_namespace),
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        namespaced: false,
        schema: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        answers: Answers::Judged(access::of_oneself),
    },
    Review {
        group: AUTHORIZATION,
        version: "v1",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        namespaced: false,
        schema: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        answers: Answers::Judged(access::rules),
    },
];

/// The review that a path names, if it names one.
pub fn find(target: &Target) -> Option<&'static Review> {
    REVIEWS.iter().find(|r| r.plural == target.resource && r.group == target.group && r.version == target.version)
}

/// Serves a review: its body is read once its head is allowed.
pub async fn answer(
    review: &'static Review,
    server: &Server,
    identity: &Identity,
    head: &Parts,
    query: &Query,
    target: &Target,
    coming: Coming<'_>,
) -> Result<Reply, Status> {
    let asked = verbs::attributes(target, query, verbs::verb_of(&head.method, target, query));
    server.authorize(identity, &asked).map_err(|status| Status { nosniff: true, ..status })?;
    if head.method != Method::POST || !target.name.is_empty() {
        return Err(method_not_allowed());
    }
    accept::whole(head.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()))?;
    let body = coming.read().await?;
    let judge = match review.answers {
        Answers::Judged(_) | Answers::Told(_) => &review.answers,
        Answers::For { resource, subresource } => {
            let served = server.kinds().served(&resource.group, &resource.version, &resource.plural);
            let served = served.ok_or_else(no_such_resource)?;
            let target =
                Target { resource: resource.plural.clone(), subresource: subresource.into(), ..target.clone() };
            let (method, headers, uri, target) = (&head.method, &head.headers, &head.uri, &target);
            let raw_query = "";
            let call = Call { server, identity, served, target, method, query, headers, body, uri, raw_query };
            return crate::subresources::bind_collection(call).await;
        }
    };
    let media = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    let validation = decode::FieldValidation::parse(query.get("fieldValidation")).unwrap_or_default();
    let decoded = match protobuf::is_meant(media) {
        true => decode::tree(protobuf::decode(&body, review.schema)?, review.schema, validation)?,
        false => slow::reading(&body, media, || decode::decode(&body, media, review.schema, validation))?,
    };
    let mut object = decoded.value;
    let api_version = format!("{}/{}", review.group, review.version);
    object["apiVersion"] = api_version.as_str().into();
    object["kind"] = review.kind.into();
    if review.namespaced && write::text(&object, "namespace").is_empty() {
        write::metadata(&mut object).insert("namespace".into(), target.namespace.as_str().into());
    }
    let of = Asked { server, identity, namespace: &target.namespace };
    match judge {
        Answers::Judged(judge) => {
            let status = judge(&of, &object).map_err(|status| status.warned(&decoded.warnings))?;
            // Kept by nobody, and owned all the same (handlers/create.go).
            let (manager, time) = (manager_of(query, &head.headers), server.now());
            let owner = Write {
                schema: review.schema,
                api_version: &api_version,
                manager: &manager,
                subresource: "",
                time: &time,
                resets: &[],
            };
            match review.plural {
                // The answer is of the status alone (registry/authorization/selfsubjectrulesreview/rest.go).
                "selfsubjectrulesreviews" => object["spec"] = json!({}),
                _ => managed::update(&owner, None, &mut object),
            }
            if !object["metadata"].is_object() {
                object["metadata"] = json!({"creationTimestamp": null});
            }
            object["status"] = status;
        }
        Answers::Told(tell) => {
            object = tell(&of);
            object["apiVersion"] = api_version.as_str().into();
            object["kind"] = review.kind.into();
        }
        Answers::For { .. } => {}
    }
    Ok(Reply::new(StatusCode::CREATED, Payload::Value(object)).warned(decoded.warnings))
}

fn token_review(asked: &Asked<'_>, review: &Value) -> Result<Value, Status> {
    let spec = &review["spec"];
    let token = spec["token"].as_str().unwrap_or("");
    if token.is_empty() {
        let message = "token is required for TokenReview in authentication";
        return Err(Status::bad_request(message));
    }
    let mut audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(String::from)).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.into());
    }
    let inner = &asked.server.0;
    let now = (inner.config.clock)().as_second();
    Ok(match authenticate::by_token(token, &audiences, &inner.tokens, &inner.snapshot, now) {
        Ok((identity, common)) => json!({"authenticated": true, "user": identity.to_value(), "audiences": common}),
        Err(why) => json!({"user": {}, "error": why}),
    })
}

#[cfg(test)]
mod tests;
