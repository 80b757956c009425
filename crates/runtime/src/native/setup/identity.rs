//! Who the program is and what it may: user, groups, capabilities, limits, filter.

use super::{OrFail, Result};
use crate::capabilities::CAPABILITIES;
use crate::native::sys;
use crate::spec::{ContainerSpec, User};

const RLIMITS: [(&str, u32); 16] = [
    ("AS", libc::RLIMIT_AS),
    ("CORE", libc::RLIMIT_CORE),
    ("CPU", libc::RLIMIT_CPU),
    ("DATA", libc::RLIMIT_DATA),
    ("FSIZE", libc::RLIMIT_FSIZE),
    ("LOCKS", libc::RLIMIT_LOCKS),
    ("MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("NICE", libc::RLIMIT_NICE),
    ("NOFILE", libc::RLIMIT_NOFILE),
    ("NPROC", libc::RLIMIT_NPROC),
    ("RSS", libc::RLIMIT_RSS),
    ("RTPRIO", libc::RLIMIT_RTPRIO),
    ("RTTIME", libc::RLIMIT_RTTIME),
    ("SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("STACK", libc::RLIMIT_STACK),
];

/// Capabilities as bits; a name that the table does not have is an error.
pub fn bits(names: &[String]) -> Result<u64> {
    names.iter().try_fold(0, |set, name| {
        let plain = name.strip_prefix("CAP_").unwrap_or(name);
        let number = CAPABILITIES.iter().position(|known| *known == plain);
        number.map(|n| set | 1 << n).ok_or_else(|| format!("unknown capability {name:?}"))
    })
}

/// Ids that the kernel would take for "as it is" name nobody: a container that asks for one would keep
/// the runtime's (as CVE-2024-40635 in containerd).
pub fn require_ids(user: &User) -> Result<()> {
    let ids = [("user", user.uid), ("group", user.gid)].into_iter();
    let mut ids = ids.chain(user.groups.iter().map(|group| ("supplementary group", *group)));
    match ids.find(|(_, id)| *id == sys::NOBODY_AT_ALL) {
        Some((what, id)) => Err(format!("{what} {id} cannot be used: the kernel takes that number for none")),
        None => Ok(()),
    }
}

/// The spec's limits; the number of open files as it was before the supervisor raised its own.
pub fn limit(limits: &[(String, u64, u64)], files: (u64, u64)) -> Result<()> {
    let _ = sys::set_rlimit(libc::RLIMIT_NOFILE, files.0, files.1);
    for (name, soft, hard) in limits {
        let plain = name.strip_prefix("RLIMIT_").unwrap_or(name).to_uppercase();
        let Some((_, resource)) = RLIMITS.iter().find(|(known, _)| *known == plain) else {
            return Err(format!("unknown resource limit {name:?}"));
        };
        if sys::set_rlimit(*resource, *soft, *hard).is_err() {
            // Above what this machine allows: as far as it goes.
            let (_, most) = sys::rlimit(*resource);
            sys::set_rlimit(*resource, (*soft).min(most), (*hard).min(most)).or_fail("setting resource limits")?;
        }
    }
    Ok(())
}

/// Drops to the program's user and rights. The order is the kernel's: the bounding set while SETPCAP is
/// there, the user while SETUID is, the filter while SYS_ADMIN is (unless no_new_privs allows it later, see
/// `confine`), and last the sets themselves.
pub fn assume(spec: &ContainerSpec, filter: &[libc::sock_filter]) -> Result<()> {
    let all = sys::permitted_capabilities();
    let wanted = if spec.privileged { all } else { bits(&spec.capabilities)? & all };
    let ambient = bits(&spec.ambient_capabilities)? & wanted;
    // The first number that the kernel does not know ends the loop.
    for number in (0..64).filter(|number| wanted & 1 << number == 0) {
        match sys::prctl(libc::PR_CAPBSET_DROP, number, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other.or_fail("dropping capabilities")?,
        }
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).or_fail("keeping capabilities")?;
    // The primary group too: else a program that sets its group would shed it, and with it what that group
    // may not (CVE-2022-2995, CVE-2022-36109, CVE-2023-25173).
    let mut groups = spec.user.groups.clone();
    groups.push(spec.user.gid);
    groups.sort_unstable();
    groups.dedup();
    sys::become_user(spec.user.uid, spec.user.gid, &groups).or_fail("becoming the container's user")?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0).or_fail("keeping capabilities")?;
    // A change of ids resets it to fs.suid_dumpable, and until the execve this is a copy of the supervisor.
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).or_fail("closing the memory")?;
    sys::set_capabilities(all, all, wanted & inheritable(ambient)).or_fail("raising capabilities")?;
    if spec.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).or_fail("setting no_new_privs")?;
    } else {
        install(spec, filter)?;
    }
    // Other users than root keep nothing over the execve but the ambient set, whatever is set here.
    let mine = if spec.user.uid == 0 { wanted } else { ambient };
    sys::set_capabilities(mine, wanted, inheritable(ambient)).or_fail("setting capabilities")?;
    for number in (0..64).filter(|n| ambient & 1 << n != 0) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as u64;
        sys::prctl(libc::PR_CAP_AMBIENT, raise, number).or_fail("raising ambient capabilities")?;
    }
    Ok(())
}

/// The filter of a program that gains nothing by an execve: last of all, since its profile may refuse
/// whatever else a set-up does (as in opencontainers/runc, libcontainer/standard_init_linux.go).
pub fn confine(spec: &ContainerSpec, filter: &[libc::sock_filter]) -> Result<()> {
    if spec.no_new_privileges { install(spec, filter) } else { Ok(()) }
}

fn install(spec: &ContainerSpec, filter: &[libc::sock_filter]) -> Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    let flags = crate::seccomp::flags(&spec.seccomp).map_err(|error| error.to_string())?;
    sys::seccomp(filter, flags).or_fail("installing the seccomp filter")
}

/// No rights at all, now or later, under a filter.
pub fn renounce(filter: &[libc::sock_filter]) -> Result<()> {
    for number in 0..64 {
        match sys::prctl(libc::PR_CAPBSET_DROP, number, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other.or_fail("dropping capabilities")?,
        }
    }
    sys::set_capabilities(0, 0, 0).or_fail("dropping capabilities")?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).or_fail("setting no_new_privs")?;
    sys::seccomp(filter, 0).or_fail("installing the seccomp filter")
}

/// Only what is ambient is inheritable: a full inheritable set gave files with inheritable rights more
/// than meant (CVE-2022-29162).
fn inheritable(ambient: u64) -> u64 {
    ambient
}
