//! Kills the supervisor between two system calls, wherever a test wants it: by tracing it.

use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// A kill that will come.
pub struct Hit(JoinHandle<()>);

impl Hit {
    /// Gives the supervisor something to do until it has come.
    pub fn done(self, mut stir: impl FnMut()) {
        while !self.0.is_finished() {
            stir();
        }
        self.0.join().unwrap();
    }
}

/// Once the supervisor has read a message of a set-up that begins with that byte, it is killed after so
/// many further system calls.
pub fn kill_after_message(pid: i32, first: u8, calls: usize) -> Hit {
    let (attached, is_attached) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: numbers only; the options are passed as one.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, libc::PTRACE_O_TRACESYSGOOD as usize), 0);
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, nothing, nothing), 0);
        }
        attached.send(()).unwrap();
        follow(pid, first, calls);
        // SAFETY: a process of this test's own PID namespace.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        while stop_of(pid).is_some() {}
    });
    is_attached.recv().unwrap();
    Hit(thread)
}

/// Until the moment has come.
fn follow(pid: i32, first: u8, calls: usize) {
    let mut message = None;
    let mut left = None;
    while let Some(signal) = stop_of(pid) {
        if signal == libc::SIGTRAP | 0x80 {
            match call(pid) {
                Call::Entered { number, arguments } => {
                    message = (number == libc::SYS_recvmsg as u64).then_some(arguments[1]);
                }
                Call::Left { result } => {
                    left = match (left, message.take()) {
                        (None, Some(at)) if result > 0 && first_byte(pid, at) == Some(first) => Some(calls),
                        (Some(calls), _) => Some(calls - 1),
                        (None, _) => None,
                    };
                }
                Call::Other => {}
            }
        }
        if left == Some(0) {
            return;
        }
        let passed = if signal & 0x80 == 0 && signal != libc::SIGTRAP { signal } else { 0 };
        // SAFETY: numbers only.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0usize, passed as usize) };
    }
    panic!("the supervisor ended by itself");
}

/// The signal that stopped it; None: it has ended.
fn stop_of(pid: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    let got = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    (got == pid && libc::WIFSTOPPED(status)).then(|| libc::WSTOPSIG(status))
}

enum Call {
    Entered { number: u64, arguments: [u64; 6] },
    Left { result: i64 },
    Other,
}

fn call(pid: i32) -> Call {
    // struct ptrace_syscall_info: kind, architecture, two pointers, then the call or its result.
    const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    let mut words = [0u64; 11];
    // SAFETY: the kernel writes at most the size that is passed.
    unsafe { libc::ptrace(PTRACE_GET_SYSCALL_INFO, pid, size_of_val(&words), words.as_mut_ptr()) };
    match words[0] & 0xff {
        1 => Call::Entered { number: words[3], arguments: std::array::from_fn(|n| words[4 + n]) },
        2 => Call::Left { result: words[3] as i64 },
        _ => Call::Other,
    }
}

/// Of the message behind a msghdr.
fn first_byte(pid: i32, msghdr: u64) -> Option<u8> {
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let word = |at: u64| -> Option<u64> {
        let mut bytes = [0; 8];
        memory.read_exact_at(&mut bytes, at).ok()?;
        Some(u64::from_ne_bytes(bytes))
    };
    let mut byte = [0; 1];
    memory.read_exact_at(&mut byte, word(word(msghdr + 16)?)?).ok()?;
    Some(byte[0])
}
