//! The program inside the containers: does one thing that a test can see, and says what it saw.

use std::io::{BufRead, IsTerminal, Read, Write};

/// Under this name the test program is the puppet.
pub const NAME: &str = "puppet";

pub fn play(args: &[String]) -> ! {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let code = match args[..] {
        ["say", out, err] => {
            println!("{out}");
            eprintln!("{err}");
            0
        }
        ["speak", out, err, code] => {
            println!("{out}");
            eprintln!("{err}");
            code.parse().unwrap()
        }
        ["say-without-end", text] => {
            print!("{text}");
            std::io::stdout().flush().unwrap();
            0
        }
        ["exit", code] => code.parse().unwrap(),
        ["die-by", signal] => {
            // SAFETY: sends a signal to this process.
            unsafe { libc::raise(signal.parse().unwrap()) };
            0
        }
        ["wait"] => wait(),
        ["status-and-wait"] => {
            cat("/proc/self/status");
            std::io::stdout().flush().unwrap();
            wait()
        }
        ["wait-for-term", code] => {
            ignore_term();
            println!("ready");
            wait_for_term(code.parse().unwrap(), "")
        }
        ["say-and-copy", text] => {
            ignore_term();
            println!("{text}");
            wait_for_term(9, "after")
        }
        ["count-marked", folder, lines, code] => {
            // One mark for each run, by the moment it began.
            let begun = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
            std::fs::write(std::path::Path::new(folder).join(begun.to_string()), "").unwrap();
            count_slowly(lines.parse().unwrap());
            code.parse().unwrap()
        }
        ["count", lines] => count(lines.parse().unwrap()),
        ["cat", ..] => args[1..].iter().map(|path| cat(path)).max().unwrap_or(0),
        ["ls", path] => {
            let mut names: Vec<_> = match std::fs::read_dir(path) {
                Ok(entries) => entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect(),
                Err(error) => vec![error.to_string()],
            };
            names.sort();
            println!("{}", names.join(" "));
            0
        }
        ["write", path, text] => i32::from(said(std::fs::write(path, text))),
        ["eat", megabytes] => eat(megabytes.parse().unwrap()),
        ["fork", times] => fork(times.parse().unwrap()),
        ["env"] => {
            std::env::vars().for_each(|(key, value)| println!("{key}={value}"));
            println!("cwd={}", std::env::current_dir().unwrap().display());
            0
        }
        ["host"] => cat("/proc/sys/kernel/hostname"),
        ["fds"] => {
            let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let mut links: Vec<_> = fds
                .filter_map(|entry| Some((entry.file_name(), std::fs::read_link(entry.path()).ok()?)))
                .filter(|(_, link)| !link.starts_with("/proc"))
                .map(|(name, _)| name.to_string_lossy().into_owned())
                .collect();
            links.sort();
            println!("{}", links.join(" "));
            0
        }
        ["copy"] => {
            for line in std::io::stdin().lock().lines() {
                println!("<{}>", line.unwrap());
            }
            0
        }
        ["terminal"] => terminal(),
        ["segment", "make"] => segment(libc::IPC_CREAT | 0o600),
        ["segment", "find"] => segment(0),
        ["open-device", major, minor] => open_device(major.parse().unwrap(), minor.parse().unwrap()),
        ["serve", port] => serve(port.parse().unwrap()),
        ["steal-own-output"] => steal(),
        ["flood-outputs-of-others"] => flood_others(),
        ["look-around", secret] => look_around(secret),
        ["orphan"] => orphan(),
        ["orphan-and-wait"] => {
            orphan();
            wait()
        }
        _ => super::attacker::play(&args),
    };
    std::process::exit(code)
}

fn said<T>(result: std::io::Result<T>) -> bool {
    match result {
        Ok(_) => println!("done"),
        Err(ref error) => println!("{error}"),
    }
    result.is_err()
}

fn cat(path: &str) -> i32 {
    match std::fs::read(path) {
        Ok(bytes) => {
            std::io::stdout().write_all(&bytes).unwrap();
            0
        }
        Err(error) => {
            println!("{path}: {error}");
            1
        }
    }
}

/// Children that do nothing, until there may be no more.
fn fork(times: usize) -> i32 {
    let is_refused = |_: &usize| {
        // SAFETY: the child calls nothing but pause.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: no memory is involved.
                unsafe { libc::pause() };
            },
            child => child < 0,
        }
    };
    let refused = (0..times).find(is_refused);
    let why = std::io::Error::last_os_error();
    println!("{}", refused.map_or_else(|| "all".to_owned(), |made| format!("{made}: {why}")));
    wait()
}

fn wait() -> ! {
    // A first process ignores TERM unless it asks for it: as good as any way to stay.
    loop {
        std::thread::park();
    }
}

fn term_set() -> libc::sigset_t {
    // SAFETY: fills a set on this stack.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        set
    }
}

fn ignore_term() {
    let set = term_set();
    // SAFETY: blocks a signal of this thread; the set outlives the call.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Says something when TERM comes, and ends.
fn wait_for_term(code: i32, last: &str) -> i32 {
    ignore_term();
    let (set, mut got) = (term_set(), 0);
    // SAFETY: waits for a signal of this thread; set and result outlive the call.
    unsafe { libc::sigwait(&raw const set, &raw mut got) };
    if !last.is_empty() {
        println!("{last}");
    }
    code
}

/// Lines in small writes, so that they spread over some time.
fn count_slowly(lines: u32) {
    for number in 0..lines {
        std::io::stdout().lock().write_all(format!("line {number}\n").as_bytes()).unwrap();
        if number % 20 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

fn count(lines: u32) -> i32 {
    let mut out = std::io::stdout().lock();
    for number in 0..lines {
        writeln!(out, "line {number}").unwrap();
    }
    0
}

fn eat(megabytes: usize) -> i32 {
    let mut eaten = Vec::new();
    for _ in 0..megabytes {
        eaten.push(vec![1u8; 1 << 20]);
    }
    println!("{}", eaten.len());
    0
}

fn terminal() -> i32 {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    let mut show = || {
        // SAFETY: the size outlives the call.
        unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size) };
        println!("terminal {} {}x{}", std::io::stdin().is_terminal(), size.ws_col, size.ws_row);
    };
    show();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    show();
    line.trim().parse().unwrap_or(9)
}

fn segment(flags: i32) -> i32 {
    // SAFETY: numbers only.
    let got = unsafe { libc::shmget(0x600d, 4096, flags) };
    println!("{}", if got >= 0 { "there" } else { "absent" });
    i32::from(got < 0)
}

fn open_device(major: u32, minor: u32) -> i32 {
    let path = c"/tmp/node";
    // SAFETY: a path that ends in null.
    let made = unsafe { libc::mknod(path.as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(major, minor)) };
    println!("made {}", made == 0);
    println!("open {}", std::fs::File::open("/tmp/node").is_ok());
    0
}

fn serve(port: u16) -> i32 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    println!("listening");
    let (mut stream, _) = listener.accept().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    stream.write_all(text.to_uppercase().as_bytes()).unwrap();
    0
}

/// Takes back part of what it writes, as any user may.
fn steal() -> i32 {
    let own = || std::fs::File::open("/proc/self/fd/1").unwrap();
    let mut taken = own();
    // SAFETY: changes a flag of this process's own description of the pipe.
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&taken), libc::F_SETFL, libc::O_NONBLOCK) };
    std::thread::spawn(|| {
        for number in 0.. {
            let line = format!("stolen {number}\n").repeat(1 + number % 400);
            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        }
    });
    let mut bytes = vec![0; 9000];
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(700) {
        let _ = taken.read(&mut bytes);
    }
    0
}

/// Writes to the outputs of the other processes here, for ever.
fn flood_others() -> ! {
    let own = std::fs::read_link("/proc/self/fd/1").unwrap();
    let outputs: Vec<_> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("fd/1"))
        .filter(|path| {
            let link = std::fs::read_link(path).unwrap_or_default();
            link.to_string_lossy().starts_with("pipe:") && link != own
        })
        .filter_map(|path| std::fs::File::options().write(true).open(path).ok())
        .collect();
    println!("flooding {}", outputs.len());
    for output in &outputs {
        // SAFETY: numbers only.
        unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(output), libc::F_SETPIPE_SZ, 1 << 20) };
    }
    let line = "\n".repeat(1 << 16);
    loop {
        outputs.iter().for_each(|mut output| drop(output.write_all(line.as_bytes())));
    }
}

/// Looks into every process that it sees for a way to the host: its root, or its descriptors.
fn look_around(secret: &str) -> ! {
    println!("looking");
    let mut found = std::collections::BTreeSet::new();
    let own = std::process::id().to_string();
    loop {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_err() || name == own {
                continue;
            }
            if std::fs::File::open(format!("/proc/{name}/root{secret}")).is_ok() && found.insert("a root".to_owned()) {
                println!("found a root");
            }
            for descriptor in std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
                let link = std::fs::read_link(descriptor.path()).unwrap_or_default();
                let link = link.to_string_lossy().into_owned();
                let host = ["journal", "runtime.log", "mnt:"].iter().any(|part| link.contains(part));
                if host && found.insert(link.clone()) {
                    println!("found {link}");
                }
            }
        }
    }
}

/// Leaves a child behind that would go on for ever.
#[allow(clippy::zombie_processes)]
fn orphan() -> i32 {
    let child = std::process::Command::new("/proc/self/exe")
        .arg0_puppet()
        .arg("wait")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    println!("{}", child.id());
    0
}

trait Arg0 {
    fn arg0_puppet(&mut self) -> &mut Self;
}

impl Arg0 for std::process::Command {
    fn arg0_puppet(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::arg0(self, NAME)
    }
}
