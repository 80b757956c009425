//! A value that knows its path: what every rule walks with.
//!
//! `at.get("spec").get("containers").index(0)` prints as `spec.containers[0]`. What is absent is a
//! null with a path, so that a rule can say what is missing. Paths are linked, not built: text is
//! made only for an error.

use std::rc::Rc;

use api::{FieldError, tree};
use serde_json::Value;

pub type Errors = Vec<FieldError>;

#[derive(Clone)]
pub struct At<'a> {
    pub value: &'a Value,
    path: Option<Rc<Step>>,
}

struct Step {
    before: Option<Rc<Step>>,
    name: Name,
}

enum Name {
    Field(&'static str),
    Index(usize),
    Key(String),
}

static NULL: Value = Value::Null;

impl<'a> At<'a> {
    pub fn root(value: &'a Value) -> At<'a> {
        At { value, path: None }
    }

    pub fn get(&self, field: &'static str) -> At<'a> {
        self.step(self.value.get(field).unwrap_or(&NULL), Name::Field(field))
    }

    pub fn index(&self, index: usize) -> At<'a> {
        self.step(self.value.get(index).unwrap_or(&NULL), Name::Index(index))
    }

    /// `path[key]`
    pub fn key(&self, key: &str) -> At<'a> {
        self.step(self.value.get(key).unwrap_or(&NULL), Name::Key(key.into()))
    }

    pub fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let len = self.value.as_array().map_or(0, Vec::len);
        let here = self.clone();
        (0..len).map(move |i| here.index(i))
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'a String, At<'a>)> + use<'a> {
        let here = self.clone();
        self.value.as_object().into_iter().flatten().map(move |(k, v)| (k, here.step(v, Name::Key(k.clone()))))
    }

    pub fn len(&self) -> usize {
        match self.value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    /// No element, no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// This path with another value, where upstream shows a value elsewhere than it stands.
    pub fn with(&self, value: &'a Value) -> At<'a> {
        At { value, path: self.path.clone() }
    }

    /// Present, not null.
    pub fn has(&self) -> bool {
        !self.value.is_null()
    }

    pub fn has_field(&self, field: &'static str) -> bool {
        tree::has(self.value, field)
    }

    pub fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or("")
    }

    pub fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The number, zero where there is none, as in Go.
    pub fn number(&self) -> i64 {
        self.int().unwrap_or(0)
    }

    pub fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }

    pub fn path(&self) -> String {
        let mut steps = Vec::new();
        let mut here = self.path.as_ref();
        while let Some(step) = here {
            steps.push(&step.name);
            here = step.before.as_ref();
        }
        let mut text = String::new();
        for name in steps.into_iter().rev() {
            match name {
                Name::Field(field) if text.is_empty() => text.push_str(field),
                Name::Field(field) => {
                    text.push('.');
                    text.push_str(field);
                }
                Name::Index(index) => text.push_str(&format!("[{index}]")),
                Name::Key(key) => text.push_str(&format!("[{key}]")),
            }
        }
        text
    }

    pub fn required(&self, detail: &str) -> FieldError {
        FieldError::required(&self.path(), detail)
    }

    /// The value here is wrong; an absent one is shown as Go's zero string.
    pub fn invalid(&self, detail: &str) -> FieldError {
        match self.value {
            Value::Null => FieldError::invalid(&self.path(), &Value::String(String::new()), detail),
            value => FieldError::invalid(&self.path(), value, detail),
        }
    }

    /// Like `invalid`, where upstream shows another value or a number that is absent here.
    pub fn invalid_as(&self, value: impl Into<Value>, detail: &str) -> FieldError {
        FieldError::invalid(&self.path(), &value.into(), detail)
    }

    /// Like `invalid`, where upstream shows one of its own types, or nothing: the text stands as it is.
    pub fn invalid_shown(&self, shown: String, detail: &str) -> FieldError {
        FieldError { value: shown, ..self.invalid(detail) }
    }

    pub fn forbidden(&self, detail: &str) -> FieldError {
        FieldError::forbidden(&self.path(), detail)
    }

    pub fn duplicate(&self) -> FieldError {
        FieldError::duplicate(&self.path(), self.value)
    }

    pub fn not_found(&self) -> FieldError {
        FieldError::not_found(&self.path(), self.value)
    }

    pub fn not_supported(&self, supported: &[&str]) -> FieldError {
        match self.value {
            Value::Null => FieldError::not_supported(&self.path(), &Value::String(String::new()), supported),
            value => FieldError::not_supported(&self.path(), value, supported),
        }
    }

    pub fn too_long(&self, limit: usize) -> FieldError {
        FieldError::too_long(&self.path(), limit)
    }

    pub fn too_many(&self, limit: usize) -> FieldError {
        FieldError::too_many(&self.path(), self.len(), limit)
    }

    fn step(&self, value: &'a Value, name: Name) -> At<'a> {
        At { value, path: Some(Rc::new(Step { before: self.path.clone(), name })) }
    }
}

/// One `Invalid` for each message of a name rule.
pub fn invalid_each(at: &At, messages: Vec<String>, errors: &mut Errors) {
    errors.extend(messages.iter().map(|m| at.invalid(m)));
}

/// A text as upstream shows it inside one of its own types.
pub fn shown_text(at: &At) -> String {
    Value::from(at.text()).to_string()
}

/// Zero or more: `must be greater than or equal to 0`.
pub fn non_negative(at: &At, errors: &mut Errors) {
    if at.number() < 0 {
        errors.push(at.invalid("must be greater than or equal to 0"));
    }
}
