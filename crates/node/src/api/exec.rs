//! exec, attach and run: a session of the runtime under a client's streams.
//!
//! What the client speaks is wire's business; here a session is begun, its streams are joined with the
//! client's, and its end is told: exactly once, after all output. Words match
//! pkg/kubelet/server (remotecommand, request.go) and cri/streaming.

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use runtime::engine::{Reader, Session, Writer};
use runtime::{ContainerId, ExecSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use wire::streams::over_spdy::{self, Wanted};
use wire::streams::{self, END, Remote, STDERR, STDOUT};
use wire::websocket;

use super::answer::{self, Response, text};
use crate::control::Control;
use crate::observe::is_running;
use wire::query::Query;

const CHUNK: usize = 32 << 10;
/// Of a command's output `/run` returns no more.
const RUN_MAX: usize = 16 << 20;

type Engine = std::sync::Arc<dyn runtime::Engine>;

/// What is asked of a container.
struct Ask {
    id: ContainerId,
    attach: bool,
    spec: ExecSpec,
}

pub async fn streamed(
    control: &Control,
    request: Request<Incoming>,
    [namespace, pod, container]: [&str; 3],
    attach: bool,
) -> Response {
    let query = Query::parse(wire::heads::query(request.uri(), request.extensions()));
    let ask = match ask(control, &query, [namespace, pod, container], attach).await {
        Ok(ask) => ask,
        Err(refused) => return refused,
    };
    let engine = control.engine().clone();
    if over_spdy::is_asked(request.headers()) {
        let (headers, version) = match over_spdy::accept(request.headers(), over_spdy::VERSIONS) {
            Ok(accepted) => accepted,
            Err(headers) => return answer::refused_protocol(headers),
        };
        let (remote, local) = streams::pair(version == over_spdy::VERSIONS[0]);
        let wanted = Wanted {
            stdin: ask.spec.stdin,
            stdout: ask.spec.stdout,
            stderr: flag(&query, ["error", "stderr"]) && !query.flag("tty"),
            resize: query.flag("tty") && matches!(version, "v4.channel.k8s.io" | "v3.channel.k8s.io"),
        };
        answer::upgraded(request, async move |stream| {
            let session = wire::spdy::Session::server(stream);
            tokio::join!(over_spdy::over_spdy(session, wanted, local), serve(engine, ask, remote));
        });
        return answer::switched(headers);
    }
    if !websocket::is_asked(request.headers()) {
        return text(StatusCode::BAD_REQUEST, "Upgrade request required");
    }
    let names: Vec<&str> = streams::PROTOCOLS.iter().map(|protocol| protocol.name).collect();
    let accepted = match websocket::accept(request.headers(), &names) {
        Ok(accepted) => accepted,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let protocol = streams::protocol_of(accepted.protocol).expect("the handshake took one of these names");
    answer::upgraded(request, async move |stream| {
        let socket = websocket::server(stream).await;
        let (remote, local) = streams::pair(protocol.status);
        tokio::join!(streams::over_websocket(socket, protocol, local), serve(engine, ask, remote));
    });
    answer::switched(accepted.headers)
}

/// POST /run/…?cmd=: a command's output as the answer, nothing streamed.
pub async fn run(control: &Control, query: &Query, target: [&str; 3]) -> Response {
    let container = match running(control, target).await {
        Ok(container) => container,
        Err(refused) => return refused,
    };
    let argv: Vec<String> = query.get("cmd").split(' ').filter(|word| !word.is_empty()).map(String::from).collect();
    let spec = ExecSpec { argv, stdout: true, stderr: true, ..ExecSpec::default() };
    let session = match control.engine().exec(&container.id, spec).await {
        Ok(session) => session,
        Err(why) => return text(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    };
    let all = async |reader: Option<Reader>| {
        let mut bytes = Vec::new();
        if let Some(reader) = reader {
            // What came before a failure is still its output.
            let _ = reader.take(RUN_MAX as u64).read_to_end(&mut bytes).await;
        }
        bytes
    };
    let (mut out, err) = tokio::join!(all(session.stdout), all(session.stderr));
    out.extend(err);
    match session.exit.await {
        Ok(Ok(0)) => answer::bytes(StatusCode::OK, "text/plain; charset=utf-8", out),
        Ok(Ok(code)) => {
            let out = String::from_utf8_lossy(&out);
            let why = format!("error executing command in container: command terminated with exit code {code}: {out}");
            text(StatusCode::INTERNAL_SERVER_ERROR, why)
        }
        Ok(Err(why)) => text(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the command's end was not seen"),
    }
}

async fn ask(control: &Control, query: &Query, target: [&str; 3], attach: bool) -> Result<Ask, Response> {
    let (stdin, stdout) = (flag(query, ["input", "stdin"]), flag(query, ["output", "stdout"]));
    // A terminal has but one output.
    let stderr = flag(query, ["error", "stderr"]) && !(query.flag("tty") && stdout);
    if !(stdin || stdout || stderr) {
        let why = "you must specify at least 1 of stdin, stdout, stderr";
        return Err(text(StatusCode::BAD_REQUEST, why));
    }
    let container = running(control, target).await?;
    // A terminal is the container's own affair when attaching.
    let tty = if attach { container.spec.tty } else { query.flag("tty") };
    let argv = query.all("command").map(String::from).collect();
    let spec = ExecSpec { argv, tty, stdin, stdout, stderr: stderr && !tty, ..ExecSpec::default() };
    Ok(Ask { id: container.id, attach, spec })
}

/// The node's own name of a flag, or the API's.
fn flag(query: &Query, names: [&str; 2]) -> bool {
    names.iter().any(|name| query.flag(name))
}

async fn running(control: &Control, target: [&str; 3]) -> Result<runtime::Container, Response> {
    let [namespace, pod, container] = target;
    let found = match control.pod(namespace, pod).await {
        Ok(Some(found)) => found,
        Ok(None) => return Err(text(StatusCode::NOT_FOUND, "pod does not exist")),
        Err(why) => return Err(text(StatusCode::INTERNAL_SERVER_ERROR, why)),
    };
    let running = found.container(container).current.filter(is_running);
    running.ok_or_else(|| text(StatusCode::NOT_FOUND, format!("container not found ({container:?})")))
}

/// Runs a session to its end, or until the client has left.
async fn serve(engine: Engine, mut ask: Ask, mut remote: Remote) {
    if ask.spec.tty && !ask.attach {
        // The size arrives first: a program that asks at its start shall see it.
        ask.spec.size = remote.resize.try_recv().ok();
    }
    let spec = &ask.spec;
    let greeted = if spec.stdout { STDOUT } else { STDERR };
    if (spec.stdout || spec.stderr) && remote.out.send((greeted, Bytes::new())).await.is_err() {
        return;
    }
    let begun = match ask.attach {
        true => engine.attach(&ask.id, spec.stdin, spec.stdout, spec.stderr).await,
        false => engine.exec(&ask.id, spec.clone()).await,
    };
    let Remote { stdin: input, resize: mut sizes, out, status } = remote;
    let Session { stdin, stdout, stderr, resize, exit, .. } = match begun {
        Ok(session) => session,
        Err(why) => return tell(&out, status, failure(&why.to_string())).await,
    };
    let finished = async {
        tokio::join!(copy(stdout, STDOUT, &out), copy(stderr, STDERR, &out));
        match exit.await {
            Ok(Ok(0)) => json!({"metadata": {}, "status": "Success"}),
            // An attach tells the end of its streams, not the container's code.
            Ok(Ok(_)) if ask.attach => json!({"metadata": {}, "status": "Success"}),
            Ok(Ok(code)) => exit_status(code),
            Ok(Err(why)) => failure(&why.to_string()),
            Err(_) => failure("the command's end was not seen"),
        }
    };
    let resized = async {
        while let Some(size) = sizes.recv().await {
            if resize.send(size).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await
    };
    let fed = async {
        feed(input, stdin).await;
        std::future::pending::<()>().await
    };
    let end = tokio::select! {
        end = finished => end,
        () = out.closed() => return,
        () = resized => return,
        () = fed => return,
    };
    tell(&out, status, end).await;
}

/// The client's input, then its end.
async fn feed(mut input: mpsc::Receiver<Bytes>, stdin: Option<Writer>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(bytes) = input.recv().await {
        if stdin.write_all(&bytes).await.and(stdin.flush().await).is_err() {
            return;
        }
    }
    // Refused where the process has closed its side: then it knows.
    let _ = stdin.shutdown().await;
}

/// Copies a stream to its channel until its end, or until nobody listens any more.
async fn copy(reader: Option<Reader>, channel: u8, out: &mpsc::Sender<(u8, Bytes)>) {
    let Some(mut reader) = reader else { return };
    let mut buffer = vec![0u8; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) if out.send((channel, Bytes::copy_from_slice(&buffer[..n]))).await.is_err() => return,
            Ok(_) => {}
        }
    }
}

async fn tell(out: &mpsc::Sender<(u8, Bytes)>, status: bool, end: Value) {
    let success = end["status"] == "Success";
    let bytes = match (status, success) {
        (true, _) => Bytes::from(end.to_string()),
        (false, true) => return,
        (false, false) => Bytes::from(end["message"].as_str().unwrap_or_default().to_owned()),
    };
    // Whoever left does not need to know.
    let _ = out.send((END, bytes)).await;
}

fn failure(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500})
}

fn exit_status(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}
