//! A virtual machine with Debian's kernel: what it boots from, and how it is called.
//!
//! It is emulated (no /dev/kvm is needed), and nothing is installed: kernel and busybox are fetched as packages and
//! unpacked into the cache, with the modules that pods and disks need and this machine's tools.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::conformance::cache::{Cache, Product, run};
use crate::conformance::roots::unpack;
use crate::needs::Need;

/// What busybox does differently from the programs that tests call.
const TOOLS: [&str; 3] = ["/usr/bin/unshare", "/usr/bin/mount", "/usr/bin/umount"];

/// The kernel's modules that are not built into it.
const MODULES: [&str; 7] = [
    "kernel/net",
    "kernel/lib",
    "kernel/crypto",
    "kernel/fs/overlayfs",
    "kernel/drivers/block/virtio_blk.ko",
    "kernel/drivers/virtio",
    "kernel/drivers/net/veth.ko",
];

pub const NEEDS: &[Need] = &[
    ("qemu-system-x86_64", "qemu-system-x86", "emulates the machine"),
    ("apt-cache", "apt", "names the kernel's package"),
    ("ldd", "libc-bin", "names the libraries of what goes in"),
    ("strip", "binutils", "makes what goes in small"),
    ("find", "findutils", "lists what goes in"),
    ("timeout", "coreutils", "ends a machine that hangs"),
];

/// A file of the machine's first file system: its name, whether it is a program, its content.
pub type Entry<'a> = (&'a str, bool, &'a [u8]);

/// Kernel and first files, from the cache.
pub fn machine(cache: &Cache) -> Result<Product> {
    cache.product("vm", &["5"], fetch)
}

/// The emulator, with this kernel and these first files, and its console on stdout.
pub fn emulator(kernel: &Path, initrd: &Path, seconds_max: &str) -> Command {
    let mut qemu = Command::new("timeout");
    qemu.args([
        seconds_max,
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
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    qemu
}

/// A line of the console without the firmware's own drawing.
pub fn console(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line).trim_end().to_owned();
    (!line.contains('\u{1b}') && !line.is_empty()).then_some(line)
}

/// Builds a program of ours; where it stands.
pub fn built(arguments: &[&str], name: &str) -> Result<PathBuf> {
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
fn fetch(out: &Path) -> Result<()> {
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
    for part in MODULES {
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
pub fn pack(machine: &Product, programs: &[(&str, &Path)], files: &[Entry], out: &Path) -> Result<()> {
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
    for (name, runs, content) in files {
        entry(&mut archive, name, if *runs { 0o100_755 } else { 0o100_644 }, content)?;
    }
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
