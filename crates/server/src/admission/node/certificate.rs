//! For whom a node gets a certificate: a pod of its own, by a signer that the pod names.
//!
//! plugin/pkg/admission/noderestriction admitPodCertificateRequest. It cannot lag behind here, so that what
//! upstream lets a node try again is refused for good.

use api::Status;
use serde_json::Value;

use crate::admission::{Ask, Operation, each, is_mirror};
use crate::authorize::Attributes;

pub fn asked(ask: &Ask<'_>, request: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(ask.forbidden(request, &why));
    if (ask.operation, ask.subresource) != (Operation::Create, "") {
        return refuse(format!("unexpected operation {:?} on {:?} by node {node:?}", ask.operation, ask.subresource));
    }
    let spec = |field: &str| request["spec"][field].as_str().unwrap_or_default();
    if spec("nodeName") != node {
        let named = spec("nodeName");
        return refuse(format!(
            "PodCertificateRequest.Spec.NodeName={named:?}, which is not the requesting node {node:?}"
        ));
    }
    let read = |plural: &str, namespace: &str, name: &str| {
        let found = ask.snapshot().object(plural, namespace, name);
        found.ok_or_else(|| Status::not_found("", plural, name))
    };
    let same = |what: &str, asked: &str, found: &str| match asked == found {
        true => Ok(()),
        false => refuse(format!("PodCertificateRequest names {what} UID {asked:?}, which differs from {found:?}")),
    };
    same("node", spec("nodeUID"), &read("nodes", "", node)?.meta().uid)?;
    let pod = read("pods", ask.namespace, spec("podName"))?;
    same("pod", spec("podUID"), &pod.meta().uid)?;
    let (pod, name) = (pod.value(), format!("{}/{}", ask.namespace, spec("podName")));
    if pod["spec"]["nodeName"] != node {
        return refuse(format!("pod {name:?} is not running on node {node:?} named in the PodCertificateRequest"));
    }
    if is_mirror(&pod) {
        return refuse(format!("pod {name:?} is a mirror pod"));
    }
    let (account, own) = (spec("serviceAccountName"), &pod["spec"]["serviceAccountName"]);
    if own != account {
        return refuse(format!(
            "PodCertificateRequest for pod {name:?} contains serviceAccountName ({account:?}) that differs from running \
             pod ({own})"
        ));
    }
    same("service account", spec("serviceAccountUID"), &read("serviceaccounts", ask.namespace, account)?.meta().uid)?;
    let signer = spec("signerName");
    let mut sources = each(&pod["spec"]["volumes"]).flat_map(|volume| each(&volume["projected"]["sources"]));
    if sources.any(|source| source["podCertificate"]["signerName"] == signer) {
        return Ok(());
    }
    // A grant whose resource is the signer, without the slash that no resource has.
    let grant = Attributes {
        verb: "request-serviceaccounts-podcertificate-signer".into(),
        group: ask.kind().group.clone(),
        version: "v1".into(),
        resource: signer.replace('/', ":"),
        namespace: ask.namespace.into(),
        name: account.into(),
        ..Attributes::default()
    };
    ask.server.authorize(ask.identity, &grant).or_else(|_| {
        refuse(format!("pod {name:?} does not mount a podCertificate projected volume for signer {signer:?}"))
    })
}

#[cfg(test)]
mod tests;
