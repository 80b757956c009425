//! `/metrics`, `/metrics/resource` and `/metrics/cadvisor` in Prometheus' text form.
//!
//! Names and labels are upstream's (pkg/kubelet/metrics/collectors/resource_metrics.go, cadvisor's
//! metrics/prometheus.go), as far as what they measure is known here; metrics-server reads the second.

use std::fmt::Write;

use super::Api;
use super::stats::{self, PodUsage, Sample};
use crate::observe::started_at;
use crate::pod::{LABEL_POD_NAME, LABEL_POD_NAMESPACE};

const NANO: f64 = 1e9;

/// A metric's name, type and meaning, and its values with their labels.
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    help: &'a str,
    values: Vec<(String, f64)>,
}

pub async fn resource(api: &Api) -> Result<String, String> {
    let sample = stats::loads(api).await?;
    let at = sample.at.as_millisecond();
    let mut out = String::new();
    let by_container = |value: &dyn Fn(&runtime::Container, &runtime::Usage) -> f64| {
        each(&sample, |pod, container, usage| {
            let (name, ns) = (pod.label(LABEL_POD_NAME), pod.label(LABEL_POD_NAMESPACE));
            let labels = format!("container={:?},namespace={ns:?},pod={name:?}", container.spec.name);
            (labels, value(container, usage))
        })
    };
    let by_pod = |value: fn(&PodUsage) -> f64| {
        let labels = |pod: &PodUsage| {
            format!("namespace={:?},pod={:?}", pod.label(LABEL_POD_NAMESPACE), pod.label(LABEL_POD_NAME))
        };
        sample.pods.iter().map(|pod| (labels(pod), value(pod))).collect()
    };
    let families = [
        Family {
            name: "container_cpu_usage_seconds_total",
            kind: "counter",
            help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            values: by_container(&|_, usage| usage.cpu_nanoseconds as f64 / NANO),
        },
        Family {
            name: "container_memory_working_set_bytes",
            kind: "gauge",
            help: "[STABLE] Current working set of the container in bytes",
            values: by_container(&|_, usage| usage.memory_working_set as f64),
        },
        Family {
            name: "container_start_time_seconds",
            kind: "gauge",
            help: "[STABLE] Start time of the container since unix epoch in seconds",
            values: by_container(&|container, _| {
                started_at(container).map_or(0.0, |at| at.as_millisecond() as f64 / 1e3)
            }),
        },
        Family {
            name: "node_cpu_usage_seconds_total",
            kind: "counter",
            help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            values: vec![(String::new(), sample.node.cpu_nanoseconds as f64 / NANO)],
        },
        Family {
            name: "node_memory_working_set_bytes",
            kind: "gauge",
            help: "[STABLE] Current working set of the node in bytes",
            values: vec![(String::new(), sample.node.memory_used as f64)],
        },
        Family {
            name: "pod_cpu_usage_seconds_total",
            kind: "counter",
            help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            values: by_pod(|pod| pod.cpu() as f64 / NANO),
        },
        Family {
            name: "pod_memory_working_set_bytes",
            kind: "gauge",
            help: "[STABLE] Current working set of the pod in bytes",
            values: by_pod(|pod| pod.memory() as f64),
        },
    ];
    families.into_iter().for_each(|family| family.write(&mut out, Some(at)));
    let scraped = Family {
        name: "resource_scrape_error",
        kind: "gauge",
        help: "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        values: vec![(String::new(), 0.0)],
    };
    scraped.write(&mut out, None);
    Ok(out)
}

pub async fn cadvisor(api: &Api) -> Result<String, String> {
    let sample = stats::sample(api).await?;
    let at = sample.at.as_millisecond();
    let machine = &api.control.config().machine;
    let family = |name, kind, help, extra: &str, value: &dyn Fn(&runtime::Container, &runtime::Usage) -> f64| {
        let values = each(&sample, |pod, container, usage| {
            let (name, ns) = (pod.label(LABEL_POD_NAME), pod.label(LABEL_POD_NAMESPACE));
            let group = format!("/{}/{}", pod.sandbox.spec.cgroup.trim_matches('/'), container.id.0);
            let labels = format!(
                "container={:?},{extra}id={group:?},image={:?},name={:?},namespace={ns:?},pod={name:?}",
                container.spec.name, container.spec.image_name, container.id.0
            );
            (labels, value(container, usage))
        });
        Family { name, kind, help, values }
    };
    let started = |c: &runtime::Container| started_at(c).map_or(0.0, |at| at.as_second() as f64);
    let families = [
        family(
            "container_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed in seconds.",
            "cpu=\"total\",",
            &|_, usage| usage.cpu_nanoseconds as f64 / NANO,
        ),
        family("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", "", &|_, usage| {
            usage.memory_working_set as f64
        }),
        family("container_memory_rss", "gauge", "Size of RSS in bytes.", "", &|_, usage| usage.memory_rss as f64),
        family(
            "container_fs_usage_bytes",
            "gauge",
            "Number of bytes that are consumed by the container on this filesystem.",
            "",
            &|_, usage| usage.writable_layer as f64,
        ),
        family("container_processes", "gauge", "Number of processes running inside the container.", "", &|_, usage| {
            usage.pids as f64
        }),
        family(
            "container_start_time_seconds",
            "gauge",
            "Start time of the container since unix epoch in seconds.",
            "",
            &|container, _| started(container),
        ),
    ];
    let mut out = String::new();
    families.into_iter().for_each(|family| family.write(&mut out, Some(at)));
    let facts = [
        ("machine_cpu_cores", "Number of logical CPU cores.", f64::from(machine.cpus)),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", machine.memory as f64),
    ];
    for (name, help, value) in facts {
        Family { name, kind: "gauge", help, values: vec![(String::new(), value)] }.write(&mut out, None);
    }
    Ok(out)
}

/// The node agent's own.
pub async fn own(api: &Api) -> Result<String, String> {
    use runtime::Phase;

    let sandboxes = api.control.engine().list().await.map_err(|why| why.to_string())?;
    let count = |state: &str, is: fn(&Phase) -> bool| {
        let all = sandboxes.iter().flat_map(|s| &s.containers).filter(|c| is(&c.phase)).count();
        (format!("container_state={state:?}"), all as f64)
    };
    let families = [
        Family {
            name: "kubelet_running_pods",
            kind: "gauge",
            help: "[ALPHA] Number of pods that have a running pod sandbox",
            values: vec![(String::new(), sandboxes.iter().filter(|s| s.ready).count() as f64)],
        },
        Family {
            name: "kubelet_running_containers",
            kind: "gauge",
            help: "[ALPHA] Number of currently running containers",
            values: vec![
                count("created", |p| matches!(p, Phase::Created)),
                count("exited", |p| matches!(p, Phase::Exited { .. })),
                count("running", |p| matches!(p, Phase::Running { .. })),
                count("unknown", |p| matches!(p, Phase::Unknown { .. })),
            ],
        },
        Family {
            name: "kubelet_node_name",
            kind: "gauge",
            help: "[ALPHA] The node's name. The count is always 1.",
            values: vec![(format!("node={:?}", api.control.config().node_name), 1.0)],
        },
    ];
    let mut out = String::new();
    families.into_iter().for_each(|family| family.write(&mut out, None));
    Ok(out)
}

fn each<T>(sample: &Sample, tell: impl Fn(&PodUsage, &runtime::Container, &runtime::Usage) -> T) -> Vec<T> {
    let tell = &tell;
    sample.pods.iter().flat_map(|pod| pod.containers.iter().map(move |(c, usage)| tell(pod, c, usage))).collect()
}

impl Family<'_> {
    /// `at`: when it was measured, in milliseconds.
    fn write(self, out: &mut String, at: Option<i64>) {
        let Family { name, kind, help, values } = self;
        if values.is_empty() {
            return;
        }
        let at = at.map_or(String::new(), |at| format!(" {at}"));
        let mut line = |text: std::fmt::Arguments<'_>| {
            out.write_fmt(text).expect("writing to a String cannot fail");
        };
        line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (labels, value) in values {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            line(format_args!("{name}{labels} {value}{at}\n"));
        }
    }
}
