//! The native engine on the real kernel: effects are looked at from outside the containers.
//!
//! This program is four in one: the tests, keeper and supervisor of the engine under test, and the
//! puppet that runs inside the containers. It re-executes itself into namespaces of its own first, so
//! that whatever a failed test leaves behind ends with it.

#![allow(clippy::unwrap_used)]

#[path = "native/attacker.rs"]
mod attacker;
#[path = "native/escapes.rs"]
mod escapes;
#[path = "native/faults.rs"]
mod faults;
#[path = "native/isolation.rs"]
mod isolation;
#[path = "native/judged.rs"]
mod judged;
mod laws;
#[path = "native/lifecycle.rs"]
mod lifecycle;
#[path = "native/puppet.rs"]
mod puppet;
#[path = "native/sessions.rs"]
mod sessions;
#[path = "native/setbacks.rs"]
mod setbacks;
#[path = "native/stage.rs"]
mod stage;
#[path = "native/tracer.rs"]
mod tracer;

type Test = (&'static str, fn(&stage::Stage));

const TESTS: &[&[Test]] = &[
    judged::TESTS,
    lifecycle::TESTS,
    isolation::TESTS,
    escapes::TESTS,
    sessions::TESTS,
    faults::TESTS,
    setbacks::TESTS,
];

fn main() {
    if let Some(code) = runtime::supervise(std::env::args_os()) {
        std::process::exit(code);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if std::env::args().next().is_some_and(|name| name == puppet::NAME) {
        puppet::play(&args);
    }
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    if !stage::enter_namespaces() {
        eprintln!("native engine: SKIPPED, these tests need root");
        std::process::exit(if std::env::var_os("CI").is_some() { 1 } else { 0 });
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in TESTS.iter().flat_map(|group| group.iter()) {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let begun = std::time::Instant::now();
        let stage = stage::Stage::new();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&stage)));
        let log = if result.is_err() { stage.runtime_log() } else { String::new() };
        stage.clear();
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({} ms)", begun.elapsed().as_millis());
        if result.is_err() {
            failed += 1;
            println!("{log}");
        }
    }
    std::process::exit(i32::from(failed > 0));
}
