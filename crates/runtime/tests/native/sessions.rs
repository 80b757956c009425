//! Exec, attach and port-forward.

use runtime::engine::{Engine, Session};
use runtime::native::NativeEngine;
use runtime::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::stage::{self, Stage, exec, wait_for_exit};
use super::{Test, faults};

pub const TESTS: &[Test] = &[
    ("exec_gives_output_errors_and_status", plain_exec),
    ("exec_reads_its_input_to_the_end", exec_input),
    ("exec_with_a_terminal_knows_its_size", exec_terminal),
    ("exec_that_cannot_start_says_why", exec_failures),
    ("exec_that_is_killed_or_given_up_leaves_no_process", exec_killed),
    ("exec_goes_on_over_the_supervisors_death_and_tells_its_code", exec_outlives),
    ("execs_asked_for_while_the_supervisor_dies_again_and_again_run_once_each", execs_under_load),
    ("exec_under_a_name_is_one_run_for_every_agent_and_supervisor", named_exec),
    ("attach_that_is_lost_says_so", attach_lost),
    ("attach_copies_output_and_feeds_input_once", attach),
    ("attach_to_a_terminal_types_and_sees", attach_terminal),
    ("connect_reaches_the_sandboxes_own_loopback", connect),
];

fn start(
    stage: &Stage,
    engine: &NativeEngine,
    name: &str,
    argv: &[&str],
    change: impl FnOnce(&mut ContainerSpec),
) -> ContainerId {
    let (sandbox, sandbox_spec) = stage.sandbox(name);
    let (id, mut spec) = stage.container(name, argv);
    change(&mut spec);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        engine.start_container(&id).await.unwrap();
    });
    id
}

fn puppet(argv: &[&str]) -> Vec<String> {
    [&[super::puppet::NAME], argv].concat().into_iter().map(str::to_owned).collect()
}

fn plain_exec(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "plain", &["wait"], |_| {});
    stage.block_on(async {
        let (out, err, code) = exec(&engine, &id, &["say", "out", "err"]).await;
        assert_eq!((out.as_str(), err.as_str(), code), ("out\n", "err\n", 0));
        assert_eq!(exec(&engine, &id, &["exit", "41"]).await.2, 41);
        assert_eq!(exec(&engine, &id, &["die-by", "15"]).await.2, 128 + 15);
        let (seen, _, _) = exec(&engine, &id, &["cat", "/proc/self/cgroup"]).await;
        assert!(seen.lines().all(|line| line.ends_with(":/") || !line.contains("memory")), "{seen}");
        let (seen, _, _) = exec(&engine, &id, &["env"]).await;
        assert!(seen.contains("COLOUR=blue"), "{seen}");
    });
    assert_eq!(stage.logged("plain", "stdout"), "", "an exec's output is not the container's");
}

fn exec_input(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "input", &["wait"], |_| {});
    stage.block_on(async {
        let spec = ExecSpec { argv: puppet(&["copy"]), stdin: true, stdout: true, ..ExecSpec::default() };
        let session = engine.exec(&id, spec).await.unwrap();
        let mut stdin = session.stdin.unwrap();
        stdin.write_all(b"one\ntwo\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        let mut out = String::new();
        session.stdout.unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "<one>\n<two>\n");
        assert_eq!(session.exit.await.unwrap().unwrap(), 0);
    });
}

fn exec_terminal(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "terminal", &["wait"], |_| {});
    stage.block_on(async {
        let (tty, stdin, stdout) = (true, true, true);
        let argv = puppet(&["terminal"]);
        let spec = ExecSpec { argv, tty, stdin, stdout, size: Some((81, 25)), ..ExecSpec::default() };
        let Session { stdin, stdout, stderr, resize, exit, .. } = engine.exec(&id, spec).await.unwrap();
        assert!(stderr.is_none());
        let mut lines = BufReader::new(stdout.unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "terminal true 81x25");
        resize.send((100, 40)).await.unwrap();
        while resize.capacity() < resize.max_capacity() {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        stdin.unwrap().write_all(b"6\n").await.unwrap();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "6");
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "terminal true 100x40");
        assert!(lines.next_line().await.unwrap().is_none());
        assert_eq!(exit.await.unwrap().unwrap(), 6);
    });
}

fn exec_failures(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "failures", &["wait-for-term", "0"], |_| {});
    stage::eventually("it is ready", || stage.logged("failures", "stdout") == "ready\n");
    stage.block_on(async {
        let nowhere = || ExecSpec { argv: vec!["nowhere".into()], stdout: true, ..ExecSpec::default() };
        let error = engine.exec(&id, nowhere()).await.err().unwrap();
        assert_eq!(error.to_string(), "exec: \"nowhere\": executable file not found in $PATH");
        engine.signal(&id, libc::SIGTERM).await.unwrap();
        wait_for_exit(&engine, &id).await;
        assert!(matches!(engine.exec(&id, nowhere()).await, Err(Error::NotRunning(_))));
    });
}

fn exec_killed(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "killed", &["wait"], |_| {});
    let spec = || ExecSpec { argv: puppet(&["orphan-and-wait"]), stdout: true, ..ExecSpec::default() };
    stage.block_on(async {
        let session = engine.exec(&id, spec()).await.unwrap();
        let mut lines = BufReader::new(session.stdout.unwrap()).lines();
        lines.next_line().await.unwrap().expect("the number of its child");
        assert_eq!(processes(&engine, &id).await, 3, "the first, the exec and its child");
        (session.kill)();
        assert_eq!(session.exit.await.unwrap().unwrap(), 128 + libc::SIGKILL);
        alone(&engine, &id).await;
        let given_up = engine.exec(&id, spec());
        tokio::select! {
            biased;
            _ = given_up => panic!("a process starts in no time"),
            () = tokio::task::yield_now() => {}
        }
        alone(&engine, &id).await;
    });
}

/// A container that only waits, with a folder for what runs in it to leave marks in.
fn marked(stage: &Stage, engine: &NativeEngine, name: &str) -> (ContainerId, std::path::PathBuf) {
    let marks = stage.folder.join("marks").join(name);
    std::fs::create_dir_all(&marks).unwrap();
    let mount = Mount { source: MountSource::Host(marks.clone()), target: "/marks".into(), ..Mount::default() };
    (start(stage, engine, name, &["wait"], |spec| spec.mounts.push(mount)), marks)
}

fn runs(marks: &std::path::Path) -> usize {
    std::fs::read_dir(marks).unwrap().count()
}

async fn output(session: Session) -> (String, Result<i32, Error>) {
    let mut out = String::new();
    if let Some(mut stdout) = session.stdout {
        stdout.read_to_string(&mut out).await.unwrap();
    }
    (out, session.exit.await.unwrap())
}

fn exec_outlives(stage: &Stage) {
    let engine = stage.engine();
    let (id, marks) = marked(stage, &engine, "outlives");
    stage.block_on(async {
        let argv = puppet(&["count-marked", "/marks", "300", "7"]);
        let counting = engine.exec(&id, ExecSpec { argv, stdout: true, ..ExecSpec::default() }).await.unwrap();
        let spec =
            ExecSpec { argv: puppet(&["terminal"]), tty: true, stdin: true, stdout: true, ..ExecSpec::default() };
        let typed = engine.exec(&id, spec).await.unwrap();
        let waiting = ExecSpec { argv: puppet(&["wait"]), stdout: true, ..ExecSpec::default() };
        let killed = engine.exec(&id, waiting).await.unwrap();
        assert_eq!(faults::kill_named(faults::SUPERVISOR), 1);
        // The new supervisor counts sessions anew.
        assert_eq!(exec(&engine, &id, &["exit", "3"]).await.2, 3);
        (killed.kill)();
        assert_eq!(killed.exit.await.unwrap().unwrap(), 128 + libc::SIGKILL);
        let (out, code) = output(counting).await;
        assert_eq!((out.lines().count(), code.unwrap()), (300, 7));
        typed.stdin.unwrap().write_all(b"6\n").await.unwrap();
        assert_eq!(typed.exit.await.unwrap().unwrap(), 6);
    });
    assert_eq!(runs(&marks), 1);
}

fn execs_under_load(stage: &Stage) {
    let engine = stage.engine();
    let (own, own_marks) = marked(stage, &engine, "own");
    let (sandbox, sandbox_spec) = stage.sandbox("shared");
    let sandbox_spec = SandboxSpec { pid: Share::Sandbox, ..sandbox_spec };
    stage.block_on(engine.run_sandbox(&sandbox, sandbox_spec)).unwrap();
    let (shared, shared_marks) = marked(stage, &engine, "shared");
    let kills = faults::again_and_again(15, || faults::kill_named(faults::SUPERVISOR));
    let ran = stage.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (engine, id) = (engine.clone(), if number % 2 == 0 { own.clone() } else { shared.clone() });
            running.spawn(async move {
                let code = 10 + number;
                let argv = puppet(&["count-marked", "/marks", "20", &code.to_string()]);
                for _ in 0..6 {
                    let spec = ExecSpec { argv: argv.clone(), stdout: true, ..ExecSpec::default() };
                    let (out, exit) = output(engine.exec(&id, spec).await.unwrap()).await;
                    assert_eq!((out.lines().count(), exit.unwrap()), (20, code));
                }
            });
        }
        running.join_all().await.len()
    });
    assert!(kills() > 3);
    assert_eq!((ran, runs(&own_marks), runs(&shared_marks)), (8, 24, 24));
}

fn named_exec(stage: &Stage) {
    let engine = stage.engine();
    let (id, marks) = marked(stage, &engine, "named");
    let spec = |name: &str| {
        let argv = puppet(&["count-marked", "/marks", "100", "7"]);
        ExecSpec { name: name.into(), argv, ..ExecSpec::default() }
    };
    drop(stage.block_on(engine.exec(&id, spec("hook"))).unwrap());
    drop(engine);
    assert_eq!(faults::kill_named(faults::SUPERVISOR), 1);
    let engine = stage.engine();
    stage.block_on(async {
        let (both, again) = tokio::join!(engine.exec(&id, spec("hook")), engine.exec(&id, spec("hook")));
        assert_eq!(output(both.unwrap()).await.1.unwrap(), 7);
        assert_eq!(output(again.unwrap()).await.1.unwrap(), 7);
    });
    assert_eq!(faults::kill_named(faults::SUPERVISOR), 1);
    stage.block_on(async {
        assert_eq!(output(engine.exec(&id, spec("hook")).await.unwrap()).await.1.unwrap(), 7, "it ended long ago");
        assert_eq!(runs(&marks), 1);
        assert_eq!(output(engine.exec(&id, spec("other")).await.unwrap()).await.1.unwrap(), 7);
        assert_eq!(runs(&marks), 2);
    });
}

fn attach_lost(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "attached", &["wait"], |_| {});
    stage.block_on(async {
        let session = engine.attach(&id, false, true, false).await.unwrap();
        assert_eq!(faults::kill_named(faults::SUPERVISOR), 1);
        assert!(matches!(session.exit.await.unwrap(), Err(Error::NotKnown(_))));
    });
}

/// How many live, besides those who count; whom nobody reaps does not.
async fn processes(engine: &NativeEngine, id: &ContainerId) -> usize {
    let (names, _, _) = exec(engine, id, &["ls", "/proc"]).await;
    let pids = names.split_whitespace().filter(|name| name.parse::<u32>().is_ok());
    let files: Vec<String> = pids.map(|pid| format!("/proc/{pid}/stat")).collect();
    let argv: Vec<&str> = std::iter::once("cat").chain(files.iter().map(String::as_str)).collect();
    let (stats, _, _) = exec(engine, id, &argv).await;
    stats.lines().filter(|line| line.contains(") ") && !line.contains(") Z ")).count()
}

/// Once nothing runs but the first process.
async fn alone(engine: &NativeEngine, id: &ContainerId) {
    let wait = async { while processes(engine, id).await != 1 {} };
    tokio::time::timeout(stage::HANGS, wait).await.expect("everything else ends");
}

fn attach(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "attach", &["copy"], |spec| {
        (spec.stdin, spec.stdin_once) = (true, true);
    });
    stage.block_on(async {
        let session = engine.attach(&id, true, true, true).await.unwrap();
        let watcher = engine.attach(&id, false, true, false).await.unwrap();
        let mut stdin = session.stdin.unwrap();
        stdin.write_all(b"hello\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        for stdout in [session.stdout, watcher.stdout] {
            let mut out = String::new();
            stdout.unwrap().read_to_string(&mut out).await.unwrap();
            assert_eq!(out, "<hello>\n");
        }
        assert_eq!(session.exit.await.unwrap().unwrap(), 0);
        assert_eq!(wait_for_exit(&engine, &id).await.code, 0);
    });
    assert_eq!(stage.logged("attach", "stdout"), "<hello>\n");
}

fn attach_terminal(stage: &Stage) {
    let engine = stage.engine();
    let id = start(stage, &engine, "typed", &["terminal"], |spec| (spec.stdin, spec.tty) = (true, true));
    stage::eventually("it has begun", || stage.logged("typed", "stdout").contains("terminal"));
    stage.block_on(async {
        let session = engine.attach(&id, true, true, true).await.unwrap();
        assert!(session.stderr.is_none());
        session.resize.send((90, 30)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        session.stdin.unwrap().write_all(b"3\n").await.unwrap();
        let mut out = String::new();
        session.stdout.unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "3\r\nterminal true 90x30\r\n");
        assert_eq!(session.exit.await.unwrap().unwrap(), 3);
    });
    assert_eq!(stage.logged("typed", "stdout"), "terminal true 0x0\n3\nterminal true 90x30\n");
}

fn connect(stage: &Stage) {
    let engine = stage.engine();
    start(stage, &engine, "serve", &["serve", "8080"], |_| {});
    stage::eventually("it listens", || stage.logged("serve", "stdout") == "listening\n");
    let (sandbox, _) = stage.sandbox("serve");
    stage.block_on(async {
        let refused = engine.connect(&sandbox, 81).await.err().unwrap();
        assert_eq!(refused.to_string(), "dial tcp4 127.0.0.1:81: connect: connection refused");
        let mut stream = engine.connect(&sandbox, 8080).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "HELLO");
    });
}
