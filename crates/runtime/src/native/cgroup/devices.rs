//! Which devices a container may open: a small BPF program on its cgroup, or version 1's lists.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::native::sys;
use crate::spec::Device;

/// One permission; None: any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub block: bool,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: u32,
}

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// What every container may: make any node, open the harmless ones
/// (opencontainers/cgroups devices, AllowedDevices).
pub fn default_rules() -> Vec<Rule> {
    let any = |block| Rule { block, major: None, minor: None, access: MKNOD };
    let open = |major, minor| Rule { block: false, major: Some(major), minor, access: ALL };
    let harmless = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
    let mut rules = vec![any(false), any(true)];
    rules.extend(harmless.map(|(major, minor)| open(major, Some(minor))));
    rules.push(open(136, None));
    rules
}

/// The permission for a device that a spec names.
pub fn rule_of(device: &Device) -> io::Result<Rule> {
    let meta = std::fs::metadata(&device.host)?;
    let block = meta.file_type().is_block_device();
    if !block && !meta.file_type().is_char_device() {
        let text = format!("{} is not a device node", device.host.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let bit = |letter, bit| if device.access.contains(letter) { bit } else { 0 };
    let access = bit('m', MKNOD) | bit('r', READ) | bit('w', WRITE);
    let number = meta.rdev();
    Ok(Rule { block, major: Some(libc::major(number)), minor: Some(libc::minor(number)), access })
}

/// Loads the program for a list; it can be attached to many groups.
pub fn load(rules: &[Rule]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        version: u32,
        flags: u32,
    }
    const COMMAND: u32 = 5;
    const CGROUP_DEVICE: u32 = 15;
    let program = compile(rules);
    let mut load = Load {
        kind: CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        version: 0,
        flags: 0,
    };
    sys::bpf_fd(COMMAND, &mut load)
}

/// Puts a loaded program onto a version 2 group.
pub fn attach(program: BorrowedFd<'_>, group: impl AsFd) -> io::Result<()> {
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
        replaced: u32,
    }
    const COMMAND: u32 = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let mut attach = Attach {
        target: group.as_fd().as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        replaced: 0,
    };
    sys::bpf(COMMAND, &mut attach).map(drop)
}

/// The same for a version 1 folder.
pub fn write_lists(folder: &Path, rules: &[Rule]) -> io::Result<()> {
    std::fs::write(folder.join("devices.deny"), "a")?;
    for rule in rules {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let letters: String = [('r', READ), ('w', WRITE), ('m', MKNOD)]
            .iter()
            .filter(|(_, b)| rule.access & b != 0)
            .map(|(l, _)| l)
            .collect();
        let kind = if rule.block { 'b' } else { 'c' };
        let line = format!("{kind} {}:{} {letters}", number(rule.major), number(rule.minor));
        std::fs::write(folder.join("devices.allow"), line)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The context's fields go to registers; each rule either returns 1 or jumps to the next; the end is 0.
fn compile(rules: &[Rule]) -> Vec<Instruction> {
    const LOAD_WORD: u8 = 0x61;
    const AND: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x74;
    const MOVE: u8 = 0xbc;
    const SET: u8 = 0xb7;
    const JUMP_UNEQUAL: u8 = 0x55;
    const JUMP_UNEQUAL_REGISTER: u8 = 0x5d;
    const EXIT: u8 = 0x95;
    let (context, kind, access, major, minor) = (1u8, 2u8, 3u8, 4u8, 5u8);
    let op =
        |code, to: u8, from: u8, offset, immediate| Instruction { code, registers: to | from << 4, offset, immediate };
    let mut program = vec![
        op(LOAD_WORD, kind, context, 0, 0),
        op(AND, kind, 0, 0, 0xffff),
        op(LOAD_WORD, access, context, 0, 0),
        op(SHIFT_RIGHT, access, 0, 0, 16),
        op(LOAD_WORD, major, context, 4, 0),
        op(LOAD_WORD, minor, context, 8, 0),
    ];
    for rule in rules {
        let mut test = vec![op(JUMP_UNEQUAL, kind, 0, 0, if rule.block { 1 } else { 2 })];
        if rule.access != ALL {
            test.push(op(MOVE, context, access, 0, 0));
            test.push(op(AND, context, 0, 0, rule.access as i32));
            test.push(op(JUMP_UNEQUAL_REGISTER, context, access, 0, 0));
        }
        test.extend(rule.major.map(|n| op(JUMP_UNEQUAL, major, 0, 0, n as i32)));
        test.extend(rule.minor.map(|n| op(JUMP_UNEQUAL, minor, 0, 0, n as i32)));
        test.extend([op(SET, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
        let length = test.len();
        for (at, instruction) in test.iter_mut().enumerate() {
            if [JUMP_UNEQUAL, JUMP_UNEQUAL_REGISTER].contains(&instruction.code) {
                instruction.offset = (length - at - 1) as i16;
            }
        }
        program.extend(test);
    }
    program.extend([op(SET, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}
