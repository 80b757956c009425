//! exec and attach over a websocket: channels 0 in, 1 out, 2 err, 3 the end, 4 resize.
//!
//! Subprotocols v5 (which can close stdin) and v4. Exactly one frame on channel 3, after all output.
//! Upstream: k8s.io/apimachinery/pkg/util/remotecommand, kubelet/server. SPDY is refused by name.

use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use runtime::engine::{Reader, Session};
use runtime::{ContainerId, ExecSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::api::answer::{Body, text};
use crate::api::query::Query;
use crate::control::Control;
use crate::observe::is_running;

type Engine = Arc<dyn runtime::Engine>;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const END: u8 = 3;
const RESIZE: u8 = 4;
/// v5: `[255, n]` closes channel n.
const CLOSE: u8 = 255;
const CHUNK: usize = 32 << 10;
const SUBPROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// What is asked of a container.
struct Ask {
    id: ContainerId,
    attach: bool,
    spec: ExecSpec,
}

pub async fn answer(
    control: &Control,
    mut request: Request<Incoming>,
    namespace: &str,
    name: &str,
    container: &str,
    attach: bool,
) -> Response<Body> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let found = match control.pod(namespace, name).await {
        Ok(Some(found)) => found,
        Ok(None) => return text(StatusCode::NOT_FOUND, "pod does not exist"),
        Err(why) => return text(StatusCode::INTERNAL_SERVER_ERROR, why),
    };
    let running = found.container(container).current.filter(is_running);
    let Some(instance) = running else {
        return text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")"));
    };
    // A terminal is the container's own affair when attaching.
    let tty = if attach { instance.spec.tty } else { query.flag("tty") };
    let spec = ExecSpec {
        argv: query.all("command").map(String::from).collect(),
        tty,
        stdin: query.flag("input") || query.flag("stdin"),
        stdout: query.flag("output") || query.flag("stdout"),
        stderr: !tty && (query.flag("error") || query.flag("stderr")),
        size: None,
    };
    if !(spec.stdin || spec.stdout || spec.stderr) {
        return text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let headers = request.headers();
    let words = |name: header::HeaderName| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).map(|v| v.trim().to_owned()).collect()
    };
    let websocket = words(header::UPGRADE).iter().any(|u| u.eq_ignore_ascii_case("websocket"));
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|k| derive_accept_key(k.as_bytes()));
    let (true, Some(key)) = (websocket, key) else {
        return text(StatusCode::BAD_REQUEST, "only websockets are served here; SPDY/3.1 is not");
    };
    let offered = words(header::SEC_WEBSOCKET_PROTOCOL);
    let Some(protocol) = SUBPROTOCOLS.iter().find(|p| offered.iter().any(|o| o == *p)) else {
        return text(StatusCode::BAD_REQUEST, format!("none of the subprotocols {offered:?} is served"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let ask = Ask { id: instance.id, attach, spec };
    let engine = control.engine().clone();
    tokio::spawn(async move {
        if let Err(why) = run(engine, upgrade, ask).await {
            tracing::debug!("an exec broke off: {why}");
        }
    });
    switched(&key, protocol)
}

fn switched(key: &str, protocol: &str) -> Response<Body> {
    let reply = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let empty = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    reply.body(empty).expect("headers of plain words")
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn run(engine: Engine, upgrade: OnUpgrade, ask: Ask) -> Result<(), Error> {
    let io = upgrade.await.map_err(|e| Error::Io(std::io::Error::other(e)))?;
    let socket: Socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
    let (mut sink, mut incoming) = socket.split();
    let spec = &ask.spec;
    let begun = match ask.attach {
        true => engine.attach(&ask.id, spec.stdin, spec.stdout, spec.stderr).await,
        false => engine.exec(&ask.id, spec.clone()).await,
    };
    let session = match begun {
        Ok(session) => session,
        Err(why) => {
            sink.send(frame(END, failure(&why.to_string()).to_string().as_bytes())).await?;
            return sink.send(goodbye()).await;
        }
    };
    let Session { mut stdin, stdout, stderr, resize, exit } = session;
    let (out, mut outgoing) = mpsc::channel::<Message>(16);
    // One sends, so that the end comes after all output.
    let sender = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            sink.send(message).await?;
        }
        sink.send(goodbye()).await
    });
    let ended = tokio::spawn(async move {
        let copies = tokio::join!(copy(stdout, STDOUT, &out), copy(stderr, STDERR, &out));
        let code = exit.await;
        let end = match code {
            Ok(Ok(0)) => json!({"metadata": {}, "status": "Success"}),
            Ok(Ok(code)) => exit_status(code),
            Ok(Err(why)) => failure(&why.to_string()),
            Err(_) => failure("the command's end was not seen"),
        };
        if copies == (true, true) {
            // Whoever left does not need to know.
            let _ = out.send(frame(END, end.to_string().as_bytes())).await;
        }
    });
    tokio::pin!(ended);
    loop {
        tokio::select! {
            _ = &mut ended => break,
            message = incoming.next() => match message {
                Some(Ok(Message::Binary(bytes))) => take(&bytes, &mut stdin, &resize).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    ended.abort();
                    break;
                }
                Some(Ok(_)) => {}
            },
        }
    }
    sender.await.map_err(|e| Error::Io(std::io::Error::other(e)))?
}

/// One frame from the client.
async fn take(bytes: &[u8], stdin: &mut Option<runtime::engine::Writer>, resize: &mpsc::Sender<(u16, u16)>) {
    match bytes.split_first() {
        Some((&STDIN, text)) => {
            let broken = match stdin.as_mut() {
                Some(writer) => writer.write_all(text).await.and(writer.flush().await).is_err(),
                None => false,
            };
            if broken {
                *stdin = None;
            }
        }
        Some((&RESIZE, text)) => {
            let size = serde_json::from_slice::<Value>(text).unwrap_or_default();
            let side = |name: &str| size[name].as_u64().and_then(|n| u16::try_from(n).ok());
            if let (Some(width), Some(height)) = (side("Width"), side("Height")) {
                // A session without a terminal takes none.
                let _ = resize.send((width, height)).await;
            }
        }
        Some((&CLOSE, [STDIN])) => {
            if let Some(mut writer) = stdin.take() {
                let _ = writer.shutdown().await;
            }
        }
        _ => {}
    }
}

/// Copies a stream to its channel until its end; false where nobody listens any more.
async fn copy(reader: Option<Reader>, channel: u8, out: &mpsc::Sender<Message>) -> bool {
    let Some(mut reader) = reader else { return true };
    let mut buffer = vec![0u8; CHUNK];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return true,
            Ok(n) if out.send(frame(channel, &buffer[..n])).await.is_err() => return false,
            Ok(_) => {}
        }
    }
}

fn frame(channel: u8, bytes: &[u8]) -> Message {
    let mut framed = Vec::with_capacity(bytes.len() + 1);
    framed.push(channel);
    framed.extend_from_slice(bytes);
    Message::Binary(framed.into())
}

/// Clients take only the normal code for an end in order.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
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
