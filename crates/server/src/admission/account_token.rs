//! A Secret of an account gets that account's token, which holds as long as the Secret does.
//!
//! pkg/controller/serviceaccount/tokens_controller.go. The key lies with the server, so that it fills a Secret as it
//! is written; the controller (`controllers::account_tokens`) sends again what had no name yet, and removes what
//! has no account.

use api::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::authorize::Attributes;
use crate::tokens::{LEGACY_ISSUER, Legacy, SECRET_TYPE};

pub const PLUGIN: Plugin =
    Plugin { name: "ServiceAccountToken", operations: &[Operation::Create, Operation::Update], mutate, ..NONE };

const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if !ask.is("secrets") || !ask.subresource.is_empty() || object["type"] != SECRET_TYPE {
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let (secret, annotations) = (text(&object["metadata"]["name"]), &object["metadata"]["annotations"]);
    let (account, uid) = (text(&annotations[NAME]), text(&annotations[UID]));
    let Some(entry) = ask.snapshot().entry("serviceaccounts", ask.namespace, &account) else { return Ok(()) };
    let Ok(known) = api::Object::parse(entry.bytes.clone()) else { return Ok(()) };
    let is_it = uid.is_empty() || uid == known.meta().uid;
    if secret.is_empty() || !is_it || known.meta().is_deleting() {
        return Ok(());
    }
    findings.claim(&entry);
    let server = &ask.server.0;
    let mut put = |key: &str, value: String| object["data"][key] = json!(STANDARD.encode(value));
    put("ca.crt", ask.server.authority().to_string());
    put("namespace", ask.namespace.to_string());
    let has_token = object["data"]["token"].as_str().is_some_and(|token| !token.is_empty());
    // The answer shows it: only to who may read it. Else the controller sends the Secret again.
    let reads = Attributes {
        verb: "get".into(),
        version: "v1".into(),
        resource: "secrets".into(),
        namespace: ask.namespace.into(),
        name: secret.clone(),
        ..Attributes::default()
    };
    if !has_token && !ask.server.may(ask.identity, &reads) {
        return Ok(());
    }
    if !has_token {
        let claims = Legacy {
            iss: LEGACY_ISSUER.into(),
            namespace: ask.namespace.into(),
            secret,
            uid: known.meta().uid.clone(),
            sub: format!("system:serviceaccount:{}:{account}", ask.namespace),
            account,
        };
        object["data"]["token"] = json!(STANDARD.encode(server.tokens.sign_legacy(&claims)));
    }
    object["metadata"]["annotations"][UID] = json!(known.meta().uid);
    Ok(())
}
