//! Answers of others, kept as they came for as long as they hold. Bounded in number and bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::query::*;

/// Answers, and the bytes that they take.
const ANSWERS_MAX: usize = 10_000;
const BYTES_MAX: usize = 8 << 20;
/// The longest that anything is believed, that something is not there, and that nobody answers.
const LIFE_MAX: Duration = Duration::from_secs(3600);
const DENIAL_MAX: Duration = Duration::from_secs(300);
/// CoreDNS's cache plugin (failttl).
const FAILURE_LIFE: Duration = Duration::from_secs(5);

/// What is asked for, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// In small letters.
    pub name: Box<[u8]>,
    pub kind: u16,
    pub class: u16,
    pub dnssec: bool,
    pub checking_disabled: bool,
}

/// A whole message without its OPT record.
#[derive(Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Where the lives of its records stand.
    lives: Vec<u16>,
    since: Instant,
    pub life: Duration,
}

impl Answer {
    /// Of a message that answers this question; None where it is no whole message, or answers another.
    pub fn parse(message: &[u8], key: &Key, now: Instant) -> Option<Answer> {
        let mut reader = Reader { bytes: message, at: 0 };
        let [_, flags, questions, answers, authorities, beside]: [u16; 6] = {
            let mut fields = [0; 6];
            for field in &mut fields {
                *field = reader.pair()?;
            }
            fields
        };
        if flags & RESPONSE == 0 || questions != 1 {
            return None;
        }
        let (name, kind, class) = (reader.name()?, reader.pair()?, reader.pair()?);
        if !name.eq_ignore_ascii_case(&key.name) || (kind, class) != (key.kind, key.class) {
            return None;
        }
        let (mut lives, mut shortest, mut denial) = (Vec::new(), u32::MAX, None);
        let (mut end, mut kept) = (reader.at, 0);
        for number in 0..u32::from(answers) + u32::from(authorities) + u32::from(beside) {
            let is_beside = number >= u32::from(answers) + u32::from(authorities);
            let record = reader.record()?;
            // Nothing after it is kept: what points there would point to something else.
            if record.kind == OPT {
                break;
            }
            // The highest bit counts as zero (RFC 2181, 8).
            let life = if record.life > 0x7fff_ffff { 0 } else { record.life };
            shortest = shortest.min(life);
            if record.kind == SOA && !is_beside && number >= u32::from(answers) {
                let minimum = record.value.last_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                denial = Some(life.min(minimum));
            }
            lives.push(u16::try_from(record.life_at).ok()?);
            kept += u16::from(is_beside);
            end = reader.at;
        }
        let code = flags & 15;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let is_denial = code == NO_SUCH_NAME || (code == 0 && answers == 0);
        let life = match code {
            _ if flags & TRUNCATED != 0 => Duration::ZERO,
            // Without an SOA it is not kept (RFC 2308, 5).
            _ if is_denial => denial.map_or(Duration::ZERO, |denial| seconds(denial.min(shortest)).min(DENIAL_MAX)),
            0 => seconds(shortest).min(LIFE_MAX),
            _ => FAILURE_LIFE,
        };
        let mut bytes = message[..end].to_vec();
        bytes[10..12].copy_from_slice(&kept.to_be_bytes());
        Some(Answer { bytes, lives, since: now, life })
    }

    /// That nobody could be asked.
    pub fn failure(key: &Key, now: Instant) -> Answer {
        let mut bytes = Vec::with_capacity(HEADER + key.name.len() + 4);
        for field in [0, RESPONSE | RECURSION_AVAILABLE | SERVER_FAILURE, 1, 0, 0, 0] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(&key.name);
        bytes.extend(key.kind.to_be_bytes());
        bytes.extend(key.class.to_be_bytes());
        Answer { bytes, lives: Vec::new(), since: now, life: FAILURE_LIFE }
    }

    pub fn flags(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    fn holds(&self, now: Instant) -> bool {
        now < self.since + self.life
    }

    /// Writes it as the answer to a question; one that is longer than `limit` is to be had by TCP.
    pub fn write(&self, query: &Query<'_>, limit: usize, now: Instant, out: &mut Vec<u8>) {
        out.clear();
        let opt_length = if query.extended.is_some() { 11 } else { 0 };
        let is_long = self.bytes.len() + opt_length > limit;
        out.extend(if is_long { &self.bytes[..query.end()] } else { &self.bytes });
        let mut flags = self.flags() & !(RECURSION_DESIRED | CHECKING_DISABLED | AUTHORITATIVE) | RECURSION_AVAILABLE;
        flags |= query.flags & (RECURSION_DESIRED | CHECKING_DISABLED);
        // Whoever does not ask for it is told nothing of signatures (RFC 6840, 5.8).
        if !query.dnssec() && query.flags & AUTHENTIC == 0 {
            flags &= !AUTHENTIC;
        }
        out[..2].copy_from_slice(&query.id.to_be_bytes());
        // In the letters in which it was asked.
        out[HEADER..HEADER + query.name.len()].copy_from_slice(query.name);
        let mut beside = u16::from_be_bytes([out[10], out[11]]);
        if is_long {
            flags |= TRUNCATED;
            out[6..12].fill(0);
            beside = 0;
        } else {
            let age = u32::try_from((now - self.since).as_secs()).unwrap_or(u32::MAX);
            for at in self.lives.iter().map(|at| usize::from(*at)) {
                let life = u32::from_be_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
                out[at..at + 4].copy_from_slice(&life.saturating_sub(age).to_be_bytes());
            }
        }
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        if query.extended.is_some() {
            super::answer::opt(0, query.dnssec(), out);
            beside += 1;
        }
        out[10..12].copy_from_slice(&beside.to_be_bytes());
    }
}

/// The oldest go first.
#[derive(Default)]
pub struct Cache {
    answers: HashMap<Key, Arc<Answer>>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Cache {
    pub fn get(&self, key: &Key, now: Instant) -> Option<Arc<Answer>> {
        self.answers.get(key).filter(|answer| answer.holds(now)).cloned()
    }

    pub fn put(&mut self, key: Key, answer: Arc<Answer>) {
        if answer.life.is_zero() {
            return;
        }
        self.bytes += cost(&key, &answer);
        match self.answers.insert(key.clone(), answer) {
            Some(old) => self.bytes -= cost(&key, &old),
            None => self.order.push_back(key),
        }
        while self.answers.len() > ANSWERS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.answers.remove(&oldest) {
                self.bytes -= cost(&oldest, &gone);
            }
        }
    }

    #[cfg(test)]
    pub fn size(&self) -> (usize, usize) {
        (self.answers.len(), self.bytes)
    }
}

/// With what is kept beside the bytes themselves.
fn cost(key: &Key, answer: &Answer) -> usize {
    2 * key.name.len() + answer.bytes.len() + 2 * answer.lives.len() + 200
}
