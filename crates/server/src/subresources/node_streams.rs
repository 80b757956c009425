//! `pods/{log,exec,attach,portforward}`: answered by the agent of the pod's node.
//!
//! The request goes on to the node's HTTPS API under the server's own client certificate; upgrades
//! are spliced byte for byte, WebSocket and SPDY alike. Paths and defaults match
//! pkg/registry/core/pod/strategy.go (LogLocation, streamLocation).

use api::{FieldError, Reason, Status};
use base64::Engine as _;
use futures::StreamExt;
use http::Method;
use serde_json::Value;
use wire::websocket::{self, Message};

use crate::answer::{Body, Reply, Response};
use crate::identity::NODES;
use crate::nodes::{self, Outgoing};
use crate::sockets;
use crate::verbs::Call;

/// Options of a log that the node understands under the same names.
const LOG_OPTIONS: &[&str] =
    &["follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "stream", "tailLines", "timestamps"];

pub async fn log(call: Call<'_>) -> Result<Reply, Status> {
    let pod = pod(&call)?;
    check_log_options(&call)?;
    let container = container(&call, &pod)?;
    let Some(node) = node(&pod) else {
        return Ok(Reply::ready(Response::text(http::StatusCode::OK, "")));
    };
    let mut query = Vec::new();
    for name in LOG_OPTIONS {
        let value = call.query.get(name);
        if !value.is_empty() {
            query.push((*name, value.to_string()));
        }
    }
    let path = format!("/containerLogs/{}/{}/{container}", call.namespace(), call.name());
    let unverified = call.query.flag("insecureSkipTLSVerifyBackend");
    let (headers, body) = Default::default();
    let outgoing = Outgoing { method: Method::GET, path, query, headers, body, unverified };
    let response = nodes::send(call.server, node, outgoing, false).await?;
    if !response.status.is_success() {
        return Err(refused(&call, response).await);
    }
    match websocket::is_asked(call.headers) {
        true => Ok(Reply::ready(log_over_websocket(call.headers, response)?)),
        false => Ok(Reply::ready(response)),
    }
}

/// Each piece of a log as one message (apimachinery wsstream Reader).
fn log_over_websocket(headers: &http::HeaderMap, log: Response) -> Result<Response, Status> {
    let protocols = &["", "binary.k8s.io", "base64.binary.k8s.io"];
    let accepted = websocket::accept(headers, protocols).map_err(Status::bad_request)?;
    let base64 = accepted.protocol.starts_with("base64");
    let pieces = match log.body {
        Body::Stream(pieces) => pieces,
        _ => Box::pin(futures::stream::empty()),
    };
    let whole = pieces.take_while(|piece| std::future::ready(piece.is_ok())).filter_map(async |piece| piece.ok());
    let messages = whole.map(move |piece| match base64 {
        true => Message::text(base64::engine::general_purpose::STANDARD.encode(&piece)),
        false => Message::binary(piece),
    });
    Ok(sockets::send(accepted, messages))
}

/// exec and attach.
pub async fn exec(call: Call<'_>) -> Result<Reply, Status> {
    let verb = call.target.subresource.as_str();
    // Since 1.35 a websocket's GET needs what SPDY's POST has always needed.
    if call.method == Method::GET && !call.identity.is_in(NODES) {
        call.authorize("create")?;
    }
    let pod = pod(&call)?;
    let container = container(&call, &pod)?;
    let mut query: Vec<(&str, String)> = Vec::new();
    for (name, wire) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if call.query.flag(name) {
            query.push((wire, "1".into()));
        }
    }
    if !query.iter().any(|(name, _)| *name != "tty") {
        let error = FieldError::required("", "must specify at least one of stdin, stdout, stderr");
        let kind = if verb == "exec" { "PodExecOptions" } else { "PodAttachOptions" };
        return Err(Status::invalid("", kind, call.name(), &[error]));
    }
    if verb == "exec" {
        let command: Vec<&str> = call.query.all("command").collect();
        if command.is_empty() {
            return Err(Status::invalid("", "PodExecOptions", call.name(), &[FieldError::required("command", "")]));
        }
        query.extend(command.into_iter().map(|word| ("command", word.to_string())));
    }
    let path = format!("/{verb}/{}/{}/{container}", call.namespace(), call.name());
    upgrade(call, &pod, path, query).await
}

pub async fn port_forward(call: Call<'_>) -> Result<Reply, Status> {
    if call.method == Method::GET && !call.identity.is_in(NODES) {
        call.authorize("create")?;
    }
    let pod = pod(&call)?;
    let ports = call.query.all("ports").flat_map(|p| p.split(','));
    let query = ports.map(|port| ("port", port.to_string())).collect();
    let path = format!("/portForward/{}/{}", call.namespace(), call.name());
    upgrade(call, &pod, path, query).await
}

/// Goes on to the node with the client's headers; what comes back is passed through.
async fn upgrade(call: Call<'_>, pod: &Value, path: String, query: Vec<(&str, String)>) -> Result<Reply, Status> {
    let Some(node) = node(pod) else {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", call.name())));
    };
    if !wire::upgrade::is_asked(call.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let outgoing = Outgoing {
        method: call.method.clone(),
        path,
        query,
        headers: call.headers.clone(),
        body: call.body.clone(),
        unverified: false,
    };
    Ok(Reply::ready(nodes::send(call.server, node, outgoing, true).await?))
}

fn pod(call: &Call<'_>) -> Result<Value, Status> {
    call.server.0.snapshot.value("pods", call.namespace(), call.name()).ok_or_else(|| call.not_found(call.name()))
}

fn node(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty())
}

/// The container asked for, or the only one there is.
fn container(call: &Call<'_>, pod: &Value) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
    };
    let (regular, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let asked = call.query.get("container");
    if asked.is_empty() {
        if let [only] = regular[..]
            && init.is_empty()
            && ephemeral.is_empty()
        {
            return Ok(only.into());
        }
        if let [only] = regular[..] {
            return Ok(only.into());
        }
        let mut message = format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            call.name(),
            regular.join(" ")
        );
        if !init.is_empty() {
            message += &format!(" or one of the init containers: [{}]", init.join(" "));
        }
        return Err(Status::bad_request(message));
    }
    let all = [regular, init, ephemeral].concat();
    if !all.contains(&asked) {
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {}", call.name())));
    }
    Ok(asked.into())
}

/// PodLogOptions (validation.go ValidatePodLogOptions).
fn check_log_options(call: &Call<'_>) -> Result<(), Status> {
    let mut errors = Vec::new();
    let mut number = |field: &str, least: i64, detail: &str| {
        let text = call.query.get(field);
        if text.is_empty() {
            return;
        }
        match text.parse::<i64>() {
            Ok(n) if n >= least => {}
            Ok(n) => errors.push(FieldError::invalid(field, &n.into(), detail)),
            Err(_) => errors.push(FieldError::invalid(field, &text.into(), "must be an integer")),
        }
    };
    number("tailLines", 0, "must be greater than or equal to 0");
    number("limitBytes", 1, "must be greater than 0");
    number("sinceSeconds", 1, "must be greater than 0");
    if !call.query.get("sinceSeconds").is_empty() && !call.query.get("sinceTime").is_empty() {
        errors.push(FieldError::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("", "PodLogOptions", call.name(), &errors)),
    }
}

/// A node's refusal in the API's words (registry/generic/rest/response_checker.go,
/// api/errors NewGenericServerResponse).
async fn refused(call: &Call<'_>, response: Response) -> Status {
    let code = response.status.as_u16();
    let text = nodes::text_of(response.body).await;
    let (reason, message) = match code {
        400 => return Status::bad_request(text),
        500 => return Status::internal(text),
        401 => (Reason::Unauthorized, "the server has asked for the client to provide credentials".into()),
        403 => (Reason::Forbidden, text),
        404 => (Reason::NotFound, "the server could not find the requested resource".into()),
        405 => (Reason::MethodNotAllowed, "the server does not allow this method on the requested resource".into()),
        409 => (Reason::Conflict, "the server reported a conflict".into()),
        503 => (Reason::ServiceUnavailable, "the server is currently unable to handle the request".into()),
        _ => {
            let message = format!("an error on the server ({text:?}) has prevented the request from succeeding");
            (Reason::InternalError, message)
        }
    };
    let message = format!("{message} ( pods {})", call.name());
    Status { code, ..Status::new(reason, message) }.about("", "pods", call.name())
}
