//! One instance of gousse: its folders, its processes, its API.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Body, Https, Transport, kubeconfig};
use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use super::history::{Blow, Hit, Part, Record, now};
use super::processes;

/// A healthy start takes a third of a second.
const START: Duration = Duration::from_secs(60);
/// For an answer that does not last.
const ANSWER: Duration = Duration::from_secs(20);
/// For `gousse image load` and its like.
const COMMAND: Duration = Duration::from_secs(120);

pub struct Instance {
    gousse: PathBuf,
    pub name: String,
    pub home: PathBuf,
    pub data: PathBuf,
    pub run: PathBuf,
    /// `up` or `server`, and its flags.
    pub verb: Vec<String>,
    up: Option<Child>,
    pub record: Record,
}

/// What came back, or nothing: then nobody knows what became of the request.
pub enum Answer {
    Told(u16, Value),
    Unknown(String),
}

impl Instance {
    pub fn new(gousse: &Path, name: &str, home: &Path, record: Record) -> Result<Instance> {
        std::fs::create_dir_all(home)?;
        let verb = ["up", "--eviction-hard", ""].map(String::from).to_vec();
        let (data, run) = (home.join("data"), home.join("run"));
        Ok(Instance {
            gousse: gousse.to_owned(),
            name: name.to_owned(),
            home: home.to_owned(),
            data,
            run,
            verb,
            up: None,
            record,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.gousse);
        command
            .args(words)
            .args(["--name", &self.name])
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--run-dir")
            .arg(&self.run);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Where everything goes that `up` says.
    pub fn log(&self) -> PathBuf {
        self.home.join("up.log")
    }

    /// Starts it; whoever wants to strike it meanwhile does not wait for the second half.
    pub fn begin(&mut self) -> Result<Starting> {
        let mut log = File::options().create(true).append(true).open(self.log())?;
        let words: Vec<&str> = self.verb.iter().map(String::as_str).collect();
        let mut command = self.command(&words);
        self.record.lock().starts.push(now());
        let mut child = command.stdout(Stdio::piped()).stderr(log.try_clone()?).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        self.up = Some(child);
        let (ready, told) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut ready = Some(ready);
            // Read to its end: it would stand still on a full pipe.
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = writeln!(log, "{line}");
                if line.contains("is ready") {
                    ready.take().map(|ready| ready.send(()));
                }
            }
        });
        Ok(Starting(told))
    }

    pub async fn start(&mut self) -> Result<()> {
        let starting = self.begin()?;
        self.ready(starting).await
    }

    pub async fn ready(&mut self, starting: Starting) -> Result<()> {
        match timeout(START, starting.0).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("gousse {} ended before it was ready: {}", self.verb[0], self.said()),
            Err(_) => bail!("gousse {} was not ready within {} s: {}", self.verb[0], START.as_secs(), self.said()),
        }
    }

    /// The end of what it said.
    pub fn said(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(6).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    pub fn pid(&self, part: Part) -> Option<i32> {
        match part {
            Part::Up => self.up.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok()),
            _ => processes::find(part, &self.data),
        }
    }

    /// Strikes a part, if it is there, and writes it down.
    pub fn strike(&self, part: Part, blow: Blow) {
        let Some(pid) = self.pid(part) else { return };
        let at = now();
        if processes::strike(pid, blow) {
            self.record.lock().hits.push(Hit { part, blow, at });
        }
    }

    /// kill -9 of `up`, and its end.
    pub async fn kill(&mut self) {
        self.strike(Part::Up, Blow::Kill);
        if let Some(mut up) = self.up.take() {
            let _ = up.wait().await;
        }
    }

    /// `gousse WORDS`, to its end; what it said if it failed.
    pub async fn gousse(&self, words: &[&str], operand: Option<&Path>) -> Result<()> {
        let mut command = self.command(words);
        command.args(operand);
        let output = timeout(COMMAND, command.output()).await;
        let output = output.with_context(|| format!("gousse {words:?} took more than {} s", COMMAND.as_secs()))??;
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("gousse {words:?}: {}: {}", output.status, said.trim());
        }
        Ok(())
    }

    /// `gousse WORDS OPERAND`, begun.
    pub fn spawn(&self, words: &[&str], operand: &Path) -> Result<Child> {
        Ok(self.command(words).arg(operand).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Its runtime's log, and with `all` the data folder too: for whoever looks for a cause after `down`.
    pub fn put_aside(&self, all: bool) {
        let _ = std::fs::copy(self.run.join("runtime/runtime.log"), self.home.join("runtime.log"));
        if all && !self.home.join("kept-data").exists() {
            let mut copy = std::process::Command::new("cp");
            copy.args(["-a", "--sparse=always"]).arg(&self.data).arg(self.home.join("kept-data"));
            let _ = copy.status();
        }
    }

    /// `gousse down --purge`, and the end of `up`.
    pub async fn down(&mut self) -> Result<()> {
        self.put_aside(super::checks::breaks(&self.record.lock()));
        let done = self.gousse(&["down", "--purge"], None).await;
        if let Some(mut up) = self.up.take() {
            if done.is_err() {
                let _ = up.start_kill();
            }
            timeout(START, up.wait()).await.context("`up` goes on after `down`")??;
        }
        done
    }

    pub fn api(&self) -> Result<Api> {
        let loaded = kubeconfig::load(Some(&self.data.join("admin.kubeconfig")), None)?;
        Ok(Api::new(Https::new(loaded.https)?))
    }
}

pub struct Starting(tokio::sync::oneshot::Receiver<()>);

/// An instance that several tasks use.
pub type Shared = Arc<tokio::sync::Mutex<Instance>>;

/// A connection as the administrator. Clone shares it.
#[derive(Clone)]
pub struct Api(Arc<Https>);

/// A watch: what comes, line by line, as `None` ends it.
pub struct Watch {
    stream: std::pin::Pin<Box<dyn futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send>>,
    buffer: Vec<u8>,
}

impl Api {
    pub fn new(https: Https) -> Api {
        Api(Arc::new(https))
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_as(method, path, body, "application/json").await
    }

    pub async fn ask_as(&self, method: &str, path: &str, body: Option<&Value>, content: &str) -> Answer {
        match self.bytes(method, path, body, content).await {
            Ok((code, bytes)) => {
                let value = serde_json::from_slice(&bytes);
                Answer::Told(
                    code,
                    value.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
                )
            }
            Err(why) => Answer::Unknown(why),
        }
    }

    /// Asks until there is an answer; the number of times that there was none.
    pub async fn insist(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value, u32)> {
        let end = Instant::now() + Duration::from_secs(90);
        let mut unknown = 0;
        loop {
            match self.ask(method, path, body).await {
                Answer::Told(code, value) => return Ok((code, value, unknown)),
                Answer::Unknown(why) if Instant::now() > end => bail!("no answer to {method} {path} in 90 s: {why}"),
                Answer::Unknown(_) => unknown += 1,
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub async fn text(&self, path: &str) -> Option<(u16, String)> {
        let (code, bytes) = self.bytes("GET", path, None, "").await.ok()?;
        Some((code, String::from_utf8_lossy(&bytes).into_owned()))
    }

    async fn bytes(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        content: &str,
    ) -> Result<(u16, Vec<u8>), String> {
        let whole = async {
            let reply = self.call(method, path, body, content).await?;
            let code = reply.status.as_u16();
            let mut all = Vec::new();
            match reply.body {
                Body::Bytes(bytes) => all.extend_from_slice(&bytes),
                Body::Stream(mut stream) => {
                    while let Some(chunk) = stream.next().await {
                        all.extend_from_slice(&chunk.map_err(|why| why.to_string())?);
                    }
                }
                Body::List { .. } | Body::Events(_) => return Err("handed over in another process".to_owned()),
            }
            Ok((code, all))
        };
        timeout(ANSWER, whole).await.unwrap_or_else(|_| Err(format!("no answer in {} s", ANSWER.as_secs())))
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        content: &str,
    ) -> Result<client::Reply, String> {
        let mut request =
            http::Request::builder().method(method).uri(path).header(http::header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(http::header::CONTENT_TYPE, content);
        }
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = request.body(bytes.into()).map_err(|why| why.to_string())?;
        self.0.call(request).await.map_err(|why| why.to_string())
    }

    /// A watch, or the code of what refused it.
    pub async fn watch(&self, path: &str) -> Result<Watch, Option<u16>> {
        let reply = timeout(ANSWER, self.call("GET", path, None, "")).await;
        let reply = reply.map_err(|_| None)?.map_err(|_| None)?;
        match reply.body {
            Body::Stream(stream) if reply.status.is_success() => Ok(Watch { stream, buffer: Vec::new() }),
            _ => Err(Some(reply.status.as_u16())),
        }
    }
}

impl Watch {
    /// The next event; none once the connection has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            self.buffer.extend_from_slice(&self.stream.next().await?.ok()?);
        }
    }
}

/// Waits for something that only looking tells; an error says what was waited for.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A flag that tells tasks to end.
#[derive(Clone, Default)]
pub struct Over(Arc<Mutex<bool>>);

impl Over {
    pub fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub fn is_set(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
