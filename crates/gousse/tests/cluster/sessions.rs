//! Exec and attach with the clients that people have, whoever ends first: kubectl of several ages over SPDY
//! and WebSocket, our own, Python's, JavaScript's. What is not there is said.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::forwards::kubectls;
use crate::stage::{Instance, Lines, Output, Stage, ended, play, say};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: toolbox, command: [sleep, inf]}
";

/// Says what it hears, and ends when it hears that.
const SHELL: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - name: c
    image: toolbox
    stdin: true
    command: [sh, -c, 'while read line; do echo \"<$line>\"; [ \"$line\" = end ] && exit 0; done; sleep inf']
";

#[test]
fn whoever_ends_a_session_first_and_whatever_the_client_it_ends_and_the_next_one_goes() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        own.run_pod("web", POD);
        for (number, client) in clients().iter().enumerate() {
            execs(&own, client);
            let pod = format!("shell{number}");
            own.run_pod(&pod, &SHELL.replace("NAME", &pod));
            attaches(&own, client, &pod);
        }
        for language in ["python", "javascript"] {
            own.run_pod(language, &SHELL.replace("NAME", language));
        }
        foreign(stage, &own, "python3", PYTHON);
        foreign(stage, &own, "node", JAVASCRIPT);
        up.kill();
        own.down(true);
    });
}

/// A program, and whether it is to speak WebSocket (kubectl since 1.29; else SPDY).
struct Client {
    program: PathBuf,
    websocket: bool,
}

fn clients() -> Vec<Client> {
    let both = |program: PathBuf| [false, true].map(|websocket| Client { program: program.clone(), websocket });
    let own = Client { program: env!("CARGO_BIN_EXE_gousse").into(), websocket: true };
    [own].into_iter().chain(kubectls().into_iter().flat_map(both)).collect()
}

impl Client {
    fn command(&self, own: &Instance, words: &str) -> Command {
        let mut command = own.program(self.program.to_str().unwrap(), words);
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", self.websocket.to_string());
        command
    }

    fn piped(&self, own: &Instance, words: &str) -> Child {
        let mut command = self.command(own, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn name(&self) -> String {
        format!("{} (WebSocket: {})", self.program.display(), self.websocket)
    }
}

fn execs(own: &Instance, client: &Client) {
    let name = client.name();
    // The client's input ends first.
    let mut child = client.piped(own, "exec -i web -c c -- sh -c 'cat; echo done >&2; exit 3'");
    let input = "0123456789abcde\n".repeat(20_000);
    let mut stdin = child.stdin.take().unwrap();
    let (written, sent) = (input.clone(), std::thread::spawn);
    let writer = sent(move || stdin.write_all(written.as_bytes()));
    let done = ended(child);
    writer.join().unwrap().unwrap();
    assert_eq!((done.out.len(), done.out == input), (input.len(), true), "{name}");
    assert!(done.err.contains("done\n") && done.code == Some(3), "{name}: {} {:?}", done.err, done.code);
    // The program ends first, its input still open.
    let mut child = client.piped(own, "exec -i web -c c -- sh -c 'seq 1 50000; exit 4'");
    let stdin = child.stdin.take();
    let done = ended(child);
    drop(stdin);
    assert_eq!((done.out.lines().count(), done.out.ends_with("50000\n"), done.code), (50_000, true, Some(4)), "{name}");
    // The client leaves.
    let mut lines = Lines::of(client.command(own, "exec web -c c -- sh -c 'echo begun; sleep 600'"));
    lines.until(|line| line == "begun");
    drop(lines);
    let done = client.command(own, "exec web -c c -- echo after").output_now();
    assert!(done.ok && done.out == "after\n", "{name}: {done:?}");
    // Nothing begins.
    let done = client.command(own, "exec web -c c -- /nowhere").output_now();
    assert!(!done.ok && done.err.contains("/nowhere"), "{name}: {done:?}");
}

fn attaches(own: &Instance, client: &Client, pod: &str) {
    let name = client.name();
    let heard = |child: &mut Child, said: &str| {
        child.stdin.as_mut().unwrap().write_all(format!("{said}\n").as_bytes()).unwrap();
        let (mut text, mut piece) = (String::new(), [0; 1024]);
        while !text.contains(&format!("<{said}>\n")) {
            let read = child.stdout.as_mut().unwrap().read(&mut piece).unwrap();
            assert!(read > 0, "{name}: {said}: {text}");
            text += &String::from_utf8_lossy(&piece[..read]);
        }
    };
    // The client leaves.
    let mut child = client.piped(own, &format!("attach -i {pod} -c c"));
    heard(&mut child, "one");
    child.kill().unwrap();
    child.wait().unwrap();
    // The container ends first, the input still open.
    let mut child = client.piped(own, &format!("attach -i {pod} -c c"));
    heard(&mut child, "two");
    heard(&mut child, "end");
    let stdin = child.stdin.take();
    let done = ended(child);
    drop(stdin);
    assert!(done.ok, "{name}: {done:?}");
    own.must(&format!("wait --for=jsonpath={{.status.phase}}=Succeeded pod/{pod} --timeout=60s"));
}

/// A script of another language's client, where that is installed.
pub fn foreign(stage: &Stage, own: &Instance, program: &str, script: &str) {
    let needs = match program {
        "node" => ["-e", "require('@kubernetes/client-node')"],
        _ => ["-c", "import kubernetes"],
    };
    if !Command::new(program).args(needs).output_now().ok {
        return say(&format!("SKIPPED the client of {program}: `{}` fails", needs[1]));
    }
    let file = stage.file(&format!("{program}-script"), script);
    let done = own.program(program, file.to_str().unwrap()).output_now();
    assert!(done.ok, "{program}: {done:?}\n{}", own.logged());
}

const PYTHON: &str = "
from kubernetes import client, config, stream
config.load_kube_config()
api = client.CoreV1Api()
def session(verb, tty=False, pod='web', **more):
    return stream.stream(verb, pod, 'default', stdin=True, stdout=True, stderr=True, tty=tty,
                         _preload_content=False, **more)
execs, attaches = api.connect_get_namespaced_pod_exec, api.connect_get_namespaced_pod_attach
shell = lambda text: dict(container='c', command=['sh', '-c', text])
# The program ends first.
one = session(execs, **shell('read line; echo \"<$line>\"; echo err >&2; exit 4'))
one.write_stdin('hello\\n')
one.run_forever(timeout=30)
assert (one.read_stdout(), one.read_stderr(), one.returncode) == ('<hello>\\n', 'err\\n', 4)
# The client leaves.
one = session(execs, **shell('echo begun; sleep 600'))
assert one.readline_stdout(timeout=30) == 'begun'
one.close()
# A terminal.
one = session(execs, tty=True, **shell('read line; tty; exit 5'))
one.write_channel(4, '{\"Width\":120,\"Height\":40}')
one.write_stdin('go\\n')
one.run_forever(timeout=30)
assert '/dev/pts/0' in one.read_stdout() and one.returncode == 5
# Nothing begins.
one = session(execs, container='c', command=['/nowhere'])
one.run_forever(timeout=30)
assert '/nowhere' in one.read_channel(3) or one.returncode
one = session(attaches, pod='python', container='c')
one.write_stdin('python\\n')
lines = []
while '<python>' not in lines: lines.append(one.readline_stdout(timeout=30)); assert lines[-1]
one.close()
one = session(attaches, pod='python', container='c')
one.write_stdin('end\\n')
one.run_forever(timeout=30)
assert not one.is_open() and '<end>' in one.read_stdout()
";

const JAVASCRIPT: &str = "
const k8s = require('@kubernetes/client-node'), stream = require('node:stream'), assert = require('node:assert');
const config = new k8s.KubeConfig();
config.loadFromDefault();
const late = setTimeout(() => { console.error('too late'); process.exit(1); }, 50000);
function gather() {
  const pipe = new stream.PassThrough();
  pipe.text = '';
  pipe.on('data', piece => { pipe.text += piece; pipe.emit('more'); });
  pipe.until = async text => { while (!pipe.text.includes(text)) await new Promise(go => pipe.once('more', go)); };
  return pipe;
}
async function exec(command, input, tty) {
  const out = gather(), err = gather();
  let told, socket;
  const status = new Promise(go => told = go);
  socket = await new k8s.Exec(config).exec('default', 'web', 'c', command, out, tty ? null : err, input, tty, told);
  return { out, err, status, socket };
}
const code = status => status.status === 'Success' ? 0 : +(status.details.causes.find(c => c.reason === 'ExitCode') || {}).message;
(async () => {
  // The client's input ends first.
  let input = new stream.PassThrough(), one = await exec(['sh', '-c', 'cat; echo err >&2; exit 3'], input, false);
  input.end('hello\\n');
  assert.equal(code(await one.status), 3);
  assert.equal(one.out.text + one.err.text, 'hello\\nerr\\n');
  // The program ends first.
  one = await exec(['sh', '-c', 'seq 1 50000; exit 4'], new stream.PassThrough(), false);
  assert.equal(code(await one.status), 4);
  assert.equal(one.out.text.split('\\n').length, 50001);
  // The client leaves.
  one = await exec(['sh', '-c', 'echo begun; sleep 600'], null, false);
  await one.out.until('begun');
  one.socket.close();
  one = await exec(['/nowhere'], null, false);
  assert.equal((await one.status).status, 'Failure');
  const attach = async input => {
    const out = gather();
    return { out, socket: await new k8s.Attach(config).attach('default', 'javascript', 'c', out, null, input, false) };
  };
  input = new stream.PassThrough();
  one = await attach(input);
  input.write('javascript\\n');
  await one.out.until('<javascript>');
  one.socket.close();
  input = new stream.PassThrough();
  one = await attach(input);
  const closed = new Promise(go => one.socket.onclose = go);
  input.write('end\\n');
  await one.out.until('<end>');
  await closed;
  clearTimeout(late);
  process.exit(0);
})().catch(error => { console.error(error); process.exit(1); });
";
