use serde_json::json;

use super::*;
use crate::decode::{FieldValidation, tree};

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

/// Upstream's own pairs of the same object, in both directions and to the byte.
#[test]
fn upstreams_objects_are_the_same_in_both_encodings() {
    let folder = std::path::Path::new("/work/shared/upstream/testdata");
    let Ok(files) = std::fs::read_dir(folder) else {
        eprintln!("skipped: no {}", folder.display());
        return;
    };
    let mut checked = 0;
    for file in files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "pb")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let object: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
        let Some(schema) = crate::decode::tests::schema_of(&object) else { continue };
        let body = std::fs::read(&file).unwrap();
        let read = decode(&body, schema).unwrap_or_else(|e| panic!("{name}: {e}"));
        let canonical = tree(read, schema, FieldValidation::Strict).unwrap().value;
        assert_eq!(canonical, tree(object.clone(), schema, FieldValidation::Strict).unwrap().value, "{name}");
        let again = decode(&encode(schema, &canonical).unwrap(), schema).unwrap();
        assert_eq!(tree(again, schema, FieldValidation::Strict).unwrap().value, canonical, "{name}, again");
        assert!(encode(schema, &object).unwrap() == body, "{name} to the byte");
        checked += 1;
    }
    assert!(checked > 180, "{checked}");
}

#[test]
fn lists_and_events_are_joined_from_messages() {
    let maps = [json!({"metadata": {"name": "a"}, "data": {"k": "v"}}), json!({"metadata": {"name": "b"}})];
    let messages: Vec<Vec<u8>> = maps.iter().map(|m| message(CONFIG_MAP, m).unwrap()).collect();
    let items = messages.iter().map(Vec::as_slice);
    let body = list("v1", "ConfigMapList", &json!({"resourceVersion": "5", "remainingItemCount": 7}), items).unwrap();
    let read = decode(&body, "io.k8s.api.core.v1.ConfigMapList").unwrap();
    let metadata = json!({"resourceVersion": "5", "remainingItemCount": 7});
    assert_eq!(read, json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": maps}));

    let frame = watch_frame("ADDED", &envelope("v1", "ConfigMap", &messages[0]));
    assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
    assert_eq!(&frame[4..11], b"\x0a\x05ADDED");
}

#[test]
fn what_is_cut_short_is_refused_and_what_is_unknown_passed_over() {
    assert_eq!(decode(b"{}", CONFIG_MAP), Err(ProtoError::Magic));
    let whole = encode(CONFIG_MAP, &json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}})).unwrap();
    for end in 5..whole.len() {
        // Cut at a field's end it is a shorter message; anywhere else it is none.
        if let Ok(read) = decode(&whole[..end], CONFIG_MAP) {
            assert!(read.as_object().unwrap().len() <= 3);
        }
    }
    assert_eq!(decode(b"k8s\0\x12\xff\xff", CONFIG_MAP), Err(ProtoError::Malformed));
    let mut message = message(CONFIG_MAP, &json!({"data": {"k": "v"}})).unwrap();
    wire::number(99, 1, &mut message);
    let read = decode(&envelope("v1", "ConfigMap", &message), CONFIG_MAP).unwrap();
    assert_eq!(read["data"], json!({"k": "v"}));
    let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"});
    assert!(matches!(encode("io.k8s.apimachinery.pkg.apis.meta.v1.Table", &table), Err(ProtoError::Formless(_))));
}

#[test]
fn durations_are_gos() {
    let cases = [
        (0, "0s"),
        (1_500_000_000, "1.5s"),
        (3_600_000_000_000, "1h0m0s"),
        (90_000_000_000, "1m30s"),
        (-100_000_000, "-100ms"),
        (1_500, "1.5µs"),
        (7, "7ns"),
    ];
    for (nanos, text) in cases {
        assert_eq!(read::nanoseconds(text), nanos, "{text}");
        assert_eq!(read::duration(nanos), text);
    }
}

#[test]
fn no_flipped_byte_makes_the_reader_panic() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "creationTimestamp": "2024-01-02T03:04:05Z"},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"httpGet": {"port": 80}}}]}});
    let whole = encode("io.k8s.api.core.v1.Pod", &pod).unwrap();
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut body = whole.clone();
            body[at] = value;
            if let Ok(read) = decode(&body, "io.k8s.api.core.v1.Pod") {
                let _ = tree(read, "io.k8s.api.core.v1.Pod", FieldValidation::Strict);
            }
        }
    }
}

#[test]
fn what_is_not_what_its_schema_says_ends_and_writes_nothing() {
    let scaler = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler";
    let selector = |labels: Value| json!({"spec": {"metrics": [{"type": "Pods", "pods": {"metric": {"name": "m", "selector": {"matchLabels": labels}}}}]}});
    let bent = encode(scaler, &selector(json!("x"))).unwrap();
    assert_eq!(decode(&bent, scaler).unwrap(), decode(&encode(scaler, &selector(json!({}))).unwrap(), scaler).unwrap());
    assert!(encode(scaler, &json!({"spec": {"metrics": "x"}})).is_ok());
}

/// A value of every field, two types deep, as canonical JSON has it.
fn sample(of: &crate::schema::Of, depth: usize) -> Value {
    use crate::schema::{Of, Shape};
    match of {
        Of::String => json!("a \"text\" of ä\n"),
        Of::Bool => json!(true),
        Of::Int32 => json!(-7),
        Of::Int64 => json!(1_i64 << 40),
        Of::Double => json!(2.5),
        Of::Bytes => json!("AAEC/w=="),
        Of::List(of) => json!([sample(of, depth), sample(of, depth)]),
        Of::Map(of) => json!({"one": sample(of, depth), "two/x": sample(of, depth)}),
        Of::Type(link) => match link.get().shape {
            Shape::Object if depth == 0 => json!({}),
            Shape::Object => whole(link.get(), depth - 1),
            Shape::Quantity => json!("100m"),
            Shape::Time => json!("2026-01-01T00:00:00Z"),
            Shape::MicroTime => json!("2026-01-01T00:00:00.000001Z"),
            Shape::Duration => json!("1h0m0s"),
            Shape::IntOrString => json!("25%"),
            Shape::Raw | Shape::Json | Shape::FieldSet => json!({"f:a": {".": {}}, "b": [1, "x"]}),
            Shape::Strings => json!(["x", "y"]),
            Shape::SchemaOrArray | Shape::SchemaOrStrings => json!({"type": "string"}),
            Shape::SchemaOrBool => json!(false),
        },
    }
}

fn whole(of: &Type, depth: usize) -> Value {
    of.fields
        .iter()
        .map(|field| (field.name.to_owned(), sample(&field.of, depth)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn every_type_is_transcoded_to_what_its_tree_becomes() {
    let mut checked = 0;
    for of in schema::names().filter_map(schema::get).filter(|of| of.shape == schema::Shape::Object) {
        for value in [whole(of, 2), whole(of, 0), json!({}), json!({"unknown": [{}], "metadata": null})] {
            let Ok(tree) = message(of.name, &value) else { continue };
            let mut direct = Vec::new();
            transcode(of, value.to_string().as_bytes(), &mut direct).unwrap_or_else(|why| panic!("{}: {why}", of.name));
            let read = |message: &[u8]| decode(&envelope("v1", "X", message), of.name);
            assert!(read(&direct) == read(&tree), "{}: {value}", of.name);
            checked += 1;
        }
    }
    assert!(checked > 2000, "{checked}");
    let pod = schema::get("io.k8s.api.core.v1.Pod").unwrap();
    for wrong in ["", "[]", "{", r#"{"spec":[]}"#, r#"{"spec":{"containers":{}}}"#, "{} x"] {
        assert!(transcode(pod, wrong.as_bytes(), &mut Vec::new()).is_err(), "{wrong}");
    }
}
