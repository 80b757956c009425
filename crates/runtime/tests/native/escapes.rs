//! The suite `escapes`: every known way out of a container, tried against the real engine.
//!
//! Each test is an attack that worked somewhere once: here before it was mended, or in another runtime
//! (docs/security.md has the table, with what is tried elsewhere). None may end in anything but a clear
//! error or a harmless success.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use runtime::engine::Engine;
use runtime::native::NativeEngine;
use runtime::*;

use super::Test;
use super::stage::{self, Stage, exec};

pub const TESTS: &[Test] = &[
    ("escapes_exec_whose_working_folder_became_a_descriptor_is_refused", exec_folder),
    ("escapes_working_folder_through_a_descriptor_is_refused", folder),
    ("escapes_command_through_a_descriptor_runs_nothing_of_the_host", command),
    ("escapes_stdin_is_dev_null_whatever_the_container_put_there", null),
    ("escapes_masks_hold_whatever_dev_null_is", mask_source),
    ("escapes_proc_of_an_image_that_is_a_link_is_refused", proc_link),
    ("escapes_nothing_is_mounted_over_proc_but_what_lxcfs_shows", over_proc),
    ("escapes_terminal_comes_from_a_real_devpts_or_not_at_all", terminals),
    ("escapes_console_covers_no_file_of_a_volume", console),
    ("escapes_mounts_of_a_container_reach_no_peer_on_the_host", peers),
    ("escapes_ids_that_mean_as_it_is_are_refused", ids),
    ("escapes_set_ups_show_neighbours_no_rights_and_no_secret", stalked),
    ("escapes_words_of_a_set_up_that_a_neighbour_speaks_hold_nobody_up", forged),
    ("escapes_old_socket_call_does_not_go_round_the_filter", old_sockets),
    ("escapes_no_abstract_socket_of_the_runtime_is_there", abstract_sockets),
    ("escapes_mount_points_that_are_no_text_keep_nothing_from_starting", odd_mounts),
    ("escapes_links_of_an_image_lead_nowhere_but_into_it", image_links),
    ("escapes_folders_swapped_while_they_are_mounted_lead_nowhere", swapped),
    ("escapes_exec_is_who_the_container_is", same_identity),
    ("escapes_primary_group_is_not_shed_by_a_program_that_sets_its_own", groups),
    ("escapes_no_namespace_is_made_without_the_right_to", namespaces),
    ("plain_working_folders_and_links_go_on_working", plain_folders),
    ("terminals_work_in_a_shared_pid_namespace", shared_terminals),
];

/// Numbers that a descriptor of the runtime could have.
const NUMBERS: std::ops::Range<u32> = 0..48;

fn started(
    stage: &Stage,
    engine: &NativeEngine,
    name: &str,
    argv: &[&str],
    change: impl FnOnce(&mut SandboxSpec, &mut ContainerSpec),
) -> ContainerId {
    let (sandbox, mut sandbox_spec) = stage.sandbox(name);
    let (id, mut spec) = stage.container(name, argv);
    change(&mut sandbox_spec, &mut spec);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        engine.start_container(&id).await.unwrap();
    });
    id
}

/// The start error of a container that is to have one, or what it put out.
fn outcome(
    stage: &Stage,
    name: &str,
    argv: &[&str],
    change: impl FnOnce(&mut ContainerSpec),
) -> Result<String, String> {
    let engine = stage.engine();
    let (_, mut spec) = stage.container(name, argv);
    change(&mut spec);
    let exit = stage.run(&engine, name, spec);
    match exit.start_error.is_empty() {
        true => Ok(stage.logged(name, "stdout") + &stage.logged(name, "stderr")),
        false => Err(exit.start_error),
    }
}

/// Runs a container in a sandbox that others ran in before, and forgets it: all find the same numbers.
fn attempt(stage: &Stage, engine: &NativeEngine, sandbox: &SandboxId, spec: ContainerSpec) -> Exit {
    let (id, _) = stage.container("attempt", &[]);
    stage.block_on(async {
        engine.create_container(sandbox, &id, spec).await.unwrap();
        let _ = engine.start_container(&id).await;
        let exit = stage::wait_for_exit(engine, &id).await;
        engine.remove_container(&id).await.unwrap();
        exit
    })
}

fn volume(stage: &Stage, name: &str, target: &str) -> (PathBuf, Mount) {
    let folder = stage.folder.join("volumes").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    (folder.clone(), Mount { source: MountSource::Host(folder), target: target.into(), ..Mount::default() })
}

/// As a container would, which owns the volume.
fn relink(link: &Path, target: &str) {
    let _ = std::fs::remove_file(link);
    let _ = std::fs::remove_dir(link);
    symlink(target, link).unwrap();
}

fn exec_folder(stage: &Stage) {
    let engine = stage.engine();
    let (there, work) = volume(stage, "work", "/volume");
    std::fs::create_dir(there.join("work")).unwrap();
    let id = started(stage, &engine, "cwd", &["wait"], |_, spec| {
        spec.cwd = "/volume/work".into();
        spec.no_new_privileges = true;
        spec.capabilities.clear();
        spec.mounts.push(work);
    });
    let spec = |argv: &[&str]| ExecSpec {
        argv: [&[stage::puppet_name()], argv].concat().into_iter().map(str::to_owned).collect(),
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    };
    for number in NUMBERS {
        relink(&there.join("work"), &format!("/proc/self/fd/{number}"));
        let refused = stage.block_on(engine.exec(&id, spec(&["ls", "."]))).err();
        let text = refused.unwrap_or_else(|| panic!("descriptor {number} became a working folder")).to_string();
        assert!(text.starts_with("chdir to cwd (\"/volume/work\") set in config.json failed: "), "{text}");
    }
    for link in ["/proc/self/cwd", "/proc/1/root/..", "/proc/thread-self/fd/5", "/nowhere"] {
        relink(&there.join("work"), link);
        assert!(stage.block_on(engine.exec(&id, spec(&["ls", "."]))).is_err(), "{link}");
    }
    relink(&there.join("work"), "/tmp");
    assert_eq!(stage.block_on(exec(&engine, &id, &["ls", "."])).0, "\n", "an ordinary link is followed");
}

fn folder(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, sandbox_spec) = stage.sandbox("folder");
    stage.block_on(engine.run_sandbox(&sandbox, sandbox_spec)).unwrap();
    for number in NUMBERS {
        let (_, sys) = volume(stage, &format!("sys{number}"), "/sys");
        let (_, mut spec) = stage.container("attempt", &["ls", "."]);
        spec.cwd = format!("/proc/self/fd/{number}").into();
        spec.mounts.push(sys);
        let refused = attempt(stage, &engine, &sandbox, spec).start_error;
        let known = ["mkdir /proc/self/fd", "chdir to cwd (\"/proc/self/fd"];
        assert!(known.iter().any(|text| refused.starts_with(text)), "descriptor {number}: {refused:?}");
    }
}

fn command(stage: &Stage) {
    let engine = stage.engine();
    // A program of the host, at a place that no image has; static, and with this argument it just ends.
    let program = std::env::current_exe().unwrap();
    let program = program.strip_prefix("/").unwrap().display();
    let up = "../".repeat(16);
    let argv = |number: u32| vec![format!("/proc/self/fd/{number}/{up}{program}"), "--list".to_owned()];
    let id = started(stage, &engine, "command", &["wait"], |_, _| {});
    let (sandbox, _) = stage.sandbox("command");
    for number in NUMBERS {
        let (_, spec) = stage.container("attempt", &[]);
        let exit = attempt(stage, &engine, &sandbox, ContainerSpec { argv: argv(number), ..spec });
        assert_ne!(exit.start_error, "", "descriptor {number} led to a program of the host: {exit:?}");
        let spec = ExecSpec { argv: argv(number), stdout: true, ..ExecSpec::default() };
        assert!(stage.block_on(engine.exec(&id, spec)).is_err(), "descriptor {number} led to a program of the host");
    }
}

fn null(stage: &Stage) {
    let engine = stage.engine();
    let id = started(stage, &engine, "null", &["wait"], |_, _| {});
    let other = started(stage, &engine, "other", &["wait"], |_, spec| spec.user.uid = 1000);
    let links = NUMBERS.map(|number| format!("/proc/self/fd/{number}"));
    let links = links.chain(["/proc/kmsg", "/proc/timer_list", "/proc/1/mem", "/nowhere"].map(str::to_owned));
    stage.block_on(async {
        assert_eq!(exec(&engine, &id, &["stdin"]).await.0, "true true /dev/null\n");
        for link in links {
            assert_eq!(exec(&engine, &id, &["replace", "/dev/null", &link]).await.0, "replaced\n");
            assert_eq!(exec(&engine, &id, &["stdin"]).await.0, "true true /dev/null\n", "{link}");
        }
        exec(&engine, &id, &["replace-by-fifo", "/dev/null"]).await;
        assert_eq!(exec(&engine, &id, &["stdin"]).await.0, "true true /dev/null\n");
        // Nor is it changed for others.
        assert!(exec(&engine, &id, &["lock-stdin"]).await.0.contains("Read-only file system"));
        assert_eq!(exec(&engine, &other, &["stdin"]).await.0, "true true /dev/null\n");
    });
}

fn mask_source(stage: &Stage) {
    for (name, target) in [("timers", "/proc/timer_list"), ("keys", "/proc/keys"), ("absent", "/nowhere")] {
        let (there, dev) = volume(stage, name, "/dev");
        symlink(target, there.join("null")).unwrap();
        let seen = outcome(stage, name, &["cat", "/proc/timer_list", "/proc/keys"], |spec| {
            spec.masked_paths.push("/proc/timer_list".into());
            spec.mounts.push(dev);
        });
        assert_eq!(seen.as_deref(), Ok(""), "{name}");
    }
}

fn proc_link(stage: &Stage) {
    for name in ["proc", "sys"] {
        let image = stage.load(&format!("linked-{name}:1"), |layer| stage::link(layer, name, "/data/l"));
        let (there, data) = volume(stage, name, "/data");
        symlink("/tmp", there.join("l")).unwrap();
        let seen = outcome(stage, name, &["write", &format!("/{name}/x"), "x"], |spec| {
            spec.image = image;
            spec.mounts.push(data);
        });
        assert_eq!(seen, Err(format!("mounting /{name}: it is not a folder in the image")));
    }
}

fn over_proc(stage: &Stage) {
    let linked = stage.load("links-to-proc:1", |layer| stage::link(layer, "way", "/proc/sys"));
    for (number, target) in
        ["/proc", "/proc/", "/proc/self", "/proc/sys", "/proc/1/attr", "/way/kernel", "/tmp/../proc/net"]
            .into_iter()
            .enumerate()
    {
        let (_, data) = volume(stage, "data", target);
        let refused = outcome(stage, &format!("n{number}"), &["exit", "0"], |spec| {
            spec.image = linked.clone();
            spec.mounts.push(data);
        });
        let text = refused.expect_err(target);
        assert!(
            text.contains("only another /proc can be mounted on /proc") || text.contains("it is inside /proc"),
            "{text}"
        );
    }
    let meminfo = stage.folder.join("meminfo");
    std::fs::write(&meminfo, "lxcfs").unwrap();
    let shown = Mount { source: MountSource::Host(meminfo), target: "/proc/meminfo".into(), ..Mount::default() };
    assert_eq!(
        outcome(stage, "lxcfs", &["cat", "/proc/meminfo"], |spec| spec.mounts.push(shown)).as_deref(),
        Ok("lxcfs")
    );
    let hosts = Mount { source: MountSource::Host("/proc".into()), target: "/proc".into(), ..Mount::default() };
    let seen = outcome(stage, "hosts", &["cat", "/proc/keys"], |spec| spec.mounts.push(hosts));
    assert_eq!(seen.as_deref(), Ok(""), "the host's own /proc, masked");
}

fn terminals(stage: &Stage) {
    let engine = stage.engine();
    let exec = |id: &ContainerId| {
        let argv = vec![stage::puppet_name().to_owned(), "exit".into(), "0".into()];
        stage.block_on(engine.exec(id, ExecSpec { argv, tty: true, stdin: true, stdout: true, ..ExecSpec::default() }))
    };
    for (name, target) in [("link", "/proc/1/fd/1"), ("nowhere", "/nowhere"), ("host", "/proc/self/fd/5")] {
        let (there, pts) = volume(stage, name, "/dev/pts");
        symlink(target, there.join("ptmx")).unwrap();
        let id = started(stage, &engine, name, &["wait"], |_, spec| spec.mounts.push(pts));
        let refused = exec(&id).err().unwrap().to_string();
        assert_eq!(refused, "the container's /dev/pts has no terminals: something else is mounted there");
    }
    let (there, dev) = volume(stage, "dev", "/dev");
    symlink("/proc/self/fd/4", there.join("pts")).unwrap();
    let id = started(stage, &engine, "dev", &["wait"], |_, spec| spec.mounts.push(dev));
    assert!(exec(&id).is_err());
}

fn console(stage: &Stage) {
    let (there, dev) = volume(stage, "dev", "/dev");
    std::fs::write(there.join("mark"), "mark").unwrap();
    symlink("/dev/mark", there.join("console")).unwrap();
    let seen = outcome(stage, "console", &["cat", "/dev/mark"], |spec| {
        spec.tty = true;
        spec.mounts.push(dev);
    });
    assert_eq!(seen.as_deref(), Ok("mark"), "nothing was mounted over it");
}

fn peers(stage: &Stage) {
    let run = |args: &[&str]| assert!(std::process::Command::new("mount").args(args).status().unwrap().success());
    // As systemd leaves it on a host; a namespace of a test begins private.
    run(&["--make-rshared", "/"]);
    for (name, privileged) in [("plain", false), ("privileged", true)] {
        let seen = outcome(stage, name, &["mounts-of-peers"], |spec| {
            spec.privileged = privileged;
            let image = spec.image.clone();
            spec.mounts.push(Mount { source: MountSource::Image(image), target: "/image".into(), ..Mount::default() });
        });
        assert_eq!(seen.as_deref(), Ok(""), "{name}");
    }
    let engine = stage.engine();
    let (id, mut spec) = stage.container("ipc", &["mounts-of-peers"]);
    spec.privileged = true;
    let (sandbox, sandbox_spec) = stage.sandbox("ipc");
    stage.run_in(&engine, &sandbox, SandboxSpec { ipc: Share::Host, ..sandbox_spec }, "ipc", spec);
    assert_eq!(stage.logged("ipc", "stdout"), "", "{id:?}");
    run(&["--make-rprivate", "/"]);
}

fn ids(stage: &Stage) {
    let engine = stage.engine();
    let none = u32::MAX;
    let users = [
        ("user", User { uid: none, gid: 1, groups: vec![] }),
        ("group", User { uid: 1, gid: none, groups: vec![] }),
        ("supplementary group", User { uid: 1, gid: 1, groups: vec![2, none] }),
    ];
    let (sandbox, spec) = stage.sandbox("ids");
    stage.block_on(engine.run_sandbox(&sandbox, spec)).unwrap();
    for (what, user) in users {
        let (id, spec) = stage.container("ids", &["cat", "/proc/self/status"]);
        let refused = stage.block_on(engine.create_container(&sandbox, &id, ContainerSpec { user, ..spec }));
        let text = format!("{what} {none} cannot be used: the kernel takes that number for none");
        assert_eq!(refused.unwrap_err().to_string(), text);
    }
}

fn stalked(stage: &Stage) {
    let engine = stage.engine();
    started(stage, &engine, "victim", &["wait"], |_, spec| {
        spec.env.push(("TOKEN".into(), "a-secret-of-another-pod".into()));
    });
    for pid in [Share::Sandbox, Share::Private] {
        let shared = pid == Share::Sandbox;
        let id = started(stage, &engine, "stalker", &["stalk", "a-secret"], |sandbox, spec| {
            sandbox.pid = pid;
            spec.capabilities.push(if shared { "SYS_PTRACE" } else { "CAP_SYS_PTRACE" }.into());
        });
        stage::eventually("it looks", || stage.logged("stalker", "stdout").starts_with("looking\n"));
        let (sandbox, _) = stage.sandbox("stalker");
        stage.block_on(async {
            for _ in 0..stage::times(40) {
                assert_eq!(exec(&engine, &id, &["exit", "4"]).await.2, 4);
            }
            for number in 0..if shared { stage::times(15) } else { 0 } {
                let (other, spec) = stage.container(&format!("beside{number}"), &["exit", "5"]);
                let spec = ContainerSpec { no_new_privileges: number % 2 == 0, ..spec };
                engine.create_container(&sandbox, &other, spec).await.unwrap();
                engine.start_container(&other).await.unwrap();
                assert_eq!(stage::wait_for_exit(&engine, &other).await.code, 5);
            }
            engine.remove_sandbox(&sandbox).await.unwrap();
        });
        assert_eq!(stage.logged("stalker", "stdout"), "looking\n", "shared: {shared}");
        std::fs::remove_file(stage.log_path("stalker")).unwrap();
    }
}

fn forged(stage: &Stage) {
    let engine = stage.engine();
    let bystander = started(stage, &engine, "bystander", &["wait"], |_, _| {});
    for pid in [Share::Sandbox, Share::Private] {
        let id = started(stage, &engine, "forger", &["forge"], |sandbox, spec| {
            sandbox.pid = pid;
            spec.capabilities.push("SYS_PTRACE".into());
        });
        stage::eventually("it forges", || stage.logged("forger", "stdout").starts_with("forging\n"));
        let (sandbox, _) = stage.sandbox("forger");
        let mut told = 0;
        stage.block_on(async {
            // Until it was heard at least once: it has to be quick, quicker than an emulated machine may be.
            for number in 0.. {
                let argv = [stage::puppet_name(), "exit", "4"].map(str::to_owned).to_vec();
                match engine.exec(&id, ExecSpec { argv, stdout: true, ..ExecSpec::default() }).await {
                    Ok(session) => drop(session.exit.await),
                    Err(error) => told += u32::from(error.to_string() == INTERFERED),
                }
                if pid == Share::Sandbox {
                    let (other, spec) = stage.container(&format!("beside{number}"), &["exit", "5"]);
                    engine.create_container(&sandbox, &other, spec).await.unwrap();
                    let begun = engine.start_container(&other).await;
                    let exit = stage::wait_for_exit(&engine, &other).await;
                    assert!(begun.is_ok() || exit.code == 128, "{begun:?} {exit:?}");
                    told += u32::from(exit.start_error == INTERFERED);
                    engine.remove_container(&other).await.unwrap();
                }
                assert_eq!(exec(&engine, &bystander, &["exit", "6"]).await.2, 6);
                if number >= stage::times(20) && (told > 0 || stage::is_emulated()) {
                    break;
                }
            }
            engine.remove_sandbox(&sandbox).await.unwrap();
        });
        std::fs::remove_file(stage.log_path("forger")).unwrap();
    }
}

const INTERFERED: &str = "another process of the pod interfered with the set-up";

fn old_sockets(stage: &Stage) {
    for family in [libc::AF_VSOCK, libc::AF_ALG, libc::AF_INET] {
        let seen = outcome(stage, &format!("family{family}"), &["socketcall", &family.to_string()], |_| {});
        assert_eq!(seen, Ok(format!("{}\n", -libc::ENOSYS)), "family {family}");
    }
    // The way back that docs/seccomp.md names.
    #[cfg(target_arch = "x86_64")]
    {
        let profile = include_str!("../../../../examples/seccomp-i386.json");
        let seen = outcome(stage, "i386", &["socketcall", &libc::AF_UNIX.to_string()], |spec| {
            spec.seccomp = Seccomp::Profile(profile.into());
        });
        assert!(seen.as_ref().is_ok_and(|seen| !seen.starts_with('-')), "a descriptor: {seen:?}");
    }
}

fn abstract_sockets(stage: &Stage) {
    let engine = stage.engine();
    let spec = SandboxSpec { cgroup: format!("{}/pod-host", stage.cgroup), ..SandboxSpec::default() };
    // One of the host's that listens: without it nothing would show that the attacker tries.
    let name = SocketAddr::from_abstract_name("listens").unwrap();
    let _listener = UnixListener::bind_addr(&name).unwrap();
    let (id, container) = stage.container("host", &["connect-abstract"]);
    let exit = stage.run_in(&engine, &SandboxId(id.0.clone()), spec, "host", container);
    assert_eq!(exit.code, 0);
    let seen = stage.logged("host", "stdout");
    // Sockets that take credentials get a name when they send; they are connected, and take nobody else.
    assert_eq!(seen.trim_end(), "listens: stream");
}

/// Any user of the host can make one, with fusermount.
fn odd_mounts(stage: &Stage) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let odd = stage.folder.join(OsStr::from_bytes(b"odd \xff\xfe\\040\n"));
    let (there, shared) = volume(stage, "shared", "/shared");
    std::fs::create_dir(&odd).unwrap();
    for folder in [&odd, &there] {
        let args = ["-t", "tmpfs", "--make-shared", "odd"].map(OsStr::new);
        assert!(std::process::Command::new("mount").args(args).arg(folder).status().unwrap().success());
    }
    let seen = outcome(stage, "odd", &["write", "/shared/x", "x"], |spec| {
        spec.privileged = true;
        spec.mounts.push(Mount { propagation: Propagation::Bidirectional, ..shared });
    });
    for folder in [&odd, &there] {
        assert!(std::process::Command::new("umount").arg(folder).status().unwrap().success());
    }
    assert_eq!(seen.as_deref(), Ok("done\n"));
}

/// Names that the set-up itself makes or fills, as links of an image to a folder of the host.
fn image_links(stage: &Stage) {
    let host = stage.folder.join("hosts-own");
    std::fs::create_dir(&host).unwrap();
    let up = format!("/../../../../../../..{}", host.display());
    for (number, name) in ["dev", "etc", "run", "tmp", "dev/pts", "dev/shm", "var"].iter().enumerate() {
        for (kind, target) in
            [("absolute", host.display().to_string()), ("dots", up.clone()), ("root", "/proc/1/root".into())]
        {
            let image = stage.load(&format!("links:{number}-{kind}"), |layer| {
                stage::link(layer, &format!("x/{name}"), &target);
                if !["dev/pts", "dev/shm", "etc", "tmp"].contains(name) {
                    stage::link(layer, name, &target);
                }
            });
            let file = stage.folder.join("file");
            std::fs::write(&file, "").unwrap();
            let given = |target: &str| Mount {
                source: MountSource::Host(file.clone()),
                target: target.into(),
                ..Mount::default()
            };
            // Works or not, as the link may have it; what counts is the host.
            let _ = outcome(stage, &format!("{kind}{number}"), &["exit", "0"], |spec| {
                spec.image = image;
                spec.cwd = format!("/x/{name}/work").into();
                spec.tty = number % 2 == 0;
                spec.mounts.extend([given(&format!("/{name}/a/file")), given(&format!("/x/{name}/file"))]);
            });
            let left: Vec<_> = std::fs::read_dir(&host).unwrap().flatten().map(|entry| entry.file_name()).collect();
            assert!(left.is_empty(), "{name} {kind}: {left:?} on the host");
        }
    }
}

/// Another container that shares the volume exchanges a folder with a link while mounts are made in it
/// (CVE-2021-30465, CVE-2021-25741, CVE-2024-45310).
fn swapped(stage: &Stage) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};
    let host = stage.folder.join("hosts-own");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("mark"), "the host's").unwrap();
    let (there, shared) = volume(stage, "shared", "/shared");
    std::fs::create_dir_all(there.join("a/sub")).unwrap();
    std::fs::write(there.join("a/sub/mark"), "the volume's").unwrap();
    symlink(&host, there.join("b")).unwrap();
    let engine = stage.engine();
    let (sandbox, sandbox_spec) = stage.sandbox("swapped");
    stage.block_on(engine.run_sandbox(&sandbox, sandbox_spec)).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, there.join("a"), CWD, there.join("b"), RenameFlags::EXCHANGE);
            }
        });
        for round in 0..stage::times(60) {
            let sub_path = Some(if round % 2 == 0 { "a/sub".into() } else { "a".into() });
            let sub = Mount { sub_path, target: "/sub".into(), ..shared.clone() };
            let (_, inner) = volume(stage, "inner", "/shared/a/made/inside");
            let (_, mut spec) = stage.container("attempt", &["cat", "/sub/mark", "/shared/a/mark"]);
            spec.mounts.extend([shared.clone(), sub, inner]);
            spec.cwd = "/shared/a".into();
            attempt(stage, &engine, &sandbox, spec);
        }
        over.store(true, Ordering::Relaxed);
    });
    let seen = std::fs::read_to_string(stage.log_path("attempt")).unwrap_or_default();
    assert!(seen.contains("the volume's") && !seen.contains("the host's"), "{seen}");
    let left: Vec<_> = std::fs::read_dir(&host).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["mark"]);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("hosts-own") && !mounts.contains("/volumes/"), "{mounts}");
}

fn same_identity(stage: &Stage) {
    let engine = stage.engine();
    for (name, pid) in [("own", Share::Private), ("shared", Share::Sandbox)] {
        let id = started(stage, &engine, name, &["status-and-wait"], |sandbox, spec| {
            sandbox.pid = pid;
            spec.user = User { uid: 1001, gid: 3003, groups: vec![7, 8] };
            spec.no_new_privileges = true;
            spec.ambient_capabilities = vec!["NET_BIND_SERVICE".into()];
        });
        stage::eventually("it has told", || stage.logged(name, "stdout").contains("Seccomp:"));
        let told = |text: &str| {
            let of_it = ["Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:"];
            let lines = text.lines().filter(|line| of_it.iter().any(|start| line.starts_with(start)));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let first = told(&stage.logged(name, "stdout"));
        assert!(first.len() > 9 && first.iter().any(|line| line.ends_with("7 8 3003 ")), "{first:?}");
        assert_eq!(told(&stage.block_on(exec(&engine, &id, &["cat", "/proc/self/status"])).0), first, "{name}");
    }
}

fn groups(stage: &Stage) {
    let seen = outcome(stage, "groups", &["cat", "/proc/self/status"], |spec| {
        spec.user = User { uid: 1001, gid: 3003, groups: vec![] };
    });
    assert!(seen.unwrap().contains("Groups:\t3003 \n"));
}

fn namespaces(stage: &Stage) {
    let seen = outcome(stage, "namespaces", &["namespaces"], |_| {});
    assert_eq!(seen.as_deref(), Ok("[-1, -1, -1] Operation not permitted (os error 1)\n"));
}

fn plain_folders(stage: &Stage) {
    let cwd = |name: &str, cwd: &str| {
        let seen = outcome(stage, name, &["env"], |spec| spec.cwd = cwd.into()).unwrap();
        seen.lines().find_map(|line| line.strip_prefix("cwd=").map(str::to_owned)).unwrap()
    };
    assert_eq!(cwd("plain", "/tmp"), "/tmp");
    assert_eq!(cwd("made", "/made/now"), "/made/now");
    assert_eq!(cwd("dots", "/tmp/../etc/./"), "/etc");
    assert_eq!(cwd("proc", "/proc/self/../sys"), "/proc/sys");
    let image = stage.load("linked-folder:1", |layer| stage::link(layer, "srv", "/data"));
    let seen = outcome(stage, "link", &["env"], |spec| (spec.image, spec.cwd) = (image, "/srv/x".into())).unwrap();
    assert!(seen.contains("cwd=/data/x\n"), "{seen}");
}

fn shared_terminals(stage: &Stage) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let engine = stage.engine();
    let id = started(stage, &engine, "shared", &["terminal"], |sandbox, spec| {
        sandbox.pid = Share::Sandbox;
        (spec.tty, spec.stdin) = (true, true);
    });
    stage::eventually("it has a terminal", || stage.logged("shared", "stdout").contains("terminal true"));
    let argv = vec![stage::puppet_name().to_owned(), "terminal".into()];
    let spec = ExecSpec { argv, tty: true, stdin: true, stdout: true, size: Some((81, 25)), ..ExecSpec::default() };
    stage.block_on(async {
        let mut session = engine.exec(&id, spec).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"7\n").await.unwrap();
        let mut seen = String::new();
        session.stdout.unwrap().read_to_string(&mut seen).await.unwrap();
        assert!(seen.contains("terminal true 81x25"), "{seen}");
        assert_eq!(session.exit.await.unwrap().unwrap(), 7);
    });
}
