//! The file trees that images are made of, each built as a folder and kept as one layer (a plain tar).
//!
//! `debian` is a small Debian with the tools that tests call inside containers; `nginx` is what installing Debian's
//! nginx into it adds; `busybox` is Debian's static busybox. Packages are installed into the trees, never on the machine.

use super::cache::{Cache, Product, remove, run};
use super::programs::Programs;
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";

/// What tests run in agnhost's and the DNS image's shell, beside agnhost itself.
const TOOLS: &str =
    "bash,ca-certificates,curl,dnsutils,iperf,iproute2,iptables,iputils-ping,netcat-openbsd,procps,socat,wget";

/// One tree, packed. The recipe is the function's own revision: raise it when the function changes what it makes.
pub struct Layers {
    pub debian: Product,
    pub nginx: Product,
    pub busybox: Product,
    pub etcd: Product,
    pub pause: Product,
}

/// Builds the trees and packs them.
pub fn build(cache: &Cache) -> Result<Layers> {
    let root = cache.product("roots/debian", &["1", SUITE, MIRROR, TOOLS], debian)?;
    let packed = |name: &str, recipe: &[&str], fill: &dyn Fn(&Path) -> Result<()>| layer(cache, name, recipe, fill);
    let etcd = packed("etcd", &["1", SUITE], &|tree| {
        unpack(tree, &["etcd-server"])?;
        fs::create_dir_all(tree.join("usr/local/bin"))?;
        fs::rename(tree.join("usr/bin/etcd"), tree.join("usr/local/bin/etcd"))?;
        for rest in ["etc", "lib", "usr/bin", "usr/share", "usr/lib", "var"] {
            remove(&tree.join(rest))?;
        }
        Ok(())
    })?;
    Ok(Layers {
        debian: cache.product("layers/debian.tar", &["1", &root.key], |out| tar(&root.path, out))?,
        nginx: packed("nginx", &["1", &root.key, NGINX_SITE], &|tree| nginx(&root.path, tree))?,
        busybox: packed("busybox", &["3", SUITE, SHELL, ACCOUNTS, GROUPS], &busybox)?,
        pause: packed("pause", &["1", PAUSE], &|tree| compile(PAUSE, &tree.join("pause")))?,
        etcd,
    })
}

/// The layer `layers/<name>.tar` of the tree that `fill` makes.
pub fn layer(cache: &Cache, name: &str, recipe: &[&str], fill: &dyn Fn(&Path) -> Result<()>) -> Result<Product> {
    cache.product(&format!("layers/{name}.tar"), recipe, |out| {
        let tree = out.with_extension("tree");
        remove(&tree)?;
        fs::create_dir_all(&tree)?;
        fs::set_permissions(&tree, Permissions::from_mode(0o755))?;
        fill(&tree)?;
        tar(&tree, out)?;
        remove(&tree)
    })
}

/// The layer of a built program (and its links) at an image's root.
pub fn program(cache: &Cache, programs: &Programs, name: &str, place: &str, mode: u32) -> Result<Product> {
    let built = programs.get(name);
    layer(cache, name, &["1", &built.key, place, &mode.to_string()], &|tree| {
        put(tree, place, &fs::read(&built.path)?, mode)
    })
}

/// Writes a file of a tree, with the folders above it.
pub fn put(tree: &Path, place: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = tree.join(place.trim_start_matches('/'));
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    fs::write(&path, content)?;
    fs::set_permissions(&path, Permissions::from_mode(mode)).context("setting a mode")
}

/// Everything owned as it is in the tree, in a fixed order with a fixed time, so that equal trees give equal digests.
fn tar(tree: &Path, out: &Path) -> Result<()> {
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--mtime=@0", "--numeric-owner", "--format=pax"]);
    command.args([
        "--pax-option=delete=atime,delete=ctime",
        "--exclude=./dev/*",
        "--exclude=./proc/*",
        "--exclude=./sys/*",
    ]);
    run(command.arg("-cf").arg(out).arg("-C").arg(tree).arg(".")).map(drop)
}

fn debian(tree: &Path) -> Result<()> {
    let include = format!("--include={TOOLS}");
    run(Command::new("debootstrap").args(["--variant=minbase", &include, SUITE]).arg(tree).arg(MIRROR))?;
    slim(tree)?;
    // A name server of this machine has no meaning in a pod: the runtime mounts a file of its own over this one.
    fs::write(tree.join("etc/resolv.conf"), "")?;
    fs::write(tree.join("etc/hostname"), "")?;
    Ok(())
}

/// Installs nginx above the root, in an overlay whose upper folder is the layer.
fn nginx(root: &Path, tree: &Path) -> Result<()> {
    let scratch = tree.with_extension("overlay");
    remove(&scratch)?;
    for part in ["work", "whole"] {
        fs::create_dir_all(scratch.join(part))?;
    }
    // In a mount namespace of its own: whatever happens to the script, no mount of it is left behind.
    let script = r#"
        mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$TREE,workdir=$SCRATCH/work" "$SCRATCH/whole"
        mount -t proc proc "$SCRATCH/whole/proc"
        cat /etc/resolv.conf > "$SCRATCH/whole/etc/resolv.conf"
        printf '#!/bin/sh\nexit 101\n' > "$SCRATCH/whole/usr/sbin/policy-rc.d"
        chmod 755 "$SCRATCH/whole/usr/sbin/policy-rc.d"
        export DEBIAN_FRONTEND=noninteractive
        chroot "$SCRATCH/whole" apt-get update
        chroot "$SCRATCH/whole" apt-get install --yes --no-install-recommends nginx-light
        rm "$SCRATCH/whole/usr/sbin/policy-rc.d" "$SCRATCH/whole/etc/nginx/sites-enabled/default"
        : > "$SCRATCH/whole/etc/resolv.conf"
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script]).env("ROOT", root).env("TREE", tree).env("SCRATCH", &scratch);
    run(&mut command)?;
    remove(&scratch)?;
    slim(tree)?;
    // The official image serves this folder, and says what it does on its own output.
    put(tree, "etc/nginx/conf.d/default.conf", NGINX_SITE.as_bytes(), 0o644)?;
    for (log, device) in [("access.log", "/dev/stdout"), ("error.log", "/dev/stderr")] {
        let log = tree.join("var/log/nginx").join(log);
        remove(&log)?;
        symlink(device, log)?;
    }
    Ok(())
}

const NGINX_SITE: &str = "server {
    listen 80;
    listen [::]:80;
    server_name localhost;
    location / { root /usr/share/nginx/html; index index.html; }
}
";

/// All applets as links, but `sh` is a program that chooses: tests compare ash's messages, and ash drops variables whose name has a dash,
/// which other tests set and bash keeps.
fn busybox(tree: &Path) -> Result<()> {
    unpack(tree, &["busybox-static", "bash-static"])?;
    for rest in ["usr", "etc"] {
        remove(&tree.join(rest))?;
    }
    let applets = run(Command::new(tree.join("bin/busybox")).arg("--list-full"))?;
    for applet in String::from_utf8(applets)?.lines() {
        // The official image has them all in /bin; the other places are where a shell's PATH finds them too.
        let name = applet.rsplit('/').next().context("an applet has a name")?;
        for path in [tree.join("bin").join(name), tree.join(applet)] {
            fs::create_dir_all(path.parent().context("an applet has a folder")?)?;
            if path.symlink_metadata().is_err() {
                symlink("/bin/busybox", &path)?;
            }
        }
    }
    remove(&tree.join("bin/sh"))?;
    compile(SHELL, &tree.join("bin/sh"))?;
    put(tree, "etc/passwd", ACCOUNTS.as_bytes(), 0o644)?;
    put(tree, "etc/group", GROUPS.as_bytes(), 0o644)?;
    for (folder, mode) in [
        ("root", 0o700),
        ("home", 0o755),
        ("tmp", 0o1777),
        ("var/tmp", 0o1777),
        ("dev", 0o755),
        ("proc", 0o555),
        ("sys", 0o555),
    ] {
        fs::create_dir_all(tree.join(folder))?;
        fs::set_permissions(tree.join(folder), Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The first argument stays `/bin/sh`: by it busybox knows that it is ash, and both know how to call themselves.
const SHELL: &str = "#include <ctype.h>
#include <unistd.h>
extern char **environ;
int main(int count, char **words) {
    const char *shell = \"/bin/busybox\";
    for (char **entry = environ; *entry; entry++) {
        const char *letter = *entry;
        while (isalnum((unsigned char)*letter) || *letter == '_') letter++;
        if (*letter != '=') shell = \"/bin/bash-static\";
    }
    execv(shell, words);
    return 127;
}
";

const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";

const GROUPS: &str = "root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
www-data:x:33:
users:x:100:
nobody:x:65534:
";

/// A process that does nothing until it is told to end, and reaps what is given to it.
const PAUSE: &str = "#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
static void reap(int signal) { while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) {
    signal(SIGINT, end);
    signal(SIGTERM, end);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
";

/// Compiles a C source to a static program.
fn compile(source: &str, out: &Path) -> Result<()> {
    let file = out.with_extension("c");
    fs::write(&file, source)?;
    run(Command::new("cc").args(["-static", "-Os", "-s", "-o"]).arg(out).arg(&file))?;
    remove(&file)
}

/// Fetches packages and unpacks their files into a tree, without their scripts.
pub fn unpack(tree: &Path, packages: &[&str]) -> Result<()> {
    let fetched = tree.join("packages");
    fs::create_dir_all(&fetched)?;
    // apt drops its privileges for a download, and cannot write a folder that only root can reach.
    run(Command::new("apt-get")
        .args(["download", "-o", "APT::Sandbox::User=root"])
        .args(packages)
        .current_dir(&fetched))?;
    let mut unpacked = 0;
    for entry in fs::read_dir(&fetched)? {
        run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(tree))?;
        unpacked += 1;
    }
    if unpacked != packages.len() {
        bail!("apt-get fetched {unpacked} of the packages {packages:?}");
    }
    remove(&fetched)
}

/// What no test reads: package archives and lists, manuals, translations.
fn slim(tree: &Path) -> Result<()> {
    for rest in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"] {
        remove(&tree.join(rest))?;
    }
    for folder in ["var/cache/apt", "var/lib/apt/lists", "var/log/apt"] {
        let Ok(entries) = fs::read_dir(tree.join(folder)) else { continue };
        for entry in entries {
            remove(&entry?.path())?;
        }
    }
    Ok(())
}
