//! From a spec to an exit record: what a container does, and what is left when it is gone.

use std::os::fd::AsFd as _;

use runtime::engine::Engine;
use runtime::*;

use super::Test;
use super::stage::{self, Stage};

pub const TESTS: &[Test] = &[("container_runs_to_its_exit_code_and_its_lines_are_logged", runs)];

fn runs(stage: &Stage) {
    let engine = stage.engine();
    let (_, spec) = stage.container("run", &["say", "to out", "to err"]);
    let exit = stage.run(&engine, "run", spec);
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (0, None, false), "{exit:?}");
    assert_eq!(stage.logged("run", "stdout"), "to out\n");
    assert_eq!(stage.logged("run", "stderr"), "to err\n");
    let _ = std::io::stdin().as_fd();
    let _ = stage::id("x");
    stage.block_on(async { engine.list().await.unwrap() });
}
