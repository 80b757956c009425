//! One engine in folders and cgroups of its own, for one test.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::engine::{Engine, Session};
use runtime::images::ImagesStore;
use runtime::native::{Config, NativeEngine};
use runtime::*;
use tokio::io::AsyncReadExt;

const INSIDE: &str = "GOUSSE_TEST_INSIDE";

/// Re-executes this program in mount, PID, network, IPC and UTS namespaces; false: not allowed to.
pub fn enter_namespaces() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // SAFETY: reads a number.
    if unsafe { libc::geteuid() } != 0 {
        return false;
    }
    let flags = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child"];
    let mut command = std::process::Command::new("unshare");
    command.args(flags).arg(std::env::current_exe().unwrap()).args(std::env::args().skip(1)).env(INSIDE, "1");
    panic!("unshare: {}", command.exec());
}

pub struct Stage {
    pub folder: PathBuf,
    /// Top of all cgroups of this test.
    pub cgroup: String,
    pub tokio: tokio::runtime::Runtime,
    pub image: String,
    images: Arc<ImagesStore>,
}

impl Stage {
    pub fn new() -> Stage {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::Builder::new().prefix("gousse-native-").tempdir().unwrap().keep();
        let cgroup = folder.file_name().unwrap().to_string_lossy().into_owned();
        let images = ImagesStore::open(&folder.join("images")).unwrap();
        let mut stage = Stage { folder, cgroup, tokio, image: String::new(), images };
        stage.image = stage.load("puppet:1", |_| {});
        stage
    }

    /// Another image: the usual small one and what is added to its layer.
    pub fn load(&self, name: &str, add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> String {
        let archive = Box::new(std::io::Cursor::new(archive(name, add)));
        let loaded = self.tokio.block_on(runtime::engine::Images::load(&*self.images, archive)).unwrap();
        loaded[0].id.clone()
    }

    pub fn config(&self) -> Config {
        let config = Config::new(self.folder.join("data"), self.folder.join("run"));
        Config { cgroup: format!("{}/engine", self.cgroup), ..config }
    }

    pub fn engine(&self) -> Arc<NativeEngine> {
        let _inside = self.tokio.enter();
        Arc::new(NativeEngine::open(self.config(), self.images.clone()).unwrap())
    }

    /// With a limit that only a hang reaches, on an emulated machine too.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(HANGS, future).await };
        self.tokio.block_on(limited).expect("five minutes are enough for everything here")
    }

    pub fn sandbox(&self, name: &str) -> (SandboxId, SandboxSpec) {
        let net = self.folder.join(format!("net-{name}"));
        if !net.exists() {
            std::fs::write(&net, "").unwrap();
            let command = format!("mount --bind /proc/self/ns/net {}; ip link set lo up", net.display());
            let made = std::process::Command::new("unshare").args(["--net", "sh", "-c", &command]).status().unwrap();
            assert!(made.success());
        }
        let spec = SandboxSpec {
            hostname: name.into(),
            network: Network::Namespace(net),
            cgroup: format!("{}/pod-{name}", self.cgroup),
            ..SandboxSpec::default()
        };
        (SandboxId(id(name)), spec)
    }

    pub fn container(&self, name: &str, argv: &[&str]) -> (ContainerId, ContainerSpec) {
        let argv = [&[puppet_name()], argv].concat();
        let program = Mount {
            source: MountSource::Host(std::env::current_exe().unwrap()),
            target: Path::new("/bin").join(puppet_name()),
            read_only: true,
            ..Mount::default()
        };
        let spec = ContainerSpec {
            name: name.into(),
            image: self.image.clone(),
            argv: argv.into_iter().map(str::to_owned).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("COLOUR".into(), "blue".into())],
            mounts: vec![program],
            capabilities: runtime::capabilities::DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
            masked_paths: ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware"].map(PathBuf::from).into(),
            read_only_paths: ["/proc/sys", "/proc/sysrq-trigger"].map(PathBuf::from).into(),
            log: Some(LogFile { path: self.log_path(name), size_max: 10 << 20, files_max: 5 }),
            ..ContainerSpec::default()
        };
        (ContainerId(id(name)), spec)
    }

    pub fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(name).join("0.log")
    }

    /// Texts of a stream's records, put together.
    pub fn logged(&self, name: &str, stream: &str) -> String {
        let text = std::fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let mut out = String::new();
        for line in text.lines() {
            let mut parts = line.splitn(4, ' ').skip(1);
            let (of, tag) = (parts.next().unwrap(), parts.next().unwrap());
            if of == stream {
                out.push_str(parts.next().unwrap());
                out.push_str(if tag == "F" { "\n" } else { "" });
            }
        }
        out
    }

    /// Runs a container in a sandbox of its own to its end.
    pub fn run(&self, engine: &NativeEngine, name: &str, spec: ContainerSpec) -> Exit {
        let (sandbox, sandbox_spec) = self.sandbox(name);
        self.run_in(engine, &sandbox, sandbox_spec, name, spec)
    }

    pub fn run_in(
        &self,
        engine: &NativeEngine,
        sandbox: &SandboxId,
        sandbox_spec: SandboxSpec,
        name: &str,
        spec: ContainerSpec,
    ) -> Exit {
        let container = ContainerId(id(name));
        self.block_on(async {
            engine.run_sandbox(sandbox, sandbox_spec).await.unwrap();
            engine.create_container(sandbox, &container, spec).await.unwrap();
            let started = engine.start_container(&container).await;
            let exit = wait_for_exit(engine, &container).await;
            if let Err(error) = started {
                assert_eq!(exit.start_error, error.to_string());
            }
            exit
        })
    }

    pub fn runtime_log(&self) -> String {
        std::fs::read_to_string(self.folder.join("run/runtime.log")).unwrap_or_default()
    }

    /// Removes everything through the engine, and asserts that nothing is left of it.
    pub fn clear(self) {
        let engine = self.engine();
        self.block_on(async {
            for sandbox in engine.list().await.unwrap() {
                engine.remove_sandbox(&sandbox.id).await.unwrap();
            }
            engine.shut_down().await.unwrap();
        });
        let cgroups = remove_cgroups(&self.cgroup);
        for entry in std::fs::read_dir(&self.folder).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("net-") {
                let _ = std::process::Command::new("umount").arg(entry.path()).status();
            }
        }
        let mounts = std::fs::read("/proc/self/mounts").unwrap();
        let mounts = String::from_utf8_lossy(&mounts);
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&self.cgroup)).collect();
        let processes = processes();
        let log = self.runtime_log();
        assert!(left.is_empty(), "mounts left: {left:?}");
        std::fs::remove_dir_all(&self.folder).unwrap();
        assert!(processes.is_empty(), "processes left: {processes:?}, {log}");
        assert!(cgroups.is_empty(), "cgroups left: {cgroups:?}");
    }
}

/// The ids of 64 hex digits that stand for names here.
pub fn id(name: &str) -> String {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex:0<64}").chars().take(64).collect()
}

pub async fn find(engine: &NativeEngine, id: &ContainerId) -> Option<Container> {
    let all = engine.list().await.unwrap();
    all.into_iter().flat_map(|sandbox| sandbox.containers).find(|container| container.id == *id)
}

/// Follows the engine's hints until the container is in a wanted phase.
pub async fn wait_for(engine: &NativeEngine, id: &ContainerId, wanted: impl Fn(&Phase) -> bool) -> Container {
    let mut changes = engine.changes();
    loop {
        if let Some(container) = find(engine, id).await
            && wanted(&container.phase)
        {
            return container;
        }
        let _ = changes.recv().await;
    }
}

pub async fn wait_for_exit(engine: &NativeEngine, id: &ContainerId) -> Exit {
    let container = wait_for(engine, id, |phase| !matches!(phase, Phase::Created | Phase::Running { .. })).await;
    match container.phase {
        Phase::Exited { exit, .. } => exit,
        other => panic!("{other:?}"),
    }
}

/// Runs a program in a container; returns its output, errors and status.
pub async fn exec(engine: &NativeEngine, id: &ContainerId, argv: &[&str]) -> (String, String, i32) {
    let argv = [&[puppet_name()], argv].concat().into_iter().map(str::to_owned).collect();
    let spec = ExecSpec { argv, stdout: true, stderr: true, ..ExecSpec::default() };
    let session = engine.exec(id, spec).await.unwrap();
    let Session { stdout, stderr, exit, .. } = session;
    let (mut out, mut err) = (String::new(), String::new());
    stdout.unwrap().read_to_string(&mut out).await.unwrap();
    stderr.unwrap().read_to_string(&mut err).await.unwrap();
    (out, err, exit.await.unwrap().unwrap())
}

/// Whether this machine has version 2 of the cgroups only (`cargo xtask cgroup2` makes one).
pub fn is_version_2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// What nothing takes, on an emulated machine beside other work neither.
pub const HANGS: Duration = Duration::from_secs(300);

/// Whether this is `cargo xtask cgroup2`'s machine, some fifty times slower.
pub fn is_emulated() -> bool {
    std::env::var_os("GOUSSE_EMULATED").is_some()
}

/// How often something is tried that is tried again and again: there a quarter of it.
pub fn times(number: u32) -> u32 {
    if is_emulated() { number.div_ceil(4) } else { number }
}

/// Waits for something that no change announces.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < HANGS, "not within five minutes: {what}");
        std::thread::yield_now();
    }
}

pub fn puppet_name() -> &'static str {
    super::puppet::NAME
}

/// Other processes in this PID namespace, by what they are.
fn processes() -> BTreeMap<u32, String> {
    let alive = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ") && !stat.contains(") X ")
    };
    let mut found = BTreeMap::new();
    for _ in 0..1000 {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let others = pids.filter(|pid| *pid != std::process::id()).filter(alive);
        found = others
            .map(|pid| (pid, std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()))
            .collect();
        if found.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    found
}

/// Removes what is left of the test's own cgroup; returns what was below it.
fn remove_cgroups(name: &str) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for root in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let top = root.path().join(name);
        let below = std::fs::read_dir(&top).into_iter().flatten().flatten();
        left.extend(below.filter(|entry| entry.path().is_dir()).map(|entry| entry.path()));
        let _ = std::fs::remove_dir(&top);
    }
    left
}

/// Adds a symbolic link to a layer.
pub fn link(layer: &mut tar::Builder<Vec<u8>>, path: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    plain(&mut header);
    layer.append_link(&mut header, path, target).unwrap();
}

/// A docker archive with one small layer.
fn archive(name: &str, add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let folder = |tar: &mut tar::Builder<Vec<u8>>, path: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        plain(&mut header);
        tar.append_data(&mut header, path, std::io::empty()).unwrap();
    };
    let file = |tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        plain(&mut header);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    let mut layer = tar::Builder::new(Vec::new());
    ["bin/", "etc/", "tmp/", "data/"].iter().for_each(|path| folder(&mut layer, path));
    file(&mut layer, "etc/passwd", b"root:x:0:0::/root:/bin/sh\n");
    file(&mut layer, "bin/not-executable", b"no");
    add(&mut layer);
    let layer = layer.into_inner().unwrap();
    let digest: String = ring_digest(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["sha256:{digest}"]}}}}"#
    );
    let mut archive = tar::Builder::new(Vec::new());
    file(&mut archive, "layer.tar", &layer);
    file(&mut archive, "config.json", config.as_bytes());
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{name}"],"Layers":["layer.tar"]}}]"#);
    file(&mut archive, "manifest.json", manifest.as_bytes());
    archive.into_inner().unwrap()
}

fn ring_digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain(header: &mut tar::Header) {
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
}
