//! The laws that every engine keeps, over this one on the real kernel.

use std::sync::Arc;

use runtime::native::NativeEngine;
use runtime::{ContainerSpec, Engine, SandboxSpec};

use super::Test;
use super::laws;
use super::stage::{Stage, puppet_name};

pub const TESTS: &[Test] = &[("native_engine_keeps_the_laws", keeps_the_laws)];

struct Bench<'a> {
    stage: &'a Stage,
    engine: Arc<NativeEngine>,
}

impl laws::Bench for Bench<'_> {
    fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    fn sandbox(&self, name: &str) -> SandboxSpec {
        let (_, spec) = self.stage.sandbox(name);
        SandboxSpec { labels: [("name".to_string(), name.to_string())].into(), ..spec }
    }

    fn puppet(&self, words: &[&str]) -> ContainerSpec {
        let (_, spec) = self.stage.container("law", &[]);
        ContainerSpec { argv: self.puppet_argv(words), ..spec }
    }

    /// The words of the suite in those of this program's own puppet.
    fn puppet_argv(&self, words: &[&str]) -> Vec<String> {
        let part: &[&str] = match words {
            // The first process of a PID namespace does not hear TERM unless it asks to.
            [] | ["--ignore-term"] => &["wait"],
            ["--exit", code] => &["exit", code],
            ["--print", out, "--complain", err, "--exit", code] => &["speak", out, err, code],
            other => panic!("no part for {other:?}"),
        };
        [puppet_name()].iter().chain(part).map(|word| word.to_string()).collect()
    }
}

fn keeps_the_laws(stage: &Stage) {
    let bench = Bench { stage, engine: stage.engine() };
    stage.tokio.block_on(async {
        tokio::time::timeout(laws::PATIENCE, laws::suite(&bench)).await.expect("no law hangs");
    });
    let argv = vec![puppet_name().to_string(), "cat".into(), "/proc/self/fd/0".into()];
    stage.block_on(laws::cat_echoes(&bench, argv));
}
