//! `cargo xtask foreign`: upstream's own scheduler and controllers on our server, ours switched off.
//!
//! Outside: build what is missing. Inside namespaces of the run's own: start `gousse up --scheduler=false
//! --controllers=`, upstream's kube-scheduler and kube-controller-manager beside it with the rights that the server's
//! own rules give them (`parts`), and have them do their work on the real node (`stories`), each in a namespace of its
//! own. Law: they know the API and nothing else, and they complain about nothing (`parts::complaints`).

/// Upstream's programs.
mod parts;
/// What they must do.
mod stories;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;

use crate::conformance::{cache, cluster, namespace, programs};
use crate::flags;
use crate::needs::{self, Need};
use parts::Parts;
use stories::{STORIES, World};

const USAGE: &str = "cargo xtask foreign [--gousse FILE] [--only REGEX] [--build-only]

  --gousse FILE  judge this program instead of a debug build of the workspace
  --only REGEX   only stories whose name matches
  --build-only   build what it needs, and stop";

const NEEDS: &[Need] = &[
    ("go", "golang-go", "builds upstream's programs (Go 1.26 or later; https://go.dev/dl where Debian's is older)"),
    ("openssl", "openssl", "makes their certificates"),
    ("timeout", "coreutils", "ends a cluster that hangs"),
];

/// Our own parts that theirs stand in for.
const OFF: [&str; 2] = ["--scheduler=false", "--controllers="];

/// All stories go on side by side; the longest waits for a CronJob's minute.
const LIMIT: Duration = Duration::from_secs(150);

#[derive(Default)]
struct Options {
    gousse: Option<PathBuf>,
    only: Option<regex::Regex>,
    build_only: bool,
}

impl Options {
    fn parse(words: &[String]) -> Result<Options> {
        let mut options = Options::default();
        flags::each(words, USAGE, |flag, value| {
            match flag {
                "--gousse" => options.gousse = Some(std::path::absolute(value()?)?),
                "--only" => options.only = Some(regex::Regex::new(&value()?)?),
                "--build-only" => options.build_only = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(options)
    }
}

/// Runs the command; true if every story came to its end and nobody complained.
pub fn foreign(words: &[String]) -> Result<bool> {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return Ok(true);
    }
    let options = Options::parse(words)?;
    needs::check(&[NEEDS, needs::NAMESPACES])?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    let cache = cache::Cache::open()?;
    let module = workspace.join("conformance");
    let kubectl = programs::kubectl(&cache, &module)?;
    let scheduler = programs::component(&cache, &module, "kube-scheduler")?;
    let manager = programs::component(&cache, &module, "kube-controller-manager")?;
    drop(cache);
    if options.build_only {
        println!("{}\n{}", scheduler.path.display(), manager.path.display());
        return Ok(true);
    }
    let Some(home) = namespace::inside() else {
        return cluster::enter("foreign", words, options.gousse.as_deref(), workspace, &[]);
    };
    let gousse = options.gousse.as_deref().context("the program to judge is named by the call outside")?;
    namespace::furnish(&home)?;
    let out = workspace.join("target/foreign");
    std::fs::create_dir_all(&out)?;
    let cluster = cluster::Cluster::start_with(gousse, &kubectl.path, &home, &out.join("gousse.log"), &OFF)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let told = runtime.block_on(async {
        let parts = Parts::start(&scheduler.path, &manager.path, &cluster.kubeconfig, &home, &out)?;
        let failed = told(&World::of(&cluster.kubeconfig)?, options.only.as_ref()).await;
        parts.stop().await;
        Ok::<_, anyhow::Error>(failed)
    });
    cluster.stop();
    let mut failed = told?;
    for line in parts::complaints(&out)? {
        println!("FAILED: complained: {line}");
        failed += 1;
    }
    println!("{}", if failed == 0 { "upstream's own drive it".into() } else { format!("{failed} failed") });
    Ok(failed == 0)
}

/// Runs the stories, a line for each; how many failed.
async fn told(world: &World, only: Option<&regex::Regex>) -> usize {
    let chosen = STORIES.iter().filter(|story| only.is_none_or(|only| only.is_match(story.name)));
    let mut running: futures::stream::FuturesUnordered<_> = chosen
        .map(async |story| {
            let begun = std::time::Instant::now();
            let ended = match tokio::time::timeout(LIMIT, world.tell(story)).await {
                Ok(ended) => ended,
                Err(_) => Err(anyhow::anyhow!("not over within {} s", LIMIT.as_secs())),
            };
            (story.name, begun.elapsed(), ended)
        })
        .collect();
    let mut failed = 0;
    while let Some((name, took, ended)) = running.next().await {
        match ended {
            Ok(()) => println!("ok {name} ({:.1} s)", took.as_secs_f64()),
            Err(why) => {
                println!("FAILED {name} ({:.1} s): {why:#}", took.as_secs_f64());
                failed += 1;
            }
        }
    }
    failed
}
