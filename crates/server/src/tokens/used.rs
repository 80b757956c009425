//! Tokens that lie in Secrets and were used: the Secret gets the day's date as a label, once a day.
//!
//! pkg/serviceaccount/legacy.go patchSecretWithLastUsedDate. Who is believed does not wait for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::{Method, Request, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::Server;
use crate::identity::{Component, Identity};

const LABEL: &str = "kubernetes.io/legacy-token-last-used";

/// Secrets that are to be labelled, by namespace and name: with UID and date.
#[derive(Default)]
pub struct Used {
    waiting: Mutex<BTreeMap<(String, String), (String, String)>>,
    told: Notify,
}

impl Used {
    /// The token of this Secret was shown; `now` in seconds of the Unix epoch.
    pub fn note(&self, secret: &Value, now: i64) {
        let metadata = &secret["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let Some([today, tomorrow]) = dates(now) else { return };
        // Another server's clock may be ahead.
        let last = metadata["labels"][LABEL].as_str().unwrap_or_default();
        if last == today || last == tomorrow {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert((text("namespace"), text("name")), (text("uid"), today));
        drop(waiting);
        self.told.notify_one();
    }
}

/// This day and the next, UTC.
fn dates(now: i64) -> Option<[String; 2]> {
    let now = Timestamp::from_second(now).ok()?;
    let date = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    Some([date(now), date(now + SignedDuration::from_hours(24))])
}

/// Labels them, for ever.
pub async fn label(server: Server) {
    let used = &server.0.tokens.used;
    loop {
        used.told.notified().await;
        let waiting = std::mem::take(&mut *used.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        for ((namespace, name), (uid, date)) in waiting {
            let patch = json!({"metadata": {"uid": uid, "labels": {LABEL: date}}});
            let request = Request::builder()
                .method(Method::PATCH)
                .uri(format!("/api/v1/namespaces/{namespace}/secrets/{name}"))
                .header(header::USER_AGENT, "kube-apiserver/1.37")
                .header(header::CONTENT_TYPE, "application/merge-patch+json")
                .body(patch.to_string().into());
            let Ok(request) = request else { continue };
            let answer = server.handle(&Identity::component(Component::Admin), request).await;
            if !answer.status.is_success() {
                tracing::error!(status = %answer.status, "the secret {namespace}/{name} does not tell when it was used last");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_once() {
        let (now, used) = (1_790_000_000, Used::default());
        let noted = |label: &str| {
            used.note(&json!({"metadata": {"namespace": "n", "name": "s", "uid": "u", "labels": {LABEL: label}}}), now);
            let waiting = std::mem::take(&mut *used.waiting.lock().unwrap());
            waiting.into_iter().next()
        };
        let wanted = || Some((("n".into(), "s".into()), ("u".into(), "2026-09-21".into())));
        for (label, expected) in [
            ("", wanted()),
            ("2026-09-20", wanted()),
            ("2026-09-21", None),
            ("2026-09-22", None),
            ("2026-09-23", wanted()),
            ("long ago", wanted()),
        ] {
            assert_eq!(noted(label), expected, "{label:?}");
        }
    }
}
