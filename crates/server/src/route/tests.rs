use wire::query::Query;

use super::*;

fn target(path: &str) -> (String, String, String, String, String, String) {
    let t = parse(path).unwrap();
    let gv = if t.group.is_empty() { t.version } else { format!("{}/{}", t.group, t.version) };
    (gv, t.resource, t.namespace, t.name, t.subresource, t.tail)
}

fn strings(of: [&str; 6]) -> (String, String, String, String, String, String) {
    let [a, b, c, d, e, f] = of.map(String::from);
    (a, b, c, d, e, f)
}

#[test]
fn paths_are_taken_apart_as_upstream_does() {
    for (path, want) in [
        ("/api/v1/pods", ["v1", "pods", "", "", "", ""]),
        ("/api/v1/namespaces/a/pods/b", ["v1", "pods", "a", "b", "", ""]),
        ("/api/v1/namespaces/a/pods/b/log", ["v1", "pods", "a", "b", "log", ""]),
        ("/api/v1/namespaces/a/pods/b/proxy/x/y%20z", ["v1", "pods", "a", "b", "proxy", "/x/y%20z"]),
        ("/api/v1/namespaces/a/pods/b/proxy/", ["v1", "pods", "a", "b", "proxy", "/"]),
        ("/api/v1/namespaces/a", ["v1", "namespaces", "a", "a", "", ""]),
        ("/api/v1/namespaces/a/finalize", ["v1", "namespaces", "a", "a", "finalize", ""]),
        ("/api/v1/namespaces", ["v1", "namespaces", "", "", "", ""]),
        ("/apis/apps/v1/namespaces/n/deployments", ["apps/v1", "deployments", "n", "", "", ""]),
        ("/api/v1/nodes/x/proxy/metrics", ["v1", "nodes", "", "x", "proxy", "/metrics"]),
        ("/api/v1/namespaces/a/services/https:b:443/proxy", ["v1", "services", "a", "https:b:443", "proxy", ""]),
    ] {
        assert_eq!(target(path), strings(want), "{path}");
    }
    for (path, inside) in [
        ("/api/v1/namespaces/a", false),
        ("/api/v1/namespaces/a/status", false),
        ("/api/v1/nodes/a", false),
        ("/api/v1/namespaces/a/pods", true),
        ("/api/v1/namespaces/a/namespaces/a", true),
        ("/api/v1/watch/namespaces/a/pods/b", true),
    ] {
        assert_eq!(parse(path).unwrap().inside, inside, "{path}");
    }
    assert!(parse("/api/v1/watch/namespaces/a/pods").unwrap().watch_prefix);
    for path in ["/healthz", "/api", "/api/v1", "/apis/apps/v1", "/apis/apps"] {
        assert_eq!(parse(path), None, "{path}");
    }
}

#[test]
fn a_query_decodes_and_repeats() {
    let q = Query::parse("command=a+b&command=%2Fbin%2Fsh&watch&stdin=false&labelSelector=a%3Db");
    assert_eq!(q.all("command").collect::<Vec<_>>(), ["a b", "/bin/sh"]);
    assert!(q.flag("watch") && !q.flag("stdin") && !q.flag("tty"));
    assert_eq!(q.get("labelSelector"), "a=b");
}
