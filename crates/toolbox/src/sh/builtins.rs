//! What runs in the shell itself, because it changes the shell.

use crate::arguments;
use crate::sh::in_path;
use crate::sh::parse::parse;
use crate::sh::run::{Flow, Ran, Shell, complain};
use crate::sys::{self, Disposition, Woken};

/// What runs in the shell itself.
pub const BUILTINS: &[&str] = &[
    ":", ".", "[", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export", "false", "local",
    "printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "trap", "true", "type", "umask", "unset",
    "wait",
];

impl Shell {
    pub fn builtin(&mut self, name: &str, rest: &[String]) -> Ran {
        let first = rest.first().map(String::as_str);
        let number = |otherwise: i32| first.map_or(Ok(otherwise), |text| text.parse().map_err(|_| Flow::Exit(2)));
        match name {
            ":" | "true" => Ok(0),
            "false" => Ok(1),
            "break" => Err(Flow::Break(number(1)?.max(1) as usize)),
            "continue" => Err(Flow::Continue(number(1)?.max(1) as usize)),
            "return" => Err(Flow::Return(number(self.status)?)),
            "exit" => Err(Flow::Exit(number(self.status)? & 255)),
            "eval" => match parse(&rest.join(" ")) {
                Ok(command) => self.run(&command),
                Err(trouble) => Ok(complain(&trouble.to_string())),
            },
            "." => match first.map(|file| arguments::at(file, std::fs::read_to_string(file))) {
                Some(Ok(source)) => match parse(&source) {
                    Ok(command) => self.run(&command),
                    Err(trouble) => Ok(complain(&trouble.to_string())),
                },
                Some(Err(text)) => Ok(complain(&text)),
                None => Ok(complain(".: needs a file")),
            },
            "exec" if rest.is_empty() => Ok(0),
            "exec" => Err(Flow::Exit(self.exec(rest))),
            "cd" => {
                let home = self.get("HOME").unwrap_or_else(|| "/".into());
                let target = first.map_or(home, str::to_string);
                match arguments::at(&target, std::env::set_current_dir(&target)) {
                    Ok(()) => {
                        let now = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or(target);
                        self.set("PWD", now);
                        Ok(0)
                    }
                    Err(text) => Ok(complain(&format!("cd: {text}"))),
                }
            }
            // `local` and `readonly` only assign: there are no scopes and no locks here.
            "export" | "readonly" | "local" => {
                for word in rest.iter().filter(|word| *word != "-p") {
                    let (variable, value) = match word.split_once('=') {
                        Some((variable, value)) => (variable, Some(value.to_string())),
                        None => (word.as_str(), self.get(word)),
                    };
                    self.set(variable, value.unwrap_or_default());
                    let exports = name == "export";
                    self.variables.entry(variable.into()).and_modify(|(_, exported)| *exported |= exports);
                }
                Ok(0)
            }
            "unset" => {
                rest.iter().for_each(|name| {
                    self.variables.remove(name);
                    self.functions.remove(name);
                });
                Ok(0)
            }
            "shift" => {
                let n = (number(1)?.max(0) as usize).min(self.positional.len());
                self.positional.drain(..n);
                Ok(0)
            }
            "set" => Ok(self.set_builtin(rest)),
            "read" => Ok(self.read(rest)),
            "trap" => Ok(self.trap(rest)),
            "wait" => Ok(self.wait(rest)),
            "umask" => {
                let mask = first.map(|text| u32::from_str_radix(text, 8));
                match mask {
                    Some(Ok(mask)) => drop(sys::umask(mask)),
                    Some(Err(_)) => return Ok(complain("umask: needs an octal mask")),
                    None => {
                        let mask = sys::umask(0);
                        sys::umask(mask);
                        println!("{mask:04o}");
                    }
                }
                Ok(0)
            }
            "command" | "type" => Ok(self.command(name, rest)),
            applet => match crate::find(applet) {
                Some(applet) => Ok(crate::run(applet, rest)),
                None => Ok(complain(&format!("{applet}: not built in"))),
            },
        }
    }

    fn set_builtin(&mut self, rest: &[String]) -> i32 {
        if rest.is_empty() {
            self.variables.iter().for_each(|(name, (value, _))| println!("{name}='{value}'"));
        }
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                self.positional = words.cloned().collect();
                break;
            }
            let on = match word.chars().next() {
                Some('-') if word == "-o" || word == "-eo" => {
                    if word == "-eo" {
                        self.exit_on_error = true;
                    }
                    return complain(&format!("set: -o {} is not built in", words.next().map_or("", String::as_str)));
                }
                Some('-') => true,
                Some('+') => false,
                _ => {
                    self.positional = std::iter::once(word).chain(words).cloned().collect();
                    break;
                }
            };
            for letter in word[1..].chars() {
                if let Err(text) = self.set_option(letter, on) {
                    return complain(&text);
                }
            }
        }
        0
    }

    /// `command NAME …` runs it, `command -v NAME` and `type NAME` tell what it is.
    fn command(&mut self, name: &str, rest: &[String]) -> i32 {
        let asks = name == "type" || rest.first().is_some_and(|a| a == "-v");
        let words = if rest.first().is_some_and(|a| a == "-v") { &rest[1..] } else { rest };
        if !asks {
            let words = words.to_vec();
            let forked = self.forked(|shell| Ok(shell.exec(&words)));
            return forked.map_or(127, |pid| self.wait_for(pid));
        }
        let path = self.get("PATH").unwrap_or_default();
        let mut status = 0;
        for word in words {
            let inner = BUILTINS.contains(&word.as_str()) || self.functions.contains_key(word);
            let file = if inner { None } else { in_path(word, &path).filter(|f| std::path::Path::new(f).exists()) };
            match file {
                Some(file) => println!("{file}"),
                None if inner || crate::find(word).is_some() => println!("{word}"),
                None => status = 127,
            }
        }
        status
    }

    fn read(&mut self, rest: &[String]) -> i32 {
        let names: Vec<&String> = rest.iter().filter(|word| *word != "-r").collect();
        let (mut line, mut ended) = (Vec::new(), true);
        while let Ok(Some(byte)) = sys::read_byte(0) {
            if byte == b'\n' {
                ended = false;
                break;
            }
            line.push(byte);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let separators = self.get("IFS").unwrap_or_else(|| " \t\n".into());
        let separates = |c: char| separators.contains(c);
        let mut left = line.trim_matches(separates);
        for (n, name) in names.iter().enumerate() {
            let (value, after) = match left.split_once(separates) {
                Some((value, after)) if n + 1 < names.len() => (value, after.trim_start_matches(separates)),
                _ => (left, ""),
            };
            self.set(name, value.to_string());
            left = after;
        }
        i32::from(ended)
    }

    fn trap(&mut self, rest: &[String]) -> i32 {
        let [action, signals @ ..] = rest else {
            for (signal, action) in &self.traps {
                let name = if *signal == 0 { "EXIT".into() } else { sys::signal_name(*signal) };
                println!("trap -- '{action}' {name}");
            }
            return 0;
        };
        for name in signals {
            let signal = match name.as_str() {
                "EXIT" | "0" => 0,
                name => match sys::signal_number(name) {
                    Ok(signal) => signal,
                    Err(text) => return complain(&format!("trap: {text}")),
                },
            };
            let disposition = match action.as_str() {
                "-" => {
                    self.traps.remove(&signal);
                    Disposition::Default
                }
                action => {
                    self.traps.insert(signal, action.to_string());
                    if action.is_empty() { Disposition::Ignore } else { Disposition::Note }
                }
            };
            if signal != 0
                && let Err(e) = sys::dispose(signal, disposition)
            {
                return complain(&format!("trap: {name}: {}", arguments::plain(&e)));
            }
        }
        0
    }

    /// Unlike a command in the foreground, it ends when a trapped signal arrives.
    fn wait(&mut self, rest: &[String]) -> i32 {
        let pids: Vec<i32> = rest.iter().filter_map(|word| word.parse().ok()).collect();
        let trapped = self.traps.iter().filter(|(signal, action)| **signal != 0 && !action.is_empty());
        let trapped: Vec<i32> = trapped.map(|(signal, _)| *signal).collect();
        let mut status = 0;
        loop {
            if !pids.is_empty() && pids.iter().all(|pid| self.ended.contains_key(pid)) {
                pids.iter().for_each(|pid| status = self.ended.remove(pid).unwrap_or(status));
                return status;
            }
            match sys::wait_unless(&trapped) {
                Ok(Woken::Ended(pid, code)) => drop(self.ended.insert(pid, code)),
                // The trap itself runs after the command.
                Ok(Woken::Signal(signal)) => return 128 + signal,
                Err(_) if pids.is_empty() => {
                    self.ended.clear();
                    return 0;
                }
                Err(_) => return 127,
            }
        }
    }
}
