//! An exec probe or hook: a command in the container; its exit status is the answer.

use std::time::Duration;

use runtime::engine::Boxed;

use crate::view::{Container, ExecAction, LifecycleHandler, Probe};
use runtime::ExecSpec;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Answer, Target};
use crate::expand::expand;

/// Bytes of output that a failure shows.
const OUTPUT_MAX: u64 = 10 * 1024;

/// What becomes of a command that takes too long.
#[derive(Clone, Copy, PartialEq)]
enum Late {
    /// It is killed, as a runtime's ExecSync does.
    Ends,
    /// It goes on, and ends with its container (lifecycle/handlers.go gives a hook no time-out).
    GoesOn,
}

pub(super) fn probe<'a>(probe: &'a Probe, target: &'a Target<'a>, limit: Duration) -> Option<Boxed<'a, Answer>> {
    let argv = static_argv(probe.exec.as_ref()?, target.container);
    Some(Box::pin(run(argv, target, limit, Late::Ends)))
}

/// Its exit status decides, its output is not kept.
pub(super) fn hook<'a>(
    handler: &'a LifecycleHandler,
    target: &'a Target<'a>,
    limit: Duration,
) -> Option<Boxed<'a, Answer>> {
    let argv = handler.exec.as_ref()?.command.clone().unwrap_or_default();
    Some(Box::pin(run(argv, target, limit, Late::GoesOn)))
}

/// A probe's command knows the values that the spec itself gives to variables, and takes others for
/// empty (kubelet/container/helpers.go ExpandContainerCommandOnlyStatic); a hook's is not expanded.
pub(super) fn static_argv(action: &ExecAction, container: &Container) -> Vec<String> {
    let given = |name: &str| container.env.iter().flatten().rfind(|variable| variable.name == name);
    let value = |name: &str| given(name).map(|variable| variable.value.clone().unwrap_or_default());
    action.command.iter().flatten().map(|word| expand(word, value)).collect()
}

async fn run(argv: Vec<String>, target: &Target<'_>, limit: Duration, late: Late) -> Answer {
    let shown = argv.join(" ");
    // Whoever reads the output of what goes on may end before it.
    let read_on = late == Late::Ends;
    let spec = ExecSpec { name: target.run.into(), argv, stdout: read_on, stderr: read_on, ..ExecSpec::default() };
    let mut kill = None;
    let mut up = target.engine.is_up();
    up.mark_unchanged();
    let was_away = || !*up.borrow() || up.has_changed().unwrap_or(true);
    let attempt = async {
        let session = target.engine.exec(target.id, spec).await?;
        kill = Some(session.kill);
        let (out, err) = tokio::join!(read(session.stdout), read(session.stderr));
        let code =
            session.exit.await.map_err(|_| runtime::Error::NotKnown("the exec ended without a status".into()))??;
        Ok::<_, runtime::Error>((code, out + &err))
    };
    match tokio::time::timeout(limit, attempt).await {
        Ok(Ok((0, _))) => Answer::Success,
        Ok(Ok((_, output))) => Answer::Failure(output),
        Ok(Err(runtime::Error::Start(text))) => Answer::Failure(text),
        Ok(Err(runtime::Error::NotKnown(text))) => Answer::Unknown(text),
        Ok(Err(error)) => Answer::Error(error.to_string()),
        Err(_) => {
            if let Some(kill) = kill.filter(|_| late == Late::Ends) {
                kill();
            }
            // It is not the command that took so long.
            if was_away() {
                return Answer::Unknown("the runtime could not be reached in time".into());
            }
            Answer::Failure(format!("command timed out: {shown:?} timed out after {}s", limit.as_secs()))
        }
    }
}

async fn read(stream: Option<Box<dyn AsyncRead + Send + Unpin>>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut output = Vec::new();
    // A stream that breaks has said what it had to say.
    let _ = (&mut stream).take(OUTPUT_MAX).read_to_end(&mut output).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&output).into_owned()
}
