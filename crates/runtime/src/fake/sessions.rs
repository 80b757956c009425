//! Further processes of a fake container, and whoever follows them.

use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, oneshot, watch};

use super::script::Script;
use super::{Inner, KILL};
use crate::engine::{Error, Result, Session};
use crate::spec::{ContainerId, ExecSpec};
use crate::state::Phase;

impl Inner {
    /// What ended while its container runs came to its own end.
    pub(super) async fn note_end(
        engine: Weak<Inner>,
        id: ContainerId,
        argv: Vec<String>,
        mut code: watch::Receiver<Option<i32>>,
    ) {
        let _ = code.wait_for(Option::is_some).await;
        let Some(engine) = engine.upgrade() else { return };
        if let Some((_, played)) = engine.lock().find(&id)
            && matches!(played.container.phase, Phase::Running { .. })
        {
            played.finished.push(argv);
        }
    }

    /// The code, once there is one, unless the session is lost before.
    pub(super) fn end_of(&self, mut code: watch::Receiver<Option<i32>>) -> oneshot::Receiver<Result<i32>> {
        let (exited, exit) = oneshot::channel();
        let mut losses = self.losses.subscribe();
        tokio::spawn(async move {
            let lost = || Error::NotKnown("the session was lost".into());
            let end = tokio::select! {
                biased;
                Ok(()) = losses.changed() => Err(lost()),
                code = code.wait_for(Option::is_some) => code.ok().and_then(|code| *code).ok_or_else(lost),
            };
            // The caller may not care how it ended.
            let _ = exited.send(end);
        });
        exit
    }
}

/// A session that has nothing to say.
pub(super) fn silent() -> Session {
    let (resize, exit) = (mpsc::channel(1).0, oneshot::channel().1);
    Session { stdin: None, stdout: None, stderr: None, resize, exit, kill: Box::new(|| {}) }
}

/// The streams of a further process, which ends by itself, with its container or by its `kill`; None for
/// `counted`: of an attach, whose process is the container's. Its exit code comes beside it.
pub(super) fn session(
    spec: ExecSpec,
    script: Script,
    mut container: watch::Receiver<Option<i32>>,
    counted: Option<Arc<()>>,
) -> (Session, watch::Receiver<Option<i32>>) {
    let pipe = |wanted: bool| wanted.then(|| tokio::io::duplex(64 << 10)).unzip();
    let (stdin, stdin_end) = pipe(spec.stdin);
    let (stdout, stdout_end) = pipe(spec.stdout);
    let (stderr, stderr_end) = pipe(spec.stderr && !spec.tty);
    let (ended, code) = watch::channel(None);
    let (kill, killed) = oneshot::channel();
    tokio::spawn(async move {
        let is_exec = counted.is_some();
        let played = async {
            write_lines(stdout_end, stdin_end.filter(|_| script.cat), &script.prints).await;
            write_lines(stderr_end, None, &script.complains).await;
            match script.run {
                Some(run) => tokio::time::sleep(run).await,
                None => std::future::pending().await,
            }
            script.exit
        };
        let code = tokio::select! {
            code = played => code,
            ended = container.wait_for(Option::is_some) => match ended {
                Ok(code) => code.unwrap_or_default(),
                Err(_) => 128 + KILL,
            },
            Ok(()) = killed, if is_exec => 128 + KILL,
        };
        drop(counted);
        ended.send_replace(Some(code));
    });
    let session = Session {
        stdin: stdin.map(|end| Box::new(end) as _),
        stdout: stdout.map(|end| Box::new(end) as _),
        stderr: stderr.map(|end| Box::new(end) as _),
        kill: Box::new(move || {
            // It may have ended by itself.
            let _ = kill.send(());
        }),
        ..silent()
    };
    (session, code)
}

async fn write_lines(to: Option<tokio::io::DuplexStream>, copied: Option<tokio::io::DuplexStream>, lines: &[String]) {
    use tokio::io::AsyncWriteExt;
    let Some(mut to) = to else { return };
    for line in lines {
        // A reader that is gone is a closed pipe; a fake program goes on.
        let _ = to.write_all(format!("{line}\n").as_bytes()).await;
    }
    if let Some(mut from) = copied {
        let _ = tokio::io::copy(&mut from, &mut to).await;
    }
}
