//! Runs the suite with ginkgo over a set of tests, and reads what became of each.
//!
//! Two passes: the tests that share the cluster, several at once; then those that need it to themselves. Each of the
//! suite's processes keeps a diary (`e2e_test.go`); a test that took its process down has begun there and never ended,
//! has failed, and those that never began go on without it. Laws: no test is skipped, retried or given more time; a pass
//! ends by its deadline, and a test it did not reach counts as failed.

use super::list::Test;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What became of a test: the reason of its failure unless it passed, and the seconds it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub failure: Option<String>,
    pub seconds: f64,
    /// False for a test that the run ended before.
    pub reached: bool,
}

/// What all passes of a run share.
pub struct Suite<'a> {
    pub ginkgo: &'a Path,
    pub e2e: &'a Path,
    pub kubectl: &'a Path,
    pub kubeconfig: &'a Path,
    /// Logs and reports go here.
    pub out: PathBuf,
    pub deadline: Instant,
}

/// The flag without which the framework asks for a cloud; all others are its own defaults.
const FRAMEWORK: &[&str] = &["--provider=skeleton"];

/// Names the folder of diaries to `e2e_test.go`.
const DIARIES: &str = "GOUSSE_DIARIES";

/// How long ginkgo gets to end its tests and write its report once a pass is over its time.
const GRACE: Duration = Duration::from_secs(120);

/// How often a run says how far it is.
const TELL: Duration = Duration::from_secs(30);

impl Suite<'_> {
    /// Runs all the tests in their passes.
    pub fn run(&self, tests: &[Test], procs: usize) -> Result<BTreeMap<&'static str, Outcome>> {
        fs::create_dir_all(&self.out)?;
        let (alone, shared): (Vec<Test>, Vec<Test>) = tests.iter().partition(|test| test.alone());
        let mut outcomes = BTreeMap::new();
        for (pass, tests, procs) in [("parallel", shared, procs), ("serial", alone, 1)] {
            if !tests.is_empty() {
                outcomes.extend(self.pass(pass, &tests, procs.min(tests.len()))?);
            }
        }
        Ok(outcomes)
    }

    fn pass(&self, pass: &str, tests: &[Test], procs: usize) -> Result<BTreeMap<&'static str, Outcome>> {
        let mut outcomes = BTreeMap::new();
        for part in 1.. {
            let left: Vec<Test> = tests.iter().filter(|test| !outcomes.contains_key(test.name)).copied().collect();
            if left.is_empty() || Instant::now() >= self.deadline {
                break;
            }
            let name = if part == 1 { pass.to_owned() } else { format!("{pass}-{part}") };
            let mut told = self.part(&name, &left, procs.min(left.len()))?;
            let reached = |told: &Outcome| told.reached;
            let told = left.iter().filter_map(|test| Some((test.name, told.remove(test.name).filter(reached)?)));
            let before = outcomes.len();
            outcomes.extend(told);
            if outcomes.len() == before {
                break;
            }
        }
        Ok(tests.iter().map(|test| (test.name, outcomes.remove(test.name).unwrap_or_else(unreached))).collect())
    }

    /// Ginkgo once, over the tests that are left; what its processes wrote down of each that began.
    fn part(&self, name: &str, tests: &[Test], procs: usize) -> Result<BTreeMap<String, Outcome>> {
        let log = self.out.join(format!("{name}.log"));
        let diaries = self.out.join(format!("{name}.diaries"));
        super::cache::remove(&diaries)?;
        fs::create_dir_all(&diaries)?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        eprintln!("{} tests, {procs} at once, up to {} minutes: {}", tests.len(), left.as_secs() / 60, log.display());
        let mut command = Command::new(self.ginkgo);
        command.arg(format!("--procs={procs}")).arg(format!("--timeout={}s", left.as_secs().max(1)));
        command.args(["--no-color", "--silence-skips"]).arg(format!("--output-dir={}", self.out.display()));
        command.arg(format!("--junit-report={name}.xml"));
        command.args(tests.iter().map(|test| format!("--focus={}", exactly(test.name))));
        command.arg(self.e2e).arg("--").args(FRAMEWORK);
        command.arg(format!("--kubeconfig={}", self.kubeconfig.display()));
        command.arg(format!("--kubectl-path={}", self.kubectl.display()));
        command.env(DIARIES, &diaries);
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // Ginkgo draws a dot for each test that ends.
        let ended = || fs::read_to_string(&log).map_or(0, |said| said.matches('•').count());
        within(&mut command, left + GRACE, || eprintln!("{} of {}", ended(), tests.len()))?;
        let mut told = BTreeMap::new();
        for diary in fs::read_dir(&diaries)? {
            told.extend(outcomes(&fs::read_to_string(diary?.path())?)?);
        }
        if told.is_empty() {
            bail!("no test of the suite began; its log ends:\n{}", end_of(&log, 30));
        }
        Ok(told)
    }
}

/// The last lines of a file, for an error.
pub fn end_of(path: &Path, lines: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// What a process wrote down of each test that it began: a line of JSON at its begin, one at its end, each with ginkgo's
/// report of it by then.
pub fn outcomes(diary: &str) -> Result<BTreeMap<String, Outcome>> {
    let mut outcomes = BTreeMap::new();
    // Who was killed may have written half a line.
    let whole = diary.rfind('\n').map_or("", |end| &diary[..end]);
    for line in whole.lines() {
        let line: Value = serde_json::from_str(line).context("reading a diary of the suite")?;
        let (spec, ended) = match &line["Ended"] {
            Value::Null => (&line["Begun"], false),
            spec => (spec, true),
        };
        if spec["LeafNodeType"] != "It" {
            continue;
        }
        let state = spec["State"].as_str().unwrap_or_default();
        // One that skips itself has not passed.
        let failure = match (ended, state) {
            (false, _) => Some(TOOK_ITS_PROCESS_DOWN.to_owned()),
            (true, "passed") => None,
            (true, _) => Some(format!("{state}: {}", reason(spec))),
        };
        let seconds = spec["RunTime"].as_f64().unwrap_or_default() / 1e9;
        outcomes.insert(full_name(spec), Outcome { failure, seconds, reached: true });
    }
    Ok(outcomes)
}

const TOOK_ITS_PROCESS_DOWN: &str = "took its process down: the log says how";

fn unreached() -> Outcome {
    Outcome { failure: Some("the run ended before it".to_owned()), seconds: 0.0, reached: false }
}

fn full_name(spec: &Value) -> String {
    let above = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let parts: Vec<&str> = above.chain(spec["LeafNodeText"].as_str()).filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// The failure's message on one line, with the place that it names.
fn reason(spec: &Value) -> String {
    let failure = &spec["Failure"];
    let mut line = brief(failure["Message"].as_str().unwrap_or("no message"));
    let place = failure["Location"]["FileName"].as_str().unwrap_or_default();
    if let Some((_, file)) = place.split_once("k8s.io/kubernetes").and_then(|(_, inner)| inner.split_once('/')) {
        line.push_str(&format!(" ({file}:{})", failure["Location"]["LineNumber"]));
    }
    line
}

/// A message often holds a whole object: of that, only the reasons and messages of its status are kept.
pub fn brief(message: &str) -> String {
    let (told, object) = match message.split_once("<*v1.") {
        Some((told, object)) => (told, object),
        None => (message, ""),
    };
    let mut words: Vec<&str> = told.split_whitespace().collect();
    let mut said: Vec<String> = Vec::new();
    let mut lines = object.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let value = line.strip_prefix("reason: ").or_else(|| line.strip_prefix("message: "));
        let Some(mut value) = value.map(str::to_owned) else { continue };
        // A long value goes on over lines until its quote ends.
        while value.starts_with('\'') && !value[1..].ends_with('\'') {
            let Some(more) = lines.next() else { break };
            value = format!("{value} {more}");
        }
        let value = value.trim_matches(['\'', '"']).to_owned();
        if !value.starts_with("containers with un") && !value.starts_with("Containers") && !said.contains(&value) {
            said.push(value);
        }
    }
    if !said.is_empty() {
        words.push("its status says:");
    }
    let line = words.join(" ") + &said.iter().map(|value| format!(" {value};")).collect::<String>();
    line.trim_end_matches(';').chars().take(400).collect()
}

/// Ginkgo matches an expression against the suite's description and the test's full name.
fn exactly(name: &str) -> String {
    format!("^Kubernetes e2e suite {}$", regex::escape(name))
}

/// Runs a command in a process group of its own, tells now and then that it goes on, and kills the group when its time
/// is over.
fn within(command: &mut Command, limit: Duration, tell: impl Fn()) -> Result<()> {
    let over = Instant::now() + limit;
    let mut child =
        command.process_group(0).spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
    let group = child.id();
    let (ended, end) = mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let status = child.wait();
        let _ = ended.send(());
        status
    });
    while end.recv_timeout(TELL.min(over.saturating_duration_since(Instant::now()))).is_err() {
        if Instant::now() < over {
            tell();
            continue;
        }
        eprintln!("out of time: ending the suite");
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status();
        break;
    }
    waiter.join().expect("waiting for a child does not panic").context("waiting for the suite")?;
    Ok(())
}
