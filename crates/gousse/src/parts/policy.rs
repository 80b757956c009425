//! What holds a node's pods to NetworkPolicies, as the node asks it.

use std::net::IpAddr;
use std::sync::Arc;

use net::Net;
use node::Subject;
use proxy::policy::{Keeper, NamedPort, Pod, protocol};
use runtime::engine::Boxed;

/// The keeper of policies as the gate of a node's network.
pub struct Policies(pub Arc<Keeper>);

impl node::Gate for Policies {
    fn enter<'a>(
        &'a self,
        net: &'a Net,
        id: &'a str,
        pod: Subject,
        addresses: &'a [IpAddr],
    ) -> Boxed<'a, Result<(), net::Error>> {
        let ports = pod.ports.into_iter().filter_map(|(kind, name, number)| {
            let protocol = protocol(&kind)?;
            Some(NamedPort { protocol, name, number })
        });
        let pod = Pod {
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
            labels: pod.labels,
            ports: ports.collect(),
            ..Pod::default()
        };
        Box::pin(self.0.enter(net, id, pod, addresses))
    }

    fn leave<'a>(&'a self, id: &'a str) -> Boxed<'a, ()> {
        Box::pin(self.0.leave(id))
    }
}
