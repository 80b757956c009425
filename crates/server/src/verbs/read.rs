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
use crate::filter::Filter;
use crate::told;
use crate::verbs::Call;
use crate::verbs::options::{ListOptions, go_words};

/// How long a read waits for a revision that is not written yet (cacher/watch_cache.go).
const PATIENCE: Duration = Duration::from_secs(3);

pub async fn get(call: Call<'_>) -> Result<Reply, Status> {
    if let Some(teller) = told::of(call.kind()) {
        let key = call.key(call.name());
        let entry = (teller.tell)(call.sought(), &call.filter()?).await.into_iter().find(|entry| entry.key == key);
        let rendition = fresh(entry.ok_or_else(|| (teller.unknown)(call.sought()))?);
        return Ok(Reply::new(StatusCode::OK, Payload::Object { served: call.served.clone(), rendition }));
    }
    let version = call.query.get("resourceVersion");
    // What is not kept in memory upstream is looked for in etcd, which says it otherwise.
    if call.kind().writes.ttl.is_some() {
        readable(version)?;
    }
    reached(&call, version).await?;
    let entry = call.server.0.store.get(call.key(call.name()).as_str()).ok_or_else(|| call.not_found(call.name()))?;
    let rendition = call.server.0.renditions.of(&entry);
    Ok(Reply::new(StatusCode::OK, Payload::Object { served: call.served.clone(), rendition }))
}

pub async fn list(call: Call<'_>) -> Result<Reply, Status> {
    let asked = ListOptions::of(&call, false)?;
    let filter = call.filter()?;
    if let Some(teller) = told::of(call.kind()) {
        let items = (teller.tell)(call.sought(), &filter)
            .await
            .into_iter()
            .map(fresh)
            .filter(|item| filter.passes(item))
            .collect();
        let (served, continue_token) = (call.served.clone(), String::new());
        let page = Page { served, items, revision: 0, continue_token, remaining: None };
        return Ok(Reply::new(StatusCode::OK, Payload::List(page)));
    }
    Ok(match page(&call, &asked, &filter).await? {
        Ok(page) => Reply::new(StatusCode::OK, Payload::List(page)),
        Err(expired) => expired,
    })
}

fn fresh(entry: store::Entry) -> std::sync::Arc<crate::rendition::Rendition> {
    std::sync::Arc::new(crate::rendition::Rendition::new(entry))
}

/// What is asked of a collection; or the answer that says from where to go on, where the revision is no more.
pub async fn page(call: &Call<'_>, asked: &ListOptions<'_>, filter: &Filter) -> Result<Result<Page, Reply>, Status> {
    let prefix = filter.prefix(call.namespace());
    let (from, at) = position(call, asked, &prefix).await?;
    // What is there is answered with as a whole (storage/cacher/delegator).
    let whole = asked.revision == "0" && asked.token.is_empty() && call.kind().writes.ttl.is_none();
    let pages = asked.limit > 0 && !whole;
    let limit = if pages { usize::try_from(asked.limit).unwrap_or(usize::MAX) } else { usize::MAX };
    let store = &call.server.0.store;
    let (mut items, mut from, mut revision) = (Vec::new(), from, at);
    let (remaining, last) = loop {
        let asked = limit.saturating_sub(items.len());
        let page = match store.list(&prefix, from.as_deref(), asked, revision) {
            Ok(page) => page,
            Err(e) => return expired(call, e, from.as_deref()).map(Err),
        };
        revision = Some(page.revision);
        let last = page.entries.last().map(|e| e.key.clone());
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
    let remaining = counted.then_some(remaining);
    Ok(Ok(Page { served: call.served.clone(), items, revision, continue_token, remaining }))
}

/// Where a list starts and the revision it shows; None is now (storage/interfaces.go ValidateListOptions).
async fn position(call: &Call<'_>, asked: &ListOptions<'_>, prefix: &str) -> Result<Position, Status> {
    let (version, matching) = (asked.revision, asked.matching);
    if !asked.token.is_empty() {
        let (revision, key) =
            read_token(asked.token).map_err(|why| Status::bad_request(format!("invalid continue token: {why}")))?;
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        // Whoever makes a key up sees no more than the collection.
        let key = if key.starts_with(prefix) { key } else { format!("{prefix}{}", key.trim_start_matches('/')) };
        return Ok((Some(key), u64::try_from(revision).ok().map(Revision)));
    }
    readable(version)?;
    let revision = reached(call, version).await?;
    // With a limit and no match a revision is exact (the first page of what follows is).
    let exact = matching == "Exact" || (matching.is_empty() && asked.limit > 0);
    Ok((None, revision.filter(|_| exact)))
}

fn readable(version: &str) -> Result<Option<Revision>, Status> {
    revision_of(version).map_err(|why| Status::bad_request(format!("invalid resource version: {}", why.message)))
}

/// A key to go on from, and a revision.
type Position = (Option<String>, Option<Revision>);

/// A revision that is not 0; what is no number is refused.
pub fn revision_of(text: &str) -> Result<Option<Revision>, Status> {
    match text {
        "" | "0" => Ok(None),
        text => match text.parse::<u64>() {
            Ok(number) => Ok(Some(Revision(number))),
            Err(why) => Err(Status::unknown(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {}",
                go_words(&why)
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
    // What expires is not in upstream's watch cache, and etcd says of no time (registry/core/rest/storage_core.go).
    status.retry_after_seconds = call.kind().writes.ttl.is_none().then_some(1);
    Err(status)
}

/// 410, with a token that goes on from the same key at the current revision.
fn expired(call: &Call<'_>, error: Error, from: Option<&str>) -> Result<Reply, Status> {
    let Error::Compacted { .. } = error else { return Err(crate::write::failed(&error)) };
    if call.query.get("continue").is_empty() {
        // storage/etcd3/errors.go
        return Err(Status::new(Reason::Expired, "The resourceVersion for the provided list is too old."));
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

/// Revision (-1: now) and key of a token, or what is wrong with it (storage/continue.go DecodeContinue).
fn read_token(token: &str) -> Result<(i64, String), String> {
    const INVALID: &str = "continue key is not valid";
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|why| format!("{INVALID}: {}", illegal(token, &why)))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|why| format!("{INVALID}: {why}"))?;
    if value["v"] != "meta.k8s.io/v1" {
        let version = value["v"].as_str().unwrap_or_default();
        return Err(format!("{INVALID}: server does not recognize this encoded version {version}"));
    }
    let revision = value["rv"].as_i64().filter(|rv| *rv != 0);
    let revision = revision
        .ok_or_else(|| format!("{INVALID}: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"))?;
    match value["start"].as_str().filter(|key| !key.is_empty()) {
        Some(key) => Ok((revision, key.into())),
        None => Err(format!("{INVALID}: encoded start key empty (version meta.k8s.io/v1)")),
    }
}

/// As Go tells of bad base64: how many bytes could be read.
fn illegal(token: &str, why: &base64::DecodeError) -> String {
    let at = match why {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        _ => token.len() / 4 * 4,
    };
    format!("illegal base64 data at input byte {at}")
}
