//! What is special to one subresource; the others are data and take the path of the object itself.
//!
//! `status`, `resize`, `ephemeralcontainers` and `finalize` own fields (`kinds` keeps the rest); binding, eviction and token are verbs in disguise; logs, exec and proxies go to a node
//! or a pod.

use api::Status;
use kinds::kind::{Act, Subresource};

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
pub async fn perform(call: Call<'_>, verb: &str, subresource: &Subresource) -> Result<Reply, Status> {
    match (subresource.act, verb) {
        (Act::Bind, _) => binding::bind(call).await,
        (Act::Evict, _) => eviction::evict(call).await,
        (Act::Token, _) => token::request(call).await,
        (Act::Log, _) => node_streams::log(call).await,
        (Act::Exec, _) => node_streams::exec(call).await,
        (Act::PortForward, _) => node_streams::port_forward(call).await,
        (Act::Proxy, _) => proxies::forward(call).await,
        (Act::Part, "update") => change::update(call, subresource.name).await,
        (Act::Part, "patch") => change::patch(call, subresource.name).await,
        (Act::Part, "get") => read::get(call).await,
        (Act::Part, _) => Err(method_not_allowed()),
    }
}
