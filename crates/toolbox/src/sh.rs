//! A small POSIX-like shell for `sh -c`, scripts, and a simple prompt.
//!
//! It has: lists (; & && ||), pipelines, redirections and here-documents, quotes, variables with the
//! usual `${…}` forms, command substitution, `$((…))`, globs, if, while, until, for, case, functions,
//! subshells, traps, `set -e -x -u`. It lacks, and says so where it meets them: job control, aliases,
//! arrays, `[[`, process substitution. As PID 1 without a trap it ignores TERM, as any shell does.

/// What runs in the shell itself.
mod builtins;
/// Words into fields: variables, substitutions, splitting, globs.
mod expand;
/// Text into commands.
mod parse;
/// Commands into processes.
mod run;
/// Quotes, escapes and dollars.
mod words;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::{Outcome, sys};
use parse::Trouble;
use run::Shell;

pub fn sh(arguments: &[String]) -> Outcome {
    let mut shell = Shell::new();
    let mut rest = arguments;
    let mut inline = false;
    while let Some(flag) = rest.first().filter(|a| a.len() > 1 && a.starts_with('-')) {
        rest = &rest[1..];
        if flag == "--" {
            break;
        }
        for letter in flag[1..].chars() {
            match letter {
                'c' => inline = true,
                // A login or interactive shell is the same here.
                'l' | 'i' => {}
                letter => shell.set_option(letter, true)?,
            }
        }
        if inline {
            break;
        }
    }
    if inline {
        let [source, rest @ ..] = rest else { return Err("-c needs commands".into()) };
        if let Some((name, positional)) = rest.split_first() {
            shell.name = name.clone();
            shell.positional = positional.to_vec();
        }
        return Ok(shell.run_whole(source));
    }
    if let Some((file, positional)) = rest.split_first() {
        let source = crate::arguments::at(file, std::fs::read_to_string(file))?;
        shell.name = file.clone();
        shell.positional = positional.to_vec();
        return Ok(shell.run_whole(&source));
    }
    Ok(from_standard_input(&mut shell))
}

/// Line by line, so that commands read what follows them.
fn from_standard_input(shell: &mut Shell) -> i32 {
    let prompts = sys::is_terminal(0);
    if prompts {
        // Ctrl-C is for what runs in the foreground.
        let _ = sys::dispose(libc::SIGINT, sys::Disposition::Ignore);
        shell.interactive = true;
    }
    let mut source = String::new();
    loop {
        if prompts {
            let own = if sys::identity().0 == 0 { "# " } else { "$ " };
            // A prompt that nobody sees is no loss.
            let _ = write!(std::io::stderr(), "{}", if source.is_empty() { own } else { "> " });
        }
        let line = read_line();
        let ended = line.is_none();
        source += &line.unwrap_or_default();
        match parse::parse(&source) {
            Err(Trouble::Incomplete) if !ended => continue,
            Err(trouble) => {
                if !(ended && source.trim().is_empty()) {
                    eprintln!("sh: {trouble}");
                    shell.status = 2;
                }
            }
            Ok(command) => {
                if let Some(code) = shell.run_top(&command) {
                    return code;
                }
            }
        }
        source.clear();
        if ended {
            return shell.leave(shell.status);
        }
    }
}

/// With its newline; None at the end.
fn read_line() -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        match sys::read_byte(0) {
            Ok(Some(byte)) => {
                bytes.push(byte);
                if byte == b'\n' {
                    break;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// The file that a command's name means.
pub fn in_path(name: &str, path: &str) -> Option<String> {
    let runs = |file: &String| {
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(name.to_string());
    }
    path.split(':').map(|folder| format!("{}/{name}", if folder.is_empty() { "." } else { folder })).find(runs)
}
