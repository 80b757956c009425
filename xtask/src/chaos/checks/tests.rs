//! Made-up histories: a good one that every check passes, and for each check ones that break it.

use super::*;
use crate::chaos::history::*;

const T: u64 = 1000 * SECOND;

/// A pod that lived once, was deleted gracefully with a preStop hook, and went.
fn good() -> History {
    let life = Life {
        number: 0,
        began: T,
        alive: T + 20 * SECOND,
        address: "10.244.0.2".into(),
        term: Some(T + 19 * SECOND),
        exit: Some(7),
        out: Lines { begun: 3, written: 3 },
        err: Lines { begun: 1, written: 1 },
    };
    let log = Log {
        source: "its log",
        out: vec![(0, 1), (0, 2), (0, 3)],
        err: vec![(0, 1)],
        out_within: (3, 3),
        err_within: (1, 1),
        ..Log::default()
    };
    let hook = Hook { name: "pre".into(), begun: T + 17 * SECOND, ended: Some(T + 18 * SECOND) };
    let container =
        Container { pre_stop: true, lives: vec![life], hooks: vec![hook], logs: vec![log], ..Container::named("m0") };
    let status = Status { container: "m0".into(), id: "c0".into(), running: true, ..Status::default() };
    let running = Seen {
        revision: 5,
        at: T + SECOND,
        phase: "Running".into(),
        node: "n".into(),
        address: "10.244.0.2".into(),
        deleting: false,
        statuses: vec![status.clone()],
    };
    let exit = Exit { id: "c0".into(), code: 7, reason: "Error".into() };
    let ended = Seen {
        revision: 6,
        at: T + 20 * SECOND + 1,
        deleting: true,
        statuses: vec![Status { running: false, terminated: Some(exit), ..status }],
        ..running.clone()
    };
    let rest = Rest {
        seen: Some(running.clone()),
        lives: vec![Lived { container: "m0".into(), before: 1, after: 1, exit: None }],
    };
    let pod = Pod {
        name: "web".into(),
        behaviour: "hooked",
        restart: Restart::Always,
        grace: 12,
        containers: vec![container],
        deletion: Some(Deletion { asked: T + 17 * SECOND, acknowledged: T + 17 * SECOND, grace: 12, shrunk: false }),
        gone: Some(T + 21 * SECOND),
        seen: vec![running, ended],
        rest: Some(rest),
    };
    let mut history = History { starts: vec![T - SECOND], ..History::default() };
    history.pods.insert("uid-1".into(), pod);
    let writes = &mut history.writes;
    writes.acknowledged = vec![
        Write { key: "w".into(), revision: 10, token: "a".into() },
        Write { key: "w".into(), revision: 12, token: "b".into() },
    ];
    writes.may.insert("w".into(), vec![State { token: Some("b".into()), revision: Some(12) }]);
    writes.end.insert("w".into(), State { token: Some("b".into()), revision: Some(12) });
    let event = |revision| Event { revision, key: "w".into(), deleted: false };
    writes.watches.push(Watch { from: 9, events: vec![event(10), event(12)], mark: 12 });
    writes.counter =
        Counter { acknowledged: vec!["0.1".into()], unknown: vec![], number: 1, entries: vec!["0.1".into()] };
    writes.races.insert("race".into(), vec!["u".into()]);
    writes.end.insert("race".into(), State { token: None, revision: Some(11) });
    writes.turns.push((12, 1000));
    history.trials.push(Trial {
        file: "store/0.jnl".into(),
        damage: "cut".into(),
        outcome: Outcome::Refused,
        said: "0.jnl is damaged".into(),
    });
    history.memory.push(Memory { what: "idle".into(), before: 20, peak: 60, after: 30 });
    history
}

fn pod(history: &mut History) -> &mut Pod {
    history.pods.get_mut("uid-1").unwrap()
}

fn container(history: &mut History) -> &mut Container {
    &mut pod(history).containers[0]
}

fn life(history: &mut History) -> &mut Life {
    &mut container(history).lives[0]
}

fn log(history: &mut History) -> &mut Log {
    &mut container(history).logs[0]
}

fn status(history: &mut History, seen: usize) -> &mut Status {
    &mut pod(history).seen[seen].statuses[0]
}

fn rest(history: &mut History) -> &mut Seen {
    pod(history).rest.as_mut().unwrap().seen.as_mut().unwrap()
}

/// Another life after the first one, begun so many seconds after T.
fn again(history: &mut History, seconds: u64) {
    let container = container(history);
    let next = Life { number: 1, began: T + seconds * SECOND, term: None, exit: None, ..container.lives[0].clone() };
    container.lives.push(next);
}

type Bend = fn(&mut History);

/// What breaks each check, and what the finding says.
const BROKEN: &[(&str, &str, Bend)] = &[
    ("revisions-increase", "revision 12", |h| h.writes.acknowledged[0].revision = 12),
    ("revisions-increase", "after a kill", |h| h.writes.turns.push((1001, 1000))),
    ("revisions-increase", "web: revision 5", |h| pod(h).seen[1].revision = 5),
    ("compare-and-set-holds", "stale", |h| h.writes.wrong.push("w: a stale update was taken".into())),
    ("compare-and-set-holds", "acknowledged and not counted", |h| h.writes.counter.acknowledged.push("0.2".into())),
    ("compare-and-set-holds", "refused and counted", |h| h.writes.counter.entries[0] = "0.9".into()),
    ("compare-and-set-holds", "counter: 2", |h| h.writes.counter.number = 2),
    ("compare-and-set-holds", "created 2 times", |h| h.writes.races.get_mut("race").unwrap().push("v".into())),
    ("watches-are-complete", "misses 1", |h| drop(h.writes.watches[0].events.remove(0))),
    ("watches-are-complete", "10 after 12", |h| h.writes.watches[0].events.swap(0, 1)),
    ("watches-are-complete", "begins with 10", |h| h.writes.watches[0].from = 10),
    ("node-name-is-set-once", "nodes", |h| pod(h).seen[1].node = "m".into()),
    ("one-life-at-a-time", "two lives at once", |h| container(h).overlaps.push(T)),
    ("one-life-at-a-time", "began at once", |h| {
        again(h, 5);
        container(h).lives[1].number = 0;
    }),
    ("exits-are-told", "ended with 8", |h| life(h).exit = Some(8)),
    ("exits-are-told", "ended with 137", |h| life(h).exit = None),
    ("exits-are-told", "never began", |h| container(h).lives.clear()),
    ("exits-are-told", "of no container", |h| status(h, 1).terminated.as_mut().unwrap().id.clear()),
    ("no-address-twice", "told is 10.244.0.9", |h| pod(h).seen[0].address = "10.244.0.9".into()),
    ("no-address-twice", "at once", |h| {
        let mut other = good();
        other.pods.get_mut("uid-1").unwrap().containers[0].lives[0].began += SECOND;
        h.pods.insert("uid-2".into(), other.pods.remove("uid-1").unwrap());
    }),
    ("rest-is-reached", "lost from the API", |h| pod(h).rest.as_mut().unwrap().seen = None),
    ("rest-is-reached", "no status", |h| rest(h).statuses.clear()),
    ("rest-is-reached", "never began", |h| {
        let lived = &mut pod(h).rest.as_mut().unwrap().lives[0];
        (lived.before, lived.after) = (0, 0);
    }),
    ("rest-is-reached", "restartCount 1", |h| rest(h).statuses[0].restarts = 1),
    ("rest-is-reached", "waits", |h| rest(h).statuses[0].waiting = "CreateContainerError".into()),
    ("rest-is-reached", "its phase is Running", |h| {
        pod(h).restart = Restart::Never;
        pod(h).rest.as_mut().unwrap().lives[0].exit = Some(1);
    }),
    ("rest-is-reached", "is said to run", |h| pod(h).rest.as_mut().unwrap().lives[0].exit = Some(1)),
    ("nobody-ends-without-a-reason", "nobody had deleted it", |h| life(h).term = Some(T + 2 * SECOND)),
    ("nobody-ends-without-a-reason", "without a reason", |h| again(h, 5)),
    ("nobody-ends-without-a-reason", "without a reason", |h| {
        container(h).ends = true;
        pod(h).restart = Restart::Never;
        again(h, 5);
    }),
    ("nobody-ends-without-a-reason", "was killed", |h| {
        let life = life(h);
        (life.alive, life.exit, life.term) = (T + 5 * SECOND, None, None);
    }),
    ("restarts-are-counted", "fell from 1 to 0", |h| {
        status(h, 0).restarts = 1;
        status(h, 1).id = "c1".into();
    }),
    ("restarts-are-counted", "two counts", |h| status(h, 1).restarts = 1),
    ("phases-are-final", "from Succeeded to Running", |h| pod(h).seen[0].phase = "Succeeded".into()),
    ("no-line-is-lost", "a line lost: after 1 comes 3", |h| log(h).out.retain(|(_, number)| *number != 2)),
    ("no-line-is-lost", "a line twice", |h| log(h).out[2] = (0, 2)),
    ("no-line-is-lost", "2 lines, not 3 to 3", |h| log(h).out.truncate(2)),
    ("no-line-is-lost", "stderr: 2 lines", |h| log(h).err.push((0, 2))),
    ("no-line-is-lost", "of life 1", |h| log(h).err[0] = (1, 1)),
    ("no-line-is-lost", "nobody wrote", |h| log(h).torn.push("L 0".into())),
    ("ends-are-told-first", "was not told", |h| status(h, 1).terminated = None),
    ("graces-are-kept", "killed without TERM", |h| {
        let life = life(h);
        (life.term, life.exit) = (None, None);
    }),
    ("graces-are-kept", "3.00 s of a grace of 12 s", |h| container(h).ignores_term = true),
    ("graces-are-kept", "lived 33.00 s", |h| life(h).alive = T + 50 * SECOND),
    ("hooks-run", "without its preStop hook", |h| container(h).hooks.clear()),
    ("hooks-run", "had ended", |h| container(h).hooks[0].ended = None),
    ("hooks-run", "ran 2 times", |h| {
        let hook = container(h).hooks[0].clone();
        container(h).hooks.push(hook);
    }),
    ("acknowledged-writes-survive", "is lost or changed", |h| {
        h.writes.end.get_mut("w").unwrap().token = Some("a".into())
    }),
    ("acknowledged-writes-survive", "is lost or changed", |h| drop(h.writes.end.remove("w"))),
    ("acknowledged-writes-survive", "came back", |h| *h.writes.may.get_mut("w").unwrap() = vec![State::default()]),
    ("acknowledged-writes-survive", "its creation", |h| drop(h.writes.end.remove("race"))),
    ("acknowledged-writes-survive", "a watch showed", |h| h.writes.watches[0].events[1].revision = 13),
    ("damage-is-never-silent", "gone", |h| h.trials[0].outcome = Outcome::Lost("gone".into())),
    ("damage-is-never-silent", "neither", |h| h.trials[0].outcome = Outcome::Stuck),
    ("damage-is-told-by-name", "cut", |h| h.trials[0].said = "something is damaged".into()),
    ("memory-is-bounded", "to 600 MiB", |h| h.memory[0].peak = 600),
    ("memory-is-bounded", "500 MiB afterwards", |h| h.memory[0].after = 500),
    ("nothing-is-left", "link", |h| h.left.push("link veth1".into())),
    ("everything-comes-to-an-end", "waited", |h| h.late.push("waited 60 s for all pods to go".into())),
    ("nobody-is-refused", "507", |h| h.refused.push("deleting web: 507".into())),
    ("nothing-breaks", "panicked", |h| h.broken.push("thread 'main' panicked".into())),
];

#[test]
fn a_good_history_passes_every_check() {
    let all: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
    let found: Vec<String> =
        judge(&good(), &all).into_iter().map(|(check, said)| format!("{}: {said}", check.name)).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn each_check_finds_what_breaks_it() {
    for (name, says, bend) in BROKEN {
        let mut history = good();
        bend(&mut history);
        let found: Vec<String> = judge(&history, &[name]).into_iter().map(|(_, said)| said).collect();
        assert!(found.iter().any(|said| said.contains(says)), "{name} finds no {says:?} in {found:?}");
    }
}

#[test]
fn every_check_has_a_history_that_breaks_it_and_a_mode_that_asks_for_it() {
    for check in CHECKS {
        assert!(BROKEN.iter().any(|(name, ..)| *name == check.name), "{} cannot fail", check.name);
        let asked = crate::chaos::modes::MODES.iter().any(|mode| mode.checks.contains(&check.name));
        assert!(asked, "nobody asks for {}", check.name);
    }
    for name in crate::chaos::modes::MODES.iter().flat_map(|mode| mode.checks) {
        assert!(CHECKS.iter().any(|check| check.name == *name), "no check {name}");
    }
}

/// What law 10 excepts: the keeper's death ends all containers, and their pods begin anew.
#[test]
fn the_keepers_death_excuses_what_it_costs_and_nothing_else() {
    let mut history = good();
    again(&mut history, 21);
    let first = life(&mut history);
    (first.alive, first.exit, first.term) = (T + 5 * SECOND, None, None);
    pod(&mut history).deletion = None;
    pod(&mut history).gone = None;
    let reasons = ["nobody-ends-without-a-reason"];
    assert!(!judge(&history, &reasons).is_empty());
    history.hits.push(Hit { part: Part::Keeper, blow: Blow::Kill, at: T + 5 * SECOND });
    assert!(judge(&history, &reasons).is_empty(), "{:?}", judge(&history, &reasons).first().map(|(_, said)| said));
    // What was just being started dies with it too.
    history.hits[0].at = T - SECOND / 50;
    assert!(judge(&history, &reasons).is_empty(), "a life begun as the keeper died");
    history.hits[0].at = T - 5 * SECOND;
    assert!(!judge(&history, &reasons).is_empty(), "the keeper had died long before");
    history.hits[0].at = T + 5 * SECOND;
    pod(&mut history).restart = Restart::Never;
    assert!(!judge(&history, &reasons).is_empty(), "a pod that never starts again did");
}

#[test]
fn a_diary_and_its_counts_become_lives() {
    let text = "START 0 5 10.0.0.1\nHOOK post BEGIN 6\nHOOK post END 7\nTERM 0 8\nTERM 0 9\nEXIT 0 3 10\nSTART 1 20 10.0.0.2\nOVERLAP 21\nHOOK pre BEGIN 22\n";
    let counts: Vec<u8> =
        [5u64, 9, 2, 2, 1, 1, 20, 30, 1, 0, 0, 0].iter().flat_map(|field| field.to_le_bytes()).collect();
    let mut container = Container::named("m0");
    crate::chaos::diary::parse(text, &counts, &mut container);
    let [first, second] = container.lives.as_slice() else { panic!("{:?}", container.lives) };
    assert_eq!((first.began, first.alive, first.term, first.exit), (5, 10, Some(8), Some(3)));
    assert_eq!((first.out, first.err.written), (Lines { begun: 2, written: 2 }, 1));
    assert_eq!((second.alive, second.exit, second.out), (30, None, Lines { begun: 1, written: 0 }));
    assert_eq!(
        (container.overlaps.as_slice(), container.hooks.len(), container.hooks[1].ended),
        ([21].as_slice(), 2, None)
    );
}

#[test]
fn a_torn_line_is_seen_unless_it_is_the_last_one_still_being_written() {
    let read = |text: &str| {
        let mut log = Log::default();
        crate::chaos::diary::log(text, &mut log);
        (log.out.len(), log.err.len(), log.torn.len())
    };
    assert_eq!(read("L 0 1 pad-pad-pad-pad-pad-pad\nE 0 1\n"), (1, 1, 0));
    assert_eq!(read("L 0 1 pad-pad-pad-pad-pad-pad\nL 0 2 pa"), (1, 0, 0));
    assert_eq!(read("L 0 1 pad-pad-paL 0 2 pad-pad-pad-pad-pad-pad\n"), (0, 0, 1));
    assert_eq!(crate::chaos::diary::plain("2026-01-01T00:00:00Z stdout F a b\nhalf"), Ok("a b\n".into()));
    assert!(crate::chaos::diary::plain("2026-01-01T00:00:00Z stdout P a\n").is_err());
}

/// The choices are the seed's, whatever the machine does.
#[test]
fn one_seed_makes_the_same_choices() {
    use crate::chaos::{behaviours, chance::Chance};
    let manifest = |seed| {
        behaviours::pod(
            "p",
            behaviours::named("hooked"),
            "i",
            std::path::Path::new("/d"),
            &mut Chance::new(seed, 3, "pods"),
        )
        .0
    };
    assert_eq!(manifest(7), manifest(7));
    assert_ne!(manifest(7), manifest(8));
}

/// Of an end that the keeper's death hid nobody knows the code; one that nothing ended with is still wrong.
#[test]
fn after_the_keepers_death_an_unknown_code_may_be_told_and_no_invented_one() {
    let mut history = good();
    history.hits.push(Hit { part: Part::Keeper, blow: Blow::Kill, at: T + 5 * SECOND });
    for (code, is_fine) in [(255, true), (7, true), (8, false)] {
        status(&mut history, 1).terminated.as_mut().unwrap().code = code;
        assert_eq!(judge(&history, &["exits-are-told"]).is_empty(), is_fine, "{code}");
    }
}
