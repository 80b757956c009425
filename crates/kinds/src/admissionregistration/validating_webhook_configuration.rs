//! ValidatingWebhookConfiguration: webhooks that judge objects.

use super::webhooks;
use crate::row::Kind;

pub(crate) fn row() -> Kind {
    webhooks::row("ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
}
