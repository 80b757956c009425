//! The metrics group: what nodes and pods use now. Nothing of it is stored; it is only read.
//!
//! Schemas are those of k8s.io/metrics, columns and verbs those of metrics-server (pkg/api), which serves it on other
//! clusters.

use api::quantity::Quantity;
use api::tree;
use serde_json::{Value, json};

use crate::row::*;

const PACKAGE: &str = "io.k8s.metrics.pkg.apis.metrics.v1beta1";

pub(crate) fn nodes() -> Kind {
    let kind = Kind::cluster("metrics.k8s.io/v1beta1", "NodeMetrics", "nodes");
    read_only(
        kind,
        [
            quantity("cpu", |node, _| json!(node["usage"]["cpu"])),
            quantity("memory", |node, _| json!(node["usage"]["memory"])),
        ],
    )
}

pub(crate) fn pods() -> Kind {
    let kind = Kind::namespaced("metrics.k8s.io/v1beta1", "PodMetrics", "pods");
    read_only(kind, [quantity("cpu", |pod, _| sum(pod, "cpu")), quantity("memory", |pod, _| sum(pod, "memory"))])
}

fn read_only(kind: Kind, [cpu, memory]: [Column; 2]) -> Kind {
    let window = Column { format: "duration".into(), ..text("Window", "Over which time it was measured.", "window") };
    let kind =
        Kind { schema: format!("{PACKAGE}.{}", kind.kind).into(), columns: vec![NAME, cpu, memory, window], ..kind };
    ["create", "delete", "deletecollection", "patch", "update", "watch"].into_iter().fold(kind, Kind::without)
}

fn quantity(name: &'static str, cell: fn(&Value, &str) -> Value) -> Column {
    Column { format: "quantity".into(), ..computed(name, "What is used of it.", cell) }
}

fn sum(pod: &Value, resource: &str) -> Value {
    let of = tree::list(pod, "containers").iter().map(|container| Quantity::of(&container["usage"][resource]));
    json!(of.fold(Quantity::ZERO, Quantity::plus).to_string())
}
