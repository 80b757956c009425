//! id, ps, kill, date, env, sleep, hostname, uname.

use std::fs;
use std::io::Write;

use crate::arguments::{at, duration, parse};
use crate::{Outcome, sys};

pub fn id(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "u g G n", false)?;
    let (uid, gid, mut groups) = sys::identity();
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    let name = |file: &str, id: u32| if given.has("n") { user_name(file, id) } else { id.to_string() };
    if given.has("u") {
        println!("{}", name("/etc/passwd", uid));
    } else if given.has("g") {
        println!("{}", name("/etc/group", gid));
    } else if given.has("G") {
        println!("{}", groups.iter().map(|g| name("/etc/group", *g)).collect::<Vec<_>>().join(" "));
    } else {
        let both = |file: &str, id: u32| match user_name(file, id) {
            known if known != id.to_string() => format!("{id}({known})"),
            _ => id.to_string(),
        };
        let groups: Vec<String> = groups.iter().map(|g| both("/etc/group", *g)).collect();
        println!("uid={} gid={} groups={}", both("/etc/passwd", uid), both("/etc/group", gid), groups.join(","));
    }
    Ok(0)
}

pub fn whoami(_: &[String]) -> Outcome {
    println!("{}", user_name("/etc/passwd", sys::identity().0));
    Ok(0)
}

/// The name of a user or group by the file that lists it; the number where it has none.
pub fn user_name(file: &str, id: u32) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let number = id.to_string();
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_string())
    });
    found.unwrap_or(number)
}

pub fn hostname(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "s f i", false)?;
    let [_, name, ..] = sys::uname();
    if given.has("i") {
        let addresses = crate::names::look_up(&name)?;
        println!("{}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    } else if given.has("s") {
        println!("{}", name.split('.').next().unwrap_or_default());
    } else if given.has("f") {
        println!("{}", crate::names::full_name(&name));
    } else {
        println!("{name}");
    }
    Ok(0)
}

pub fn uname(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "a s n r v m", false)?;
    let names = sys::uname();
    let none = arguments.is_empty();
    let shown = ["s", "n", "r", "v", "m"]
        .iter()
        .zip(&names)
        .filter(|(flag, _)| given.has("a") || given.has(flag) || (none && **flag == "s"));
    println!("{}", shown.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(" "));
    Ok(0)
}

pub fn env(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "i", true)?;
    let mut environment: Vec<(String, String)> = if given.has("i") { Vec::new() } else { environment() };
    let split = given.operands.iter().position(|a| !a.contains('=')).unwrap_or(given.operands.len());
    for pair in &given.operands[..split] {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        environment.retain(|(known, _)| known != name);
        environment.push((name.to_string(), value.to_string()));
    }
    let Some(program) = given.operands.get(split) else {
        environment.iter().for_each(|(name, value)| println!("{name}={value}"));
        return Ok(0);
    };
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    let path = environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
    match crate::sh::in_path(program, path) {
        Some(file) => {
            let e = sys::exec(&file, &given.operands[split..], &environment);
            Err(format!("{program}: {e}"))
        }
        None => match crate::find(program) {
            Some(applet) => Ok(crate::run(applet, &given.operands[split + 1..])),
            None => {
                eprintln!("env: {program}: not found");
                Ok(127)
            }
        },
    }
}

pub fn printenv(arguments: &[String]) -> Outcome {
    if arguments.is_empty() {
        return env(&[]);
    }
    let mut status = 0;
    for name in arguments {
        match std::env::var_os(name) {
            Some(value) => println!("{}", value.display()),
            None => status = 1,
        }
    }
    Ok(status)
}

pub fn environment() -> Vec<(String, String)> {
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

pub fn sleep(arguments: &[String]) -> Outcome {
    if arguments.is_empty() {
        return Err("needs a duration".into());
    }
    for text in arguments {
        std::thread::sleep(duration(text)?);
    }
    Ok(0)
}

pub fn date(arguments: &[String]) -> Outcome {
    // There are no time zones here: it is always UTC.
    let given = parse(arguments, "u", false)?;
    let format = match given.operands.first() {
        Some(format) => format.strip_prefix('+').ok_or("the format begins with +; setting is not built")?,
        None => "%Y-%m-%dT%H:%M:%SZ",
    };
    println!("{}", format_time(format, sys::now()));
    Ok(0)
}

/// strftime's most usual letters, in UTC; `%N` is nanoseconds.
pub fn format_time(format: &str, nanoseconds: i128) -> String {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400) as i64, seconds.rem_euclid(86_400));
    // Days to a date: Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        text += &match letters.next() {
            Some('Y') => year.to_string(),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('H') => format!("{hour:02}"),
            Some('M') => format!("{minute:02}"),
            Some('S') => format!("{second:02}"),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('s') => seconds.to_string(),
            Some('N') => format!("{:09}", nanoseconds.rem_euclid(1_000_000_000)),
            Some('Z') => "UTC".into(),
            Some('z') => "+0000".into(),
            Some(other) => format!("%{other}").replace("%%", "%"),
            None => "%".into(),
        };
    }
    text
}

pub fn kill(arguments: &[String]) -> Outcome {
    let (mut signal, mut rest) = (libc::SIGTERM, arguments);
    match arguments {
        [flag, ..] if flag == "-l" => {
            sys::SIGNALS.iter().for_each(|(name, number)| println!("{number} {name}"));
            return Ok(0);
        }
        [flag, name, after @ ..] if flag == "-s" => (signal, rest) = (sys::signal_number(name)?, after),
        [flag, after @ ..] if flag.len() > 1 && flag.starts_with('-') => {
            (signal, rest) = (sys::signal_number(&flag[1..])?, after);
        }
        _ => {}
    }
    if rest.first().is_some_and(|a| a == "--") {
        rest = &rest[1..];
    }
    if rest.is_empty() {
        return Err("needs a process".into());
    }
    for pid in rest {
        at(pid, sys::kill(pid.parse().map_err(|_| format!("{pid:?} is no process"))?, signal))?;
    }
    Ok(0)
}

pub fn ps(arguments: &[String]) -> Outcome {
    // The usual flags ask for all processes, and that is what there is.
    parse(
        &arguments.iter().filter(|a| !matches!(a.as_str(), "aux" | "ax")).cloned().collect::<Vec<_>>(),
        "e f a x u w",
        false,
    )?;
    println!("{:>7} {:>7} {:<8} {:<1} {:>9} COMMAND", "PID", "PPID", "USER", "S", "RSS-KB");
    let entries = at("/proc", fs::read_dir("/proc"))?;
    let mut pids: Vec<u32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        // One that ends meanwhile is left out.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|l| l.split_whitespace().next()).unwrap_or("0").to_string()
        };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
        let command = if command.is_empty() { format!("[{}]", field("Name")) } else { command };
        let user = user_name("/etc/passwd", field("Uid").parse().unwrap_or(0));
        println!("{pid:>7} {:>7} {user:<8} {:<1} {:>9} {command}", field("PPid"), field("State"), field("VmRSS"));
    }
    Ok(0)
}

pub fn pwd(_: &[String]) -> Outcome {
    println!("{}", std::env::current_dir().map_err(|e| e.to_string())?.display());
    Ok(0)
}

pub fn nproc(_: &[String]) -> Outcome {
    println!("{}", std::thread::available_parallelism().map_or(1, usize::from));
    Ok(0)
}

pub fn sync(_: &[String]) -> Outcome {
    sys::sync();
    Ok(0)
}

pub fn tty(_: &[String]) -> Outcome {
    if !sys::is_terminal(0) {
        println!("not a tty");
        return Ok(1);
    }
    println!("{}", at("/proc/self/fd/0", fs::read_link("/proc/self/fd/0"))?.display());
    Ok(0)
}
