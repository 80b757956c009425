//! Our own verbs where a transcript is not enough: streams both ways at once, and words kubectl takes.

use std::fs::File;

use crate::stage::{Instance, Lines, Output, Stage, play};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: toolbox
    command: [sleep, inf]
---
";

#[test]
fn our_own_verbs_take_what_kubectl_takes() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        assert!(own.apply(POD).ok);
        own.must("wait --for=condition=Ready pod/web --timeout=60s");
        both_ways(stage, &own);
        selection(stage, &own);
        marks(stage, &own);
        describe_keeps_secrets(&own);
        waiting(&own);
        getting(stage, &own);
        refusals(stage, &own);
        up.kill();
        own.down(true);
    });
}

/// A command that writes as much as it reads, more than all buffers on the way hold.
fn both_ways(stage: &Stage, own: &Instance) {
    let bytes: Vec<u8> = (0..24 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (sent, got) = (stage.folder.join("sent"), stage.folder.join("got"));
    std::fs::write(&sent, &bytes).unwrap();
    let mut command = own.program("timeout", "60");
    command.arg(env!("CARGO_BIN_EXE_gousse")).args(["exec", "-i", "web", "--", "cat"]);
    command.stdin(File::open(&sent).unwrap()).stdout(File::create(&got).unwrap());
    let status = command.status().unwrap();
    assert!(status.success() && std::fs::read(&got).unwrap() == bytes, "{status}");
}

/// A selector narrows what files say, and does not stand beside names.
fn selection(stage: &Stage, own: &Instance) {
    let map = |name: &str, label: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{x: {label}}}}}\n---\n")
    };
    let both = [map("one", "a"), map("two", "b")].concat();
    assert!(own.apply(&both).ok);
    let file = stage.file("both.yaml", &both).display().to_string();
    assert_eq!(own.must(&format!("delete -f {file} -l x=b")), "configmap \"two\" deleted from default namespace\n");
    own.must("get configmap one");
    for (words, why) in [
        (format!("delete -f {file} cm one"), "you may not specify resource arguments as well"),
        (format!("delete -f {file} cm/one"), "resource/name arguments cannot be provided when a path is specified"),
        (format!("delete -f {file} --field-selector metadata.name=one"), "a field selector cannot be used"),
        ("delete cm one -l x=b".into(), "name cannot be provided when a selector is specified"),
        ("delete cm/one -l x=b".into(), "selectors and the all flag cannot be used when passing resource/name"),
        ("delete cm one --all".into(), "name cannot be provided when a selector is specified"),
        ("delete cm --all -l x=b".into(), "cannot set --all and --selector at the same time"),
        ("get cm one -l x=b".into(), "name cannot be provided when a selector is specified"),
        ("describe cm one -l x=b".into(), "name cannot be provided when a selector is specified"),
        ("wait --for=create cm one -l x=b".into(), "name cannot be provided when a selector is specified"),
        (format!("apply -f {file} --server-side=false"), "--server-side=false is not offered"),
    ] {
        let done = own.gousse(&words);
        assert!(!done.ok && done.err.contains(why), "{words}: {done:?}");
    }
    let nameless = stage.file("nameless.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x}\n");
    let done = own.gousse(&format!("delete -f {}", nameless.display()));
    assert!(!done.ok && done.err.contains("resource name may not be empty"), "{done:?}");
    own.must("get configmap one");
    own.must("delete cm one --ignore-not-found=true --wait");
}

/// Labels by a field, over namespaces, and of a file without any server.
fn marks(stage: &Stage, own: &Instance) {
    assert_eq!(own.must("label pods --field-selector metadata.name=web seen=yes"), "pod/web labeled\n");
    assert_eq!(own.must("annotate pods -A -l app=web note=one"), "pod/web annotated\n");
    assert_eq!(own.must("get pods -l seen=yes -o jsonpath={.items[*].metadata.annotations.note}"), "one");
    let file = stage.file("local.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: afar, namespace: x}\n");
    let file = file.display();
    assert_eq!(own.must(&format!("-s https://127.0.0.1:1 label -f {file} --local a=b")), "configmap/afar labeled\n");
    let page = own.must(&format!("-s https://127.0.0.1:1 annotate -f {file} --local a=b -o yaml"));
    assert!(page.contains("  annotations:\n    a: b\n  name: afar\n"), "{page}");
    for (words, why) in [
        (
            "label pods --all --field-selector metadata.name=web a=b",
            "cannot set --all and --field-selector at the same time",
        ),
        ("label pods web -A a=b", "a resource cannot be retrieved by name across all namespaces"),
        ("label pods web --local a=b", "can only use local files by -f pod.yaml"),
        ("label --local a=b", "one or more files must be specified as -f pod.yaml or --filename=pod.json"),
        ("label -f x --local --dry-run=server a=b", "cannot specify --local and --dry-run=server"),
    ] {
        let done = own.gousse(words);
        assert!(done.code == Some(1) && done.err.contains(why), "{words}: {done:?}");
    }
}

fn describe_keeps_secrets(own: &Instance) {
    let note = "kubectl.kubernetes.io/last-applied-configuration: '{data: c2VjcmV0}'";
    let secret = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s, annotations: {{{note}}}}}\n");
    assert!(own.apply(&(secret + "data: {key: c2VjcmV0}\n")).ok);
    let page = own.must("describe secret s");
    assert!(!page.contains("c2VjcmV0") && page.contains("6 bytes"), "{page}");
}

/// One check without time, one time for all, and nothing to wait for is no failure of a deletion.
fn waiting(own: &Instance) {
    own.must("wait --for=condition=Ready pod/web --timeout=0");
    let done = own.gousse("wait --for=condition=Nothing pod/web --timeout=0");
    assert!(!done.ok && done.err.contains("condition not met for pods/web"), "{done:?}");
    let done = own.gousse("wait --for=delete pod/web --timeout=0");
    assert!(!done.ok && done.err.contains("condition not met for pods/web"), "{done:?}");
    own.must("wait --for=delete pods -l no=where");
    own.must("wait --for=delete pods nobody --timeout=0");
    let done = own.gousse("wait --for=condition=Ready pods -l no=where");
    assert!(!done.ok && done.err.contains("no matching resources found"), "{done:?}");
}

/// What is there is shown although something else is not; a watch is of one kind.
fn getting(stage: &Stage, own: &Instance) {
    for words in [
        "get pods nobody web",
        "get pods nobody web -o yaml",
        "get pods nobody web -o name",
        "describe pods nobody web",
    ] {
        let done = own.gousse(words);
        assert!(!done.ok && done.out.contains("web") && done.err.contains("pods \"nobody\" not found"), "{done:?}");
    }
    let done = own.gousse("get pods,configmaps -w");
    assert!(!done.ok && done.err.contains("you may only specify a single resource type"), "{done:?}");
    let mut lines = Lines::of(own.program(env!("CARGO_BIN_EXE_gousse"), "get configmaps -o name --watch-only"));
    let mut plain = Lines::of(own.program(env!("CARGO_BIN_EXE_gousse"), "get pods web -o name -w"));
    assert_eq!(plain.until(|_| true), "pod/web");
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    // Whenever the watch begins: one that exists already is never shown.
    let mut number = 0;
    let seen = loop {
        assert!(own.apply(&map(&format!("later-{number}"))).ok);
        number += 1;
        if let Some(line) = lines.next_within(std::time::Duration::from_millis(200)) {
            break line;
        }
    };
    assert!(seen.starts_with("configmap/later-"), "{seen}");
    let twice =
        stage.file("twice.yaml", &[&map("first"), "---\nkind: Nonsense\napiVersion: v9\n---\n", &map("last")].concat());
    let done = own.gousse(&format!("create -f {}", twice.display()));
    assert!(!done.ok && done.err.contains("Nonsense") && done.out.contains("configmap/last created"), "{done:?}");
    let twelve = "apiVersion: v1\nkind: Pod\nmetadata: {name: twelve, labels: {app: twelve}}\nspec:\n  restartPolicy: Never\n  \
                  containers: [{name: c, image: toolbox, command: [sh, -c, 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; done']}]\n";
    assert!(own.apply(twelve).ok);
    own.must("wait --for=jsonpath={.status.phase}=Succeeded pod/twelve --timeout=60s");
    assert_eq!(own.must("logs -l app=twelve").lines().count(), 10);
    assert_eq!(own.must("logs -l app=twelve --tail=-1").lines().count(), 12);
    assert_eq!(own.must("logs twelve").lines().count(), 12);
    let mut command = own.program(env!("CARGO_BIN_EXE_gousse"), "version --client");
    let done = command.env("KUBECONFIG", "/nowhere").output_now();
    assert!(done.ok && done.out.starts_with("Client Version: "), "{done:?}");
}

/// What is refused, and what is not, in kubectl's words.
fn refusals(stage: &Stage, own: &Instance) {
    for (words, why) in [
        ("get pods -o jsonpath=", "template format specified but no template given"),
        ("get pods -o jsonpath", "template format specified but no template given"),
        ("logs web --tail=-5", "--tail must be greater than or equal to -1"),
        ("logs web --since=-1s", "--since must be greater than 0"),
        ("logs web --limit-bytes=-1", "--limit-bytes must be greater than 0"),
        ("get pods -n a/b", "invalid namespace \"a/b\": [may not contain '/']"),
        ("delete pod web -n ..", "invalid namespace \"..\": [may not be '..']"),
        ("get pods web -A", "a resource cannot be retrieved by name across all namespaces"),
        ("get pod/web -A", "a resource cannot be retrieved by name across all namespaces"),
        ("describe pod web -A", "a resource cannot be retrieved by name across all namespaces"),
        ("get cm/x,pod/web", "arguments in resource/name form may not have more than one slash"),
        ("delete pod/web/x", "arguments in resource/name form may not have more than one slash"),
        ("get pod/", "arguments in resource/name form must have a single resource and name"),
        (
            "delete pod web --cascade=all",
            "invalid cascade value (all). Must be \"background\", \"foreground\", or \"orphan\"",
        ),
        ("delete pod web -o yaml", "unexpected -o output mode: yaml. We only support '-o name'"),
        ("version -o wide", "--output must be 'yaml' or 'json'"),
        ("top pods --sort-by age", "--sort-by accepts only cpu or memory"),
        ("top pods web -l app=web", "only one of NAME or selector can be provided"),
    ] {
        let done = own.gousse(words);
        assert_eq!((done.code, done.err), (Some(1), format!("error: {why}\n")), "{words}");
    }
    for words in ["get pods --nonsense", "logs web --tail=many", "scale", "nonsense"] {
        let done = own.gousse(words);
        assert!(done.code == Some(1) && !done.err.is_empty(), "{words}: {done:?}");
    }
    assert_eq!(own.gousse("get --help").code, Some(0));
    for words in ["logs web --tail=-1", "logs web --since=0s", "logs web --limit-bytes=0", "get node -A -o name"] {
        own.must(words);
    }
    let page = own.must("get ns default -A");
    assert!(page.starts_with("NAME      STATUS   AGE\ndefault   Active "), "{page}");
    let pages = own.must("get ns,pods -A");
    assert!(pages.starts_with("NAME ") && pages.contains("\nNAMESPACE   NAME "), "{pages}");
    let file = stage.file("first.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first}\n");
    let refused = "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n";
    for words in
        ["get pods", "describe pods", "api-resources", "exec web -- true", &format!("create -f {}", file.display())]
    {
        let done = own.gousse(&format!("-s https://127.0.0.1:1 {words}"));
        assert_eq!((done.code, done.err.as_str()), (Some(1), refused), "{words}");
    }
    let done = own.gousse("-s https://127.0.0.1:1 version");
    assert!(done.out.starts_with("Client Version: v") && done.err == refused && !done.ok, "{done:?}");
    let done = own.gousse("-s https://nobody.invalid get pods");
    assert!(done.code == Some(1) && done.err.starts_with("Unable to connect to the server: "), "{done:?}");
}
