//! The way of a request: who, as whom, how many, may they; only then its body, its verb, its answer.
//!
//! One order for HTTPS and for the parts inside the process (apiserver pkg/server/config.go
//! DefaultBuildHandlerChain). Everything up to the body is decided on the head: whoever may not do what
//! is asked costs no memory. Nothing but `Inflow::read` reads a body.

use std::sync::Arc;
use std::time::Duration;

use api::{Reason, Status};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kinds::print::Include;
use wire::places::{Place, Proof};
use wire::query::Query;

use crate::answer::Reply;
use crate::authenticate::{authenticate, unauthorized};
use crate::authorize::{self, Attributes};
use crate::flow::{Arriving, Cost, Flow, Permit};
use crate::identity::{ANONYMOUS, Identity, MASTERS};
use crate::node_keys::Certificate;
use crate::render::Outcome;
use crate::route::{self, Target};
use crate::verbs::{self, Call};
use crate::{Server, accept, discovery, health, impersonate, join, openapi, reviews, slow};

/// The largest request body (config.go MaxRequestBodyBytes).
pub const BODY_MAX: usize = 3 << 20;
/// For a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a body that nobody wants so much is read, and so long, lest its sender misses the answer (net/http
/// maxPostHandlerReadBytes): most clients look for one when they have sent all.
const UNWANTED_MAX: usize = 256 << 10;
/// Of one whose sender is known: any that is refused for its size, unless it is no mistake.
const UNWANTED_OF_KNOWN_MAX: usize = 8 * BODY_MAX;
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(10);

/// A body that has not been read yet.
pub enum Inflow {
    /// Of a part inside the process.
    Here(Bytes),
    /// From the network.
    Wire(Incoming),
    /// Read already.
    Spent,
}

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

async fn serve(
    server: &Server,
    identity: &Identity,
    head: &mut Parts,
    body: &mut Inflow,
    flow: Option<&Arc<Flow>>,
    permit: &mut Option<Permit>,
) -> Outcome {
    let media = head.headers.get(header::CONTENT_TYPE).cloned();
    let media = media.as_ref().and_then(|v| v.to_str().ok()).unwrap_or_default();
    let text = |name: header::HeaderName| head.headers.get(name).and_then(|v| v.to_str().ok());
    let gzip = text(header::ACCEPT_ENCODING).is_some_and(|v| v.split(',').any(|e| e.trim().starts_with("gzip")));
    let accepted = accept::negotiate(text(header::ACCEPT));
    let query = Query::parse(wire::heads::query(&head.uri, &head.extensions));
    let include = Include::parse(query.get("includeObject")).unwrap_or_default();
    let target = route::parse(head.uri.path());
    let asked = || attributes(head, target.as_ref(), &query);
    let decide = |who: &Identity, asked: &Attributes| authorize::authorize(who, asked, &server.0.snapshot);
    let reply = match impersonate::impersonated(identity, &head.headers, asked, &decide) {
        Err(refused) => Err(refused),
        Ok(other) => {
            let identity = other.as_ref().unwrap_or(identity);
            // Who it was, and how they proved it, goes no further than here.
            impersonate::forget(&mut head.headers);
            let admitted = flow.map(|flow| flow.admit(identity, cost(head, target.as_ref(), &query))).transpose();
            match admitted {
                Err(refused) => Err(refused),
                Ok(admitted) => {
                    *permit = admitted.flatten();
                    let coming = Coming { body, permit, flow, media };
                    let way = Way { server, identity, head, query: &query };
                    match &target {
                        Some(target) => way.resource(target, &accepted, coming).await,
                        None => way.other(coming).await,
                    }
                }
            }
        }
    };
    Outcome { accept: accepted.unwrap_or(accept::PLAIN), include, gzip, reply }
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

/// A body and the room that it may take.
pub struct Coming<'a> {
    body: &'a mut Inflow,
    permit: &'a mut Option<Permit>,
    flow: Option<&'a Arc<Flow>>,
    /// The body's type.
    media: &'a str,
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
        let served = server.kinds().served(&target.group, &target.version, &target.resource);
        let served = served.ok_or_else(verbs::no_such_resource)?;
        if let (true, Err(refused)) = (target.subresource.is_empty(), accepted) {
            return Err(refused.clone());
        }
        let (method, headers, uri, body) = (&head.method, &head.headers, &head.uri, Bytes::new());
        let raw_query = wire::heads::query(uri, &head.extensions);
        let call = Call { server, identity, served, target, method, query, headers, body, uri, raw_query };
        verbs::perform(call, coming).await
    }

    /// Paths outside the API's resources.
    async fn other(self, coming: Coming<'_>) -> Result<Reply, Status> {
        let Way { server, identity, head, query } = self;
        let path = head.uri.path();
        server.authorize(identity, &attributes(head, None, query))?;
        if let Some(response) = health::perform(server, path, query) {
            return Ok(Reply::ready(response));
        }
        if path == join::AUTHORITY_PATH {
            return Ok(join::authority(server));
        }
        if path == join::PATH {
            return join::perform(server, identity, &coming.read().await?).await;
        }
        if let Some(response) = openapi::perform(server, path, query, &head.headers) {
            return response.map(Reply::ready);
        }
        if let Some(response) = discovery::perform(server, path, &head.headers) {
            return Ok(Reply::ready(response));
        }
        Err(verbs::no_such_resource())
    }
}

impl Coming<'_> {
    /// The whole body. Its sender may do what the head asks for: nobody else's is read.
    ///
    /// # Errors
    /// 413 for one too large, 429 where there is no room, 504 for one that does not come.
    pub async fn read(self) -> Result<Bytes, Status> {
        let mut body = match std::mem::replace(self.body, Inflow::Spent) {
            Inflow::Here(bytes) => return Ok(bytes),
            Inflow::Spent => return Ok(Bytes::new()),
            Inflow::Wire(body) if body.is_end_stream() => return Ok(Bytes::new()),
            Inflow::Wire(body) => body,
        };
        let read = match body.size_hint().lower() > BODY_MAX as u64 {
            true => Err(too_large()),
            false => {
                let whole = collect(&mut body, self.permit.as_mut(), self.flow);
                tokio::time::timeout(BODY_TIMEOUT, whole).await.map_err(|_| late())?
            }
        };
        let read = read.and_then(|body| match &mut *self.permit {
            Some(permit) if slow::is_slow(&body, self.media) => permit.weigh(slow::COSTS * body.len()).map(|()| body),
            _ => Ok(body),
        });
        // Put back: what still comes of it is not wanted.
        read.inspect_err(|_| *self.body = Inflow::Wire(body))
    }
}

async fn collect(
    body: &mut Incoming,
    mut permit: Option<&mut Permit>,
    flow: Option<&Arc<Flow>>,
) -> Result<Bytes, Status> {
    let mut arriving = flow.filter(|_| permit.is_none()).map(|flow| Arriving::new(flow));
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(error.to_string()))?;
        let Ok(piece) = frame.into_data() else { continue };
        if first.len().max(all.len()) + piece.len() > BODY_MAX {
            return Err(too_large());
        }
        if let Some(permit) = &mut permit {
            permit.take(piece.len())?;
        }
        if let Some(arriving) = &mut arriving {
            arriving.take(piece.len())?;
        }
        // Most bodies come in one piece, which is taken as it is.
        match (first.is_empty(), all.is_empty()) {
            (true, true) => first = piece,
            (false, true) => {
                all.reserve(first.len() + piece.len());
                all.extend_from_slice(&first);
                all.extend_from_slice(&piece);
            }
            _ => all.extend_from_slice(&piece),
        }
    }
    let body = if all.is_empty() { first } else { all.freeze() };
    Ok(match permit {
        Some(permit) => permit.hold(body),
        None => body,
    })
}

fn late() -> Status {
    let message = format!("the request's body was not there after {} seconds", BODY_TIMEOUT.as_secs());
    Status::new(Reason::Timeout, message)
}

fn too_large() -> Status {
    Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {BODY_MAX}"))
}

impl Inflow {
    /// Takes the rest of a body that nobody wants, if it is short: its sender would else be cut off before
    /// it has read why.
    fn discard(self, headers: &HeaderMap, most: usize) {
        let Inflow::Wire(mut body) = self else { return };
        // Who waits to be told to go on sends nothing.
        if body.is_end_stream() || headers.contains_key(header::EXPECT) {
            return;
        }
        tokio::spawn(tokio::time::timeout(UNWANTED_TIMEOUT, async move {
            let mut left = most;
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        }));
    }
}
