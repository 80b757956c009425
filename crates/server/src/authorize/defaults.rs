//! The roles and bindings that every cluster has, as a table; `seed::access` writes them.
//!
//! Upstream's (plugin/pkg/auth/authorizer/rbac/bootstrappolicy), in a form that can be read, and ours at its end. What a
//! node may do stands there too, under `system:node`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kinds::rbac::GROUP;
use serde_json::{Value, json};

use super::rule::Rule;

static TABLE: LazyLock<Vec<Default>> = LazyLock::new(|| read(include_str!("defaults.txt")));

const LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
/// Whether the server may change it at its start.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// A block of the table.
struct Default {
    /// Empty for a ClusterRole.
    namespace: &'static str,
    name: &'static str,
    labels: Vec<&'static str>,
    gathers: Vec<&'static str>,
    rules: Vec<Rule>,
    /// None: it is not bound.
    subjects: Option<Vec<Value>>,
    /// Of a binding that stands for itself.
    role: Option<&'static str>,
}

/// Each with its plural and its namespace, which is empty for those of the whole cluster.
pub fn objects() -> impl Iterator<Item = (&'static str, &'static str, Value)> {
    TABLE.iter().flat_map(Default::objects)
}

/// The rules of every node, beside what its own pods need.
pub fn node_rules() -> &'static [Rule] {
    static RULES: LazyLock<&[Rule]> = LazyLock::new(|| rules_of("system:node"));
    &RULES
}

/// The rules of a role.
pub fn rules_of(name: &str) -> &'static [Rule] {
    TABLE.iter().find(|role| role.name == name).map_or(&[], |role| &role.rules)
}

impl Default {
    /// Plural, namespace and object of the role and of its binding.
    fn objects(&self) -> Vec<(&'static str, &'static str, Value)> {
        let of = |cluster: &'static str, namespaced: &'static str| match self.namespace {
            "" => cluster,
            _ => namespaced,
        };
        let mut labels = BTreeMap::from([LABEL]);
        let annotations = json!({AUTO_UPDATE: "true"});
        let metadata = |labels: &BTreeMap<&str, &str>| {
            let mut metadata = json!({"name": self.name, "labels": labels, "annotations": annotations});
            if !self.namespace.is_empty() {
                metadata["namespace"] = json!(self.namespace);
            }
            metadata
        };
        let api_version = format!("{GROUP}/v1");
        let mut objects = Vec::new();
        if let Some(subjects) = &self.subjects {
            let role =
                json!({"apiGroup": GROUP, "kind": of("ClusterRole", "Role"), "name": self.role.unwrap_or(self.name)});
            let mut binding = json!({"apiVersion": api_version, "kind": of("ClusterRoleBinding", "RoleBinding"),
                "metadata": metadata(&labels), "roleRef": role});
            if !subjects.is_empty() {
                binding["subjects"] = json!(subjects);
            }
            objects.push((of("clusterrolebindings", "rolebindings"), self.namespace, binding));
        }
        if self.role.is_none() {
            labels.extend(self.labels.iter().map(|label| (*label, "true")));
            let mut role = json!({"apiVersion": api_version, "kind": of("ClusterRole", "Role"),
                "metadata": metadata(&labels), "rules": null});
            if !self.rules.is_empty() {
                role["rules"] = json!(self.rules);
            }
            if !self.gathers.is_empty() {
                let selectors = self.gathers.iter().map(|label| json!({"matchLabels": {*label: "true"}}));
                role["aggregationRule"] = json!({"clusterRoleSelectors": selectors.collect::<Vec<_>>()});
            }
            objects.push((of("clusterroles", "roles"), self.namespace, role));
        }
        objects
    }
}

/// The table; a line that cannot be read is a mistake in it, which a test finds.
fn read(text: &'static str) -> Vec<Default> {
    let mut table: Vec<Default> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !line.starts_with(' ') {
            let (namespace, name) =
                if first.starts_with("cluster") { ("", second) } else { second.split_once('/').unwrap_or_default() };
            let (labels, gathers, rules) = (Vec::new(), Vec::new(), Vec::new());
            table.push(Default { namespace, name, labels, gathers, rules, subjects: None, role: words.next() });
            continue;
        }
        let Some(last) = table.last_mut() else { continue };
        match first {
            "label" => last.labels.push(second),
            "gathers" => last.gathers.push(second),
            "bound" => {
                let subjects = last.subjects.get_or_insert_default();
                subjects.extend(words.next().map(|name| subject(second, name)));
            }
            _ => last.rules.push(rule_of(line)),
        }
    }
    table
}

fn subject(kind: &str, name: &str) -> Value {
    match name.split_once('/').filter(|_| kind == "ServiceAccount") {
        Some((namespace, name)) => json!({"kind": kind, "name": name, "namespace": namespace}),
        None => json!({"kind": kind, "apiGroup": GROUP, "name": name}),
    }
}

fn rule_of(line: &str) -> Rule {
    let lists: Vec<Vec<String>> = line.split('|').map(|list| list.trim().split(',').map(word).collect()).collect();
    let list = |index: usize| lists.get(index).cloned().unwrap_or_default();
    match lists.len() == 2 {
        true => Rule { verbs: list(0), paths: list(1), ..Rule::default() },
        false => {
            Rule { verbs: list(0), api_groups: list(1), resources: list(2), resource_names: list(3), paths: vec![] }
        }
    }
}

fn word(text: &str) -> String {
    if text == "core" { String::new() } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
