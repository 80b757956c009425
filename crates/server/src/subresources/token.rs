//! `serviceaccounts/token`: a TokenRequest (pkg/registry/core/serviceaccount/storage/token.go).

use api::managed::{self, Write};
use api::{FieldError, Status};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::admission::{Ask, Operation};
use crate::answer::{Payload, Reply};
use crate::tokens::{Bound, Claims, ISSUER, Named};
use crate::verbs::options::WriteOptions;
use crate::verbs::{Call, judge};
use crate::write;
use api::seconds;

const GROUP: &str = "authentication.k8s.io";
const API_VERSION: &str = "authentication.k8s.io/v1";
const SCHEMA: &str = "io.k8s.api.authentication.v1.TokenRequest";
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
const DEFAULT: i64 = 3600;
/// What the built-in volume asks for; such tokens live a year and warn after an hour, for clients
/// that read them only once.
const EXTENDED: i64 = 3607;
const YEAR: i64 = 365 * 24 * 3600;

pub async fn request(call: Call<'_>) -> Result<Reply, Status> {
    let options = WriteOptions::of(&call)?;
    let decoded = call.decode(SCHEMA, options.validation)?;
    let mut request = decoded.value;
    let ask = Ask { schema: SCHEMA, ..call.ask(Operation::Create, "token", options.dry_run) };
    let findings = judge::bystander(&ask, &mut request).await?;
    let (namespace, name) = (call.namespace(), call.name());
    for (field, own) in [("name", name), ("namespace", namespace)] {
        let given = &request["metadata"][field];
        if given.as_str().is_some_and(|given| !given.is_empty() && given != own) {
            let detail = format!("must match the service account {field} if specified");
            let error = FieldError::invalid(&format!("metadata.{field}"), given, &detail);
            return Err(Status::invalid(GROUP, "TokenRequest", name, &[error]));
        }
    }
    let account =
        call.server.0.snapshot.object("serviceaccounts", namespace, name).ok_or_else(|| call.not_found(name))?;
    let uid = account.meta().uid.clone();
    let asked = request["metadata"]["uid"].as_str().unwrap_or_default();
    if !asked.is_empty() && asked != uid {
        let why =
            format!("the UID in the token request ({asked}) does not match the UID of the service account ({uid})");
        return Err(Status::conflict(GROUP, "TokenRequest", name, &why));
    }
    let spec = &mut request["spec"];
    if !spec.is_object() {
        *spec = json!({});
    }
    let expires = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT);
    spec["expirationSeconds"] = json!(expires);
    let asked_for = request.clone();
    let spec = &mut request["spec"];
    if spec.get("boundObjectRef").is_none() {
        spec["boundObjectRef"] = Value::Null;
    }
    if let Some(error) = out_of_range(expires) {
        return Err(Status::invalid(GROUP, "TokenRequest", "", &[error]));
    }
    let mut bound = Bound {
        namespace: namespace.into(),
        serviceaccount: Named { name: name.into(), uid: uid.clone() },
        ..Bound::default()
    };
    bind(&call, &spec["boundObjectRef"], &mut bound)?;
    let audiences = spec["audiences"].as_array().into_iter().flatten();
    let mut audiences: Vec<String> = audiences.filter_map(|a| a.as_str().map(String::from)).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.into());
        spec["audiences"] = json!(audiences);
    }
    let now = (call.server.0.config.clock)();
    let (issued, mut lifetime) = (now.as_second(), expires);
    if expires == EXTENDED && audiences.iter().all(|a| a == ISSUER) && bound.pod.is_some() {
        bound.warnafter = Some(issued + expires);
        lifetime = YEAR;
    }
    let mut claims = Claims {
        aud: audiences,
        exp: issued + lifetime,
        iat: issued,
        nbf: issued,
        iss: ISSUER.into(),
        jti: String::new(),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        bound,
    };
    let token = call.server.0.tokens.sign(&mut claims);
    let end: Timestamp = now + SignedDuration::from_secs(expires);
    let time = call.server.now();
    let owner = Write {
        schema: SCHEMA,
        api_version: API_VERSION,
        manager: &options.manager,
        subresource: "token",
        time: &time,
        resets: &[],
    };
    // Whoever asks owns what was asked for, not what the server makes of it.
    let mut owned = asked_for;
    managed::update(&owner, None, &mut owned);
    if let Some(fields) = owned["metadata"].get("managedFields") {
        write::metadata(&mut request).insert("managedFields".into(), fields.clone());
    }
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!(API_VERSION);
    let metadata = write::metadata(&mut request);
    metadata.insert("name".into(), name.into());
    metadata.insert("namespace".into(), namespace.into());
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), seconds(now).into());
    request["status"] = json!({"token": token, "expirationTimestamp": seconds(end)});
    Ok(Reply::new(StatusCode::CREATED, Payload::Value(request)).warned([decoded.warnings, findings.warnings].concat()))
}

fn out_of_range(expires: i64) -> Option<FieldError> {
    let field = "spec.expirationSeconds";
    let value = json!(expires);
    match expires {
        short if short < SHORTEST => {
            Some(FieldError::invalid(field, &value, "may not specify a duration less than 10 minutes"))
        }
        long if long > LONGEST => {
            Some(FieldError::invalid(field, &value, "may not specify a duration larger than 2^32 seconds"))
        }
        _ => None,
    }
}

/// Looks up what the token is to end with.
fn bind(call: &Call<'_>, reference: &Value, bound: &mut Bound) -> Result<(), Status> {
    if !reference.is_object() {
        return Ok(());
    }
    let text = |field: &str| reference[field].as_str().unwrap_or("");
    let (name, uid) = (text("name").to_string(), text("uid"));
    let snapshot = &call.server.0.snapshot;
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let (resource, namespace) = match (group, text("kind")) {
        ("", "Pod") => ("pods", call.namespace()),
        ("", "Secret") => ("secrets", call.namespace()),
        ("", "Node") => ("nodes", ""),
        (_, kind) => {
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(message));
        }
    };
    let object = snapshot.object(resource, namespace, &name).ok_or_else(|| Status::not_found("", resource, &name))?;
    let meta = object.meta();
    if !uid.is_empty() && uid != meta.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::conflict("", text("kind"), &name, &why));
    }
    let named = Named { name, uid: meta.uid.clone() };
    match resource {
        "pods" => {
            let pod = object.value();
            if pod["spec"]["serviceAccountName"] != call.name() {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.name()
                )));
            }
            if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
                let uid = snapshot.object("nodes", "", node).map(|n| n.meta().uid.clone()).unwrap_or_default();
                bound.node = Some(Named { name: node.into(), uid });
            }
            bound.pod = Some(named);
        }
        "secrets" => bound.secret = Some(named),
        _ => bound.node = Some(named),
    }
    Ok(())
}
