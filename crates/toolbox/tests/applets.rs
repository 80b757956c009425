//! The applets through the real program.

#![allow(clippy::unwrap_used)] // a test file: what fails here is the test

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("toolbox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolbox"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> (String, i32) {
    let output = command(arguments).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap_or(-1))
}

/// A server of ours, ended with the test.
/// With its output, which it needs somebody to hold.
struct Server {
    child: Child,
    _output: BufReader<ChildStdout>,
}

impl Server {
    fn start(arguments: &[&str]) -> (Server, String) {
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().unwrap().to_string();
        (Server { child, _output: output }, format!("127.0.0.1:{port}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_page_is_served_fetched_and_kept_whole() {
    let (site, kept) = (Folder::new("site"), Folder::new("kept"));
    std::fs::create_dir(site.0.join("sub")).unwrap();
    std::fs::write(site.0.join("index.html"), "<p>hello</p>").unwrap();
    std::fs::write(site.0.join("a b.txt"), vec![b'x'; 300_000]).unwrap();
    let (_server, address) = Server::start(&["web", "-p", "0", "-q", site.0.to_str().unwrap()]);
    assert_eq!(run(&["fetch", &format!("http://{address}/")]), ("<p>hello</p>".into(), 0));
    let (_, status) =
        run(&["fetch", "--into", kept.0.to_str().unwrap(), &format!("{address}/"), &format!("{address}/a%20b.txt")]);
    assert_eq!(status, 0);
    assert_eq!(std::fs::read(kept.0.join("index.html")).unwrap(), b"<p>hello</p>");
    assert_eq!(std::fs::read(kept.0.join("a%20b.txt")).unwrap().len(), 300_000);
    assert_eq!(run(&["wget", "-q", "-O-", &format!("http://{address}/sub")]).1, 0, "a folder without slash redirects");
    assert_eq!(run(&["wget", "-qO-", &format!("http://{address}/absent")]).1, 1);
    assert_eq!(run(&["wget", "-qO-", &format!("https://{address}/")]).1, 1, "TLS is refused, not pretended");
    // Several requests on one connection, and no way out of the folder.
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"HEAD / HTTP/1.1\r\n\r\nGET /%2e%2e/x HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("HTTP/1.1 403"), "{text}");
}

#[test]
fn a_probes_target_turns() {
    let (_server, address) = Server::start(&["probe", "-p", "0"]);
    let ask = |path: &str| run(&["fetch", &format!("http://{address}{path}")]).1;
    assert_eq!(
        (ask("/healthz"), ask("/unhealthy"), ask("/healthz"), ask("/healthy"), ask("/healthz")),
        (0, 0, 1, 0, 0)
    );
    let (mut server, address) = Server::start(&["probe", "-p", "0", "--unhealthy-after", "0"]);
    assert_eq!(run(&["fetch", &format!("http://{address}/healthz")]).1, 1);
    run(&["fetch", &format!("http://{address}/exit?code=4")]);
    assert_eq!(server.child.wait().unwrap().code(), Some(4));
}

#[test]
fn archives_go_round_as_kubectl_cp_does_it() {
    let (from, to) = (Folder::new("from"), Folder::new("to"));
    let long = "n".repeat(120);
    std::fs::create_dir_all(from.0.join("d/e")).unwrap();
    std::fs::write(from.0.join("d/e").join(&long), b"deep").unwrap();
    std::fs::write(from.0.join("d/empty"), b"").unwrap();
    std::os::unix::fs::symlink("e", from.0.join("d/link")).unwrap();
    let make = |file: &str| command(&["tar", "cf", file, "d"]).current_dir(&from.0).output().unwrap();
    let mut unpack =
        command(&["tar", "-xmf", "-", "-C", to.0.to_str().unwrap()]).stdin(Stdio::piped()).spawn().unwrap();
    unpack.stdin.take().unwrap().write_all(&make("-").stdout).unwrap();
    assert!(unpack.wait().unwrap().success());
    assert_eq!(std::fs::read(to.0.join("d/e").join(&long)).unwrap(), b"deep");
    assert_eq!(std::fs::read_link(to.0.join("d/link")).unwrap(), Path::new("e"));
    // Another tar reads ours, and we read its.
    if Path::new("/bin/tar").exists() {
        make("x.tar");
        let listed = Command::new("/bin/tar").args(["tf", "x.tar"]).current_dir(&from.0).output().unwrap();
        assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 5);
        Command::new("/bin/tar").args(["cf", "y.tar", "d"]).current_dir(&from.0).status().unwrap();
        let listed = command(&["tar", "tf", "y.tar"]).current_dir(&from.0).output().unwrap();
        assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 5);
    }
}

#[test]
fn a_puppet_tells_when_it_began_and_obeys() {
    let folder = Folder::new("puppet");
    let (first, log) = (folder.0.join("first"), folder.0.join("log"));
    let (first, log) = (first.to_str().unwrap(), log.to_str().unwrap());
    let mut child =
        command(&["puppet", "--first", first, "--log", log, "--on", "TERM=print", "--on", "USR1=5", "--print", "up"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let pid = child.id().to_string();
    assert_eq!(run(&["kill", &pid]).1, 0);
    line.clear();
    output.read_line(&mut line).unwrap();
    assert!(line.starts_with("TERM at "), "{line}");
    assert_eq!(run(&["kill", "-USR1", &pid]).1, 0);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let text = std::fs::read_to_string(log).unwrap();
    let words: Vec<&str> = text.lines().filter_map(|l| l.split(' ').nth(2)).collect();
    assert_eq!(words, ["start", "TERM", "USR1"]);
    assert_eq!(std::fs::read_to_string(first).unwrap().trim().len(), 19, "nanoseconds since the epoch");
    assert_eq!(run(&["puppet", "--exit", "7"]).1, 7);
    assert_eq!(run(&["puppet", "--kill", "SEGV"]).1, -1);
}

#[test]
fn small_applets_do_what_their_names_say() {
    assert_eq!(run(&["echo", "-n", "a", "b"]), ("a b".into(), 0));
    assert_eq!(run(&["echo", "-e", "a\\tb"]), ("a\tb\n".into(), 0));
    assert_eq!(run(&["printf", "%s-%d|", "a", "1", "b", "2"]), ("a-1|b-2|".into(), 0));
    assert_eq!(run(&["test", "-d", "/", "-a", "3", "-gt", "2"]).1, 0);
    assert_eq!(run(&["[", "a", "=", "b", "]"]).1, 1);
    assert_eq!(run(&["date", "-u", "+%Y"]).0.len(), 5);
    assert_eq!(run(&["env", "-i", "A=1"]), ("A=1\n".into(), 0));
    assert_eq!(run(&["id", "-u"]).0.trim(), rustix_uid());
    assert_eq!(run(&["sleep", "x"]).1, 1);
    assert_eq!(run(&["ls", "--color"]).1, 1, "an unknown option is not ignored");
    assert_eq!(run(&["nonsense"]).1, 127);
    assert!(run(&["ps"]).0.contains("toolbox ps"));
}

fn rustix_uid() -> String {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid().to_string()
}

#[test]
fn a_puppet_with_a_diary_counts_its_lives_and_lines_and_tells_who_lives_beside_it() {
    let folder = Folder::new("diary");
    let prefix = folder.0.join("p").to_string_lossy().into_owned();
    let words = ["puppet", "--diary", &prefix, "--lasts", "30ms,0", "--exit", "3,0", "--talk", "2", "--tick", "10ms"];
    let (said, code) = run(&words);
    assert_eq!(code, 3);
    let mut child = command(&words).args(["--term-exit", "7"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut first).unwrap();
    assert_eq!(first, "L 1 1 pad-pad-pad-pad-pad-pad\n");
    assert_eq!(run(&["puppet", "--diary", &prefix, "--lasts", "1ms"]).1, 0, "beside the other one");
    assert_eq!(run(&["puppet", "--diary", &prefix, "--hook", "pre", "--after", "1ms"]).1, 0);
    assert_eq!(run(&["kill", "-TERM", &child.id().to_string()]).1, 0);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    let diary = std::fs::read_to_string(format!("{prefix}.diary")).unwrap();
    let events: Vec<&str> = diary.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        events,
        ["START", "EXIT", "START", "OVERLAP", "START", "EXIT", "HOOK", "HOOK", "TERM", "EXIT"],
        "{diary}"
    );
    let counts = std::fs::read(format!("{prefix}.counts")).unwrap();
    let fields: Vec<u64> = counts.chunks(8).map(|field| u64::from_le_bytes(field.try_into().unwrap())).collect();
    assert_eq!(fields.len(), 3 * 6);
    assert_eq!(fields[3], said.lines().count() as u64, "every line that it wrote");
    assert!(fields[0] < fields[1] && fields[2] == fields[3], "{fields:?}");
}
