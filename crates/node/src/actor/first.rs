//! What an actor does once: takes over what ran before it, asks whether the node takes the pod.

use crate::view as core;
use client::recorder::Type;

use super::Actor;
use crate::act::hooks;
use crate::observe::is_running;
use crate::plan::probes;
use crate::pod::{self, Part};
use crate::progress::ProbeKind;
use crate::subject::Origin;

impl Actor {
    /// At the first look: what ran before this agent keeps `started`, and is probed at a moment of its own
    /// within the first period. A postStart hook of which the end was not told is asked for again.
    pub(super) fn adopt(&mut self, pod: &core::Pod) {
        if std::mem::replace(&mut self.adopted, true) {
            return;
        }
        let now = self.now();
        for part in pod::parts(pod) {
            let Some(c) = self.seen.latest_here(part.name()).filter(|c| is_running(c)).cloned() else { continue };
            let old = pod::old_status(pod, part.name());
            let old = old.filter(|old| old.container_id.as_deref().is_some_and(|id| id.ends_with(&c.id.0)));
            let told = old.is_some_and(|old| old.state.as_ref().is_some_and(|state| state.running.is_some()));
            if !told && self.owes_post_start(pod, &part) {
                self.progress.expect_post_start(&c.id.0);
                let hook = hooks::post_start(&self.shared, &self.subject, &self.seen, part.name(), &c.id.0);
                hook.into_iter().for_each(|hook| drop(self.tasks.spawn(hook)));
            }
            let Some(old) = old else { continue };
            for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
                let Some(probe) = probes::probe_of(&part, kind) else { continue };
                let spread = self.shared.fraction_of(probes::period(probe));
                let passed = kind == ProbeKind::Startup && old.started == Some(true);
                self.progress.adopt_probe(&c.id.0, kind, now + spread, passed);
            }
        }
    }

    /// Of a static pod nobody may have told yet what the server knows: only what is not run twice is asked for.
    fn owes_post_start(&self, pod: &core::Pod, part: &Part<'_>) -> bool {
        let exact = |hook: &core::LifecycleHandler| hook.exec.is_some();
        !pod::is_deleting(pod) && part.post_start().is_some_and(|hook| self.subject.is_known() || exact(hook))
    }

    /// Node admission, unless the pod was started before.
    pub(super) fn admit(&mut self, pod: &core::Pod) {
        if !self.progress.ask_admission() || self.subject.origin == Origin::Orphan {
            return;
        }
        let ran = |c: &core::ContainerStatus| c.state.as_ref().is_some_and(|s| s.waiting.is_none());
        let known = pod.status.iter().flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses));
        let started = !self.seen.sandboxes.is_empty() || known.flatten().any(ran);
        if pod::is_terminal(pod::phase(pod)) || pod::is_deleting(pod) {
            return;
        }
        if started {
            return self.shared.promises.enter(pod);
        }
        if self.subject.origin == Origin::Api
            && let Some(message) = crate::admit::invalid(pod, self.shared.config.allow_privileged)
        {
            self.progress.is_invalid();
            return self.event(None, Type::Warning, "FailedValidation", &message);
        }
        let pressed = crate::admit::under_pressure(&self.shared.standing.conditions(), pod).map_or(Ok(()), Err);
        let admit = || self.shared.promises.admit(pod, &self.shared.settings);
        if let Err(verdict) = pressed.and_then(|()| admit()) {
            self.event(None, Type::Warning, verdict.cause.reason(), &verdict.message);
            self.progress.refuse(verdict);
        }
    }
}
