//! Certificates of pods: a request for each source of a volume, its signer's answer, renewals in time.
//!
//! pkg/kubelet/podcertificate. Nothing outlives the agent: a restarted one asks for everything anew. What
//! a signer refused once it has refused for good.

use api::resource::{NODES, POD_CERTIFICATE_REQUESTS, SERVICE_ACCOUNTS};
use api::{later, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kinds::certificates::x509;
use serde_json::{Value, json};

use super::{Live, lock};
use crate::keys::{self, Key};
use crate::sources::{CertificateRequest, Credential, Source};

/// Renewals of one signer's certificates do not come all at once.
const JITTER: u64 = 5 * 60;
/// Seconds until a renewal that could not be asked for is tried again.
const RETRY: i64 = 10;
const NOT_YET: &str = "credential bundle is not issued yet";

/// How far one certificate is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    fresh: Option<Fresh>,
    asked: Option<Asked>,
    /// Why there will be none.
    refused: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Fresh {
    credential: Credential,
    /// Seconds since the epoch; from then on another one is asked for.
    renew_at: i64,
}

/// A request that waits for its signer.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    name: String,
    key: String,
}

/// What a signer said.
#[derive(Debug, PartialEq)]
enum Answer {
    Nothing,
    Refused(String),
    Issued { chain: String, renew_from: Timestamp },
}

/// What is to be done for a pod that needs its certificate.
#[derive(Debug, PartialEq)]
enum Step {
    Give(Credential),
    Refuse(String),
    /// See what became of the request of this name.
    Look(String),
    Ask,
}

impl Held {
    /// When it is to be looked at again, unless something happens before.
    pub fn due(&self) -> Option<i64> {
        let waits = self.asked.is_some() || self.refused.is_some();
        self.fresh.as_ref().filter(|_| !waits).map(|fresh| fresh.renew_at)
    }

    fn next(&self, now: i64) -> Step {
        match (&self.refused, &self.asked, &self.fresh) {
            (Some(why), _, _) => Step::Refuse(why.clone()),
            (None, Some(asked), _) => Step::Look(asked.name.clone()),
            (None, None, Some(fresh)) if now < fresh.renew_at => Step::Give(fresh.credential.clone()),
            (None, None, _) => Step::Ask,
        }
    }

    /// What there is to give meanwhile.
    fn meanwhile(&self) -> Result<Credential, String> {
        let credential = self.fresh.as_ref().map(|fresh| fresh.credential.clone());
        credential.ok_or_else(|| NOT_YET.to_owned())
    }

    /// The request was seen; None: it is gone, and another one will be made.
    fn saw(&mut self, request: Option<&Value>, jitter: i64) {
        match request.map(answer) {
            None => self.asked = None,
            Some(Answer::Nothing) => {}
            Some(Answer::Refused(why)) => *self = Held { refused: Some(why), ..Held::default() },
            Some(Answer::Issued { chain, renew_from }) => {
                if let Some(Asked { key, .. }) = self.asked.take() {
                    let renew_at = later(renew_from, jitter).as_second();
                    self.fresh = Some(Fresh { credential: Credential { key, chain }, renew_at });
                }
            }
        }
    }
}

impl Live {
    pub(super) async fn fresh_certificate(&self, request: &CertificateRequest) -> Result<Credential, String> {
        let mut held = lock(&self.certificates).get(request).cloned().unwrap_or_default();
        // A request that is gone is followed by another one, and no more at once.
        for _ in 0..2 {
            let now = (self.clock)().as_second();
            match held.next(now) {
                Step::Give(credential) => return Ok(credential),
                Step::Refuse(why) => return Err(why),
                Step::Look(name) => {
                    let place = (request.namespace.clone(), Source::certificate_requests());
                    let seen = self.one(&place, &name).await?;
                    held.saw(seen.map(|object| object.value()).as_ref(), self.jitter());
                    self.keep(request, &held);
                    if held.asked.is_some() {
                        return held.meanwhile();
                    }
                }
                Step::Ask => match (self.ask_for(request).await, &mut held.fresh) {
                    (Ok(asked), _) => {
                        held.asked = Some(asked);
                        self.keep(request, &held);
                        return held.meanwhile();
                    }
                    (Err(why), None) => return Err(why),
                    // An old one is better than none.
                    (Err(why), Some(fresh)) => {
                        tracing::warn!(pod = %request.pod_name, "a certificate is not renewed: {why}");
                        fresh.renew_at = now + RETRY;
                        self.keep(request, &held);
                        return held.meanwhile();
                    }
                },
            }
        }
        match held.next((self.clock)().as_second()) {
            Step::Refuse(why) => Err(why),
            _ => held.meanwhile(),
        }
    }

    fn keep(&self, request: &CertificateRequest, held: &Held) {
        lock(&self.certificates).insert(request.clone(), held.clone());
    }

    fn jitter(&self) -> i64 {
        let mut bytes = [0; 8];
        (self.entropy)(&mut bytes);
        (u64::from_le_bytes(bytes) % JITTER) as i64
    }

    /// Makes a key, which stays here, and a request for it, which goes with the pod.
    async fn ask_for(&self, request: &CertificateRequest) -> Result<Asked, String> {
        let namespace = &request.namespace;
        let account = self.client.get(&SERVICE_ACCOUNTS, namespace, &request.service_account).await;
        let account = account.map_err(|status| format!("while fetching service account: {}", status.message))?;
        let node = self.client.get(&NODES, "", &self.node).await;
        let node = node.map_err(|status| format!("while getting node object: {}", status.message))?;
        let kind = request.key_type.clone();
        let made = tokio::task::spawn_blocking(move || keys::make(&kind)).await.map_err(|why| why.to_string())?;
        let Key { pem, request: stub } = made.map_err(|why| format!("while generating keypair: {why}"))?;
        let mut spec = json!({
            "signerName": request.signer,
            "podName": request.pod_name,
            "podUID": request.pod_uid,
            "serviceAccountName": request.service_account,
            "serviceAccountUID": account.meta().uid,
            "nodeName": self.node,
            "nodeUID": node.meta().uid,
            "stubPKCS10Request": STANDARD.encode(stub),
        });
        if let Some(seconds) = request.seconds {
            spec["maxExpirationSeconds"] = json!(seconds);
        }
        if !request.annotations.is_empty() {
            spec["unverifiedUserAnnotations"] = json!(request.annotations);
        }
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": request.pod_name, "uid": request.pod_uid});
        let object = json!({
            "apiVersion": POD_CERTIFICATE_REQUESTS.api_version(),
            "kind": POD_CERTIFICATE_REQUESTS.kind,
            "metadata": {"generateName": "req-", "namespace": namespace, "ownerReferences": [owner]},
            "spec": spec,
        });
        let made = self.client.create(&POD_CERTIFICATE_REQUESTS, namespace, &object).await;
        let made = made.map_err(|status| format!("while creating PodCertificateRequest: {}", status.message))?;
        Ok(Asked { name: made.meta().name.clone(), key: pem })
    }
}

fn answer(request: &Value) -> Answer {
    let said = |kind: &str| tree::list(request, "status.conditions").iter().find(|c| c["type"] == kind);
    for (kind, word) in [("Denied", "denied"), ("Failed", "failed")] {
        if let Some(condition) = said(kind) {
            let (reason, message) = (tree::text(condition, "reason"), tree::text(condition, "message"));
            return Answer::Refused(format!(
                "PodCertificateRequest was permanently {word}: reason={reason:?} message={message:?}"
            ));
        }
    }
    let renew_from = tree::text(request, "status.beginRefreshAt").parse();
    match (said("Issued"), renew_from) {
        (Some(_), Ok(renew_from)) => {
            Answer::Issued { chain: clean(tree::text(request, "status.certificateChain")), renew_from }
        }
        _ => Answer::Nothing,
    }
}

/// Certificates and nothing else.
fn clean(chain: &str) -> String {
    x509::blocks(chain).into_iter().map(|block| x509::written("CERTIFICATE", block.into_contents())).collect()
}

#[cfg(test)]
mod tests;
