//! GET of one object or a list: from memory, at a revision.
//!
//! Without a `resourceVersion` a read waits until what is in memory is current (over an engine of our own
//! it always is); 0 takes what is there. A continue token
//! is upstream's (storage/continue.go): the revision of the first page and the key to go on from.

use std::time::Duration;

use api::{Cause, Reason, Status};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};
use store::{Error, Revision};

use crate::answer::{Page, Payload, Reply};
use crate::verbs::Call;

/// How long a read waits for a revision that is not written yet (cacher/watch_cache.go).
const PATIENCE: Duration = Duration::from_secs(3);

pub async fn get(call: Call<'_>) -> Result<Reply, Status> {
    reached(&call, call.query.get("resourceVersion")).await?;
    let entry = call.server.0.store.get(call.key(call.name()).as_str()).ok_or_else(|| call.not_found(call.name()))?;
    let rendition = call.server.0.renditions.of(&entry);
    Ok(Reply::new(StatusCode::OK, Payload::Object { served: call.served.clone(), rendition }))
}

pub async fn list(call: Call<'_>) -> Result<Reply, Status> {
    let filter = call.filter()?;
    let prefix = filter.prefix(call.namespace());
    let (from, at) = position(&call, &prefix).await?;
    let limit = match call.query.get("limit") {
        "" => 0,
        text => text.parse::<i64>().map_err(|_| Status::bad_request(format!("invalid limit: {text:?}")))?,
    };
    let limit = usize::try_from(limit).ok().filter(|l| *l > 0).unwrap_or(usize::MAX);
    let store = &call.server.0.store;
    let (mut items, mut from, mut revision) = (Vec::new(), from, at);
    let (remaining, last) = loop {
        let asked = limit.saturating_sub(items.len());
        let page = match store.list(&prefix, from.as_deref(), asked, revision) {
            Ok(page) => page,
            Err(e) => return expired(&call, e, from.as_deref()),
        };
        revision = Some(page.revision);
        let last = page.entries.last().map(|e| e.key.clone());
        let fresh = |entry| std::sync::Arc::new(crate::rendition::Rendition::new(entry));
        items.extend(page.entries.into_iter().map(fresh).filter(|item| filter.passes(item)));
        if page.remaining == 0 || items.len() >= limit {
            break (page.remaining, last);
        }
        from = last.map(|key| format!("{}\0", key.0));
    };
    let revision = revision.map_or(0, |r| r.0);
    let continue_token = match (remaining, last) {
        (0, _) | (_, None) => String::new(),
        (_, Some(last)) => token(revision as i64, &format!("{}\0", last.0)),
    };
    let counted = filter.is_open() && remaining > 0;
    let page =
        Page { served: call.served.clone(), items, revision, continue_token, remaining: counted.then_some(remaining) };
    Ok(Reply::new(StatusCode::OK, Payload::List(page)))
}

/// Where a list starts and the revision it shows; None is now.
async fn position(call: &Call<'_>, prefix: &str) -> Result<(Option<String>, Option<Revision>), Status> {
    let (version, matching, token) =
        (call.query.get("resourceVersion"), call.query.get("resourceVersionMatch"), call.query.get("continue"));
    let forbidden = |field: &str, detail: &str| {
        Status::invalid("meta.k8s.io", "ListOptions", "", &[api::FieldError::forbidden(field, detail)])
    };
    if call.query.flag("sendInitialEvents") {
        return Err(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    if !matching.is_empty() {
        let field = "resourceVersionMatch";
        if version.is_empty() {
            return Err(forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !token.is_empty() {
            return Err(forbidden(field, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let error = api::FieldError::not_supported(field, &json!(matching), &["Exact", "NotOlderThan", ""]);
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[error]));
        }
        if matching == "Exact" && version == "0" {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(forbidden(field, detail));
        }
    }
    if !token.is_empty() {
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let (revision, key) = read_token(token).ok_or_else(|| Status::bad_request("continue key is not valid"))?;
        if !key.starts_with(prefix) {
            return Err(Status::bad_request("continue key is not valid"));
        }
        return Ok((Some(key), u64::try_from(revision).ok().map(Revision)));
    }
    let revision = reached(call, version).await?;
    // With a limit and no match a revision is exact (the first page of what follows is).
    let exact = matching == "Exact" || (matching.is_empty() && !matches!(call.query.get("limit"), "" | "0"));
    Ok((None, revision.filter(|_| exact)))
}

/// A revision that is not 0; what is no number is refused.
pub fn revision_of(text: &str) -> Result<Option<Revision>, Status> {
    match text {
        "" | "0" => Ok(None),
        text => match text.parse::<u64>() {
            Ok(number) => Ok(Some(Revision(number))),
            Err(_) => Err(Status::bad_request(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))),
        },
    }
}

/// Waits for what a `resourceVersion` asks for: a revision that somebody else has seen already (through an
/// event of another server, say), or without one whatever anybody has been told of.
pub async fn reached(call: &Call<'_>, version: &str) -> Result<Option<Revision>, Status> {
    let store = &call.server.0.store;
    let asked = revision_of(version)?;
    let Some(revision) = asked else {
        let current = async { if version.is_empty() { store.current().await } else { Ok(()) } };
        return match tokio::time::timeout(PATIENCE, current).await {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) => Err(crate::write::failed(&error)),
            Err(_) => Err(Status::new(Reason::Timeout, "Timeout: the store is behind what others have written")),
        };
    };
    if store.revision() >= revision || tokio::time::timeout(PATIENCE, store.reached(revision)).await.is_ok() {
        return Ok(asked);
    }
    let message = format!("Too large resource version: {}, current: {}", revision.0, store.revision().0);
    let mut status = Status::new(Reason::Timeout, format!("Timeout: {message}"));
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    status.causes = vec![cause];
    status.retry_after_seconds = Some(1);
    Err(status)
}

/// 410, with a token that goes on from the same key at the current revision.
fn expired(call: &Call<'_>, error: Error, from: Option<&str>) -> Result<Reply, Status> {
    let Error::Compacted { .. } = error else { return Err(crate::write::failed(&error)) };
    if call.query.get("continue").is_empty() {
        let asked = call.query.get("resourceVersion");
        return Err(Status::new(
            Reason::Expired,
            format!("The resourceVersion for the provided list is too old: {asked}"),
        ));
    }
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                   list without the continue parameter, or use the continue token in this response to retrieve the \
                   remainder of the results. Continuing with the provided token results in an inconsistent list - \
                   objects that were created, modified, or deleted between the time the first chunk was returned and \
                   now may show up in the list.";
    let mut status = Status::new(Reason::Expired, message).to_value();
    status["metadata"]["continue"] = token(-1, from.unwrap_or_default()).into();
    Ok(Reply::new(StatusCode::GONE, Payload::Value(status)))
}

fn token(revision: i64, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": key}).to_string())
}

/// Revision (-1: now) and key of a token.
fn read_token(token: &str) -> Option<(i64, String)> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    if value["v"] != "meta.k8s.io/v1" {
        return None;
    }
    let key = value["start"].as_str().filter(|k| !k.is_empty())?;
    Some((value["rv"].as_i64().filter(|rv| *rv != 0)?, key.into()))
}
