//! A puppet with a diary: it tells the truth about its lives, whatever became of those who started it.
//!
//! `PREFIX.diary` gets a line for what happens (`START 0 TIME ADDRESS`, `TERM 0 TIME`, `EXIT 0 CODE TIME`,
//! `OVERLAP TIME`, `HOOK NAME BEGIN|END TIME`); `PREFIX.counts` six numbers of eight bytes for each life: its start,
//! when it was last alive, and the lines begun and written on both streams. `PREFIX.lock` is held by who lives.
//! Times are the kernel's monotonic nanoseconds.

use std::fs::{File, OpenOptions};
use std::io::{Write, stderr, stdout};
use std::net::UdpSocket;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::arguments::{Arguments, at, duration, plain};
use crate::{Outcome, http, sys};

const LIFE: u64 = 6 * 8;

/// One life: `--lasts D,…` and `--exit CODE,…` have one for each, the last for all that follow; `--talk N` lines a tick.
pub fn keep(prefix: &str, given: &Arguments) -> Outcome {
    if let Some(name) = given.value("hook") {
        return hook(prefix, name, given.duration("after")?.unwrap_or_default());
    }
    sys::block(&[libc::SIGTERM]);
    let lock = opened(&format!("{prefix}.lock"))?;
    if lock.try_lock().is_err() {
        note(prefix, &format!("OVERLAP {}", sys::monotonic()))?;
    }
    let counts = opened(&format!("{prefix}.counts"))?;
    let number = counts.metadata().map_err(|e| plain(&e))?.len() / LIFE;
    let mut life = Life { counts, number, fields: [sys::monotonic(), 0, 0, 0, 0, 0] };
    life.stamp()?;
    note(prefix, &format!("START {number} {} {}", life.fields[0], address()))?;
    if let Some(port) = given.value("serve") {
        serve(prefix, port.parse().map_err(|_| format!("{port:?} is no port"))?)?;
    }
    let (ticks, talk) = (given.duration("tick")?.unwrap_or(Duration::from_millis(100)), given.number("talk", 5)?);
    let lasts = nth(given.value("lasts").unwrap_or("0"), number);
    let mut end = Some(duration(lasts)?).filter(|lasts| !lasts.is_zero()).map(|lasts| Instant::now() + lasts);
    let exit = nth(given.value("exit").unwrap_or("0"), number);
    let mut code: i32 = exit.parse().map_err(|_| format!("{exit:?} is no exit status"))?;
    let (mut tick, mut told) = (Instant::now(), 0);
    loop {
        for line in 0..talk {
            life.say(line == 0)?;
        }
        tick += ticks;
        loop {
            life.stamp()?;
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                note(prefix, &format!("EXIT {number} {code} {}", sys::monotonic()))?;
                return Ok(code);
            }
            let until = end.map_or(tick, |end| end.min(tick));
            if until <= now {
                break;
            }
            if sys::next_signal(&[libc::SIGTERM], Some(until - now)).is_none() {
                continue;
            }
            note(prefix, &format!("TERM {number} {}", sys::monotonic()))?;
            told += 1;
            if told == 1 && !given.has("ignore-term") {
                code = given.number("term-exit", 0)?;
                end = Some(Instant::now() + given.duration("term-after")?.unwrap_or_default());
            }
        }
    }
}

struct Life {
    counts: File,
    number: u64,
    /// start, alive, lines begun and written on stdout, on stderr
    fields: [u64; 6],
}

impl Life {
    fn stamp(&mut self) -> Result<(), String> {
        self.fields[1] = sys::monotonic();
        let bytes: Vec<u8> = self.fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        self.counts.write_all_at(&bytes, self.number * LIFE).map_err(|e| plain(&e))
    }

    /// A line on stdout, and one on stderr.
    fn say(&mut self, complain: bool) -> Result<(), String> {
        self.fields[2] += 1;
        self.stamp()?;
        let line = format!("L {} {} pad-pad-pad-pad-pad-pad\n", self.number, self.fields[2]);
        stdout().write_all(line.as_bytes()).and_then(|()| stdout().flush()).map_err(|e| plain(&e))?;
        self.fields[3] += 1;
        if complain {
            self.fields[4] += 1;
            self.stamp()?;
            stderr().write_all(format!("E {} {}\n", self.number, self.fields[4]).as_bytes()).map_err(|e| plain(&e))?;
            self.fields[5] += 1;
        }
        self.stamp()
    }
}

/// What a hook of the container runs: it takes its time, and says so.
fn hook(prefix: &str, name: &str, takes: Duration) -> Outcome {
    note(prefix, &format!("HOOK {name} BEGIN {}", sys::monotonic()))?;
    std::thread::sleep(takes);
    note(prefix, &format!("HOOK {name} END {}", sys::monotonic()))?;
    Ok(0)
}

/// Hooks by HTTP: `/NAME/DURATION`. Its thread takes no signal: they were blocked before.
fn serve(prefix: &str, port: u16) -> Result<(), String> {
    let (listener, prefix) = (http::bind(port)?, prefix.to_owned());
    std::thread::spawn(move || {
        http::serve_on(&listener, move |request| {
            let mut words = request.target.trim_start_matches('/').split('/');
            let (name, takes) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            match duration(takes).and_then(|takes| hook(&prefix, name, takes)) {
                Ok(_) => http::Response::text(200, ""),
                Err(why) => http::Response::text(500, why),
            }
        });
    });
    Ok(())
}

fn note(prefix: &str, text: &str) -> Result<(), String> {
    let path = format!("{prefix}.diary");
    at(&path, super::append(&path, &format!("{text}\n")))
}

fn opened(path: &str) -> Result<File, String> {
    at(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path))
}

/// The address that others see: the one that a packet outwards would bear. None is sent.
fn address() -> String {
    let asked = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("198.51.100.1:9")?;
        socket.local_addr()
    });
    asked.map_or("-".into(), |address| address.ip().to_string())
}

/// Of a list with commas; the last stands for all that follow.
fn nth(list: &str, number: u64) -> &str {
    let mut words = list.split(',');
    let last = list.rsplit(',').next().unwrap_or_default();
    usize::try_from(number).ok().and_then(|number| words.nth(number)).unwrap_or(last)
}
