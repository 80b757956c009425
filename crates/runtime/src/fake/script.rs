//! What a fake process does, read from its argv: the words of the toolbox's `puppet`, and a few others.
//!
//! `puppet --run 5 --exit 3` runs for five seconds and exits with 3. Programs that are not known run
//! until they are told to stop.

use std::time::Duration;

/// A process's part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Script {
    /// None: until it is told to stop.
    pub run: Option<Duration>,
    pub exit: i32,
    /// The kernel's killer takes it at its end.
    pub oom: bool,
    /// SIGTERM and its like are not heard.
    pub ignores_term: bool,
    /// Between the signal and the end.
    pub term_after: Duration,
    /// None: 128 + signal.
    pub term_exit: Option<i32>,
    /// It cannot even start.
    pub start_error: Option<String>,
    /// Lines of stdout at the start.
    pub prints: Vec<String>,
    pub complains: Vec<String>,
    /// Written to the termination message file at the end.
    pub message: Option<String>,
    /// Copies stdin to stdout (exec).
    pub cat: bool,
    pub memory: u64,
}

impl Default for Script {
    fn default() -> Script {
        Script {
            run: None,
            exit: 0,
            oom: false,
            ignores_term: false,
            term_after: Duration::ZERO,
            term_exit: None,
            start_error: None,
            prints: Vec::new(),
            complains: Vec::new(),
            message: None,
            cat: false,
            memory: 1 << 20,
        }
    }
}

impl Script {
    /// Errors are start errors in the words of a runtime.
    pub fn parse(argv: &[String]) -> Script {
        let now = |exit| Script { run: Some(Duration::ZERO), exit, ..Script::default() };
        let Some((program, words)) = argv.split_first() else {
            return Script { start_error: Some("no command is given".into()), ..Script::default() };
        };
        match program.rsplit('/').next().unwrap_or_default() {
            "puppet" => puppet(words),
            // The binary itself with the applet as its first word.
            "toolbox" => Script::parse(words),
            "true" => now(0),
            "false" => now(1),
            "cat" => Script { cat: true, ..now(0) },
            "echo" => Script { prints: vec![words.join(" ")], ..now(0) },
            "sleep" => Script { run: words.first().and_then(|text| seconds(text)), ..Script::default() },
            "absent" => {
                let why = format!("exec: {program:?}: executable file not found in $PATH");
                Script { start_error: Some(why), ..Script::default() }
            }
            _ => Script::default(),
        }
    }
}

fn puppet(words: &[String]) -> Script {
    let mut script = Script::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().unwrap_or_default();
        match word.as_str() {
            "--run" => script.run = seconds(&value()),
            "--exit" => {
                script.exit = value().parse().unwrap_or(0);
                script.run = script.run.or(Some(Duration::ZERO));
            }
            "--oom" => script.oom = true,
            "--ignore-term" => script.ignores_term = true,
            "--term-after" => script.term_after = seconds(&value()).unwrap_or_default(),
            "--term-exit" => script.term_exit = value().parse().ok(),
            "--start-error" => script.start_error = Some(value()),
            "--print" => script.prints.push(value()),
            "--complain" => script.complains.push(value()),
            "--message" => script.message = Some(value()),
            "--memory" => script.memory = value().parse().unwrap_or(script.memory),
            other => script.start_error = Some(format!("puppet: unknown word {other:?}")),
        }
    }
    script
}

/// `5`, `0.25`; anything else (`infinity`) has no end.
fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Script {
        Script::parse(&text.split(' ').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_puppet_does_what_its_words_say() {
        let script = parse("/bin/puppet --run 0.5 --exit 3 --ignore-term --print a --print b --message why");
        assert_eq!(script.run, Some(Duration::from_millis(500)));
        assert_eq!((script.exit, script.ignores_term), (3, true));
        assert_eq!((script.prints, script.message.as_deref()), (vec!["a".into(), "b".into()], Some("why")));
        assert_eq!(parse("puppet --exit 3").run, Some(Duration::ZERO));
        assert_eq!(parse("puppet --exit 3 --run infinity").run, None);
        assert!(parse("puppet --dance").start_error.is_some());
    }

    #[test]
    fn other_programs_run_until_they_are_told_to_stop() {
        assert_eq!(parse("nginx -g daemon"), Script::default());
        assert_eq!(parse("sleep infinity").run, None);
        assert_eq!(parse("sleep 3").run, Some(Duration::from_secs(3)));
        assert_eq!(parse("toolbox false").exit, 1);
        assert!(Script::parse(&[]).start_error.is_some());
    }
}
