//! What a hostile program inside a container tries; the puppet plays it.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

pub fn play(args: &[&str]) -> i32 {
    match *args {
        ["replace", path, target] => {
            let _ = std::fs::remove_file(path);
            let _ = std::fs::remove_dir(path);
            symlink(target, path).unwrap();
            println!("replaced");
            0
        }
        ["replace-by-fifo", path] => {
            std::fs::remove_file(path).unwrap();
            let path = std::ffi::CString::new(path).unwrap();
            // SAFETY: a path that ends in null.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
            println!("replaced");
            0
        }
        ["stdin"] => {
            let stdin = std::fs::File::open("/proc/self/fd/0").unwrap().metadata().unwrap();
            let (kind, number) = (stdin.file_type(), stdin.rdev());
            let link = std::fs::read_link("/proc/self/fd/0").unwrap();
            println!("{} {} {}", kind.is_char_device(), number == libc::makedev(1, 3), link.display());
            0
        }
        ["lock-stdin"] => {
            // SAFETY: numbers only.
            let done = unsafe { libc::fchmod(0, 0) };
            println!("{}", if done == 0 { "done".into() } else { std::io::Error::last_os_error().to_string() });
            0
        }
        ["mounts-of-peers"] => {
            let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            for line in table.lines().filter(|line| line.contains(" shared:") || line.contains(" master:")) {
                println!("{line}");
            }
            0
        }
        ["connect-abstract"] => {
            connect_abstract();
            0
        }
        ["socketcall", family] => {
            println!("{}", old_socket(family.parse().unwrap()));
            0
        }
        ["namespaces"] => {
            // SAFETY: numbers only; nothing is shared with what would be the child.
            let tried =
                [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET].map(|kind| unsafe { libc::unshare(kind) });
            println!("{tried:?} {}", std::io::Error::last_os_error());
            0
        }
        ["stalk", secret] => stalk(secret),
        ["forge"] => forge(),
        _ => panic!("neither the puppet nor the attacker knows {args:?}"),
    }
}

/// Every abstract socket of the network namespace that takes a connection or a packet, and of which type.
fn connect_abstract() {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let named = table.lines().filter_map(|line| line.split_once(" @"));
    for (_, name) in named {
        for (kind, word) in
            [(libc::SOCK_STREAM, "stream"), (libc::SOCK_DGRAM, "dgram"), (libc::SOCK_SEQPACKET, "seqpacket")]
        {
            // SAFETY: an all-zero address is valid; its path has room for the name behind a zero.
            let done = unsafe {
                let mut address: libc::sockaddr_un = std::mem::zeroed();
                address.sun_family = libc::AF_UNIX as libc::sa_family_t;
                for (to, byte) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
                    *to = byte as libc::c_char;
                }
                let length = std::mem::size_of::<libc::sa_family_t>() + 1 + name.len();
                let socket = libc::socket(libc::AF_UNIX, kind, 0);
                let done = libc::connect(socket, (&raw const address).cast(), length as libc::socklen_t);
                libc::close(socket);
                done
            };
            if done == 0 {
                println!("{name}: {word}");
            }
        }
    }
}

/// socket(2) as 32-bit programs call it: its arguments lie in memory, where no filter looks. The errno.
#[cfg(target_arch = "x86_64")]
fn old_socket(family: u32) -> i64 {
    const SOCKETCALL: u64 = 102;
    const SOCKET: u64 = 1;
    // SAFETY: a page in the low half of memory, where a 32-bit pointer reaches it; ebx is kept for the compiler.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        let words = page.cast::<u32>();
        [family, libc::SOCK_SEQPACKET as u32, 0].iter().enumerate().for_each(|(at, word)| *words.add(at) = *word);
        let result: i64;
        std::arch::asm!(
            "push rbx",
            "mov ebx, {call:e}",
            "int 0x80",
            "pop rbx",
            call = in(reg) SOCKET,
            inlateout("rax") SOCKETCALL => result,
            in("rcx") page as u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
        i64::from(result as i32)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn old_socket(_: u32) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// Looks at every process that comes: whether it has more rights than this one, and whether its memory
/// holds a secret of somebody else's.
fn stalk(secret: &str) -> ! {
    println!("looking");
    let own = std::process::id().to_string();
    let mut found = BTreeMap::new();
    loop {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            if pid.parse::<u32>().is_err() || pid == own {
                continue;
            }
            for what in [more_rights(&pid), knows(&pid, secret)].into_iter().flatten() {
                if found.insert(what.clone(), ()).is_none() {
                    println!("found {what}");
                }
            }
        }
    }
}

fn more_rights(pid: &str) -> Option<String> {
    let rights = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let set = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?.trim().to_owned();
        u64::from_str_radix(&set, 16).ok()
    };
    let (own, other) = (rights("self")?, rights(pid)?);
    (other & !own != 0).then(|| format!("a process with the rights {:x}", other & !own))
}

/// The secret stands in our own command line: half of it is told.
fn knows(pid: &str, secret: &str) -> Option<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let whole = format!("{secret}-of-another-pod");
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (from, rest) = line.split_once('-')?;
        let to = rest.split(' ').next()?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut bytes = vec![0; (to - from).min(8 << 20) as usize];
        if memory.seek(SeekFrom::Start(from)).is_err() {
            continue;
        }
        let got = memory.read(&mut bytes).unwrap_or(0);
        if bytes[..got].windows(whole.len()).any(|window| window == whole.as_bytes()) {
            return Some(format!("another pod's secret in a process's memory (descriptor {})", memory.as_raw_fd()));
        }
    }
    None
}

/// Takes the sockets of every process that comes, and speaks over them in its name, for ever: several at once,
/// so that whoever listens to the end never comes to it.
fn forge() -> ! {
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};
    use std::sync::atomic::{AtomicI32, Ordering};
    static TAKEN: [AtomicI32; 4] = [const { AtomicI32::new(-1) }; 4];
    println!("forging");
    // Whoever reads from it waits for ever.
    let blocking = std::io::pipe().unwrap().0;
    let blocking: RawFd = std::os::fd::IntoRawFd::into_raw_fd(blocking);
    for number in 0..4 {
        std::thread::spawn(move || {
            loop {
                let socket = TAKEN[number].load(Ordering::Relaxed);
                let word: &[u8; 1] = [b"M", b"T", b"x", b"x"][number];
                if socket < 0 || !send_with(socket, word, blocking) {
                    std::thread::yield_now();
                }
            }
        });
    }
    let own = std::process::id().to_string();
    loop {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            let Some(number) = pid.parse::<i32>().ok().filter(|_| pid != own) else { continue };
            // SAFETY: numbers only; what comes back is a new descriptor or none.
            unsafe {
                let pidfd = libc::syscall(libc::SYS_pidfd_open, number, 0) as i32;
                if pidfd < 0 {
                    continue;
                }
                let pidfd = OwnedFd::from_raw_fd(pidfd);
                for fd in 3..64 {
                    let got = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) as i32;
                    if got < 0 {
                        continue;
                    }
                    let mut kind = 0;
                    let mut size = size_of::<i32>() as libc::socklen_t;
                    let to = (&raw mut kind).cast();
                    if libc::getsockopt(got, libc::SOL_SOCKET, libc::SO_TYPE, to, &raw mut size) == 0 {
                        TAKEN.iter().for_each(|taken| taken.store(got, Ordering::Relaxed));
                    } else {
                        libc::close(got);
                    }
                }
            }
        }
    }
}

/// Sends a byte and a descriptor; false: nobody takes them.
fn send_with(socket: i32, word: &[u8; 1], fd: i32) -> bool {
    // SAFETY: all buffers live on this stack during the call, and have the sizes that are said.
    unsafe {
        let mut control = [0u64; 4];
        let mut part = libc::iovec { iov_base: word.as_ptr().cast_mut().cast(), iov_len: 1 };
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) > 0
    }
}
