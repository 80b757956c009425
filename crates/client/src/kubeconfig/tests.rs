//! Kubeconfig files: choice, merging, relative paths, and what is refused.

use super::*;

const FILE: &str = r#"
apiVersion: v1
kind: Config
current-context: one
preferences: {}
clusters:
- name: c1
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority-data: Q0E=
    tls-server-name: kubernetes
- name: c2
  cluster: {server: "http://localhost:8080", insecure-skip-tls-verify: true}
contexts:
- name: one
  context: {cluster: c1, user: u1, namespace: team}
- name: two
  context: {cluster: c2, user: u2}
users:
- name: u1
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
- name: u2
  user: {token: secret}
- name: u3
  user: {exec: {command: aws}}
"#;

#[test]
fn the_current_context_decides_unless_another_is_asked_for() {
    let loaded = parse(FILE, Path::new("/"), None).unwrap();
    assert_eq!((loaded.namespace.as_str(), loaded.context.as_str()), ("team", "one"));
    assert_eq!(loaded.https.server, "https://10.0.0.1:6443");
    assert_eq!(loaded.https.ca.as_deref(), Some("CA"));
    assert_eq!(loaded.https.tls_server_name.as_deref(), Some("kubernetes"));
    let pair = loaded.https.identity.unwrap();
    assert_eq!((pair.certificate.as_str(), pair.key.as_str()), ("CERT", "KEY"));
    let loaded = parse(FILE, Path::new("/"), Some("two")).unwrap();
    assert_eq!(loaded.namespace, "default");
    assert!(loaded.https.insecure && matches!(loaded.https.bearer, Some(Bearer::Token(token)) if token == "secret"));
}

#[test]
fn paths_start_at_the_files_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), "PEM").unwrap();
    let text = "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: ca.pem}}]\n\
        contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n\
        users: [{name: u, user: {tokenFile: token}}]\n";
    let file = dir.path().join("config");
    std::fs::write(&file, text).unwrap();
    let loaded = load(Some(&file), None).unwrap();
    assert_eq!(loaded.https.ca.as_deref(), Some("PEM"));
    assert!(matches!(loaded.https.bearer, Some(Bearer::File(path)) if path == dir.path().join("token")));
}

#[test]
fn what_is_missing_or_not_supported_is_named() {
    let error = |context: &str, from: &str, to: &str| {
        let text = FILE.replace(from, to);
        parse(&text, Path::new("/"), Some(context)).err().unwrap().to_string()
    };
    assert_eq!(error("three", "", ""), "context \"three\" does not exist in the kubeconfig");
    assert_eq!(
        error("one", "cluster: c1, ", "cluster: c9, "),
        "cluster \"c9\" of context \"one\" does not exist in the kubeconfig"
    );
    let exec = error("two", "user: u2", "user: u3");
    assert_eq!(exec, "exec (a credential plugin) in the kubeconfig is not supported; use a certificate or a token");
    let half = error("one", "    client-key-data: S0VZ\n", "");
    assert_eq!(half, "the kubeconfig's user has a client certificate without its key, or the reverse");
    assert!(error("one", "Q0E=", "a$b").contains("no base64"));
}
