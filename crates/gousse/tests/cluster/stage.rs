//! The stage of a test: namespaces of its own, instances of gousse in them, programs and their output.
//!
//! A test runs again as the first process of fresh network, mount and process namespaces: whatever it
//! starts ends with it, on success and on failure. Cgroups have no namespace here; the outer half
//! removes them by the instances' names. Bounds on waits are guards, never part of a story.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Longest wait for anything; a healthy cluster needs a fraction.
pub const GUARD: Duration = Duration::from_secs(60);

/// Several instances share this machine.
const ANY_PORTS: [&str; 4] = ["--node-port", "0", "--listen", "127.0.0.1:0"];
const INSIDE: &str = "GOUSSE_TEST_STAGE";
const GOUSSE: &str = env!("CARGO_BIN_EXE_gousse");

/// The folder of one test and what it started.
pub struct Stage {
    pub folder: PathBuf,
    /// Instances begin with this.
    prefix: String,
}

/// Runs the test inside namespaces of its own. Without root it says so on the raw stderr, and fails
/// under CI.
pub fn play<F: FnOnce(&Stage)>(test: F) {
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let name = name.split_once("::").map_or(name, |(_, rest)| rest).to_string();
    if let Some(folder) = std::env::var_os(INSIDE) {
        let folder = PathBuf::from(folder);
        let prefix = folder.file_name().unwrap().to_string_lossy().into_owned();
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        let stage = Stage { folder, prefix };
        return test(&stage);
    }
    if !nix::unistd::geteuid().is_root() {
        say(&format!("SKIPPED {name}: needs root"));
        assert!(std::env::var_os("CI").is_none(), "{name} needs root under CI");
        return;
    }
    let folder = tempfile::Builder::new().prefix("g").rand_bytes(5).tempdir().unwrap();
    let prefix = folder.path().file_name().unwrap().to_string_lossy().to_lowercase();
    let path = folder.path().parent().unwrap().join(&prefix);
    if path != folder.path() {
        fs::rename(folder.path(), &path).unwrap();
    }
    let done = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, &path)
        .env("HOME", &path)
        .env("KUBECTL", kubectl())
        .env_remove("KUBECONFIG")
        .output()
        .unwrap();
    let left = remove_cgroups(&prefix);
    let _ = fs::remove_dir_all(&path);
    let text = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name} failed inside its namespaces:\n{text}");
    assert!(text.contains("1 passed"), "{name} did not run inside its namespaces:\n{text}");
    assert!(left.is_empty(), "{name} left cgroups: {left:?}");
}

/// The one that was asked for, the conformance harness' own, or whatever the PATH has.
fn kubectl() -> PathBuf {
    let own = std::env::home_dir().map(|home| home.join(".cache/gousse/conformance/bin/kubectl"));
    let asked = std::env::var_os("KUBECTL").map(PathBuf::from);
    asked.or(own.filter(|path| path.exists())).unwrap_or("kubectl".into())
}

/// `tar` in a folder, which must go well.
pub fn tar(folder: &Path, arguments: &[&str]) {
    let done = Command::new("tar").current_dir(folder).args(arguments).output_now();
    assert!(done.ok, "{done:?}");
}

/// A line on the raw stderr, past the test harness.
pub fn say(text: &str) {
    let _ = File::options().append(true).open("/dev/stderr").and_then(|mut f| writeln!(f, "{text}"));
}

impl Stage {
    /// An instance of this name; it does not run yet.
    pub fn instance(&self, name: &str) -> Instance {
        let name = format!("{}-{name}", self.prefix);
        let folder = self.folder.join(&name);
        fs::create_dir_all(&folder).unwrap();
        Instance { name, data: folder.join("data"), run: folder.join("run"), folder, network: None }
    }

    /// Writes a file into the test's folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// What is there beside this process and its folder: processes, mounts, links, cgroups, nft tables.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(processes().into_iter().filter(|p| p.pid != 1).map(|p| format!("process {} {}", p.pid, p.command)));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        left.extend(points.filter(|p| Path::new(p).starts_with(&self.folder)).map(|p| format!("mount {p}")));
        let links = fs::read_to_string("/proc/net/dev").unwrap();
        let links = links.lines().skip(2).filter_map(|line| line.trim().split(':').next());
        left.extend(links.filter(|name| *name != "lo").map(|name| format!("link {name}")));
        left.extend(cgroups(&self.prefix).into_iter().map(|path| format!("cgroup {}", path.display())));
        left.extend((0..nft_tables()).map(|_| "nft table".to_string()));
        left
    }
}

/// One gousse: its name and folders.
pub struct Instance {
    pub name: String,
    pub folder: PathBuf,
    pub data: PathBuf,
    pub run: PathBuf,
    /// Whose network namespace it lives in; None: the test's.
    pub network: Option<i32>,
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Done {
    pub ok: bool,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Instance {
    /// Starts `gousse up` in the foreground and waits until it is ready.
    pub fn up(&self, arguments: &[&str]) -> Up {
        self.up_with(arguments, &[])
    }

    pub fn up_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Up {
        let arguments = [&ANY_PORTS, arguments].concat();
        self.start("up", &arguments, environment, "gousse is ready after ")
    }

    /// Starts `gousse VERB` in the foreground and waits for the line that says that it is ready.
    pub fn start(&self, verb: &str, arguments: &[&str], environment: &[(&str, &str)], ready: &str) -> Up {
        let mut command = self.command(verb);
        command.args(arguments).envs(environment.iter().copied());
        let log = self.folder.join("up.err");
        command.stderr(File::options().create(true).append(true).open(&log).unwrap());
        // A group of its own, as a terminal gives it; signals here go to the one process all the same.
        command.process_group(0).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let mut up = Up { child, lines, seen: String::new(), log };
        up.line(ready);
        up
    }

    /// `gousse VERB` with this instance's place.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = match self.network {
            None => Command::new(GOUSSE),
            Some(pid) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/proc/{pid}/ns/net")).arg(GOUSSE);
                command
            }
        };
        command.args(verb.split(' ')).args(["--name", &self.name]);
        command.arg("--data-dir").arg(&self.data).arg("--run-dir").arg(&self.run);
        // How full this machine's disk happens to be is no part of any story.
        if verb.starts_with("up") || verb == "agent" {
            command.args(["--eviction-hard", "memory.available<100Mi"]);
        }
        command
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    /// `gousse WORDS`, as the administrator of this instance.
    pub fn gousse(&self, words: &str) -> Done {
        self.program(GOUSSE, words).output_now()
    }

    /// A program that finds this instance through $KUBECONFIG; words are split at blanks, `'…'` holds
    /// them together.
    pub fn program(&self, program: &str, words: &str) -> Command {
        let mut command = Command::new(program);
        command.args(split(words)).env("KUBECONFIG", self.kubeconfig()).current_dir(&self.folder);
        command
    }

    /// `gousse WORDS`, which must go well; what it printed.
    pub fn must(&self, words: &str) -> String {
        let done = self.gousse(words);
        assert!(done.ok, "gousse {words}:\n{}{}\n{}", done.out, done.err, self.logged());
        done.out
    }

    pub fn json(&self, words: &str) -> serde_json::Value {
        serde_json::from_str(&self.must(&format!("{words} -o json"))).unwrap()
    }

    pub fn apply(&self, yaml: &str) -> Done {
        let mut command = self.program(GOUSSE, "apply -f -");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
        done(child.wait_with_output().unwrap())
    }

    /// Makes a pod of this manifest, and waits until it is ready.
    pub fn run_pod(&self, name: &str, yaml: &str) {
        let done = self.apply(yaml);
        assert!(done.ok, "{done:?}");
        self.must(&format!("wait --for=condition=Ready pod/{name} --timeout=60s"));
    }

    /// A connection as the administrator, for what the command line does not do.
    pub fn client(&self) -> client::Client {
        // Ignoring the outcome: another client of this test has set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let loaded = client::kubeconfig::load(Some(&self.kubeconfig()), None).unwrap();
        client::Client::new(std::sync::Arc::new(client::Https::new(loaded.https).unwrap()))
    }

    /// `gousse up`, which is refused: what it says to that.
    pub fn refused(&self) -> String {
        let done = self.command("up").args(ANY_PORTS).output_now();
        assert!(!done.ok, "{done:?}");
        done.err
    }

    /// `gousse up --detach FILE`, which must go well: its process.
    pub fn detached(&self, file: &str) -> i32 {
        let mut command = self.command("up --detach=true");
        let done = command.args(ANY_PORTS).args(split(file)).output_now();
        assert!(done.ok && done.out.starts_with("gousse is ready (process "), "{done:?}\n{}", self.logged());
        let pid = done.out.split(['(', ')', ' ']).find_map(|word| word.parse().ok());
        pid.unwrap_or_else(|| panic!("{}", done.out))
    }

    /// `gousse image load` of a docker archive with the one layer `layer.tar` of a folder; its digest is the
    /// right one unless another is named.
    pub fn load_layer(&self, folder: &Path, image: &str, digest: Option<&str>, config: serde_json::Value) -> Done {
        let layer = fs::read(folder.join("layer.tar")).unwrap();
        let right: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
        let layers = [format!("sha256:{}", digest.unwrap_or(&right))];
        let config = json!({"architecture": "amd64", "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": layers}});
        let manifest = json!([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]);
        for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
            fs::write(folder.join(name), document.to_string()).unwrap();
        }
        tar(folder, &["-cf", "image.tar", "manifest.json", "config.json", "layer.tar"]);
        self.command("image load").arg(folder.join("image.tar")).output_now()
    }

    /// `gousse down`, which must go well.
    pub fn down(&self, purge: bool) -> String {
        let mut command = self.command("down");
        if purge {
            command.arg("--purge");
        }
        let done = command.output_now();
        assert!(done.ok, "down: {}{}\n{}", done.out, done.err, self.logged());
        done.out
    }

    /// What `up` logged, for a failure's message.
    pub fn logged(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        format!(
            "{}{}{}",
            read(self.folder.join("up.err")),
            read(self.data.join("gousse.log")),
            read(self.run.join("runtime/log"))
        )
    }
}

/// Ends a program's run by its output.
pub trait Output {
    fn output_now(&mut self) -> Done;
}

impl Output for Command {
    fn output_now(&mut self) -> Done {
        done(self.stdin(Stdio::null()).output().unwrap())
    }
}

/// What a program that was started printed until its end, which must come.
pub fn ended(child: Child) -> Done {
    let (told, end) = channel();
    let pid = Pid::from_raw(child.id().cast_signed());
    std::thread::spawn(move || told.send(child.wait_with_output()));
    match end.recv_timeout(GUARD) {
        Ok(output) => done(output.unwrap()),
        Err(_) => {
            kill(pid, Signal::SIGKILL).unwrap();
            panic!("it goes on: {:?}", end.recv().unwrap().map(done));
        }
    }
}

fn done(output: std::process::Output) -> Done {
    Done {
        ok: output.status.success(),
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running `gousse up`, `server` or `agent`.
pub struct Up {
    child: Child,
    lines: Receiver<String>,
    pub seen: String,
    log: PathBuf,
}

impl Up {
    /// Waits for a line that begins so.
    pub fn line(&mut self, beginning: &str) -> String {
        loop {
            match self.lines.recv_timeout(GUARD) {
                Ok(line) => {
                    self.seen.push_str(&format!("{line}\n"));
                    if line.starts_with(beginning) {
                        return line;
                    }
                }
                Err(why) => {
                    let log = fs::read_to_string(&self.log).unwrap_or_default();
                    panic!("no line {beginning:?} ({why}) after\n{}{log}", self.seen)
                }
            }
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end; what it printed, and whether it ended well.
    pub fn end(mut self) -> Done {
        while let Ok(line) = self.lines.recv_timeout(GUARD) {
            self.seen.push_str(&format!("{line}\n"));
        }
        let status = self.child.wait().unwrap();
        Done {
            ok: status.success(),
            code: status.code(),
            out: self.seen,
            err: fs::read_to_string(&self.log).unwrap_or_default(),
        }
    }

    /// Its reader goes away with the next line.
    pub fn unread(self) -> Child {
        self.child
    }

    /// kill -9, and its end.
    pub fn kill(self) {
        self.signal(Signal::SIGKILL);
        self.end();
    }
}

/// A running program's lines as they come.
pub struct Lines {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    pub fn of(mut command: Command) -> Lines {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Lines { child, lines, seen: Vec::new() }
    }

    /// Waits for a line that satisfies this.
    pub fn until(&mut self, mut wanted: impl FnMut(&str) -> bool) -> String {
        loop {
            match self.lines.recv_timeout(GUARD) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => self.seen.push(line),
                Err(why) => panic!("no such line ({why}) after {:#?}", self.seen),
            }
        }
    }
}

impl Lines {
    /// The next line, if it comes within this time.
    pub fn next_within(&mut self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A living process of this test's namespace.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub command: String,
}

/// All of them, the dead that nobody waited for left out.
pub fn processes() -> Vec<Process> {
    let numbers = fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse::<i32>().ok());
    let living = numbers.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        (state != 'Z' && state != 'X').then_some(Process { pid, command })
    });
    living.collect()
}

/// Waits until this process is gone: its descriptor tells, nothing asks again and again.
pub fn gone(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    let mut handles = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
    let guard = rustix::event::Timespec { tv_sec: GUARD.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut handles, Some(&guard)).unwrap(), 1, "process {pid:?} does not end");
}

/// Words at blanks; `'…'` holds some together.
fn split(words: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (index, part) in words.split('\'').enumerate() {
        match index % 2 {
            0 => all.extend(part.split_whitespace().map(str::to_string)),
            _ => all.push(part.to_string()),
        }
    }
    all
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Cgroups of this test's instances, the deepest first.
fn cgroups(prefix: &str) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for top in [hierarchy.path()].into_iter().chain(folders(&hierarchy.path())) {
            if top.file_name().is_some_and(|name| name.to_string_lossy().contains(prefix)) {
                below(&top, &mut found);
            }
        }
    }
    found.into_iter().rev().collect()
}

fn below(path: &Path, found: &mut BTreeSet<PathBuf>) {
    found.insert(path.to_path_buf());
    folders(path).iter().for_each(|folder| below(folder, found));
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Removes them; returns those that there were.
fn remove_cgroups(prefix: &str) -> Vec<PathBuf> {
    let all = cgroups(prefix);
    for path in &all {
        let _ = fs::remove_dir(path);
    }
    all
}

/// How many nft tables this network namespace has, from the kernel itself.
fn nft_tables() -> usize {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    };
    use std::os::fd::AsRawFd;
    const SUBSYSTEM: u16 = 10 << 8;
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    let mut request = Vec::new();
    request.extend(20u32.to_ne_bytes());
    request.extend((SUBSYSTEM | 1).to_ne_bytes());
    // A request for a dump.
    request.extend(0x301u16.to_ne_bytes());
    request.extend([0; 12]);
    sendto(socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty()).unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut tables = 0;
    loop {
        let n = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        let mut rest = &buffer[..n];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            match u16::from_ne_bytes(rest[4..6].try_into().unwrap()) {
                3 | 2 => return tables,
                kind if kind == SUBSYSTEM => tables += 1,
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}
