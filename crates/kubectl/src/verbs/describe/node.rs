//! A node's page: what it has, how it is, and what its pods have asked for.

use api::pod::is_pod_level;
use api::pod::{Amounts, Demands};
use api::quantity::Quantity;
use serde_json::Value;

use super::page::{Page, shown, text_or};

pub fn write(page: &mut Page, node: &Value, lease: Option<&Value>, pods: &[Value], now: jiff::Timestamp) {
    let (meta, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    page.field(0, "Name", shown(&meta["name"]));
    let roles = meta["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> = roles.filter_map(|(k, _)| k.strip_prefix("node-role.kubernetes.io/")).collect();
    page.field(0, "Roles", if roles.is_empty() { "<none>".into() } else { roles.join(",") });
    page.map(0, "Labels", &meta["labels"], "=");
    page.annotations(0, &meta["annotations"]);
    page.field(0, "CreationTimestamp", super::pod::time(&meta["creationTimestamp"]));
    let taints = spec["taints"].as_array().into_iter().flatten();
    let taints: Vec<String> = taints
        .map(|t| match t["value"].as_str() {
            Some(value) if !value.is_empty() => format!("{}={value}:{}", shown(&t["key"]), shown(&t["effect"])),
            _ => format!("{}:{}", shown(&t["key"]), shown(&t["effect"])),
        })
        .collect();
    page.field(0, "Taints", if taints.is_empty() { "<none>".into() } else { taints.join("\n") });
    page.field(0, "Unschedulable", spec["unschedulable"].as_bool().unwrap_or(false).to_string());
    if let Some(lease) = lease {
        page.head(0, "Lease");
        page.field(1, "HolderIdentity", text_or(&lease["spec"]["holderIdentity"], "<unset>"));
        page.field(1, "AcquireTime", super::pod::time(&lease["spec"]["acquireTime"]));
        page.field(1, "RenewTime", super::pod::time(&lease["spec"]["renewTime"]));
    }
    page.head(0, "Conditions");
    let head = ["Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.push(rows[0].iter().map(|h| "-".repeat(h.len())).collect());
    for c in status["conditions"].as_array().into_iter().flatten() {
        rows.push(vec![
            shown(&c["type"]),
            shown(&c["status"]),
            super::pod::time(&c["lastHeartbeatTime"]),
            super::pod::time(&c["lastTransitionTime"]),
            shown(&c["reason"]),
            shown(&c["message"]),
        ]);
    }
    page.table(1, &rows);
    page.head(0, "Addresses");
    for address in status["addresses"].as_array().into_iter().flatten() {
        page.field(1, text_or(&address["type"], "Address"), shown(&address["address"]));
    }
    for (name, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        page.head(0, name);
        for (resource, amount) in status[field].as_object().into_iter().flatten() {
            page.field(1, resource, shown(amount));
        }
    }
    page.head(0, "System Info");
    for (name, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        page.field(1, name, shown(&status["nodeInfo"][field]));
    }
    if let Some(range) = spec["podCIDR"].as_str() {
        page.field(0, "PodCIDR", range);
        let all = spec["podCIDRs"].as_array().into_iter().flatten().map(shown).collect::<Vec<_>>();
        page.field(0, "PodCIDRs", all.join(","));
    }
    allocated(page, status, pods, now);
}

fn allocated(page: &mut Page, status: &Value, pods: &[Value], now: jiff::Timestamp) {
    page.field(0, "Non-terminated Pods", format!("({} in total)", pods.len()));
    let head = ["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age"];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.push(rows[0].iter().map(|h| "-".repeat(h.len())).collect());
    let mut totals = [0i64; 4];
    let whole = |name: &str| parse(&status["allocatable"][name]);
    let (cpu, memory) = (whole("cpu").milli_value(), whole("memory").value());
    for pod in pods {
        let (requests, limits) = asked(pod);
        let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(Quantity::ZERO);
        let amounts = [
            of(&requests, "cpu").milli_value(),
            of(&limits, "cpu").milli_value(),
            of(&requests, "memory").value(),
            of(&limits, "memory").value(),
        ];
        for (total, amount) in totals.iter_mut().zip(amounts) {
            *total += amount;
        }
        let [a, b, c, d] = shares(amounts, cpu, memory);
        rows.push(vec![
            shown(&pod["metadata"]["namespace"]),
            shown(&pod["metadata"]["name"]),
            a,
            b,
            c,
            d,
            age(pod, now),
        ]);
    }
    page.table(1, &rows);
    page.head(0, "Allocated resources");
    page.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    let [a, b, c, d] = shares(totals, cpu, memory);
    let mut rows = vec![["Resource", "Requests", "Limits"].map(String::from).to_vec()];
    rows.push(rows[0].iter().map(|h| "-".repeat(h.len())).collect());
    rows.push(vec!["cpu".into(), a, b]);
    rows.push(vec!["memory".into(), c, d]);
    let others = status["allocatable"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    for name in others.filter(|name| *name == "ephemeral-storage" || name.starts_with("hugepages-")) {
        let of = |amounts: fn((Amounts, Amounts)) -> Amounts| {
            pods.iter().filter_map(|pod| amounts(asked(pod)).get(name).map(|q| q.value())).sum::<i64>()
        };
        let whole = whole(name).value();
        let share = |amount: i64| format!("{amount} ({}%)", if whole > 0 { amount * 100 / whole } else { 0 });
        rows.push(vec![name.to_string(), share(of(|(requests, _)| requests)), share(of(|(_, limits)| limits))]);
    }
    page.table(1, &rows);
}

fn age(pod: &Value, now: jiff::Timestamp) -> String {
    let made = pod["metadata"]["creationTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    made.map_or("<unknown>".into(), |made| api::age::human(now.duration_since(made).as_secs()))
}

fn shares(amounts: [i64; 4], cpu: i64, memory: i64) -> [String; 4] {
    let share = |amount: i64, whole: i64| if whole > 0 { amount * 100 / whole } else { 0 };
    let in_cpu = |amount: i64| {
        let text = if amount % 1000 == 0 { (amount / 1000).to_string() } else { format!("{amount}m") };
        format!("{text} ({}%)", share(amount, cpu))
    };
    let in_memory = |amount: i64| {
        let text =
            if amount > 0 && amount % (1 << 20) == 0 { format!("{}Mi", amount >> 20) } else { amount.to_string() };
        format!("{text} ({}%)", share(amount, memory))
    };
    [in_cpu(amounts[0]), in_cpu(amounts[1]), in_memory(amounts[2]), in_memory(amounts[3])]
}

/// What a pod asks for, and its limits: a pod's own take the place of its containers', and the overhead
/// adds to what is limited at all (component-helpers resource/helpers.go, PodRequests and PodLimits).
fn asked(pod: &Value) -> (Amounts, Amounts) {
    let demands = Demands::of(pod);
    let mut limits = demands.container_limits();
    if let Some(own) = &demands.pod {
        let own = own.limits.iter().filter(|(name, _)| is_pod_level(name));
        limits.extend(own.map(|(name, amount)| (name.clone(), *amount)));
    }
    for (name, overhead) in &demands.overhead {
        if let Some(limit) = limits.get_mut(name) {
            *limit = limit.plus(*overhead);
        }
    }
    (demands.requests(), limits)
}

fn parse(value: &Value) -> Quantity {
    Quantity::of(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_all_that_runs_at_once() {
        let cpu = |request: &str, limit: &str| json!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        let mut pod = json!({"spec": {
            "overhead": {"cpu": "5m", "memory": "1Mi"},
            "initContainers": [
                {"name": "sidecar", "restartPolicy": "Always", "resources": cpu("10m", "20m")},
                {"name": "first", "resources": cpu("300m", "400m")},
            ],
            "containers": [{"name": "c", "resources": cpu("100m", "200m")}],
        }});
        let milli = |pod: &Value| {
            let (requests, limits) = asked(pod);
            (requests["cpu"].milli_value(), limits["cpu"].milli_value(), limits.contains_key("memory"))
        };
        assert_eq!(milli(&pod), (315, 425, false));
        pod["spec"]["resources"] = cpu("500m", "600m");
        assert_eq!(milli(&pod), (505, 605, false));
    }
}
