//! How long starts and ends take. Not judged here: run by hand with `-- measure`, optionally with
//! `GOUSSE_PROGRAM` naming a release build that is to be keeper and supervisor.
//!
//! The limit held against: 2.45 ms from sandbox to a running container in C, network included, which is
//! the caller's here.

use std::time::{Duration, Instant};

use runtime::engine::Engine;
use runtime::*;

use super::Test;
use super::stage::{self, Stage, exec, wait_for_exit};

pub const TESTS: &[Test] = &[("measure", measure)];

fn measure(stage: &Stage) {
    let engine = stage.engine();
    let mut steps: [(&str, Vec<Duration>); 7] =
        ["run_sandbox", "create", "start", "exec", "kill to exit seen", "remove", "sandbox to running"]
            .map(|n| (n, vec![]));
    let (_, sandbox_spec) = stage.sandbox("speed");
    for number in 0..200 {
        let name = format!("speed{number}");
        let (sandbox, id) = (SandboxId(stage::id(&name)), ContainerId(stage::id(&name)));
        let (_, spec) = stage.container(&name, &["wait"]);
        let took = stage.block_on(async {
            let mut marks = vec![Instant::now()];
            engine.run_sandbox(&sandbox, sandbox_spec.clone()).await.unwrap();
            marks.push(Instant::now());
            engine.create_container(&sandbox, &id, spec).await.unwrap();
            marks.push(Instant::now());
            engine.start_container(&id).await.unwrap();
            marks.push(Instant::now());
            exec(&engine, &id, &["exit", "0"]).await;
            marks.push(Instant::now());
            engine.signal(&id, libc::SIGKILL).await.unwrap();
            wait_for_exit(&engine, &id).await;
            marks.push(Instant::now());
            engine.remove_sandbox(&sandbox).await.unwrap();
            marks.push(Instant::now());
            let mut took: Vec<Duration> = marks.windows(2).map(|pair| pair[1] - pair[0]).collect();
            took.push(marks[3] - marks[0]);
            took
        });
        steps.iter_mut().zip(took).for_each(|((_, all), one)| all.push(one));
    }
    for (name, all) in &mut steps {
        all.sort();
        println!("{name:>20} p50 {:>8.0?} p99 {:>8.0?} n {}", all[all.len() / 2], all[all.len() * 99 / 100], all.len());
    }
    burst(stage);
}

/// A hundred pods at once, there and gone again.
fn burst(stage: &Stage) {
    let engine = stage.engine();
    let (_, mut sandbox_spec) = stage.sandbox("burst");
    let mut pods = Vec::new();
    for number in 0..100 {
        let name = format!("burst{number}");
        sandbox_spec.cgroup = format!("{}/pod-{name}", stage.cgroup);
        let (id, spec) = stage.container(&name, &["wait"]);
        pods.push((SandboxId(stage::id(&name)), sandbox_spec.clone(), id, spec));
    }
    let begun = Instant::now();
    stage.block_on(async {
        let starts = pods.clone().into_iter().map(|(sandbox, sandbox_spec, id, spec)| {
            let engine = engine.clone();
            tokio::spawn(async move {
                engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
                engine.create_container(&sandbox, &id, spec).await.unwrap();
                engine.start_container(&id).await.unwrap();
            })
        });
        for one in starts.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    });
    println!("{:>20} {:>8.0?}", "100 running", begun.elapsed());
    let begun = Instant::now();
    stage.block_on(async {
        let ends = pods.into_iter().map(|(sandbox, ..)| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.remove_sandbox(&sandbox).await.unwrap() })
        });
        for one in ends.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    });
    println!("{:>20} {:>8.0?}", "100 gone", begun.elapsed());
}
