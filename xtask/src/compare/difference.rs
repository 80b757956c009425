//! What two answers to the same request differ in: one `Difference` for each place. Pure.
//!
//! Of answers with different codes only that is told, and what each says; of two refusals each cause that one of them
//! lacks; of anything else each place in which the bodies differ.

use std::collections::BTreeSet;

use serde_json::Value;

use super::level::Seen;
use super::servers::Answer;
use super::{documents, forms};

/// One place in which two answers differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// `code`, `header warning`, `cause`, `.spec.x`
    pub place: String,
    /// What stands there upstream; empty: nothing.
    pub stock: String,
    pub gousse: String,
}

/// Headers that say nothing of what was asked: the connection's, and when.
const NOT_COMPARED: [&str; 5] = ["date", "content-length", "transfer-encoding", "connection", "content-encoding"];
/// Headers whose value is made up.
const MADE_UP: [&str; 4] = ["audit-id", "etag", "expires", "last-modified"];

/// What differs. What must differ is made equal by what each server has shown before.
pub fn between(stock: &Answer, gousse: &Answer, seen: &mut [Seen; 2]) -> Vec<Difference> {
    let [of_stock, of_gousse] = seen;
    let (one, other) = (body(stock, of_stock), body(gousse, of_gousse));
    if stock.code != gousse.code {
        let told = |code: u16, body: &Value| match body["message"].as_str() {
            Some(message) if code >= 400 => format!("{code} {message}"),
            _ => code.to_string(),
        };
        let place = format!("code {} {}", stock.code, gousse.code);
        return vec![Difference { place, stock: told(stock.code, &one), gousse: told(gousse.code, &other) }];
    }
    let mut found = Vec::new();
    headers(stock, gousse, &mut found);
    match (is_status(&one), is_status(&other)) {
        (true, true) => statuses(&one, &other, &mut found),
        _ => values(&mut String::new(), &one, &other, &mut found),
    }
    found
}

fn is_status(body: &Value) -> bool {
    body["kind"] == "Status" && body["apiVersion"] == "v1"
}

/// The body as JSON, or as a text.
fn body(answer: &Answer, seen: &mut Seen) -> Value {
    let text = || String::from_utf8_lossy(&answer.body).into_owned().into();
    let mut value = forms::read(answer).unwrap_or_else(text);
    if let Some(events) = value.as_array_mut() {
        events.retain(|event| !is_by_the_way(event));
    }
    documents::level(&mut value);
    seen.level(&mut value);
    value
}

/// A bookmark that comes when its server has time for one, and not at the end of what there was.
fn is_by_the_way(event: &Value) -> bool {
    let object = &event["object"];
    // Of a Table the row's.
    let of = if object["kind"] == "Table" { &object["rows"][0]["object"] } else { object };
    event["type"] == "BOOKMARK" && of.is_object() && of["metadata"]["annotations"].is_null()
}

fn headers(stock: &Answer, gousse: &Answer, found: &mut Vec<Difference>) {
    let names = |answer: &Answer| answer.headers.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<String>>();
    let all: BTreeSet<String> = names(stock).union(&names(gousse)).cloned().collect();
    for name in all.iter().filter(|name| !NOT_COMPARED.contains(&name.as_str())) {
        let of = |answer: &Answer| -> Vec<String> {
            let values = answer.headers.iter().filter(|(known, _)| known == name);
            match MADE_UP.contains(&name.as_str()) {
                true => values.map(|_| "<made up>".to_owned()).collect(),
                // In one line or in several.
                false if name == "vary" => {
                    let parts = values.flat_map(|(_, value)| value.split(','));
                    let parts: BTreeSet<String> = parts.map(|part| part.trim().to_ascii_lowercase()).collect();
                    parts.into_iter().collect()
                }
                // `299 - "text"`: of the text alone differences are grouped.
                false => values
                    .map(|(_, value)| Seen::default().text(&value.replace("\\\"", "'").replace('"', "")))
                    .collect(),
            }
        };
        let [one, other] = [of(stock), of(gousse)];
        let place = format!("header {name}");
        unordered(&place, &one, &other, found);
    }
}

/// Those that one lacks; if both have the same in another order, that, from the first that stands elsewhere.
fn unordered(place: &str, one: &[String], other: &[String], found: &mut Vec<Difference>) {
    if one == other {
        return;
    }
    let (stock, gousse) = (lacking(one, other), lacking(other, one));
    if stock.is_empty() && gousse.is_empty() {
        let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        let from_there = |all: &[String]| all[same..].join(" | ");
        let order = format!("{place} (order)");
        found.push(Difference { place: order, stock: from_there(one), gousse: from_there(other) });
        return;
    }
    for at in 0..stock.len().max(gousse.len()) {
        let of = |those: &[String]| those.get(at).cloned().unwrap_or_default();
        found.push(Difference { place: place.to_owned(), stock: of(&stock), gousse: of(&gousse) });
    }
}

/// What stands in these and not in those, as often as it does.
pub fn lacking(these: &[String], those: &[String]) -> Vec<String> {
    let mut those = those.to_vec();
    let mut left = Vec::new();
    for this in these {
        match those.iter().position(|that| that == this) {
            Some(at) => drop(those.remove(at)),
            None => left.push(this.clone()),
        }
    }
    left
}

fn statuses(one: &Value, other: &Value, found: &mut Vec<Difference>) {
    let causes = |status: &Value| -> Vec<String> {
        let causes = status["details"]["causes"].as_array();
        let cause = |cause: &Value| {
            let part = |name: &str| cause[name].as_str().unwrap_or_default();
            format!("{}: {} ({})", part("field"), part("message"), part("reason"))
        };
        causes.map(|causes| causes.iter().map(cause).collect()).unwrap_or_default()
    };
    let before = found.len();
    unordered("cause", &causes(one), &causes(other), found);
    let causes_differ = found.len() > before;
    let (mut one, mut other) = (one.clone(), other.clone());
    for status in [&mut one, &mut other] {
        if let Some(details) = status["details"].as_object_mut() {
            details.remove("causes");
        }
        // The message says the causes again.
        if causes_differ {
            status["message"] = "".into();
        }
    }
    values(&mut String::new(), &one, &other, found);
}

/// Each place in which two values differ.
pub fn values(place: &mut String, one: &Value, other: &Value, found: &mut Vec<Difference>) {
    match (one, other) {
        // Two that are no more of one kind have nothing else to compare.
        (Value::Object(one), Value::Object(other))
            if ["kind", "type"].iter().any(|name| differ(one.get(*name), other.get(*name))) =>
        {
            let (one, other) = (Value::Object(one.clone()), Value::Object(other.clone()));
            found.push(Difference { place: place.clone(), stock: shown(Some(&one)), gousse: shown(Some(&other)) });
        }
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let end = place.len();
                place.push('.');
                place.push_str(name);
                match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => values(place, one, other, found),
                    (one, other) => {
                        found.push(Difference { place: place.clone(), stock: shown(one), gousse: shown(other) })
                    }
                }
                place.truncate(end);
            }
        }
        (Value::Array(one), Value::Array(other)) if is_listed(one) && is_listed(other) && !same_names(one, other) => {
            listed(place, one, other, found);
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (one, other) in one.iter().zip(other) {
                let end = place.len();
                place.push_str("[]");
                values(place, one, other, found);
                place.truncate(end);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            let texts = |items: &[Value]| items.iter().map(|item| shown(Some(item))).collect::<Vec<String>>();
            unordered(&format!("{place}[]"), &texts(one), &texts(other), found);
        }
        _ if one == other => {}
        _ => found.push(Difference { place: place.clone(), stock: shown(Some(one)), gousse: shown(Some(other)) }),
    }
}

/// Objects with names.
fn is_listed(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["metadata"]["name"].is_string())
}

fn name_of(item: &Value) -> [&str; 2] {
    ["namespace", "name"].map(|field| item["metadata"][field].as_str().unwrap_or_default())
}

fn same_names(one: &[Value], other: &[Value]) -> bool {
    one.iter().map(name_of).eq(other.iter().map(name_of))
}

/// Objects of two lists that do not have the same: each with its like, and the names of those that one lacks. Who is
/// the how manieth says nothing then.
fn listed(place: &mut String, one: &[Value], other: &[Value], found: &mut Vec<Difference>) {
    let end = place.len();
    place.push_str("[]");
    let without = |item: &Value| {
        let mut item = item.clone();
        for field in ["uid", "resourceVersion"] {
            item["metadata"][field] = Value::Null;
        }
        item
    };
    let like = |those: &[Value], item: &Value| those.iter().find(|that| name_of(that) == name_of(item)).cloned();
    for item in one {
        match like(other, item) {
            Some(like) => values(place, &without(item), &without(&like), found),
            None => found.push(Difference {
                place: place.clone(),
                stock: name_of(item)[1].to_owned(),
                gousse: String::new(),
            }),
        }
    }
    for item in other.iter().filter(|item| like(one, item).is_none()) {
        found.push(Difference { place: place.clone(), stock: String::new(), gousse: name_of(item)[1].to_owned() });
    }
    place.truncate(end);
}

fn differ(one: Option<&Value>, other: Option<&Value>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}
