//! A small static multi-call program; shipped inside the binary as the built-in image.
//!
//! `toolbox APPLET …`, or called by the applet's name through a link in /bin. Standard library and libc
//! only. Names resolve through /etc/hosts and /etc/resolv.conf (a static glibc has no getaddrinfo).
//! What an option says that is not built is an error, never ignored. As PID 1 every applet but `sh` and
//! `puppet` ends on TERM and INT, which the kernel would otherwise not deliver to it.

/// tar: what `kubectl cp` needs.
mod archive;
/// Flags and operands.
mod arguments;
/// cat, ls, cp, rm and their kin.
mod files;
/// HTTP: web, fetch, wget, probe.
mod http;
/// Host names without getaddrinfo; nslookup.
mod names;
/// puppet and eat: processes that do as tests tell them.
mod puppet;
/// A shell for `sh -c`.
mod sh;
/// serve-echo and nc.
mod sockets;
/// System calls, the only unsafe code here.
mod sys;
/// id, ps, kill, date, env and their kin.
mod system;
/// echo, printf, test, grep, head, tail, wc, seq.
mod text;

use std::io::Write;

/// Name, what it does in a line, and its function: operands in, exit status out.
pub struct Applet {
    pub name: &'static str,
    pub usage: &'static str,
    pub run: fn(&[String]) -> Outcome,
}

/// An exit status, or what went wrong (printed with the applet's name; status 1).
pub type Outcome = Result<i32, String>;

const fn applet(name: &'static str, usage: &'static str, run: fn(&[String]) -> Outcome) -> Applet {
    Applet { name, usage, run }
}

pub const APPLETS: &[Applet] = &[
    applet("[", "EXPRESSION ]", text::bracket),
    applet("cat", "[FILE…]", files::cat),
    applet("chmod", "OCTAL FILE…", files::chmod),
    applet("cp", "[-r] FILE… TARGET", files::cp),
    applet("date", "[-u] [+FORMAT]", system::date),
    applet("eat", "[--memory SIZE] [--cpu THREADS] [--disk FILE=SIZE] [--for DURATION]", puppet::eat),
    applet("echo", "[-n] [-e] [TEXT…]", text::echo),
    applet("env", "[NAME=VALUE…] [COMMAND…]", system::env),
    applet("false", "", |_| Ok(1)),
    applet("fetch", "URL… [--every DURATION] [--into FOLDER] [--header TEXT]", http::fetch),
    applet("grep", "[-qvcn] [-F] TEXT [FILE…] (plain text, no patterns)", text::grep),
    applet("head", "[-n LINES | -c BYTES] [FILE…]", text::head),
    applet("hostname", "", system::hostname),
    applet("id", "[-u | -g | -G] [-n]", system::id),
    applet("kill", "[-SIGNAL] PID… | -l", system::kill),
    applet("ln", "[-s] [-f] TARGET LINK", files::ln),
    applet("ls", "[-1alRd] [PATH…]", files::ls),
    applet("mkdir", "[-p] [-m OCTAL] FOLDER…", files::mkdir),
    applet("mv", "FILE… TARGET", files::mv),
    applet("nc", "[-z] [-u] [-w SECONDS] HOST PORT | -l [-u] -p PORT", sockets::nc),
    applet("nproc", "", system::nproc),
    applet("nslookup", "NAME", names::nslookup),
    applet("printenv", "[NAME…]", system::printenv),
    applet("printf", "FORMAT [ARGUMENT…]", text::printf),
    applet("probe", "[-p PORT] [--healthy-after D] [--unhealthy-after D] [--while FILE]", http::probe),
    applet("ps", "", system::ps),
    applet(
        "puppet",
        "[--first FILE] [--log FILE] [--print TEXT] [--complain TEXT] [--message TEXT] [--memory SIZE] \
         [--on SIGNAL=CODE|ignore|print] [--ignore-term] [--term-after D] [--term-exit CODE] \
         [--run D | --after D] [--exit CODE | --kill SIGNAL | --oom] \
         | --diary PREFIX [--lasts D,…] [--exit CODE,…] [--talk LINES] [--tick D] [--ignore-term] [--term-after D] \
         [--term-exit CODE] [--serve PORT] | --diary PREFIX --hook NAME --after D",
        puppet::puppet,
    ),
    applet("pwd", "", system::pwd),
    applet("readlink", "[-f] LINK", files::readlink),
    applet("rm", "[-rf] FILE…", files::rm),
    applet("rmdir", "FOLDER…", files::rmdir),
    applet("seq", "[FIRST] LAST", text::seq),
    applet("serve-echo", "[--tcp PORT] [--udp PORT] [--http PORT]", sockets::serve_echo),
    applet("sh", "[-c COMMANDS [NAME [ARGUMENT…]]] [FILE]", sh::sh),
    applet("sleep", "DURATION…", system::sleep),
    applet("stat", "[-c FORMAT] FILE…", files::stat),
    applet("sync", "", system::sync),
    applet("tail", "[-n LINES] [-f] [FILE…]", text::tail),
    applet("tar", "c|x|t [vmp] f FILE [-C FOLDER] [PATH…]", archive::tar),
    applet("tee", "[-a] [FILE…]", files::tee),
    applet("test", "EXPRESSION", text::test),
    applet("touch", "FILE…", files::touch),
    applet("true", "", |_| Ok(0)),
    applet("tty", "", system::tty),
    applet("uname", "[-asnrm]", system::uname),
    applet("wc", "[-lwc] [FILE…]", text::wc),
    applet("web", "[-p PORT] [FOLDER]", http::web),
    applet("wget", "[-q] [-O FILE] [-T SECONDS] [--spider] [--header TEXT] URL", http::wget),
    applet("whoami", "", system::whoami),
];

pub fn find(name: &str) -> Option<&'static Applet> {
    APPLETS.iter().find(|applet| applet.name == name)
}

/// Runs an applet and prints what went wrong.
pub fn run(applet: &Applet, arguments: &[String]) -> i32 {
    let outcome = if arguments.first().is_some_and(|a| a == "--help") && !matches!(applet.name, "echo" | "printf") {
        println!("{} {}", applet.name, applet.usage);
        Ok(0)
    } else {
        (applet.run)(arguments)
    };
    let flushed = std::io::stdout().flush();
    match (outcome, flushed) {
        (Ok(status), Ok(())) => status,
        (Ok(_), Err(e)) => complain(applet.name, &e.to_string()),
        (Err(text), _) => complain(applet.name, &text),
    }
}

fn complain(name: &str, text: &str) -> i32 {
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr(), "{name}: {text}");
    1
}

fn main() {
    puppet::note_start();
    // Arguments that are not UTF-8 stay readable; the applets that take paths take them as text.
    let mut arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let called = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    let mut name = called.rsplit('/').next().unwrap_or_default().trim_start_matches('-').to_string();
    if find(&name).is_none() {
        if arguments.is_empty() || arguments[0] == "--help" {
            usage();
            std::process::exit(i32::from(arguments.is_empty()));
        }
        name = arguments.remove(0);
    }
    let Some(applet) = find(&name) else {
        std::process::exit(complain("toolbox", &format!("{name}: no such applet")) + 126);
    };
    if !matches!(applet.name, "sh" | "puppet") {
        sys::end_on_term_as_pid_1();
    }
    // A reader that went away ends writers quietly, as everywhere; std has it ignored.
    sys::restore_sigpipe();
    std::process::exit(run(applet, &arguments));
}

fn usage() {
    println!("toolbox APPLET [ARGUMENT…]; DURATION is 10, 1.5, 500ms, 2s, 1m, 1h; SIZE is 64M\n");
    for applet in APPLETS {
        println!("  {} {}", applet.name, applet.usage);
    }
}
