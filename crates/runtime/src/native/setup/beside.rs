//! Set-ups in a PID namespace where others live who may look into a new process, or write to it.
//!
//! Whoever holds SYS_PTRACE there could take over a process that has more rights than itself, or read what
//! it remembers. So nothing is done there but the execve: this program begins anew first, without the
//! supervisor's memory, and does everything from outside; only once it has the container's rights and no
//! more does it go on as another process, inside. A sandbox that shares its namespace has an init, which
//! begins in the same way and lays down all rights before anybody else comes.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Home, MOVED, OrFail, Result, Setup, begin, carry_out, give_up, host, identity, plain, root};
use crate::native::cgroup::Join;
use crate::native::channel;
use crate::native::sys::{self, Cloned, Number};

/// The word on the command line of an init.
pub const INIT: &str = "sandbox-init";
/// The word on the command line of a set-up that begins anew; the number of its order follows.
pub const SETUP: &str = "container-setup";

/// This program again, with the order in a file of its own.
pub fn begin_anew(setup: &Setup<'_>) -> Result<Infallible> {
    let doing = "beginning the set-up anew";
    let order = memfd_create("setup", MemfdFlags::CLOEXEC).or_fail(doing)?;
    let text = serde_json::to_vec(setup).map_err(|error| format!("{doing}: {error}"))?;
    let mut left = text.as_slice();
    while !left.is_empty() {
        left = &left[rustix::io::write(&order, left).or_fail(doing)?..];
    }
    rustix::fs::seek(&order, rustix::fs::SeekFrom::Start(0)).or_fail(doing)?;
    let program = host::own_program()?;
    host::silence(setup.null.as_fd())?;
    let needed: Vec<Number> = numbers(setup).chain([Number::from(&order)]).collect();
    sys::close_all_but(needed.iter().copied().chain([Number::from(&program)]));
    for number in &needed {
        sys::keep_over_exec(number.as_fd()).or_fail(doing)?;
    }
    let argv = [c"gousse".to_owned(), word(SETUP), word(&Number::from(&order).to_string())];
    Err(format!("{doing}: {}", plain(&sys::execve_fd(program.as_fd(), &argv, &[]))))
}

/// The rest of the set-up, in a program that knows nothing but its order.
pub fn go_on(order: &str) -> ! {
    let Some(order) = order.parse().ok().filter(|number| *number > 2).map(sys::inherited) else { sys::exit(128) };
    let text = host::read(order).unwrap_or_default();
    let Ok(mut setup) = serde_json::from_slice::<Setup<'static>>(&text) else { sys::exit(128) };
    let sync = setup.sync;
    let compiled = match setup.spec.privileged {
        true => Ok(Vec::new()),
        false => crate::seccomp::program(&setup.spec.seccomp, &setup.spec.capabilities),
    };
    let failed = compiled.map_err(|error| error.to_string()).and_then(|filter| {
        setup.filter = filter;
        carry_out(setup)
    });
    give_up(sync, &failed.expect_err("success does not return"))
}

/// Goes on as a child in the PID namespace joined before, with the same rights. The one that stays behind
/// says who it is. (A profile that refuses clone, sendmsg or setsid cannot be used here.)
pub fn step_inside(sync: BorrowedFd<'_>) -> Result<()> {
    match sys::clone_plain(libc::CLONE_PARENT).or_fail("cloning into the PID namespace")? {
        Cloned::Child => {
            let _ = rustix::process::setsid();
            Ok(())
        }
        Cloned::Parent { pidfd, .. } => {
            let _ = channel::send(sync, &[MOVED], &[pidfd.as_fd()]);
            sys::exit(0)
        }
    }
}

/// All that the init of a shared PID namespace needs.
pub struct Init<'a> {
    pub join: Join,
    pub namespaces: Vec<(BorrowedFd<'a>, i32)>,
    pub template: BorrowedFd<'a>,
    pub null: BorrowedFd<'a>,
    pub filter: Vec<libc::sock_filter>,
    /// Takes the namespace's /proc, or why there is none.
    pub told: BorrowedFd<'a>,
}

/// Becomes the init of a shared PID namespace: this program anew, so that nothing of the supervisor's
/// memory is there, in the minimal mount namespace and without rights. Containers may look into it.
pub fn init(init: &Init<'_>) -> ! {
    let failed = become_init(init).expect_err("success does not return");
    give_up(init.told, &failed)
}

fn become_init(init: &Init<'_>) -> Result<Infallible> {
    begin();
    host::Opened::new(&init.join, None)?.join_late()?;
    // Made by the first process of the namespace, for all containers that will live there.
    let proc = root::fresh_proc().or_fail("making /proc")?;
    channel::send(init.told, &[super::PROC], &[proc.as_fd()]).or_fail("handing over /proc")?;
    for (fd, kind) in &init.namespaces {
        sys::setns(*fd, *kind).or_fail("joining the sandbox's namespaces")?;
    }
    let program = host::own_program()?;
    host::silence(init.null)?;
    sys::close_on_exec_from(3);
    sys::setns(init.template, libc::CLONE_NEWNS).or_fail("entering the private mount namespace")?;
    identity::renounce(&init.filter)?;
    Err(plain(&sys::execve_fd(program.as_fd(), &[c"gousse".to_owned(), word(INIT)], &[])))
}

/// The whole life of the init of a shared PID namespace: reap what is left to it.
pub fn sandbox_init() -> ! {
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    let _ = rustix::thread::set_name(c"gousse-init");
    sys::close_from(0);
    sys::reap_for_ever()
}

/// All that an order names.
fn numbers(setup: &Setup<'_>) -> impl Iterator<Item = Number> {
    let of_place: Vec<Number> = match &setup.place {
        Home::Running(target) => vec![*target],
        Home::New(birth) => {
            let shared = [birth.shm, birth.mqueue, birth.proc].into_iter().flatten();
            let namespaces = birth.namespaces.iter().map(|(number, _)| *number);
            shared.chain(namespaces).chain([birth.template]).collect()
        }
    };
    let own = [setup.sync, setup.null].into_iter().chain(setup.beside);
    own.chain(setup.streams.numbers()).chain(of_place)
}

fn word(text: &str) -> CString {
    CString::new(text).expect("a plain word")
}
