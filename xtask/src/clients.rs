//! `cargo xtask clients`: the clients that people have, against a cluster of the run's own.
//!
//! `CLIENTS` is the table: how each is built or installed (outside, into the cache of `conformance`, pinned), and how it
//! is run (inside the namespaces of the run, with a kubeconfig and nothing else). A client prints a line per step, `ok …`
//! or `FAILED …`; whoever ends with another code than 0 has failed, and so has one that is not done in its time.

/// The table.
mod table;

use crate::conformance::cache::Cache;
use crate::conformance::{cluster, namespace, programs};
use crate::flags;
use crate::needs;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use table::{CLIENTS, Client};

const USAGE: &str = "cargo xtask clients [--gousse FILE] [--only NAME,…] [--build-only]

  --gousse FILE   judge this program instead of a release build of the workspace
  --only NAME,…   only these clients, of: ";

/// Seconds that a client may take.
const LIMIT: &str = "600";

/// One call of a client.
pub struct Run {
    pub name: String,
    words: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

impl Run {
    fn of(name: &str, words: &[&Path]) -> Run {
        let words = words.iter().map(|word| word.as_os_str().to_owned()).collect();
        Run { name: name.to_owned(), words, environment: Vec::new() }
    }

    fn with(mut self, variable: &'static str, value: impl Into<OsString>) -> Run {
        self.environment.push((variable, value.into()));
        self
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    gousse: Option<PathBuf>,
    only: Vec<String>,
    build_only: bool,
}

/// Runs the command; true if no step failed.
pub fn clients(words: &[String]) -> Result<bool> {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{}", usage());
        return Ok(true);
    }
    let options = Options::parse(words)?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    let chosen = |client: &&Client| options.only.is_empty() || options.only.iter().any(|name| name == client.name);
    let chosen: Vec<&Client> = CLIENTS.iter().filter(chosen).collect();
    let mut wanted: Vec<&[needs::Need]> = chosen.iter().map(|client| client.needs).collect();
    wanted.extend([needs::NAMESPACES, table::KUBECTL_NEEDS]);
    needs::check(&wanted)?;
    let cache = Cache::open()?;
    let kubectl = programs::kubectl(&cache, &workspace.join("conformance"))?;
    let mut built = Vec::new();
    for client in chosen {
        built.push((client, (client.build)(&cache, workspace)?));
    }
    drop(cache);
    if options.build_only {
        return Ok(true);
    }
    let Some(home) = namespace::inside() else {
        return cluster::enter("clients", words, options.gousse.as_deref(), workspace, &["--release"]);
    };
    let gousse = options.gousse.as_deref().context("the program to judge is named by the call outside")?;
    namespace::furnish(&home)?;
    let out = workspace.join("target/clients");
    std::fs::create_dir_all(&out)?;
    let cluster = cluster::Cluster::start(gousse, &kubectl.path, &home, &out.join("gousse.log"))?;
    let mut failed = Vec::new();
    for (client, built) in &built {
        for run in (client.runs)(&built.path) {
            let scratch = home.join("scratch").join(&run.name);
            std::fs::create_dir_all(&scratch)?;
            let mut command = Command::new("timeout");
            command.args(["--kill-after", "10", LIMIT]).args(&run.words).current_dir(&scratch);
            command.envs(run.environment.iter().map(|(name, value)| (name, value)));
            command.env("KUBECONFIG", &cluster.kubeconfig).env("KUBECTL", &kubectl.path).env("HOME", &scratch);
            if !steps(&run.name, &mut command, &out.join(format!("{}.log", run.name)))? {
                failed.push(run.name);
            }
        }
    }
    cluster.stop();
    println!(
        "{}",
        if failed.is_empty() { "all clients passed".into() } else { format!("failed: {}", failed.join(", ")) }
    );
    Ok(failed.is_empty())
}

/// Runs a client and prints what it says under its name, its complaints aside; true if a step passed and none failed.
fn steps(name: &str, command: &mut Command, log: &Path) -> Result<bool> {
    command.stderr(std::fs::File::create(log)?);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("starting {name}"))?;
    let (mut passed, mut failed) = (0, false);
    for line in BufReader::new(child.stdout.take().context("its output is a pipe")?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        passed += usize::from(line.starts_with("ok "));
        failed |= line.starts_with("FAILED");
        println!("{name}: {line}");
    }
    let status = child.wait()?;
    if !status.success() {
        println!("{name}: FAILED ({status}): {}", log.display());
    }
    // A client that does nothing does not pass.
    Ok(status.success() && passed > 0 && !failed)
}

fn usage() -> String {
    let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    format!("{USAGE}{}\n  --build-only    build and install the clients, and stop", names.join(", "))
}

impl Options {
    fn parse(words: &[String]) -> Result<Options> {
        let mut options = Options::default();
        flags::each(words, &usage(), |flag, value| {
            match flag {
                "--gousse" => options.gousse = Some(std::path::absolute(value()?)?),
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--build-only" => options.build_only = true,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if let Some(nobody) = options.only.iter().find(|name| !CLIENTS.iter().any(|client| client.name == **name)) {
            bail!("no client is named {nobody}\n{}", usage());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn clients_are_chosen_by_their_names() {
        let options = Options::parse(&words("--only helm,kube --gousse=/bin/true")).unwrap();
        assert_eq!(options.only, ["helm", "kube"]);
        assert_eq!(options.gousse, Some("/bin/true".into()));
        assert!(Options::parse(&words("--only hilm")).unwrap_err().to_string().contains("no client is named hilm"));
        assert!(Options::parse(&words("--only")).is_err());
    }

    #[test]
    fn a_client_that_fails_or_does_nothing_has_not_passed() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let said = |script: &str| steps("test", Command::new("sh").args(["-c", script]), log.path()).unwrap();
        assert!(said("echo ok one; echo ok two"));
        assert!(!said("echo ok one; echo FAILED two; exit 1"));
        assert!(!said("true"));
        assert!(!said("echo FAILED one"));
    }
}
