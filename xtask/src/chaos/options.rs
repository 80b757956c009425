//! The command line of `cargo xtask chaos`.

use std::path::PathBuf;

use crate::flags;
use anyhow::{Context, Result};

use super::modes::{MODES, Mode};

pub fn usage() -> String {
    let modes: String = MODES.iter().map(|mode| format!("    {:<11} {}\n", mode.name, mode.what)).collect();
    format!(
        "cargo xtask chaos [--minutes N] [--seed S] [--mode NAME,…] [--round K] [--span SECONDS] [--gousse FILE]

  --minutes N     begins rounds for so long (10)
  --seed S        fixes the choices (1); the moments at which they are carried out are the machine's
  --mode NAME,…   only these; all but `power` without it:
{modes}  --round K       only this one: how a finding is looked for again
  --span SECONDS  how long a round's faults go on (20)
  --gousse FILE   judge this program instead of a release build of the workspace"
    )
}

pub struct Options {
    pub minutes: f64,
    pub seed: u64,
    pub modes: Vec<&'static Mode>,
    pub round: Option<u64>,
    pub span: u64,
    pub gousse: Option<PathBuf>,
}

impl Options {
    pub fn parse(words: &[String]) -> Result<Options> {
        let modes = MODES.iter().filter(|mode| mode.usual).collect();
        let mut options = Options { minutes: 10.0, seed: 1, modes, round: None, span: 20, gousse: None };
        flags::each(words, &usage(), |flag, value| {
            let number = |text: String| text.parse::<u64>().with_context(|| format!("{flag} {text}: no whole number"));
            match flag {
                "--minutes" => {
                    let text = value()?;
                    options.minutes = text.parse().with_context(|| format!("--minutes {text}: no number"))?
                }
                "--seed" => options.seed = number(value()?)?,
                "--round" => options.round = Some(number(value()?)?),
                "--span" => options.span = number(value()?)?.max(1),
                "--gousse" => options.gousse = Some(std::path::absolute(value()?)?),
                "--mode" => {
                    let named = |name| MODES.iter().find(|mode| mode.name == name);
                    let names = value()?;
                    let found = names
                        .split(',')
                        .map(|name| named(name).with_context(|| format!("no mode {name}\n{}", usage())));
                    options.modes = found.collect::<Result<_>>()?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(options)
    }
}
