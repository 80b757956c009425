//! docs/seccomp.md says what the filter does; with UPDATE_EXPECT=1 it is written here.
//!
//! So is examples/seccomp-i386.json. Ours is asked of the emitted program (answers.rs): for every ABI, without
//! capabilities and with each alone, so that the text is the same wherever it is made. What the peers answer
//! is in peers.tsv, as facts; why ours differs is in reasons.tsv. Neither is part of the product.

use std::collections::{BTreeMap, BTreeSet};

use expect_test::expect_file;
use libc::sock_filter;

use crate::capabilities::{CAPABILITIES, DEFAULT_CAPABILITIES};
use crate::seccomp::answers::{ABIS, Answer, Call, X86, answer, emitted, number, run};
use crate::seccomp::profile::{ALLOW, Arch, Profile, errno};
use crate::seccomp::syscalls::SYSCALLS;
use crate::seccomp::{default, emit};

const PEERS: &str = include_str!("peers.tsv");
const REASONS: &str = include_str!("reasons.tsv");

const ENOSYS: Answer = Answer::Always(0x0005_0000 | libc::ENOSYS as u32);
const NEWER: &str = "ENOSYS (newer)";
const X32_BIT: u32 = 0x4000_0000;

const HEAD: &str = "# The default seccomp profile\n\
Our `RuntimeDefault` beside the default profiles of Docker and containerd, system call by system call. \
A test writes this page and keeps it true (crates/runtime/src/seccomp/document.rs): ours is what the emitted filter answers, \
for x86_64, i386, x32, aarch64 and arm, without capabilities and with each alone. The peers' answers are facts read from\n\n";

const WORDS: &str = "\nA container is held to this profile unless its pod names another or it is privileged ([compatibility.md](compatibility.md)); programs of an ABI that is not the machine's are killed.\n\n\
- `allow`, `EPERM`, `ENOSYS`: the answer, whatever the arguments. Everything that is not named gets EPERM.\n\
- `ENOSYS (newer)`: instead of EPERM for every number above the newest that a profile names, so that C libraries fall back (runc does it for the peers). x32 has numbers of its own above these, and answers EPERM.\n\
- `cap:A or B`: allowed with any of these capabilities, else EPERM; `; else ...` is what holds without.\n\
- `if ...`: allowed if it is so, else EPERM. `arg0` is the first argument as a whole register, `int(arg0)` its lower 32 bits; `0..11` has both ends.\n\
- `allow on ...`: on machines of that kind only; `-`: not named, and without a number on our machines.\n";

const LOCALHOST: &str = "\n## 32-bit x86 programs\n\
[examples/seccomp-i386.json](../examples/seccomp-i386.json) is this profile in the OCI form, for the default capabilities, with `socketcall` allowed. \
Copy it to `seccomp/` in the node's data directory, and let those containers name it that need it:\n\n\
```\n\
securityContext:\n  seccompProfile: {type: Localhost, localhostProfile: seccomp-i386.json}\n\
```\n\n\
Such a container reaches every socket family that the node's kernel has, by `int 0x80` also from 64-bit programs.\n";

/// One call: ours, Docker's, containerd's.
struct Row {
    name: &'static str,
    answers: [String; 3],
    reason: Option<&'static str>,
}

fn lines(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    // The first line that is no comment names the columns.
    table.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split('\t').collect())
}

fn names(capabilities: &[&str]) -> Vec<String> {
    capabilities.iter().map(|name| name.to_string()).collect()
}

/// Our answers in words.
struct Ours {
    plain: Vec<sock_filter>,
    with_each: Vec<(&'static str, Vec<sock_filter>)>,
}

impl Ours {
    fn new() -> Ours {
        let with = |capability| (capability, emitted(default::profile(&names(&[capability]))));
        Ours { plain: emitted(default::profile(&[])), with_each: CAPABILITIES.map(with).to_vec() }
    }

    fn words(&self, name: &str) -> String {
        let mut said: BTreeMap<String, Vec<Arch>> = BTreeMap::new();
        for (arch, audit) in ABIS {
            let Some(number) = number(name, arch) else { continue };
            said.entry(self.words_on(audit, number)).or_default().push(arch);
        }
        // As WORDS tells.
        if said.contains_key(NEWER) && said.get("EPERM").is_some_and(|found| found[..] == [Arch::X32]) {
            said.remove("EPERM");
        }
        assert!(said.len() < 2, "{name} is not the same on all ABIs: {said:?}");
        said.into_keys().next().unwrap_or("-".into())
    }

    fn words_on(&self, audit: u32, number: u32) -> String {
        let plain = answer(&self.plain, audit, number);
        let mut unlocked = Vec::new();
        for (capability, program) in &self.with_each {
            let with = answer(program, audit, number);
            if with != plain {
                assert_eq!(with, Answer::Always(ALLOW), "{number} with {capability}");
                unlocked.push(*capability);
            }
        }
        match (unlocked.is_empty(), plain.to_string().as_str()) {
            (true, "ENOSYS") if is_newer(&self.plain, audit, number) => NEWER.into(),
            (true, words) => words.into(),
            (false, "EPERM") => format!("cap:{}", unlocked.join(" or ")),
            (false, words) => format!("cap:{}; else {words}", unlocked.join(" or ")),
        }
    }
}

/// Whether a call is refused for its number alone, as all above it are.
fn is_newer(program: &[sock_filter], audit: u32, number: u32) -> bool {
    (number..number + 200).all(|number| answer(program, audit, number) == ENOSYS)
}

fn rows() -> Vec<Row> {
    let reasons: BTreeMap<&str, &str> = lines(REASONS).map(|columns| (columns[0], columns[1])).collect();
    let ours = Ours::new();
    let row = |columns: Vec<&'static str>| Row {
        name: columns[0],
        answers: [ours.words(columns[0]), columns[1].into(), columns[2].into()],
        reason: reasons.get(columns[0]).copied(),
    };
    lines(PEERS).map(row).collect()
}

impl Row {
    fn differs(&self) -> bool {
        self.answers.iter().any(|answer| *answer != self.answers[0])
    }
}

#[test]
fn every_call_is_compared_and_every_difference_has_a_reason() {
    let rows = rows();
    assert!(rows.is_sorted_by(|a, b| a.name < b.name), "peers.tsv is sorted by name");
    let known: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    let new: Vec<&str> = SYSCALLS.iter().map(|(name, _)| *name).filter(|name| !known.contains(name)).collect();
    assert!(new.is_empty(), "look up what the peers answer to these, for peers.tsv: {new:?}");
    let unreasoned: Vec<&str> = rows.iter().filter(|r| r.differs() && r.reason.is_none()).map(|r| r.name).collect();
    assert!(unreasoned.is_empty(), "ours differs from a peer, reasons.tsv does not say why: {unreasoned:?}");
    let differing: BTreeSet<&str> = rows.iter().filter(|row| row.differs()).map(|row| row.name).collect();
    let idle: Vec<&str> = lines(REASONS).map(|columns| columns[0]).filter(|name| !differing.contains(name)).collect();
    assert!(idle.is_empty(), "reasons.tsv has reasons without a difference: {idle:?}");
}

#[test]
fn docs_seccomp_is_current() {
    let rows = rows();
    let mut text = String::from(HEAD);
    let sources = PEERS.lines().filter_map(|line| line.strip_prefix("# ")).skip(2);
    sources.for_each(|source| text.push_str(&format!("- {source}\n")));
    text.push_str(WORDS);
    text.push_str("\n## Differences\n| system call | ours | Docker | containerd | why |\n|---|---|---|---|---|\n");
    // Calls of one kind share a line.
    let mut differences: Vec<(String, String)> = Vec::new();
    for row in rows.iter().filter(|row| row.differs()) {
        let rest = format!("{} | {}", row.answers.join(" | "), row.reason.unwrap_or_default());
        match differences.iter_mut().find(|(_, known)| *known == rest) {
            Some((names, _)) => names.push_str(&format!(", `{}`", row.name)),
            None => differences.push((format!("`{}`", row.name), rest)),
        }
    }
    differences.iter().for_each(|(names, rest)| text.push_str(&format!("| {names} | {rest} |\n")));
    text.push_str(LOCALHOST);
    let (allowed, other): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.answers.iter().all(|answer| answer == "allow"));
    text.push_str("\n## What is not allowed by all three whatever the arguments\n");
    text.push_str("| system call | ours | Docker | containerd |\n|---|---|---|---|\n");
    for row in other {
        text.push_str(&format!("| `{}` | {} |\n", row.name, row.answers.join(" | ")));
    }
    let allowed: Vec<&str> = allowed.into_iter().map(|row| row.name).collect();
    text.push_str(&format!("\n## Allowed by all three\n{}.\n", allowed.join(", ")));
    expect_file!["../../../../docs/seccomp.md"].assert_eq(&text);
}

#[test]
fn the_profile_for_32_bit_programs_differs_by_socketcall_alone() {
    let ours = emitted(default::profile(&names(&DEFAULT_CAPABILITIES)));
    let text = in_oci_form(&ours, "socketcall");
    expect_file!["../../../../examples/seccomp-i386.json"].assert_eq(&text);
    let theirs = emitted(Profile::parse(&text).unwrap());
    let on_x86 = ABIS[..3].iter().flat_map(|&(arch, audit)| {
        let first = if arch == Arch::X32 { X32_BIT } else { 0 };
        (first..first + 1000).map(move |number| (arch, audit, number))
    });
    let differing: Vec<(Arch, u32)> = on_x86
        .filter(|&(_, audit, number)| answer(&ours, audit, number) != answer(&theirs, audit, number))
        .map(|(arch, _, number)| (arch, number))
        .collect();
    assert_eq!(differing, [(Arch::X86, 102)], "socketcall");
    let ask = |number, family| run(&theirs, &Call { audit: X86, number, arguments: [family, 9, 9, 9, 9, 9] });
    assert_eq!(ask(102, 1), ALLOW, "socketcall");
    let families = [1, 2, 10, 16, 21, 33, 38, 40].map(|family| ask(359, family));
    let [yes, no] = [ALLOW, errno(libc::EPERM)];
    assert_eq!(families, [yes, yes, yes, yes, no, no, no, no], "socket");
    // What users get: the ABIs of this machine only, within the kernel's limit.
    emit::program(&Profile::parse(&text).unwrap()).unwrap();
}

/// What a program answers on x86 in the OCI form, with one call allowed besides.
fn in_oci_form(program: &[sock_filter], besides: &str) -> String {
    let mut allowed = Vec::new();
    let mut rules = Vec::new();
    for (name, _) in SYSCALLS {
        let here = |&(arch, audit): &(Arch, u32)| Some((audit, number(name, arch)?));
        let Some((audit, number)) = ABIS[..3].iter().find_map(here) else { continue };
        // There is no comparison of 32 bits but one with a mask.
        let mut masked = |index: u32, mask: u32, value: u32| {
            let args =
                format!(r#"[{{"index": {index}, "value": {mask}, "valueTwo": {value}, "op": "SCMP_CMP_MASKED_EQ"}}]"#);
            rules.push(format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_ALLOW", "args": {args}}}"#));
        };
        match answer(program, audit, number) {
            _ if *name == besides => allowed.push(*name),
            Answer::Always(ALLOW) => allowed.push(*name),
            Answer::Without { index, bits } => masked(index, bits, 0),
            Answer::Among { index, ranges } => {
                let blocks = ranges.into_iter().flat_map(blocks);
                blocks.for_each(|(mask, value)| masked(index, mask, value));
            }
            ENOSYS if !is_newer(program, audit, number) => {
                let action = format!(r#""SCMP_ACT_ERRNO", "errnoRet": {}"#, libc::ENOSYS);
                rules.push(format!(r#"{{"names": ["{name}"], "action": {action}}}"#));
            }
            Answer::Always(_) => {}
        }
    }
    let mut list: Vec<String> = Vec::new();
    for name in allowed {
        match list.last_mut() {
            Some(line) if line.len() + name.len() < 110 => line.push_str(&format!(", {name:?}")),
            _ => list.push(format!("{name:?}")),
        }
    }
    let list = list.join(",\n      ");
    rules.insert(0, format!("{{\"names\": [\n      {list}\n    ], \"action\": \"SCMP_ACT_ALLOW\"}}"));
    format!(
        r#"{{
  "defaultAction": "SCMP_ACT_ERRNO",
  "defaultErrnoRet": {},
  "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  "syscalls": [
    {}
  ]
}}
"#,
        libc::EPERM,
        rules.join(",\n    ")
    )
}

/// A range as masks and what they leave: the largest blocks that begin where they may and fit.
fn blocks((mut start, end): (u32, u32)) -> Vec<(u32, u32)> {
    let mut blocks = Vec::new();
    loop {
        let fits = |bits: &u32| {
            let size = 1u64 << bits;
            u64::from(start) % size == 0 && u64::from(start) + size - 1 <= u64::from(end)
        };
        let bits = (0..=32).rev().find(fits).unwrap_or_default();
        let last = u64::from(start) + (1u64 << bits) - 1;
        blocks.push((u32::MAX.checked_shl(bits).unwrap_or(0), start));
        match u32::try_from(last + 1) {
            Ok(next) if next <= end => start = next,
            _ => return blocks,
        }
    }
}
