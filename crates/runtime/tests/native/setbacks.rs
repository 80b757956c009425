//! What else goes wrong around the runtime: a reboot, a full disk, a busy group, an agent that does
//! not read. It goes on, kills nobody else's process and leaves nothing behind.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use runtime::engine::Engine;
use runtime::native::NativeEngine;
use runtime::*;

use tokio::io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::Test;
use super::faults::{self, KEEPER, SUPERVISOR, kill_named, named, signal_named, started};
use super::stage::{self, Stage, find, wait_for, wait_for_exit};

pub const TESTS: &[Test] = &[
    ("processes_after_a_reboot_are_not_ours_whatever_their_numbers", numbers_come_again),
    ("reboot_is_known_until_all_that_it_ended_is_recorded", killed_after_reboot),
    ("shared_pid_sandbox_of_an_earlier_keeper_can_be_stopped", earlier_keeper),
    ("supervisor_killed_while_an_older_child_is_told_is_started_again", hidden_by_a_zombie),
    ("supervisor_that_hangs_is_replaced_and_what_was_asked_is_done", hanging),
    ("supervisor_that_was_stopped_is_continued_when_it_is_asked", stopped),
    ("grace_that_nobody_counts_ends_all_the_same", graces),
    ("container_born_where_another_attempt_was_killed_lives", killed_group),
    ("full_disk_lets_a_supervisor_start_and_make_room", full_disk),
    ("lines_wait_for_room_on_a_full_disk", waiting_lines),
    ("lines_lost_on_a_full_disk_are_counted_in_the_log_itself", lost_lines),
    ("journal_that_cannot_be_shortened_is_lived_with", long_journal),
    ("sandbox_is_known_until_its_cgroups_are_gone", busy_groups),
    ("groups_below_those_that_are_known_go_too", unknown_groups),
    ("sandbox_that_cannot_be_made_leaves_nothing", not_made),
    ("files_of_containers_are_out_of_reach_for_the_hosts_users", out_of_reach),
    ("supervisor_rests_once_a_slow_agent_has_read_all", slow_agent),
];

/// Shares all that can be shared: the keeper holds nothing of it.
fn sharing(stage: &Stage, name: &str, pid: Share) -> (SandboxId, SandboxSpec) {
    let (id, spec) = stage.sandbox(name);
    (id, SandboxSpec { network: Network::Host, ipc: Share::Host, pid, ..spec })
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ") && !stat.contains(") X ")
}

/// The inits of shared PID namespaces.
fn inits() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_init = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|s| s == "gousse-init\n");
    pids.filter(|pid| is_init(pid) && is_alive(*pid)).collect()
}

/// With a container; returns its process.
fn run_shared(stage: &Stage, engine: &NativeEngine, name: &str) -> (SandboxId, i32) {
    let (sandbox, sandbox_spec) = sharing(stage, name, Share::Sandbox);
    let (id, spec) = stage.container(name, &["wait"]);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        engine.start_container(&id).await.unwrap();
    });
    stage::eventually("its init has its name", || inits().len() == 1);
    (sandbox, process_of(stage, engine, &id))
}

fn process_of(stage: &Stage, engine: &NativeEngine, id: &ContainerId) -> i32 {
    stage.block_on(find(engine, id)).unwrap().pid.unwrap() as i32
}

/// As the first process of every machine does with what was left to it: its PID namespace ends then.
fn reap(pid: i32) {
    // SAFETY: no pointer is passed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

fn numbers_come_again(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, pid) = run_shared(stage, &engine, "shared");
    let (_, private) = started(stage, &engine, "private", &["wait"]);
    let others = [inits(), vec![pid, process_of(stage, &engine, &private)]].concat();
    drop(engine);
    faults::seem_rebooted(stage);
    let engine = stage.engine();
    // Long enough for a signal that was sent.
    let (_, spec) = stage.container("fresh", &["exit", "2"]);
    assert_eq!(stage.run(&engine, "fresh", spec).code, 2);
    assert_eq!(others.len(), 3);
    assert!(others.iter().all(|pid| is_alive(*pid)), "processes that are not ours were ended");
    stage.block_on(async { engine.remove_sandbox(&sandbox).await.unwrap() });
    // The machine did not really reboot: end what ran.
    kill_named("puppet");
    reap(pid);
}

/// The next supervisor is killed too, right after it has recorded the new boot.
fn killed_after_reboot(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, spec) = sharing(stage, "before", Share::Private);
    stage.block_on(engine.run_sandbox(&sandbox, spec)).unwrap();
    drop(engine);
    faults::seem_rebooted(stage);
    let ready = || {
        let engine = stage.engine();
        let list = stage.block_on(engine.list()).unwrap();
        list.iter().map(|sandbox| sandbox.ready).collect::<Vec<_>>()
    };
    assert_eq!(ready(), [false], "its cgroup is gone");
    faults::kill_both();
    let journal = stage.folder.join("data/journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let boot = format!("{{\"Boot\":\"{}\"}}\n", faults::boot_id());
    let end = text.find(&boot).expect("the new boot is recorded") + boot.len();
    std::fs::write(&journal, &text[..end]).unwrap();
    assert_eq!(ready(), [false], "after a kill right behind the new boot's record");
}

fn earlier_keeper(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, pid) = run_shared(stage, &engine, "orphans");
    let init = inits();
    faults::kill_both();
    drop(engine);
    let engine = stage.engine();
    stage.block_on(async {
        assert!(engine.list().await.unwrap().iter().all(|sandbox| !sandbox.ready));
        engine.stop_sandbox(&sandbox).await.unwrap();
    });
    reap(pid);
    assert_eq!(init.len(), 1);
    stage::eventually("the init has ended", || !is_alive(init[0]));
    stage.block_on(engine.remove_sandbox(&sandbox)).unwrap();
}

/// The folder of a cgroup where every group has one, also beside version 1.
fn group(stage: &Stage, below: &str) -> PathBuf {
    let root = ["", "unified"].map(|name| Path::new("/sys/fs/cgroup").join(name));
    let root = root.into_iter().find(|root| root.join("cgroup.procs").exists() && root.join("cgroup.stat").exists());
    root.expect("version 2 is mounted").join(&stage.cgroup).join(below)
}

/// It holds up whatever is asked of it; a container of before goes on.
fn hanging(stage: &Stage) {
    let engine = stage.engine();
    let (_, old) = started(stage, &engine, "old", &["wait"]);
    let pid = process_of(stage, &engine, &old);
    let before = named(SUPERVISOR);
    let cage = group(stage, "cage");
    std::fs::create_dir(&cage).unwrap();
    std::fs::write(cage.join("cgroup.procs"), before[0].to_string()).unwrap();
    std::fs::write(cage.join("cgroup.freeze"), "1").unwrap();
    let (out, _, code) = stage.block_on(stage::exec(&engine, &old, &["say", "asked", ""]));
    assert_eq!((out.as_str(), code), ("asked\n", 0));
    let (_, spec) = stage.container("new", &["exit", "3"]);
    assert_eq!(stage.run(&engine, "new", spec).code, 3);
    assert!(named(SUPERVISOR).iter().all(|pid| !before.contains(pid)), "another one");
    assert!(is_alive(pid));
    std::fs::remove_dir(&cage).unwrap();
}

fn stopped(stage: &Stage) {
    let engine = stage.engine();
    let (_, id) = started(stage, &engine, "asked", &["wait"]);
    let before = named(SUPERVISOR);
    signal_named(SUPERVISOR, libc::SIGSTOP);
    let (out, _, code) = stage.block_on(stage::exec(&engine, &id, &["say", "asked", ""]));
    assert_eq!((out.as_str(), code, named(SUPERVISOR)), ("asked\n", 0, before));
}

/// The agent does not kill, held up as it is; the one of an agent that is gone goes on.
fn graces(stage: &Stage) {
    let engine = stage.engine();
    let (_, id) = started(stage, &engine, "stubborn", &["wait"]);
    let (_, other) = started(stage, &engine, "other", &["wait"]);
    let pid = process_of(stage, &engine, &other);
    stage.block_on(async {
        let second = std::time::Duration::from_secs(1);
        let gone = stage.engine();
        gone.stop(&other, libc::SIGTERM, second).await.unwrap();
        drop(gone);
        engine.stop(&id, libc::SIGTERM, second).await.unwrap();
        let exit = wait_for_exit(&engine, &id).await;
        assert_eq!(exit.signal, Some(libc::SIGKILL));
        let (_, _, code) = stage::exec(&engine, &other, &["say", "here", ""]).await;
        assert_eq!(code, 0);
    });
    assert!(is_alive(pid), "its grace began before the other's and would be over");
}

/// One container has ended and the stopped supervisor was told, when it is killed; the frozen set-up of
/// another holds all that the supervisor had open, so that no socket closes either.
fn hidden_by_a_zombie(stage: &Stage) {
    let engine = stage.engine();
    let (_, old) = started(stage, &engine, "old", &["wait"]);
    let pid = process_of(stage, &engine, &old);
    // The next supervisor is a younger child of the keeper than that container.
    kill_named(SUPERVISOR);
    let (sandbox, sandbox_spec) = stage.sandbox("frozen");
    let (id, spec) = stage.container("frozen", &["exit", "3"]);
    let freezer = group(stage, "pod-frozen").join("cgroup.freeze");
    let frozen = group(stage, &format!("pod-frozen/{}", id.0)).join("cgroup.procs");
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
    });
    std::fs::write(&freezer, "1").unwrap();
    let starting = stage.tokio.spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.start_container(&id).await }
    });
    stage::eventually("its set-up is born", || std::fs::read_to_string(&frozen).is_ok_and(|text| !text.is_empty()));
    let before = named(SUPERVISOR);
    signal_named(SUPERVISOR, libc::SIGSTOP);
    // SAFETY: a process of this test's own PID namespace.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    stage::eventually("the keeper has told of it", || !is_alive(pid) && is_idle(named(KEEPER)[0]));
    kill_named(SUPERVISOR);
    stage::eventually("another one runs", || named(SUPERVISOR).iter().any(|pid| !before.contains(pid)));
    std::fs::write(&freezer, "0").unwrap();
    stage.block_on(async {
        starting.await.unwrap().unwrap();
        assert_eq!(wait_for_exit(&engine, &id).await.code, 3);
        assert_eq!(wait_for_exit(&engine, &old).await.code, 137);
    });
}

/// As a supervisor leaves it that ended what the one before it had cloned and not recorded.
fn killed_group(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, sandbox_spec) = stage.sandbox("again");
    let (id, spec) = stage.container("again", &["exit", "3"]);
    let group = group(stage, &format!("pod-again/{}", id.0));
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        std::fs::create_dir(&group).unwrap();
        std::fs::write(group.join("cgroup.kill"), "1").unwrap();
        engine.start_container(&id).await.unwrap();
        assert_eq!(wait_for_exit(&engine, &id).await.code, 3);
    });
}

/// It waits for something to happen.
fn is_idle(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") S "))
}

/// A small disk for the engine's data.
struct Disk {
    at: PathBuf,
    filler: std::fs::File,
}

impl Disk {
    fn new(stage: &Stage, size: &str) -> Disk {
        let at = stage.folder.join("data");
        std::fs::create_dir_all(&at).unwrap();
        let options = format!("size={size}");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &options, "data"]).arg(&at).status();
        assert!(mounted.unwrap().success());
        let filler = std::fs::File::create(at.join("filler")).unwrap();
        Disk { at, filler }
    }

    /// All but so many pages.
    fn fill(&mut self, but: u64) {
        while self.filler.write_all(&[1; 4096]).is_ok() {}
        let length = self.filler.metadata().unwrap().len();
        self.filler.set_len(length / 4096 * 4096 - but * 4096).unwrap();
    }

    fn empty(&mut self) {
        self.filler.set_len(0).unwrap();
    }

    /// With all that the engine has on it.
    fn leave(self, stage: &Stage, engine: &NativeEngine) {
        stage.block_on(async {
            for sandbox in engine.list().await.unwrap() {
                engine.remove_sandbox(&sandbox.id).await.unwrap();
            }
            engine.shut_down().await.unwrap();
        });
        drop(self.filler);
        let done = std::process::Command::new("umount").arg(&self.at).status();
        assert!(done.unwrap().success());
    }
}

fn full_disk(stage: &Stage) {
    let mut disk = Disk::new(stage, "8m");
    let engine = stage.engine();
    let (sandbox, id) = started(stage, &engine, "full", &["wait"]);
    disk.fill(0);
    assert_eq!(kill_named(SUPERVISOR), 1);
    stage.block_on(async {
        wait_for(&engine, &id, |phase| matches!(phase, Phase::Running { .. })).await;
        engine.remove_sandbox(&sandbox).await.unwrap();
        assert!(engine.list().await.unwrap().is_empty());
    });
    let empty = |name: &str| std::fs::read_dir(disk.at.join(name)).unwrap().next().is_none();
    stage::eventually("its folder is gone", || empty("containers") && empty("trash"));
    disk.empty();
    let (other, spec) = sharing(stage, "other", Share::Private);
    stage.block_on(engine.run_sandbox(&other, spec)).unwrap();
    assert_eq!(kill_named(SUPERVISOR), 1);
    let known: Vec<_> = stage.block_on(engine.list()).unwrap().into_iter().map(|sandbox| sandbox.id).collect();
    assert_eq!(known, [other], "what was forgotten while the disk was full stays so");
    disk.leave(stage, &engine);
}

/// A supervisor's death between loses none of them either.
fn waiting_lines(stage: &Stage) {
    let mut disk = Disk::new(stage, "8m");
    let engine = stage.engine();
    let (sandbox, sandbox_spec) = stage.sandbox("patient");
    let (id, mut spec) = stage.container("patient", &["copy"]);
    let log = disk.at.join("logs/patient/0.log");
    spec.log = Some(LogFile { path: log.clone(), size_max: 10 << 20, files_max: 5 });
    spec.stdin = true;
    let mut numbers = 0..;
    let mut say = async |stdin: &mut (dyn AsyncWrite + Send + Unpin)| {
        for number in numbers.by_ref().take(1000) {
            stdin.write_all(format!("line {number:060}\n").as_bytes()).await.unwrap();
        }
    };
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        engine.start_container(&id).await.unwrap();
        disk.fill(0);
        let mut stdin = engine.attach(&id, true, false, false).await.unwrap().stdin.unwrap();
        say(&mut stdin).await;
    });
    stage::eventually("they wait", || stage.runtime_log().contains("lines wait"));
    kill_named(SUPERVISOR);
    stage.block_on(async {
        // Asked of the dead one, it is lost with it.
        let again = loop {
            if let Ok(session) = engine.attach(&id, true, false, false).await {
                break session;
            }
        };
        say(&mut again.stdin.unwrap()).await;
    });
    assert!(!std::fs::read_to_string(&log).unwrap().contains("000999>"));
    disk.empty();
    let read = || std::fs::read_to_string(&log).unwrap();
    stage::eventually("all are there", || read().lines().count() >= 2000);
    let text = read();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once(" F ").unwrap().1).collect();
    let all: Vec<String> = (0..2000).map(|number| format!("<line {number:060}>")).collect();
    assert_eq!(lines, all);
    disk.leave(stage, &engine);
}

fn lost_lines(stage: &Stage) {
    let mut disk = Disk::new(stage, "8m");
    let engine = stage.engine();
    let (sandbox, sandbox_spec) = stage.sandbox("lossy");
    let (id, mut spec) = stage.container("lossy", &["copy"]);
    let log = disk.at.join("logs/lossy/0.log");
    spec.log = Some(LogFile { path: log.clone(), size_max: 10 << 20, files_max: 5 });
    spec.stdin = true;
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        engine.start_container(&id).await.unwrap();
        let session = engine.attach(&id, true, true, false).await.unwrap();
        let (mut stdin, mut lines) = (session.stdin.unwrap(), BufReader::new(session.stdout.unwrap()).lines());
        let mut say = async |text: String| {
            stdin.write_all(format!("{text}\n").as_bytes()).await.unwrap();
            assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("<{text}>"));
        };
        say("first".into()).await;
        disk.fill(0);
        for number in 0..100 {
            say(format!("line {number:040}")).await;
        }
        disk.empty();
        say("last".into()).await;
        let text = std::fs::read_to_string(&log).unwrap();
        let said: Vec<&str> = text.lines().filter(|line| line.contains(" stderr F gousse: ")).collect();
        let words: Vec<&str> = said[0].split(' ').collect();
        let lost: usize = words[4].parse().unwrap();
        assert!(lost > 10 && said.len() == 1, "{said:?}");
        assert_eq!(words[5..].join(" "), "lines are missing here: no space left on device");
        let kept = text.lines().filter(|line| line.contains(" stdout F <line ")).count();
        assert_eq!(kept + lost, 100);
        assert!(text.ends_with(" stdout F <last>\n"), "{text}");
        // With nothing else to say, it is told at the end.
        disk.fill(0);
        for number in 0..100 {
            say(format!("line {number:040}")).await;
        }
        disk.empty();
        engine.signal(&id, libc::SIGKILL).await.unwrap();
        wait_for_exit(&engine, &id).await;
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.lines().last().unwrap().contains(" stderr F gousse: "), "{text}");
    });
    disk.leave(stage, &engine);
}

/// A container whose record has so many bytes.
fn large(stage: &Stage, name: &str, bytes: usize) -> (ContainerId, ContainerSpec) {
    let (id, mut spec) = stage.container(name, &["exit", "0"]);
    spec.annotations.insert("ballast".into(), "b".repeat(bytes));
    (id, spec)
}

fn long_journal(stage: &Stage) {
    let disk = Disk::new(stage, "5000k");
    let engine = stage.engine();
    let (sandbox, spec) = sharing(stage, "long", Share::Private);
    let (stays, stays_spec) = large(stage, "stays", 1 << 20);
    let (goes, goes_spec) = large(stage, "goes", 200 << 10);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, spec).await.unwrap();
        engine.create_container(&sandbox, &stays, stays_spec).await.unwrap();
    });
    let before = named(SUPERVISOR);
    let length = || std::fs::metadata(disk.at.join("journal")).unwrap().len();
    while length() <= 4 << 20 {
        stage.block_on(async {
            engine.create_container(&sandbox, &goes, goes_spec.clone()).await.unwrap();
            engine.remove_container(&goes).await.unwrap();
        });
    }
    stage::eventually("that is tried", || stage.runtime_log().contains("the journal stays long"));
    let list = || stage.block_on(engine.list()).unwrap();
    assert_eq!(list()[0].containers.len(), 1);
    // Who empties the trash has the same name.
    assert!(named(SUPERVISOR).contains(&before[0]), "no room for a shorter one does not end it");
    assert!(length() > 4 << 20);
    kill_named(SUPERVISOR);
    stage::eventually("another one runs", || named(SUPERVISOR).iter().any(|pid| !before.contains(pid)));
    stage::eventually("and knows the same", || list().len() == 1 && list()[0].containers.len() == 1);
    disk.leave(stage, &engine);
}

/// The first message to it is larger than the socket takes at once.
fn slow_agent(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, spec) = sharing(stage, "slow", Share::Private);
    let (id, container) = large(stage, "slow", 4 << 20);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, spec).await.unwrap();
        engine.create_container(&sandbox, &id, container).await.unwrap();
    });
    let mut agent = std::os::unix::net::UnixStream::connect(stage.folder.join("run/supervisor.sock")).unwrap();
    let resting = || is_idle(named(SUPERVISOR)[0]);
    stage::eventually("the socket is full", || rustix::io::ioctl_fionread(&agent).unwrap() > 0 && resting());
    let mut header = [0; 5];
    agent.read_exact(&mut header).unwrap();
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    assert!(length > 4 << 20);
    agent.read_exact(&mut vec![0; length]).unwrap();
    stage::eventually("the supervisor rests", resting);
}

/// Also where the folders were there before, for all to enter.
fn out_of_reach(stage: &Stage) {
    use std::os::unix::fs::PermissionsExt;
    let data = stage.folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    for folder in [&stage.folder, &data] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let engine = stage.engine();
    let (_, id) = started(stage, &engine, "left", &["write", "/tmp/file", "text"]);
    stage.block_on(wait_for_exit(&engine, &id));
    let file = data.join("containers").join(&id.0).join("upper/tmp/file");
    assert!(file.exists());
    let seen = |path: &Path| {
        let mut test = std::process::Command::new("test");
        std::os::unix::process::CommandExt::uid(&mut test, 1000);
        test.arg("-e").arg(path).status().unwrap().success()
    };
    assert!(seen(&data));
    let images = stage.folder.join("images");
    for inside in [file, images.join("layers"), stage.folder.join("run/supervisor.sock")] {
        assert!(!seen(&inside), "{}", inside.display());
    }
}

/// A group that cannot be removed until it is let go: something is mounted on it.
struct Tied(PathBuf);

impl Tied {
    fn new(group: PathBuf) -> Tied {
        let done = std::process::Command::new("mount").arg("--bind").args([&group, &group]).status();
        assert!(done.unwrap().success());
        Tied(group)
    }

    fn let_go(self) {
        assert!(std::process::Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

/// Folders of this test's groups with that in their name, in all hierarchies.
fn groups_named(stage: &Stage, name: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|root| root.path());
    let roots = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
    roots.map(|root| root.join(&stage.cgroup).join(name)).filter(|group| group.exists()).collect()
}

fn busy_groups(stage: &Stage) {
    let engine = stage.engine();
    let (killed, id) = started(stage, &engine, "killed", &["wait"]);
    let tied = Tied::new(group(stage, &format!("pod-killed/{}", id.0)));
    let asked = stage.tokio.spawn({
        let (engine, id) = (engine.clone(), killed.clone());
        async move { engine.remove_sandbox(&id).await }
    });
    let list = || stage.block_on(engine.list()).unwrap();
    stage::eventually("it ends", || !list().iter().any(|sandbox| sandbox.ready));
    kill_named(SUPERVISOR);
    tied.let_go();
    stage.block_on(asked).unwrap().unwrap();
    assert!(groups_named(stage, "pod-killed").is_empty());
    assert!(list().is_empty());

    let (stays, id) = started(stage, &engine, "stays", &["wait"]);
    let tied = Tied::new(group(stage, &format!("pod-stays/{}", id.0)));
    let refused = stage.block_on(engine.remove_sandbox(&stays)).unwrap_err().to_string();
    assert!(refused.ends_with("does not become empty"), "{refused}");
    assert_eq!(list().len(), 1, "as long as it is there, it is known");
    tied.let_go();
    stage.block_on(engine.remove_sandbox(&stays)).unwrap();
    assert!(groups_named(stage, "pod-stays").is_empty());
    assert!(list().is_empty());
}

/// A container's own, and what nobody remembers.
fn unknown_groups(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, id) = started(stage, &engine, "below", &["wait"]);
    let inside = format!("pod-below/{}", id.0);
    std::fs::create_dir(group(stage, &format!("{inside}/own"))).unwrap();
    std::fs::create_dir_all(group(stage, "pod-below/forgotten/deeper")).unwrap();
    stage.block_on(engine.remove_container(&id)).unwrap();
    assert!(groups_named(stage, &inside).is_empty());
    stage.block_on(engine.remove_sandbox(&sandbox)).unwrap();
    assert!(groups_named(stage, "pod-below").is_empty());
}

fn not_made(stage: &Stage) {
    let mut disk = Disk::new(stage, "8m");
    let engine = stage.engine();
    let (id, mut spec) = stage.sandbox("made");
    spec.pid = Share::Sandbox;
    // More than a page.
    spec.annotations.insert("ballast".into(), "b".repeat(5000));
    let run = || stage.block_on(engine.run_sandbox(&id, spec.clone()));
    assert!(stage.block_on(engine.list()).unwrap().is_empty());
    let keeps_namespaces = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", named(KEEPER)[0])).unwrap().flatten();
        let mut links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.any(|link| ["ipc:", "uts:", "net:"].iter().any(|kind| link.to_string_lossy().starts_with(kind)))
    };
    let nothing_is_left = || inits().is_empty() && !keeps_namespaces() && groups_named(stage, "pod-made").is_empty();
    // No group can be made below the pod's for the init.
    let top = group(stage, "pod-made");
    std::fs::create_dir_all(&top).unwrap();
    std::fs::write(top.join("cgroup.max.descendants"), "0").unwrap();
    run().unwrap_err();
    stage::eventually("nothing is left of the first attempt", nothing_is_left);
    // The record of the sandbox fits on the disk, the one with its init does not.
    disk.fill(1);
    let refused = run().unwrap_err().to_string();
    assert!(refused.contains("writing the runtime's journal"), "{refused}");
    stage::eventually("nothing is left of the second attempt", nothing_is_left);
    disk.empty();
    run().unwrap();
    stage::eventually("it has an init, and all is kept", || inits().len() == 1 && keeps_namespaces());
    disk.leave(stage, &engine);
}
