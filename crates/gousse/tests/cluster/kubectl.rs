//! Transcripts of a stock kubectl, and our own verbs beside it.
//!
//! The program is $KUBECTL, the conformance harness' own, or the one on the PATH; without any the tests
//! say so aloud. Ages, times, ids and addresses stand as words; widths of columns that depend on them
//! are evened out. `describe` is compared only with a kubectl of our own version.

use std::process::Command;

use expect_test::{Expect, expect};

use crate::stage::{Instance, Lines, Output, Stage, play, say};

pub const GOUSSE: &str = env!("CARGO_BIN_EXE_gousse");

const WEB: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index.html: hello}
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web, tier: front}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: toolbox
    command: [web, -p, "80", /page]
    ports: [{name: http, containerPort: 80}]
    resources: {requests: {cpu: 10m}}
    env: [{name: COLOR, value: green}]
    readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
    volumeMounts: [{name: page, mountPath: /page}]
  volumes: [{name: page, configMap: {name: page}}]
"#;

#[test]
fn a_stock_kubectl_makes_shows_changes_and_deletes_a_pod() {
    play(|stage: &Stage| {
        let Some(kubectl) = kubectl() else { return };
        let own = stage.instance("own");
        let up = own.up(&[]);
        std::fs::write(own.folder.join("web.yaml"), WEB).unwrap();
        check(
            &own,
            &kubectl,
            "apply -f web.yaml
            wait --for=condition=Ready pod/web
            create -f web.yaml
            get pods
            get pods -o wide
            get pods -A
            get pod web -o name
            get pod web -o 'jsonpath={.spec.containers[*].name} {.status.phase}{\"\\n\"}'
            get pods -l app!=web
            get pods --field-selector status.phase=Running --no-headers --show-labels
            get pod,cm
            get pod nobody
            get nothing",
            expect![[r#"
                $ apply -f web.yaml
                configmap/page created
                pod/web created
                $ wait --for=condition=Ready pod/web
                pod/web condition met
                $ create -f web.yaml
                Error from server (AlreadyExists): error when creating "web.yaml": configmaps "page" already exists
                Error from server (AlreadyExists): error when creating "web.yaml": pods "web" already exists
                [failed]
                $ get pods
                NAME READY STATUS RESTARTS AGE
                web 1/1 Running 0 AGE
                $ get pods -o wide
                NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES
                web 1/1 Running 0 AGE ADDRESS HOST <none> <none>
                $ get pods -A
                NAMESPACE NAME READY STATUS RESTARTS AGE
                default web 1/1 Running 0 AGE
                $ get pod web -o name
                pod/web
                $ get pod web -o 'jsonpath={.spec.containers[*].name} {.status.phase}{"\n"}'
                web Running
                $ get pods -l app!=web
                No resources found in default namespace.
                $ get pods --field-selector status.phase=Running --no-headers --show-labels
                web 1/1 Running 0 AGE app=web,tier=front
                $ get pod,cm
                NAME READY STATUS RESTARTS AGE
                pod/web 1/1 Running 0 AGE

                NAME DATA AGE
                configmap/kube-root-ca.crt 1 AGE
                configmap/page 1 AGE
                $ get pod nobody
                Error from server (NotFound): pods "nobody" not found
                [failed]
                $ get nothing
                error: the server doesn't have a resource type "nothing"
                [failed]
            "#]],
        );
        check(
            &own,
            &kubectl,
            r#"label pod web color=red
            label pod web color=blue
            label pod web color-
            annotate pod web 'note=two words'
            patch pod web -p '{"metadata":{"labels":{"a":"strategic"}}}'
            patch pod web --type merge -p '{"metadata":{"labels":{"b":"merge"}}}'
            patch pod web --type json -p '[{"op":"add","path":"/metadata/labels/c","value":"json"}]'
            patch pod web -p '{"spec":{"nodeName":"x"}}'
            get pod web -o 'jsonpath={.metadata.labels}{"\n"}'
            explain pod.spec.hostname
            apply --server-side -f web.yaml --dry-run=server --force-conflicts"#,
            expect![[r#"
                $ label pod web color=red
                pod/web labeled
                $ label pod web color=blue
                error: 'color' already has a value (red), and --overwrite is false
                [failed]
                $ label pod web color-
                pod/web unlabeled
                $ annotate pod web 'note=two words'
                pod/web annotated
                $ patch pod web -p '{"metadata":{"labels":{"a":"strategic"}}}'
                pod/web patched
                $ patch pod web --type merge -p '{"metadata":{"labels":{"b":"merge"}}}'
                pod/web patched
                $ patch pod web --type json -p '[{"op":"add","path":"/metadata/labels/c","value":"json"}]'
                pod/web patched
                $ patch pod web -p '{"spec":{"nodeName":"x"}}'
                The Pod "web" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
                - nodeName: "HOST"
                + nodeName: "x"

                [failed]
                $ get pod web -o 'jsonpath={.metadata.labels}{"\n"}'
                {"a":"strategic","app":"web","b":"merge","c":"json","tier":"front"}
                $ explain pod.spec.hostname
                KIND: Pod
                VERSION: v1

                FIELD: hostname <string>


                DESCRIPTION:
                    Specifies the hostname of the Pod If not specified, the pod's hostname will
                    be set to a system-defined value.
    

                $ apply --server-side -f web.yaml --dry-run=server --force-conflicts
                configmap/page serverside-applied (server dry run)
                pod/web serverside-applied (server dry run)
            "#]],
        );
        check(
            &own,
            &kubectl,
            "run once --image=toolbox --restart=Never --command -- sh -c 'echo out; echo err >&2; exit 3'
            wait --for=jsonpath={.status.phase}=Failed pod/once
            logs -f once
            logs once --tail=1
            logs web -c nobody
            exec web -- cat /page/index.html
            exec web -- sh -c 'exit 7'
            cp web.yaml web:/copied.yaml
            cp web:/copied.yaml back.yaml
            exec web -- head -n 2 /copied.yaml
            get pod once
            delete pod once
            run gone --image=toolbox --command -- puppet --on TERM=0
            delete pod gone --grace-period=0
            run gone --image=toolbox --command -- puppet --on TERM=0
            delete pod gone --now
            delete pod web --force --grace-period=3
            delete pod web --grace-period=0 --force
            delete -f web.yaml --ignore-not-found",
            expect![[r#"
                $ run once --image=toolbox --restart=Never --command -- sh -c 'echo out; echo err >&2; exit 3'
                pod/once created
                $ wait --for=jsonpath={.status.phase}=Failed pod/once
                pod/once condition met
                $ logs -f once
                out
                err
                $ logs once --tail=1
                err
                $ logs web -c nobody
                error: container nobody is not valid for pod web
                [failed]
                $ exec web -- cat /page/index.html
                hello
                $ exec web -- sh -c 'exit 7'
                command terminated with exit code 7
                [failed]
                $ cp web.yaml web:/copied.yaml
                $ cp web:/copied.yaml back.yaml
                $ exec web -- head -n 2 /copied.yaml
                apiVersion: v1
                kind: ConfigMap
                $ get pod once
                NAME READY STATUS RESTARTS AGE
                once 0/1 Error 0 AGE
                $ delete pod once
                pod "once" deleted
                $ run gone --image=toolbox --command -- puppet --on TERM=0
                pod/gone created
                $ delete pod gone --grace-period=0
                pod "gone" deleted
                $ run gone --image=toolbox --command -- puppet --on TERM=0
                pod/gone created
                $ delete pod gone --now
                pod "gone" deleted
                $ delete pod web --force --grace-period=3
                error: --force and --grace-period greater than 0 cannot be specified together
                [failed]
                $ delete pod web --grace-period=0 --force
                pod "web" force deleted
                Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.
                $ delete -f web.yaml --ignore-not-found
                configmap "page" deleted
            "#]],
        );
        own.down(true);
        assert!(up.end().ok);
    });
}

#[test]
fn a_watch_shows_a_pods_way_line_by_line() {
    play(|stage: &Stage| {
        let Some(kubectl) = kubectl() else { return };
        let own = stage.instance("own");
        let up = own.up(&[]);
        let mut watches = [&kubectl, GOUSSE].map(|program| Lines::of(own.program(program, "get pods -w --no-headers")));
        own.apply(WEB);
        for watch in &mut watches {
            watch.until(|line| line.contains("1/1") && line.contains("Running"));
        }
        own.must("delete pod web");
        for watch in &mut watches {
            watch.until(|line| line.contains("Terminating"));
        }
        drop(watches);
        own.down(true);
        assert!(up.end().ok);
    });
}

#[test]
fn our_own_verbs_print_what_kubectl_prints() {
    play(|stage: &Stage| {
        let Some(kubectl) = kubectl() else { return };
        let own = stage.instance("own");
        let up = own.up(&[]);
        std::fs::write(own.folder.join("web.yaml"), WEB).unwrap();
        own.must("apply -f web.yaml");
        own.must("wait --for=condition=Ready pod/web");
        let mut verbs: Vec<&str> = "create -f web.yaml
            get pods
            get pods -o wide
            get pods -A
            get pods -l app=web -o name
            get pods --field-selector status.phase=Failed
            get pod,cm
            get pod web -o yaml
            get pod web -o json
            get node -o yaml
            get pod web -o 'jsonpath={.spec.containers[*].name} {.status.phase}'
            get pods --show-labels --no-headers
            get pod nobody
            get nothing
            wait --for=condition=Ready pod/web
            wait --for=condition=Ready pod/nobody
            logs web --tail=0
            delete pod nobody
            delete pod web --force --grace-period=3
            api-resources"
            .lines()
            .map(str::trim)
            .collect();
        if own.program(&kubectl, "version").output_now().out.starts_with("Client Version: v1.37.") {
            verbs.extend(["describe pod web", "describe node", "describe configmap page"]);
        } else {
            say(&format!("SKIPPED: describe beside {kubectl}: not our version"));
        }
        let mut differ = String::new();
        for words in verbs {
            let (mut theirs, mut ours) = (told(&own, &kubectl, words), told(&own, GOUSSE, words));
            if words.starts_with("describe ") {
                // Events of one second stand in any order.
                (theirs, ours) = (sorted(&theirs), sorted(&ours));
            }
            if theirs != ours {
                let only = |mark, of: &str, other: &str| -> String {
                    let missing = of.lines().filter(|line| !other.lines().any(|o| o == *line));
                    missing.map(|line| format!("{mark}{line}\n")).collect()
                };
                differ += &format!("$ {words}\n{}{}", only('-', &theirs, &ours), only('+', &ours, &theirs));
            }
        }
        assert!(differ.is_empty(), "{differ}");
        own.down(true);
        assert!(up.end().ok);
    });
}

/// Which kubectl; None, said aloud, without any.
pub fn kubectl() -> Option<String> {
    let given = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into());
    if Command::new(&given).args(["version", "--client"]).output().is_ok_and(|o| o.status.success()) {
        return Some(given);
    }
    say("SKIPPED: no kubectl on this machine; set $KUBECTL");
    None
}

/// The same if it is at least 1.`minor`; None, said aloud, otherwise.
pub fn kubectl_since(minor: u32) -> Option<String> {
    let given = kubectl()?;
    let told = Command::new(&given).args(["version", "--client", "-o", "json"]).output().unwrap();
    let version: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let own = version["clientVersion"]["minor"].as_str().unwrap().trim_end_matches('+').parse::<u32>().unwrap();
    if own >= minor {
        return Some(given);
    }
    say(&format!("SKIPPED: kubectl is 1.{own}, its words are compared since 1.{minor}; set $KUBECTL"));
    None
}

/// Runs the lines and compares what was printed.
fn check(own: &Instance, program: &str, script: &str, wanted: Expect) {
    let run = |words: &str| format!("$ {words}\n{}", told(own, program, words));
    wanted.assert_eq(&script.lines().map(|words| run(words.trim())).collect::<String>());
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What a program printed, as far as it is the same in every run.
pub fn told(own: &Instance, program: &str, words: &str) -> String {
    let done = own.program(program, words).output_now();
    let ended = if done.ok { "" } else { "[failed]\n" };
    let host = nix::unistd::gethostname().unwrap().to_string_lossy().to_lowercase();
    normal(&format!("{}{}", done.out, done.err), &host) + ended
}

/// The text without what differs from run to run.
fn normal(text: &str, host: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        if line.contains("kubectl.kubernetes.io/last-applied") || line.starts_with("Warning: version difference") {
            continue;
        }
        // A line of blanks cannot stand in an `expect!`.
        let line = if line.trim().is_empty() { "" } else { line };
        let indent = line.len() - line.trim_start().len();
        let mut line = line.to_string();
        if let Some(end) = line.find(" +0000") {
            line.replace_range(end.saturating_sub(25)..end + 6, "DATE");
        }
        lines.push_str(&line[..indent.min(line.len())]);
        let numbered = ["resourceVersion", "\"resourceVersion\"", "memory:", "ephemeral-storage:"];
        let hidden = numbered.iter().any(|name| line.trim_start().starts_with(name));
        let words = line.split_whitespace().map(|word| {
            if hidden && word.len() > 4 && word.chars().any(|c| c.is_ascii_digit()) {
                "NUMBER".into()
            } else {
                plain(word, host)
            }
        });
        let words = words.collect::<Vec<String>>().join(" ");
        // The words of kubectl before 1.34 lack the namespace, and some the containers to choose from.
        let told = words.trim_end_matches(" from default namespace");
        let told = told.split_once(" out of: ").filter(|(what, _)| what.contains("is not valid for pod"));
        lines.push_str(told.map_or(words.trim_end_matches(" from default namespace"), |(what, _)| what));
        lines.push('\n');
    }
    lines
}

/// One word: ages, times, ids and addresses by what they are.
fn plain(word: &str, host: &str) -> String {
    let edge = |c: char| "\"'(),;".contains(c);
    let core = word.trim_matches(edge);
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let digits = core.trim_end_matches(|c: char| "smhd".contains(c));
    let name = if core.len() > digits.len()
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.' || c == 'm')
    {
        "AGE"
    } else if core.len() == 36 && core.matches('-').count() == 4 && is_hex(&core.replace('-', "")) {
        "UID"
    } else if core.starts_with("gousse://") && core.len() > 64 {
        "ID"
    } else if core.starts_with("gousse.dev/toolbox@sha256:") {
        "IMAGE"
    } else if core.len() >= 20 && core.contains('T') && core.ends_with('Z') && core.starts_with("20") {
        "TIME"
    } else if core.starts_with("10.244.0.") {
        "ADDRESS"
    } else if core.starts_with("kube-api-access-") {
        return word.replace(&core[16..21], "XXXXX");
    } else if core == host {
        "HOST"
    } else {
        return word.to_string();
    };
    word.replace(core, name)
}
