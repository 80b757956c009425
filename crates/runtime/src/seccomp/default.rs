//! `RuntimeDefault`: what containers may call unless they are told otherwise.
//!
//! The facts are Docker's and containerd's default profiles of 2026, which agree but for a few calls: an
//! allow list, EPERM for the rest, ENOSYS for clone3 so that C libraries fall back to clone, more calls
//! with certain capabilities. Ours is stricter on sockets (fewer families, compared as the kernel's int,
//! none by socketcall) and on two ioctls. docs/seccomp.md has every difference and is kept by a test.

use crate::capabilities;
use crate::seccomp::profile::{ALLOW, Arch, Compare, Condition, Profile, Rule, errno};

/// Namespaces that clone may not make: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Linux, BSD, Linux without address randomisation for both, and asking.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Families from 12 on that sockets may have; below it all. Not RDS (21), RXRPC (33), ISDN (34), CAIF (37),
/// ALG (38), VSOCK (40), dead ones (12, 19, 20, 23, 25), nor any yet to come: to ask for one loads its module.
const FAMILIES: [u64; 23] =
    [13, 14, 15, 16, 17, 18, 22, 24, 26, 27, 28, 29, 30, 31, 32, 35, 36, 39, 41, 42, 43, 44, 45];
/// The families that have pairs: UNIX and TIPC. Of any other the kernel makes both sockets before it refuses.
const FAMILIES_OF_PAIRS: [u64; 2] = [1, 30];
/// TIOCSTI types into whoever else's terminal it is, TIOCLINUX into a console.
const IOCTLS_REFUSED: [u64; 2] = [0x5412, 0x541c];
/// Arguments that the kernel takes as 32 bits: a compare of 64 could be dodged by a set upper half.
const INT: u64 = 0xffff_ffff;

const ALLOWED: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync
    fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat
    getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups
    getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt
    get_thread_area gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
    listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
    mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
    mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock
    munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64
    preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
    sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
    setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setuid32
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
    sigreturn splice stat stat64 statfs statfs64 statmount statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
    uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid
    waitpid write writev
";

/// Of one kind of machine; on the others they have no number.
const ALLOWED_WHERE_THEY_ARE: &str = "
    arch_prctl arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush modify_ldt set_tls sync_file_range2
";

/// Kernels before 4.8 let ptrace go round a filter; none that runs this program is so old.
const ALLOWED_SINCE_4_8: &str = "process_vm_readv process_vm_writev ptrace";

/// Capability to what it allows.
const BY_CAPABILITY: &[(&str, &str)] = &[
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module init_module finit_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("SYS_RAWIO", "iopl ioperm"),
    ("SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

pub fn profile(capabilities: &[String]) -> Profile {
    let has = |capability: &str| capabilities::has(capabilities, capability);
    let mut rules = vec![allow(ALLOWED), allow(ALLOWED_WHERE_THEY_ARE), allow(ALLOWED_SINCE_4_8)];
    // Its arguments lie in memory, where no filter can look: a way round the families below. C libraries of
    // 32 bits that are built for Linux 4.3 and later do without it.
    rules.push(Rule { action: errno(libc::ENOSYS), ..allow("socketcall") });
    let only = |name: &str, condition: Condition| Rule { conditions: vec![condition], ..allow(name) };
    rules.push(only("socket", int(0, Compare::Less, 12)));
    rules.extend(FAMILIES.map(|family| only("socket", int(0, Compare::Equal, family))));
    rules.extend(FAMILIES_OF_PAIRS.map(|family| only("socketpair", int(0, Compare::Equal, family))));
    rules.extend(PERSONALITIES.map(|p| only("personality", int(0, Compare::Equal, p))));
    // Asked of every ioctl, which the kernel would else remember as always allowed: some 20 ns.
    let neither = IOCTLS_REFUSED.map(|request| int(1, Compare::NotEqual, request)).to_vec();
    rules.push(Rule { conditions: neither, ..allow("ioctl") });
    rules.extend(BY_CAPABILITY.iter().filter(|(capability, _)| has(capability)).map(|(_, names)| allow(names)));
    if !has("SYS_ADMIN") {
        let condition = Condition { index: 0, mask: CLONE_NAMESPACES, compare: Compare::Equal, value: 0 };
        rules.push(only("clone", condition));
        // Its flags lie in memory, where no filter can look.
        rules.push(Rule { action: errno(libc::ENOSYS), ..allow("clone3") });
    }
    Profile { default: errno(libc::EPERM), arches: Arch::all_here(), rules, flags: 0 }
}

fn allow(names: &str) -> Rule {
    let names = names.split_whitespace().map(str::to_string).collect();
    Rule { names, action: ALLOW, conditions: Vec::new() }
}

/// On an argument, as an int.
fn int(index: u32, compare: Compare, value: u64) -> Condition {
    Condition { index, mask: INT, compare, value }
}
