//! The walk along the schema: a serde seed per value, one visitor for all of them.
//!
//! It never fails on what the schema finds wrong: like Go's decoder it remembers the first type
//! error and every strict error, and reads on. Only syntax errors end it. A value that Go would read
//! as "not there" (null) comes back as `Value::Null` and is not stored.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::any::{Anything, Key};
use super::path::{Path, ROOT, Step};
use super::{DEPTH_MAX, Decoded, FIELDS_DEPTH_MAX, FieldValidation, TOO_DEEP, leaf};
use crate::Status;
use crate::schema::{Field, Of, Shape, Type};

/// Upstream reports no more strict errors than this.
const STRICT_ERRORS_MAX: usize = 100;

/// What the walk has found so far.
pub struct Walk {
    validation: FieldValidation,
    /// What is wrong is told as of a tree that is no text any more: without its place.
    unstructured: bool,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    yaml: Vec<String>,
    strict: Vec<String>,
    wrong: Option<String>,
    /// `apiVersion` or `kind` is no text.
    nameless: Option<String>,
    /// A type with a form of its own could not be read: Go stops there and forgets other errors.
    fatal: Option<String>,
}

/// The object itself.
pub struct Root<'w> {
    pub walk: &'w Walk,
    pub of: &'static Type,
}

#[derive(Clone, Copy)]
struct Seed<'w, 'p> {
    walk: &'w Walk,
    of: &'static Of,
    path: &'p Path<'p>,
}

impl Walk {
    pub fn new(validation: FieldValidation) -> Walk {
        Walk { validation, unstructured: false, found: RefCell::default() }
    }

    /// Of a tree that is no text any more, in which nothing is unknown.
    pub fn of_unstructured() -> Walk {
        Walk { unstructured: true, ..Walk::new(FieldValidation::Ignore) }
    }

    /// Keys that YAML has twice: one error of all of them, and a warning each.
    pub fn twice_in_yaml(&self, lines: Vec<String>) {
        if self.validation != FieldValidation::Ignore {
            self.found.borrow_mut().yaml = lines;
        }
    }

    /// The verdict: errors as upstream's transformDecodeError words them.
    pub fn finish(self, of: &Type, value: Value) -> Result<Decoded, Status> {
        let found = self.found.into_inner();
        let (kind, version) = (of.short_name(), of.version());
        let bad = |why: String| {
            Err(Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}")))
        };
        if let Some(why) = found.fatal.or(found.wrong) {
            return bad(why);
        }
        let twice = match &found.yaml[..] {
            [] => None,
            lines => Some(format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))),
        };
        if self.validation == FieldValidation::Strict && (twice.is_some() || !found.strict.is_empty()) {
            let errors: Vec<String> = twice.into_iter().chain(found.strict).collect();
            return bad(format!("strict decoding error: {}", errors.join(", ")));
        }
        Ok(Decoded { value, warnings: found.yaml.into_iter().chain(found.strict).collect() })
    }

    /// Why the object does not say of which kind it is.
    pub fn nameless(&self) -> Option<String> {
        self.found.borrow().nameless.clone()
    }

    /// The first type error, and all strict errors.
    pub fn found(self) -> (Option<String>, Vec<String>) {
        let found = self.found.into_inner();
        (found.fatal.or(found.wrong), found.strict)
    }

    fn strict(&self, what: &str, path: &Path, name: &str) {
        if self.validation == FieldValidation::Ignore {
            return;
        }
        let mut found = self.found.borrow_mut();
        let text = format!("{what} {:?}", path.to_string_with(name));
        if found.strict.len() < STRICT_ERRORS_MAX && !found.strict.contains(&text) {
            found.strict.push(text);
        }
    }

    pub fn duplicate(&self, path: &Path, name: &str) {
        self.strict("duplicate field", path, name);
    }

    fn wrong(&self, why: impl FnOnce() -> String) -> Value {
        let mut found = self.found.borrow_mut();
        if found.fatal.is_none() {
            found.wrong.get_or_insert_with(why);
        }
        Value::Null
    }

    fn fatal(&self, why: impl FnOnce() -> String) -> Value {
        self.found.borrow_mut().fatal.get_or_insert_with(why);
        Value::Null
    }
}

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        struct Top<'w>(Root<'w>);
        impl<'de> Visitor<'de> for Top<'_> {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                object(self.0.walk, self.0.of, &ROOT, map)
            }
        }
        deserializer.deserialize_any(Top(self))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_, '_> {
    fn shape(&self) -> Option<Shape> {
        self.of.target().map(|t| t.shape)
    }

    /// Every value of a body is counted from its root, also those that the schema does not know.
    fn depth_max(&self) -> usize {
        if self.shape() == Some(Shape::FieldSet) { FIELDS_DEPTH_MAX } else { DEPTH_MAX }
    }

    fn bounded<E: Error>(&self) -> Result<(), E> {
        if self.path.depth < DEPTH_MAX || self.path.depth < self.depth_max() {
            return Ok(());
        }
        Err(E::custom(TOO_DEEP))
    }

    fn anything(&self) -> Anything<'static> {
        Anything { depth: self.path.depth, max: self.depth_max(), twice: None }
    }

    /// `json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32`; the forms of a schema
    /// read themselves, and pass over what they are not (apiextensions/v1/marshal.go).
    fn mismatch(&self, found: &str) -> Value {
        if let Step::Field(_, field) = self.path.step
            && self.path.depth == 1
            && ["apiVersion", "kind"].contains(&field.name)
        {
            let found = found.split(' ').next().unwrap_or_default();
            let why = || format!("json: cannot unmarshal {found} into Go struct field .{} of type string", field.name);
            self.walk.found.borrow_mut().nameless.get_or_insert_with(why);
        }
        match self.shape() {
            Some(Shape::SchemaOrBool) => return self.walk.fatal(|| "boolean or JSON schema expected".into()),
            Some(Shape::SchemaOrArray | Shape::SchemaOrStrings) => return Value::Null,
            _ => {}
        }
        self.walk.wrong(|| self.cannot(found, &self.path.go_type(self.of)))
    }

    /// The same from a type with a form of its own, which reads its text as `wanted`.
    fn mismatch_as(&self, found: &str, wanted: &str) -> Value {
        self.walk.fatal(|| self.cannot(found, wanted))
    }

    fn cannot(&self, found: &str, wanted: &str) -> String {
        match self.path.go().filter(|_| !self.walk.unstructured) {
            Some(field) => format!("json: cannot unmarshal {found} into Go struct field {field} of type {wanted}"),
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
        }
    }

    /// An object or list where there should be none.
    fn misplaced(&self, found: &str) -> Value {
        match self.shape() {
            Some(Shape::Time | Shape::MicroTime | Shape::Duration) => self.mismatch_as(found, "string"),
            Some(Shape::IntOrString) => self.mismatch_as(found, "int32"),
            Some(Shape::Quantity) => self.checked(leaf::quantity("{")),
            _ => self.mismatch(found),
        }
    }

    fn checked(&self, text: Result<String, String>) -> Value {
        match text {
            Ok(text) => Value::String(text),
            Err(why) => self.walk.fatal(|| why),
        }
    }

    fn text(&self, text: Cow<str>) -> Value {
        match (self.of, self.shape()) {
            (Of::String, _) => Value::String(text.into_owned()),
            (Of::Bytes, _) => match leaf::bytes(&text) {
                Ok(text) => Value::String(text),
                Err(why) => self.walk.wrong(|| why),
            },
            (_, Some(Shape::Quantity)) => self.checked(leaf::quantity(&text)),
            (_, Some(Shape::Time)) => self.checked(leaf::time(&text)),
            (_, Some(Shape::MicroTime)) => self.checked(leaf::micro_time(&text)),
            (_, Some(Shape::Duration | Shape::IntOrString | Shape::Raw | Shape::Json | Shape::FieldSet)) => {
                Value::String(text.into_owned())
            }
            _ => self.mismatch("string"),
        }
    }

    /// A number: exact as an integer if it is one.
    fn number(&self, number: Number) -> Value {
        let integer = number.as_i64();
        let in_i32 = integer.is_some_and(|n| i32::try_from(n).is_ok());
        match (self.of, self.shape()) {
            (Of::Int64, _) if integer.is_some() => Value::Number(number),
            (Of::Int32, _) if in_i32 => Value::Number(number),
            (Of::Double, _) => Value::Number(number),
            (Of::Int32 | Of::Int64, _) if self.walk.unstructured => {
                let from = if number.is_f64() { "float64" } else { "int64" };
                self.walk.wrong(|| format!("cannot convert {from} to {}", self.path.go_type(self.of)))
            }
            (Of::Int32 | Of::Int64, _) => self.mismatch(&format!("number {number}")),
            (_, Some(Shape::IntOrString)) if in_i32 => Value::Number(number),
            (_, Some(Shape::IntOrString)) => self.mismatch_as(&format!("number {number}"), "int32"),
            (_, Some(Shape::Quantity)) => self.checked(leaf::quantity(&number.to_string())),
            (_, Some(Shape::Raw | Shape::Json | Shape::FieldSet)) => Value::Number(number),
            (_, Some(Shape::Time | Shape::MicroTime | Shape::Duration)) => self.mismatch_as("number", "string"),
            _ => self.mismatch("number"),
        }
    }

    fn boolean(&self, value: bool) -> Value {
        match (self.of, self.shape()) {
            (Of::Bool, _) | (_, Some(Shape::Raw | Shape::Json | Shape::FieldSet | Shape::SchemaOrBool)) => {
                Value::Bool(value)
            }
            (_, Some(Shape::IntOrString)) => self.mismatch_as("bool", "int32"),
            (_, Some(Shape::Time | Shape::MicroTime | Shape::Duration)) => self.mismatch_as("bool", "string"),
            (_, Some(Shape::Quantity)) => self.checked(leaf::quantity(if value { "true" } else { "false" })),
            _ => self.mismatch("bool"),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(self.boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(self.number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(self.number(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(self.number(Number::from_f64(value as f64).ok_or_else(|| E::custom("number out of range"))?))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(self.number(Number::from_f64(value as f64).ok_or_else(|| E::custom("number out of range"))?))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(self.number(Number::from_f64(value).ok_or_else(|| E::custom("number is not finite"))?))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(self.text(Cow::Borrowed(value)))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(self.text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.bounded()?;
        static STRING: Of = Of::String;
        let of: &'static Of = match (self.of, self.shape()) {
            (Of::List(of), _) => of,
            (_, Some(Shape::Strings | Shape::SchemaOrStrings)) => &STRING,
            (_, Some(Shape::SchemaOrArray)) => schema_props(self.of),
            (_, Some(Shape::Raw | Shape::Json | Shape::FieldSet)) => return self.anything().visit_seq(seq),
            _ => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(self.misplaced("array"));
            }
        };
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(64));
        loop {
            let path = self.path.then(Step::Index(items.len()));
            match seq.next_element_seed(Seed { walk: self.walk, of, path: &path })? {
                Some(Value::Null) => items.push(zero(of)),
                Some(value) => items.push(value),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.bounded()?;
        match (self.of, self.of.target()) {
            (Of::Map(of), _) => values(self.walk, of, self.path, map),
            (_, Some(of)) => match of.shape {
                Shape::Object => object(self.walk, of, self.path, map),
                Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
                    object(self.walk, schema_props(self.of).target().expect("it is a type"), self.path, map)
                }
                Shape::Raw | Shape::Json | Shape::FieldSet => self.anything().visit_map(map),
                _ => {
                    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                    Ok(self.misplaced("object"))
                }
            },
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.mismatch("object"))
            }
        }
    }
}

/// An object with fields: unknown ones are dropped, zero ones left out, embedded ones added.
fn object<'de, A: MapAccess<'de>>(walk: &Walk, of: &'static Type, path: &Path, mut map: A) -> Result<Value, A::Error> {
    let mut tree = Map::new();
    let mut seen = Seen::default();
    while let Some(key) = map.next_key_seed(Key)? {
        let Some(field) = of.field(&key) else {
            walk.strict("unknown field", path, &key);
            map.next_value::<IgnoredAny>()?;
            continue;
        };
        if seen.again(of, field) {
            walk.duplicate(path, field.name);
        }
        let path = path.then(Step::Field(of, field));
        let value = map.next_value_seed(Seed { walk, of: &field.of, path: &path })?;
        if value.is_null() {
            // A pointer, list or map is unset by a later null; Go ignores it for the rest.
            if field.pointer || matches!(field.of, Of::List(_) | Of::Map(_) | Of::Type(_)) {
                tree.remove(field.name);
            }
        } else if omitted(field, &value, path.depth) {
            tree.remove(field.name);
        } else {
            tree.insert(field.name.into(), value);
        }
    }
    of.complete(&mut tree);
    Ok(Value::Object(tree))
}

fn values<'de, A: MapAccess<'de>>(walk: &Walk, of: &'static Of, path: &Path, mut map: A) -> Result<Value, A::Error> {
    let mut tree = Map::new();
    while let Some(key) = map.next_key_seed(Key)? {
        if tree.contains_key(&*key) {
            walk.duplicate(path, &key);
        }
        let path = path.then(Step::Key(&key));
        let value = map.next_value_seed(Seed { walk, of, path: &path })?;
        tree.insert(key.to_string(), if value.is_null() { zero(of) } else { value });
    }
    Ok(Value::Object(tree))
}

/// Which fields of one object were read.
#[derive(Default)]
struct Seen(u64, Vec<&'static str>);

impl Seen {
    fn again(&mut self, of: &Type, field: &'static Field) -> bool {
        // The field is an element of the type's list: its offset is its index.
        let index = (std::ptr::from_ref(field) as usize - of.fields.as_ptr() as usize) / size_of::<Field>();
        if index < 64 {
            let bit = 1 << index;
            let before = self.0 & bit != 0;
            self.0 |= bit;
            return before;
        }
        let before = self.1.contains(&field.name);
        self.1.push(field.name);
        before
    }
}

/// Of `metadata.managedFields`, from the root.
const MANAGED_FIELDS_DEPTH: usize = 2;

/// What Go's `omitempty` leaves out, of a field so deep in the object.
fn omitted(field: &Field, value: &Value, depth: usize) -> bool {
    // Storage does not tell an empty list or map from none.
    if field.null && matches!(value, Value::Array(items) if items.is_empty()) {
        return true;
    }
    if field.null && matches!(value, Value::Object(map) if map.is_empty() && matches!(field.of, Of::Map(_))) {
        return true;
    }
    // An empty list of managed fields of the object itself asks for them to be reset.
    if field.always || (field.name == "managedFields" && depth == MANAGED_FIELDS_DEPTH) {
        return false;
    }
    match value {
        Value::Array(items) => items.is_empty() && field.of.target().is_none(),
        Value::Object(map) => map.is_empty() && matches!(field.of, Of::Map(_)),
        _ if field.pointer || field.of.target().is_some() => false,
        Value::String(text) => text.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Null => true,
    }
}

/// What a null becomes in a list or map.
fn zero(of: &Of) -> Value {
    match of {
        Of::String | Of::Bytes => Value::String(String::new()),
        Of::Bool => Value::Bool(false),
        Of::Int32 | Of::Int64 | Of::Double => Value::Number(0.into()),
        Of::List(_) | Of::Map(_) => Value::Null,
        Of::Type(link) => match link.get().shape {
            Shape::Object => link.get().skeleton(),
            Shape::Quantity => Value::String("0".into()),
            _ => Value::Null,
        },
    }
}

/// A schema, as the `SchemaOr…` of the same package holds it.
fn schema_props(of: &'static Of) -> &'static Of {
    let props = of.target().expect("only asked for types").schema_props();
    &props.field("not").expect("a test looks it up").of
}
