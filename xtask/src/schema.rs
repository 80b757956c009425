//! `cargo xtask schema`: writes the schema table of the api crate from the upstream facts.
//!
//! Three sources, each for what only it knows: `definitions.json` (OpenAPI of 1.36: types, list types,
//! patch strategies), `messages.json` (protobuf of 1.37: tags, new fields) and `schema/go.txt` here
//! (the Go types of 1.37.2: pointers, what is written when zero, embedded structs, defaults, list types
//! of what 1.37 added). The format of the table is told in crates/api/src/schema/table.rs; go.txt has
//! the same lines, and `~name mark…` to add marks, `-name` to remove, `-=Type` to leave a type out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

const TABLE: &str = "crates/api/src/schema/table.txt";
const GO: &str = "xtask/src/schema/go.txt";

/// Types whose JSON is not an object with their fields.
const SHAPES: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", ":quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", ":time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", ":microtime"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", ":duration"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", ":intstr"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", ":raw"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", ":raw"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", ":fields"),
    (".apiextensions.v1.JSON", ":json"),
    (".apiextensions.v1.JSONSchemaPropsOrArray", ":or-array"),
    (".apiextensions.v1.JSONSchemaPropsOrBool", ":or-bool"),
    (".apiextensions.v1.JSONSchemaPropsOrStringArray", ":or-strings"),
    (".apiextensions.v1beta1.JSON", ":json"),
    (".apiextensions.v1beta1.JSONSchemaPropsOrArray", ":or-array"),
    (".apiextensions.v1beta1.JSONSchemaPropsOrBool", ":or-bool"),
    (".apiextensions.v1beta1.JSONSchemaPropsOrStringArray", ":or-strings"),
];

/// One type: the marks of its header, and its lines by name (`+Name` for embedded types).
#[derive(Default)]
struct Block {
    marks: String,
    lines: BTreeMap<String, String>,
}

struct Sources {
    definitions: Map<String, Value>,
    messages: BTreeMap<String, Vec<Value>>,
}

/// The verb: writes the table; false never. Needs `../shared/upstream` beside the repository.
pub fn schema(_words: &[String]) -> Result<bool> {
    let root = root();
    let upstream = upstream().context("no ../shared/upstream/definitions.json beside the repository")?;
    let text = table(&upstream, &root.join(GO))?;
    let lines = text.lines().count();
    fs::write(root.join(TABLE), text)?;
    println!("{TABLE}: {lines} lines");
    Ok(true)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_path_buf()
}

/// The folder of facts: `../shared/upstream`, from the repository or from a worktree of it.
fn upstream() -> Option<PathBuf> {
    root().ancestors().skip(1).map(|a| a.join("shared/upstream")).find(|p| p.join("definitions.json").is_file())
}

fn table(upstream: &Path, go: &Path) -> Result<String> {
    let sources = Sources::read(upstream)?;
    let mut blocks = sources.blocks();
    amend(&mut blocks, &fs::read_to_string(go)?)?;
    let mut text = String::new();
    for (name, block) in &blocks {
        text.push_str(&format!("={name}{}\n", block.marks));
        let mut lines: Vec<&String> = block.lines.values().collect();
        lines.sort();
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
    }
    Ok(text)
}

impl Sources {
    fn read(upstream: &Path) -> Result<Sources> {
        let definitions = serde_json::from_slice(&fs::read(upstream.join("definitions.json"))?)?;
        let messages: BTreeMap<String, Vec<Value>> =
            serde_json::from_slice(&fs::read(upstream.join("messages.json"))?)?;
        let messages = messages.into_iter().map(|(name, fields)| (full_name(&name), fields)).collect();
        Ok(Sources { definitions, messages })
    }

    fn blocks(&self) -> BTreeMap<String, Block> {
        self.definitions.keys().chain(self.messages.keys()).map(|name| (name.clone(), self.block(name))).collect()
    }

    fn block(&self, name: &str) -> Block {
        if let Some((_, shape)) = SHAPES.iter().find(|(tail, _)| name.ends_with(tail)) {
            return Block { marks: format!(" {shape}"), ..Block::default() };
        }
        if self.is_strings(name) {
            return Block { marks: " :strings".into(), ..Block::default() };
        }
        let definition = &self.definitions.get(name).cloned().unwrap_or_default();
        let own = definition["properties"].as_object().cloned().unwrap_or_default();
        let required = strings(&definition["required"]);
        let mut block = Block::default();
        if definition["x-kubernetes-map-type"] == "atomic" {
            block.marks = " atomic".into();
        }
        let messages = self.messages.get(name).cloned().unwrap_or_default();
        for field in &messages {
            let (json_name, line) = self.field(name, field, &own, &required);
            block.lines.insert(json_name, line);
        }
        for (property, facts) in &own {
            let embedded = !messages.is_empty() && !["apiVersion", "kind"].contains(&property.as_str());
            if !embedded && !block.lines.contains_key(property) {
                let line = line(property, 0, &self.schema_type(name, facts), facts, required.contains(property));
                block.lines.insert(property.clone(), line);
            }
        }
        block
    }

    /// One protobuf field, with what OpenAPI says of it.
    fn field(&self, owner: &str, field: &Value, own: &Map<String, Value>, required: &[String]) -> (String, String) {
        let name = field["name"].as_str().unwrap_or_default();
        let tag = field["tag"].as_u64().unwrap_or_default();
        let of = self.message_type(owner, field);
        // Protobuf spells a few names differently: `Webhooks`, `uID`.
        if let Some((property, facts)) = own.iter().find(|(p, _)| p.eq_ignore_ascii_case(name)) {
            let of = match self.keeps_message_type(owner, &of) {
                true => of,
                false => self.schema_type(owner, facts),
            };
            return (property.clone(), line(property, tag, &of, facts, required.contains(property)));
        }
        if let Some(target) = of.strip_prefix('@').filter(|_| self.is_embedded(owner, &of, own)) {
            let go = target.rsplit('.').next().unwrap_or(target);
            return (format!("+{go}"), format!("+{go} {tag} {of}"));
        }
        // A type that is only ever embedded has its facts in the definition of whoever embeds it.
        let facts = self.embedder(owner).and_then(|e| self.definitions[&e]["properties"].get(name)).cloned();
        let of = facts.as_ref().map_or(of, |facts| self.schema_type(owner, facts));
        (name.to_string(), line(name, tag, &of, &facts.unwrap_or_default(), false))
    }

    /// Lists of strings that are messages of their own: OpenAPI shows them as plain lists.
    fn is_strings(&self, name: &str) -> bool {
        let Some([field]) = self.messages.get(name).map(|fields| &fields[..]) else { return false };
        field["name"] == "items" && field["type"] == "string"
    }

    fn keeps_message_type(&self, owner: &str, of: &str) -> bool {
        let target = of.trim_start_matches("{}").trim_start_matches('@');
        self.is_strings(&absolute(owner, target))
    }

    /// All fields of the message are properties of its owner's JSON.
    fn is_embedded(&self, owner: &str, of: &str, own: &Map<String, Value>) -> bool {
        let target = absolute(owner, of.trim_start_matches('@'));
        let fields = self.messages.get(&target);
        fields.is_some_and(|fields| {
            fields.iter().all(|f| {
                let name = f["name"].as_str().unwrap_or_default();
                own.contains_key(name) || self.is_embedded(&target, &self.message_type(&target, f), own)
            })
        })
    }

    fn embedder(&self, name: &str) -> Option<String> {
        if self.definitions.contains_key(name) {
            return None;
        }
        let (package, short) = name.rsplit_once('.')?;
        self.messages.iter().find_map(|(owner, fields)| {
            let own = self.definitions.get(owner)?["properties"].as_object()?;
            let embeds = owner.rsplit_once('.')?.0 == package
                && fields.iter().any(|f| {
                    f["type"] == short && f["label"].is_null() && {
                        let field = f["name"].as_str().unwrap_or_default();
                        !own.keys().any(|k| k.eq_ignore_ascii_case(field))
                    }
                });
            embeds.then(|| owner.clone())
        })
    }

    fn schema_type(&self, owner: &str, facts: &Value) -> String {
        if let Some(target) = facts["$ref"].as_str() {
            return format!("@{}", relative(owner, target.trim_start_matches("#/definitions/")));
        }
        match (facts["type"].as_str().unwrap_or_default(), facts["format"].as_str().unwrap_or_default()) {
            ("string", "byte") => "y".into(),
            ("string", _) => "s".into(),
            ("boolean", _) => "b".into(),
            ("integer", "int32") => "i".into(),
            ("integer", _) => "l".into(),
            ("number", _) => "d".into(),
            ("array", _) => format!("[]{}", self.schema_type(owner, &facts["items"])),
            ("object", _) if facts["additionalProperties"].is_object() => {
                format!("{{}}{}", self.schema_type(owner, &facts["additionalProperties"]))
            }
            _ => "@io.k8s.apimachinery.pkg.runtime.RawExtension".into(),
        }
    }

    fn message_type(&self, owner: &str, field: &Value) -> String {
        let word = field["type"].as_str().unwrap_or_default();
        let single = |word: &str| match word {
            "string" => "s".to_string(),
            "bool" => "b".into(),
            "int32" => "i".into(),
            "int64" => "l".into(),
            "double" => "d".into(),
            "bytes" => "y".into(),
            name if name.contains('.') => format!("@{}", relative(owner, &full_name(name))),
            name => format!("@{name}"),
        };
        if let Some(of) = word.strip_prefix("map<string,").and_then(|w| w.strip_suffix('>')) {
            return format!("{{}}{}", single(of));
        }
        if field["label"] == "repeated" { format!("[]{}", single(word)) } else { single(word) }
    }
}

/// A line of the table.
fn line(name: &str, tag: u64, of: &str, facts: &Value, required: bool) -> String {
    let mut line = format!("{name} {tag} {of}");
    if required {
        line.push_str(" !");
    }
    let text = |key: &str| facts[key].as_str().filter(|s| !s.is_empty());
    if let Some(list) = text("x-kubernetes-list-type") {
        line.push_str(&format!(" l:{list}"));
    }
    let keys = strings(&facts["x-kubernetes-list-map-keys"]);
    if !keys.is_empty() {
        line.push_str(&format!(" k:{}", keys.join(",")));
    }
    if text("x-kubernetes-map-type") == Some("atomic") {
        line.push_str(" a");
    }
    if text("x-kubernetes-map-type") == Some("granular") {
        line.push_str(" gr");
    }
    if let Some(strategy) = text("x-kubernetes-patch-strategy") {
        line.push_str(&format!(" ps:{strategy}"));
    }
    if let Some(key) = text("x-kubernetes-patch-merge-key") {
        line.push_str(&format!(" pk:{key}"));
    }
    line
}

/// Applies go.txt.
fn amend(blocks: &mut BTreeMap<String, Block>, go: &str) -> Result<()> {
    let mut current = String::new();
    for line in go.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(' ').next().unwrap_or_default();
        if let Some(header) = line.strip_prefix('=') {
            let (name, marks) = header.split_once(' ').unwrap_or((header, ""));
            current = name.to_string();
            let block = blocks.entry(current.clone()).or_default();
            if !marks.is_empty() {
                block.marks = format!(" {marks}");
            }
        } else if let Some(name) = line.strip_prefix("-=") {
            blocks.remove(name).with_context(|| format!("go.txt removes {name}, which nobody knows"))?;
        } else {
            let block = blocks.get_mut(&current).context("go.txt begins without a type")?;
            if let Some(name) = line.strip_prefix('-') {
                block.lines.remove(name).with_context(|| format!("{current} has no {name} to remove"))?;
            } else if let Some(rest) = line.strip_prefix('~') {
                let (name, marks) = rest.split_once(' ').context("~name needs marks")?;
                let Some(line) = block.lines.get_mut(name) else { bail!("{current} has no {name} to mark") };
                mark(line, marks);
            } else {
                block.lines.insert(name.to_string(), line.to_string());
            }
        }
    }
    Ok(())
}

/// Adds marks to a line, in the order of the table: `! w o n p l: k: a gr ps: pk: g: d=`.
fn mark(line: &mut String, marks: &str) {
    const ORDER: [&str; 13] = ["!", "w", "o", "n", "p", "l:", "k:", "a", "gr", "ps:", "pk:", "g:", "d="];
    let mut words: Vec<&str> = line.split(' ').chain(marks.split(' ')).collect();
    let rank = |word: &str| {
        ORDER.iter().position(|o| {
            word == *o || (o.len() == 2 && word.starts_with(o)) || (*o == "ps:" || *o == "pk:") && word.starts_with(o)
        })
    };
    words[3..].sort_by_key(|w| rank(w));
    *line = words.join(" ");
}

/// `io.k8s.api.core.v1.Pod` of protobuf's `k8s.io.api.core.v1.Pod`.
fn full_name(message: &str) -> String {
    let rest = message.strip_prefix("k8s.io.").unwrap_or(message);
    format!(
        "io.k8s.{}",
        rest.replace("apiextensions_apiserver", "apiextensions-apiserver")
            .replace("kube_aggregator", "kube-aggregator")
    )
}

fn relative(owner: &str, target: &str) -> String {
    let package = owner.rsplit_once('.').map_or("", |(package, _)| package);
    match target.rsplit_once('.') {
        Some((other, short)) if other == package => short.to_string(),
        _ => target.to_string(),
    }
}

fn absolute(owner: &str, target: &str) -> String {
    let package = owner.rsplit_once('.').map_or("", |(package, _)| package);
    if target.contains('.') { target.to_string() } else { format!("{package}.{target}") }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect()
}
