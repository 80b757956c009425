//! What exec and attach share: a websocket to the server, this terminal's streams over it, and its end.

use std::io::{IsTerminal, Read, Write};

use api::Object;
use api::resource::PODS;
use bytes::Bytes;
use clap::Args;
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use nix::sys::termios::{self, SetArg, Termios};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wire::query::encoded;
use wire::streams::{self, END, RESIZE, STDERR, STDIN, STDOUT};
use wire::websocket::{self, Connected, Message, Socket};

use crate::failure::{Context, Failure, Result, failure, refused};
use crate::output;
use crate::session::Session;

const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Whose streams, and which.
#[derive(Args, Default)]
pub struct Asked {
    /// `web` or `pod/web`
    pub target: String,
    /// Which container
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Standard input is a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Only what the process writes
    #[arg(short, long)]
    pub quiet: bool,
}

/// `web` or `pod/web`.
pub async fn pod(session: &Session, target: &str) -> Result<Object> {
    let name = match target.split_once('/') {
        Some((kind, name)) if session.kinds().await?.named(kind)?.qualified() == PODS.qualified() => name,
        Some((kind, _)) => return Err(failure(format!("only pods have streams here, not {kind:?}"))),
        None => target,
    };
    let found = session.client.get(&PODS, &session.namespace, name).await;
    found.map_err(|status| refused(&status, ""))
}

/// Runs `exec` or `attach` to the end of the session; a command's exit code becomes ours.
pub async fn run(session: &Session, verb: &str, asked: &Asked, command: &[String]) -> Result<()> {
    let pod = pod(session, &asked.target).await?;
    let value = pod.value();
    let container = match &asked.container {
        Some(name) => name.clone(),
        None => default_container(&value).ok_or_else(|| failure("the pod has no containers"))?,
    };
    if asked.container.is_none() && !asked.quiet {
        told_default(&value, &container);
    }
    let is_terminal = std::io::stdin().is_terminal();
    let tty = asked.tty && asked.stdin && is_terminal;
    if asked.tty && !tty && asked.stdin && !asked.quiet {
        output::note("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    let tty = tty || (asked.tty && !asked.stdin);
    let mut query = vec![format!("container={}", encoded(&container)), "stdout=true".into()];
    query.extend(command.iter().map(|word| format!("command={}", encoded(word))));
    query.extend(asked.stdin.then(|| "stdin=true".into()));
    query.extend((!tty).then(|| "stderr=true".into()));
    query.extend(tty.then(|| "tty=true".into()));
    let path = format!("/api/v1/namespaces/{}/pods/{}/{}", session.namespace, pod.meta().name, verb);
    let (socket, protocol) = connect(session, &format!("{path}?{}", query.join("&")), PROTOCOLS).await?;
    if tty && asked.stdin && verb == "attach" && !asked.quiet {
        output::note("If you don't see a command prompt, try pressing enter.");
    }
    let raw = (tty && is_terminal).then(Raw::begin).transpose()?;
    let end = carry(socket, asked.stdin, raw.is_some(), protocol == PROTOCOLS[0]).await;
    drop(raw);
    judged(&end?)
}

/// A websocket to a path of the API.
pub async fn connect(session: &Session, path: &str, protocols: &[&str]) -> Result<(Socket, String)> {
    let https =
        client::Https::new(session.https.clone()).context(format_args!("connecting to {}", session.https.server))?;
    let (target, long) = wire::heads::target(path);
    let mut request = http::Request::get(target).body(Bytes::new()).context("making a request")?;
    if let Some(long) = long {
        request.extensions_mut().insert(long);
    }
    let (stream, request) = https.dial(request).await?;
    match websocket::connect(stream, request, protocols).await.context("asking for a websocket")? {
        Connected::Socket(socket, protocol) => Ok((*socket, protocol)),
        Connected::Refused(response) => {
            use http_body_util::{BodyExt, Limited};
            let code = response.status();
            let body = Limited::new(response.into_body(), 64 << 10).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let status: Value = serde_json::from_slice(&body).unwrap_or_default();
            let text = String::from_utf8_lossy(&body).trim().to_owned();
            Err(match (status["message"].as_str(), status["reason"].as_str()) {
                (Some(message), Some(reason)) => {
                    Failure { is_servers: true, ..failure(format!("Error from server ({reason}): {message}")) }
                }
                (Some(message), None) => failure(message),
                _ if text.is_empty() => failure(format!("the server answered {code}")),
                _ => failure(text),
            })
        }
    }
}

/// The one that the pod's annotation names, or its first.
fn default_container(pod: &Value) -> Option<String> {
    let annotated = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    annotated.or(pod["spec"]["containers"][0]["name"].as_str()).map(String::from)
}

fn told_default(pod: &Value, chosen: &str) {
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        containers.iter().filter_map(|c| c["name"].as_str().map(String::from)).collect()
    };
    let (regular, first) = (names("containers"), names("initContainers"));
    if regular.len() + first.len() > 1 {
        let all = [regular, first.iter().map(|name| format!("{name} (init)")).collect()].concat().join(", ");
        output::note(format_args!("Defaulted container {chosen:?} out of: {all}"));
    }
}

/// The status that came at the end. Both ways are carried at once: a process that writes while it reads
/// must be read while it is written to.
async fn carry(socket: Socket, stdin: bool, terminal: bool, ends: bool) -> Result<Value> {
    let (sink, mut source) = socket.split();
    let mut end = Value::Null;
    let feeding = feed(sink, stdin, terminal, ends);
    tokio::pin!(feeding);
    let mut is_fed = false;
    loop {
        tokio::select! {
            message = source.next() => match message {
                Some(Ok(Message::Close(_))) | None => return Ok(end),
                Some(Ok(message)) => match streams::channel_of(message) {
                    Some((STDOUT, bytes)) => output::write(&bytes)?,
                    Some((STDERR, bytes)) => std::io::stderr().write_all(&bytes).context("writing standard error")?,
                    Some((END, bytes)) => end = serde_json::from_slice(&bytes).context("reading how it ended")?,
                    _ => {}
                },
                // A server that is gone after the end has told all.
                Some(Err(_)) if !end.is_null() => return Ok(end),
                Some(Err(error)) => return Err(failure(format!("the connection broke: {error}"))),
            },
            fed = &mut feeding, if !is_fed => {
                fed?;
                is_fed = true;
            }
        }
    }
}

/// Sends what is typed and the window's sizes, until there is no more of either or nobody takes it.
async fn feed(mut sink: SplitSink<Socket, Message>, stdin: bool, terminal: bool, ends: bool) -> Result<()> {
    let mut input = if stdin { typed() } else { mpsc::channel(1).1 };
    let mut resized = signal(SignalKind::window_change()).context("listening for the window's size")?;
    let mut size = terminal.then(size).flatten();
    let mut reading = stdin;
    while reading || terminal {
        let message = match size.take() {
            Some(text) => streams::message(RESIZE, text.as_bytes()),
            None => tokio::select! {
                bytes = input.recv(), if reading => match bytes {
                    Some(bytes) => streams::message(STDIN, &bytes),
                    None => {
                        reading = false;
                        match ends {
                            true => streams::end_of_input(),
                            false => continue,
                        }
                    }
                },
                _ = resized.recv(), if terminal => {
                    size = self::size();
                    continue;
                }
            },
        };
        // Refused where the session is over: its end is on its way.
        if sink.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// What is typed; read by a thread of its own, which need not end with us.
fn typed() -> mpsc::Receiver<Bytes> {
    let (send, receive) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(got @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if send.blocking_send(Bytes::copy_from_slice(&buffer[..got])).is_err() {
                return;
            }
        }
    });
    receive
}

fn size() -> Option<String> {
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok()?;
    Some(format!("{{\"Width\":{},\"Height\":{}}}", size.ws_col, size.ws_row))
}

/// A command that failed gives us its code.
fn judged(end: &Value) -> Result<()> {
    if end["status"] == "Success" || end.is_null() {
        return Ok(());
    }
    let causes = end["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let code = causes.iter().find(|cause| cause["reason"] == "ExitCode").and_then(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse::<i32>().ok()) {
        Some(code) => {
            output::note(format_args!("command terminated with exit code {code}"));
            Err(Failure { code: code as u8, ..failure("") })
        }
        None => Err(failure(end["message"].as_str().unwrap_or("it failed"))),
    }
}

/// The terminal passes every key on; as it was when dropped.
struct Raw(Termios);

impl Raw {
    fn begin() -> Result<Raw> {
        let before = termios::tcgetattr(std::io::stdin()).context("asking for the terminal's mode")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).context("changing the terminal's mode")?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
