//! Flags of a command, with their values joined (`--seed=1`) or apart (`--seed 1`).

use anyhow::{Context, Result, bail};

/// Hands each flag to `take`, with a function that gives its value; `take` says whether there is such a flag.
///
/// # Errors
/// An unknown flag, a value that is missing, and what `take` finds wrong; the usage is said with the first two.
pub fn each(
    words: &[String],
    usage: &str,
    mut take: impl FnMut(&str, &mut dyn FnMut() -> Result<String>) -> Result<bool>,
) -> Result<()> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (flag, joined) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = || {
            let value = joined.clone().or_else(|| words.next().cloned());
            value.with_context(|| format!("{flag} needs a value\n{usage}"))
        };
        if !take(flag, &mut value)? {
            bail!("unknown argument {word}\n{usage}");
        }
    }
    Ok(())
}
