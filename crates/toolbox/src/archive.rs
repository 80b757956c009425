//! tar: creating, listing and unpacking plain archives (ustar with GNU long names; reads pax too).
//!
//! What `kubectl cp` needs: `tar cf - PATH` and `tar -xmf - -C FOLDER`. No compression.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use crate::arguments::{Arguments, at, parse};
use crate::{Outcome, sys};

const BLOCK: usize = 512;

pub fn tar(arguments: &[String]) -> Outcome {
    // `tar cf -` is `tar -cf -`.
    let mut arguments = arguments.to_vec();
    if let Some(first) = arguments.first_mut().filter(|a| !a.starts_with('-')) {
        first.insert(0, '-');
    }
    let known = "c x t v m p h o z f= C= no-same-owner no-same-permissions overwrite warning= strip-components=";
    let given = parse(&arguments, known, false)?;
    if given.has("z") {
        return Err("compression is not built in".into());
    }
    let file = given.value("f").unwrap_or("-");
    let folder = given.value("C").unwrap_or(".");
    if given.has("c") {
        let out: Box<dyn Write> = match file {
            "-" => Box::new(io::stdout().lock()),
            path => Box::new(at(path, fs::File::create(path))?),
        };
        if given.operands.is_empty() {
            return Err("refuses to make an empty archive".into());
        }
        let mut out = io::BufWriter::new(out);
        for path in &given.operands {
            at(path, add(&mut out, Path::new(folder), path, &given))?;
        }
        at(file, out.write_all(&[0; 2 * BLOCK]).and_then(|()| out.flush()))?;
        return Ok(0);
    }
    if !given.has("x") && !given.has("t") {
        return Err("needs c, x or t".into());
    }
    let input: Box<dyn Read> = match file {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(at(path, fs::File::open(path))?),
    };
    at(file, read(&mut io::BufReader::new(input), Path::new(folder), &given))?;
    Ok(0)
}

fn add(out: &mut impl Write, folder: &Path, name: &str, given: &Arguments) -> io::Result<()> {
    let path = folder.join(name);
    let meta = if given.has("h") { fs::metadata(&path)? } else { fs::symlink_metadata(&path)? };
    let shown = name.trim_start_matches('/');
    let shown = if shown.is_empty() { "." } else { shown };
    if given.has("v") {
        eprintln!("{shown}");
    }
    if meta.is_dir() {
        header(out, &format!("{}/", shown.trim_end_matches('/')), "", b'5', 0, &meta)?;
        let mut names: Vec<String> =
            fs::read_dir(&path)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        return names.iter().try_for_each(|n| add(out, folder, &format!("{}/{n}", name.trim_end_matches('/')), given));
    }
    if meta.is_symlink() {
        return header(out, shown, &fs::read_link(&path)?.to_string_lossy(), b'2', 0, &meta);
    }
    if !meta.is_file() {
        eprintln!("tar: {shown}: not a file, a folder or a link; left out");
        return Ok(());
    }
    header(out, shown, "", b'0', meta.size(), &meta)?;
    // A file that grows is cut, one that shrinks is filled: the header has spoken.
    let copied = io::copy(&mut fs::File::open(&path)?.take(meta.size()), out)?;
    io::copy(&mut io::repeat(0).take(meta.size() - copied + padding(meta.size())), out).map(drop)
}

fn header(out: &mut impl Write, name: &str, link: &str, kind: u8, size: u64, meta: &fs::Metadata) -> io::Result<()> {
    for (text, long) in [(name, b'L'), (link, b'K')] {
        if text.len() > 100 {
            let length = text.len() as u64 + 1;
            block(out, "././@LongLink", "", long, length, 0, (0, 0), 0)?;
            out.write_all(text.as_bytes())?;
            out.write_all(&vec![0; (1 + padding(length)) as usize])?;
        }
    }
    block(out, name, link, kind, size, meta.mode() & 0o7777, (meta.uid(), meta.gid()), meta.mtime().max(0) as u64)
}

#[allow(clippy::too_many_arguments)] // The fields of a tar header.
fn block(
    out: &mut impl Write,
    name: &str,
    link: &str,
    kind: u8,
    size: u64,
    mode: u32,
    owner: (u32, u32),
    mtime: u64,
) -> io::Result<()> {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, room: usize, bytes: &[u8]| {
        let n = bytes.len().min(room);
        header[at..at + n].copy_from_slice(&bytes[..n]);
    };
    put(0, 100, name.as_bytes());
    put(100, 8, format!("{mode:07o}\0").as_bytes());
    put(108, 8, format!("{:07o}\0", owner.0).as_bytes());
    put(116, 8, format!("{:07o}\0", owner.1).as_bytes());
    put(124, 12, format!("{size:011o}\0").as_bytes());
    put(136, 12, format!("{mtime:011o}\0").as_bytes());
    put(148, 8, b"        ");
    put(156, 1, &[kind]);
    put(157, 100, link.as_bytes());
    put(257, 8, b"ustar  \0");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn read(input: &mut impl Read, folder: &Path, given: &Arguments) -> io::Result<()> {
    let (mut long_name, mut long_link) = (None, None);
    let mut times: Vec<(PathBuf, i64)> = Vec::new();
    let mut header = [0; BLOCK];
    loop {
        match input.read_exact(&mut header) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
            other => other?,
        }
        if header.iter().all(|b| *b == 0) {
            break;
        }
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).into_owned()
        };
        let number = |range: std::ops::Range<usize>| {
            let field = text(range);
            let digits = if field.trim().is_empty() { "0" } else { field.trim() };
            u64::from_str_radix(digits, 8).map_err(|_| io::Error::other("not a tar archive"))
        };
        let (kind, size) = (header[156], number(124..136)?);
        if matches!(kind, b'L' | b'K' | b'x' | b'g') {
            let mut bytes = vec![0; size as usize];
            input.read_exact(&mut bytes)?;
            io::copy(&mut input.take(padding(size)), &mut io::sink())?;
            match kind {
                b'L' => long_name = Some(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string()),
                b'K' => long_link = Some(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_string()),
                b'x' => {
                    long_name = pax(&bytes, "path").or(long_name);
                    long_link = pax(&bytes, "linkpath").or(long_link);
                }
                _ => {}
            }
            continue;
        }
        let prefix = if text(257..263) == "ustar" { text(345..500) } else { String::new() };
        let short = if prefix.is_empty() { text(0..100) } else { format!("{prefix}/{}", text(0..100)) };
        let name = long_name.take().unwrap_or(short);
        let link = long_link.take().unwrap_or_else(|| text(157..257));
        let mut content = input.by_ref().take(size);
        if given.has("t") {
            println!("{name}");
        } else {
            if given.has("v") {
                println!("{name}");
            }
            let strip: usize = given.number("strip-components", 0).map_err(io::Error::other)?;
            let target = inside(folder, &name, strip)?;
            if let Some(target) = target {
                let mode = number(100..108)? as u32 & 0o7777;
                unpack(&mut content, kind, &target, &link, folder, mode)?;
                if !given.has("m") && kind != b'2' {
                    times.push((target, number(136..148)? as i64));
                }
            }
        }
        io::copy(&mut content, &mut io::sink())?;
        io::copy(&mut input.take(padding(size)), &mut io::sink())?;
    }
    // Folders last: what was put into them changed them.
    times.iter().rev().try_for_each(|(path, seconds)| sys::set_times(&path.to_string_lossy(), *seconds))
}

fn pax(records: &[u8], key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(records);
    let value = text.lines().find_map(|line| line.split_once(' ')?.1.strip_prefix(key)?.strip_prefix('='));
    value.map(str::to_string)
}

/// Where an entry belongs; never outside, and None where nothing of its name is left.
fn inside(folder: &Path, name: &str, strip: usize) -> io::Result<Option<PathBuf>> {
    let mut parts = Vec::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => return Err(io::Error::other(format!("{name}: leads outside"))),
            _ => {}
        }
    }
    let mut path = folder.to_path_buf();
    for part in parts.iter().skip(strip).rev().skip(1).rev() {
        path.push(part);
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
            return Err(io::Error::other(format!("{name}: leads through the link {}", path.display())));
        }
    }
    Ok(parts.iter().skip(strip).next_back().map(|last| path.join(last)))
}

fn unpack(content: &mut impl Read, kind: u8, target: &Path, link: &str, folder: &Path, mode: u32) -> io::Result<()> {
    if kind == b'5' {
        fs::create_dir_all(target)?;
        return fs::set_permissions(target, fs::Permissions::from_mode(mode));
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::symlink_metadata(target) {
        Ok(meta) if !meta.is_dir() => fs::remove_file(target)?,
        _ => {}
    }
    match kind {
        b'0' | 0 | b'7' => {
            let mut file = fs::File::create(target)?;
            io::copy(content, &mut file)?;
            file.set_permissions(fs::Permissions::from_mode(mode))
        }
        b'2' => symlink(link, target),
        b'1' => match inside(folder, link, 0)? {
            Some(source) => fs::hard_link(source, target),
            None => Err(io::Error::other("a hard link to nothing")),
        },
        b'6' => sys::mkfifo(&target.to_string_lossy(), mode),
        other => {
            eprintln!("tar: {}: entries of type {:?} are left out", target.display(), char::from(other));
            Ok(())
        }
    }
}
