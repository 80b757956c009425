//! A client that watches the pods of a round into its history, over kills.

use std::time::Duration;

use serde_json::Value;

use super::history::{Moment, Record, Seen, now, revision};
use super::instance::{Answer, Api, Over};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Until it is over: lists, watches from there, and begins anew when a watch ends.
pub async fn follow(api: Api, record: Record, over: Over) {
    while !over.is_set() {
        if follow_once(&api, &record, &over).await.is_none() {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

async fn follow_once(api: &Api, record: &Record, over: &Over) -> Option<()> {
    let asked = now();
    let Answer::Told(200, list) = api.ask("GET", PODS, None).await else { return None };
    let items = list["items"].as_array()?;
    items.iter().for_each(|object| see(record, object));
    let there: Vec<&str> = items.iter().filter_map(|object| object["metadata"]["uid"].as_str()).collect();
    miss(record, &there, asked);
    let path = format!("{PODS}?watch=true&resourceVersion={}", revision(&list));
    let mut watch = api.watch(&path).await.ok()?;
    while !over.is_set() {
        // A server that stands still says nothing: the list tells more.
        let event = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.ok()??;
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => see(record, &event["object"]),
            Some("DELETED") => {
                see(record, &event["object"]);
                go(record, event["object"]["metadata"]["uid"].as_str().unwrap_or_default());
            }
            _ => return None,
        }
    }
    Some(())
}

pub fn see(record: &Record, object: &Value) {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let mut history = record.lock();
    let Some(pod) = history.pods.get_mut(uid) else { return };
    let seen = Seen::of(object);
    if pod.seen.last().is_none_or(|last| last.revision < seen.revision) {
        pod.seen.push(seen);
    }
}

fn go(record: &Record, uid: &str) {
    if let Some(pod) = record.lock().pods.get_mut(uid) {
        pod.gone.get_or_insert(now());
    }
}

/// What was deleted before the list was asked for, and is not in it, has gone.
fn miss(record: &Record, there: &[&str], asked: Moment) {
    for (uid, pod) in &mut record.lock().pods {
        let deleted = pod.deletion.as_ref().is_some_and(|deletion| deletion.acknowledged < asked);
        if deleted && !there.contains(&uid.as_str()) {
            pod.gone.get_or_insert(now());
        }
    }
}
