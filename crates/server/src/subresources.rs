//! What is special to one subresource; the others are data and take the path of the object itself.
//!
//! `status`, `resize`, `ephemeralcontainers` and `finalize` own fields (`kinds` keeps the rest); binding,
//! eviction and token are verbs in disguise; logs, exec and proxies go to a node or a pod.

use api::Status;
use api::schema::{self, Of};
use kinds::kind::{Act, Subresource};
use serde_json::{Map, Value, json};

use crate::admission::{Ask, Operation};
use crate::answer::Reply;
use crate::route::method_not_allowed;
use crate::verbs::{Call, judge, patch, read, update};

/// Sets a pod's node, once.
mod binding;
/// A DELETE that asks the disruption budgets first.
mod eviction;
/// log, exec, attach and portforward: answered by the pod's node.
mod node_streams;
/// HTTP to a pod, a service's endpoint or a node.
mod proxies;
/// How many pods there shall be, of any kind that can be scaled.
mod scale;
/// Tokens of a service account.
mod token;

pub use binding::bind_collection;

/// Serves a request about a subresource; it exists and the verb is among its own.
pub async fn perform(call: Call<'_>, verb: &str, subresource: &Subresource) -> Result<Reply, Status> {
    let connects = matches!(subresource.act, Act::Exec | Act::PortForward | Act::Proxy);
    let warnings = if connects { connect(&call, subresource).await? } else { Vec::new() };
    let reply = match (subresource.act, verb) {
        (Act::Scale, verb) => scale::perform(call, verb).await,
        (Act::Bind, _) => binding::bind(call).await,
        (Act::Evict, _) => eviction::evict(call).await,
        (Act::Token, _) => token::request(call).await,
        (Act::Log, _) => node_streams::log(call).await,
        (Act::Exec, _) => node_streams::exec(call).await,
        (Act::PortForward, _) => node_streams::port_forward(call).await,
        (Act::Proxy, _) => proxies::forward(call).await,
        (Act::Part, "update") => update::put(call, subresource.name).await,
        (Act::Part, "patch") => patch(call, subresource.name).await,
        (Act::Part, "get") => read::get(call).await,
        (Act::Part, _) => Err(method_not_allowed()),
    };
    reply.map(|mut reply| {
        reply.warnings.extend(warnings);
        reply
    })
}

/// What admission says to a connection: its object are the options.
async fn connect(call: &Call<'_>, subresource: &Subresource) -> Result<Vec<String>, Status> {
    // Nothing is tried of what is passed on (handlers/rest.go ConnectResource).
    if call.query.all("dryRun").next().is_some() {
        return Err(Status::bad_request("dryRun is not supported"));
    }
    let schema = format!("io.k8s.api.core.v1.{}", subresource.body_kind);
    let ask = Ask { schema: &schema, ..call.ask(Operation::Connect, subresource.name, false) };
    Ok(judge::bystander(&ask, &mut options(call, subresource.body_kind, &schema)).await?.warnings)
}

/// The options of a connection as an object, from the query.
fn options(call: &Call<'_>, kind: &str, schema: &str) -> Value {
    let mut options = Map::from_iter([("kind".to_string(), json!(kind)), ("apiVersion".into(), json!("v1"))]);
    for field in schema::get(schema).into_iter().flat_map(|of| &of.fields) {
        let mut given = call.query.all(field.name).peekable();
        if given.peek().is_none() {
            continue;
        }
        let value = match &field.of {
            Of::Bool => json!(call.query.flag(field.name)),
            Of::String => json!(call.query.get(field.name)),
            _ => given.map(|one| one.parse::<i64>().map_or_else(|_| json!(one), Value::from)).collect(),
        };
        options.insert(field.name.into(), value);
    }
    // What a proxy passes on is in the path.
    if call.target.tail.len() > 1 {
        options.insert("path".into(), json!(call.target.tail));
    }
    Value::Object(options)
}
