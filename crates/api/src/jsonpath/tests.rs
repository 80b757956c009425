use serde_json::json;

use super::Template;

#[test]
fn paths_ranges_and_filters_read_as_kubectl_reads_them() {
    let value = json!({"kind": "List", "items": [
        {"name": "a", "n": 1, "tags": {"k8s.io/x": "1"}, "c": [{"type": "Ready", "status": "True"}]},
        {"name": "b", "n": 2, "c": []}]});
    for (template, wanted) in [
        ("{.kind}", "List"),
        (".kind", "List"),
        ("{.items[*].name}", "a b"),
        ("{.items[0].name}{\"\\n\"}", "a\n"),
        ("{.items[-1:].name}", "b"),
        ("{.items[0,1]['name','n']}", "a 1 b 2"),
        ("{range .items[*]}{.name}={.n};{end}", "a=1;b=2;"),
        ("{.items[?(@.n>1)].name}", "b"),
        ("{.items[?(@.name==\"a\")].n}", "1"),
        ("{.items[0].c[?(@.type=='Ready')].status}", "True"),
        ("{.items[0].tags.k8s\\.io/x}", "1"),
        ("{..type}", "Ready"),
        ("{.nothing}", ""),
        ("x {$.kind} y", "x List y"),
        ("{.items[0].tags}", "{\"k8s.io/x\":\"1\"}"),
    ] {
        assert_eq!(Template::parse(template).unwrap().render(&value).unwrap(), wanted, "{template}");
    }
    for wrong in ["{.a", "{range .a}", "{end}", "{.a[x]}"] {
        assert!(Template::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Template::parse("{.items[7]}").unwrap().render(&value).is_err());
}
