//! Runs a target for a while: new inputs, watched; what breaks a law is made small and told.
//!
//! The target runs on a thread with the stack of a server's worker. Accepted inputs become samples, so
//! that later ones go deeper. Everything follows from the seed, but for how far the time reaches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::Target;
use crate::mutate::{Chance, mutate};

/// What a target did wrong.
#[derive(Clone, Debug)]
pub struct Found {
    pub target: &'static str,
    pub input: Vec<u8>,
    pub why: String,
}

/// A run that takes longer, unoptimized, is found too.
const SLOW: Duration = Duration::from_secs(4);
/// Accepted inputs that are kept as samples.
const SAMPLES_MAX: usize = 400;
/// Tokio's workers have as much.
const STACK: usize = 2 << 20;
const SHRINK_TRIES: usize = 400;

static WHERE: Mutex<String> = Mutex::new(String::new());

/// Feeds the target until the time is over or something is found; also how many inputs there were, and
/// how many of them were accepted. Each input stands in `last` before it is fed, for what ends the process.
pub fn drive(target: &'static Target, seed: u64, time: Duration, last: Option<&Path>) -> (Option<Found>, u64, u64) {
    quiet();
    let last = last.map(Path::to_path_buf);
    let work = move || {
        let mut samples = (target.samples)();
        for sample in &samples {
            if let Err(why) = feed(target, sample) {
                return (Some(found(target, sample, why)), 0, 0);
            }
        }
        let first = samples.len();
        let mut chance = Chance::new(seed);
        let (mut runs, mut accepted) = (0, 0);
        let begun = Instant::now();
        while begun.elapsed() < time {
            let (one, other) = (chance.below(samples.len()), chance.below(samples.len()));
            let input = mutate(&mut chance, &samples[one], &samples[other], target.words);
            if let Some(last) = &last {
                // Without it only the input of a crash is not known.
                let _ = std::fs::write(last, &input);
            }
            runs += 1;
            match feed(target, &input) {
                Err(why) => return (Some(found(target, &input, why)), runs, accepted),
                Ok(false) => {}
                Ok(true) => {
                    accepted += 1;
                    if samples.len() < SAMPLES_MAX {
                        samples.push(input);
                    } else {
                        // What it began with stays.
                        let place = first + chance.below(SAMPLES_MAX - first);
                        samples[place] = input;
                    }
                }
            }
        }
        (None, runs, accepted)
    };
    let thread = std::thread::Builder::new().name(target.name.into()).stack_size(STACK);
    thread.spawn(work).expect("a thread can be had").join().expect("panics of the target are caught")
}

/// One input; whether it was accepted, or what law it broke.
pub fn feed(target: &Target, input: &[u8]) -> Result<bool, String> {
    quiet();
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = begun.elapsed();
    match result {
        Ok(_) if took > SLOW => Err(format!("took {took:?}")),
        Ok(accepted) => Ok(accepted),
        Err(_) => Err(WHERE.lock().unwrap_or_else(PoisonError::into_inner).clone()),
    }
}

/// Smaller inputs that fail in the same place, as long as there are some.
fn found(target: &'static Target, input: &[u8], why: String) -> Found {
    let place = |why: &str| why.split(": ").next().unwrap_or_default().to_owned();
    let mut small = Found { target: target.name, input: input.to_vec(), why };
    let (mut size, mut tries) = (input.len() / 2, 0);
    while size > 0 && tries < SHRINK_TRIES {
        let mut at = 0;
        while at < small.input.len() && tries < SHRINK_TRIES {
            tries += 1;
            let mut less = small.input.clone();
            less.drain(at..(at + size).min(less.len()));
            match feed(target, &less) {
                Err(why) if place(&why) == place(&small.why) => small = Found { input: less, why, ..small },
                _ => at += size,
            }
        }
        size /= 2;
    }
    small
}

/// Panics of targets are caught and told by us.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            if !crate::TARGETS.iter().any(|target| target.name == name) && name != "replay" {
                return usual(panic);
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let payload = panic.payload();
            let said = payload.downcast_ref::<String>().cloned();
            let said = said.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            *WHERE.lock().unwrap_or_else(PoisonError::into_inner) = format!("{place}: {}", said.unwrap_or_default());
        }));
    });
}
