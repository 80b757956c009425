//! The command line of `cargo xtask conformance`.
//!
//! Words are kept as they came as well: the run goes on under the same words inside the namespaces it makes.

use crate::flags;
use anyhow::{Context, Result};
use std::path::PathBuf;

pub const USAGE: &str =
    "cargo xtask conformance [--kubeconfig FILE] [--stage S1] [--focus REGEX] [--procs N] [--nodes N]
                        [--quick] [--beyond] [--gousse FILE] [--build-only]

  --kubeconfig FILE  judge this cluster (its images loaded beforehand), instead of one of our own
  --stage S1         only the tests of one stage (S1 to S9)
  --focus REGEX      only the tests whose names match
  --procs N          how many tests run at once (10), those that need the cluster to themselves aside
  --nodes N          how many nodes a cluster of our own has (1), each in a network namespace of its own
  --quick            only what docs/conformance.md calls passed in under five seconds, up to ten minutes
  --beyond           the tests beyond conformance that any machine can run (stages network, node, storage)
  --gousse FILE      judge this program instead of a release build of the workspace
  --build-only       build the programs and the images, check the list of tests, and stop";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub kubeconfig: Option<PathBuf>,
    pub stage: Option<String>,
    pub focus: Option<String>,
    pub procs: usize,
    pub nodes: usize,
    pub quick: bool,
    pub beyond: bool,
    pub gousse: Option<PathBuf>,
    pub build_only: bool,
}

impl Options {
    pub fn parse(words: &[String]) -> Result<Options> {
        let mut options = Options { procs: 10, nodes: 1, ..Options::default() };
        flags::each(words, USAGE, |flag, value| {
            match flag {
                "--kubeconfig" => options.kubeconfig = Some(std::path::absolute(value()?)?),
                "--gousse" => options.gousse = Some(std::path::absolute(value()?)?),
                "--stage" => options.stage = Some(value()?),
                "--focus" => options.focus = Some(value()?),
                "--procs" => {
                    options.procs =
                        value()?.parse().ok().filter(|procs| *procs > 0).context("--procs takes a number from 1")?
                }
                "--nodes" => {
                    options.nodes = value()?
                        .parse()
                        .ok()
                        .filter(|nodes| (1..=100).contains(nodes))
                        .context("--nodes takes a number from 1 to 100")?
                }
                "--quick" => options.quick = true,
                "--beyond" => options.beyond = true,
                "--build-only" => options.build_only = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(options)
    }
}
