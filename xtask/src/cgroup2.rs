//! `cargo xtask cgroup2`: a machine that has version 2 of the cgroups only, and an older kernel.
//!
//! A virtual machine with Debian's kernel (emulated: no /dev/kvm is needed) runs the runtime's native test
//! program as this machine's `cargo test` does, in a cgroup that is not the root, as under systemd; then
//! the README's first command, until a page was fetched from its pod. The kernel is years older than the one this is written on, so what only new kernels do is judged too.
//! Nothing is installed: kernel and busybox are fetched as packages and unpacked into the cache.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::conformance::cache::{Cache, Product, run};
use crate::conformance::roots::unpack;
use crate::needs::{self, Need};

/// An emulated machine needs about a minute and a half; many times that beside other work.
const SECONDS_MAX: &str = "900";

/// What busybox does differently from the programs that the tests call.
const TOOLS: [&str; 3] = ["/usr/bin/unshare", "/usr/bin/mount", "/usr/bin/umount"];

const NEEDS: &[Need] = &[
    ("qemu-system-x86_64", "qemu-system-x86", "emulates the machine"),
    ("apt-cache", "apt", "names the kernel's package"),
    ("ldd", "libc-bin", "names the libraries of what goes in"),
    ("strip", "binutils", "makes what goes in small"),
    ("find", "findutils", "lists what goes in"),
    ("timeout", "coreutils", "ends a machine that hangs"),
];

/// Runs it; true if every test passed. Words are tests to run, all without any.
pub fn cgroup2(words: &[String]) -> Result<bool> {
    needs::check(&[NEEDS, needs::PACKAGES])?;
    let cache = Cache::open()?;
    // As `cargo test` selects packages: after it nothing is built once more.
    let tests = built(&["test", "--no-run"], "native")?;
    let gousse = built(&["build"], "gousse")?;
    let machine = cache.product("vm", &["4"], machine)?;
    let scratch = tempfile::tempdir()?;
    let initrd = scratch.path().join("initrd");
    pack(&machine, &[("native", &tests), ("gousse", &gousse)], words, &initrd)?;
    let mut qemu = Command::new("timeout");
    qemu.args([
        SECONDS_MAX,
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-m",
        "1500",
        "-smp",
        "2",
    ]);
    qemu.args(["-no-reboot", "-nographic", "-net", "none", "-append", "console=ttyS0 panic=-1 quiet loglevel=3"]);
    qemu.arg("-kernel").arg(machine.path.join("vmlinuz")).arg("-initrd").arg(&initrd);
    let mut child = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut ended = None;
    // The console begins with the firmware's own drawing.
    for line in BufReader::new(child.stdout.take().context("the console is piped")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        if let Some(code) = line.strip_prefix("RESULT ") {
            ended = Some(code == "0");
        } else if !line.contains('\u{1b}') && !line.is_empty() {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    let Some(passed) = ended else { bail!("the virtual machine ended without a result ({status})") };
    println!("cgroup version 2: {}", if passed { "PASS" } else { "FAIL" });
    Ok(passed)
}

/// Builds a program of ours; where it stands.
fn built(arguments: &[&str], name: &str) -> Result<PathBuf> {
    let mut cargo = crate::cargo::cargo();
    cargo.args(arguments).args(["--quiet", "--message-format=json"]);
    let messages = String::from_utf8(run(cargo.stderr(Stdio::inherit()))?)?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == name).then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    programs.next_back().with_context(|| format!("cargo names no program {name}"))
}

/// Kernel and the modules that pods need, busybox, and this machine's tools with their libraries.
fn machine(out: &Path) -> Result<()> {
    let depends = String::from_utf8(run(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?)?;
    let mut words = depends.split_whitespace().skip(1);
    let kernel = words.find(|word| word.starts_with("linux-image-"));
    let fetched = out.join("fetched");
    fs::create_dir_all(&fetched)?;
    unpack(&fetched, &[kernel.context("linux-image-cloud-amd64 depends on no kernel")?, "busybox-static"])?;
    let root = out.join("root");
    fs::create_dir_all(root.join("bin"))?;
    fs::rename(fetched.join("bin/busybox"), root.join("bin/busybox"))?;
    let release = only_entry(&fetched.join("lib/modules"))?;
    fs::rename(fetched.join("boot").join(format!("vmlinuz-{release}")), out.join("vmlinuz"))?;
    for part in ["kernel/net", "kernel/lib", "kernel/crypto", "kernel/fs/overlayfs", "kernel/drivers/net/veth.ko"] {
        let (from, to) = (fetched.join("lib/modules").join(&release), root.join("lib/modules").join(&release));
        fs::create_dir_all(to.join(part).parent().context("a module has a folder")?)?;
        fs::rename(from.join(part), to.join(part)).with_context(|| format!("the kernel's modules in {part}"))?;
    }
    run(Command::new(root.join("bin/busybox")).arg("depmod").arg("-b").arg(&root).arg(&release))?;
    fs::remove_dir_all(&fetched)?;
    let libraries = String::from_utf8(run(Command::new("ldd").args(TOOLS))?)?;
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    for path in libraries.chain(TOOLS) {
        let place = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().context("a library has a folder")?)?;
        fs::copy(path, place)?;
    }
    Ok(())
}

fn only_entry(folder: &Path) -> Result<String> {
    let entry = fs::read_dir(folder)?.next().with_context(|| format!("{} is empty", folder.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// The machine's first file system: an archive in the kernel's own format.
fn pack(machine: &Product, programs: &[(&str, &PathBuf)], words: &[String], out: &Path) -> Result<()> {
    let root = machine.path.join("root");
    let listed = String::from_utf8(run(Command::new("find").arg(&root).args(["-mindepth", "1", "-printf", "%P\\n"]))?)?;
    let mut archive = std::io::BufWriter::new(File::create(out)?);
    for name in listed.lines() {
        let path = root.join(name);
        let meta = fs::metadata(&path)?;
        let content = if meta.is_dir() { Vec::new() } else { fs::read(&path)? };
        let kind = if meta.is_dir() { 0o040_000 } else { 0o100_000 };
        entry(&mut archive, name, kind | (meta.permissions().mode() & 0o7777), &content)?;
    }
    for folder in ["proc", "sys", "dev", "tmp", "run", "etc", "new", "sbin", "var", "var/lib", "var/log"] {
        entry(&mut archive, folder, 0o040_755, &[])?;
    }
    for (name, program) in programs {
        let stripped = out.with_extension(name);
        run(Command::new("strip").arg("-o").arg(&stripped).arg(program))?;
        entry(&mut archive, &format!("bin/{name}"), 0o100_755, &fs::read(&stripped)?)?;
    }
    entry(&mut archive, "site.yaml", 0o100_644, SITE.as_bytes())?;
    entry(&mut archive, "init", 0o100_755, INIT.as_bytes())?;
    entry(&mut archive, "test", 0o100_755, TEST.replace("WORDS", &words.join(" ")).as_bytes())?;
    entry(&mut archive, "TRAILER!!!", 0, &[])?;
    Ok(archive.flush()?)
}

/// One file or folder, as Documentation/driver-api/early-userspace/buffer-format.rst has it.
fn entry(out: &mut impl Write, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let fields = [0, mode, 0, 0, 1, 0, u32::try_from(content.len())?, 0, 0, 0, 0, u32::try_from(name.len() + 1)?, 0];
    let header: String = fields.iter().map(|field| format!("{field:08X}")).collect();
    let pad = |length: usize| &[0u8; 4][..length.next_multiple_of(4) - length];
    out.write_all(b"070701")?;
    out.write_all(header.as_bytes())?;
    out.write_all(name.as_bytes())?;
    out.write_all(&[0])?;
    out.write_all(pad(6 + header.len() + name.len() + 1))?;
    out.write_all(content)?;
    Ok(out.write_all(pad(content.len()))?)
}

const SITE: &str = include_str!("../../examples/site.yaml");

/// Nothing can be pivoted away from the first file system: everything moves into another one.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o size=80% new /new
for folder in bin sbin lib lib64 usr etc tmp run var; do [ -e /$folder ] && cp -a /$folder /new/; done
cp /test /site.yaml /new/
ln -s /bin/busybox /new/sbin/modprobe
mkdir /new/proc /new/sys /new/dev
umount /proc /sys
exec switch_root /new /test
";

const TEST: &str = "#!/bin/busybox sh
export PATH=/usr/bin:/bin HOME=/ RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
hostname machine
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mount --make-rprivate /
modprobe overlay
ip link set lo up
mkdir /sys/fs/cgroup/service
echo
echo $$ > /sys/fs/cgroup/service/cgroup.procs
/bin/native WORDS
tests=$?
if [ -z \"WORDS\" ]; then
    modprobe veth
    modprobe nf_tables
    gousse up /site.yaml > /tmp/up 2>&1 &
    for second in $(seq 60); do
        grep -q Ctrl-C /tmp/up && break
        sleep 1
    done
    kill -INT $!
    wait $! || tests=1
    cat /tmp/up
    grep -q 'Hello from a pod' /tmp/up || tests=1
    [ -z \"$(find /sys/fs/cgroup -name 'pod*')\" ] || tests=1
fi
echo RESULT $tests
poweroff -f
";
