//! Kinds whose objects are told and never stored: a table, each with who tells them.
//!
//! Nobody can write or watch them, which their rows say; they have no revision.

use api::Status;
use futures::FutureExt;
use futures::future::BoxFuture;
use kinds::Kind;
use store::Entry;

use crate::filter::Filter;
use crate::sought::Sought;
use crate::{component_status, figures};

static TELLERS: &[Teller] = &[
    Teller {
        api_version: "v1",
        kind: "ComponentStatus",
        tell: |sought, _| std::future::ready(component_status::all(sought.server, sought.kind())).boxed(),
        // Upstream's word for it here is that of one.
        unknown: |sought| Status::not_found("", "componentstatus", sought.name),
    },
    Teller {
        api_version: "metrics.k8s.io/v1beta1",
        kind: "NodeMetrics",
        tell: |sought, filter| figures::nodes(sought, filter).boxed(),
        unknown: figures::unknown_node,
    },
    Teller {
        api_version: "metrics.k8s.io/v1beta1",
        kind: "PodMetrics",
        tell: |sought, filter| figures::pods(sought, filter).boxed(),
        unknown: figures::unknown_pod,
    },
];

/// One line of the table.
pub struct Teller {
    api_version: &'static str,
    kind: &'static str,
    /// At least all that the filter passes of what is asked for, by their keys, in the keys' order.
    pub tell: for<'a> fn(Sought<'a>, &'a Filter) -> BoxFuture<'a, Vec<Entry>>,
    /// What is said of an object that is not there.
    pub unknown: fn(Sought<'_>) -> Status,
}

/// Who tells the objects of a kind; None: they are stored.
pub fn of(kind: &Kind) -> Option<&'static Teller> {
    TELLERS.iter().find(|teller| kind.resource.is(teller.api_version, teller.kind))
}
