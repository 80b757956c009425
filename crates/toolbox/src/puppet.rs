//! puppet and eat: processes that end, hold out, or use up what a test tells them to.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::arguments::{at, parse, size};
use crate::{Outcome, sys};

/// A puppet that writes down its lives.
mod diary;

/// Nanoseconds since the epoch at the program's first instructions.
static STARTED: AtomicI64 = AtomicI64::new(0);

pub fn note_start() {
    STARTED.store(sys::now() as i64, Ordering::Relaxed);
}

enum Reaction {
    Exit(i32),
    Ignore,
    Print,
}

/// `--first FILE` gets the time of the first instruction (nanoseconds; `-`: standard output), `--log FILE` a line
/// for the start and every signal; TERM and INT end it with 128 + number unless `--on` says otherwise. With `--diary`
/// it does as diary.rs says instead.
pub fn puppet(arguments: &[String]) -> Outcome {
    let known = "first= log= print= complain= message= on= after= run= exit= kill= \
                 ignore-term term-after= term-exit= memory= oom diary= lasts= talk= tick= serve= hook=";
    let given = parse(arguments, known, false)?;
    if let Some(prefix) = given.value("diary") {
        return diary::keep(prefix, &given);
    }
    let started = STARTED.load(Ordering::Relaxed);
    match given.value("first") {
        Some("-") => println!("{started}"),
        Some(path) => at(path, append(path, &format!("{started}\n")))?,
        None => {}
    }
    let log = |what: &str| match given.value("log") {
        Some(path) => at(path, append(path, &format!("{} {} {what}\n", sys::now(), std::process::id()))),
        None => Ok(()),
    };
    let mut reactions = vec![(libc::SIGTERM, Reaction::Exit(128 + 15)), (libc::SIGINT, Reaction::Exit(128 + 2))];
    for rule in given.values("on") {
        let (signal, what) = rule.split_once('=').ok_or_else(|| format!("{rule:?} is no SIGNAL=REACTION"))?;
        let reaction = match what {
            "ignore" => Reaction::Ignore,
            "print" => Reaction::Print,
            code => Reaction::Exit(code.parse().map_err(|_| format!("{code:?} is no reaction"))?),
        };
        let signal = sys::signal_number(signal)?;
        reactions.retain(|(known, _)| *known != signal);
        reactions.push((signal, reaction));
    }
    if given.has("ignore-term") {
        reactions.insert(0, (libc::SIGTERM, Reaction::Ignore));
    }
    if let Some(code) = given.value("term-exit") {
        let code = code.parse().map_err(|_| format!("{code:?} is no exit status"))?;
        reactions.insert(0, (libc::SIGTERM, Reaction::Exit(code)));
    }
    let term_after = given.duration("term-after")?.unwrap_or(Duration::ZERO);
    let signals: Vec<i32> = reactions.iter().map(|(signal, _)| *signal).collect();
    sys::block(&signals);
    log("start")?;
    given.values("print").for_each(|text| println!("{text}"));
    given.values("complain").for_each(|text| eprintln!("{text}"));
    // Not zero: pages of zeros would stay unbacked.
    let held = given.value("memory").map_or(Ok(0), size).map(|bytes| vec![1u8; bytes as usize])?;
    if let Some(text) = given.value("message") {
        at("/dev/termination-log", fs::write("/dev/termination-log", text))?;
    }
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    let ends = given.has("exit") || given.has("kill") || given.has("oom");
    let after = given.duration("after")?.or(given.duration("run")?).or(ends.then_some(Duration::ZERO));
    let until = after.map(|after| Instant::now() + after);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let Some(signal) = sys::next_signal(&signals, left) else { break };
        log(&sys::signal_name(signal))?;
        match reactions.iter().find(|(known, _)| *known == signal).map(|(_, reaction)| reaction) {
            Some(Reaction::Exit(code)) => {
                if signal == libc::SIGTERM {
                    std::thread::sleep(term_after);
                }
                return Ok(*code);
            }
            Some(Reaction::Print) => {
                println!("{} at {}", sys::signal_name(signal), sys::now());
                std::io::stdout().flush().map_err(|e| e.to_string())?;
            }
            _ => {}
        }
    }
    log("end")?;
    drop(held);
    if given.has("oom") {
        let mut eaten = Vec::new();
        loop {
            eaten.push(vec![1u8; 1 << 20]);
        }
    }
    if let Some(name) = given.value("kill") {
        let signal = sys::signal_number(name)?;
        sys::unblock(&signals);
        // KILL has no disposition to reset; Rust's own handler of SEGV would swallow one sent by hand.
        let _ = sys::dispose(signal, sys::Disposition::Default);
        at(name, sys::kill(std::process::id() as i32, signal))?;
        // Only PID 1 gets here: the kernel spares it.
        return Ok(128 + signal);
    }
    given.number("exit", 0)
}

/// Takes memory (and touches it), processors, disk, and keeps them.
pub fn eat(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "memory= cpu= disk= for= step=", false)?;
    let until = given.duration("for")?.map(|d| Instant::now() + d);
    let threads: usize = given.number("cpu", 0)?;
    for _ in 0..threads {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    if let Some(rule) = given.value("disk") {
        let (path, wanted) = rule.split_once('=').ok_or_else(|| format!("{rule:?} is no FILE=SIZE"))?;
        let mut file = at(path, fs::File::create(path))?;
        let (mut left, block) = (size(wanted)?, vec![b'x'; 1 << 20]);
        while left > 0 {
            let n = left.min(block.len() as u64);
            at(path, file.write_all(&block[..n as usize]))?;
            left -= n;
        }
        at(path, file.sync_all())?;
        println!("wrote {wanted} to {path}");
    }
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    if let Some(wanted) = given.value("memory") {
        let (mut left, step) = (size(wanted)?, given.value("step").map_or(Ok(1 << 20), size)?.max(1));
        while left > 0 {
            let n = left.min(step);
            // Not zero: pages of zeros would stay unbacked.
            eaten.push(vec![1; n as usize]);
            left -= n;
        }
        println!("holding {wanted}");
    }
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    match until {
        Some(until) => std::thread::sleep(until.saturating_duration_since(Instant::now())),
        None if threads > 0 || !eaten.is_empty() => loop {
            std::thread::park();
        },
        None => {}
    }
    drop(eaten);
    Ok(0)
}

fn append(path: &str, text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}
