//! Label selectors in refusals: shown in the order of Go's fields, and as null where there is none.

use serde_json::Value;

use super::at::{At, Errors};
use api::FieldError;

/// The selector here is wrong.
pub fn wrong(at: &At, detail: &str) -> FieldError {
    at.invalid_shown(shown(at.value), detail)
}

/// It may not differ from the old one.
pub fn immutable(at: &At, old: &At, errors: &mut Errors) {
    if at.value != old.value {
        errors.push(wrong(at, "field is immutable"));
    }
}

/// `{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}`
pub fn shown(selector: &Value) -> String {
    if selector.is_null() {
        return "null".into();
    }
    let part = |of: &Value, name: &str| {
        let value = of.get(name)?;
        let is_empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|map| map.is_empty());
        (!is_empty && !value.is_null()).then(|| format!("{name:?}:{value}"))
    };
    let text = |of: &Value, name: &str| format!("{name:?}:{}", Value::from(of[name].as_str().unwrap_or_default()));
    let expression = |of: &Value| {
        let parts = [Some(text(of, "key")), Some(text(of, "operator")), part(of, "values")];
        format!("{{{}}}", parts.into_iter().flatten().collect::<Vec<_>>().join(","))
    };
    let all = selector["matchExpressions"].as_array().filter(|all| !all.is_empty());
    let expressions =
        all.map(|all| format!("\"matchExpressions\":[{}]", all.iter().map(expression).collect::<Vec<_>>().join(",")));
    format!("{{{}}}", part(selector, "matchLabels").into_iter().chain(expressions).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_shown_as_go_prints_them() {
        let check = |selector: Value, want: &str| assert_eq!(shown(&selector), want);
        check(Value::Null, "null");
        check(json!({}), "{}");
        check(json!({"matchLabels": {}, "matchExpressions": []}), "{}");
        check(
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}, {"operator": "x"}],
                "matchLabels": {"b": "", "a": "b"}}),
            r#"{"matchLabels":{"a":"b","b":""},"matchExpressions":[{"key":"a","operator":"In","values":["b"]},{"key":"","operator":"x"}]}"#,
        );
    }
}
