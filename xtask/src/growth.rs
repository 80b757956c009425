//! What an addition costs: one of each is made in a scratch copy of the tree, counted and compiled.
//!
//! One file and one line of a table, with the `mod` that every file has. The costs are those of
//! docs/adding-a-kind and its neighbours; who needs a second place to touch has found a bend.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;

/// One addition.
struct Addition {
    what: &'static str,
    text: &'static str,
    file: &'static str,
    /// Lines that are not empty.
    lines_max: usize,
    /// Where its table and its `mod` stand, for most of them in one file.
    parent: &'static str,
    declared: Insertion,
    row: Insertion,
}

/// Text, and what it stands before: found once in the file.
struct Insertion {
    text: &'static str,
    before: &'static str,
}

const ADDITIONS: &[Addition] = &[
    Addition {
        what: "a kind without behaviour",
        text: include_str!("../../crates/kinds/src/tests/widget.rs"),
        file: "crates/kinds/src/widget.rs",
        lines_max: 15,
        parent: "crates/kinds/src/lib.rs",
        declared: Insertion { text: "mod widget;\n", before: "mod config_map;\n" },
        row: Insertion { text: "    widget::row,\n", before: "    config_map::row,\n" },
    },
    Addition {
        what: "a controller",
        text: include_str!("../growth/controller.rs"),
        file: "crates/controllers/src/tally.rs",
        lines_max: 30,
        parent: "crates/controllers/src/lib.rs",
        declared: Insertion { text: "mod tally;\n", before: "/// Objects whose owners are gone.\n" },
        row: Insertion {
            text: "    Controller { name: \"tally\", account: \"tally\", run: |parts| Box::pin(tally::run(parts)) },\n",
            before: "    Controller { name: \"job-controller\"",
        },
    },
    Addition {
        what: "an admission step",
        text: include_str!("../growth/admission_step.rs"),
        file: "crates/server/src/admission/maker.rs",
        lines_max: 30,
        parent: "crates/server/src/admission.rs",
        declared: Insertion { text: "mod maker;\n", before: "mod namespace;\n" },
        row: Insertion { text: "    Row::BuiltIn(maker::PLUGIN),\n", before: "    Row::BuiltIn(taint::PLUGIN),\n" },
    },
    Addition {
        what: "a filter",
        text: include_str!("../growth/filter.rs"),
        file: "crates/scheduler/src/filters/short_name.rs",
        lines_max: 30,
        parent: "crates/scheduler/src/filters.rs",
        declared: Insertion { text: "mod short_name;\n", before: "/// One demand.\n" },
        row: Insertion {
            text: "    Filter { name: \"ShortName\", check: short_name::short_name, hears: &[NodeAdded], wakes: hints::always },\n",
            before: "    Filter { name: \"NodePorts\"",
        },
    },
    Addition {
        what: "a score",
        text: include_str!("../growth/score.rs"),
        file: "crates/scheduler/src/scores/short_name.rs",
        lines_max: 30,
        parent: "crates/scheduler/src/scores.rs",
        declared: Insertion { text: "mod short_name;\n", before: "/// One wish:" },
        row: Insertion {
            text: "    Score { name: \"ShortName\", weight: 1, points: short_name::points },\n",
            before: "    Score { name: \"ImageLocality\"",
        },
    },
    Addition {
        what: "a probe",
        text: include_str!("../growth/probe.rs"),
        file: "crates/node/src/probe/nothing.rs",
        lines_max: 30,
        parent: "crates/node/src/probe.rs",
        declared: Insertion { text: "mod nothing;\n", before: "mod sleep;\n" },
        row: Insertion { text: ", nothing::probe", before: "];\n/// TCP is accepted and fails." },
    },
    Addition {
        what: "a volume type that pods share",
        text: include_str!("../../crates/node/src/volumes/shares/tests/nfs.rs"),
        file: "crates/node/src/volumes/nfs.rs",
        lines_max: 60,
        parent: "crates/node/src/volumes.rs",
        declared: Insertion { text: "mod nfs;\n", before: "/// Files of a Secret.\n" },
        row: Insertion { text: "    nfs::PLUGIN,\n", before: "    host_path::PLUGIN,\n" },
    },
    Addition {
        what: "a verb of the command line",
        text: include_str!("../growth/verb.rs"),
        file: "crates/kubectl/src/verbs/health.rs",
        lines_max: 30,
        parent: "crates/kubectl/src/verbs.rs",
        declared: Insertion { text: "pub mod health;\n", before: "pub mod logs;\n" },
        row: Insertion { text: "    verb::<health::Health>(\"health\"),\n", before: "    verb::<version::Version>" },
    },
];

pub fn growth() -> Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let scratch = tempfile::tempdir()?;
    copy(&root, scratch.path())?;
    for addition in ADDITIONS {
        addition.make(scratch.path()).with_context(|| format!("adding {}", addition.what))?;
    }
    // The very tree but for these: what is built of others is shared. Nothing that runs is written.
    let mut check = cargo::cargo();
    check.args(["check", "--quiet", "--workspace", "--locked"]).current_dir(scratch.path());
    let checked = check.env("CARGO_TARGET_DIR", root.join("target")).output().context("running cargo check")?;
    let told = String::from_utf8_lossy(&checked.stderr);
    print!("{told}");
    Ok(checked.status.success() && told.trim().is_empty())
}

/// The files that are kept, and those that are new and not ignored.
fn copy(root: &Path, to: &Path) -> Result<()> {
    let mut git = Command::new("git");
    let listed =
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root).output()?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let (from, to) = (root.join(name), to.join(name));
        // Deleted, and not yet from the index.
        if from.is_file() {
            fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
            fs::copy(&from, &to).with_context(|| from.display().to_string())?;
        }
    }
    Ok(())
}

impl Addition {
    fn make(&self, root: &Path) -> Result<()> {
        let lines = self.text.lines().filter(|line| !line.is_empty()).count();
        println!("{:<32} {:>3} lines in one file, one line in {}", self.what, lines, self.parent);
        ensure!(lines <= self.lines_max, "{lines} lines, and not {} at most", self.lines_max);
        let file = root.join(self.file);
        ensure!(!file.exists(), "{} is there", self.file);
        fs::create_dir_all(file.parent().context("a file is in a folder")?)?;
        fs::write(&file, self.text)?;
        let parent = root.join(self.parent);
        let mut text = fs::read_to_string(&parent)?;
        for insertion in [&self.declared, &self.row] {
            ensure!(insertion.text.lines().count() == 1, "more than one line");
            let mut found = text.match_indices(insertion.before);
            let (Some((at, _)), None) = (found.next(), found.next()) else {
                bail!("{} has not one {:?}", self.parent, insertion.before);
            };
            text.insert_str(at, insertion.text);
        }
        Ok(fs::write(&parent, text)?)
    }
}
