//! The command line of `cargo xtask chaos`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

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
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, joined) =
                word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
            let value = joined.or_else(|| words.next().map(String::as_str));
            let value = value.with_context(|| format!("{flag} needs a value\n{}", usage()))?;
            let number = || value.parse::<u64>().with_context(|| format!("{flag} {value}: no whole number"));
            match flag {
                "--minutes" => {
                    options.minutes = value.parse().with_context(|| format!("--minutes {value}: no number"))?
                }
                "--seed" => options.seed = number()?,
                "--round" => options.round = Some(number()?),
                "--span" => options.span = number()?.max(1),
                "--gousse" => options.gousse = Some(std::path::absolute(value)?),
                "--mode" => {
                    let named = |name| MODES.iter().find(|mode| mode.name == name);
                    let found = value
                        .split(',')
                        .map(|name| named(name).with_context(|| format!("no mode {name}\n{}", usage())));
                    options.modes = found.collect::<Result<_>>()?;
                }
                _ => bail!("unknown argument {word}\n{}", usage()),
            }
        }
        Ok(options)
    }
}
