//! From rules to classic BPF: per architecture a binary search over ranges of numbers.
//!
//! Every piece ends in returns, so pieces are laid one after the other and only skipped forwards.
//! A call with argument conditions tries its rules in order; one without conditions decides alone.

use std::collections::{BTreeMap, HashMap};

use libc::sock_filter;

use crate::seccomp::profile::{Arch, Compare, Condition, KILL_THREAD, Profile, Rule, errno, is_errno};
use crate::seccomp::syscalls::SYSCALLS;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
/// Offsets in struct seccomp_data (little-endian).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// The kernel's BPF_MAXINSNS.
const LENGTH_MAX: usize = 4096;
const X32_BIT: u32 = 0x4000_0000;
/// Calls that exist on 32-bit ARM alone have numbers far above all others.
const ARM_PRIVATE: u32 = 0x0f_0000;

#[derive(Clone, PartialEq)]
enum Verdict {
    Always(u32),
    /// Rules in order; none fits → the last.
    Depends(Vec<(Vec<Condition>, u32)>, u32),
}

pub fn program(profile: &Profile) -> Result<Vec<sock_filter>, String> {
    let has = |arch: Arch| profile.arches.contains(&arch);
    // A container's start waits for this: one pass over the names instead of one per call.
    let mut rules: HashMap<&str, Vec<&Rule>> = HashMap::new();
    for rule in &profile.rules {
        rule.names.iter().for_each(|name| rules.entry(name).or_default().push(rule));
    }
    let mut code = vec![statement(LOAD, ARCHITECTURE)];
    // AUDIT_ARCH_* of linux/audit.h.
    for (audit, arch) in
        [(0xc000_003e, Arch::X86_64), (0x4000_0003, Arch::X86), (0xc000_00b7, Arch::Aarch64), (0x4000_0028, Arch::Arm)]
    {
        if !has(arch) {
            continue;
        }
        let mut section = vec![statement(LOAD, NUMBER)];
        if arch == Arch::X86_64 {
            let own = search(profile, &rules, arch);
            section.push(branch(JUMP_GREATER_OR_EQUAL, X32_BIT, 0, 1));
            section.push(statement(JUMP, own.len() as u32));
            section.extend(own);
            // libseccomp kills on an ABI that the profile does not list.
            let foreign = vec![statement(RETURN, KILL_THREAD)];
            section.extend(if has(Arch::X32) { search(profile, &rules, Arch::X32) } else { foreign });
        } else {
            section.extend(search(profile, &rules, arch));
        }
        code.push(branch(JUMP_EQUAL, audit, 1, 0));
        code.push(statement(JUMP, section.len() as u32));
        code.extend(section);
    }
    code.push(statement(RETURN, KILL_THREAD));
    if code.len() > LENGTH_MAX {
        return Err(format!("the seccomp profile needs {} instructions, the kernel takes {LENGTH_MAX}", code.len()));
    }
    Ok(code)
}

/// The code that decides on a number already loaded.
fn search(profile: &Profile, rules: &HashMap<&str, Vec<&Rule>>, arch: Arch) -> Vec<sock_filter> {
    let first = if arch == Arch::X32 { X32_BIT } else { 0 };
    let mut verdicts: BTreeMap<u32, Verdict> = BTreeMap::new();
    let mut newest = first;
    for (name, numbers) in SYSCALLS {
        let Ok(number) = u32::try_from(numbers[arch.column()]) else { continue };
        let Some(rules) = rules.get(name) else { continue };
        if number < ARM_PRIVATE || arch != Arch::Arm {
            newest = newest.max(number);
        }
        let verdict = match rules.iter().find(|rule| rule.conditions.is_empty()) {
            Some(rule) => Verdict::Always(rule.action),
            None => {
                let rules = rules.iter().map(|rule| (rule.conditions.clone(), rule.action)).collect();
                Verdict::Depends(rules, profile.default)
            }
        };
        verdicts.insert(number, verdict);
    }
    let beyond = if is_errno(profile.default) { errno(libc::ENOSYS) } else { profile.default };
    let otherwise = |number: u32| Verdict::Always(if number > newest { beyond } else { profile.default });
    let mut ranges: Vec<(u32, Verdict)> = vec![(first, otherwise(first))];
    let mut set = |start: u32, verdict: Verdict| match ranges.last_mut() {
        Some((at, last)) if *at == start => *last = verdict,
        Some((_, last)) if *last == verdict => {}
        _ => ranges.push((start, verdict)),
    };
    let mut gap_from = first;
    for (number, verdict) in verdicts {
        if number > gap_from {
            set(gap_from, otherwise(gap_from));
            if gap_from <= newest && newest + 1 < number {
                set(newest + 1, otherwise(newest + 1));
            }
        }
        set(number, verdict);
        gap_from = number + 1;
    }
    set(gap_from, otherwise(gap_from));
    tree(&ranges)
}

fn tree(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    if let [(_, verdict)] = ranges {
        return leaf(verdict);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let (start, left, right) = (right[0].0, tree(left), tree(right));
    let mut code = match u8::try_from(left.len()) {
        Ok(skip) => vec![branch(JUMP_GREATER_OR_EQUAL, start, skip, 0)],
        // A conditional jump reaches 255 instructions, the plain one any.
        Err(_) => vec![branch(JUMP_GREATER_OR_EQUAL, start, 0, 1), statement(JUMP, left.len() as u32)],
    };
    code.extend(left);
    code.extend(right);
    code
}

fn leaf(verdict: &Verdict) -> Vec<sock_filter> {
    match verdict {
        Verdict::Always(action) => vec![statement(RETURN, *action)],
        Verdict::Depends(rules, otherwise) => {
            let mut code = Vec::new();
            for (conditions, action) in rules {
                let mut rule = vec![statement(RETURN, *action)];
                for condition in conditions.iter().rev() {
                    let mut check = check(condition, rule.len());
                    check.append(&mut rule);
                    rule = check;
                }
                code.extend(rule);
            }
            code.push(statement(RETURN, *otherwise));
            code
        }
    }
}

#[derive(Clone, Copy)]
enum To {
    Next,
    Met,
    Failed,
}

/// Code that goes on behind itself if the condition holds, else `behind` instructions further.
fn check(condition: &Condition, behind: usize) -> Vec<sock_filter> {
    use To::{Failed, Met, Next};
    let half = |value: u64, high: bool| if high { (value >> 32) as u32 } else { value as u32 };
    let mut steps: Vec<(u16, u32, To, To)> = Vec::new();
    for high in [true, false] {
        let mask = half(condition.mask, high);
        if mask == 0 && high && half(condition.value, true) == 0 {
            continue;
        }
        steps.push((LOAD, ARGUMENTS + 8 * condition.index + if high { 4 } else { 0 }, Next, Next));
        if mask != u32::MAX {
            steps.push((AND, mask, Next, Next));
        }
        let value = half(condition.value, high);
        match (condition.compare, high) {
            (Compare::Equal, _) => steps.push((JUMP_EQUAL, value, Next, Failed)),
            (Compare::NotEqual, true) => steps.push((JUMP_EQUAL, value, Next, Met)),
            (Compare::NotEqual, false) => steps.push((JUMP_EQUAL, value, Failed, Next)),
            (Compare::Greater | Compare::GreaterOrEqual, true) => {
                steps.extend([(JUMP_GREATER, value, Met, Next), (JUMP_EQUAL, value, Next, Failed)]);
            }
            (Compare::Less | Compare::LessOrEqual, true) => {
                steps.extend([(JUMP_GREATER, value, Failed, Next), (JUMP_EQUAL, value, Next, Met)]);
            }
            (Compare::Greater, false) => steps.push((JUMP_GREATER, value, Next, Failed)),
            (Compare::GreaterOrEqual, false) => steps.push((JUMP_GREATER_OR_EQUAL, value, Next, Failed)),
            (Compare::Less, false) => steps.push((JUMP_GREATER_OR_EQUAL, value, Failed, Next)),
            (Compare::LessOrEqual, false) => steps.push((JUMP_GREATER, value, Failed, Next)),
        }
    }
    let length = steps.len();
    let resolve = |at: usize, to: To| match to {
        Next => 0,
        Met => (length - at - 1) as u8,
        // Six arguments of at most seven steps each stay far below 255.
        Failed => (length - at - 1 + behind) as u8,
    };
    let placed = steps.into_iter().enumerate();
    placed.map(|(at, (code, k, yes, no))| branch(code, k, resolve(at, yes), resolve(at, no))).collect()
}

fn statement(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
