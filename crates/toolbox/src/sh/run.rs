//! Commands into processes.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::rc::Rc;

use crate::sh::builtins::BUILTINS;
use crate::sh::expand::matches;
use crate::sh::in_path;
use crate::sh::parse::{Command, Part, Redirection, RedirectionKind, Simple, parse};
use crate::sys::{self, Disposition};
use crate::{arguments, system};

pub struct Shell {
    /// Value, and whether it is exported.
    pub variables: BTreeMap<String, (String, bool)>,
    pub functions: HashMap<String, Rc<Command>>,
    /// By signal; 0 is EXIT.
    pub traps: BTreeMap<i32, String>,
    pub positional: Vec<String>,
    pub name: String,
    /// `$$`: the shell's own, in what it forks too.
    pid: u32,
    pub status: i32,
    pub interactive: bool,
    pub unset_is_error: bool,
    pub exit_on_error: bool,
    pub trace: bool,
    /// Within a condition `set -e` is off.
    conditions: usize,
    background: Option<i32>,
    /// Children that ended while another was waited for.
    pub ended: HashMap<i32, i32>,
}

/// Why a run stops early.
pub enum Flow {
    Break(usize),
    Continue(usize),
    Return(i32),
    Exit(i32),
}

pub type Ran = Result<i32, Flow>;

impl Shell {
    pub fn new() -> Shell {
        let exported = |(name, value)| (name, (value, true));
        let mut variables: BTreeMap<_, _> = system::environment().into_iter().map(exported).collect();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string();
        variables.entry("PATH".into()).or_insert((path, false));
        Shell {
            variables,
            functions: HashMap::new(),
            traps: BTreeMap::new(),
            positional: Vec::new(),
            name: "sh".into(),
            pid: std::process::id(),
            status: 0,
            interactive: false,
            unset_is_error: false,
            exit_on_error: false,
            trace: false,
            conditions: 0,
            background: None,
            ended: HashMap::new(),
        }
    }

    /// A whole script; its exit status.
    pub fn run_whole(&mut self, source: &str) -> i32 {
        let command = match parse(source) {
            Ok(command) => command,
            Err(trouble) => {
                eprintln!("sh: {trouble}");
                return 2;
            }
        };
        // One simple command takes the shell's place, so that it gets the signals (as bash and dash do).
        if let Command::List(commands) = &command
            && let [command @ Command::Simple(_)] = commands.as_slice()
        {
            return match self.run_last(command) {
                Ok(status) | Err(Flow::Exit(status)) => self.leave(status),
                Err(_) => self.leave(self.status),
            };
        }
        match self.run_top(&command) {
            Some(status) => status,
            None => self.leave(self.status),
        }
    }

    /// Some: the shell is to end with this status.
    pub fn run_top(&mut self, command: &Command) -> Option<i32> {
        match self.run(command) {
            Ok(_) | Err(Flow::Break(_) | Flow::Continue(_)) => None,
            Err(Flow::Return(status) | Flow::Exit(status)) => Some(self.leave(status)),
        }
    }

    /// Runs the EXIT trap.
    pub fn leave(&mut self, status: i32) -> i32 {
        self.status = status;
        let Some(action) = self.traps.remove(&0) else { return status };
        match parse(&action).map(|command| self.run(&command)) {
            Ok(Err(Flow::Exit(status))) => status,
            _ => status,
        }
    }

    pub fn get(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "$" => Some(self.pid.to_string()),
            "!" => self.background.map(|pid| pid.to_string()),
            "#" => Some(self.positional.len().to_string()),
            "-" => Some(if self.exit_on_error { "e" } else { "" }.to_string()),
            "@" | "*" => Some(self.positional.join(" ")),
            "0" => Some(self.name.clone()),
            "RANDOM" => Some(((sys::now() / 1000) % 32768).to_string()),
            name => match name.parse::<usize>() {
                Ok(n) => self.positional.get(n - 1).cloned(),
                Err(_) => self.variables.get(name).map(|(value, _)| value.clone()),
            },
        }
    }

    pub fn set(&mut self, name: &str, value: String) {
        let exported = self.variables.get(name).is_some_and(|(_, exported)| *exported);
        self.variables.insert(name.to_string(), (value, exported));
    }

    pub fn set_option(&mut self, letter: char, on: bool) -> Result<(), String> {
        match letter {
            'e' => self.exit_on_error = on,
            'x' => self.trace = on,
            'u' => self.unset_is_error = on,
            other => return Err(format!("set: the option {other:?} is not built in")),
        }
        Ok(())
    }

    pub fn run(&mut self, command: &Command) -> Ran {
        let status = self.dispatch(command)?;
        self.status = status;
        self.run_traps()?;
        Ok(self.status)
    }

    /// The last that this process does: a program takes its place, so that signals to it arrive there.
    fn run_last(&mut self, command: &Command) -> Ran {
        match command {
            Command::Simple(simple) if self.is_external(simple) && self.traps.is_empty() => self.simple(simple, true),
            command => self.run(command),
        }
    }

    fn dispatch(&mut self, command: &Command) -> Ran {
        match command {
            Command::Simple(simple) => {
                let status = self.simple(simple, false)?;
                self.checked(status)
            }
            Command::List(commands) => commands.iter().try_fold(0, |_, command| self.run(command)),
            Command::And(left, right) => match self.condition(left)? {
                0 => self.run(right),
                status => Ok(status),
            },
            Command::Or(left, right) => match self.condition(left)? {
                0 => Ok(0),
                _ => self.run(right),
            },
            Command::Pipeline(parts, negated) => {
                let status = match parts.as_slice() {
                    [one] => self.condition(one)?,
                    parts => self.pipeline(parts)?,
                };
                if *negated { Ok(i32::from(status == 0)) } else { self.checked(status) }
            }
            Command::Background(inner) => {
                let pid = self.forked(|shell| {
                    // Nothing in the background reads the shell's input.
                    if let Ok(null) = sys::open("/dev/null", libc::O_RDONLY) {
                        let _ = sys::dup_onto(null, 0);
                    }
                    shell.run_last(inner)
                })?;
                self.background = Some(pid);
                Ok(0)
            }
            Command::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.condition(condition)? == 0 {
                        return self.run(body);
                    }
                }
                otherwise.as_ref().map_or(Ok(0), |body| self.run(body))
            }
            Command::Loop(until, condition, body) => {
                let mut status = 0;
                while (self.condition(condition)? == 0) != *until {
                    if self.once(body, &mut status)? {
                        break;
                    }
                }
                Ok(status)
            }
            Command::For(name, words, body) => {
                let values = match words {
                    Some(words) => self.expanded(|shell| shell.fields(words))?,
                    None => self.positional.clone(),
                };
                let mut status = 0;
                for value in values {
                    self.set(name, value);
                    if self.once(body, &mut status)? {
                        break;
                    }
                }
                Ok(status)
            }
            Command::Case(word, arms) => {
                let subject: Vec<char> = self.expanded(|shell| shell.text(word))?.chars().collect();
                for (patterns, body) in arms {
                    for pattern in patterns {
                        let pattern = self.expanded(|shell| shell.pattern(pattern))?;
                        if matches(&pattern, &subject) {
                            return self.run(body);
                        }
                    }
                }
                Ok(0)
            }
            Command::Function(name, body) => {
                self.functions.insert(name.clone(), body.clone());
                Ok(0)
            }
            Command::Group(inner, redirections, true) => {
                let pid = self.forked(|shell| match shell.redirect(redirections) {
                    Ok(_) => shell.run(inner),
                    Err(text) => Ok(complain(&text)),
                })?;
                let status = self.wait_for(pid);
                self.checked(status)
            }
            Command::Group(inner, redirections, false) => match self.redirect(redirections) {
                Ok(saved) => {
                    let ran = self.run(inner);
                    restore(saved);
                    ran
                }
                Err(text) => Ok(complain(&text)),
            },
        }
    }

    /// One round of a loop; true if it is to end.
    fn once(&mut self, body: &Command, status: &mut i32) -> Result<bool, Flow> {
        match self.run(body) {
            Ok(code) => *status = code,
            Err(Flow::Break(1)) => return Ok(true),
            Err(Flow::Continue(1)) => {}
            Err(Flow::Break(n)) => return Err(Flow::Break(n - 1)),
            Err(Flow::Continue(n)) => return Err(Flow::Continue(n - 1)),
            Err(other) => return Err(other),
        }
        Ok(false)
    }

    fn condition(&mut self, command: &Command) -> Ran {
        self.conditions += 1;
        let ran = self.run(command);
        self.conditions -= 1;
        ran
    }

    fn checked(&mut self, status: i32) -> Ran {
        if status != 0 && self.exit_on_error && self.conditions == 0 { Err(Flow::Exit(status)) } else { Ok(status) }
    }

    /// An expansion that fails ends a script, and only the line of an interactive shell.
    fn expanded<T>(&mut self, expand: impl FnOnce(&mut Shell) -> Result<T, String>) -> Result<T, Flow> {
        expand(self).map_err(|text| {
            eprintln!("sh: {text}");
            self.status = 1;
            if self.interactive { Flow::Break(usize::MAX) } else { Flow::Exit(1) }
        })
    }

    fn is_external(&self, simple: &Simple) -> bool {
        match simple.words.first().map(Vec::as_slice) {
            Some([Part::Text(name, false)]) => !BUILTINS.contains(&name.as_str()) && !self.functions.contains_key(name),
            _ => false,
        }
    }

    /// `instead`: the command takes the shell's place.
    fn simple(&mut self, simple: &Simple, instead: bool) -> Ran {
        let words = self.expanded(|shell| shell.fields(&simple.words))?;
        let mut assignments = Vec::new();
        for (name, word) in &simple.assignments {
            assignments.push((name.clone(), self.expanded(|shell| shell.text(word))?));
        }
        if self.trace {
            eprintln!("+ {}", words.join(" "));
        }
        let Some((name, rest)) = words.split_first() else {
            assignments.into_iter().for_each(|(name, value)| self.set(&name, value));
            return match self.redirect(&simple.redirections) {
                Ok(saved) => {
                    restore(saved);
                    // `x=$(false)` has the status of the substitution; nothing else here sets one.
                    Ok(if has_substitution(simple) { self.status } else { 0 })
                }
                Err(text) => Ok(complain(&text)),
            };
        };
        let function = self.functions.get(name).cloned();
        if function.is_none() && !BUILTINS.contains(&name.as_str()) {
            return self.external(simple, &words, assignments, instead);
        }
        let saved = match self.redirect(&simple.redirections) {
            Ok(saved) => saved,
            Err(text) => return Ok(complain(&text)),
        };
        for (name, value) in assignments {
            self.set(&name, value);
        }
        let ran = match function {
            Some(body) => self.call(&body, rest),
            None => self.builtin(name, rest),
        };
        // `exec` alone makes its redirections the shell's own.
        if name == "exec" && rest.is_empty() {
            saved.into_iter().for_each(|(_, copy)| copy.into_iter().for_each(sys::close));
        } else {
            restore(saved);
        }
        ran
    }

    fn call(&mut self, body: &Command, arguments: &[String]) -> Ran {
        let outer = std::mem::replace(&mut self.positional, arguments.to_vec());
        let ran = self.run(body);
        self.positional = outer;
        match ran {
            Err(Flow::Return(status)) => Ok(status),
            other => other,
        }
    }

    fn external(&mut self, simple: &Simple, words: &[String], more: Vec<(String, String)>, instead: bool) -> Ran {
        let work = |shell: &mut Shell| -> Ran {
            if let Err(text) = shell.redirect(&simple.redirections) {
                return Ok(complain(&text));
            }
            for (name, value) in more {
                shell.variables.insert(name, (value, true));
            }
            Ok(shell.exec(words))
        };
        if instead {
            return work(self).map_err(|_| Flow::Exit(1));
        }
        let pid = self.forked(work)?;
        Ok(self.wait_for(pid))
    }

    /// Becomes a program or an applet; returns only a status.
    pub fn exec(&mut self, words: &[String]) -> i32 {
        let path = self.get("PATH").unwrap_or_default();
        let environment: Vec<(String, String)> =
            self.variables.iter().filter(|(_, (_, out))| *out).map(|(n, (v, _))| (n.clone(), v.clone())).collect();
        let found = in_path(&words[0], &path);
        if let Some(file) = &found {
            let e = sys::exec(file, words, &environment);
            let absent = e.kind() == std::io::ErrorKind::NotFound;
            eprintln!("sh: {}: {}", words[0], arguments::plain(&e));
            return if absent { 127 } else { 126 };
        }
        match crate::find(&words[0]) {
            Some(applet) => crate::run(applet, &words[1..]),
            None => {
                eprintln!("sh: {}: not found", words[0]);
                127
            }
        }
    }

    /// Runs in a child; its pid.
    pub fn forked(&mut self, work: impl FnOnce(&mut Shell) -> Ran) -> Result<i32, Flow> {
        let _ = std::io::stdout().flush();
        match sys::fork() {
            Ok(0) => {
                for signal in std::mem::take(&mut self.traps).into_keys().filter(|signal| *signal != 0) {
                    let _ = sys::dispose(signal, Disposition::Default);
                }
                if self.interactive {
                    let _ = sys::dispose(libc::SIGINT, Disposition::Default);
                    self.interactive = false;
                }
                let status = match work(self) {
                    Ok(status) | Err(Flow::Return(status) | Flow::Exit(status)) => self.leave(status),
                    Err(_) => self.status,
                };
                let _ = std::io::stdout().flush();
                sys::exit_now(status)
            }
            Ok(pid) => Ok(pid),
            Err(e) => {
                eprintln!("sh: {}", arguments::plain(&e));
                Err(Flow::Exit(2))
            }
        }
    }

    pub fn wait_for(&mut self, pid: i32) -> i32 {
        loop {
            if let Some(status) = self.ended.remove(&pid) {
                return status;
            }
            // Any child: as PID 1 the shell reaps what others left behind.
            match sys::wait(-1) {
                Ok((ended, status)) => drop(self.ended.insert(ended, status)),
                // A trap waits for the command in the foreground.
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return 127,
            }
        }
    }

    fn pipeline(&mut self, parts: &[Command]) -> Ran {
        let mut input = None;
        let mut pids = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let output = if n + 1 < parts.len() { sys::pipe().ok() } else { None };
            let own_input = input.take();
            pids.push(self.forked(|shell| {
                if let Some(input) = own_input {
                    let _ = sys::dup_onto(input, 0);
                }
                if let Some((_, output)) = output {
                    let _ = sys::dup_onto(output, 1);
                }
                shell.run_last(part)
            })?);
            own_input.into_iter().for_each(sys::close);
            if let Some((read, write)) = output {
                sys::close(write);
                input = Some(read);
            }
        }
        Ok(pids.into_iter().map(|pid| self.wait_for(pid)).last().unwrap_or(0))
    }

    /// What a command writes.
    pub fn output_of(&mut self, command: &Command) -> Result<String, String> {
        let (read, write) = sys::pipe().map_err(|e| e.to_string())?;
        let forked = self.forked(|shell| {
            let _ = sys::dup_onto(write, 1);
            shell.run_last(command)
        });
        sys::close(write);
        let mut pipe = sys::file(read);
        let pid = forked.map_err(|_| "cannot fork".to_string())?;
        let mut output = Vec::new();
        pipe.read_to_end(&mut output).map_err(|e| e.to_string())?;
        self.status = self.wait_for(pid);
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Applies redirections; returns what they replaced.
    fn redirect(&mut self, redirections: &[Redirection]) -> Result<Saved, String> {
        let _ = std::io::stdout().flush();
        let mut saved = Vec::new();
        for redirection in redirections {
            let done = self.redirect_one(redirection, &mut saved);
            if let Err(text) = done {
                restore(saved);
                return Err(text);
            }
        }
        Ok(saved)
    }

    fn redirect_one(&mut self, redirection: &Redirection, saved: &mut Saved) -> Result<(), String> {
        let target = self.text(&redirection.target)?;
        let open = |flags| arguments::at(&target, sys::open(&target, flags));
        let source = match redirection.kind {
            RedirectionKind::Read => open(libc::O_RDONLY)?,
            RedirectionKind::Write => open(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)?,
            RedirectionKind::Append => open(libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND)?,
            RedirectionKind::ReadWrite => open(libc::O_RDWR | libc::O_CREAT)?,
            RedirectionKind::Duplicate if target == "-" => {
                saved.push((redirection.fd, sys::dup_away(redirection.fd).ok()));
                sys::close(redirection.fd);
                return Ok(());
            }
            RedirectionKind::Duplicate => {
                let from: i32 = target.parse().map_err(|_| format!("{target:?} is no descriptor"))?;
                arguments::at(&target, sys::dup_away(from))?
            }
            RedirectionKind::Here => {
                let (read, write) = sys::pipe().map_err(|e| e.to_string())?;
                // Its own process writes: a pipe holds 64 KiB.
                let writer = self.forked(|_| Ok(i32::from(sys::file(write).write_all(target.as_bytes()).is_err())));
                sys::close(write);
                writer.map_err(|_| "cannot fork".to_string())?;
                read
            }
        };
        saved.push((redirection.fd, sys::dup_away(redirection.fd).ok()));
        let moved = sys::dup_onto(source, redirection.fd);
        sys::close(source);
        moved.map_err(|e| e.to_string())
    }

    fn run_traps(&mut self) -> Result<(), Flow> {
        while let Some(signal) = sys::arrived() {
            let Some(action) = self.traps.get(&signal).cloned() else { continue };
            let status = self.status;
            match parse(&action) {
                Ok(command) => self.run(&command)?,
                Err(trouble) => complain(&trouble.to_string()),
            };
            self.status = status;
        }
        Ok(())
    }
}

fn has_substitution(simple: &Simple) -> bool {
    let parts = simple.assignments.iter().flat_map(|(_, word)| word);
    parts.into_iter().any(|part| matches!(part, Part::Substitution(..)))
}

type Saved = Vec<(i32, Option<i32>)>;

fn restore(saved: Saved) {
    let _ = std::io::stdout().flush();
    for (fd, copy) in saved.into_iter().rev() {
        match copy {
            Some(copy) => {
                let _ = sys::dup_onto(copy, fd);
                sys::close(copy);
            }
            None => sys::close(fd),
        }
    }
}

pub fn complain(text: &str) -> i32 {
    eprintln!("sh: {text}");
    2
}
