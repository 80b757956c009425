//! New limits for a pod that runs: its cgroup grows before its containers and shrinks after them.
//!
//! A memory limit below what is used now would have the kernel kill: it is refused before anything is
//! written (kuberuntime_manager.go validateMemoryResizeAction), and tried again later.

use std::sync::Arc;

use runtime::{ContainerId, Engine, Resources, Sandbox};

use crate::act::{Act, Effect, Scene};
use crate::plan::resize::{Due, due};
use crate::progress::Job;
use crate::resize::told;
use crate::spec::cgroup;

/// Limits that could not be given.
pub struct Refused {
    pub why: String,
    /// As the event says it.
    pub told: String,
}

/// One running container whose limits change.
struct New {
    id: ContainerId,
    name: String,
    old: Resources,
    new: Resources,
}

/// All that changes at once.
struct Fit {
    engine: Arc<dyn Engine>,
    sandbox: Sandbox,
    /// The pod's cgroup at the end.
    whole: Resources,
    containers: Vec<New>,
}

pub(super) fn fit(scene: &Scene<'_>) -> Option<Act> {
    let sandbox = scene.seen.current()?;
    let Due { containers, whole } = due(scene.pod, scene.seen, scene.progress);
    let containers = containers.iter().map(|(part, c)| New {
        id: c.id.clone(),
        name: part.name().to_owned(),
        old: c.spec.resources.clone(),
        new: cgroup::container_resources(scene.pod, part.spec.resources.as_ref()),
    });
    let kept = &sandbox.spec.resources;
    let whole = whole.map_or_else(
        || kept.clone(),
        |w| Resources { pids: scene.shared.settings.pids_max, hugepages: kept.hugepages.clone(), ..w },
    );
    let engine = scene.shared.engine.clone();
    let fit = Fit { engine, sandbox: sandbox.clone(), whole, containers: containers.collect() };
    let pod = scene.pod.clone();
    Some(Act::job(Job::Resize, async move {
        let result = fit.run().await;
        Effect::Resized(result.map_err(|why| Refused { told: told(&pod, "error", &why), why }))
    }))
}

impl Fit {
    async fn run(mut self) -> Result<(), String> {
        self.refuse_to_starve().await?;
        // What becomes smaller goes first.
        self.containers.sort_by_key(|c| !is_less(c.new.memory, c.old.memory));
        let roomy = cgroup::larger(&self.sandbox.spec.resources, &self.whole);
        let done = async {
            if roomy != self.sandbox.spec.resources {
                self.engine.update_sandbox(&self.sandbox.id, roomy.clone()).await?;
            }
            for c in &self.containers {
                self.engine.update_container(&c.id, c.new.clone()).await?;
            }
            if roomy != self.whole {
                self.engine.update_sandbox(&self.sandbox.id, self.whole.clone()).await?;
            }
            Ok::<(), runtime::Error>(())
        };
        done.await.map_err(|e| e.to_string())
    }

    /// Err: a memory limit would fall below what is used.
    async fn refuse_to_starve(&self) -> Result<(), String> {
        let mut found = Vec::new();
        let limit = self.whole.memory;
        if is_less(limit, self.sandbox.spec.resources.memory) {
            let used = self.engine.sandbox_usage(&self.sandbox.id).await.map_err(|e| e.to_string())?.memory;
            if used >= limit.unsigned_abs() {
                found.push(format!("attempting to set pod memory limit ({limit}) below current usage ({used})"));
            }
        }
        for c in self.containers.iter().filter(|c| is_less(c.new.memory, c.old.memory)) {
            let (name, limit) = (&c.name, c.new.memory);
            let used = self.engine.usage(&c.id).await.map_err(|e| e.to_string())?.memory;
            if used >= limit.unsigned_abs() {
                found.push(format!(
                    "attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
                ));
            }
        }
        match found.as_slice() {
            [] => Ok(()),
            [one] => Err(format!("cannot decrease memory limits: {one}")),
            more => Err(format!("cannot decrease memory limits: [{}]", more.join(", "))),
        }
    }
}

/// A limit of 0 is none.
fn is_less(new: i64, old: i64) -> bool {
    new != 0 && (old == 0 || new < old)
}
