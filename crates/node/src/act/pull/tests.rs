use serde_json::json;

use super::*;

#[test]
fn pull_secrets_of_both_forms_are_read() {
    let secret = |key: &str, value: serde_json::Value| -> core::Secret {
        let data = STANDARD.encode(value.to_string());
        serde_json::from_value(json!({"data": {key: data}})).unwrap()
    };
    let auth = STANDARD.encode("user:pass:word");
    for secret in [
        secret(".dockerconfigjson", json!({"auths": {"r.io": {"auth": auth}}})),
        secret(".dockercfg", json!({"r.io": {"username": "user", "password": "pass:word"}})),
    ] {
        let found = credentials_of(&secret);
        assert_eq!((found[0].registry.as_str(), found[0].username.as_str()), ("r.io", "user"));
        assert_eq!(found[0].password, "pass:word");
    }
}
