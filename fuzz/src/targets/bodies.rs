//! What clients send: bodies of every kind, patches of every type, selectors and quantities.

use std::collections::BTreeMap;

use api::decode::{self, FieldValidation};
use api::managed::{self, Write};
use api::patch::{self, PatchKind};
use api::proto;
use api::quantity::Quantity;
use api::selector::{Fields, Labels};
use kinds::{Context, Kind, print};
use serde_json::Value;

use super::{OBJECTS, WORDS, samples};
use crate::Target;

pub const JSON: Target = Target { name: "json", samples: objects, words: WORDS, run: json };
pub const YAML: Target = Target { name: "yaml", samples: yamls, words: WORDS, run: yaml };
pub const PROTOBUF: Target = Target { name: "protobuf", samples: messages, words: &[], run: protobuf };
pub const STRATEGIC: Target = Target { name: "strategic", samples: pairs, words: WORDS, run: strategic };
pub const DIFFERENCE: Target = Target { name: "difference", samples: pairs, words: WORDS, run: difference };
pub const MERGE: Target = Target { name: "merge", samples: pairs, words: WORDS, run: merge };
pub const JSON_PATCH: Target = Target { name: "json-patch", samples: operations, words: WORDS, run: json_patch };
pub const APPLY: Target = Target { name: "apply", samples: pairs, words: WORDS, run: apply };
pub const SELECTOR: Target = Target { name: "selector", samples: selectors, words: SELECTOR_WORDS, run: selector };
pub const QUANTITY: Target = Target { name: "quantity", samples: quantities, words: QUANTITY_WORDS, run: quantity };

const SELECTOR_WORDS: &[&str] = &[" in (", " notin (", "!", "==", "!=", ",", ")", "a/b", "metadata.name=", "\\,"];
const QUANTITY_WORDS: &[&str] = &["Ki", "Mi", "Gi", "Ei", "m", "u", "n", "k", "E", "e9", "E-9", ".", "+", "-"];

fn objects() -> Vec<Vec<u8>> {
    samples(OBJECTS)
}

fn yamls() -> Vec<Vec<u8>> {
    let more = [
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: &l {app: web}}\nspec:\n  containers:\n  - name: c\n    image: toolbox\n    args: [\"a\", 'b']\n    env:\n    - {name: A, value: \"010\"}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: m\ndata:\n  a: |\n    text\n     more\n  b: >-\n    folded\n    text\n",
    ];
    [samples(OBJECTS), samples(&more)].concat()
}

fn messages() -> Vec<Vec<u8>> {
    let encoded = OBJECTS.iter().filter_map(|text| {
        let value: Value = serde_json::from_str(text).ok()?;
        proto::encode(&of(&value).schema, &value).ok()
    });
    encoded.collect()
}

/// Two objects, or an object and a patch, one after the other.
fn pairs() -> Vec<Vec<u8>> {
    let patches = [
        r#"{"spec":{"containers":[{"name":"c","image":"other","ports":[{"containerPort":81,"protocol":"TCP"}]},{"name":"d","$patch":"delete"}],"$setElementOrder/containers":[{"name":"c"}]}}"#,
        r#"{"metadata":{"labels":{"app":null,"b":"c"},"$deleteFromPrimitiveList/finalizers":["x/y"]},"spec":{"volumes":[{"$retainKeys":["name","configMap"],"name":"data","configMap":{"name":"m"},"emptyDir":null}]}}"#,
    ];
    let pod = OBJECTS[0];
    let changed = pod.replace("toolbox:1", "toolbox:2").replace("\"first\"", "\"other\"").replace("80", "90");
    let applied = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"default","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","image":"mine"},{"name":"d","image":"new"}]}}"#;
    let seconds = patches.iter().copied().chain([changed.as_str(), applied]);
    let of_pod = seconds.map(|second| format!("{pod}\n{second}"));
    let same = OBJECTS.iter().map(|object| format!("{object}\n{object}"));
    of_pod.chain(same).map(String::into_bytes).collect()
}

fn operations() -> Vec<Vec<u8>> {
    let patches = [
        r#"[{"op":"add","path":"/spec/containers/-","value":{"name":"d"}},{"op":"remove","path":"/metadata/labels/app"}]"#,
        r#"[{"op":"test","path":"/spec/containers/0/name","value":"c"},{"op":"replace","path":"/metadata/annotations/a~1b","value":"x"},{"op":"copy","from":"/spec","path":"/spec/x"},{"op":"move","from":"/status","path":"/metadata/s"}]"#,
    ];
    patches.iter().map(|patch| format!("{}\n{patch}", OBJECTS[0]).into_bytes()).collect()
}

fn selectors() -> Vec<Vec<u8>> {
    samples(&["a=b,c!=d", "a in (b, c),!d,e", "x/y notin (1)", "metadata.name=a,status.phase!=Running", "a==b", ""])
}

fn quantities() -> Vec<Vec<u8>> {
    samples(&["100m", "1.5Gi", "12e6", "-0.5", "1000000000000n", "0", "8Ei", "1u", "+5k"])
}

/// The row of an object's kind; pods for what names none.
fn of(object: &Value) -> &'static Kind {
    let word = |name: &str| object[name].as_str().unwrap_or_default();
    let pod = || kinds::built_in().by_kind("v1", "Pod").expect("the table has pods");
    kinds::built_in().by_kind(word("apiVersion"), word("kind")).unwrap_or_else(pod)
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..at], input.get(at + 1..).unwrap_or_default())
}

/// Decodes, and holds that what is canonical decodes to itself; then everything else that a write does.
fn accept(body: &[u8], content_type: &str, of: &'static Kind) -> Option<Value> {
    let decoded = decode::decode(body, content_type, &of.schema, FieldValidation::Warn).ok()?.value;
    let again = decode::decode(&bytes(&decoded), "application/json", &of.schema, FieldValidation::Strict);
    match again {
        Ok(again) => assert_eq!(again.value, decoded, "a decoded body decodes to something else"),
        Err(why) => panic!("a decoded body is refused: {why}: {decoded}"),
    }
    admit(of, &decoded);
    Some(decoded)
}

/// Defaults, validation, warnings, the table's row, protobuf: none may break on any decoded body.
fn admit(of: &Kind, decoded: &Value) {
    let context = Context { now: "2026-01-01T00:00:00Z".into(), ..Context::default() };
    let mut object = decoded.clone();
    of.prepare(&mut object, None, &context);
    of.default(&mut object);
    let defaulted = object.clone();
    of.default(&mut object);
    assert_eq!(object, defaulted, "defaults of defaults differ");
    let _ = of.validate(&object, None, &context);
    let _ = of.validate(&object, Some(decoded), &context);
    let _ = of.warnings(&object, None);
    let _ = print::row(of, &object, &context.now, print::Include::Metadata);
    if let Ok(message) = proto::encode(&of.schema, &object) {
        let back = proto::decode(&message, &of.schema);
        assert!(back.is_ok(), "a message that we wrote cannot be read: {back:?}");
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn json(input: &[u8]) -> bool {
    let row = serde_json::from_slice(input).map_or_else(|_| of(&Value::Null), |value| of(&value));
    accept(input, "application/json", row).is_some()
}

fn yaml(input: &[u8]) -> bool {
    let Ok(value) = decode::untyped(input) else { return false };
    accept(input, "application/yaml", of(&value)).is_some()
}

fn protobuf(input: &[u8]) -> bool {
    let mut read = false;
    for sample in OBJECTS {
        let row = of(&serde_json::from_str(sample).expect("samples are JSON"));
        read |= accept(input, proto::MEDIA_TYPE, row).is_some();
    }
    read
}

/// An object as the store would have it, and the rest of the input.
fn live(input: &[u8]) -> Option<(&'static Kind, Value, &[u8])> {
    let (first, rest) = split(input);
    let value: Value = serde_json::from_slice(first).ok()?;
    let row = of(&value);
    let decoded = decode::tree(value, &row.schema, FieldValidation::Ignore).ok()?;
    Some((row, decoded.value, rest))
}

fn patched(input: &[u8], kind: PatchKind) -> bool {
    let Some((row, live, body)) = live(input) else { return false };
    let Ok(patched) = patch::patched(kind, &row.schema, &live, body, FieldValidation::Warn) else { return false };
    admit(row, &patched.value);
    true
}

fn strategic(input: &[u8]) -> bool {
    patched(input, PatchKind::Strategic)
}

fn merge(input: &[u8]) -> bool {
    patched(input, PatchKind::Merge)
}

fn json_patch(input: &[u8]) -> bool {
    patched(input, PatchKind::Json)
}

/// The patch from one object to another makes the other of the one.
fn difference(input: &[u8]) -> bool {
    let Some((row, mut from, rest)) = live(input) else { return false };
    let Some((other, mut to, _)) = live(rest) else { return false };
    if other.schema != row.schema {
        return false;
    }
    // A null of a patch takes away: what is shown as null is unset.
    drop_nulls(&mut from);
    drop_nulls(&mut to);
    let body = patch::two_way_merge(&from, &to);
    let made = patch::merge(&from, &bytes(&body)).expect("a difference is a patch");
    assert_eq!(made, to, "by the merge patch {body} of {from}");
    let Ok(body) = patch::two_way_strategic(&row.schema, &from, &to) else { return false };
    let Ok(made) = patch::strategic(&row.schema, &from, &bytes(&body)) else { return false };
    if !is_keyed(row, &from) || !is_keyed(row, &to) {
        return true;
    }
    assert_eq!(made, to, "by the strategic patch {body} of {from}");
    let again = patch::two_way_strategic(&row.schema, &to, &to).expect("an object differs not from itself");
    assert_eq!(again, serde_json::json!({}), "of {to} to itself");
    true
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Every element of a list that merges has its key, and no two have the same: as in all that is valid.
fn is_keyed(row: &Kind, object: &Value) -> bool {
    names_once(object) && patch::two_way_strategic(&row.schema, object, object).is_ok()
}

/// No list holds two elements that a merge would take for one: such objects have no patch between them.
fn names_once(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().all(names_once),
        Value::Array(items) => {
            let keys = ["name", "key", "type", "containerPort", "port", "mountPath", "uid", "topologyKey", "ip"];
            let twice = keys.iter().any(|key| {
                let mut seen = BTreeMap::<String, u32>::new();
                items
                    .iter()
                    .filter_map(|item| item.get(key))
                    .for_each(|v| *seen.entry(v.to_string()).or_default() += 1);
                seen.values().any(|count| *count > 1)
            });
            let plain: Vec<String> = items.iter().filter(|item| !item.is_object()).map(Value::to_string).collect();
            let unique: std::collections::BTreeSet<&String> = plain.iter().collect();
            !twice && unique.len() == plain.len() && items.iter().all(names_once)
        }
        _ => true,
    }
}

/// Applying twice is applying once.
fn apply(input: &[u8]) -> bool {
    let Some((row, live, body)) = live(input) else { return false };
    let Ok(applied) = decode::untyped(body) else { return false };
    let keyed = is_keyed(row, &live);
    let write = Write {
        schema: &row.schema,
        api_version: &row.api_version(),
        manager: "fuzz",
        subresource: "",
        time: "2026-01-01T00:00:00Z",
        resets: row.resets(""),
    };
    let Ok(once) = managed::apply(&write, Some(&live), &applied, true) else { return false };
    let Ok(once) = decode::tree(once, &row.schema, FieldValidation::Ignore) else { return false };
    match managed::apply(&write, Some(&once.value), &applied, false) {
        Ok(twice) => {
            let twice = decode::tree(twice, &row.schema, FieldValidation::Ignore).expect("it was decoded once");
            assert!(!keyed || twice.value == once.value, "applied twice: {}, once: {}", twice.value, once.value);
        }
        Err(_) if !keyed => return false,
        Err(why) => panic!("what was applied cannot be applied again: {why}"),
    }
    let mut updated = once.value.clone();
    managed::update(&Write { manager: "other", ..write }, Some(&live), &mut updated);
    true
}

fn selector(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let pod: Value = serde_json::from_str(OBJECTS[0]).expect("samples are JSON");
    let fields = Fields::parse(&text).ok().map(|fields| {
        let _ = of(&pod).check(&fields);
        of(&pod).selects(&fields, &pod)
    });
    let by_tree = serde_json::from_str(&text).ok().and_then(|value| Labels::from_label_selector(&value).ok());
    let parsed = Labels::parse(&text).ok().or(by_tree).map(|selector| selector.matches(&labels));
    fields.is_some() || parsed.is_some()
}

/// What is printed reads as the same amount, and the arithmetic does not break.
fn quantity(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let Ok(parsed) = Quantity::parse(&text) else { return false };
    let printed = parsed.to_string();
    let again = Quantity::parse(&printed).unwrap_or_else(|why| panic!("{text:?} prints as {printed:?}: {why}"));
    assert_eq!((again.nanos(), again.to_string()), (parsed.nanos(), printed.clone()), "{text:?} prints as {printed:?}");
    let _ = (parsed.value(), parsed.milli_value(), parsed.round_up_milli(), parsed.plus(parsed), parsed.minus(again));
    true
}
