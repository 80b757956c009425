//! A hook that sleeps: it holds the container's end up for so long.

use std::time::Duration;

use runtime::engine::Boxed;

use crate::view::LifecycleHandler;

use super::{Answer, Target};

pub(super) fn hook<'a>(handler: &'a LifecycleHandler, _: &'a Target<'a>, limit: Duration) -> Option<Boxed<'a, Answer>> {
    let pause = Duration::from_secs(u64::try_from(handler.sleep.as_ref()?.seconds).unwrap_or(0));
    Some(Box::pin(async move {
        tokio::time::sleep(pause.min(limit)).await;
        Answer::Success
    }))
}
