//! `cargo xtask cgroup2`: a machine that has version 2 of the cgroups only, and an older kernel.
//!
//! A virtual machine with Debian's kernel (emulated: no /dev/kvm is needed) runs the runtime's native test
//! program as this machine's `cargo test` does, in a cgroup that is not the root, as under systemd; then
//! the README's first command, until a page was fetched from its pod. The kernel is years older than the one this is written on, so what only new kernels do is judged too.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, bail};

use crate::conformance::cache::Cache;
use crate::{machine, needs};

/// An emulated machine needs about five minutes; several times that beside other work.
const SECONDS_MAX: &str = "1800";

/// Runs it; true if every test passed. Words are tests to run, all without any.
pub fn cgroup2(words: &[String]) -> Result<bool> {
    needs::check(&[machine::NEEDS, needs::PACKAGES])?;
    let cache = Cache::open()?;
    // As `cargo test` selects packages: after it nothing is built once more.
    let tests = machine::built(&["test", "--no-run"], "native")?;
    let gousse = machine::built(&["build"], "gousse")?;
    let machine = machine::machine(&cache)?;
    let scratch = tempfile::tempdir()?;
    let initrd = scratch.path().join("initrd");
    let test = TEST.replace("WORDS", &words.join(" "));
    let files =
        [("site.yaml", false, SITE.as_bytes()), ("init", true, INIT.as_bytes()), ("test", true, test.as_bytes())];
    machine::pack(&machine, &[("native", &tests), ("gousse", &gousse)], &files, &initrd)?;
    let mut child = machine::emulator(&machine.path.join("vmlinuz"), &initrd, SECONDS_MAX).spawn()?;
    let mut ended = None;
    for line in BufReader::new(child.stdout.take().context("the console is piped")?).split(b'\n') {
        let Some(line) = machine::console(&line?) else { continue };
        match line.strip_prefix("RESULT ") {
            Some(code) => ended = Some(code == "0"),
            None => println!("{line}"),
        }
    }
    let status = child.wait()?;
    let Some(passed) = ended else { bail!("the virtual machine ended without a result ({status})") };
    println!("cgroup version 2: {}", if passed { "PASS" } else { "FAIL" });
    Ok(passed)
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
export PATH=/usr/bin:/bin HOME=/ RUST_BACKTRACE=0 GOUSSE_EMULATED=1
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
