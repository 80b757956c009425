//! echo, printf, test, grep, head, tail, wc, seq.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use crate::Outcome;
use crate::arguments::{at, parse};
use crate::files::each_input;

pub fn echo(arguments: &[String]) -> Outcome {
    let (mut newline, mut escapes, mut first) = (true, false, 0);
    while let Some(flag) = arguments.get(first).and_then(|a| a.strip_prefix('-')) {
        if flag.is_empty() || !flag.bytes().all(|b| matches!(b, b'n' | b'e' | b'E')) {
            break;
        }
        newline &= !flag.contains('n');
        escapes |= flag.contains('e');
        first += 1;
    }
    let mut text = arguments[first..].join(" ");
    if escapes {
        text = unescape(&text);
    }
    if newline {
        text.push('\n');
    }
    print!("{text}");
    Ok(0)
}

pub fn printf(arguments: &[String]) -> Outcome {
    let [format, rest @ ..] = arguments else { return Err("needs a format".into()) };
    let format = unescape(format);
    let mut rest = rest.iter();
    loop {
        let before = rest.len();
        let mut letters = format.chars().peekable();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                print!("{letter}");
                continue;
            }
            let mut width = String::new();
            while letters.peek().is_some_and(|c| c.is_ascii_digit() || *c == '-') {
                width.extend(letters.next());
            }
            let pad: usize = width.trim_start_matches('-').parse().unwrap_or(0);
            let mut next = || rest.next().cloned().unwrap_or_default();
            let text = match letters.next() {
                Some('%') => "%".to_string(),
                Some('s') => next(),
                Some('b') => unescape(&next()),
                Some('d' | 'i') => {
                    let number = next();
                    let number = if number.is_empty() { "0".to_string() } else { number };
                    number.parse::<i64>().map_err(|_| format!("{number:?} is no number"))?.to_string()
                }
                other => return Err(format!("the format has %{}", other.unwrap_or(' '))),
            };
            let zero = width.starts_with('0');
            match (width.starts_with('-'), zero) {
                (true, _) => print!("{text:<pad$}"),
                (false, true) => print!("{text:0>pad$}"),
                (false, false) => print!("{text:>pad$}"),
            }
        }
        // The format serves again while arguments are left.
        if rest.len() == 0 || rest.len() == before {
            return Ok(0);
        }
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('0') => out.push('\0'),
            Some('e') => out.push('\x1b'),
            Some('\\') | None => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
        }
    }
    out
}

pub fn bracket(arguments: &[String]) -> Outcome {
    match arguments.split_last() {
        Some((last, rest)) if last == "]" => test(rest),
        _ => Err("missing ]".into()),
    }
}

/// Status 0: true, 1: false, 2: no expression.
pub fn test(arguments: &[String]) -> Outcome {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match any(&words) {
        Ok(holds) => Ok(i32::from(!holds)),
        Err(text) => {
            eprintln!("test: {text}");
            Ok(2)
        }
    }
}

fn any(words: &[&str]) -> Result<bool, String> {
    match words.iter().position(|w| *w == "-o") {
        Some(at) if at > 0 && words.len() > 3 => Ok(all(&words[..at])? || any(&words[at + 1..])?),
        _ => all(words),
    }
}

fn all(words: &[&str]) -> Result<bool, String> {
    match words.iter().position(|w| *w == "-a") {
        Some(at) if at > 0 && words.len() > 3 => Ok(one(&words[..at])? && all(&words[at + 1..])?),
        _ => one(words),
    }
}

fn one(words: &[&str]) -> Result<bool, String> {
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("{text:?} is no number"));
    match words {
        [] => Ok(false),
        [word] => Ok(!word.is_empty()),
        ["!", rest @ ..] => Ok(!one(rest)?),
        [flag, path] => {
            let meta = fs::metadata(path);
            let kind = |is: fn(&fs::Metadata) -> bool| meta.as_ref().is_ok_and(is);
            Ok(match *flag {
                "-z" => path.is_empty(),
                "-n" => !path.is_empty(),
                "-e" => meta.is_ok(),
                "-f" => kind(fs::Metadata::is_file),
                "-d" => kind(fs::Metadata::is_dir),
                "-s" => kind(|m| m.size() > 0),
                "-S" => kind(|m| m.file_type().is_socket()),
                "-p" => kind(|m| m.file_type().is_fifo()),
                "-c" => kind(|m| m.file_type().is_char_device()),
                "-b" => kind(|m| m.file_type().is_block_device()),
                "-L" | "-h" => fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()),
                "-r" => fs::File::open(path).is_ok(),
                "-w" => crate::sys::open(path, libc::O_WRONLY | libc::O_NONBLOCK).map(crate::sys::close).is_ok(),
                "-x" => kind(|m| m.mode() & 0o111 != 0),
                "-t" => crate::sys::is_terminal(number(path)? as i32),
                other => return Err(format!("unknown condition {other:?}")),
            })
        }
        [a, op, b] => Ok(match *op {
            "=" | "==" => a == b,
            "!=" => a != b,
            "-eq" => number(a)? == number(b)?,
            "-ne" => number(a)? != number(b)?,
            "-lt" => number(a)? < number(b)?,
            "-le" => number(a)? <= number(b)?,
            "-gt" => number(a)? > number(b)?,
            "-ge" => number(a)? >= number(b)?,
            other => return Err(format!("unknown condition {other:?}")),
        }),
        _ => Err("too many arguments".into()),
    }
}

pub fn grep(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "q v c n F i e=", false)?;
    let mut paths = given.operands.clone();
    let wanted = match given.value("e") {
        Some(text) => text.to_string(),
        None if paths.is_empty() => return Err("needs a text".into()),
        None => paths.remove(0),
    };
    let fold = |text: &str| if given.has("i") { text.to_lowercase() } else { text.to_string() };
    let wanted = fold(&wanted);
    let (mut found, several) = (0u64, paths.len() > 1);
    let read = each_input(&paths, |path, input| {
        let mut lines = BufReader::new(input);
        let (mut raw, mut number) = (Vec::new(), 0);
        while lines.read_until(b'\n', &mut raw)? > 0 {
            number += 1;
            let line = String::from_utf8_lossy(&raw).trim_end_matches('\n').to_string();
            if fold(&line).contains(&wanted) != given.has("v") {
                found += 1;
                if !given.has("q") && !given.has("c") {
                    let path = if several { format!("{path}:") } else { String::new() };
                    let number = if given.has("n") { format!("{number}:") } else { String::new() };
                    println!("{path}{number}{line}");
                }
            }
            raw.clear();
        }
        Ok(())
    })?;
    if given.has("c") {
        println!("{found}");
    }
    Ok(if found > 0 { 0 } else { read + 1 })
}

/// `-20` is `-n 20`.
fn lines_flag(arguments: &[String]) -> Vec<String> {
    let short = |a: &String| a.len() > 1 && a.starts_with('-') && a[1..].bytes().all(|b| b.is_ascii_digit());
    let spelled = |a: &String| if short(a) { format!("-n{}", &a[1..]) } else { a.clone() };
    arguments.iter().map(spelled).collect()
}

pub fn head(arguments: &[String]) -> Outcome {
    let given = parse(&lines_flag(arguments), "n= c=", false)?;
    let (lines, bytes) = (given.number("n", 10u64)?, given.value("c").map(str::parse::<u64>));
    each_input(&given.operands, |_, input| {
        let mut out = io::stdout().lock();
        if let Some(bytes) = &bytes {
            let bytes = bytes.clone().map_err(io::Error::other)?;
            return io::copy(&mut input.take(bytes), &mut out).map(drop);
        }
        let (mut input, mut line) = (BufReader::new(input), Vec::new());
        for _ in 0..lines {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            out.write_all(&line)?;
        }
        Ok(())
    })
}

pub fn tail(arguments: &[String]) -> Outcome {
    let given = parse(&lines_flag(arguments), "n= f", false)?;
    let count = given.number("n", 10usize)?;
    let status = each_input(&given.operands, |_, input| {
        let mut kept = std::collections::VecDeque::new();
        let (mut input, mut line) = (BufReader::new(input), Vec::new());
        while input.read_until(b'\n', &mut line)? > 0 {
            kept.push_back(std::mem::take(&mut line));
            if kept.len() > count {
                kept.pop_front();
            }
        }
        kept.iter().try_for_each(|line| io::stdout().write_all(line))
    })?;
    let [path] = given.operands.as_slice() else { return Ok(status) };
    if !given.has("f") {
        return Ok(status);
    }
    let mut file = at(path, fs::File::open(path))?;
    let mut offset = at(path, file.seek(SeekFrom::End(0)))?;
    loop {
        let copied = at(path, io::copy(&mut file, &mut io::stdout()))?;
        io::stdout().flush().map_err(|e| e.to_string())?;
        offset += copied;
        if at(path, file.metadata())?.len() < offset {
            offset = at(path, file.seek(SeekFrom::Start(0)))?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub fn wc(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "l w c", false)?;
    let every = !given.has("l") && !given.has("w") && !given.has("c");
    each_input(&given.operands, |path, mut input| {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        let lines = bytes.iter().filter(|b| **b == b'\n').count();
        let words = bytes.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).count();
        let counts = [("l", lines), ("w", words), ("c", bytes.len())];
        let shown: Vec<String> =
            counts.iter().filter(|(flag, _)| every || given.has(flag)).map(|(_, n)| n.to_string()).collect();
        let name = if path == "-" { String::new() } else { format!(" {path}") };
        println!("{}{name}", shown.join(" "));
        Ok(())
    })
}

pub fn seq(arguments: &[String]) -> Outcome {
    let number = |text: &String| text.parse::<i64>().map_err(|_| format!("{text:?} is no number"));
    let (first, last) = match arguments {
        [last] => (1, number(last)?),
        [first, last] => (number(first)?, number(last)?),
        _ => return Err("needs one or two numbers".into()),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    (first..=last).try_for_each(|n| writeln!(out, "{n}")).map_err(|e| e.to_string())?;
    Ok(0)
}
