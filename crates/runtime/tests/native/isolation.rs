//! What a container sees of the machine and of its neighbours, and what it may do.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use runtime::engine::Engine;
use runtime::native::NativeEngine;
use runtime::*;

use super::Test;
use super::stage::{self, Stage, exec};

pub const TESTS: &[Test] = &[
    ("ordinary_container_has_few_rights_and_privileged_one_has_all", rights),
    ("masked_and_read_only_paths_are_so_and_not_for_privileged_ones", masks),
    ("devices_of_the_host_do_not_open", devices),
    ("ipc_is_shared_inside_a_sandbox_and_not_across", ipc),
    ("names_and_networks_are_the_sandboxes_own", names),
    ("namespaces_of_the_host_are_joined_on_request", host_namespaces),
    ("no_descriptor_of_the_runtime_leaks", descriptors),
    ("mounts_stay_inside_the_root_whatever_links_say", links),
    ("sub_paths_do_not_leave_their_volume", sub_paths),
    ("new_sub_paths_are_as_open_as_their_volume", sub_path_modes),
    ("read_only_root_and_mounts_refuse_writes", read_only),
    ("recursive_read_only_covers_mounts_below", recursive_read_only),
    ("mounts_below_what_only_the_node_writes_get_their_places", hosted_mounts),
    ("declared_volumes_are_the_containers_own_with_the_images_content", own_volumes),
    ("propagation_is_as_asked", propagation),
    ("system_calls_are_filtered_by_default", filtered),
    ("profile_that_refuses_what_a_set_up_does_still_starts", tight_profile),
    ("shared_init_has_no_rights_and_no_way_to_the_host", shared_init),
    ("tracer_in_a_container_finds_no_way_to_the_host_in_what_starts_beside_it", onlooker),
    ("own_program_cannot_be_written_through_proc", own_program),
];

/// Output of one run.
fn output(stage: &Stage, name: &str, argv: &[&str], change: impl FnOnce(&mut ContainerSpec)) -> String {
    let engine = stage.engine();
    let (_, mut spec) = stage.container(name, argv);
    change(&mut spec);
    let exit = stage.run(&engine, name, spec);
    assert_eq!(exit.start_error, "");
    stage.logged(name, "stdout") + &stage.logged(name, "stderr")
}

fn privileged(spec: &mut ContainerSpec) {
    spec.privileged = true;
    spec.capabilities.clear();
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
}

fn rights(stage: &Stage) {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let plain = output(stage, "plain", &["cat", "/proc/self/status"], |_| {});
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(&plain, set), 0xa804_25fb, "{set}");
    }
    assert!(plain.contains("THP_enabled:\t1"), "{plain}");
    assert_eq!((field(&plain, "CapInh"), field(&plain, "CapAmb"), field(&plain, "Seccomp")), (0, 0, 2));
    let all = output(stage, "all", &["cat", "/proc/self/status"], privileged);
    assert_eq!((field(&all, "CapEff"), field(&all, "Seccomp")), (field(&own, "CapEff"), 0));
    let ambient = output(stage, "ambient", &["cat", "/proc/self/status"], |spec| {
        spec.user.uid = 1000;
        spec.ambient_capabilities = vec!["NET_BIND_SERVICE".into()];
    });
    assert_eq!((field(&ambient, "CapEff"), field(&ambient, "CapAmb")), (1 << 10, 1 << 10));
}

fn masks(stage: &Stage) {
    assert_eq!(output(stage, "files", &["cat", "/proc/keys"], |_| {}), "");
    assert_eq!(output(stage, "folder", &["ls", "/sys/firmware"], |_| {}), "\n");
    let refused = output(stage, "sys", &["write", "/proc/sys/kernel/domainname", "x"], |_| {});
    assert!(refused.contains("Read-only file system"), "{refused}");
    let refused = output(stage, "cgroup", &["write", "/sys/fs/cgroup/memory/tasks", "0"], |_| {});
    assert!(refused.contains("Read-only") || refused.contains("No such file"), "{refused}");
    assert_ne!(output(stage, "open", &["cat", "/proc/keys"], privileged), "");
    assert_eq!(output(stage, "write", &["write", "/proc/sys/kernel/domainname", "x"], privileged), "done\n");
}

fn devices(stage: &Stage) {
    let root = std::fs::metadata("/").unwrap();
    let number = std::os::unix::fs::MetadataExt::dev(&root);
    let (major, minor) = (libc::major(number).to_string(), libc::minor(number).to_string());
    let seen = output(stage, "plain", &["open-device", &major, &minor], |_| {});
    assert_eq!(seen, "made true\nopen false\n");
    let seen = output(stage, "nodes", &["ls", "/dev"], |_| {});
    let nodes = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n";
    assert_eq!(seen, nodes);
    assert_eq!(output(stage, "null", &["write", "/dev/null", "x"], |spec| spec.user.uid = 1000), "done\n");
    let host = std::fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.file_name());
    let seen = output(stage, "all", &["ls", "/dev"], privileged);
    let other = host.filter(|name| !nodes.contains(&*name.to_string_lossy()) && *name != "console");
    for name in other.map(|name| name.to_string_lossy().into_owned()) {
        let node = std::fs::symlink_metadata(Path::new("/dev").join(&name)).unwrap().file_type();
        let is_node = std::os::unix::fs::FileTypeExt::is_char_device(&node);
        assert!(!is_node || seen.split_whitespace().any(|seen| seen == name), "{name} in {seen}");
    }
}

fn ipc(stage: &Stage) {
    let engine = stage.engine();
    let run = |sandbox: &str, name: &str, argv: &[&str], ipc: Share| {
        let (id, mut spec) = stage.sandbox(sandbox);
        spec.ipc = ipc;
        let (_, container) = stage.container(name, argv);
        stage.run_in(&engine, &id, spec, name, container);
        stage.logged(name, "stdout")
    };
    assert_eq!(run("one", "make", &["segment", "make"], Share::Private), "there\n");
    assert_eq!(run("one", "same", &["segment", "find"], Share::Private), "there\n");
    assert_eq!(run("two", "other", &["segment", "find"], Share::Private), "absent\n");
    assert_eq!(run("host", "host", &["segment", "find"], Share::Host), "absent\n");
    assert_eq!(run("one", "shm-write", &["write", "/dev/shm/x", "shared"], Share::Private), "done\n");
    assert_eq!(run("one", "shm-read", &["cat", "/dev/shm/x"], Share::Private), "shared");
    assert!(run("two", "shm-other", &["cat", "/dev/shm/x"], Share::Private).contains("No such file"));
}

fn names(stage: &Stage) {
    assert_eq!(output(stage, "host", &["host"], |_| {}), "host\n");
    let seen = output(stage, "net", &["cat", "/proc/self/net/dev"], |_| {});
    assert_eq!(seen.lines().skip(2).map(|line| line.trim().split(':').next().unwrap()).collect::<Vec<_>>(), ["lo"]);
    let engine = stage.engine();
    let (id, mut spec) = stage.sandbox("sysctl");
    spec.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "80".into());
    let paths = ["cat", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/net/ipv4/ip_unprivileged_port_start"];
    let (_, container) = stage.container("sysctl", &paths);
    stage.run_in(&engine, &id, spec, "sysctl", container);
    assert_eq!(stage.logged("sysctl", "stdout"), "1\n80\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap(), "0\n");
}

fn host_namespaces(stage: &Stage) {
    let engine = stage.engine();
    let link = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let spec = SandboxSpec {
        ipc: Share::Host,
        pid: Share::Host,
        cgroup: format!("{}/pod-host", stage.cgroup),
        ..SandboxSpec::default()
    };
    let (id, container) = stage.container("host", &["orphan-and-wait"]);
    let sandbox = SandboxId(id.0.clone());
    stage.block_on(async {
        engine.run_sandbox(&sandbox, spec).await.unwrap();
        engine.create_container(&sandbox, &id, container).await.unwrap();
        engine.start_container(&id).await.unwrap();
    });
    stage::eventually("it has begun", || stage.logged("host", "stdout").ends_with('\n'));
    let child: u32 = stage.logged("host", "stdout").trim().parse().unwrap();
    let pid = stage.block_on(stage::find(&engine, &id)).unwrap().pid.unwrap();
    for name in ["ipc", "pid", "net", "uts"] {
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap(), link(name), "{name}");
    }
    assert_ne!(std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap(), link("mnt"));
    let alive = || std::path::Path::new(&format!("/proc/{child}")).exists();
    assert!(alive(), "its child has a number of the host's");
    stage.block_on(async {
        engine.signal(&id, libc::SIGKILL).await.unwrap();
        stage::wait_for_exit(&engine, &id).await;
    });
    stage::eventually("its child has ended too", || !alive());
}

fn descriptors(stage: &Stage) {
    assert_eq!(output(stage, "plain", &["fds"], |_| {}), "0 1 2\n");
    let engine = stage.engine();
    let (sandbox, spec) = stage.sandbox("exec");
    let (id, container) = stage.container("exec", &["wait"]);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, spec).await.unwrap();
        engine.create_container(&sandbox, &id, container).await.unwrap();
        engine.start_container(&id).await.unwrap();
        assert_eq!(exec(&engine, &id, &["fds"]).await.0, "0 1 2\n");
    });
}

/// A mount of a folder of the stage.
fn mount(source: PathBuf, target: &str) -> Mount {
    Mount { source: MountSource::Host(source), target: target.into(), ..Mount::default() }
}

fn links(stage: &Stage) {
    let volume = stage.folder.join("volume");
    let outside = stage.folder.join("outside");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    symlink(&outside, volume.join("absolute")).unwrap();
    symlink("../../../../..", volume.join("up")).unwrap();
    let inner = stage.folder.join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("mark"), "inside").unwrap();
    for (name, target) in [("absolute", "/data/absolute/in"), ("up", "/data/up/in"), ("dots", "/../../in")] {
        let seen = output(stage, name, &["cat", &format!("{target}/mark")], |spec| {
            spec.mounts.push(mount(volume.clone(), "/data"));
            spec.mounts.push(mount(inner.clone(), target));
        });
        assert_eq!(seen, "inside", "{name}");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was made outside");
}

fn sub_paths(stage: &Stage) {
    let volume = stage.folder.join("volume");
    std::fs::create_dir_all(volume.join("deep")).unwrap();
    std::fs::write(volume.join("deep/file"), "deep").unwrap();
    std::fs::write(stage.folder.join("secret"), "secret").unwrap();
    symlink("/secret", volume.join("absolute")).unwrap();
    symlink("../secret", volume.join("up")).unwrap();
    let with = |sub_path: &str| Mount { sub_path: Some(sub_path.into()), ..mount(volume.clone(), "/data/it") };
    let deep = with("deep/file");
    assert_eq!(output(stage, "file", &["cat", "/data/it"], |spec| spec.mounts.push(deep)), "deep");
    let made = with("made/now");
    assert_eq!(output(stage, "made", &["ls", "/data/it"], |spec| spec.mounts.push(made)), "\n");
    assert!(volume.join("made/now").is_dir());
    symlink("deep/../deep", volume.join("round")).unwrap();
    let round = with("round/file");
    assert_eq!(output(stage, "round", &["cat", "/data/it"], |spec| spec.mounts.push(round)), "deep");
    symlink("/nowhere", volume.join("nowhere")).unwrap();
    symlink("deep/../../made-outside", volume.join("new")).unwrap();
    let engine = stage.engine();
    for name in ["absolute", "up", "nowhere", "new", "new/deeper", "deep/../../secret"] {
        assert!(runtime::native::prepare_sub_path(&volume, name.as_ref()).is_err(), "{name}");
        let (_, mut spec) = stage.container("out", &["ls", "/data/it"]);
        spec.mounts.push(with(name));
        let exit = stage.run(&engine, &format!("out-{}", name.replace(['/', '.'], "-")), spec);
        assert!(exit.start_error.contains(&format!("opening sub path {name}: ")), "{exit:?}");
    }
    assert!(!stage.folder.join("made-outside").exists() && !volume.join("nowhere/x").exists());
    runtime::native::prepare_sub_path(&volume, "made/more".as_ref()).unwrap();
    assert!(volume.join("made/more").is_dir());
}

fn sub_path_modes(stage: &Stage) {
    let volume = stage.folder.join("volume");
    for (name, mode, group) in [("open", 0o777, 0), ("group", 0o2775, 2000), ("temporary", 0o1777, 0)] {
        let volume = volume.join(name);
        std::fs::create_dir_all(&volume).unwrap();
        std::os::unix::fs::chown(&volume, Some(0), Some(group)).unwrap();
        std::fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let below = Mount { sub_path: Some("new/folder".into()), ..mount(volume.clone(), "/data/it") };
        runtime::native::prepare_sub_path(&volume, "by/agent".as_ref()).unwrap();
        let written = output(stage, name, &["write", "/data/it/x", "x"], |spec| {
            spec.user = User { uid: 1000, gid: 1000, groups: vec![2000] };
            spec.mounts.push(below);
        });
        assert_eq!(written, "done\n", "{name}");
        for folder in ["new", "new/folder", "by", "by/agent"] {
            let made = std::fs::metadata(volume.join(folder)).unwrap();
            let seen = (made.mode() & 0o7777, made.gid());
            assert_eq!(seen, (mode, group), "{name}/{folder}");
        }
    }
}

fn read_only(stage: &Stage) {
    let volume = stage.folder.join("volume");
    let refused = output(stage, "root", &["write", "/data/x", "x"], |spec| spec.read_only_root = true);
    assert!(refused.contains("Read-only file system"), "{refused}");
    let written = output(stage, "volume", &["write", "/data/x", "x"], |spec| {
        spec.read_only_root = true;
        spec.mounts.push(mount(volume.clone(), "/data"));
    });
    assert_eq!(written, "done\n", "an absent source became a folder");
    let refused = output(stage, "locked", &["write", "/data/x", "x"], |spec| {
        spec.mounts.push(Mount { read_only: true, ..mount(volume.clone(), "/data") });
    });
    assert!(refused.contains("Read-only file system"), "{refused}");
}

fn hosted_mounts(stage: &Stage) {
    let (files, inner, file) = (stage.folder.join("files"), stage.folder.join("inner"), stage.folder.join("one"));
    std::fs::create_dir_all(&files).unwrap();
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(files.join("key"), "key").unwrap();
    std::fs::write(inner.join("mark"), "inside").unwrap();
    std::fs::write(&file, "file").unwrap();
    let hosting = |hosts_mounts: bool| Mount { read_only: true, hosts_mounts, ..mount(files.clone(), "/cfg") };
    let below = |spec: &mut ContainerSpec, hosts_mounts: bool| {
        let deep = mount(inner.clone(), "/cfg/sub/deep");
        spec.mounts.extend([hosting(hosts_mounts), deep, mount(file.clone(), "/cfg/one")]);
    };
    // One that others may write to is not written to here.
    let engine = stage.engine();
    let (_, mut spec) = stage.container("refused", &["wait"]);
    below(&mut spec, false);
    let refused = stage.run(&engine, "refused", spec).start_error;
    assert!(refused.contains("mounting /cfg/sub/deep: read-only file system"), "{refused}");
    drop(engine);
    let seen = output(stage, "seen", &["cat", "/cfg/key", "/cfg/sub/deep/mark", "/cfg/one"], |spec| below(spec, true));
    assert_eq!(seen, "keyinsidefile");
    // It is read-only all the same, and what is mounted in it is not.
    for (name, path, wanted) in [("locked", "/cfg/x", "Read-only file system"), ("open", "/cfg/sub/deep/x", "done")] {
        let written = output(stage, name, &["write", path, "x"], |spec| below(spec, true));
        assert!(written.contains(wanted), "{path}: {written}");
    }
    // A link in it that leads out leads nowhere.
    symlink("../../../../../..", files.join("up")).unwrap();
    let up = output(stage, "up", &["cat", "/cfg/up/escaped/mark"], |spec| {
        spec.mounts.extend([hosting(true), mount(inner.clone(), "/cfg/up/escaped")]);
    });
    assert_eq!(up, "inside");
    assert!(!Path::new("/escaped").exists());
}

fn own_volumes(stage: &Stage) {
    let outside = stage.folder.join("outside");
    std::fs::write(&outside, "secret").unwrap();
    let image = stage.load("declares:1", |tar| {
        let mut add = |kind: tar::EntryType, name: &str, content: &[u8], target: &str, mode: u32| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            header.set_uid(1000);
            header.set_gid(1001);
            match target {
                "" => tar.append_data(&mut header, name, content).unwrap(),
                target => tar.append_link(&mut header, name, target).unwrap(),
            }
        };
        use tar::EntryType as Kind;
        add(Kind::Directory, "data/", b"", "", 0o2750);
        add(Kind::Directory, "data/deep/", b"", "", 0o700);
        add(Kind::Regular, "data/deep/file", b"content", "", 0o640);
        add(Kind::Link, "data/again", b"", "data/deep/file", 0o640);
        add(Kind::Symlink, "data/link", b"", "/../../../../../..", 0o777);
        add(Kind::Symlink, "data/host", b"", outside.to_str().unwrap(), 0o777);
        add(Kind::Symlink, "away", b"", "/../../../../../../data/deep", 0o777);
    });
    let own = |target: &str| Mount { source: MountSource::Own, target: target.into(), ..Mount::default() };
    let with = |name: &str, argv: &[&str]| {
        output(stage, name, argv, |spec| {
            spec.image = image.clone();
            spec.read_only_root = true;
            spec.mounts.extend([own("/data"), own("/new/folder"), own("/away")]);
        })
    };
    assert_eq!(with("list", &["ls", "/data"]), "again deep host link\n");
    assert_eq!(with("same", &["cat", "/data/again", "/data/deep/file", "/away/file"]), "contentcontentcontent");
    assert!(!with("link", &["cat", "/data/host"]).contains("secret"), "a link is copied as one");
    for path in ["/data/deep/x", "/new/folder/x", "/away/x", "/data/again"] {
        assert_eq!(with(&path.replace('/', "-"), &["write", path, "x"]), "done\n", "a read-only root does not bind it");
    }
    // What one container wrote the next one does not see, and the image keeps what it had.
    assert_eq!(with("next", &["cat", "/data/again"]), "content");
    let looks = with("looks", &["cat", "/proc/self/mountinfo"]);
    let mounted = looks.lines().find(|line| line.split(' ').nth(4) == Some("/data")).unwrap();
    assert!(!mounted.contains(" overlay "), "{mounted}");
    // A path that leads up does not lead to the host's folder of that name (CVE-2022-23648).
    let up = PathBuf::from(format!("/../../../../..{}", stage.folder.display()));
    let seen = output(stage, "up", &["ls", stage.folder.to_str().unwrap()], |spec| {
        spec.mounts.push(Mount { source: MountSource::Own, target: up, ..Mount::default() });
    });
    assert_eq!(seen, "\n");
    // A file cannot become a folder: said, not skipped.
    let engine = stage.engine();
    let (_, mut spec) = stage.container("file", &["wait"]);
    spec.image = image.clone();
    spec.mounts.push(own("/data/deep/file"));
    let refused = stage.run(&engine, "file", spec).start_error;
    assert!(refused.contains("filling the volume /data/deep/file: not a directory"), "{refused}");
}

/// A folder with a file system mounted below it.
fn nested(stage: &Stage) -> PathBuf {
    let outer = stage.folder.join("outer");
    std::fs::create_dir_all(&outer).unwrap();
    run("mount", &["-t", "tmpfs", "outer", outer.to_str().unwrap()]);
    run("mount", &["--make-shared", outer.to_str().unwrap()]);
    std::fs::create_dir_all(outer.join("inner")).unwrap();
    run("mount", &["-t", "tmpfs", "inner", outer.join("inner").to_str().unwrap()]);
    outer
}

fn run(program: &str, args: &[&str]) {
    assert!(std::process::Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

fn recursive_read_only(stage: &Stage) {
    let outer = nested(stage);
    let write = ["write", "/data/inner/x", "x"];
    let locked = Mount { read_only: true, ..mount(outer.clone(), "/data") };
    let below = Mount { recursive_read_only: true, ..locked.clone() };
    let written = output(stage, "flat", &write, |spec| spec.mounts.push(locked));
    assert_eq!(written, "done\n");
    let refused = output(stage, "deep", &write, |spec| spec.mounts.push(below));
    assert!(refused.contains("Read-only file system"), "{refused}");
    run("umount", &["-R", outer.to_str().unwrap()]);
}

fn propagation(stage: &Stage) {
    let outer = nested(stage);
    let engine = stage.engine();
    let (sandbox, spec) = stage.sandbox("propagation");
    let follower = |propagation, target: &str| Mount { propagation, ..mount(outer.clone(), target) };
    stage.block_on(engine.run_sandbox(&sandbox, spec)).unwrap();
    let (id, mut container) = stage.container("propagation", &["wait"]);
    container.mounts.push(follower(Propagation::HostToContainer, "/slave"));
    container.mounts.push(follower(Propagation::Private, "/private"));
    privileged(&mut container);
    container.mounts.push(follower(Propagation::Bidirectional, "/shared"));
    stage.block_on(async {
        engine.create_container(&sandbox, &id, container).await.unwrap();
        engine.start_container(&id).await.unwrap();
    });
    std::fs::create_dir(outer.join("later")).unwrap();
    run("mount", &["-t", "tmpfs", "later", outer.join("later").to_str().unwrap()]);
    std::fs::write(outer.join("later/mark"), "").unwrap();
    stage.block_on(async {
        for (folder, seen) in [("/slave", "mark\n"), ("/private", "\n"), ("/shared", "mark\n")] {
            assert_eq!(exec(&engine, &id, &["ls", &format!("{folder}/later")]).await.0, seen, "{folder}");
        }
        engine.remove_sandbox(&sandbox).await.unwrap();
    });
    run("umount", &["-R", outer.to_str().unwrap()]);
    let (_, mut container) = stage.container("unshared", &["exit", "0"]);
    run("mount", &["-t", "tmpfs", "outer", outer.to_str().unwrap()]);
    run("mount", &["--make-private", outer.to_str().unwrap()]);
    container.mounts.push(follower(Propagation::Bidirectional, "/shared"));
    let exit = stage.run(&engine, "unshared", container);
    assert!(exit.start_error.ends_with("but it is not a shared mount"), "{exit:?}");
    run("umount", &[outer.to_str().unwrap()]);
}

fn filtered(stage: &Stage) {
    // Without rights a mount is refused by the filter's EPERM too; keyctl only by the filter.
    let seen = output(stage, "default", &["cat", "/proc/self/status"], |_| {});
    assert_eq!(field(&seen, "Seccomp"), 2);
    let seen = output(stage, "none", &["cat", "/proc/self/status"], |spec| spec.seccomp = Seccomp::Unconfined);
    assert_eq!(field(&seen, "Seccomp"), 0);
}

fn tight_profile(stage: &Stage) {
    let refused = ["capset", "close_range", "prctl", "setresuid", "setresgid", "setgroups", "setrlimit", "keyctl"];
    let rule = serde_json::json!({ "names": refused, "action": "SCMP_ACT_ERRNO" });
    let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }).to_string();
    let seen = output(stage, "tight", &["cat", "/proc/self/status"], |spec| {
        spec.no_new_privileges = true;
        spec.user.uid = 1000;
        spec.seccomp = Seccomp::Profile(profile);
    });
    assert_eq!((field(&seen, "Seccomp"), field(&seen, "CapEff")), (2, 0));
}

/// A sandbox with one PID namespace, and a container in it that may look into other processes.
fn with_tracer(stage: &Stage, engine: &NativeEngine, pid: Share, argv: &[&str]) -> (SandboxId, ContainerId) {
    let (sandbox, sandbox_spec) = stage.sandbox("tracer");
    let (id, mut spec) = stage.container("tracer", argv);
    spec.capabilities.push("SYS_PTRACE".into());
    stage.block_on(async {
        engine.run_sandbox(&sandbox, SandboxSpec { pid, ..sandbox_spec }).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        engine.start_container(&id).await.unwrap();
    });
    (sandbox, id)
}

fn shared_init(stage: &Stage) {
    let engine = stage.engine();
    let (_, id) = with_tracer(stage, &engine, Share::Sandbox, &["wait"]);
    stage.block_on(async {
        let seen = exec(&engine, &id, &["cat", "/proc/1/status"]).await.0;
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh"] {
            assert_eq!(field(&seen, set), 0, "{set}");
        }
        assert_eq!((field(&seen, "Seccomp"), field(&seen, "NoNewPrivs")), (2, 1));
        assert!(seen.starts_with("Name:\tgousse-init\n"), "{seen}");
        assert_eq!(exec(&engine, &id, &["ls", "/proc/1/root"]).await.0, "mnt\n");
        let refused = exec(&engine, &id, &["write", "/proc/1/root/mnt/x", "x"]).await.0;
        assert!(refused.contains("Read-only file system"), "{refused}");
        assert_eq!(exec(&engine, &id, &["ls", "/proc/1/fd"]).await.0, "\n");
    });
}

fn onlooker(stage: &Stage) {
    let engine = stage.engine();
    let secret = stage.folder.join("secret");
    std::fs::write(&secret, "").unwrap();
    for pid in [Share::Sandbox, Share::Private] {
        let shared = pid == Share::Sandbox;
        let (sandbox, id) = with_tracer(stage, &engine, pid, &["look-around", secret.to_str().unwrap()]);
        stage::eventually("it looks", || stage.logged("tracer", "stdout").starts_with("looking\n"));
        stage.block_on(async {
            for _ in 0..stage::times(40) {
                assert_eq!(exec(&engine, &id, &["exit", "4"]).await.2, 4);
            }
            let nowhere = ExecSpec { argv: vec!["nowhere".into()], stdout: true, ..ExecSpec::default() };
            let error = engine.exec(&id, nowhere).await.err().unwrap();
            assert_eq!(error.to_string(), "exec: \"nowhere\": executable file not found in $PATH");
            for number in 0..if shared { stage::times(15) } else { 0 } {
                let (other, spec) = stage.container(&format!("other{number}"), &["exit", "5"]);
                engine.create_container(&sandbox, &other, spec).await.unwrap();
                engine.start_container(&other).await.unwrap();
                assert_eq!(stage::wait_for_exit(&engine, &other).await.code, 5);
            }
            engine.signal(&id, libc::SIGKILL).await.unwrap();
            stage::wait_for_exit(&engine, &id).await;
            engine.remove_sandbox(&sandbox).await.unwrap();
        });
        assert_eq!(stage.logged("tracer", "stdout"), "looking\n", "shared: {shared}");
        std::fs::remove_file(stage.log_path("tracer")).unwrap();
    }
}

fn own_program(stage: &Stage) {
    let engine = stage.engine();
    stage.block_on(engine.list()).unwrap();
    let pid = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let own = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        (name.trim() == "gousse-superv" && !own.contains(") Z ")).then(|| entry.path())
    });
    let program = pid.expect("the supervisor runs").join("exe");
    let opened = std::fs::OpenOptions::new().write(true).truncate(true).open(program);
    assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EROFS));
}
