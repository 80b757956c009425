//! Scripts through the real program: what they print and how they end.

#![allow(clippy::unwrap_used)] // a test file: what fails here is the test

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

fn run(script: &str) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolbox"));
    command.args(["sh", "-c", script, "name", "one", "two words"]).env("PATH", "/nowhere");
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (text, output.status.code().unwrap_or(-1))
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let (text, status) = run(script);
    assert_eq!((text.as_str(), status), (expected, 0), "{script}");
}

#[track_caller]
fn check_status(script: &str, expected: i32) {
    assert_eq!(run(script).1, expected, "{script}");
}

#[test]
fn lists_and_conditions_run_in_order() {
    check("echo a; echo b && echo c || echo d", "a\nb\nc\n");
    check("false || echo no; true && echo yes", "no\nyes\n");
    check("if false; then echo 1; elif true; then echo 2; else echo 3; fi", "2\n");
    check("! false && echo negated", "negated\n");
    check("for i in a 'b c' d; do [ \"$i\" = d ] && continue; echo \"<$i>\"; done", "<a>\n<b c>\n");
    check(
        "i=0; while [ $i -lt 3 ]; do i=$((i + 1)); if [ $i = 2 ]; then break; fi; echo $i; done; echo end $i",
        "1\nend 2\n",
    );
    check("n=3; until [ $n -eq 0 ]; do echo $n; n=$((n-1)); done", "3\n2\n1\n");
    check("case abc.txt in *.md) echo md;; a*|b*) echo text;; *) echo other;; esac", "text\n");
    check("f() { echo \"in $1\"; return 4; }; f x || echo $?", "in x\n4\n");
    check("# nothing\necho a # comment\n\n\necho b", "a\nb\n");
}

#[test]
fn words_expand_as_posix_says() {
    check("x='a  b'; echo $x \"$x\" '$x' \\$x", "a b a  b $x $x\n");
    check(
        "echo $0 $1 \"$2\" $#; for a in \"$@\"; do echo \"[$a]\"; done",
        "name one two words 2\n[one]\n[two words]\n",
    );
    check("shift; echo $1", "two words\n");
    check("echo ${u:-default} ${u-x} ${1:+set} ${u:=now} $u ${#u}", "default x set now now 3\n");
    check("f=/a/b.tar.gz; echo ${f%.*} ${f%%.*} ${f#*/} ${f##*/}", "/a/b.tar /a/b a/b.tar.gz b.tar.gz\n");
    check("echo \"$(echo a; echo b)\" `echo c` $(echo d)e", "a\nb c de\n");
    check("echo $((1 + 2 * 3)) $(( (1+2)*3 )) $((7 % 4 == 3)) $((-2))", "7 9 1 -2\n");
    check("e=; echo a $e b \"$e\" c | cat", "a b  c\n");
    check("a=1 b=2; echo $a$b", "12\n");
    check("a=$$; (echo $((a - $$))); echo $((a - $$)) | cat", "0\n0\n");
    check("cd /; echo et*/host[n]ame \"et*\"", "etc/hostname et*\n");
}

#[test]
fn redirections_and_pipes_connect() {
    let dir = tempdir();
    check(&format!("cd {dir}; echo one > f; echo two >> f; cat < f; wc -l < f"), "one\ntwo\n2\n");
    check("echo err >&2 2>&1 | cat; { echo a; echo b; } | grep b", "b\nerr\n");
    check("cat <<EOF\nx $1 $((1+1))\nEOF\necho after", "x one 2\nafter\n");
    check("cat <<'EOF' | head -1\n$1 `no`\nsecond\nEOF", "$1 `no`\n");
    check("echo hidden > /dev/null; (cd /; pwd); echo a | { read x; echo got $x; }", "/\ngot a\n");
    check(&format!("cd {dir}; exec > log; echo logged; cat log >&2"), "logged\n");
    check("seq 3 | while read n; do echo n=$n; done", "n=1\nn=2\nn=3\n");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn exits_carry_their_status() {
    check_status("exit 7", 7);
    check_status("false", 1);
    check_status("nonexistent-command", 127);
    check_status("/etc/passwd", 126);
    check_status("set -e; false; exit 9", 1);
    check_status("set -e; if false; then :; fi; false || exit 5", 5);
    check_status("kill -KILL $$", -1);
    check_status("sh -c 'kill -TERM $$'; exit $?", 143);
    check_status("(exit 3); echo $? > /dev/null; (exit 4)", 4);
    check_status("x=$(exit 6)", 6);
    check_status("if then", 2);
    check_status("echo 'unended", 2);
    check("trap 'echo bye' EXIT; echo hello", "hello\nbye\n");
}

#[test]
fn a_trap_runs_after_the_foreground_command_and_wait_yields_to_it() {
    let script = "trap 'kill $!; echo caught; exit 3' TERM; sleep 1000 & echo ready; wait; echo unreached";
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolbox"));
    let mut child = command.args(["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), child.wait().unwrap().code()), ("caught\n", Some(3)));
}

#[test]
fn wait_answers_with_the_signal_that_ended_it() {
    // One that comes before `wait` has begun only runs the trap, so there are many.
    check("trap : USR1; while kill -USR1 $$ 2> /dev/null; do :; done & wait; echo $?; kill $!", "138\n");
}

#[test]
fn a_script_on_standard_input_is_read_line_by_line() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolbox"));
    let mut child = command.arg("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let script = "read x\ndata\necho \"got $x\"\nif true; then\n  echo inside\nfi\nexit 5\n";
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "got data\ninside\n");
    assert_eq!(output.status.code(), Some(5));
}

fn tempdir() -> String {
    let dir = std::env::temp_dir().join(format!("toolbox-shell-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir.display().to_string()
}
