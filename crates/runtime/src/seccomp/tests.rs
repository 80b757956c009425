use std::os::fd::AsRawFd;

use super::*;
use crate::seccomp::answers::{ABIS, Call, X86, X86_64, emitted, number, run};
use crate::seccomp::profile::{ALLOW, Arch, KILL_THREAD, errno};

fn native(number: libc::c_long, arguments: [u64; 6]) -> Call {
    let audit = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { X86_64 };
    Call { audit, number: number as u32, arguments }
}

fn default_program(capabilities: &[&str]) -> Vec<libc::sock_filter> {
    let capabilities: Vec<String> = capabilities.iter().map(|c| c.to_string()).collect();
    program(&Seccomp::RuntimeDefault, &capabilities).unwrap()
}

const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;
const NONE: [u64; 6] = [0; 6];

fn first(argument: u64) -> [u64; 6] {
    [argument, 0, 0, 0, 0, 0]
}

#[test]
fn the_default_allows_and_refuses_as_dockers_does() {
    let program = default_program(&["CHOWN", "NET_BIND_SERVICE"]);
    let admin = default_program(&["CAP_SYS_ADMIN", "SYS_TIME"]);
    let check = |number, arguments, expected, expected_admin| {
        assert_eq!(run(&program, &native(number, arguments)), expected, "{number} {arguments:?}");
        assert_eq!(run(&admin, &native(number, arguments)), expected_admin, "{number} {arguments:?} as admin");
    };
    check(libc::SYS_read, NONE, ALLOW, ALLOW);
    check(libc::SYS_statx, NONE, ALLOW, ALLOW);
    check(libc::SYS_mount, NONE, errno(EPERM), ALLOW);
    check(libc::SYS_settimeofday, NONE, errno(EPERM), ALLOW);
    check(libc::SYS_reboot, NONE, errno(EPERM), errno(EPERM));
    check(libc::SYS_io_uring_setup, NONE, errno(EPERM), errno(EPERM));
    check(libc::SYS_keyctl, NONE, errno(EPERM), errno(EPERM));
    check(libc::SYS_clone3, NONE, errno(ENOSYS), ALLOW);
    check(libc::SYS_clone, first(libc::SIGCHLD as u64), ALLOW, ALLOW);
    check(libc::SYS_clone, first(libc::CLONE_NEWUSER as u64), errno(EPERM), ALLOW);
    check(libc::SYS_unshare, first(libc::CLONE_NEWUSER as u64), errno(EPERM), ALLOW);
    check(libc::SYS_socket, first(libc::AF_INET as u64), ALLOW, ALLOW);
    check(libc::SYS_socket, first(libc::AF_VSOCK as u64), errno(EPERM), errno(EPERM));
    check(libc::SYS_socket, first(libc::AF_VSOCK as u64 | 1 << 40), errno(EPERM), errno(EPERM));
    check(libc::SYS_socket, first(libc::AF_ALG as u64), errno(EPERM), errno(EPERM));
    check(libc::SYS_personality, first(0xffff_ffff), ALLOW, ALLOW);
    check(libc::SYS_personality, first(0x0040_0000), errno(EPERM), errno(EPERM));
    check(9_999, NONE, errno(ENOSYS), errno(ENOSYS));
}

/// Both halves of the register are the caller's; the kernel takes the lower one.
#[test]
fn ints_are_judged_by_their_lower_half_on_every_abi() {
    let program = emitted(default::profile(&[]));
    type Values = &'static [u32];
    let table: [(&str, usize, Values, Values); 4] = [
        ("socket", 0, &[0, 1, 2, 10, 11, 16, 17, 29, 30, 43, 44, 45], &[12, 21, 33, 34, 37, 38, 40, 46, u32::MAX]),
        ("socketpair", 0, &[1, 30], &[0, 2, 10, 16, 29, 31, 38, 40, u32::MAX]),
        ("ioctl", 1, &[0, 0x5401, 0x5411, 0x5413, 0x541b, 0x541d, 0x8912, u32::MAX], &[0x5412, 0x541c]),
        ("personality", 0, &[0, 8, 0x2_0000, 0x2_0008, u32::MAX], &[1, 0x2_0001, 0x0040_0000]),
    ];
    for (name, index, allowed, refused) in table {
        for (arch, audit) in ABIS {
            let number = number(name, arch).unwrap();
            let answer = |value: u32, upper: u64, others: u64| {
                let mut arguments = [others; 6];
                arguments[index] = upper << 32 | u64::from(value);
                run(&program, &Call { audit, number, arguments })
            };
            for (values, expected) in [(allowed, ALLOW), (refused, errno(EPERM))] {
                for (value, upper) in
                    values.iter().flat_map(|value| [0, 1, 0x8000_0000, 0xffff_ffff].map(|u| (*value, u)))
                {
                    let answers = [0, 2, 0x5412, u64::MAX].map(|others| answer(value, upper, others));
                    assert_eq!(answers, [expected; 4], "{name} {value:#x} under {upper:#x} on {arch:?}");
                }
            }
        }
    }
}

#[test]
fn what_reads_its_family_from_memory_is_not_there() {
    let program = emitted(default::profile(&["SYS_ADMIN".to_string()]));
    let arches: Vec<Arch> =
        ABIS.map(|(arch, _)| arch).into_iter().filter(|a| number("socketcall", *a).is_some()).collect();
    assert_eq!(arches, [Arch::X86]);
    for what in 0..=20 {
        assert_eq!(run(&program, &Call { audit: X86, number: 102, arguments: first(what) }), errno(ENOSYS), "{what}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_abis_of_the_machine_are_filtered_by_their_own_numbers() {
    let program = default_program(&[]);
    let answer = |audit, number| run(&program, &Call { audit, number, arguments: NONE });
    assert_eq!(answer(X86, 4), ALLOW, "write");
    assert_eq!(answer(X86, 21), errno(EPERM), "mount, where x86_64 has access");
    assert_eq!(answer(X86_64, 0x4000_0000), ALLOW, "read of x32");
    assert_eq!(answer(X86_64, 0x4000_00a5), errno(EPERM), "mount of x32");
    assert_eq!(answer(X86_64, 0x4000_0fff), errno(ENOSYS));
    assert_eq!(answer(0xc000_00b7, 63), KILL_THREAD, "aarch64 here");
    assert!(program.len() < 2000, "{}", program.len());
}

#[test]
fn every_comparison_of_a_profile_holds_at_its_edges() {
    let big = 0x1_0000_0005u64;
    for (op, expected) in [
        ("SCMP_CMP_EQ", [false, true, false]),
        ("SCMP_CMP_NE", [true, false, true]),
        ("SCMP_CMP_LT", [true, false, false]),
        ("SCMP_CMP_LE", [true, true, false]),
        ("SCMP_CMP_GE", [false, true, true]),
        ("SCMP_CMP_GT", [false, false, true]),
    ] {
        let json = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["getpid", "no_such_call"],
                "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [{{"index": 2, "value": {big}, "op": "{op}"}}]}}]}}"#
        );
        let program = program(&Seccomp::Profile(json), &[]).unwrap();
        for (value, expected) in [big - 1, big, big + 1].into_iter().zip(expected) {
            let answer = run(&program, &native(libc::SYS_getpid, [9, 9, value, 9, 9, 9]));
            assert_eq!(answer, if expected { errno(77) } else { ALLOW }, "{value:#x} {op}");
        }
        // The halves are not mixed up.
        let swapped = run(&program, &native(libc::SYS_getpid, [0, 0, 0x5_0000_0001, 0, 0, 0]));
        assert_eq!(swapped == errno(77), matches!(op, "SCMP_CMP_NE" | "SCMP_CMP_GE" | "SCMP_CMP_GT"), "{op}");
    }
}

#[test]
fn arguments_join_and_one_named_twice_gives_alternatives() {
    let json = |args: &str| {
        let rule = format!(r#"{{"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "args": [{args}]}}"#);
        let json = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "syscalls": [{rule}]}}"#);
        program(&Seccomp::Profile(json), &[]).unwrap()
    };
    let answer = |program: &[libc::sock_filter], a, b| run(program, &native(libc::SYS_getpid, [a, b, 0, 0, 0, 0]));
    let both = json(
        r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 240, "valueTwo": 32, "op": "SCMP_CMP_MASKED_EQ"}"#,
    );
    assert_eq!(answer(&both, 1, 0x2f), ALLOW);
    assert_eq!(answer(&both, 1, 0x3f), errno(5));
    assert_eq!(answer(&both, 2, 0x2f), errno(5));
    let either =
        json(r#"{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}"#);
    assert_eq!((answer(&either, 1, 0), answer(&either, 7, 0), answer(&either, 2, 0)), (ALLOW, ALLOW, errno(5)));
    assert_eq!(run(&either, &native(9_999, NONE)), errno(ENOSYS), "newer than all that the profile names");
}

#[test]
fn profiles_that_cannot_be_kept_are_refused() {
    let refusal = |json: &str| program(&Seccomp::Profile(json.into()), &[]).unwrap_err().to_string();
    assert!(refusal("{").contains("cannot be read"));
    assert!(refusal(r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#).contains("unknown action"));
    assert!(refusal(r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": []}"#).contains("archMap"));
    assert!(refusal(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#).contains("listener"));
    assert!(program(&Seccomp::Unconfined, &[]).unwrap().is_empty());
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#;
    assert_eq!(flags(&Seccomp::Profile(json.into())).unwrap(), 2);
}

/// The real kernel: a child filters itself, tries, and tells what it saw.
#[test]
fn a_filtered_child_is_refused_by_the_kernel_itself() {
    let program = default_program(&[]);
    let answers = in_child(&program, || {
        let attempt = |result: libc::c_long| if result < 0 { errno_now() } else { 0 };
        // SAFETY: plain system calls on constants; none of them touches memory of this process.
        unsafe {
            [
                attempt(libc::syscall(libc::SYS_getppid)),
                attempt(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUTS)),
                attempt(libc::syscall(libc::SYS_clone3, 0, 0)),
                attempt(libc::syscall(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
                attempt(libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0)),
                attempt(libc::syscall(libc::SYS_personality, 0xffff_ffffu64)),
                attempt(libc::syscall(libc::SYS_personality, 0x0800_0000u64)),
                attempt(libc::syscall(9_999)),
                attempt(libc::syscall(libc::SYS_ioctl, -1, 0x5413u64, 0)),
                attempt(libc::syscall(libc::SYS_ioctl, -1, 0x5412u64, 0)),
                attempt(libc::syscall(libc::SYS_ioctl, -1, 0x5412u64 | 1 << 40, 0)),
                // The kernel itself says EOPNOTSUPP.
                attempt(libc::syscall(libc::SYS_socketpair, libc::AF_INET, libc::SOCK_DGRAM, 0, 0)),
            ]
        }
    });
    let expected = [0, EPERM, ENOSYS, EPERM, 0, 0, EPERM, ENOSYS, libc::EBADF, EPERM, EPERM, EPERM];
    assert_eq!(answers, expected);
}

fn errno_now() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)
}

/// Runs `attempts` in a forked child under the program, and hands back what it returned.
fn in_child<const N: usize>(program: &[libc::sock_filter], attempts: impl Fn() -> [i32; N]) -> [i32; N] {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the child calls only async-signal-safe functions (prctl, write, _exit and raw system calls)
    // until it ends; `filter` and the program outlive the calls that read them.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let quiet = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter);
            if quiet == 0 && set == 0 {
                let answers = attempts();
                libc::write(write.as_raw_fd(), answers.as_ptr().cast(), size_of_val(&answers));
            }
            libc::_exit(0);
        }
        drop(write);
        let mut answers = [i32::MIN; N];
        let length = size_of_val(&answers);
        assert_eq!(libc::read(read.as_raw_fd(), answers.as_mut_ptr().cast(), length), length as isize);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        answers
    }
}
