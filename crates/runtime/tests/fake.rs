//! The laws over the fake engine, on paused time, and what only it can do.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runtime::fake::{Fake, FakeConfig};
use runtime::{ContainerId, ContainerSpec, Engine, Error, LogFile, Phase, SandboxId, SandboxSpec};

mod laws;

struct Bench {
    engine: Fake,
    image: String,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut FakeConfig)) -> Bench {
        let begin = tokio::time::Instant::now();
        let mut config = FakeConfig {
            clock: Arc::new(move || 1_700_000_000_000_000_000 + begin.elapsed().as_nanos() as i128),
            preloaded: vec!["toolbox".into()],
            pull_time: Duration::from_secs(1),
            start_time: Duration::from_millis(3),
            fault: None,
        };
        change(&mut config);
        let engine = Fake::new(config);
        let image = engine.images().find("toolbox").await.unwrap().unwrap().id;
        Bench { engine, image }
    }
}

impl laws::Bench for Bench {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn sandbox(&self, name: &str) -> SandboxSpec {
        SandboxSpec { hostname: name.into(), labels: [("name".into(), name.into())].into(), ..SandboxSpec::default() }
    }

    fn puppet(&self, words: &[&str]) -> ContainerSpec {
        ContainerSpec { image: self.image.clone(), argv: self.puppet_argv(words), ..ContainerSpec::default() }
    }

    fn puppet_argv(&self, words: &[&str]) -> Vec<String> {
        ["/bin/puppet"].iter().chain(words).map(|word| word.to_string()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_engine_keeps_the_laws() {
    let bench = Bench::new(|_| {}).await;
    tokio::time::timeout(laws::PATIENCE, laws::suite(&bench)).await.unwrap();
    laws::cat_echoes(&bench, vec!["/bin/cat".into()]).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_engine_keeps_the_laws_where_it_makes_networks() {
    let bench = Bench::new(|_| {}).await;
    bench.engine.make_networks(vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()]);
    tokio::time::timeout(laws::PATIENCE, laws::suite(&bench)).await.unwrap();
}

async fn started(bench: &Bench, n: u32, change: impl FnOnce(&mut ContainerSpec), words: &[&str]) -> ContainerId {
    use laws::Bench as _;
    let sandbox = SandboxId("5a".into());
    bench.engine.run_sandbox(&sandbox, bench.sandbox("x")).await.unwrap();
    let id = ContainerId(format!("{n}"));
    let mut spec = bench.puppet(words);
    change(&mut spec);
    bench.engine.create_container(&sandbox, &id, spec).await.unwrap();
    bench.engine.start_container(&id).await.unwrap();
    id
}

async fn phase(bench: &Bench, id: &ContainerId) -> Phase {
    let listed = bench.engine.list().await.unwrap();
    listed.into_iter().flat_map(|s| s.containers).find(|c| c.id == *id).unwrap().phase
}

#[tokio::test(start_paused = true)]
async fn a_part_takes_its_time_and_leaves_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(|_| {}).await;
    let words = ["--run", "5", "--exit", "4", "--term-after", "2", "--print", "hello", "--complain", "oh"];
    let log = dir.path().join("0.log");
    let with_log = |spec: &mut ContainerSpec| {
        spec.log = Some(LogFile { path: log.clone(), size_max: 1 << 20, files_max: 2 });
    };
    let id = started(&bench, 1, with_log, &words).await;
    tokio::time::sleep(Duration::from_millis(4_990)).await;
    assert!(matches!(phase(&bench, &id).await, Phase::Running { .. }));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let Phase::Exited { started_at: Some(begin), exit } = phase(&bench, &id).await else { panic!("it ended") };
    assert_eq!((exit.code, exit.finished_at - begin), (4, 5_000_000_000));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(lines, ["stdout F hello", "stderr F oh"]);
    // A slow end after TERM, a code of its own, and the kernel's killer.
    let id = started(&bench, 2, |_| {}, &["--term-after", "2", "--term-exit", "9"]).await;
    bench.engine.signal(&id, 15).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    assert!(matches!(phase(&bench, &id).await, Phase::Running { .. }));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(matches!(phase(&bench, &id).await, Phase::Exited { exit, .. } if exit.code == 9));
    let id = started(&bench, 3, |_| {}, &["--run", "1", "--oom"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(matches!(phase(&bench, &id).await, Phase::Exited { exit, .. } if exit.oom_killed && exit.code == 137));
}

#[tokio::test(start_paused = true)]
async fn a_reboot_leaves_ends_that_nobody_saw() {
    let bench = Bench::new(|_| {}).await;
    let id = started(&bench, 1, |_| {}, &[]).await;
    bench.engine.reboot();
    assert!(matches!(phase(&bench, &id).await, Phase::Unknown { started_at: Some(_) }));
    assert!(!bench.engine.list().await.unwrap()[0].ready);
}

#[tokio::test(start_paused = true)]
async fn faults_fail_the_operation_they_name() {
    let count = Arc::new(AtomicU32::new(0));
    let bench = Bench::new(|config| {
        config.fault = Some(Arc::new(move |operation| {
            let nth = (operation == "start_container").then(|| count.fetch_add(1, Ordering::SeqCst))?;
            (nth == 1).then(|| Error::Failed("injected".into()))
        }));
    })
    .await;
    let id = started(&bench, 1, |_| {}, &[]).await;
    assert!(bench.engine.start_container(&id).await.is_err());
    bench.engine.start_container(&id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pulls_take_time_and_fail_where_the_name_says_so() {
    let bench = Bench::new(|_| {}).await;
    let images = bench.engine.images();
    let pull = |name: &'static str| images.pull(name, vec![], Arc::new(|_, _| {}));
    let begin = tokio::time::Instant::now();
    let image = pull("nginx:1.27").await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
    assert_eq!(image.tags, ["docker.io/library/nginx:1.27"]);
    assert_eq!(images.find("nginx:1.27").await.unwrap().unwrap().id, image.id);
    assert!(pull("absent.invalid/x").await.unwrap_err().to_string().contains("not found"));
    assert!(pull("broken.invalid/x").await.unwrap_err().to_string().contains("no such host"));
    assert!(pull("Not A Name").await.is_err());
    images.remove("nginx:1.27").await.unwrap();
    assert!(images.find("nginx:1.27").await.unwrap().is_none());
}
