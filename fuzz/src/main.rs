//! `cargo xtask fuzz [--seconds N] [--seed N] [TARGET…]`, or `--replay FILE TARGET`.
//!
//! Each target gets its share of the time, one after the other. What is found is written to
//! target/fuzz/<target> and ends the run with an error; so does an input that ends the process, which
//! then stands in target/fuzz/<target>.last.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use fuzz::{TARGETS, drive, driver};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (mut seconds, mut seed, mut replay, mut names) = (60, None, None, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => seconds = words.next().and_then(|n| n.parse().ok()).unwrap_or(seconds),
            "--seed" => seed = words.next().and_then(|n| n.parse().ok()),
            "--replay" => replay = words.next().map(PathBuf::from),
            name => names.push(name.to_owned()),
        }
    }
    let wanted: Vec<_> = TARGETS.iter().filter(|t| names.is_empty() || names.iter().any(|n| n == t.name)).collect();
    if wanted.is_empty() {
        eprintln!("no such target; there are {:?}", TARGETS.iter().map(|t| t.name).collect::<Vec<_>>());
        return ExitCode::from(2);
    }
    if let Some(path) = replay {
        let input = std::fs::read(&path).expect("the file to replay can be read");
        let run = move || driver::feed(wanted[0], &input);
        let thread = std::thread::Builder::new().name("replay".into()).spawn(run).expect("a thread can be had");
        println!("{:?}", thread.join().expect("panics are caught"));
        return ExitCode::SUCCESS;
    }
    // Another one each time, and told: it replays.
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let folder = PathBuf::from("target/fuzz");
    std::fs::create_dir_all(&folder).expect("the target folder can be written to");
    let share = Duration::from_secs(seconds) / u32::try_from(wanted.len()).expect("a few targets");
    let mut failed = false;
    for target in wanted {
        let last = folder.join(format!("{}.last", target.name));
        let (found, runs, accepted) = drive(target, seed, share, Some(&last));
        println!("{}: {runs} inputs, {accepted} accepted (seed {seed})", target.name);
        if let Some(found) = found {
            failed = true;
            let path = folder.join(target.name);
            std::fs::write(&path, &found.input).expect("the target folder can be written to");
            println!("  {}\n  {}: {:?}", found.why, path.display(), String::from_utf8_lossy(&found.input));
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
