//! The way of a request: who, as whom, how many, may they; only then its body, its verb, its answer.
//!
//! connection (`listen`) → authenticate → impersonate → flow control → authorize → body → decode → verb →
//! encode (`render`): one order for HTTPS and for the parts inside the process (apiserver
//! pkg/server/config.go DefaultBuildHandlerChain). Everything up to the body is decided on the head: whoever
//! may not do what is asked costs no memory.

use std::sync::Arc;

use api::Status;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use hyper::body::Incoming;
use kinds::kind::Act;
use kinds::print::Include;
use wire::places::{Place, Proof};
use wire::query::Query;

use crate::answer::Reply;
use crate::authenticate::{authenticate, unauthorized};
use crate::authorize::Attributes;
use crate::body::{Coming, Inflow, UNWANTED_MAX, UNWANTED_OF_KNOWN_MAX};
use crate::flow::{Cost, Flow, Permit};
use crate::identity::{ANONYMOUS, Identity, MASTERS};
use crate::node_keys::Certificate;
use crate::paths::{self, Answer};
use crate::render::Outcome;
use crate::route::{self, Target, method_not_allowed, no_such_resource, nowhere};
use crate::verbs::{self, Call, create, delete, read, update, watch};
use crate::visit::Visit;
use crate::{Server, accept, discovery, impersonate, reviews, subresources};

/// A request from the network: its answer, and its place among those under way.
pub async fn from_outside(
    server: &Server,
    place: &Place,
    certificate: Option<&Certificate>,
    head: &mut Parts,
    body: Incoming,
) -> (Outcome, Option<Permit>) {
    let inner = &server.0;
    let now = (inner.config.clock)().as_second();
    let (mut body, mut permit, mut unwanted) = (Inflow::Wire(body), None, UNWANTED_MAX);
    let proved = match certificate {
        Some(certificate) if !certificate.holds(&inner.snapshot) => Err(unauthorized()),
        certificate => {
            let identity = certificate.map(|certificate| &certificate.identity);
            authenticate(&head.headers, identity, &inner.tokens, &inner.snapshot, now)
        }
    };
    let outcome = match proved {
        Ok(identity) => {
            if identity.name() != ANONYMOUS {
                unwanted = UNWANTED_OF_KNOWN_MAX;
                let proof = if certificate.is_some() { Proof::Certificate } else { Proof::Token };
                place.known(identity.name(), proof, identity.is_in(MASTERS));
            }
            let outcome = serve(server, &identity, head, &mut body, Some(&inner.flow), &mut permit).await;
            // All of them are one user: of who takes no answers, others would be refused theirs. What waits is
            // counted by address (`wire::places`).
            permit = permit.filter(|_| identity.name() != ANONYMOUS);
            outcome
        }
        Err(status) => Outcome::plain(Err(status)),
    };
    body.discard(&head.headers, unwanted);
    (outcome, permit)
}

/// A request of a part inside the process: never held up by what comes from outside.
pub async fn from_inside(server: &Server, identity: &Identity, head: &mut Parts, body: Bytes) -> Outcome {
    serve(server, identity, head, &mut Inflow::Here(body), None, &mut None).await
}

/// Serves it, and notes in which form the answer is wanted.
async fn serve(
    server: &Server,
    identity: &Identity,
    head: &mut Parts,
    body: &mut Inflow,
    flow: Option<&Arc<Flow>>,
    permit: &mut Option<Permit>,
) -> Outcome {
    let text = |name: header::HeaderName| head.headers.get(name).and_then(|v| v.to_str().ok());
    let gzip = text(header::ACCEPT_ENCODING).is_some_and(|v| v.split(',').any(|e| e.trim().starts_with("gzip")));
    let accepted = accept::negotiate(text(header::ACCEPT));
    let media = text(header::CONTENT_TYPE).unwrap_or_default().to_string();
    let query = Query::parse(wire::heads::query(&head.uri, &head.extensions));
    let include = Include::parse(query.get("includeObject")).unwrap_or_default();
    let coming = Coming { body, permit, flow, media: &media };
    let target = route::parse(head.uri.path());
    if let Err(refused) = check_timeout(head, target.as_ref(), &query) {
        let accept = accepted.unwrap_or(accept::PLAIN);
        return Outcome { accept, include, gzip, warnings: Vec::new(), reply: Err(refused) };
    }
    let reply = way(server, identity, head, target.as_ref(), &query, &accepted, coming).await;
    // Said by the handler of the route that was found (endpoints/installer.go restfulListResource and others).
    let is_routed = !matches!(&reply, Err(status) if status.nosniff || (status.generic && status.code != 422));
    let warnings = target.filter(|_| is_routed).and_then(|target| deprecation(server, &target)).into_iter().collect();
    Outcome { accept: accepted.unwrap_or(accept::PLAIN), include, gzip, warnings, reply }
}

/// What is said to whoever asks for a kind whose time is over (apiserver pkg/endpoints/deprecation).
fn deprecation(server: &Server, target: &Target) -> Option<String> {
    let served = server.kinds().served(&target.group, &target.version, &target.resource)?;
    let kind = &served.kind;
    let told = || format!("{} {} is deprecated {}", served.api_version(), kind.kind, kind.deprecated);
    (!kind.deprecated.is_empty()).then(told)
}

/// Before any route. Of what lasts nobody asks (endpoints/filters/request_deadline.go).
fn check_timeout(head: &Parts, target: Option<&Target>, query: &Query) -> Result<(), Status> {
    let timeout = query.get("timeout");
    if !timeout.is_empty() && cost(head, target, query) != Cost::Lasting {
        api::go::duration(timeout)
            .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - {why}")))?;
    }
    Ok(())
}

/// From who it is to the reply.
async fn way(
    server: &Server,
    identity: &Identity,
    head: &mut Parts,
    target: Option<&Target>,
    query: &Query,
    accepted: &Result<accept::Accept, Status>,
    coming: Coming<'_>,
) -> Result<Reply, Status> {
    let asked = || attributes(head, target, query);
    let decide = |who: &Identity, asked: &Attributes| server.0.authorizer.decide(who, asked);
    let other = impersonate::impersonated(identity, &head.headers, asked, &decide).map_err(at_the_door)?;
    let identity = other.as_ref().unwrap_or(identity);
    // Who it was, and how they proved it, goes no further than here.
    impersonate::forget(&mut head.headers);
    if let Some(flow) = coming.flow {
        *coming.permit = flow.admit(identity, cost(head, target, query))?;
    }
    let way = Way { server, identity, head, query };
    match target {
        Some(target) => way.resource(target, accepted, coming).await,
        None => way.other(coming).await,
    }
}

/// What the head asks for.
fn attributes(head: &Parts, target: Option<&Target>, query: &Query) -> Attributes {
    match target {
        Some(target) => verbs::attributes(target, query, verbs::verb_of(&head.method, target, query)),
        None => Attributes {
            verb: head.method.as_str().to_ascii_lowercase(),
            path: head.uri.path().into(),
            ..Attributes::default()
        },
    }
}

/// What it costs beside its body: what lasts is not counted (BasicLongRunningRequestCheck).
fn cost(head: &Parts, target: Option<&Target>, query: &Query) -> Cost {
    let Some(target) = target else {
        return if head.method.is_safe() { Cost::Read } else { Cost::Write };
    };
    if matches!(target.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward") {
        return Cost::Lasting;
    }
    match verbs::verb_of(&head.method, target, query) {
        "watch" => Cost::Lasting,
        "get" | "list" => Cost::Read,
        _ => Cost::Write,
    }
}

/// A request whose sender is known.
struct Way<'a> {
    server: &'a Server,
    identity: &'a Identity,
    head: &'a Parts,
    query: &'a Query,
}

impl Way<'_> {
    /// The API's resources.
    async fn resource(
        self,
        target: &Target,
        accepted: &Result<accept::Accept, Status>,
        coming: Coming<'_>,
    ) -> Result<Reply, Status> {
        let Way { server, identity, head, query } = self;
        if let Some(review) = reviews::find(target) {
            return reviews::answer(review, server, identity, head, query, target, coming).await;
        }
        let kinds = server.kinds();
        let Some(served) = kinds.served(&target.group, &target.version, &target.resource) else {
            server.authorize(identity, &attributes(head, Some(target), query)).map_err(at_the_door)?;
            return if discovery::is_known(&kinds, &target.group) { Err(no_such_resource()) } else { Ok(nowhere()) };
        };
        let (method, headers, uri, body) = (&head.method, &head.headers, &head.uri, Bytes::new());
        let raw_query = wire::heads::query(uri, &head.extensions);
        let call = Call { server, identity, served, target, method, query, headers, body, uri, raw_query };
        perform(call, accepted, coming).await
    }

    /// Paths outside the API's resources.
    async fn other(self, coming: Coming<'_>) -> Result<Reply, Status> {
        let Way { server, identity, head, query } = self;
        let path = head.uri.path();
        server.authorize(identity, &attributes(head, None, query)).map_err(at_the_door)?;
        let Some((row, rest)) = paths::find(path) else { return Ok(nowhere()) };
        let visit = Visit { server, identity, method: &head.method, rest, query, headers: &head.headers };
        match row.answer {
            Answer::AtOnce(answer) => answer(&visit),
            Answer::ToBody(answer) => answer(&visit, coming.read().await?).await,
        }
    }
}

/// What can be a name in a path (apimachinery api/validation/path); a slash is one more segment, but for what is decoded.
fn is_segment(name: &str) -> Result<(), Status> {
    let why = match name {
        "." | ".." => format!("may not be '{name}'"),
        _ if name.contains('%') => "may not contain '%'".to_owned(),
        _ => return Ok(()),
    };
    Err(Status::bad_request(format!("Name parameter invalid: {}: {why}", api::go::quoted(name))))
}

/// What is refused before any handler is asked (responsewriters/errors.go RespondWithError).
fn at_the_door(status: Status) -> Status {
    Status { nosniff: true, ..status }
}

/// Serves a request about a resource: its body is read once its head is allowed.
async fn perform(
    mut call: Call<'_>,
    accepted: &Result<accept::Accept, Status>,
    coming: Coming<'_>,
) -> Result<Reply, Status> {
    let verb = verbs::verb_of(call.method, call.target, call.query);
    // Whether there is anything there is told to those who may ask (server/config.go: routes come after authorization).
    call.authorize(verb).map_err(at_the_door)?;
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
    // Nor are there namespaces in a namespace, though each is said to be in itself.
    if call.target.inside && !call.target.namespace.is_empty() && !call.kind().namespaced {
        return Err(no_such_resource());
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
    if !matches!(verb, "list" | "watch" | "create" | "deletecollection") {
        is_segment(call.name())?;
    }
    let mut unfit = None;
    if subresource.is_none() {
        let header = call.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        match (accept::fits(header, accepted, verb, &call.served), accepted) {
            // What is no list is found out when it is there.
            (Err(why), Ok(accept::Accept { form: accept::Form::PartialList, .. })) if verb == "get" => {
                unfit = Some(why);
            }
            (fits, _) => fits?,
        }
    }
    if let (Ok(accept::Accept { form: accept::Form::Table, .. }), text) = (accepted, call.query.get("includeObject"))
        && Include::parse(text).is_none()
    {
        return Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {text:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        )));
    }
    // Nobody looks at the body of what only reads (nor does upstream); a proxy passes it on.
    if !call.method.is_safe() || passes_on {
        call.body = coming.read().await?;
    }
    match subresource {
        Some(subresource) => subresources::perform(call, verb, &subresource).await,
        None => match verb {
            "get" => read::get(call).await.and_then(|reply| unfit.map_or(Ok(reply), Err)),
            "list" => read::list(call).await,
            "watch" => watch::watch(call).await,
            "create" => create::create(call).await,
            "update" => update::put(call, "").await,
            "patch" => verbs::patch(call, "").await,
            "delete" => delete::delete(call).await,
            "deletecollection" => delete::delete_collection(call).await,
            _ => Err(method_not_allowed()),
        },
    }
}
