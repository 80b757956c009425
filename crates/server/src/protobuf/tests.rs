use api::decode::{self, FieldValidation};

use super::*;

/// Upstream's own pairs of the same object (`shared/upstream/testdata`), where the machine has them.
#[test]
fn upstreams_objects_are_the_same_in_both_encodings() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|a| a.join("shared/upstream/testdata"));
    let Some(folder) = folder.chain(["/work/shared/upstream/testdata".into()]).find(|f| f.is_dir()) else {
        eprintln!("skipped: no upstream test data on this machine");
        return;
    };
    let mut seen = 0;
    for kind in api::KINDS {
        let group = if kind.group.is_empty() { "core" } else { kind.group };
        let path = |suffix: &str| folder.join(format!("{group}.{}.{}.{suffix}", kind.version, kind.kind));
        let (Ok(pb), Ok(text)) = (std::fs::read(path("pb")), std::fs::read(path("json"))) else { continue };
        let canonical = |value: Value| decode::tree(value, kind.schema, FieldValidation::Ignore).unwrap().value;
        let from_pb = canonical(decode(&pb, kind.schema).unwrap());
        let from_json = canonical(serde_json::from_slice(&text).unwrap());
        pretty(&from_pb, &from_json, kind.kind);
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} kinds were compared");
}

fn pretty(a: &Value, b: &Value, at: &str) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for key in x.keys().chain(y.keys()) {
                pretty(x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"));
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (index, (x, y)) in x.iter().zip(y).enumerate() {
                pretty(x, y, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(a, b, "{at}"),
    }
}

#[test]
fn what_is_cut_short_is_refused() {
    for body in [&b"k8s\0"[..], b"", b"k8s\0\x12\xff\xff", b"{}"] {
        let cut = decode(body, "io.k8s.api.core.v1.ConfigMap");
        assert!(cut.is_err() || body == b"k8s\0", "{body:?}");
    }
}
