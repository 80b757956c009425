//! What scheduler and node agents ask of a pod: its demands and its class. Pure.
//!
//! The formulas are upstream's: component-helpers resource (requests with init containers, sidecars,
//! pod-level resources and overhead) and apis/core/v1/helper/qos. A node agent fills `Demands` from its own
//! view of the pod, the others from the tree, so that all count alike.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::Quantity;
use crate::tree;

/// Amounts by resource name: `cpu`, `memory`, …
pub type Amounts = BTreeMap<String, Quantity>;

/// What the containers of a pod ask for.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    pub containers: Vec<Demand>,
    pub init: Vec<Demand>,
    /// `spec.resources`
    pub pod: Option<Demand>,
    pub overhead: Amounts,
}

/// What one container asks for; `restartable` is a sidecar among the init containers.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    pub requests: Amounts,
    pub limits: Amounts,
    pub restartable: bool,
}

/// The priority from which on a pod is critical for the system.
pub const SYSTEM_CRITICAL: i32 = 2_000_000_000;

impl Demands {
    pub fn of(pod: &Value) -> Demands {
        let amounts = |tree: &Value, path: &str| {
            tree::entries(tree, path).map(|(k, v)| (k.clone(), Quantity::of(v))).collect::<Amounts>()
        };
        let demand = |container: &Value| Demand {
            requests: amounts(container, "resources.requests"),
            limits: amounts(container, "resources.limits"),
            restartable: tree::text(container, "restartPolicy") == "Always",
        };
        let spec = tree::at(pod, "spec");
        Demands {
            containers: tree::list(spec, "containers").iter().map(demand).collect(),
            init: tree::list(spec, "initContainers").iter().map(demand).collect(),
            pod: tree::has(spec, "resources").then(|| demand(spec)),
            overhead: amounts(spec, "overhead"),
        }
    }

    /// The largest sum of requests at any time of the pod's life, plus overhead; pod-level requests
    /// take the place of the sum for the resources that they name.
    pub fn requests(&self) -> Amounts {
        let mut all = self.container_requests();
        if let Some(pod) = &self.pod {
            all.extend(pod.requests.iter().filter(|(name, _)| is_pod_level(name)).map(|(k, v)| (k.clone(), *v)));
        }
        add(&mut all, &self.overhead);
        all
    }

    /// Like `requests`, of the containers alone.
    pub fn container_requests(&self) -> Amounts {
        self.peak(|demand| &demand.requests)
    }

    /// The largest sum of limits at any time, of the containers alone.
    pub fn container_limits(&self) -> Amounts {
        self.peak(|demand| &demand.limits)
    }

    fn peak(&self, of: fn(&Demand) -> &Amounts) -> Amounts {
        let mut running = Amounts::new();
        for container in &self.containers {
            add(&mut running, of(container));
        }
        let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
        for container in &self.init {
            let mut now = of(container).clone();
            add(&mut now, &sidecars);
            if container.restartable {
                add(&mut sidecars, of(container));
                add(&mut running, of(container));
            }
            raise(&mut starting, &now);
        }
        raise(&mut running, &starting);
        running
    }

    /// Matches apis/core/v1/helper/qos: only positive amounts of cpu and memory count.
    pub fn qos_class(&self) -> &'static str {
        let of_pod = self.pod.as_ref().filter(|pod| !(pod.requests.is_empty() && pod.limits.is_empty()));
        let all: Vec<&Demand> = match of_pod {
            Some(pod) => vec![pod],
            None => self.containers.iter().chain(&self.init).collect(),
        };
        let counted = |amounts: &Amounts| -> Amounts {
            let chosen =
                amounts.iter().filter(|(name, q)| matches!(name.as_str(), "cpu" | "memory") && **q > Quantity::ZERO);
            chosen.map(|(name, q)| (name.clone(), *q)).collect()
        };
        let (mut requests, mut limits, mut guaranteed) = (Amounts::new(), Amounts::new(), true);
        for demand in all {
            add(&mut requests, &counted(&demand.requests));
            let of_this = counted(&demand.limits);
            guaranteed &= of_this.len() == 2;
            add(&mut limits, &of_this);
        }
        match () {
            _ if requests.is_empty() && limits.is_empty() => "BestEffort",
            _ if guaranteed && requests == limits => "Guaranteed",
            _ => "Burstable",
        }
    }
}

/// The resources that `spec.resources` may name.
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// A list of resources (`{"cpu": "500m"}`) as amounts.
pub fn amounts(list: &Value) -> Amounts {
    list.as_object().into_iter().flatten().map(|(name, amount)| (name.clone(), Quantity::of(amount))).collect()
}

/// Whether a pod's condition says that it serves: who counts for a disruption budget, and who is let go by it.
pub fn is_ready(pod: &Value) -> bool {
    let is = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    tree::list(pod, "status.conditions").iter().any(is)
}

pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let slot = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *slot = slot.plus(*amount);
    }
}

/// Raises each amount to at least that of `floor`.
pub(crate) fn raise(amounts: &mut Amounts, floor: &Amounts) {
    for (name, amount) in floor {
        let slot = amounts.entry(name.clone()).or_insert(*amount);
        if *slot < *amount {
            *slot = *amount;
        }
    }
}
