//! Label and field selectors: what a list, a watch or a controller asks for.
//!
//! Matches apimachinery pkg/labels, pkg/fields and LabelSelectorAsSelector, with their errors.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::names;
use crate::pairs::Labelled;
use crate::{FieldError, Status, tree};

mod parse;

/// Requirements on labels, all of which must hold; none selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    pub requirements: Vec<Requirement>,
    /// Selects no object at all: a `LabelSelector` that is absent.
    pub nothing: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted, without doubles.
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl Labels {
    /// `a=b,c in (d,e),!f`; a 400 in upstream's words for what cannot be read.
    pub fn parse(text: &str) -> Result<Labels, Status> {
        parse::labels(text).map_err(Status::bad_request)
    }

    /// A `meta/v1` LabelSelector. Absent selects nothing, empty selects everything.
    pub fn from_label_selector(selector: &Value) -> Result<Labels, Status> {
        if selector.is_null() {
            return Ok(Labels { nothing: true, ..Labels::default() });
        }
        let mut requirements = Vec::new();
        for (key, value) in tree::entries(selector, "matchLabels") {
            requirements.push(Requirement::new(key, Operator::In, vec![value.as_str().unwrap_or("").into()])?);
        }
        for expression in tree::list(selector, "matchExpressions") {
            let operator = match tree::text(expression, "operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(Status::bad_request(format!("{other:?} is not a valid label selector operator")));
                }
            };
            let values = tree::list(expression, "values").iter().filter_map(Value::as_str).map(str::to_string);
            requirements.push(Requirement::new(tree::text(expression, "key"), operator, values.collect())?);
        }
        Ok(Labels { requirements, nothing: false })
    }

    /// A plain map, as a Service has it: every pair must be there.
    pub fn from_map(map: &BTreeMap<String, String>) -> Labels {
        let requirement = |(k, v): (&String, &String)| Requirement {
            key: k.clone(),
            operator: Operator::In,
            values: vec![v.clone()],
        };
        Labels { requirements: map.iter().map(requirement).collect(), nothing: false }
    }

    pub fn matches(&self, labels: &impl Labelled) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels.value_of(&r.key)))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
}

/// A `LabelSelector` on one line, as it can be asked for: `a=b,c in (d,e),!f`. What selects nothing or everything
/// is empty (the String of LabelSelectorAsSelector).
pub fn line(selector: &Value) -> Result<String, Status> {
    Labels::from_label_selector(selector)?;
    let pairs = tree::entries(selector, "matchLabels");
    let mut parts: Vec<(&str, String)> =
        pairs.map(|(key, value)| (key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default()))).collect();
    for expression in tree::list(selector, "matchExpressions") {
        let key = tree::text(expression, "key");
        let mut values: Vec<&str> = tree::list(expression, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match tree::text(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_string(),
        };
        parts.push((key, text));
    }
    parts.sort_by_key(|(key, _)| *key);
    Ok(parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(","))
}

impl Requirement {
    /// One of a node selector (core/v1 NodeSelectorRequirement), which was judged when it was written; None: it has no
    /// operator that there is.
    pub fn of_node(value: &Value) -> Option<Requirement> {
        let operator = match tree::text(value, "operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            _ => return None,
        };
        let values = tree::list(value, "values").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(Requirement { key: tree::text(value, "key").into(), operator, values })
    }

    fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Requirement, Status> {
        values.sort();
        values.dedup();
        let requirement = Requirement { key: key.into(), operator, values };
        requirement.check().map_err(Status::bad_request)?;
        Ok(requirement)
    }

    /// Whether it holds for the value of its key, None if the key is not there.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok()).zip(self.values.first().and_then(|v| v.parse().ok()));
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.iter().any(|w| w == v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.iter().any(|w| w == v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => number().is_some_and(|(have, want): (i64, i64)| have > want),
            Operator::LessThan => number().is_some_and(|(have, want): (i64, i64)| have < want),
        }
    }

    /// What is wrong with it, as upstream's NewRequirement says it.
    fn check(&self) -> Result<(), String> {
        let mut errors = Vec::new();
        let complaints = names::qualified(&self.key);
        if !complaints.is_empty() {
            errors.push(FieldError::invalid("key", &json!(self.key), &complaints.join("; ")));
        }
        let refused = match (self.operator, self.values.len()) {
            (Operator::In | Operator::NotIn, 0) => Some("for 'in', 'notin' operators, values set can't be empty"),
            (Operator::Exists | Operator::DoesNotExist, 1..) => {
                Some("values set must be empty for exists and does not exist")
            }
            (Operator::GreaterThan | Operator::LessThan, n) if n != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(refused.map(|detail| FieldError::invalid("values", &json!(self.values), detail)));
        for (index, value) in self.values.iter().enumerate() {
            let at = format!("values[{index}]");
            let compares = matches!(self.operator, Operator::GreaterThan | Operator::LessThan);
            if compares && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&at, &json!(value), detail));
            }
            let complaints = names::label_value(value);
            if !complaints.is_empty() {
                errors.push(FieldError::invalid(&format!("{at}[{}]", self.key), &json!(value), &complaints.join("; ")));
            }
        }
        match &errors[..] {
            [] => Ok(()),
            [one] => Err(one.to_string()),
            many => Err(format!("[{}]", many.iter().map(|e| e.to_string()).collect::<Vec<_>>().join(", "))),
        }
    }
}

/// Requirements on fields: `metadata.name=x,status.phase!=Running`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    pub terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl Fields {
    pub fn parse(text: &str) -> Result<Fields, Status> {
        let mut terms = parse::fields(text).map_err(Status::bad_request)?;
        terms.sort_by(|a, b| (&a.field, &a.value).cmp(&(&b.field, &b.value)));
        Ok(Fields { terms })
    }

    /// `value` answers with a field's value; None (an unknown field) counts as empty.
    pub fn matches(&self, value: impl Fn(&str) -> Option<String>) -> bool {
        self.terms.iter().all(|term| (value(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// The value that a field must have, if one is demanded: a list by name is a get.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

#[cfg(test)]
mod tests;
