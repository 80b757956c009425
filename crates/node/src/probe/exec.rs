//! An exec probe or hook: a command in the container; its exit status is the answer.

use std::time::Duration;

use runtime::ExecSpec;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Outcome, Target};

/// Bytes of output that a failure shows.
const OUTPUT_MAX: u64 = 10 * 1024;

/// What becomes of a command that takes too long.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Late {
    /// It is killed, as a runtime's ExecSync does.
    Ends,
    /// It goes on, and ends with its container (lifecycle/handlers.go gives a hook no time-out).
    GoesOn,
}

pub(super) async fn run(name: &str, argv: Vec<String>, target: &Target<'_>, limit: Duration, late: Late) -> Outcome {
    let shown = argv.join(" ");
    // Whoever reads the output of what goes on may end before it.
    let read_on = late == Late::Ends;
    let spec = ExecSpec { name: name.into(), argv, stdout: read_on, stderr: read_on, ..ExecSpec::default() };
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
        Ok(Ok((0, _))) => Outcome::Success,
        Ok(Ok((_, output))) => Outcome::Failure(output),
        Ok(Err(runtime::Error::Start(text))) => Outcome::Failure(text),
        Ok(Err(runtime::Error::NotKnown(text))) => Outcome::Unknown(text),
        Ok(Err(error)) => Outcome::Error(error.to_string()),
        Err(_) => {
            if let Some(kill) = kill.filter(|_| late == Late::Ends) {
                kill();
            }
            // It is not the command that took so long.
            if was_away() {
                return Outcome::Unknown("the runtime could not be reached in time".into());
            }
            Outcome::Failure(format!("command timed out: {shown:?} timed out after {}s", limit.as_secs()))
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
