//! MutatingWebhookConfiguration: webhooks that change objects.

use super::webhooks;
use crate::row::Kind;

pub(crate) fn row() -> Kind {
    webhooks::row("MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
}
