//! What the project does to itself: one module for each verb.

/// The figures, held against their limits.
mod bench;
/// Cargo, run from within cargo.
mod cargo;
/// The native engine under version 2 of the cgroups.
mod cgroup2;
/// Killed, stopped, filled, damaged.
mod chaos;
/// The clients that people have.
mod clients;
/// Gousse's server beside a stock one.
mod compare;
/// The official suite as the judge.
mod conformance;
/// Flags of commands.
mod flags;
/// Upstream's scheduler and controllers on our server.
mod foreign;
/// What an addition costs.
mod growth;
/// A machine that is emulated.
mod machine;
/// What a command runs.
mod needs;
/// The schema table of the api crate.
mod schema;
/// Edges, headers, names and sizes.
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = words.split_first().map_or(("", &[][..]), |(verb, rest)| (verb.as_str(), rest));
    let done = match verb {
        "fuzz" => fuzz(rest),
        "schema" => schema::schema(rest),
        "conformance" => conformance::conformance(rest),
        "cgroup2" => cgroup2::cgroup2(rest),
        "clients" => clients::clients(rest),
        "chaos" => chaos::chaos(rest),
        "compare" => compare::compare(rest),
        "bench" => bench::bench(rest),
        "foreign" => foreign::foreign(rest),
        "growth" => growth::growth(),
        "tidy" => Ok(report_tidy()),
        _ => {
            eprintln!("cargo xtask bench|cgroup2|chaos|clients|compare|conformance|foreign|fuzz|growth|schema|tidy");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A program of its own: this one is built in a moment, and knows no parser.
fn fuzz(words: &[String]) -> anyhow::Result<bool> {
    let mut cargo = cargo::cargo();
    cargo.args(["run", "--quiet", "--package", "fuzz", "--"]).args(words);
    Ok(cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).status()?.success())
}

fn report_tidy() -> bool {
    let problems = tidy::problems(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for problem in &problems {
        println!("{problem}");
    }
    println!("{} problems", problems.len());
    problems.is_empty()
}
