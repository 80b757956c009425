//! Parts of the runtime are killed while containers start, run and end. Nothing is lost, nothing runs
//! twice, and what an agent is told stays true.

use std::path::PathBuf;

use runtime::engine::Engine;
use runtime::native::NativeEngine;
use runtime::*;

use super::Test;
use super::stage::{self, Stage, exec, find, wait_for, wait_for_exit};
use super::tracer;

pub const TESTS: &[Test] = &[
    ("killed_supervisor_loses_no_container_exit_or_line", killed_supervisor),
    ("supervisor_killed_at_any_moment_under_load_loses_nothing", killed_under_load),
    ("supervisor_killed_at_each_step_of_taking_over_a_terminal_keeps_it", killed_with_terminal),
    ("supervisor_killed_while_a_set_up_moves_among_others_loses_nothing", killed_while_moving),
    ("supervisor_killed_at_each_step_of_hearing_why_a_start_failed_tells_it", killed_with_failure),
    ("supervisor_that_becomes_another_program_under_load_loses_nothing", upgraded_under_load),
    ("mount_of_a_sandbox_never_recorded_goes", mount_never_recorded),
    ("new_agent_finds_everything_as_it_was", new_agent),
    ("exit_without_any_supervisor_is_told_by_the_next_one", exit_meanwhile),
    ("ends_that_nobody_could_hear_are_told_with_their_own_moments", ended_in_turn),
    ("supervisor_becomes_another_program_without_losing_a_child", upgrade),
    ("killed_keeper_leaves_no_container_unaccounted", killed_keeper),
    ("damaged_journal_is_named_and_kept_and_runs_nothing_twice", damaged_journal),
    ("reboot_is_noticed_and_what_ran_is_unknown", reboot),
];

/// Processes of this PID namespace that carry this name.
pub fn named(name: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // The set-up of a container bears its parent's name until it becomes the program.
        let set_up = read("cgroup").contains("/pod-");
        read("comm").trim() == name && !read("stat").contains(") Z ") && (!set_up || name == "puppet")
    })
    .collect()
}

pub fn kill_named(name: &str) -> usize {
    signal_named(name, libc::SIGKILL)
}

pub fn signal_named(name: &str, signal: i32) -> usize {
    let pids = named(name);
    for pid in &pids {
        // SAFETY: a process of this test's own PID namespace.
        unsafe { libc::kill(*pid, signal) };
    }
    pids.len()
}

/// Neither has the time to see that the other is gone.
pub fn kill_both() {
    signal_named(KEEPER, libc::SIGSTOP);
    kill_named(SUPERVISOR);
    kill_named(KEEPER);
}

pub const SUPERVISOR: &str = "gousse-superv";
pub const KEEPER: &str = "gousse-keeper";

pub fn started(stage: &Stage, engine: &NativeEngine, name: &str, argv: &[&str]) -> (SandboxId, ContainerId) {
    let (sandbox, sandbox_spec) = stage.sandbox(name);
    let (id, spec) = stage.container(name, argv);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
        engine.start_container(&id).await.unwrap();
    });
    (sandbox, id)
}

fn killed_supervisor(stage: &Stage) {
    let engine = stage.engine();
    let (_, id) = started(stage, &engine, "survivor", &["say-and-copy", "before"]);
    stage::eventually("it has spoken", || stage.logged("survivor", "stdout") == "before\n");
    let pid = stage.block_on(find(&engine, &id)).unwrap().pid.unwrap();
    assert_eq!(kill_named(SUPERVISOR), 1);
    stage::eventually("another one runs", || named(SUPERVISOR).len() == 1);
    stage.block_on(async {
        let seen = wait_for(&engine, &id, |phase| matches!(phase, Phase::Running { .. })).await;
        assert_eq!(seen.pid, Some(pid));
        engine.signal(&id, libc::SIGCONT).await.unwrap();
        assert_eq!(exec(&engine, &id, &["exit", "3"]).await.2, 3);
        engine.signal(&id, libc::SIGTERM).await.unwrap();
        assert_eq!(wait_for_exit(&engine, &id).await.code, 9);
    });
    assert_eq!(stage.logged("survivor", "stdout"), "before\nafter\n");
}

fn killed_under_load(stage: &Stage) {
    let engine = stage.engine();
    let killed = under_load(stage, &engine, 15, || kill_named(SUPERVISOR));
    assert!(killed > 1, "the supervisor was killed {killed} times");
}

fn killed_with_terminal(stage: &Stage) {
    (0..8).for_each(|step| killed_after_word(stage, b'T', step, Share::Private, true));
}

fn killed_while_moving(stage: &Stage) {
    for step in 0..12 {
        for tty in [false, true] {
            killed_after_word(stage, b'M', step, Share::Sandbox, tty);
        }
    }
}

/// The supervisor is killed so many steps after a word of the set-up's: the container speaks, hears and ends.
fn killed_after_word(stage: &Stage, word: u8, step: usize, pid: Share, tty: bool) {
    let engine = stage.engine();
    let case = format!("{}{step}{tty}", char::from(word).to_ascii_lowercase());
    let (sandbox, sandbox_spec) = stage.sandbox(&case);
    let (id, mut spec) = stage.container(&case, &["say-and-copy", "before"]);
    spec.tty = tty;
    stage.block_on(async {
        engine.run_sandbox(&sandbox, SandboxSpec { pid, ..sandbox_spec }).await.unwrap();
        engine.create_container(&sandbox, &id, spec).await.unwrap();
    });
    let hit = tracer::kill_after_message(named(SUPERVISOR)[0], word, step);
    stage.block_on(engine.start_container(&id)).unwrap();
    hit.done(|| drop(stage.block_on(engine.signal(&id, libc::SIGCONT))));
    stage::eventually("it has spoken", || stage.logged(&case, "stdout") == "before\n");
    stage.block_on(async {
        engine.signal(&id, libc::SIGTERM).await.unwrap();
        assert_eq!(wait_for_exit(&engine, &id).await.code, 9, "{case}");
        engine.remove_sandbox(&sandbox).await.unwrap();
    });
    assert_eq!(stage.logged(&case, "stdout"), "before\nafter\n", "{case}");
}

fn killed_with_failure(stage: &Stage) {
    let engine = stage.engine();
    for step in 0..8 {
        let name = format!("nowhere{step}");
        let (sandbox, sandbox_spec) = stage.sandbox(&name);
        let (id, mut spec) = stage.container(&name, &[]);
        spec.argv = vec!["nowhere".into()];
        stage.block_on(async {
            engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
            engine.create_container(&sandbox, &id, spec).await.unwrap();
        });
        let hit = tracer::kill_after_message(named(SUPERVISOR)[0], b'E', step);
        let started = stage.block_on(engine.start_container(&id));
        hit.done(|| drop(stage.block_on(engine.signal(&id, libc::SIGCONT))));
        let exit = stage.block_on(wait_for_exit(&engine, &id));
        let text = "exec: \"nowhere\": executable file not found in $PATH";
        assert_eq!((exit.code, exit.start_error.as_str()), (128, text), "step {step}");
        assert_eq!(started.unwrap_err().to_string(), text, "step {step}");
    }
}

fn upgraded_under_load(stage: &Stage) {
    let engine = stage.engine();
    let programs = ["one", "two"].map(|name| stage.folder.join(name));
    for path in &programs {
        std::fs::copy(std::env::current_exe().unwrap(), path).unwrap();
    }
    let tokio = stage.tokio.handle().clone();
    let upgraded = engine.clone();
    let mut turns = programs.into_iter().cycle();
    stage.block_on(engine.list()).unwrap();
    let supervisor = named(SUPERVISOR);
    let times = under_load(stage, &engine, 15, move || {
        tokio.block_on(upgraded.upgrade(turns.next().expect("for ever"))).unwrap();
        1
    });
    assert!(times > 1, "the supervisor became another program {times} times");
    assert_eq!(named(SUPERVISOR), supervisor, "the same process");
}

/// Hits from a thread of its own, each time after another pause, until it is told to stop; what tells it
/// gives how often it did. At most `times`: on a busy machine each new supervisor needs a while to get
/// anywhere.
pub fn again_and_again(times: usize, mut hit: impl FnMut() -> usize + Send + 'static) -> impl FnOnce() -> usize {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let hitter = std::thread::spawn(move || {
        let (mut hits, mut pause) = (0, 1);
        while hits < times && !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            hits += hit();
            pause = (pause * 7 + 3) % 23;
            std::thread::sleep(std::time::Duration::from_millis(20 + 3 * pause));
        }
        hits
    });
    move || {
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        hitter.join().unwrap()
    }
}

/// Twenty containers run once, to their end and without losing a line, while something happens to the
/// supervisor again and again; how often it did.
fn under_load(
    stage: &Stage,
    engine: &std::sync::Arc<NativeEngine>,
    times: usize,
    hit: impl FnMut() -> usize + Send + 'static,
) -> usize {
    stage.block_on(engine.list()).unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("load{number}")).collect();
    let hits = again_and_again(times, hit);
    let run = |name: String| {
        let (sandbox, sandbox_spec) = stage.sandbox(&name);
        let (id, mut spec) = stage.container(&name, &["count-marked", "/marks", "300", "7"]);
        let marks = stage.folder.join("marks").join(&name);
        std::fs::create_dir_all(&marks).unwrap();
        spec.mounts.push(Mount { source: MountSource::Host(marks), target: "/marks".into(), ..Mount::default() });
        let engine = engine.clone();
        async move {
            engine.run_sandbox(&sandbox, sandbox_spec).await.unwrap();
            engine.create_container(&sandbox, &id, spec).await.unwrap();
            engine.start_container(&id).await.unwrap();
            wait_for_exit(&engine, &id).await
        }
    };
    let all: Vec<_> = names.iter().cloned().map(run).collect();
    let exits = stage.block_on(async {
        let running: Vec<_> = all.into_iter().map(|one| tokio::spawn(one)).collect();
        let mut exits = Vec::new();
        for one in running {
            exits.push(one.await.unwrap());
        }
        exits
    });
    let hits = hits();
    let expected: String = (0..300).map(|number| format!("line {number}\n")).collect();
    for (name, exit) in names.iter().zip(exits) {
        assert_eq!(exit.code, 7, "{name}: {exit:?}");
        let runs = std::fs::read_dir(stage.folder.join("marks").join(name)).unwrap().count();
        assert_eq!(runs, 1, "{name} ran {runs} times");
        let logged = stage.logged(name, "stdout");
        assert_eq!(logged.lines().count(), 300, "{name}: lines");
        assert_eq!(logged, expected, "{name}");
    }
    hits
}

/// A supervisor killed between hanging a sandbox's /dev/shm (before kernel 6.15) and recording it.
fn mount_never_recorded(stage: &Stage) {
    let engine = stage.engine();
    stage.block_on(engine.list()).unwrap();
    let (sandbox, spec) = stage.sandbox("asked-again");
    let place = |id: &SandboxId| stage.folder.join("run/shm").join(&id.0);
    let hang = |id: &SandboxId| {
        std::fs::create_dir_all(place(id)).unwrap();
        let made = std::process::Command::new("mount").args(["-t", "tmpfs", "shm"]).arg(place(id)).status().unwrap();
        assert!(made.success());
    };
    let forgotten = SandboxId(stage::id("forgotten"));
    hang(&forgotten);
    assert_eq!(kill_named(SUPERVISOR), 1);
    stage::eventually("the next one takes it down", || !place(&forgotten).exists());
    hang(&sandbox);
    stage.block_on(async {
        engine.run_sandbox(&sandbox, spec).await.unwrap();
        engine.remove_sandbox(&sandbox).await.unwrap();
    });
    assert!(!place(&sandbox).exists());
}

fn new_agent(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, id) = started(stage, &engine, "adopted", &["wait-for-term", "4"]);
    let before = stage.block_on(engine.list()).unwrap();
    drop(engine);
    let engine = stage.engine();
    let after = stage.block_on(engine.list()).unwrap();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    stage::eventually("it is ready", || stage.logged("adopted", "stdout") == "ready\n");
    stage.block_on(async {
        engine.signal(&id, libc::SIGTERM).await.unwrap();
        assert_eq!(wait_for_exit(&engine, &id).await.code, 4);
        engine.remove_sandbox(&sandbox).await.unwrap();
    });
}

/// Both agent and supervisor are gone, and the next supervisor is slow to come.
fn exit_meanwhile(stage: &Stage) {
    let engine = stage.engine();
    let (_, id) = started(stage, &engine, "meanwhile", &["say-and-copy", "before"]);
    stage::eventually("it has spoken", || stage.logged("meanwhile", "stdout") == "before\n");
    let pid = stage.block_on(find(&engine, &id)).unwrap().pid.unwrap();
    drop(engine);
    // SAFETY: processes of this test's own PID namespace.
    unsafe {
        let keeper = named(KEEPER)[0];
        libc::kill(keeper, libc::SIGSTOP);
        kill_named(SUPERVISOR);
        libc::kill(pid as i32, libc::SIGTERM);
        stage::eventually("it is a zombie", || {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ")
        });
        libc::kill(keeper, libc::SIGCONT);
    }
    let engine = stage.engine();
    let exit = stage.block_on(wait_for_exit(&engine, &id));
    assert_eq!(exit.code, 9);
    assert_eq!(stage.logged("meanwhile", "stdout"), "before\nafter\n");
}

/// Several end while the supervisor is stopped: the keeper tells one at a time.
fn ended_in_turn(stage: &Stage) {
    let engine = stage.engine();
    let all: Vec<_> = (0..4).map(|n| started(stage, &engine, &format!("turn{n}"), &["wait-for-term", "4"]).1).collect();
    for n in 0..4 {
        stage::eventually("it is ready", || stage.logged(&format!("turn{n}"), "stdout") == "ready\n");
    }
    let pids: Vec<i32> = all.iter().map(|id| stage.block_on(find(&engine, id)).unwrap().pid.unwrap() as i32).collect();
    let is_zombie =
        |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ");
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i128;
    signal_named(SUPERVISOR, libc::SIGSTOP);
    for pid in pids {
        // SAFETY: a process of this test's own PID namespace.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        stage::eventually("it is a zombie", || is_zombie(pid));
    }
    let ended = now();
    // Long enough to tell their ends from the moment in which they are heard.
    stage::eventually("half a second has passed", || now() > ended + 500_000_000);
    let heard = now();
    signal_named(SUPERVISOR, libc::SIGCONT);
    for id in &all {
        let exit = stage.block_on(wait_for_exit(&engine, id));
        assert!(exit.code == 4 && exit.finished_at < heard, "{} before it was heard", heard - exit.finished_at);
    }
}

fn upgrade(stage: &Stage) {
    let engine = stage.engine();
    let (_, id) = started(stage, &engine, "upgrade", &["say-and-copy", "before"]);
    let pid = named(SUPERVISOR);
    let other = stage.folder.join("other-program");
    std::fs::copy(std::env::current_exe().unwrap(), &other).unwrap();
    stage.block_on(engine.upgrade(other.clone())).unwrap();
    let same_file = |pid: i32| {
        let (one, two) = (std::fs::metadata(format!("/proc/{pid}/exe")), std::fs::metadata(&other));
        let number =
            |meta: std::io::Result<std::fs::Metadata>| meta.ok().map(|meta| std::os::unix::fs::MetadataExt::ino(&meta));
        number(one) == number(two)
    };
    stage::eventually("it is the other program", || same_file(pid[0]));
    stage.block_on(async {
        assert!(wait_for(&engine, &id, |phase| matches!(phase, Phase::Running { .. })).await.pid.is_some());
        engine.signal(&id, libc::SIGCONT).await.unwrap();
        assert_eq!(exec(&engine, &id, &["exit", "3"]).await.2, 3);
        engine.signal(&id, libc::SIGTERM).await.unwrap();
        assert_eq!(wait_for_exit(&engine, &id).await.code, 9);
    });
    assert_eq!(named(SUPERVISOR), pid, "the same process");
    assert_eq!(stage.logged("upgrade", "stdout"), "before\nafter\n");
    kill_named(SUPERVISOR);
    stage::eventually("the keeper starts the other program too", || {
        named(SUPERVISOR).first().is_some_and(|pid| same_file(*pid))
    });
}

fn killed_keeper(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, id) = started(stage, &engine, "orphaned", &["wait"]);
    let pid = stage.block_on(find(&engine, &id)).unwrap().pid.unwrap();
    assert_eq!(kill_named(KEEPER), 1);
    stage.block_on(async {
        let ended = wait_for(&engine, &id, |phase| !matches!(phase, Phase::Running { .. })).await;
        assert!(matches!(ended.phase, Phase::Unknown { started_at: Some(_) } | Phase::Exited { .. }), "{ended:?}");
        let sandbox = engine.list().await.unwrap().into_iter().find(|s| s.id == sandbox).unwrap();
        assert!(!sandbox.ready);
    });
    stage::eventually("its process has ended", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    // A new one works.
    let (_, spec) = stage.container("fresh", &["exit", "2"]);
    assert_eq!(stage.run(&engine, "fresh", spec).code, 2);
}

/// As the first process of every machine does with what was left to it.
fn reap_orphans() {
    // SAFETY: no pointer is passed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Every way in which the journal may be found: what lives afterwards is what is listed.
fn damaged_journal(stage: &Stage) {
    let journal = stage.folder.join("data/journal");
    let mut engine = stage.engine();
    // Each kind of damage and each bit, or just the former.
    for round in 0..u64::from(stage::times(48)) {
        let names = [format!("own{round}"), format!("shared{round}")];
        for name in &names {
            let (sandbox, mut spec) = stage.sandbox(name);
            spec.pid = if name.starts_with("shared") { Share::Sandbox } else { Share::Private };
            stage.block_on(engine.run_sandbox(&sandbox, spec)).unwrap();
            started(stage, &engine, name, &["wait"]);
        }
        drop(engine);
        let keeper_dies = round % 4 == 3;
        signal_named(KEEPER, libc::SIGSTOP);
        kill_named(SUPERVISOR);
        if keeper_dies {
            kill_named(KEEPER);
            stage::eventually("it has ended", || named(KEEPER).is_empty());
        }
        let whole = std::fs::read(&journal).unwrap();
        let at = (round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % (whole.len() - 1);
        let mut bytes = whole.clone();
        match round % 12 {
            9 => bytes.truncate(bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)),
            10 => bytes.clear(),
            11 => std::fs::remove_file(&journal).unwrap(),
            _ => bytes[at] ^= 1 << (round % 8),
        }
        if round % 12 != 11 {
            std::fs::write(&journal, &bytes).unwrap();
        }
        signal_named(KEEPER, libc::SIGCONT);
        engine = stage.engine();
        let listed = stage.block_on(engine.list()).unwrap();
        let running: Vec<i32> =
            listed.iter().flat_map(|s| &s.containers).filter_map(|c| c.pid).map(|pid| pid as i32).collect();
        let (mut living, mut expected) = (named("puppet"), running.clone());
        living.sort_unstable();
        expected.sort_unstable();
        assert_eq!(living, expected, "round {round}, byte {at}: what runs is what is listed\n{}", stage.runtime_log());
        if round % 12 < 9 {
            let log = stage.runtime_log();
            let begin = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            assert!(log.contains(&format!("the record at byte {begin}")), "round {round}, byte {at}: {log}");
            assert!(running.len() + 2 >= names.len(), "one record has one container, or its sandbox");
        }
        for sandbox in listed {
            stage.block_on(engine.remove_sandbox(&sandbox.id)).unwrap();
        }
        assert!(named("puppet").is_empty());
        stage::eventually("nothing of it is left", || {
            reap_orphans();
            named("gousse-init").is_empty()
        });
        if round % 12 < 9 {
            let kept = std::fs::read_dir(stage.folder.join("data")).unwrap().flatten();
            let kept = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("journal.damaged"));
            let is_whole = |path: PathBuf| std::fs::read(path).unwrap().starts_with(&bytes);
            assert!(kept.into_iter().any(|entry| is_whole(entry.path())), "round {round}: the damaged file is kept");
        }
    }
}

/// As a reboot leaves it: no process that knows us, and a journal of another boot. What else runs stands
/// for processes that have nothing to do with us and happen to have the same numbers.
pub fn seem_rebooted(stage: &Stage) {
    kill_both();
    let journal: PathBuf = stage.folder.join("data/journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let other = |line: &str| match line.contains(r#"{"Boot":"#) {
        true => "{\"Boot\":\"another\"}\n".to_owned(),
        false => format!("{line}\n"),
    };
    std::fs::write(&journal, text.lines().map(other).collect::<String>()).unwrap();
}

pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

fn reboot(stage: &Stage) {
    let engine = stage.engine();
    let (sandbox, id) = started(stage, &engine, "reboot", &["wait"]);
    let (_, done) = started(stage, &engine, "done", &["exit", "5"]);
    stage.block_on(wait_for_exit(&engine, &done));
    drop(engine);
    seem_rebooted(stage);
    let engine = stage.engine();
    stage.block_on(async {
        let seen = find(&engine, &id).await.unwrap();
        assert!(matches!(seen.phase, Phase::Unknown { started_at: Some(_) }), "{seen:?}");
        let seen = find(&engine, &done).await.unwrap();
        assert!(matches!(seen.phase, Phase::Exited { ref exit, .. } if exit.code == 5), "{seen:?}");
        let list = engine.list().await.unwrap();
        assert!(list.iter().all(|sandbox| !sandbox.ready));
        engine.remove_sandbox(&sandbox).await.unwrap();
    });
    // The machine did not really reboot: end what ran.
    kill_named("puppet");
}
