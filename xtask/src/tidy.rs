//! What keeps the code base honest: edges between crates, headers, names, sizes.
//!
//! A test (crates/gousse/tests/tidy.rs) runs it, so that `cargo test` fails when the architecture is
//! broken. It reads text only and knows no more of Rust than it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Circles of imports.
#[path = "tidy/circles.rs"]
mod circles;
/// Kinds that are named outside their rows.
#[path = "tidy/rows.rs"]
mod rows;

/// Which of our crates a crate may name. Everything else is a broken wall.
const EDGES: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("store", &[]),
    ("wire", &[]),
    ("runtime", &["wire"]),
    ("net", &[]),
    ("toolbox", &[]),
    ("descriptions", &[]),
    ("kinds", &["api", "descriptions"]),
    ("client", &["api", "wire"]),
    ("server", &["api", "kinds", "store", "wire"]),
    ("scheduler", &["api", "client"]),
    ("controllers", &["api", "client"]),
    ("kubectl", &["api", "client", "wire"]),
    ("ingress", &["api", "client", "wire"]),
    ("node", &["api", "kinds", "client", "wire", "runtime", "net"]),
    ("proxy", &["api", "client", "net"]),
    ("gousse", &ALL),
    ("sim", &ALL),
];

const ALL: [&str; 17] = [
    "api",
    "descriptions",
    "kinds",
    "server",
    "store",
    "wire",
    "client",
    "scheduler",
    "controllers",
    "node",
    "runtime",
    "proxy",
    "net",
    "ingress",
    "toolbox",
    "gousse",
    "kubectl",
];

/// Crates in which `unsafe` may stand; each has its system files.
const MAY_BE_UNSAFE: &[&str] = &["runtime", "toolbox"];

/// Words that say that the verb is missing.
const EMPTY_WORDS: &[&str] = &[
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "handler",
    "processor",
    "wrapper",
    "types",
    "impl",
    "base",
    "info",
    "data",
];

/// What follows a path in the way of the host. Privileged code inside a container never does.
/// (`inside` names `/` once, `program` the candidates that its own user may run.)
const OF_THE_HOST: [&str; 9] = [
    "std::fs",
    "fs::open(",
    "File::",
    "CWD",
    "process::chdir(",
    "fs::stat(",
    "fs::readlink(",
    "mount::mount(",
    "::execve(",
];
const MAY_NAME: [&str; 3] = ["/setup/host", "/setup/inside.rs", "/setup/program.rs"];

/// Tables of mounts, which are no text.
const OF_MOUNTS: [&str; 3] = ["/mountinfo", "/proc/self/mounts", "/proc/mounts"];

/// Panics where nobody takes what is written, or leaves what became of it to its caller.
const WRITES: [&str; 3] = ["println!(", "print!(", "io::stdout()"];

const LINES_MAX: usize = 600;
const SENTENCE_MAX: usize = 100;

/// Everything that is wrong below `root`, one line each.
pub fn problems(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    edges(root, &mut problems);
    let mut files = Vec::new();
    for folder in ["crates", "fuzz", "xtask"] {
        rust_files(&root.join(folder), &mut files);
    }
    files.sort();
    let mut texts = Vec::new();
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => texts.push((name, text)),
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    for (name, text) in &texts {
        file(name, text, &mut problems);
    }
    texts.retain(|(name, _)| !is_test(name));
    rows::problems(root, &texts, &mut problems);
    circles::problems(root, &mut problems);
    documents(root, &mut problems);
    problems
}

fn edges(root: &Path, problems: &mut Vec<String>) {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let Ok(crates) = fs::read_dir(root.join("crates")) else {
        problems.push("crates: not found".into());
        return;
    };
    for folder in crates.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let Some(edges) = allowed.get(name.as_str()) else {
            problems.push(format!("crates/{name}: not in the table of walls in xtask/src/tidy.rs"));
            continue;
        };
        let manifest = fs::read_to_string(folder.path().join("Cargo.toml")).unwrap_or_default();
        // What tests need does not ship.
        let shipped = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in shipped.lines() {
            let named = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if allowed.contains_key(named) && !edges.contains(&named) && named != name {
                problems.push(format!("crates/{name}/Cargo.toml: {name} must not know {named}"));
            }
        }
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != "target" {
                rust_files(&path, files);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The files of which something runs inside a container with more than the container's rights.
fn is_set_up(name: &str) -> bool {
    let set_up = name.starts_with("crates/runtime/src/native/setup") && !name.ends_with("/tests.rs");
    set_up && !MAY_NAME.iter().any(|place| name.contains(place))
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

fn file(name: &str, text: &str, problems: &mut Vec<String>) {
    let is_test = is_test(name);
    let is_generated = text.starts_with("//! Generated");
    let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    if stem == "mod" && !is_test {
        problems.push(format!("{name}: no mod.rs; use foo.rs beside foo/"));
    }
    for word in stem.split('_') {
        if EMPTY_WORDS.contains(&word) {
            problems.push(format!("{name}: {word:?} in a file's name says nothing"));
        }
    }
    if !is_test {
        header(name, text, problems);
    }
    let lines = text.lines().count();
    if lines > LINES_MAX && !is_test && !is_generated {
        problems.push(format!("{name}: {lines} lines, more than {LINES_MAX}"));
    }
    if is_set_up(name) {
        for word in OF_THE_HOST.iter().filter(|word| text.contains(*word)) {
            problems.push(format!("{name}: {word:?}: only setup/host.rs names a path of the host (docs/security.md)"));
        }
    }
    let owner = name.split('/').nth(1).unwrap_or_default();
    let (mut expects_safety, mut in_tests) = (false, false);
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        in_tests |= code.trim_end() == concat!("#[cfg", "(test)]");
        let at = || format!("{name}:{}", number + 1);
        if code.contains("read_to_string") && OF_MOUNTS.iter().any(|table| code.contains(table)) && !is_test {
            problems.push(format!("{}: mount points are bytes: any user of the host names some", at()));
        }
        // The marker is put together so that this line is not one itself.
        if code.contains(concat!("#[", "ignore")) {
            problems.push(format!("{}: a test that does not run is no test", at()));
        }
        // Nothing that ships deletes by path: it would go through what somebody mounted (runtime::removal). The
        // toolbox deletes what its user says.
        let ships = name.contains("/src/") && name.starts_with("crates/") && owner != "toolbox";
        if ships && !is_test && !in_tests && code.contains(concat!("remove_dir", "_all")) {
            problems.push(format!("{}: trees are removed by runtime::removal", at()));
        }
        let answers = (owner == "kubectl" || owner == "gousse") && name.contains("/src/");
        if answers && !is_test && !in_tests && !name.ends_with("/output.rs") {
            for word in WRITES.iter().filter(|word| code.contains(*word)) {
                problems.push(format!("{}: {word:?}: what may be full or unread is written by kubectl::output", at()));
            }
        }
        let unsafe_here = code.contains(concat!("unsafe", " {")) || code.contains(concat!("unsafe", " impl"));
        if unsafe_here && !MAY_BE_UNSAFE.contains(&owner) {
            problems.push(format!("{}: unsafe outside the system files of {MAY_BE_UNSAFE:?}", at()));
        }
        if unsafe_here && !is_test && !expects_safety {
            problems.push(format!("{}: unsafe without a SAFETY comment above it", at()));
        }
        expects_safety = line.contains("SAFETY")
            || (expects_safety && line.trim_start().starts_with("//"))
            || (expects_safety && !line.trim_end().ends_with([';', '{', '}']));
        for keyword in ["struct ", "enum ", "trait "] {
            if let Some(declared) =
                code.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix(keyword)
            {
                let word = declared.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                for empty in ["Manager", "Handler", "Helper", "Processor", "Wrapper", "Util", "Info"] {
                    if word.ends_with(empty) {
                        problems.push(format!("{}: {word:?}: the verb is missing", at()));
                    }
                }
            }
        }
    }
}

fn header(name: &str, text: &str, problems: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().take_while(|l| l.starts_with("//!")).collect();
    if lines.is_empty() {
        problems.push(format!("{name}: begins without a //! header"));
        return;
    }
    let words = lines.iter().map(|line| line.trim_start_matches("//!").trim());
    let paragraph = words.take_while(|words| !words.is_empty()).collect::<Vec<_>>().join(" ");
    let sentence =
        [". ", "? ", "! "].iter().fold(paragraph.as_str(), |rest, end| rest.split(end).next().unwrap_or(rest));
    if sentence.chars().count() > SENTENCE_MAX {
        problems.push(format!("{name}: its first sentence is longer than {SENTENCE_MAX} characters"));
    }
    if lines.len() > 14 {
        problems.push(format!("{name}: a header of {} lines; 3 to 12 are read", lines.len()));
    }
}

/// The documents name what there is.
fn documents(root: &Path, problems: &mut Vec<String>) {
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let named: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    for name in named {
        if !architecture.contains(&format!("`{name}`")) {
            problems.push(format!("ARCHITECTURE.md: does not say what crate `{name}` is"));
        }
    }
    security(root, problems);
    for file in fs::read_dir(root.join("docs/decisions")).into_iter().flatten().flatten() {
        let lines = fs::read_to_string(file.path()).unwrap_or_default().lines().count();
        if lines > 40 {
            problems
                .push(format!("docs/decisions/{}: {lines} lines; a decision fits in 40", file.file_name().display()));
        }
    }
}

/// Every test and place that docs/security.md relies on is there.
fn security(root: &Path, problems: &mut Vec<String>) {
    let text = fs::read_to_string(root.join("docs/security.md")).unwrap_or_default();
    let tests = root.join("crates/runtime/tests/native");
    let tests = fs::read_dir(tests).into_iter().flatten().flatten().map(|file| file.path());
    let tests: String = tests.filter_map(|path| fs::read_to_string(path).ok()).collect();
    for word in text.split('`').skip(1).step_by(2) {
        let is_place = word.starts_with("crates/") || word.starts_with("examples/");
        if is_place && !root.join(word).exists() {
            problems.push(format!("docs/security.md: {word} is not there"));
        }
        let is_test = word.matches('_').count() > 3 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if is_test && !tests.contains(&format!("(\"{word}\"")) {
            problems.push(format!("docs/security.md: no test {word} in crates/runtime/tests/native"));
        }
    }
}
