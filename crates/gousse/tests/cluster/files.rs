//! What files say: fields nobody knows, kinds nobody serves, namespaces, and fields that several set.

use std::process::Command;

use crate::stage::{Instance, Output, Stage, play};

/// A ConfigMap with this name and these further lines.
fn map(name: &str, more: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{x: a}}}}\n{more}\n---\n")
}

const UNKNOWN: &str = "strict decoding error: unknown field \"dota\"";
/// What a server says of it that applies.
const UNDECLARED: &str = ".dota: field not declared in schema";
const NONSENSE: &str = "apiVersion: v9\nkind: Nonsense\nmetadata: {name: x}\n---\n";

#[test]
fn files_are_judged_as_kubectl_judges_them() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        unknown_fields(stage, &own);
        kinds_that_nobody_serves(stage, &own);
        namespaces(stage, &own);
        nothing_in_them(stage, &own);
        fields_of_several(stage, &own);
        up.kill();
        own.down(true);
    });
}

fn unknown_fields(stage: &Stage, own: &Instance) {
    let file = stage.file("unknown.yaml", &map("unknown", "dota: {k: v}")).display().to_string();
    for words in
        ["create -f", "apply -f", "create --validate=true -f", "apply --validate=strict -f", "create --validate -f"]
    {
        let done = own.gousse(&format!("{words} {file}"));
        let why = if words.starts_with("apply") { UNDECLARED } else { UNKNOWN };
        assert!(done.code == Some(1) && done.err.contains(why), "{words}: {done:?}");
    }
    for (words, err) in [
        ("create --validate=warn", "Warning: unknown field \"dota\"\n"),
        ("create --validate=ignore", ""),
        ("create --validate=false", ""),
    ] {
        let done = own.gousse(&format!("{words} -f {file}"));
        assert!(done.ok && done.err == err && done.out == "configmap/unknown created\n", "{words}: {done:?}");
        own.must("delete cm unknown");
    }
    let done = own.gousse(&format!("apply --validate=perhaps -f {file}"));
    let why =
        "error: invalid - validate option \"perhaps\"; must be one of: strict (or true), warn, ignore (or false)\n";
    assert!(done.code == Some(1) && done.err == why, "{done:?}");
}

fn kinds_that_nobody_serves(stage: &Stage, own: &Instance) {
    let text = [map("first", ""), NONSENSE.into(), map("last", "")].concat();
    let file = stage.file("some.yaml", &text).display().to_string();
    let why = format!(
        "error: resource mapping not found for name: \"x\" namespace: \"\" from {file:?}: no matches for kind \"Nonsense\" in version \"v9\"\nensure CRDs are installed first\n"
    );
    for (verb, out) in [
        ("create", "configmap/first created\nconfigmap/last created\n"),
        (
            "delete",
            "configmap \"first\" deleted from default namespace\nconfigmap \"last\" deleted from default namespace\n",
        ),
        ("apply", "configmap/first created\nconfigmap/last created\n"),
    ] {
        let done = own.gousse(&format!("{verb} -f {file}"));
        assert!(done.code == Some(1) && done.out == out && done.err == why, "{verb}: {done:?}");
    }
    own.must("delete cm first last");
}

fn namespaces(stage: &Stage, own: &Instance) {
    let theirs = map("one", "").replace("{name: one", "{name: one, namespace: kube-system");
    let file = stage.file("theirs.yaml", &(theirs + &map("two", ""))).display().to_string();
    let why = "error: the namespace from the provided object \"kube-system\" does not match the namespace \"default\". You must pass '--namespace=kube-system' to perform this operation.\n";
    for (verb, done_to) in [("create", "/two created"), ("apply", "/two "), ("delete", " \"two\" deleted")] {
        let done = own.gousse(&format!("{verb} -n default -f {file}"));
        assert!(done.code == Some(1) && done.err == why && done.out.contains(done_to), "{verb}: {done:?}");
        assert!(!own.gousse("get cm one -n kube-system").ok, "{verb}");
    }
    own.must(&format!("create -f {file}"));
    own.must("get cm one -n kube-system");
    own.must(&format!("delete -f {file}"));
    let cluster = stage.file("team.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n");
    own.must(&format!("apply -n default -f {}", cluster.display()));
}

fn nothing_in_them(stage: &Stage, own: &Instance) {
    let file = stage.file("nothing.yaml", "# only a comment\n").display().to_string();
    for verb in ["create", "apply"] {
        let done = own.gousse(&format!("{verb} -f {file}"));
        assert!(done.code == Some(1) && done.err == format!("error: no objects passed to {verb}\n"), "{done:?}");
    }
    let done = own.gousse(&format!("delete -f {file}"));
    assert!(done.ok && done.err == "No resources found\n", "{done:?}");
}

/// Whoever made an object may change it; whoever changed it otherwise is asked.
fn fields_of_several(stage: &Stage, own: &Instance) {
    let file = stage.file("old.yaml", &map("one", "data: {k: v, old: v}")).display().to_string();
    let changed = stage.file("new.yaml", &map("one", "data: {k: w}")).display().to_string();
    let data = || own.must("get cm one -o jsonpath={.data}");
    let kubectl = std::env::var("KUBECTL").unwrap_or("kubectl".into());
    let kubectl = |words: &str| own.program(&kubectl, words).output_now();
    own.must(&format!("create -f {file}"));
    own.must(&format!("apply -f {changed}"));
    assert_eq!(data(), "{\"k\":\"w\"}", "what left the file is gone");
    own.must(&format!("apply -f {file}"));
    let other = own.gousse(&format!("apply --field-manager=other -f {changed}"));
    is_conflict(&other.err, "gousse");
    own.must(&format!("apply --field-manager=other --force-conflicts -f {changed}"));
    own.must("delete cm one");
    if Command::new(std::env::var("KUBECTL").unwrap_or("kubectl".into())).arg("version").output().is_err() {
        return;
    }
    assert!(kubectl(&format!("apply -f {file}")).ok);
    own.must(&format!("apply -f {changed}"));
    assert_eq!(data(), "{\"k\":\"w\"}", "client-side apply hands over");
    assert_eq!(own.must("get cm one -o jsonpath={.metadata.annotations}"), "");
    assert!(kubectl(&format!("apply -f {file}")).ok);
    own.must(&format!("apply -f {changed}"));
    assert!(kubectl("patch cm one -p {\"data\":{\"k\":\"p\"}}").ok);
    is_conflict(&own.gousse(&format!("apply -f {changed}")).err, "kubectl-patch");
    own.must(&format!("apply --force-conflicts -f {changed}"));
    own.must(&format!("apply -f {file}"));
}

fn is_conflict(err: &str, manager: &str) {
    assert!(err.starts_with("error: Apply failed with ") && err.contains(&format!("with {manager:?}")), "{err}");
    assert!(err.contains("--force-conflicts") && err.contains("server-side-apply/#conflicts"), "{err}");
}
