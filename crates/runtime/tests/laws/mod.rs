//! What every engine promises, as one suite: `suite(&bench).await` runs it all over one engine.
//!
//! A bench brings the engine and the argv that make a container play a part: on a real machine the
//! toolbox's `puppet`, for the fake engine the same words. Every law uses ids of its own, so the
//! suite runs over an engine that is in use. Nothing sleeps: laws wait for changes.

#![allow(clippy::unwrap_used, reason = "laws are tests, though their functions carry no attribute")]

use std::time::Duration;

use runtime::{
    Container, ContainerId, ContainerSpec, Engine, Error, ExecSpec, Hint, Network, Phase, Sandbox, SandboxId,
    SandboxSpec,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;

const TERM: i32 = 15;
const KILL: i32 = 9;

/// An engine under test.
pub trait Bench: Sync {
    fn engine(&self) -> &dyn Engine;
    /// A sandbox that this machine can run; `cgroup` and hostname differ by `name`.
    fn sandbox(&self, name: &str) -> SandboxSpec;
    /// A container with this part: words of `puppet` (`--exit 3`), in an image that is present.
    fn puppet(&self, words: &[&str]) -> ContainerSpec;
    /// The argv of a further process with this part.
    fn puppet_argv(&self, words: &[&str]) -> Vec<String>;
}

/// Runs every law.
pub async fn suite(bench: &dyn Bench) {
    let bench = Laws(bench);
    bench.a_sandbox_is_run_once_stopped_and_removed().await;
    bench.a_network_of_the_engines_own_has_addresses_that_are_listed().await;
    bench.a_container_runs_and_its_exit_is_kept_until_removed().await;
    bench.exit_codes_and_signals_are_told_apart().await;
    bench.a_start_that_fails_is_an_exit_with_its_reason().await;
    bench.every_call_may_come_twice().await;
    bench.term_may_be_ignored_kill_may_not().await;
    bench.stopping_a_sandbox_ends_its_containers_and_keeps_their_exits().await;
    bench.removing_a_container_ends_it_and_forgets_it().await;
    bench.what_is_not_there_is_not_found().await;
    bench.an_exec_has_its_own_streams_and_exit().await;
    bench.an_exec_under_a_name_is_one_run().await;
    bench.images_are_found_by_every_name_that_they_have().await;
}

struct Laws<'a>(&'a dyn Bench);

impl Laws<'_> {
    async fn a_sandbox_is_run_once_stopped_and_removed(&self) {
        let id = sandbox_id(1);
        self.run(&id).await;
        self.run(&id).await;
        let listed: Vec<Sandbox> = self.list().await.into_iter().filter(|s| s.id == id).collect();
        assert_eq!(listed.len(), 1, "one live sandbox per id");
        assert!(listed[0].ready);
        assert_eq!(listed[0].spec.labels, self.0.sandbox("law").labels);
        self.labels_choose(&id).await;
        assert!(listed[0].created_at > 0);
        self.engine().stop_sandbox(&id).await.unwrap();
        assert!(!self.sandbox(&id).await.unwrap().ready);
        assert!(self.engine().run_sandbox(&id, self.0.sandbox("law")).await.is_err(), "an id is used once");
        self.engine().remove_sandbox(&id).await.unwrap();
        assert!(self.sandbox(&id).await.is_none());
    }

    async fn a_network_of_the_engines_own_has_addresses_that_are_listed(&self) {
        let (id, given) = (sandbox_id(1002), self.0.sandbox("law-given"));
        assert!(self.engine().run_sandbox(&id, given).await.unwrap().is_empty(), "not the engine's");
        self.engine().remove_sandbox(&id).await.unwrap();
        let own = SandboxSpec { network: Network::Own, ..self.0.sandbox("law-own") };
        let (id, makes) = (sandbox_id(1003), self.engine().makes_networks());
        let run = self.engine().run_sandbox(&id, own.clone()).await;
        assert_eq!(run.is_ok(), makes, "{run:?}");
        if let Ok(addresses) = run {
            assert!(!addresses.is_empty());
            assert_eq!(self.engine().run_sandbox(&id, own).await.unwrap(), addresses, "asked again");
            assert_eq!(self.sandbox(&id).await.unwrap().addresses, addresses);
            self.engine().remove_sandbox(&id).await.unwrap();
        }
        assert!(self.sandbox(&id).await.is_none());
    }

    async fn labels_choose(&self, id: &SandboxId) {
        let (other, mut spec) = (sandbox_id(1001), self.0.sandbox("law-labels"));
        spec.labels.insert("law".into(), "labels".into());
        self.engine().run_sandbox(&other, spec).await.unwrap();
        let labelled = async |value: &str| {
            let found = self.engine().labelled("law", value).await.unwrap();
            found.into_iter().map(|s| s.id).collect::<Vec<_>>()
        };
        assert_eq!(labelled("labels").await, std::slice::from_ref(&other), "not {id:?}");
        assert!(labelled("label").await.is_empty());
        self.engine().remove_sandbox(&other).await.unwrap();
        assert!(labelled("labels").await.is_empty());
    }

    async fn a_container_runs_and_its_exit_is_kept_until_removed(&self) {
        let (sandbox, id) = (sandbox_id(2), container_id(2));
        self.run(&sandbox).await;
        self.create(&sandbox, &id, &[]).await;
        assert_eq!(self.container(&id).await.unwrap().phase, Phase::Created);
        self.engine().start_container(&id).await.unwrap();
        let running = self.container(&id).await.unwrap();
        let Phase::Running { started_at } = running.phase else { panic!("{:?}", running.phase) };
        assert!(started_at >= running.created_at && running.pid.is_some());
        self.engine().signal(&id, KILL).await.unwrap();
        let Phase::Exited { started_at: Some(begin), exit } = self.exited(&id).await else { panic!("it had started") };
        assert_eq!(begin, started_at);
        assert!(exit.finished_at >= begin);
        let kept = self.container(&id).await.unwrap();
        assert_eq!((kept.pid, kept.spec.name.as_str()), (None, "law"));
        self.engine().remove_container(&id).await.unwrap();
        assert!(self.container(&id).await.is_none());
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn exit_codes_and_signals_are_told_apart(&self) {
        let sandbox = sandbox_id(3);
        self.run(&sandbox).await;
        for (n, words, code) in [(30, &["--exit", "0"], 0), (31, &["--exit", "3"], 3), (32, &["--exit", "255"], 255)] {
            let id = container_id(n);
            self.create(&sandbox, &id, words).await;
            self.engine().start_container(&id).await.unwrap();
            let Phase::Exited { exit, .. } = self.exited(&id).await else { panic!("{words:?}") };
            assert_eq!((exit.code, exit.signal, exit.oom_killed, exit.start_error.as_str()), (code, None, false, ""));
        }
        let id = container_id(33);
        self.create(&sandbox, &id, &[]).await;
        self.engine().start_container(&id).await.unwrap();
        self.engine().signal(&id, KILL).await.unwrap();
        let Phase::Exited { exit, .. } = self.exited(&id).await else { panic!("killed") };
        assert_eq!((exit.code, exit.signal), (137, Some(KILL)));
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn a_start_that_fails_is_an_exit_with_its_reason(&self) {
        let (sandbox, id) = (sandbox_id(4), container_id(4));
        self.run(&sandbox).await;
        let argv = vec!["/absent".to_string()];
        let spec = ContainerSpec { argv, ..self.0.puppet(&[]) };
        self.engine().create_container(&sandbox, &id, spec).await.unwrap();
        let Err(Error::Start(why)) = self.engine().start_container(&id).await else { panic!("it started") };
        let Phase::Exited { started_at: None, exit } = self.container(&id).await.unwrap().phase else {
            panic!("it never ran")
        };
        assert_eq!(exit.code, 128);
        assert!(!exit.start_error.is_empty() && !why.is_empty());
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn every_call_may_come_twice(&self) {
        let (sandbox, id) = (sandbox_id(5), container_id(5));
        for _ in 0..2 {
            self.run(&sandbox).await;
            self.create(&sandbox, &id, &[]).await;
        }
        self.engine().start_container(&id).await.unwrap();
        let begun = self.container(&id).await.unwrap();
        self.engine().start_container(&id).await.unwrap();
        let again = self.container(&id).await.unwrap();
        assert_eq!((begun.pid, begun.phase), (again.pid, again.phase), "not started again");
        for _ in 0..2 {
            self.engine().stop_sandbox(&sandbox).await.unwrap();
        }
        for _ in 0..2 {
            self.engine().remove_container(&id).await.unwrap();
        }
        for _ in 0..2 {
            self.engine().remove_sandbox(&sandbox).await.unwrap();
        }
    }

    async fn term_may_be_ignored_kill_may_not(&self) {
        let (sandbox, id) = (sandbox_id(6), container_id(6));
        self.run(&sandbox).await;
        self.create(&sandbox, &id, &["--ignore-term"]).await;
        self.engine().start_container(&id).await.unwrap();
        self.engine().signal(&id, TERM).await.unwrap();
        self.engine().signal(&id, KILL).await.unwrap();
        let Phase::Exited { exit, .. } = self.exited(&id).await else { panic!("killed") };
        assert_eq!(exit.signal, Some(KILL), "TERM did not end it");
        let refused = self.engine().signal(&id, TERM).await;
        assert!(matches!(refused, Err(Error::NotRunning(_))), "{refused:?}");
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn stopping_a_sandbox_ends_its_containers_and_keeps_their_exits(&self) {
        let sandbox = sandbox_id(7);
        self.run(&sandbox).await;
        let ids = [container_id(70), container_id(71), container_id(72)];
        for id in &ids {
            self.create(&sandbox, id, &["--ignore-term"]).await;
        }
        for id in &ids[..2] {
            self.engine().start_container(id).await.unwrap();
        }
        self.engine().stop_sandbox(&sandbox).await.unwrap();
        for id in &ids[..2] {
            let Phase::Exited { exit, .. } = self.exited(id).await else { panic!("stopped") };
            assert_eq!(exit.code, 137);
        }
        let listed = self.sandbox(&sandbox).await.unwrap();
        assert_eq!((listed.ready, listed.containers.len()), (false, 3));
        let late = self.engine().create_container(&sandbox, &container_id(73), self.0.puppet(&[])).await;
        assert!(late.is_err(), "nothing new in a stopped sandbox");
        self.engine().remove_sandbox(&sandbox).await.unwrap();
        assert!(self.container(&ids[0]).await.is_none());
    }

    async fn removing_a_container_ends_it_and_forgets_it(&self) {
        let (sandbox, id) = (sandbox_id(8), container_id(8));
        self.run(&sandbox).await;
        self.create(&sandbox, &id, &["--ignore-term"]).await;
        self.engine().start_container(&id).await.unwrap();
        self.engine().remove_container(&id).await.unwrap();
        assert!(self.container(&id).await.is_none());
        assert!(self.sandbox(&sandbox).await.unwrap().ready);
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn what_is_not_there_is_not_found(&self) {
        let (sandbox, id) = (sandbox_id(9), container_id(9));
        let created = self.engine().create_container(&sandbox, &id, self.0.puppet(&[])).await;
        assert!(matches!(created, Err(Error::NotFound(_))), "{created:?}");
        assert!(matches!(self.engine().start_container(&id).await, Err(Error::NotFound(_))));
        assert!(matches!(self.engine().signal(&id, TERM).await, Err(Error::NotFound(_))));
        self.run(&sandbox).await;
        let image = format!("sha256:{}", "0".repeat(64));
        let spec = ContainerSpec { image, ..self.0.puppet(&[]) };
        let created = self.engine().create_container(&sandbox, &id, spec).await;
        assert!(matches!(created, Err(Error::ImageAbsent(_))), "{created:?}");
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn an_exec_has_its_own_streams_and_exit(&self) {
        let (sandbox, id) = (sandbox_id(10), container_id(10));
        self.run(&sandbox).await;
        self.create(&sandbox, &id, &[]).await;
        let spec = |words: &[&str]| ExecSpec {
            argv: self.0.puppet_argv(words),
            stdout: true,
            stderr: true,
            ..ExecSpec::default()
        };
        let early = self.engine().exec(&id, spec(&["--exit", "0"])).await;
        assert!(matches!(early, Err(Error::NotRunning(_))), "not started yet");
        self.engine().start_container(&id).await.unwrap();
        let words = ["--print", "out", "--complain", "err", "--exit", "7"];
        let mut session = self.engine().exec(&id, spec(&words)).await.unwrap();
        assert!(session.stdin.is_none());
        let (mut out, mut err) = (String::new(), String::new());
        session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        session.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
        assert_eq!(session.exit.await.unwrap().unwrap(), 7);
        let absent = ExecSpec { argv: vec!["/absent".into()], stdout: true, ..ExecSpec::default() };
        assert!(matches!(self.engine().exec(&id, absent).await, Err(Error::Start(_))));
        let running = self.container(&id).await.unwrap();
        assert!(matches!(running.phase, Phase::Running { .. }), "an exec ends alone");
        // One that never ends by itself ends when it is killed, alone, or with its container.
        let session = self.engine().exec(&id, spec(&[])).await.unwrap();
        (session.kill)();
        assert_eq!(session.exit.await.unwrap().unwrap(), 128 + KILL);
        assert!(matches!(self.container(&id).await.unwrap().phase, Phase::Running { .. }));
        let session = self.engine().exec(&id, spec(&[])).await.unwrap();
        self.engine().signal(&id, KILL).await.unwrap();
        assert_ne!(session.exit.await.unwrap().unwrap(), 0);
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn an_exec_under_a_name_is_one_run(&self) {
        let (sandbox, id) = (sandbox_id(11), container_id(11));
        self.run(&sandbox).await;
        self.create(&sandbox, &id, &[]).await;
        self.engine().start_container(&id).await.unwrap();
        let spec = |name: &str, code: &str| ExecSpec {
            name: name.into(),
            argv: self.0.puppet_argv(&["--exit", code]),
            ..ExecSpec::default()
        };
        for (name, code, expected) in [("one", "7", 7), ("one", "8", 7), ("two", "8", 8), ("one", "9", 7)] {
            let session = self.engine().exec(&id, spec(name, code)).await.unwrap();
            assert_eq!(session.exit.await.unwrap().unwrap(), expected, "{name}");
        }
        self.engine().remove_sandbox(&sandbox).await.unwrap();
    }

    async fn images_are_found_by_every_name_that_they_have(&self) {
        let images = self.engine().images();
        let id = self.0.puppet(&[]).image;
        let image = images.find(&id).await.unwrap().unwrap();
        assert_eq!(image.id, id);
        for name in image.tags.iter().chain(&image.digests) {
            assert_eq!(images.find(name).await.unwrap().unwrap().id, id, "{name}");
        }
        assert!(images.list().await.unwrap().iter().any(|listed| listed.id == id));
        assert!(images.find("nobody.invalid/has:this").await.unwrap().is_none());
        let user = images.user(&id, "1000:1001").await.unwrap();
        assert_eq!((user.uid, user.gid, user.numeric), (1000, 1001, true));
    }

    fn engine(&self) -> &dyn Engine {
        self.0.engine()
    }

    async fn run(&self, id: &SandboxId) {
        self.engine().run_sandbox(id, self.0.sandbox("law")).await.unwrap();
    }

    async fn create(&self, sandbox: &SandboxId, id: &ContainerId, words: &[&str]) {
        let spec = ContainerSpec { name: "law".into(), ..self.0.puppet(words) };
        self.engine().create_container(sandbox, id, spec).await.unwrap();
    }

    async fn list(&self) -> Vec<Sandbox> {
        self.engine().list().await.unwrap()
    }

    async fn sandbox(&self, id: &SandboxId) -> Option<Sandbox> {
        self.list().await.into_iter().find(|sandbox| sandbox.id == *id)
    }

    async fn container(&self, id: &ContainerId) -> Option<Container> {
        self.list().await.into_iter().flat_map(|sandbox| sandbox.containers).find(|container| container.id == *id)
    }

    /// Waits for the end, as a caller should: a change is a hint to look again.
    async fn exited(&self, id: &ContainerId) -> Phase {
        let mut changes = self.engine().changes();
        loop {
            let phase = self.container(id).await.unwrap().phase;
            if matches!(phase, Phase::Exited { .. }) {
                return phase;
            }
            loop {
                match changes.recv().await {
                    Ok(Hint::Container(_, changed)) if changed == *id => break,
                    Ok(Hint::Lagged) | Err(RecvError::Lagged(_)) => break,
                    Ok(_) => {}
                    Err(RecvError::Closed) => panic!("the engine is gone"),
                }
            }
        }
    }
}

fn sandbox_id(n: u64) -> SandboxId {
    SandboxId(format!("{n:064x}"))
}

fn container_id(n: u64) -> ContainerId {
    ContainerId(format!("c{n:063x}"))
}

/// Around a suite, so that a law that hangs does not hang the build.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// stdin comes back on stdout; `argv` is a program that copies it.
#[allow(dead_code, reason = "each engine's test is a program of its own")]
pub async fn cat_echoes(bench: &dyn Bench, argv: Vec<String>) {
    let laws = Laws(bench);
    let (sandbox, id) = (sandbox_id(11), container_id(11));
    laws.run(&sandbox).await;
    laws.create(&sandbox, &id, &[]).await;
    bench.engine().start_container(&id).await.unwrap();
    let spec = ExecSpec { argv, stdin: true, stdout: true, ..ExecSpec::default() };
    let mut session = bench.engine().exec(&id, spec).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
    assert_eq!(session.exit.await.unwrap().unwrap(), 0);
    bench.engine().remove_sandbox(&sandbox).await.unwrap();
}
