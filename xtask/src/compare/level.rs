//! What must differ between two servers, made equal: identities, revisions, moments, names.
//!
//! Identities and revisions become numbers in the order in which a case first sees them, so that two that should be the
//! same (or not) still tell. A moment keeps its form. Pure but for what a case has seen.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What one server has shown in a case so far.
#[derive(Default)]
pub struct Seen {
    uids: HashMap<String, usize>,
    revisions: HashMap<String, usize>,
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("written in this program")
}

static UID: LazyLock<Regex> = LazyLock::new(|| regex(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static MOMENT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"));
static PLACE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(127\.0\.0\.1|10\.213\.0\.2):7443|(127\.0\.0\.1|0\.0\.0\.0|10\.213\.0\.2):6443"));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"));
static REVISION: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)((?:resource ?version|RV in object meta): )(\d+)( \(\d+\)|, current: \d+)?"));
static HASH: LazyLock<Regex> = LazyLock::new(|| regex(r"\bhash=[0-9A-F]{16,}"));
/// Names that the cases have made of a prefix, in a text that does not say the prefix.
static MADE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(^|"|: )(X|x-|x{58})([bcdfghjklmnpqrstvwxz2456789]{5})($|"|/|-\d)"#));
static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\d+[smh])+$"));

fn number(seen: &mut HashMap<String, usize>, what: &str) -> usize {
    let next = seen.len() + 1;
    *seen.entry(what.to_owned()).or_insert(next)
}

impl Seen {
    /// A body with what must differ made equal.
    pub fn level(&mut self, body: &mut Value) {
        self.walk("", body);
    }

    /// A text likewise.
    pub fn text(&mut self, text: &str) -> String {
        let text =
            UID.replace_all(text, |found: &regex::Captures<'_>| format!("<uid {}>", number(&mut self.uids, &found[0])));
        let text = MOMENT.replace_all(&text, |found: &regex::Captures<'_>| {
            let parts = found.get(1).map_or(0, |parts| parts.len() - 1);
            format!("<moment {parts}{}>", if &found[2] == "Z" { "" } else { &found[2] })
        });
        let text = PLACE.replace_all(&text, "<server>");
        let text = TOKEN.replace_all(&text, "<token>");
        let text = HASH.replace_all(&text, "hash=<hash>");
        let text = REVISION.replace_all(&text, "$1<revision>");
        MADE.replace_all(&text, "$1$2<5 made up>$4").into_owned()
    }

    fn walk(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::Object(map) => {
                let is_list = map.contains_key("items") || map.contains_key("rows");
                if let Some(Value::Object(meta)) = map.get_mut("metadata")
                    && is_list
                    && let Some(revision) = meta.get_mut("resourceVersion")
                {
                    // A list's is the store's.
                    *revision = if revision == "" { "".into() } else { "<of the list>".into() };
                }
                if let Some(prefix) = map.get("generateName").and_then(Value::as_str).map(str::to_owned)
                    && let Some(Value::String(name)) = map.get_mut("name")
                    && let Some(made) = name.strip_prefix(&prefix)
                {
                    *name = format!("{prefix}<{} made up>", made.len());
                }
                map.iter_mut().for_each(|(key, value)| self.walk(key, value));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.walk(key, item)),
            Value::String(text) => {
                *text = match key {
                    "resourceVersion" if text.parse::<u64>().is_ok_and(|number| number > 0) => {
                        format!("<revision {}>", number(&mut self.revisions, text))
                    }
                    "continue" if !text.is_empty() => "<continue>".to_owned(),
                    "cells" if AGE.is_match(text) => "<age>".to_owned(),
                    _ => self.text(text),
                };
            }
            _ => {}
        }
    }
}
