//! The text of the schema table: found by binary search, parsed one type at a time.
//!
//! A type begins with `=name` and is followed by its fields, both sorted bytewise:
//! `name tag type` and then marks. Types: `s` string, `b` bool, `i` int32, `l` int64, `d` double,
//! `y` bytes, `@T` a type (of the same package, unless it has a dot), `[]` list, `{}` map. Marks: `!`
//! required, `w`/`o` written or omitted when zero though that is not what required says, `n` null when unset, `p`
//! pointer, `l:` list type, `k:` its keys, `a` owned as a whole, `gr` not so though its type is, `ps:` patch strategy, `pk:` merge key, `g:` Go
//! type, `d=` default. `+Name tag @T` embeds a type. Marks of a type: `atomic`, or `:shape`.

use std::sync::RwLock;

use rustc_hash::FxHashMap;

use super::{Embed, Field, Link, List, Of, Shape, Slot, Type};

static TABLE: &str = include_str!("table.txt");
static PARSED: RwLock<Option<FxHashMap<&'static str, &'static Type>>> = RwLock::new(None);

pub fn get(name: &str) -> Option<&'static Type> {
    if let Some(found) = PARSED.read().expect("nobody panics while holding it").as_ref().and_then(|map| map.get(name)) {
        return Some(found);
    }
    // Embedded types are looked up while a type is parsed: never parse under the lock.
    let parsed = parse(block(name)?);
    let mut map = PARSED.write().expect("nobody panics while holding it");
    Some(map.get_or_insert_default().entry(parsed.name).or_insert_with(|| Box::leak(Box::new(parsed))))
}

pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter_map(|line| line.strip_prefix('=')).map(first_word)
}

/// The lines of one type, by binary search over the headers.
fn block(name: &str) -> Option<&'static str> {
    let (mut low, mut high) = (0, TABLE.len());
    while low < high {
        let start = header_at_or_before(low + (high - low) / 2);
        let found = first_word(&TABLE[start + 1..]);
        let end = TABLE[start..].find("\n=").map_or(TABLE.len(), |at| start + at + 1);
        match found.cmp(name) {
            std::cmp::Ordering::Equal => return Some(&TABLE[start..end]),
            std::cmp::Ordering::Less => low = end,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    None
}

fn header_at_or_before(at: usize) -> usize {
    match TABLE.as_bytes()[at] {
        b'=' if at == 0 || TABLE.as_bytes()[at - 1] == b'\n' => at,
        _ => TABLE[..at].rfind("\n=").map_or(0, |at| at + 1),
    }
}

fn first_word(line: &'static str) -> &'static str {
    line.split([' ', '\n']).next().unwrap_or("")
}

fn parse(block: &'static str) -> Type {
    let mut lines = block.lines();
    let mut header = lines.next().unwrap_or("").split(' ');
    let name = header.next().unwrap_or("").trim_start_matches('=');
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    let mut parsed =
        Type { name, shape: Shape::Object, fields: Vec::new(), embeds: Vec::new(), slots: Vec::new(), atomic: false };
    for mark in header {
        match mark.strip_prefix(':') {
            Some(word) => parsed.shape = shape(word),
            None => parsed.atomic = mark == "atomic",
        }
    }
    for line in lines {
        match line.strip_prefix('+') {
            Some(line) => embed(&mut parsed, line, package),
            None => parsed.fields.push(field(line, package)),
        }
    }
    parsed.fields.sort_by_key(|f| f.name);
    let own = parsed.fields.iter().enumerate().filter(|(_, f)| f.embed.is_none() && f.tag != 0);
    let embeds = parsed.embeds.iter().enumerate().map(|(index, e)| (e.tag, Slot::Embed(index)));
    parsed.slots = own.map(|(index, f)| (f.tag, Slot::Field(index))).chain(embeds).collect();
    parsed.slots.sort_by_key(|(tag, _)| *tag);
    parsed
}

fn embed(parsed: &mut Type, line: &'static str, package: &'static str) {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or("");
    let tag = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
    let target = link(words.next().unwrap_or("").trim_start_matches('@'), package);
    let index = parsed.embeds.len();
    // An embedded type that is in the table is whole; a field of its own is inherited as it is.
    for field in &target.get().fields {
        parsed.fields.push(Field { embed: Some(index), ..field.clone() });
    }
    parsed.embeds.push(Embed { name, tag, target });
}

fn field(line: &'static str, package: &'static str) -> Field {
    let (line, default) = match line.split_once(" d=") {
        Some((line, default)) => (line, Some(default)),
        None => (line, None),
    };
    let mut words = line.split(' ');
    let name = words.next().unwrap_or("");
    let tag = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
    let of = of(words.next().unwrap_or(""), package);
    let mut field = Field {
        name,
        tag,
        embed: None,
        of,
        required: false,
        always: false,
        null: false,
        pointer: false,
        default,
        list: None,
        keys: Vec::new(),
        atomic: false,
        granular: false,
        merge: false,
        retain_keys: false,
        replace: false,
        merge_key: "",
        go: "",
    };
    for word in words {
        match word.split_once(':') {
            None if word == "!" => (field.required, field.always) = (true, true),
            None if word == "w" => field.always = true,
            None if word == "o" => field.always = false,
            None if word == "n" => field.null = true,
            None if word == "p" => field.pointer = true,
            None if word == "a" => field.atomic = true,
            None if word == "gr" => field.granular = true,
            Some(("l", "set")) => field.list = Some(List::Set),
            Some(("l", "map")) => field.list = Some(List::Map),
            Some(("l", _)) => field.list = Some(List::Atomic),
            Some(("k", keys)) => field.keys = keys.split(',').collect(),
            Some(("ps", words)) => {
                field.merge = words.split(',').any(|w| w == "merge");
                field.retain_keys = words.split(',').any(|w| w == "retainKeys");
                field.replace = words == "replace";
            }
            Some(("pk", key)) => field.merge_key = key,
            Some(("g", go)) => field.go = go,
            _ => unreachable!("the table has no mark {word}: cargo xtask schema wrote it"),
        }
    }
    let is_time =
        |of: &Of| matches!(of, Of::Type(link) if [".Time", ".MicroTime"].iter().any(|end| link.name().ends_with(end)));
    field.null |= field.always && (field.pointer || matches!(field.of, Of::List(_) | Of::Map(_)) || is_time(&field.of));
    field
}

fn of(word: &'static str, package: &'static str) -> Of {
    if let Some(rest) = word.strip_prefix("[]") {
        return Of::List(Box::new(of(rest, package)));
    }
    if let Some(rest) = word.strip_prefix("{}") {
        return Of::Map(Box::new(of(rest, package)));
    }
    match word {
        "s" => Of::String,
        "b" => Of::Bool,
        "i" => Of::Int32,
        "l" => Of::Int64,
        "d" => Of::Double,
        "y" => Of::Bytes,
        name => Of::Type(link(name.trim_start_matches('@'), package)),
    }
}

/// Names without a dot are of the same package.
fn link(name: &'static str, package: &'static str) -> Link {
    if name.contains('.') {
        Link::new(name)
    } else {
        Link::new(Box::leak(format!("{package}.{name}").into_boxed_str()))
    }
}

fn shape(word: &str) -> Shape {
    match word {
        "quantity" => Shape::Quantity,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "duration" => Shape::Duration,
        "intstr" => Shape::IntOrString,
        "raw" => Shape::Raw,
        "json" => Shape::Json,
        "fields" => Shape::FieldSet,
        "strings" => Shape::Strings,
        "or-array" => Shape::SchemaOrArray,
        "or-bool" => Shape::SchemaOrBool,
        "or-strings" => Shape::SchemaOrStrings,
        _ => unreachable!("the table has no shape {word}: cargo xtask schema wrote it"),
    }
}
