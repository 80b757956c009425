//! The fields of one object of the configuration: what nobody asked for is unknown.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;

use serde_json::{Map, Value};

pub struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    /// `profiles[0].plugins`; empty at the top.
    path: String,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    /// Null is an object without fields.
    pub fn of(value: &'a Value, path: &str) -> Result<Fields<'a>, String> {
        let map = match value {
            Value::Null => None,
            Value::Object(map) => Some(map),
            _ => return Err(format!("{path}: expected an object")),
        };
        Ok(Fields { map, path: path.into(), asked: RefCell::default() })
    }

    pub fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.into() } else { format!("{}.{field}", self.path) }
    }

    pub fn invalid(&self, field: &str, value: impl Display, why: &str) -> String {
        format!("{}: Invalid value: {value}: {why}", self.at(field))
    }

    /// None: absent or null.
    pub fn get(&self, field: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(field.into());
        self.map?.get(field).filter(|value| !value.is_null())
    }

    pub fn object(&self, field: &str) -> Result<Fields<'a>, String> {
        Fields::of(self.get(field).unwrap_or(&Value::Null), &self.at(field))
    }

    /// "" where it is absent.
    pub fn text(&self, field: &str) -> Result<&'a str, String> {
        let Some(value) = self.get(field) else { return Ok("") };
        value.as_str().ok_or_else(|| format!("{}: expected a string", self.at(field)))
    }

    pub fn int(&self, field: &str) -> Result<Option<i64>, String> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = value.as_i64().filter(|number| i32::try_from(*number).is_ok());
        number.map(Some).ok_or_else(|| format!("{}: expected a whole number of 32 bits", self.at(field)))
    }

    pub fn flag(&self, field: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| format!("{}: expected true or false", self.at(field)))
    }

    pub fn list(&self, field: &str) -> Result<Vec<&'a Value>, String> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        value.as_array().map(|list| list.iter().collect()).ok_or_else(|| format!("{}: expected a list", self.at(field)))
    }

    /// The objects of a list.
    pub fn objects(&self, field: &str) -> Result<Vec<Fields<'a>>, String> {
        let at = |index: usize| format!("{}[{index}]", self.at(field));
        self.list(field)?.into_iter().enumerate().map(|(index, value)| Fields::of(value, &at(index))).collect()
    }

    pub fn texts(&self, field: &str) -> Result<Vec<&'a str>, String> {
        let at = |index: usize| format!("{}[{index}]: expected a string", self.at(field));
        let of = |(index, value): (usize, &'a Value)| value.as_str().ok_or_else(|| at(index));
        self.list(field)?.into_iter().enumerate().map(of).collect()
    }

    /// For a field that there is upstream and not here.
    pub fn refuse(&self, field: &str, why: &str) -> Result<(), String> {
        match self.get(field) {
            None => Ok(()),
            Some(_) => Err(format!("{}: refused: {why}", self.at(field))),
        }
    }

    /// Fails on the first field that nobody asked for.
    pub fn done(&self) -> Result<(), String> {
        let asked = self.asked.borrow();
        match self.map.into_iter().flat_map(Map::keys).find(|field| !asked.contains(*field)) {
            None => Ok(()),
            Some(field) => Err(format!("{}: unknown field", self.at(field))),
        }
    }
}
