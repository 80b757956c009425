//! What a container finds in its environment.

use std::collections::BTreeMap;

use crate::view::{Container, Pod};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::environment;
use crate::downward::Facts;
use crate::sources::Fixed;
use crate::spec::Mounted;

fn sources() -> Fixed {
    let mut sources = Fixed::default();
    let key = |name: &str| ("shop".to_string(), name.to_string());
    let config = json!({"data": {"COLOR": "red", "bad=name": "x"}});
    sources.config_maps.insert(key("config"), serde_json::from_value(config).unwrap());
    sources.secrets.insert(key("secret"), serde_json::from_value(json!({"data": {"PASS": "cGFzcw=="}})).unwrap());
    let service = |namespace: &str, name: &str, address: &str| {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}}))
        .unwrap()
    };
    sources.services = vec![
        service("default", "kubernetes", "10.96.0.1"),
        service("shop", "my-db", "10.96.0.9"),
        service("shop", "headless", "None"),
    ];
    sources
}

fn check(spec: Value, container: Value, wanted: Expect) {
    check_with(BTreeMap::new(), spec, container, wanted);
}

fn check_with(volumes: BTreeMap<String, Mounted>, spec: Value, container: Value, wanted: Expect) {
    let pod: Pod = serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "shop", "labels": {"a": "b"}}, "spec": spec}),
    )
    .unwrap();
    let container: Container = serde_json::from_value(container).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let text = match runtime.block_on(environment(&pod, &container, &Facts::default(), &sources(), &volumes)) {
        Ok(environment) => {
            let lines = environment.variables.iter().map(|(k, v)| format!("{k}={v}\n"));
            lines.chain(environment.warnings.iter().map(|(r, m)| format!("! {r}: {m}\n"))).collect()
        }
        Err(error) => format!("error: {error}\n"),
    };
    wanted.assert_eq(&text);
}

#[test]
fn variables_see_the_ones_before_them_and_service_links_come_last() {
    check(
        json!({"containers": [], "enableServiceLinks": true}),
        json!({"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(LATER)"},
            {"name": "LATER", "value": "$(MY_DB_SERVICE_HOST)"}, {"name": "A", "value": "$(A)2"},
            {"name": "KUBERNETES_PORT", "value": "mine"}]}),
        expect![[r#"
            A=12
            B=1$(LATER)
            LATER=10.96.0.9
            KUBERNETES_PORT=mine
            KUBERNETES_PORT_80_TCP=tcp://10.96.0.1:80
            KUBERNETES_PORT_80_TCP_ADDR=10.96.0.1
            KUBERNETES_PORT_80_TCP_PORT=80
            KUBERNETES_PORT_80_TCP_PROTO=tcp
            KUBERNETES_SERVICE_HOST=10.96.0.1
            KUBERNETES_SERVICE_PORT=80
            KUBERNETES_SERVICE_PORT_HTTP=80
            MY_DB_PORT=tcp://10.96.0.9:80
            MY_DB_PORT_80_TCP=tcp://10.96.0.9:80
            MY_DB_PORT_80_TCP_ADDR=10.96.0.9
            MY_DB_PORT_80_TCP_PORT=80
            MY_DB_PORT_80_TCP_PROTO=tcp
            MY_DB_SERVICE_HOST=10.96.0.9
            MY_DB_SERVICE_PORT=80
            MY_DB_SERVICE_PORT_HTTP=80
        "#]],
    );
}

#[test]
fn sources_fill_the_environment_and_bad_names_are_told() {
    let container = json!({"name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "config"}}, {"secretRef": {"name": "none", "optional": true}}],
        "env": [{"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "PASS"}}},
            {"name": "NO", "valueFrom": {"configMapKeyRef": {"name": "config", "key": "no", "optional": true}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}]});
    let mut expected = sources();
    expected.services.clear();
    check(
        json!({"containers": [], "enableServiceLinks": false}),
        container,
        expect![[r#"
            P_COLOR=red
            PASS=pass
            LABEL=b
            KUBERNETES_PORT=tcp://10.96.0.1:80
            KUBERNETES_PORT_80_TCP=tcp://10.96.0.1:80
            KUBERNETES_PORT_80_TCP_ADDR=10.96.0.1
            KUBERNETES_PORT_80_TCP_PORT=80
            KUBERNETES_PORT_80_TCP_PROTO=tcp
            KUBERNETES_SERVICE_HOST=10.96.0.1
            KUBERNETES_SERVICE_PORT=80
            KUBERNETES_SERVICE_PORT_HTTP=80
            ! InvalidEnvironmentVariableNames: Keys [bad=name] from the EnvFrom configMap shop/config were skipped since they are considered invalid environment variable names.
        "#]],
    );
}

#[test]
fn a_missing_source_or_key_is_named() {
    let with = |value_from: Value| json!({"name": "c", "env": [{"name": "X", "valueFrom": value_from}]});
    let spec = json!({"containers": []});
    check(
        spec.clone(),
        with(json!({"configMapKeyRef": {"name": "config", "key": "no"}})),
        expect![[r#"
            error: couldn't find key no in ConfigMap shop/config
        "#]],
    );
    check(
        spec,
        with(json!({"secretKeyRef": {"name": "none", "key": "k"}})),
        expect![[r#"
            error: secret "none" not found
        "#]],
    );
}

#[test]
fn a_variable_comes_from_a_file_of_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("env"), "KEY='value'\nEMPTY=''\n").unwrap();
    let source = runtime::MountSource::Host(folder.path().into());
    let volumes = BTreeMap::from([("v".to_owned(), Mounted { source, read_only: false })]);
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": []}})).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let of = |volume: &str, path: &str, key: &str, optional: bool| {
        let reference = json!({"volumeName": volume, "path": path, "key": key, "optional": optional});
        let env = json!([{"name": "A", "valueFrom": {"fileKeyRef": reference}}]);
        let container = serde_json::from_value(json!({"name": "c", "env": env})).unwrap();
        let found = runtime.block_on(environment(&pod, &container, &Facts::default(), &Fixed::default(), &volumes));
        found.map(|e| e.get("A").map(str::to_owned)).map_err(|e| e.message)
    };
    assert_eq!(of("v", "env", "KEY", false), Ok(Some("value".into())));
    assert_eq!(of("v", "env", "EMPTY", true), Ok(None));
    let missing = format!("environment variable key \"EMPTY\" not found in file \"{}/env\"", folder.path().display());
    assert_eq!(of("v", "env", "EMPTY", false), Err(missing));
    // Optional is the key alone.
    std::fs::write(folder.path().join("broken"), "KEY = 'spaced'\n").unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    for path in ["absent", "broken", "folder"] {
        for optional in [false, true] {
            assert_eq!(of("v", path, "KEY", optional), Err("couldn't parse env file".into()), "{path}");
        }
    }
    assert_eq!(of("v", "env", "OTHER", true), Ok(None));
    assert_eq!(of("w", "env", "KEY", true), Err("cannot find the volume \"w\" referenced by FileKeyRef".into()));
}
