//! Any kind, field by field: metadata first, then what the object says, names in words.

use serde_json::Value;

use super::page::{Page, shown};

pub fn write(page: &mut Page, object: &Value) {
    let meta = &object["metadata"];
    page.field(0, "Name", shown(&meta["name"]));
    if let Some(namespace) = meta["namespace"].as_str() {
        page.field(0, "Namespace", namespace);
    }
    page.map(0, "Labels", &meta["labels"], "=");
    page.annotations(0, &meta["annotations"]);
    if object["kind"] == "ConfigMap" {
        return config_map(page, object);
    }
    page.field(0, "API Version", shown(&object["apiVersion"]));
    page.field(0, "Kind", shown(&object["kind"]));
    // A Secret's contents are counted, never shown.
    let is_secret = object["kind"] == "Secret";
    for (name, value) in object.as_object().into_iter().flatten() {
        if matches!(name.as_str(), "metadata" | "apiVersion" | "kind") {
            continue;
        }
        if is_secret && name == "data" {
            page.head(0, "Data");
            for (key, value) in value.as_object().into_iter().flatten() {
                let text = value.as_str().unwrap_or_default();
                let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
                page.field(1, key, format!("{} bytes", (text.len() / 4 * 3).saturating_sub(padding)));
            }
            continue;
        }
        tree(page, 0, &words(name), value);
    }
}

/// Texts as they are, bytes counted (kubectl pkg/describe/describe.go, describeConfigMap).
fn config_map(page: &mut Page, object: &Value) {
    ["", "Data", "===="].iter().for_each(|line| page.line(0, *line));
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        [&format!("{key}:"), "----", &shown(value), ""].iter().for_each(|line| page.line(0, *line));
    }
    ["", "BinaryData", "===="].iter().for_each(|line| page.line(0, *line));
    for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
        page.line(0, format!("{key}: {} bytes", (text.len() / 4 * 3).saturating_sub(padding)));
    }
    page.line(0, "");
}

fn tree(page: &mut Page, depth: usize, name: &str, value: &Value) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            page.head(depth, name);
            for (key, value) in map {
                tree(page, depth + 1, &words(key), value);
            }
        }
        Value::Array(items) if items.iter().any(|i| i.is_object()) => {
            page.head(depth, name);
            for item in items {
                for (key, value) in item.as_object().into_iter().flatten() {
                    tree(page, depth + 1, &words(key), value);
                }
            }
        }
        Value::Array(items) => page.field(depth, name, items.iter().map(shown).collect::<Vec<_>>().join("\n")),
        leaf => page.field(depth, name, shown(leaf)),
    }
}

/// `holderIdentity` → `Holder Identity`; a key that is no field name stays as it is.
fn words(name: &str) -> String {
    if !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return name.to_string();
    }
    let mut words = String::new();
    for (at, c) in name.char_indices() {
        if at == 0 {
            words.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() {
                words.push(' ');
            }
            words.push(c);
        }
    }
    words
}
