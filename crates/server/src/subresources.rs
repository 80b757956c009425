//! What is special to one subresource; the others are data and take the path of the object itself.
//!
//! `status`, `resize`, `ephemeralcontainers` and `finalize` own fields (the kind's `prepare` keeps
//! the rest); binding, eviction and token are verbs in disguise; logs, exec and proxies go to a node
//! or a pod.

use api::Status;
use api::kind::Subresource;

use crate::answer::Reply;
use crate::verbs::{Call, change, method_not_allowed, read};

/// Sets a pod's node, once.
mod binding;
/// A DELETE that asks the disruption budgets first.
mod eviction;
/// log, exec, attach and portforward: answered by the pod's node.
mod node_streams;
/// HTTP to a pod, a service's endpoint or a node.
mod proxies;
/// Tokens of a service account.
mod token;

pub use binding::bind_collection;

/// Serves a request about a subresource; it exists and the verb is among its own.
pub async fn perform(call: Call<'_>, verb: &str, subresource: &'static Subresource) -> Result<Reply, Status> {
    match (call.kind().plural, subresource.name, verb) {
        ("pods", "binding", "create") => binding::bind(call).await,
        ("pods", "eviction", "create") => eviction::evict(call).await,
        ("serviceaccounts", "token", "create") => token::request(call).await,
        ("pods", "log", _) => node_streams::log(call).await,
        ("pods", "exec" | "attach", _) => node_streams::exec(call).await,
        ("pods", "portforward", _) => node_streams::port_forward(call).await,
        (_, "proxy", _) => proxies::forward(call).await,
        (_, name, "update") => change::update(call, name).await,
        (_, name, "patch") => change::patch(call, name).await,
        (_, _, "get") => read::get(call).await,
        _ => Err(method_not_allowed()),
    }
}
