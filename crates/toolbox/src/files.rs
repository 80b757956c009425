//! cat, ls, cp, mv, rm, mkdir, ln, chmod, touch, tee, stat, readlink.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::arguments::{Arguments, at, parse};
use crate::system::{format_time, user_name};

pub fn cat(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "u", false)?;
    each_input(&given.operands, |_, mut input| io::copy(&mut input, &mut io::stdout().lock()).map(drop))
}

/// Calls `work` with every file, `-` and none meaning standard input; goes on after one that fails.
pub fn each_input(paths: &[String], mut work: impl FnMut(&str, Box<dyn Read>) -> io::Result<()>) -> Outcome {
    let standard = ["-".to_string()];
    let mut status = 0;
    for path in if paths.is_empty() { &standard[..] } else { paths } {
        let done = match path.as_str() {
            "-" => work("-", Box::new(io::stdin().lock())),
            path => fs::File::open(path).and_then(|file| work(path, Box::new(file))),
        };
        if let Err(e) = at(path, done) {
            io::stdout().flush().map_err(|e| e.to_string())?;
            eprintln!("{e}");
            status = 1;
        }
    }
    Ok(status)
}

pub fn ls(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "1 a l R d n A", false)?;
    let here = [".".to_string()];
    let paths = if given.operands.is_empty() { &here[..] } else { &given.operands };
    let mut status = 0;
    for path in paths {
        let listed = fs::symlink_metadata(path).and_then(|meta| {
            if meta.is_dir() && !given.has("d") {
                if paths.len() > 1 || given.has("R") {
                    println!("{path}:");
                }
                list(Path::new(path), &given)
            } else {
                row(Path::new(path), path, &given)
            }
        });
        if let Err(e) = at(path, listed) {
            eprintln!("ls: {e}");
            status = 1;
        }
    }
    Ok(status)
}

fn list(folder: &Path, given: &Arguments) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| given.has("a") || given.has("A") || !name.starts_with('.'));
    if given.has("a") {
        names.extend([".".into(), "..".into()]);
    }
    names.sort();
    for name in &names {
        row(&folder.join(name), name, given)?;
    }
    let below = names.iter().filter(|name| given.has("R") && *name != "." && *name != "..");
    for path in below.map(|name| folder.join(name)) {
        if fs::symlink_metadata(&path)?.is_dir() {
            println!("\n{}:", path.display());
            list(&path, given)?;
        }
    }
    Ok(())
}

fn row(path: &Path, name: &str, given: &Arguments) -> io::Result<()> {
    if !given.has("l") && !given.has("n") {
        println!("{name}");
        return Ok(());
    }
    let meta = fs::symlink_metadata(path)?;
    let owner = |id: u32, file| if given.has("n") { id.to_string() } else { user_name(file, id) };
    let time = format_time("%Y-%m-%d %H:%M", i128::from(meta.mtime()) * 1_000_000_000);
    let link = if meta.is_symlink() { format!(" -> {}", fs::read_link(path)?.display()) } else { String::new() };
    let (user, group) = (owner(meta.uid(), "/etc/passwd"), owner(meta.gid(), "/etc/group"));
    println!("{} {:>3} {user:<8} {group:<8} {:>9} {time} {name}{link}", mode_text(&meta), meta.nlink(), meta.size());
    Ok(())
}

/// `drwxr-xr-x`
fn mode_text(meta: &fs::Metadata) -> String {
    let kind = meta.file_type();
    let letter = if kind.is_dir() {
        'd'
    } else if kind.is_symlink() {
        'l'
    } else if kind.is_char_device() {
        'c'
    } else if kind.is_block_device() {
        'b'
    } else if kind.is_fifo() {
        'p'
    } else if kind.is_socket() {
        's'
    } else {
        '-'
    };
    let mode = meta.mode();
    let mut text = letter.to_string();
    for (shift, special, marks) in [(6, 0o4000, "sS"), (3, 0o2000, "sS"), (0, 0o1000, "tT")] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => marks.chars().next().unwrap_or('s'),
            (true, false) => marks.chars().nth(1).unwrap_or('S'),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

pub fn cp(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "r R a p f", false)?;
    let deep = given.has("r") || given.has("R") || given.has("a");
    into_target(&given.operands, |from, to| copy(from, to, deep))
}

fn copy(from: &Path, to: &Path, deep: bool) -> io::Result<()> {
    let meta = if deep { fs::symlink_metadata(from)? } else { fs::metadata(from)? };
    if meta.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if !meta.is_dir() {
        return fs::copy(from, to).map(drop);
    }
    if !deep {
        return Err(io::Error::other("is a folder; -r copies it"));
    }
    match fs::create_dir(to) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => fs::set_permissions(to, meta.permissions())?,
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy(&from.join(&name), &to.join(&name), deep)?;
    }
    Ok(())
}

pub fn mv(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "f", false)?;
    into_target(&given.operands, |from, to| match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            copy(from, to, true)?;
            if fs::symlink_metadata(from)?.is_dir() { fs::remove_dir_all(from) } else { fs::remove_file(from) }
        }
        other => other,
    })
}

/// The last operand is the target; into it, if it is a folder.
fn into_target(operands: &[String], work: impl Fn(&Path, &Path) -> io::Result<()>) -> Outcome {
    let Some((target, sources)) = operands.split_last().filter(|(_, sources)| !sources.is_empty()) else {
        return Err("needs a source and a target".into());
    };
    let target = PathBuf::from(target);
    for source in sources {
        let from = Path::new(source);
        let to = match from.file_name() {
            Some(name) if target.is_dir() => target.join(name),
            _ if sources.len() > 1 => return Err(format!("{} is no folder", target.display())),
            _ => target.clone(),
        };
        at(source, work(from, &to))?;
    }
    Ok(0)
}

pub fn rm(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "r R f", false)?;
    let (deep, forced) = (given.has("r") || given.has("R"), given.has("f"));
    for path in &given.operands {
        let removed = fs::symlink_metadata(path).and_then(|meta| match meta.is_dir() {
            true if deep => fs::remove_dir_all(path),
            true => Err(io::Error::other("is a folder; -r removes it")),
            false => fs::remove_file(path),
        });
        match removed {
            Err(e) if forced && e.kind() == io::ErrorKind::NotFound => {}
            other => at(path, other)?,
        }
    }
    Ok(0)
}

pub fn rmdir(arguments: &[String]) -> Outcome {
    for path in &parse(arguments, "", false)?.operands {
        at(path, fs::remove_dir(path))?;
    }
    Ok(0)
}

pub fn mkdir(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "p m=", false)?;
    let mode = given.value("m").map_or(Ok(0o777), octal)?;
    for path in &given.operands {
        at(path, fs::DirBuilder::new().recursive(given.has("p")).mode(mode).create(path))?;
    }
    Ok(0)
}

pub fn ln(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "s f n", false)?;
    let [target, link] = given.operands.as_slice() else { return Err("needs a target and a link".into()) };
    if given.has("f") && fs::symlink_metadata(link).is_ok() {
        at(link, fs::remove_file(link))?;
    }
    at(link, if given.has("s") { symlink(target, link) } else { fs::hard_link(target, link) })?;
    Ok(0)
}

pub fn chmod(arguments: &[String]) -> Outcome {
    let [mode, paths @ ..] = arguments else { return Err("needs a mode and files".into()) };
    let symbolic = |meta: &fs::Metadata| match mode.as_str() {
        "+x" | "a+x" => Ok(meta.mode() | 0o111),
        "u+x" => Ok(meta.mode() | 0o100),
        "-x" => Ok(meta.mode() & !0o111),
        "+w" | "u+w" => Ok(meta.mode() | 0o200),
        mode => octal(mode),
    };
    for path in paths {
        let mode = symbolic(&at(path, fs::metadata(path))?)?;
        at(path, fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)))?;
    }
    Ok(0)
}

pub fn touch(arguments: &[String]) -> Outcome {
    for path in &parse(arguments, "", false)?.operands {
        at(path, fs::OpenOptions::new().append(true).create(true).open(path))?;
        at(path, crate::sys::set_times(path, (crate::sys::now() / 1_000_000_000) as i64))?;
    }
    Ok(0)
}

pub fn tee(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "a", false)?;
    let mut outputs: Vec<Box<dyn Write>> = vec![Box::new(io::stdout())];
    for path in &given.operands {
        let append = given.has("a");
        let file = fs::OpenOptions::new().write(true).create(true).append(append).truncate(!append).open(path);
        outputs.push(Box::new(at(path, file)?));
    }
    let mut buffer = [0; 16384];
    loop {
        let n = at("standard input", io::stdin().read(&mut buffer))?;
        if n == 0 {
            return Ok(0);
        }
        for output in &mut outputs {
            output.write_all(&buffer[..n]).and_then(|()| output.flush()).map_err(|e| e.to_string())?;
        }
    }
}

pub fn stat(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "c= L", false)?;
    for path in &given.operands {
        let meta = at(path, if given.has("L") { fs::metadata(path) } else { fs::symlink_metadata(path) })?;
        let format = given.value("c").unwrap_or("%n: %A %a, owner %u:%g, %s bytes, modified %Y");
        let mut text = String::new();
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                Some('n') => text.push_str(path),
                Some('s') => text += &meta.size().to_string(),
                Some('a') => text += &format!("{:o}", meta.mode() & 0o7777),
                Some('A') => text += &mode_text(&meta),
                Some('u') => text += &meta.uid().to_string(),
                Some('g') => text += &meta.gid().to_string(),
                Some('U') => text += &user_name("/etc/passwd", meta.uid()),
                Some('G') => text += &user_name("/etc/group", meta.gid()),
                Some('i') => text += &meta.ino().to_string(),
                Some('h') => text += &meta.nlink().to_string(),
                Some('Y') => text += &meta.mtime().to_string(),
                Some('%') => text.push('%'),
                other => return Err(format!("the format has %{}", other.unwrap_or(' '))),
            }
        }
        println!("{text}");
    }
    Ok(0)
}

pub fn readlink(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "f n", false)?;
    let [path] = given.operands.as_slice() else { return Err("needs one link".into()) };
    let target = if given.has("f") { fs::canonicalize(path) } else { fs::read_link(path) };
    println!("{}", at(path, target)?.display());
    Ok(0)
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| format!("{text:?} is no octal mode"))
}
