//! Counters under upstream's names, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

type Labels = (&'static str, String, u16);

#[derive(Default)]
pub struct Metrics {
    /// By verb, resource and code.
    requests: Mutex<BTreeMap<Labels, u64>>,
    pub inflight: AtomicI64,
    /// Told when the last request under way ends.
    pub quiet: tokio::sync::Notify,
    pub watches: AtomicI64,
}

/// A request is under way until this is dropped, be it answered or given up.
pub struct UnderWay<'a>(&'a Metrics);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.0.inflight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.quiet.notify_one();
        }
    }
}

impl Metrics {
    pub fn under_way(&self) -> UnderWay<'_> {
        self.inflight.fetch_add(1, Ordering::AcqRel);
        UnderWay(self)
    }

    pub fn count(&self, verb: &'static str, resource: String, code: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((verb, resource, code)).or_default() += 1;
    }

    pub fn text(&self, revision: u64) -> String {
        let mut out = String::from("# HELP apiserver_request_total Requests by verb, resource and HTTP code.\n");
        out += "# TYPE apiserver_request_total counter\n";
        for ((verb, resource, code), count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = format!("code=\"{code}\",resource=\"{resource}\",verb=\"{verb}\"");
            // Writing to a String does not fail.
            let _ = writeln!(out, "apiserver_request_total{{{labels}}} {count}");
        }
        let gauges = [
            ("apiserver_current_inflight_requests", self.inflight.load(Ordering::Relaxed)),
            ("apiserver_registered_watchers", self.watches.load(Ordering::Relaxed)),
            ("gousse_store_revision", i64::try_from(revision).unwrap_or(i64::MAX)),
        ];
        for (name, value) in gauges {
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {value}");
        }
        out
    }
}
