//! `why`: what keeps a pod from each node, and what would let it run.
//!
//! The scheduler's own decision, over what the API lists to whoever asks: no more rights than theirs.

use std::path::Path;
use std::sync::Arc;

use api::resource::{
    NAMESPACES, NODES, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS,
};
use api::{Object, Resource, tree};
use client::{Client, ListOptions};
use scheduler::preempt::Budget;
use scheduler::{Cluster, Configuration, Node, Pod};

use crate::cli::Why;
use kubectl::Connection;
use kubectl::failure::{Context, Result, failure};
use kubectl::output;

pub async fn run(connection: Connection, flags: Why) -> Result<()> {
    let login = crate::login(connection)?;
    let session = login.session()?;
    let configuration = configuration(flags.scheduler_config.as_deref())?;
    let name = match flags.pod.split_once('/') {
        None => flags.pod.as_str(),
        Some(("pod" | "pods" | "po", name)) if !name.is_empty() => name,
        Some(_) => return Err(failure(format!("{:?}: expected pod/NAME", flags.pod))),
    };
    let object = session.client.get(&PODS, &session.namespace, name).await?;
    let pod = Pod::read(&object);
    let cluster = cluster(&session.client).await?;
    output::text(&scheduler::why(&pod, &cluster, &configuration).to_string())
}

/// The scheduler's configuration from its file; the default without one.
pub fn configuration(file: Option<&Path>) -> Result<Configuration> {
    let Some(path) = file else { return Ok(Configuration::default()) };
    let at = path.display();
    let text = std::fs::read(path).context(format_args!("reading {at} (--scheduler-config)"))?;
    let value = api::decode::untyped_strict(&text).context(format_args!("reading {at} (--scheduler-config)"))?;
    Configuration::read(&value).map_err(|why| failure(format!("{at} (--scheduler-config): {why}")))
}

async fn cluster(client: &Client) -> Result<Cluster> {
    let mut cluster = Cluster::default();
    for node in all(client, &NODES).await? {
        cluster.set_node(Node::read(&node));
    }
    for namespace in all(client, &NAMESPACES).await? {
        let labels = namespace.meta().labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        cluster.set_namespace(&namespace.meta().name, Some(labels.collect()));
    }
    for service in all(client, &SERVICES).await? {
        cluster.workloads.set_service(&service);
    }
    for kind in [&REPLICATION_CONTROLLERS, &REPLICA_SETS, &STATEFUL_SETS] {
        let full = format!("{}/{}", kind.api_version(), kind.kind);
        for owner in all(client, kind).await? {
            let (meta, value) = (owner.meta(), owner.value());
            cluster.workloads.set_owner(&full, &meta.namespace, &meta.name, &value);
        }
    }
    for budget in all(client, &POD_DISRUPTION_BUDGETS).await? {
        let key = (budget.meta().namespace.to_string(), budget.meta().name.to_string());
        cluster.budgets.insert(key, Budget::of_tree(&budget.value()));
    }
    for object in all(client, &PODS).await? {
        let value = object.value();
        if matches!(tree::text(&value, "status.phase"), "Succeeded" | "Failed") {
            continue;
        }
        let pod = Arc::new(Pod::of_tree(&value));
        match pod.node.is_empty() {
            false => cluster.add_pod(pod),
            true => drop(cluster.nominate(&pod)),
        }
    }
    Ok(cluster)
}

async fn all(client: &Client, kind: &Resource) -> Result<Vec<Object>> {
    Ok(client.list(kind, "", &ListOptions::default()).await?.objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_comes_from_a_file_and_its_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scheduler.yaml");
        let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        std::fs::write(&path, format!("{text}profiles: [{{schedulerName: mine}}]\n")).unwrap();
        assert_eq!(configuration(Some(&path)).unwrap().profiles[0].name, "mine");
        std::fs::write(&path, format!("{text}extenders: [{{}}]\n")).unwrap();
        let refused = configuration(Some(&path)).err().unwrap().printed();
        assert!(refused.contains("scheduler.yaml (--scheduler-config): extenders: refused"), "{refused}");
        std::fs::write(&path, format!("{text}profiles: []\npodMaxBackoffSeconds: 20\nprofiles: []\n")).unwrap();
        let doubled = configuration(Some(&path)).err().unwrap().printed();
        assert!(doubled.contains("line 5: key \"profiles\" already set in map"), "{doubled}");
        assert!(configuration(Some(&folder.path().join("none"))).is_err());
        assert_eq!(configuration(None).unwrap().profiles[0].name, "default-scheduler");
    }
}
