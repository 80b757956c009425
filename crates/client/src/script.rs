//! A scripted transport for tests: a function answers each request, and all are remembered.

use std::sync::{Arc, Mutex};

use api::{Reason, Status};
use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::transport::Boxed;
use crate::{Body, Client, Reply, Transport};

/// A request as a test looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `GET /api/v1/pods?watch=true`
    pub line: String,
    pub content: String,
    pub body: Value,
}

type Answer = Box<dyn Fn(&Asked) -> Result<Reply, Status> + Send + Sync>;

pub(crate) struct Script {
    answer: Answer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    pub fn client(
        answer: impl Fn(&Asked) -> Result<Reply, Status> + Send + Sync + 'static,
    ) -> (Client, Arc<Mutex<Vec<Asked>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        (Client::new(Arc::new(Script { answer: Box::new(answer), asked: asked.clone() })), asked)
    }
}

impl Transport for Script {
    fn call(&self, request: Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        let content = request.headers().get("content-type").map(|v| v.to_str().unwrap().to_string());
        let asked = Asked {
            line: format!("{} {}", request.method(), request.uri()),
            content: content.unwrap_or_default(),
            body: serde_json::from_slice(request.body()).unwrap_or(Value::Null),
        };
        self.asked.lock().unwrap().push(asked.clone());
        let reply = (self.answer)(&asked);
        Box::pin(async move { reply })
    }
}

pub(crate) fn ok(body: Value) -> Result<Reply, Status> {
    reply(200, Body::Bytes(body.to_string().into()))
}

pub(crate) fn refused(status: Status) -> Result<Reply, Status> {
    reply(status.code, Body::Bytes(status.to_value().to_string().into()))
}

pub(crate) fn silent() -> Result<Reply, Status> {
    Err(Status::new(Reason::ServiceUnavailable, "nobody is there"))
}

/// A watch whose lines the test sends; it ends when the sender goes.
pub(crate) fn watch() -> (mpsc::UnboundedSender<Value>, Result<Reply, Status>) {
    let (lines, mut queue) = mpsc::unbounded_channel::<Value>();
    let stream = futures::stream::poll_fn(move |cx| queue.poll_recv(cx));
    let stream = stream.map(|line| Ok(Bytes::from(format!("{line}\n"))));
    (lines, reply(200, Body::Stream(Box::pin(stream))))
}

pub(crate) fn pod(name: &str, revision: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default",
        "uid": format!("uid-{name}"), "resourceVersion": revision.to_string()}})
}

pub(crate) fn pods(items: &[Value], revision: u64) -> Result<Reply, Status> {
    ok(json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": revision.to_string()},
        "items": items}))
}

fn reply(code: u16, body: Body) -> Result<Reply, Status> {
    let status = http::StatusCode::from_u16(code).unwrap();
    Ok(Reply { status, headers: http::HeaderMap::new(), body })
}
