//! How `up` and `down` end where something does not: what is deleted, what stays, what is said.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stage::{Output, Stage, ended, gone, play, processes};

/// Runs, and never gets ready.
const UNREADY: &str = "
apiVersion: v1
kind: Pod
metadata: {name: unready}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: toolbox
    command: [sleep, inf]
    readinessProbe: {exec: {command: ['false']}}
---
";

#[test]
fn ctrl_c_deletes_what_was_made_here_and_nothing_else() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let map = |name: &str, place: &str| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {place}}}\n---\n")
        };
        let team = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n---\n";
        let first = own.up(&[]);
        own.apply(&[team, &map("old", "default"), &map("theirs", "team")].concat());
        first.signal(Signal::SIGTERM);
        assert!(first.end().ok);

        let file = [team, &map("old", "default"), &map("new", "team"), UNREADY].concat();
        let file = stage.file("some.yaml", &file).display().to_string();
        let mut second = own.up(&[&file]);
        second.line("pod/unready: Running");
        second.kill();
        // What a killed one made is the next one's, which may be ended before all is ready.
        let mut third = own.up(&[&file]);
        third.line("pod/unready unchanged");
        third.signal(Signal::SIGINT);
        let ended = third.end();
        assert!(ended.ok, "{ended:?}");
        assert!(ended.out.contains("pod/unready deleted") && ended.out.contains("configmap/new deleted"), "{ended:?}");
        assert!(!ended.out.contains("old deleted") && !ended.out.contains("team deleted"), "{ended:?}");
        assert_eq!(stage.left(), Vec::<String>::new());

        let fourth = own.up(&[]);
        own.must("get configmaps old");
        own.must("-n team get configmaps theirs");
        assert!(!own.gousse("-n team get configmaps new").ok && !own.gousse("get pods unready").ok);
        fourth.signal(Signal::SIGINT);
        assert!(fourth.end().ok);
        own.down(true);
    });
}

#[test]
fn what_does_not_get_ready_or_does_not_go_holds_nothing_up() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let file = stage.file("unready.yaml", UNREADY).display().to_string();
        let pid = own.detached(&file);
        own.must("wait --for=jsonpath={.status.phase}=Running pod/unready --timeout=60s");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        gone(pid);
        let pid = own.detached(&file);
        let held = UNREADY.replace("name: unready", "name: held, finalizers: [example.com/stays]");
        assert!(own.apply(&held).ok);
        own.must("wait --for=jsonpath={.status.phase}=Running pod/held --timeout=60s");
        let done = own.command("down").output_now();
        assert!(done.ok, "{done:?}");
        let why = "pod/held of namespace default stays in the store: its finalizers [\"example.com/stays\"] hold it";
        assert!(done.err.contains(why) && !done.err.contains("unready"), "{done:?}");
        gone(pid);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

#[test]
fn down_continues_what_somebody_stopped() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let file = stage.file("unready.yaml", UNREADY).display().to_string();
        // The keeper, then the one that serves; a process of somebody else's stays as it is.
        for role in ["gousse-keeper", "gousse"] {
            let pid = own.detached(&file);
            own.must("wait --for=jsonpath={.status.phase}=Running pod/unready --timeout=60s");
            let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
            let others = Pid::from_raw(other.id().cast_signed());
            let stopped = if role == "gousse" { pid } else { keeper() };
            for pid in [Pid::from_raw(stopped), others] {
                kill(pid, Signal::SIGSTOP).unwrap();
            }
            let ending = own.command("down").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let done = ended(ending);
            let told = format!("(process {stopped}) was stopped, and is continued");
            assert!(done.ok && done.err.contains(&told), "{role}: {done:?}");
            gone(stopped);
            let status = std::fs::read_to_string(format!("/proc/{others}/stat")).unwrap();
            assert!(status.contains(") T "), "{status}");
            other.kill().unwrap();
            other.wait().unwrap();
            assert_eq!(stage.left(), Vec::<String>::new());
        }
    });
}

fn keeper() -> i32 {
    let keepers = processes().into_iter().filter(|process| process.command.contains(" keeper --run-dir "));
    keepers.map(|process| process.pid).next().expect("a keeper runs")
}
