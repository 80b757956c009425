//! An object made wrong (or only different) in one place at a time, along the schema table. Pure.
//!
//! Every field that the type knows at any place that the object has: removed, null, of another type, out of range,
//! empty, doubled; and what the type does not know, and what is there twice.

use api::schema::{Field, Of, Shape, Type};
use serde_json::{Map, Value, json};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    Name(String),
    Index(usize),
}

/// A place of the object and what stands there instead; None: nothing.
pub struct Mutation {
    pub place: Vec<Segment>,
    /// `missing`, `null`, `of another type`, `"x"`
    pub what: String,
    pub value: Option<Value>,
}

impl Mutation {
    /// `spec.containers[0].name`
    pub fn path(&self) -> String {
        dotted(&self.place)
    }

    /// The object with it.
    pub fn apply(&self, object: &Value) -> Value {
        let mut object = object.clone();
        let (last, above) = self.place.split_last().expect("a place is below the object");
        let mut at = &mut object;
        for segment in above {
            at = match segment {
                Segment::Name(name) => &mut at[name.as_str()],
                Segment::Index(index) => &mut at[*index],
            };
        }
        match (last, &self.value) {
            (Segment::Name(name), Some(value)) => at[name.as_str()] = value.clone(),
            (Segment::Name(name), None) => drop(at.as_object_mut().map(|map| map.remove(name))),
            (Segment::Index(index), Some(value)) => at[*index] = value.clone(),
            (Segment::Index(_), None) => {}
        }
        object
    }
}

pub fn dotted(place: &[Segment]) -> String {
    let mut text = String::new();
    for segment in place {
        match segment {
            Segment::Name(name) if text.is_empty() => text.push_str(name),
            Segment::Name(name) => text.push_str(&format!(".{name}")),
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Every object inside, its place and type, itself first.
pub fn objects(of: &'static Type, object: &Value) -> Vec<(Vec<Segment>, &'static Type)> {
    let mut found = Vec::new();
    walk(of, object, &mut Vec::new(), &mut found);
    found
}

fn walk(of: &'static Type, object: &Value, place: &mut Vec<Segment>, found: &mut Vec<(Vec<Segment>, &'static Type)>) {
    found.push((place.clone(), of));
    for (name, value) in object.as_object().into_iter().flatten() {
        let Some(field) = of.field(name) else { continue };
        place.push(Segment::Name(name.clone()));
        inside(&field.of, value, place, found);
        place.pop();
    }
}

fn inside(of: &Of, value: &Value, place: &mut Vec<Segment>, found: &mut Vec<(Vec<Segment>, &'static Type)>) {
    match (of, value) {
        (Of::Type(link), Value::Object(_)) if link.get().shape == Shape::Object => {
            walk(link.get(), value, place, found)
        }
        (Of::List(of), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                place.push(Segment::Index(index));
                inside(of, item, place, found);
                place.pop();
            }
        }
        (Of::Map(of), Value::Object(map)) => {
            for (name, item) in map {
                place.push(Segment::Name(name.clone()));
                inside(of, item, place, found);
                place.pop();
            }
        }
        _ => {}
    }
}

/// What stands at a place.
pub fn at<'a>(object: &'a Value, place: &[Segment]) -> &'a Value {
    place.iter().fold(object, |at, segment| match segment {
        Segment::Name(name) => &at[name.as_str()],
        Segment::Index(index) => &at[*index],
    })
}

/// Every field of every object inside, made wrong in turn.
pub fn of_fields(of: &'static Type, object: &Value) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for (place, of) in objects(of, object) {
        let here = at(object, &place);
        for field in &of.fields {
            let mut place = place.clone();
            place.push(Segment::Name(field.name.to_owned()));
            let present = here.get(field.name);
            if present.is_some() {
                mutations.push(Mutation { place: place.clone(), what: "missing".into(), value: None });
            }
            for (what, value) in wrong(field, present) {
                mutations.push(Mutation { place: place.clone(), what, value: Some(value) });
            }
        }
    }
    mutations
}

/// Values for a field, each with what it is.
fn wrong(field: &Field, present: Option<&Value>) -> Vec<(String, Value)> {
    let mut values = vec![("null".to_owned(), Value::Null)];
    for value in others(&field.of) {
        values.push(("of another type".to_owned(), value));
    }
    for value in plain(&field.of, 0) {
        if present != Some(&value) {
            let text = value.to_string();
            let shown: String =
                if text.len() > 40 { format!("{}…", text.chars().take(40).collect::<String>()) } else { text };
            values.push((shown, value));
        }
    }
    if let (Of::List(_), Some(Value::Array(items))) = (&field.of, present)
        && let Some(first) = items.first()
    {
        let mut twice = items.clone();
        twice.push(first.clone());
        values.push(("the first twice".to_owned(), Value::Array(twice)));
    }
    values
}

/// Of another type than is asked.
fn others(of: &Of) -> Vec<Value> {
    match of {
        Of::String | Of::Bytes => vec![json!(7), json!({})],
        Of::Bool | Of::Double => vec![json!("x")],
        Of::Int32 | Of::Int64 => vec![json!("x"), json!(1.5), json!(1e30)],
        Of::List(_) | Of::Map(_) => {
            vec![json!("x"), json!(7), if matches!(of, Of::List(_)) { json!({}) } else { json!([]) }]
        }
        Of::Type(link) => match link.get().shape {
            Shape::Object => vec![json!("x"), json!([])],
            Shape::Quantity | Shape::IntOrString => vec![json!({}), json!(1.5), json!(true)],
            Shape::Time | Shape::MicroTime | Shape::Duration => vec![json!(7), json!("x")],
            _ => vec![json!("x"), json!(7)],
        },
    }
}

/// Of the type, likely or unlikely.
fn plain(of: &Of, depth: usize) -> Vec<Value> {
    match of {
        Of::String => vec![json!(""), json!("x"), json!("Bad value!/"), json!("x".repeat(300))],
        Of::Bool => vec![json!(true), json!(false)],
        Of::Int32 => vec![json!(0), json!(1), json!(-1), json!(i32::MAX), json!(i64::from(i32::MAX) + 1)],
        Of::Int64 => vec![json!(0), json!(1), json!(-1), json!(i64::MAX), json!(i64::MAX as u64 + 1)],
        Of::Double => vec![json!(0.5), json!(-1)],
        Of::Bytes => vec![json!(""), json!("eA=="), json!("!")],
        Of::Type(link) => of_type(link.get(), depth),
        Of::List(of) => {
            let mut values = vec![json!([]), json!([null])];
            for item in plain(of, depth + 1) {
                values.push(json!([item]));
            }
            values
        }
        Of::Map(of) => {
            let mut values = vec![json!({}), json!({"x": null})];
            let items = plain(of, depth + 1);
            values.extend(items.first().map(|item| json!({"Bad key!": item, "": item})));
            values.extend(items.into_iter().map(|item| json!({"x": item})));
            values
        }
    }
}

fn of_type(of: &'static Type, depth: usize) -> Vec<Value> {
    match of.shape {
        Shape::Object if depth > 2 => vec![json!({})],
        Shape::Object => vec![json!({}), Value::Object(all(of, depth))],
        Shape::Quantity => ["1", "-1", "0", "1.5Gi", "1e3", "0.0001", "x", ""].map(Value::from).into(),
        Shape::IntOrString => {
            vec![json!(0), json!(-1), json!(70000), json!("x"), json!("50%"), json!("Bad value!"), json!("")]
        }
        Shape::Time => vec![json!("2020-01-01T00:00:00Z"), json!("2020-01-01T00:00:00.5+02:00"), json!("")],
        Shape::MicroTime => vec![json!("2020-01-01T00:00:00.000001Z"), json!("2020-01-01T00:00:00Z"), json!("")],
        Shape::Duration => vec![json!("1h"), json!("-1s"), json!("")],
        Shape::Raw | Shape::Json | Shape::FieldSet => vec![json!({}), json!({"x": 1})],
        Shape::Strings => vec![json!([]), json!(["x"])],
        Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => {
            vec![json!({"type": "x"}), json!([]), json!(true)]
        }
    }
}

/// Every field with its second value: what may not stand together is told too.
fn all(of: &'static Type, depth: usize) -> Map<String, Value> {
    let mut map = Map::new();
    for field in &of.fields {
        let mut values = plain(&field.of, depth + 1);
        if !values.is_empty() {
            let at = 1.min(values.len() - 1);
            map.insert(field.name.to_owned(), values.swap_remove(at));
        }
    }
    map
}

/// The object's text with a field that no type knows, for each object inside.
pub fn unknown(of: &'static Type, object: &Value) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (place, _) in objects(of, object) {
        let mut place = place;
        place.push(Segment::Name("unknownField".into()));
        let path = dotted(&place);
        texts.push((path, Mutation { place, what: String::new(), value: Some(json!(1)) }.apply(object).to_string()));
    }
    texts
}

/// The object's text with a field that is there twice, for each object inside.
pub fn twice(of: &'static Type, object: &Value) -> Vec<(String, String)> {
    const SECOND: &str = "the second ";
    let mut texts = Vec::new();
    for (place, _) in objects(of, object) {
        let Some((name, value)) = at(object, &place).as_object().and_then(|map| map.iter().next()) else { continue };
        let mut place = place.clone();
        place.push(Segment::Name(format!("{SECOND}{name}")));
        let doubled = Mutation { place: place.clone(), what: String::new(), value: Some(value.clone()) }.apply(object);
        texts.push((
            dotted(&place),
            doubled.to_string().replace(&format!("\"{SECOND}{name}\""), &format!("\"{name}\"")),
        ));
    }
    texts
}

/// All lists inside, with the items' type.
pub fn lists(of: &'static Type, object: &Value) -> Vec<(Vec<Segment>, &'static Field)> {
    let mut found = Vec::new();
    for (place, of) in objects(of, object) {
        for field in of.fields.iter().filter(|field| matches!(field.of, Of::List(_))) {
            if at(object, &place).get(field.name).is_some_and(|list| list.as_array().is_some_and(|l| !l.is_empty())) {
                let mut place = place.clone();
                place.push(Segment::Name(field.name.to_owned()));
                found.push((place, field));
            }
        }
    }
    found
}
