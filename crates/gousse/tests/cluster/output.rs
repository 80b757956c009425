//! Standard output that is full ends a verb with an error; one that nobody reads ends it without a word.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::stage::{Done, Instance, Output, Stage, ended, play};

const GOUSSE: &str = env!("CARGO_BIN_EXE_gousse");

const FULL: &str = "error: write standard output: No space left on device\n";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: toolbox, command: [sh, -c, 'seq 20000; sleep inf']}
---
";

#[test]
fn output_that_does_not_arrive_is_an_error_and_output_that_nobody_wants_is_none() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        own.run_pod("web", POD);
        let map = stage.file("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n");
        let several = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: one-, labels: {x: a}}\n";
        let (map, several) = (map.display(), stage.file("several.yaml", several).display().to_string());
        for words in [
            "get pods",
            "get pods -o yaml",
            "get pods -o json",
            "get pods -o name",
            "get pods -o jsonpath={.items[*].metadata.name}",
            "get pods -w",
            "get pods -w -o name",
            "api-resources",
            "describe pod web",
            "events",
            "version",
            "logs web",
            "logs web --prefix",
            "exec web -- seq 10",
            "wait --for=condition=Ready pod/web",
            &format!("create -f {several}"),
            &format!("apply -f {map}"),
            "delete cm -l x=a",
            "token create",
        ] {
            is_told(words, || own.program(GOUSSE, words));
        }
        for verb in ["kubeconfig", "image ls"] {
            is_told(verb, || own.command(verb));
        }
        as_much_as_is_read(&own);
        // What it serves matters more than who reads what it says of it.
        up.kill();
        let late = stage.file("late.yaml", &POD.replace("name: web", "name: late")).display().to_string();
        let mut serving = own.up(&[&late]).unread();
        own.must("wait --for=condition=Ready pod/late --timeout=60s");
        own.down(true);
        assert!(serving.wait().unwrap().success());
    });
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn is_told(words: &str, command: impl Fn() -> Command) {
    let done = ended(command().stdin(Stdio::null()).stdout(full()).stderr(Stdio::piped()).spawn().unwrap());
    assert!(done.code == Some(1) && done.err.ends_with(FULL), "{words}: {done:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = ended(command().stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
    let is_quiet = !done.err.contains("error") && !done.err.contains("panic");
    assert!(done.code == Some(141) && is_quiet, "{words}: {done:?}");
}

/// A reader that goes away in the middle of more than a pipe holds.
fn as_much_as_is_read(own: &Instance) {
    for words in ["exec web -- seq 1000000", "logs web", "logs -f web"] {
        let pipe = format!("{GOUSSE} {words} | head -n 1; echo ${{PIPESTATUS[*]}}");
        let mut command = own.program("timeout", "60 bash -c");
        let done: Done = command.arg(pipe).output_now();
        assert_eq!((done.out.as_str(), done.err.as_str()), ("1\n141 0\n", ""), "{words}");
    }
}
