//! What there is in a namespace, comparable: objects by what their names say, events in words. Pure.
//!
//! What a server makes up (identities, revisions, moments, the end of a generated name) is made equal; who is
//! nameless counts by what it is. Managed fields stand in an order of their own.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::places;
use super::side::Place;
use crate::compare::difference::{Difference, lacking};

/// Objects by kind and name (`pods[web-<5>] #1`), and lines about events.
#[derive(Default)]
pub struct Snapshot {
    objects: BTreeMap<String, Value>,
    lines: Vec<String>,
}

static MOMENT: LazyLock<Regex> = LazyLock::new(|| regex(r"\b20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"));
/// The end of a name that a server or controller makes up; a CronJob's Jobs are named by their minute.
static MADE_UP: LazyLock<Regex> = LazyLock::new(|| regex(r"-([bcdfghjklmnpqrstvwxz2456789]{5}|2[0-9]{7})\b"));
/// Of a DaemonSet's nodes upstream takes any first (it goes through a map of Go's).
static NODE: LazyLock<Regex> = LazyLock::new(|| regex(r"\bnode-[12]\b"));

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("written in this program")
}

/// All of a namespace; an identity is told by who has it or had it.
pub fn snapshot(objects: &BTreeMap<Place, Value>, identities: &BTreeMap<String, Place>) -> Snapshot {
    let identities = identities.iter().map(|(uid, (plural, name))| (uid, format!("<uid of {plural} {}>", text(name))));
    let identities: Vec<(&String, String)> = identities.collect();
    let mut named: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut lines: BTreeMap<String, i64> = BTreeMap::new();
    for ((plural, name), object) in objects {
        if plural == "events" {
            *lines.entry(line(object)).or_default() += count(object);
            continue;
        }
        let mut whole = text(&object.to_string());
        for (uid, instead) in &identities {
            whole = whole.replace(uid.as_str(), instead);
        }
        let mut object: Value = serde_json::from_str(&whole).unwrap_or_default();
        level(&mut object);
        named.entry(format!(".{plural}[{}]", text(name))).or_default().push(object);
    }
    let mut snapshot = Snapshot::default();
    for (name, mut alike) in named {
        alike.sort_by_cached_key(Value::to_string);
        let several = alike.len() > 1;
        for (rank, object) in alike.into_iter().enumerate() {
            let name = if several { format!("{name} #{}", rank + 1) } else { name.clone() };
            snapshot.objects.insert(name, object);
        }
    }
    snapshot.lines = lines.into_iter().map(|(line, count)| format!("{line} ({count} times)")).collect();
    snapshot
}

/// What each condition was in turn; of pods, which have kubelets' conditions, nothing.
pub fn sequences(histories: &BTreeMap<(Place, String), Vec<String>>) -> Snapshot {
    let of_owners = histories.iter().filter(|(((plural, _), _), _)| plural != "pods");
    let lines = of_owners.map(|(((plural, name), class), history)| {
        format!(
            "{plural} {}: {class}: {}",
            text(name),
            history.iter().map(|was| text(was)).collect::<Vec<_>>().join(" | ")
        )
    });
    Snapshot { objects: BTreeMap::new(), lines: lines.collect() }
}

/// Every difference of two snapshots.
pub fn between(stock: &Snapshot, gousse: &Snapshot) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, one) in &stock.objects {
        match gousse.objects.get(name) {
            Some(other) => found.extend(places(name, one, other)),
            None => found.push(Difference { place: name.clone(), stock: brief(one), gousse: String::new() }),
        }
    }
    for (name, other) in gousse.objects.iter().filter(|(name, _)| !stock.objects.contains_key(*name)) {
        found.push(Difference { place: name.clone(), stock: String::new(), gousse: brief(other) });
    }
    let place = |line: &str| match line.split_once(": ") {
        Some((of, rest)) => format!(
            "said of {}: {}",
            of.split(' ').next().unwrap_or_default(),
            rest.split([' ', ':']).next().unwrap_or_default()
        ),
        None => "said".to_owned(),
    };
    let (mut of_stock, mut of_gousse) = (lacking(&stock.lines, &gousse.lines), lacking(&gousse.lines, &stock.lines));
    for stock in std::mem::take(&mut of_stock) {
        let like = of_gousse.iter().position(|line| place(line) == place(&stock));
        let gousse = like.map(|at| of_gousse.remove(at)).unwrap_or_default();
        found.push(Difference { place: place(&stock), stock, gousse });
    }
    for gousse in of_gousse {
        found.push(Difference { place: place(&gousse), stock: String::new(), gousse });
    }
    found
}

/// A text with what must differ made equal.
fn text(text: &str) -> String {
    let text = MOMENT.replace_all(text, "<moment>");
    let text = NODE.replace_all(&text, "<node>");
    MADE_UP.replace_all(&text, "-<5>").into_owned()
}

fn level(object: &mut Value) {
    if let Some(Value::Array(active)) = object.pointer_mut("/status/active") {
        active.iter_mut().filter_map(Value::as_object_mut).for_each(|job| drop(job.remove("resourceVersion")));
    }
    let Some(meta) = object["metadata"].as_object_mut() else { return };
    for made_up in ["uid", "resourceVersion"] {
        meta.remove(made_up);
    }
    if let Some(Value::Array(managed)) = meta.get_mut("managedFields") {
        let part = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        managed.sort_by_cached_key(|entry| ["manager", "operation", "subresource"].map(|name| part(entry, name)));
    }
}

/// `deployments web: Normal ScalingReplicaSet: …`
fn line(event: &Value) -> String {
    let part = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let about = &event["involvedObject"];
    let said = format!(
        "{} {}{}: {} {}: {} [{} {}]",
        about["kind"].as_str().unwrap_or_default(),
        part("/involvedObject/name"),
        part("/involvedObject/fieldPath"),
        part("/type"),
        part("/reason"),
        part("/message"),
        part("/source/component"),
        part("/reportingComponent"),
    );
    text(&said)
}

/// How often it was told.
fn count(event: &Value) -> i64 {
    let of = |path: &str| event.pointer(path).and_then(Value::as_i64);
    of("/series/count").or_else(|| of("/count")).unwrap_or(1).max(1)
}

fn brief(object: &Value) -> String {
    object["status"].to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shot(objects: &BTreeMap<Place, Value>) -> Snapshot {
        let identity =
            |(place, object): (&Place, &Value)| Some((object["metadata"]["uid"].as_str()?.to_owned(), place.clone()));
        snapshot(objects, &objects.iter().filter_map(identity).collect())
    }

    fn pod(uid: &str, end: &str, phase: &str) -> (Place, Value) {
        let name = format!("web-{end}");
        let owner = json!([{"name": "web", "uid": "9"}]);
        let metadata =
            json!({"name": name, "uid": uid, "ownerReferences": owner, "creationTimestamp": "2026-11-29T17:00:00Z"});
        (("pods".to_owned(), name.clone()), json!({"metadata": metadata, "status": {"phase": phase}}))
    }

    #[test]
    fn what_is_made_up_makes_no_difference() {
        let one = shot(&[pod("uid-1", "bcdfg", "Running"), pod("uid-2", "xxxxx", "Pending")].into());
        let other = shot(&[pod("uid-7", "22222", "Pending"), pod("uid-8", "99999", "Running")].into());
        assert_eq!(between(&one, &other), []);
        let other = shot(&[pod("uid-7", "22222", "Pending"), pod("uid-8", "99999", "Failed")].into());
        let found = between(&one, &other);
        assert_eq!(found.iter().map(|one| one.place.as_str()).collect::<Vec<_>>().len(), 2, "{found:?}");
        let none = shot(&BTreeMap::new());
        assert_eq!(between(&one, &none).len(), 2);
    }

    #[test]
    fn events_are_told_in_words() {
        let event = |name: &str, count: i64| {
            let about = json!({"kind": "ReplicaSet", "name": "web"});
            let event = json!({"involvedObject": about, "type": "Normal", "reason": "SuccessfulCreate", "count": count,
                "message": format!("Created pod: web-{name}"), "source": {"component": "replicaset-controller"}});
            (("events".to_owned(), name.to_owned()), event)
        };
        let one = shot(&[event("bcdfg", 1), event("xxxxx", 1)].into());
        let other = shot(&[event("22222", 2)].into());
        assert_eq!(between(&one, &other), []);
        let found = between(&one, &shot(&BTreeMap::new()));
        assert_eq!(found[0].place, "said of ReplicaSet: Normal");
    }
}
