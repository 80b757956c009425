//! Documents about the API (discovery, OpenAPI) with all that has a name under its name. Pure.
//!
//! Two of them can so be compared place by place, and what one lacks is one difference. A name stands in brackets, so
//! that the same in many places is one cause. Descriptions are left out (docs/decisions/descriptions.md), parameters
//! that are shared stand where they are used.

use serde_json::{Map, Value};

/// Makes such a document comparable; leaves all else as it is.
pub fn level(body: &mut Value) {
    let is = |name: &str| body.get(name).is_some();
    if is("swagger") || is("openapi") {
        let shared = body.as_object_mut().and_then(|map| map.remove("parameters")).unwrap_or_default();
        schema(body, &shared);
        for place in ["/paths", "/definitions", "/components/schemas"] {
            if let Some(map) = body.pointer_mut(place).and_then(Value::as_object_mut) {
                *map = named_in_brackets(std::mem::take(map));
            }
        }
    } else if let Some("APIGroupDiscoveryList" | "APIResourceList" | "APIGroupList") = body["kind"].as_str() {
        let order: Option<Value> = body["items"].as_array().map(|items| items.iter().map(named).collect());
        discovery(body);
        if let Some(order) = order {
            body["order"] = order;
        }
    }
}

fn named_in_brackets(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter().map(|(name, value)| (format!("[{name}]"), value)).collect()
}

/// Takes out descriptions, puts shared parameters in their places, and parameters under their names.
fn schema(value: &mut Value, shared: &Value) {
    match value {
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            map.values_mut().for_each(|value| schema(value, shared));
            if let Some(Value::Object(fields)) = map.get_mut("properties")
                && fields.values().all(Value::is_object)
            {
                *fields = named_in_brackets(std::mem::take(fields));
            }
            if let Some(list @ Value::Array(_)) = map.get_mut("parameters") {
                let all = list.as_array_mut().map(std::mem::take).unwrap_or_default();
                let keyed: Map<String, Value> = all.into_iter().map(|one| parameter(one, shared)).collect();
                *list = Value::Object(keyed);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| schema(item, shared)),
        _ => {}
    }
}

fn parameter(one: Value, shared: &Value) -> (String, Value) {
    let reference = one["$ref"].as_str().and_then(|text| text.strip_prefix("#/parameters/"));
    let mut one = reference.map_or_else(|| one.clone(), |name| shared[name].clone());
    schema(&mut one, &Value::Null);
    (format!("{} {}", one["in"].as_str().unwrap_or_default(), one["name"].as_str().unwrap_or_default()), one)
}

fn discovery(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(discovery),
        Value::Array(items) if items.iter().all(|item| named(item).is_string()) && !items.is_empty() => {
            let keyed = std::mem::take(items).into_iter().map(|mut item| {
                let name = named(&item).as_str().unwrap_or_default().to_owned();
                discovery(&mut item);
                (format!("[{name}]"), item)
            });
            *value = Value::Object(keyed.collect());
        }
        _ => {}
    }
}

/// What something in a list is called; the oldest group has no name.
fn named(item: &Value) -> Value {
    let names = ["name", "resource", "subresource", "version"].map(|key| &item[key]);
    let own = names.into_iter().find(|name| name.is_string()).or_else(|| item["metadata"].get("name"));
    own.cloned().unwrap_or_else(|| if item["metadata"].is_object() { "".into() } else { Value::Null })
}
