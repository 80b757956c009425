//! What a program answers to a system call, worked out from its instructions alone (for tests).
//!
//! `run` is the kernel's interpreter in short. `answer` follows every way that a call can take, learns what
//! its argument is compared with, and asks `run` on both sides of each of these edges: so what it says holds
//! for all values of all arguments, and it knows nothing of rules.

use std::collections::BTreeSet;
use std::fmt;

use libc::sock_filter;

use crate::seccomp::emit;
use crate::seccomp::profile::{ALLOW, Arch, Profile, errno};
use crate::seccomp::syscalls::SYSCALLS;

/// Every ABI, with what the kernel calls it (AUDIT_ARCH_* of linux/audit.h); x32 is x86_64 with a bit set.
pub const ABIS: [(Arch, u32); 5] = [
    (Arch::X86_64, X86_64),
    (Arch::X86, X86),
    (Arch::X32, X86_64),
    (Arch::Aarch64, 0xc000_00b7),
    (Arch::Arm, 0x4000_0028),
];
pub const X86_64: u32 = 0xc000_003e;
pub const X86: u32 = 0x4000_0003;

const REFUSE: u32 = 0x0005_0000 | libc::EPERM as u32;
/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What the kernel looks at.
pub struct Call {
    pub audit: u32,
    pub number: u32,
    pub arguments: [u64; 6],
}

/// To one call, whatever its arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Always(u32),
    /// Allowed if the lower half of an argument is in a range (both ends are), else EPERM.
    Among {
        index: u32,
        ranges: Vec<(u32, u32)>,
    },
    /// Allowed if an argument has none of these bits, else EPERM.
    Without {
        index: u32,
        bits: u32,
    },
}

/// The program for all ABIs at once, on a machine of any kind: a section does not depend on the others.
pub fn emitted(profile: Profile) -> Vec<sock_filter> {
    emit::program(&Profile { arches: ABIS.map(|(arch, _)| arch).to_vec(), ..profile }).unwrap()
}

/// What a name's number is on an ABI.
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    let (_, numbers) = SYSCALLS.iter().find(|(known, _)| *known == name)?;
    u32::try_from(numbers[arch.column()]).ok()
}

/// Runs a program.
pub fn run(program: &[sock_filter], call: &Call) -> u32 {
    let mut bytes = Vec::new();
    bytes.extend(call.number.to_le_bytes());
    bytes.extend(call.audit.to_le_bytes());
    bytes.extend([0; 8]);
    call.arguments.iter().for_each(|a| bytes.extend(a.to_le_bytes()));
    let (mut at, mut a) = (0, 0u32);
    for _ in 0..200 {
        let i = &program[at];
        at += 1;
        match i.code {
            0x20 => a = u32::from_le_bytes(bytes[i.k as usize..i.k as usize + 4].try_into().unwrap()),
            0x54 => a &= i.k,
            0x06 => return i.k,
            0x05 => at += i.k as usize,
            _ => at += usize::from(if holds(i, a) { i.jt } else { i.jf }),
        }
    }
    panic!("a search takes a few steps, not 200");
}

/// Works out what a program answers to one call.
pub fn answer(program: &[sock_filter], audit: u32, number: u32) -> Answer {
    let seen = walk(program, audit, number);
    let answers: Vec<u32> = seen.answers.into_iter().collect();
    let words: Vec<u32> = seen.words.into_iter().collect();
    let at = match (words.as_slice(), answers.as_slice()) {
        ([], [always]) => return Answer::Always(*always),
        ([word], [REFUSE, ALLOW]) => word - ARGUMENTS,
        other => panic!("{number}: one word of one argument, EPERM or allowed: {other:?}"),
    };
    assert_eq!(at % 8, 0, "{number}: an int has no upper half");
    let index = at / 8;
    let allowed = |value: u32| {
        // Nothing else has a say: neither the other arguments nor the upper half.
        let others = [0, u64::MAX, 0x1_0000_0000].map(|other| {
            let mut arguments = [other; 6];
            arguments[index as usize] = u64::from(value) | other & !0xffff_ffff;
            run(program, &Call { audit, number, arguments })
        });
        assert!(others.iter().all(|one| *one == others[0]), "{number}: {value:#x} {others:x?}");
        others[0] == ALLOW
    };
    if let [(bits, 0)] = seen.compared[..] {
        let single = (0..32).map(|bit| 1 << bit).chain([0, !bits, u32::MAX]);
        single.for_each(|value: u32| assert_eq!(allowed(value), value & bits == 0, "{number}: {value:#x}"));
        return Answer::Without { index, bits };
    }
    let mut edges = BTreeSet::from([0]);
    for (mask, value) in seen.compared {
        assert_eq!(mask.leading_ones(), mask.count_ones(), "{number}: {mask:#x} is no range");
        let last = value | !mask;
        edges.extend([value, value.saturating_add(1), last.saturating_add(1)]);
    }
    let edges: Vec<u32> = edges.into_iter().collect();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for (at, &start) in edges.iter().enumerate() {
        let end = edges.get(at + 1).map_or(u32::MAX, |next| next - 1);
        assert_eq!(allowed(start), allowed(end), "{number}: {start:#x} to {end:#x}");
        match ranges.last_mut() {
            _ if !allowed(start) => {}
            Some((_, last)) if *last + 1 == start => *last = end,
            _ => ranges.push((start, end)),
        }
    }
    Answer::Among { index, ranges }
}

#[derive(Default)]
struct Seen {
    /// Offsets of what was loaded of the arguments.
    words: BTreeSet<u32>,
    /// Masks, and what the rest was compared with.
    compared: Vec<(u32, u32)>,
    answers: BTreeSet<u32>,
}

/// Every way of a call through a program: where an argument decides, both.
fn walk(program: &[sock_filter], audit: u32, number: u32) -> Seen {
    let mut seen = Seen::default();
    // What is held: a known number, or an argument under a mask.
    let mut ways: Vec<(usize, Result<u32, u32>)> = vec![(0, Ok(0))];
    while let Some((at, held)) = ways.pop() {
        let i = &program[at];
        let next = at + 1;
        match (i.code, held, i.k) {
            (0x20, _, NUMBER) => ways.push((next, Ok(number))),
            (0x20, _, ARCHITECTURE) => ways.push((next, Ok(audit))),
            (0x20, _, word) => {
                seen.words.insert(word);
                ways.push((next, Err(u32::MAX)));
            }
            (0x54, held, mask) => ways.push((next, held.map(|a| a & mask).map_err(|before| before & mask))),
            (0x06, _, answer) => _ = seen.answers.insert(answer),
            (0x05, _, skip) => ways.push((next + skip as usize, held)),
            (_, Ok(a), _) => ways.push((next + usize::from(if holds(i, a) { i.jt } else { i.jf }), held)),
            (_, Err(mask), value) => {
                seen.compared.push((mask, value));
                ways.extend([i.jt, i.jf].map(|skip| (next + usize::from(skip), held)));
            }
        }
    }
    seen
}

fn holds(i: &sock_filter, a: u32) -> bool {
    match i.code {
        0x15 => a == i.k,
        0x25 => a > i.k,
        0x35 => a >= i.k,
        other => panic!("instruction {other:#x}"),
    }
}

/// In the words of docs/seccomp.md.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: u32| if n < 256 { n.to_string() } else { format!("{n:#x}") };
        match self {
            Answer::Always(ALLOW) => f.write_str("allow"),
            Answer::Always(REFUSE) => f.write_str("EPERM"),
            Answer::Always(other) if *other == errno(libc::ENOSYS) => f.write_str("ENOSYS"),
            Answer::Always(other) => write!(f, "{other:#x}"),
            Answer::Without { index, bits } => write!(f, "if arg{index} & {bits:#x} = 0"),
            Answer::Among { index, ranges } => {
                // All but a few are told by the few.
                let most = ranges.iter().map(|(start, end)| u64::from(end - start)).sum::<u64>() > 1 << 31;
                let few: Vec<(u32, u32)> = match most {
                    true => ranges.windows(2).map(|pair| (pair[0].1 + 1, pair[1].0 - 1)).collect(),
                    false => ranges.clone(),
                };
                let text = |(start, end): &(u32, u32)| match start == end {
                    true => number(*start),
                    false => format!("{}..{}", number(*start), number(*end)),
                };
                let few: Vec<String> = few.iter().map(text).collect();
                write!(f, "if int(arg{index}) {}in {}", if most { "not " } else { "" }, few.join(","))
            }
        }
    }
}
