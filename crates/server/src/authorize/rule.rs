//! What a rule allows, and whether some rules allow all that others do.
//!
//! kubernetes pkg/apis/rbac/v1/evaluation_helpers.go, pkg/registry/rbac/validation/policy_compact.go and
//! component-helpers auth/rbac/validation/policy_comparator.go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::Attributes;

/// A PolicyRule. `*` stands for all verbs, groups, resources or, at its end, paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    #[serde(deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// `pods`, `pods/status`, `*/status`
    #[serde(deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "or_none")]
    pub verbs: Vec<String>,
}

/// Null is as nothing.
pub fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

const ALL: &str = "*";

impl Rule {
    /// Whether it allows what is asked. A rule with names never allows what is about no name, as a list or a
    /// creation is.
    pub fn allows(&self, asked: &Attributes) -> bool {
        if !has(&self.verbs, &asked.verb) {
            return false;
        }
        if !asked.path.is_empty() {
            return self.paths.iter().any(|path| covers_path(path, &asked.path));
        }
        has(&self.api_groups, &asked.group)
            && self.resources.iter().any(|of| is_resource(of, &asked.resource, &asked.subresource))
            && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
    }

    /// How many parts it has.
    pub fn size(&self) -> usize {
        let about = [&self.api_groups, &self.resources].map(Vec::len);
        let things = about[0].saturating_mul(about[1]).saturating_mul(self.resource_names.len().max(1));
        things.saturating_add(self.paths.len()).saturating_mul(self.verbs.len())
    }

    /// How many words a comparison with it may look at.
    pub fn words(&self) -> usize {
        let lists = [&self.verbs, &self.api_groups, &self.resources, &self.resource_names, &self.paths];
        lists.map(Vec::len).iter().sum()
    }

    /// Rules of one verb, one group, one resource and at most one name each, that together are this one
    /// (BreakdownRule).
    fn parts(&self) -> Vec<Rule> {
        let one = |text: &String| vec![text.clone()];
        let mut parts = Vec::new();
        for (group, resource) in self.api_groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r))) {
            for verb in &self.verbs {
                let part =
                    Rule { api_groups: one(group), resources: one(resource), verbs: one(verb), ..Rule::default() };
                match self.resource_names.is_empty() {
                    true => parts.push(part),
                    false => parts.extend(
                        self.resource_names.iter().map(|name| Rule { resource_names: one(name), ..part.clone() }),
                    ),
                }
            }
        }
        for path in &self.paths {
            parts.extend(self.verbs.iter().map(|verb| Rule { paths: one(path), verbs: one(verb), ..Rule::default() }));
        }
        parts
    }

    /// Whether it allows all that a part of a rule does (ruleCovers).
    fn covers(&self, part: &Rule) -> bool {
        let within = |all: &[String], some: &[String]| some.iter().all(|one| has(all, one));
        // Cheap ones first: names may be very many.
        if !within(&self.verbs, &part.verbs) || !within(&self.api_groups, &part.api_groups) {
            return false;
        }
        let resources = part.resources.iter().all(|one| match one.split_once('/') {
            _ if has(&self.resources, one) => true,
            Some((_, sub)) => self.resources.iter().any(|of| of.strip_prefix("*/") == Some(sub)),
            None => false,
        });
        if !resources {
            return false;
        }
        let names = match part.resource_names.is_empty() {
            true => self.resource_names.is_empty(),
            // A name is a name, `*` as well.
            false => {
                self.resource_names.is_empty()
                    || part.resource_names.iter().all(|name| self.resource_names.contains(name))
            }
        };
        names && part.paths.iter().all(|path| self.paths.iter().any(|own| covers_path(own, path)))
    }
}

/// What of `wanted` is not among `held`, in parts (Covers).
pub fn missing<'r>(held: &[&Rule], wanted: impl IntoIterator<Item = &'r Rule>) -> Vec<Rule> {
    let parts = wanted.into_iter().flat_map(Rule::parts);
    parts.filter(|part| !held.iter().any(|rule| rule.covers(part))).collect()
}

/// As few rules as parts that differ in their verb only come to (CompactRules).
pub fn compact(parts: Vec<Rule>) -> Vec<Rule> {
    // What it is about, apart from its verbs.
    let mut places: BTreeMap<Rule, usize> = BTreeMap::new();
    let mut compact: Vec<Rule> = Vec::new();
    for part in parts {
        let about = Rule { verbs: Vec::new(), ..part.clone() };
        match places.get(&about).filter(|_| part.paths.is_empty()) {
            Some(place) => compact[*place].verbs.extend(part.verbs),
            None => {
                places.insert(about, compact.len());
                compact.push(part);
            }
        }
    }
    compact
}

/// One rule a line, sorted, each once.
pub fn described(rules: &[Rule]) -> String {
    let lines: BTreeSet<String> = rules.iter().map(Rule::to_string).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}` (CompactString)
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let said = fields.iter().filter(|(_, list)| !list.is_empty());
        let said: Vec<String> = said.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        write!(f, "{{{}}}", said.join(", "))
    }
}

/// `["a" "b"]`, as Go prints a list with %q.
pub fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(" "))
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|one| one == ALL || one == word)
}

/// Whether an entry of a rule stands for a resource, or for this subresource of it.
fn is_resource(of: &str, resource: &str, subresource: &str) -> bool {
    match (of, subresource) {
        (ALL, _) => true,
        (_, "") => of == resource,
        _ => {
            let rest = of.strip_prefix(resource).or(of.strip_prefix(ALL));
            rest.and_then(|rest| rest.strip_prefix('/')) == Some(subresource)
        }
    }
}

fn covers_path(own: &str, path: &str) -> bool {
    own == path || (own.ends_with('*') && path.starts_with(own.trim_end_matches('*')))
}
