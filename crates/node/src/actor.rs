//! One pod's actor: looks, reports, plans, acts, waits; nothing else touches the pod meanwhile.
//!
//! It is woken by its inbox (API changes, hints of the runtime), by work that it started, and by the
//! moment its plan named. What it knows beyond the two truths stands in `Progress`.

use std::sync::Arc;
use std::time::Duration;

use crate::view as core;
use api::Object;
use client::recorder::Type;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::act::{self, Effect, Scene};
use crate::inbox::Inbox;
use crate::observe::Seen;
use crate::plan::{Action, Plan, plan};
use crate::pod::Part;
use crate::progress::{Kept, Why};
use crate::shared::Shared;
use crate::subject::{Origin, Subject};

/// Law 8, asked from outside.
mod audit;
/// What there was before this agent, and whether the node takes the pod.
mod first;
/// The status, sent when it is time.
mod news;
/// What acts came to, taken in.
mod settle;

use news::Teller;

pub struct Actor {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    subject: Subject,
    seen: Seen,
    progress: Kept,
    teller: Teller,
    agenda: Agenda,
    tasks: JoinSet<Effect>,
    /// True once who holds it should give up if it merely waits: a start for a pull, a refresh for a source.
    cancel: watch::Sender<bool>,
    adopted: bool,
    done: bool,
}

/// What there is to look at next, and when.
#[derive(Default)]
struct Agenda {
    /// The machine, before the next plan.
    look: bool,
    /// An action failed: then.
    look_at: Option<Timestamp>,
    /// The files of its volumes are to be brought up to date.
    refresh: bool,
    refresh_at: Option<Timestamp>,
    /// When time alone wakes the actor.
    due: Option<Timestamp>,
}

impl Actor {
    pub fn new(shared: Arc<Shared>, origin: Origin, object: Object, uid: String, inbox: Arc<Inbox>) -> Actor {
        Actor {
            progress: Kept::new(shared.config.now()),
            shared,
            inbox,
            subject: Subject::new(origin, object, uid),
            seen: Seen::default(),
            teller: Teller::default(),
            agenda: Agenda { look: true, ..Agenda::default() },
            tasks: JoinSet::new(),
            cancel: watch::Sender::new(false),
            adopted: false,
            done: false,
        }
    }

    /// Until nothing of the pod is left, here and at the server.
    pub async fn run(mut self) {
        while !self.done {
            self.be_audited().await;
            self.take_mail();
            if self.agenda.look && !self.look().await {
                self.wait(None).await;
                continue;
            }
            let Some(mut pod) = self.subject.view() else {
                self.wait(None).await;
                continue;
            };
            self.adopt(&pod);
            self.admit(&pod);
            self.resize(&mut pod);
            let news = self.report(&pod);
            let next = self.plan(&pod);
            // An end and the back-off that follows are told as one.
            let news = news.filter(|_| !next.actions.iter().any(is_crash_loop));
            let mut again = false;
            for action in next.actions {
                again |= self.act(&pod, action).await;
            }
            if self.agenda.refresh {
                self.refresh(&pod);
            }
            news.into_iter().for_each(|news| self.tell(&pod, news));
            if !again && !self.done {
                self.wait(next.wake_at).await;
            }
        }
    }

    fn take_mail(&mut self) {
        let mail = self.inbox.take();
        if let Some(object) = mail.object {
            self.agenda.refresh |= self.subject.renew(object);
        }
        if let Some(mirror) = mail.mirror {
            self.subject.set_mirror(mirror);
        }
        self.subject.wanted &= !mail.unwanted;
        if let Some(eviction) = mail.evicted {
            self.evicted(eviction);
        }
        self.agenda.look |= mail.look;
        self.agenda.refresh |= mail.refresh;
    }

    /// True once the machine was looked at.
    async fn look(&mut self) -> bool {
        match self.shared.looker.look(&self.subject.uid).await {
            Ok(seen) => {
                self.agenda.look = false;
                self.saw(seen);
                true
            }
            Err(why) => {
                tracing::warn!(pod = %self.subject.uid, "the runtime does not say what runs: {why}");
                self.agenda.look_at = Some(self.now() + SignedDuration::from_secs(1));
                false
            }
        }
    }

    fn plan(&self, pod: &Arc<core::Pod>) -> Plan {
        plan(&self.scene(pod).situation(self.teller.is_settled()))
    }

    fn scene<'a>(&'a self, pod: &'a Arc<core::Pod>) -> Scene<'a> {
        let Actor { shared, subject, seen, progress, cancel, .. } = self;
        Scene { shared, subject, pod, seen, progress, cancel }
    }

    fn scene_and_teller<'a>(&'a mut self, pod: &'a Arc<core::Pod>) -> (Scene<'a>, &'a mut Teller) {
        let Actor { shared, subject, seen, progress, cancel, teller, .. } = self;
        (Scene { shared, subject, pod, seen, progress, cancel }, teller)
    }

    /// Performs one action; true where the plan should be made anew at once.
    async fn act(&mut self, pod: &Arc<core::Pod>, action: Action) -> bool {
        let Some(act) = act::act(&self.scene(pod), action).await else { return false };
        if let Some(work) = act.beside {
            self.tasks.spawn(work);
        }
        self.settle(act.effect)
    }

    /// Until there is news, work is done, or the time has come.
    async fn wait(&mut self, wake_at: Option<Timestamp>) {
        let Agenda { look_at, refresh_at, .. } = self.agenda;
        self.agenda.due = [wake_at, self.teller.due(), look_at, refresh_at].into_iter().flatten().min();
        if self.tasks.is_empty() {
            self.subject.rest();
        }
        let now = self.now();
        let pause = self.agenda.due.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let timer = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let mut freed = self.shared.promises.freed();
        let deferred = self.progress.resize.pending.is_some();
        // In this order, always: a simulated run replays.
        tokio::select! {
            biased;
            () = self.inbox.news(self.subject.known()) => {}
            Ok(()) = freed.changed(), if deferred => {}
            Some(work) = self.tasks.join_next() => self.take(work),
            () = timer => {}
        }
        while let Some(work) = self.tasks.try_join_next() {
            self.take(work);
        }
        let now = self.now();
        let agenda = &mut self.agenda;
        agenda.look |= agenda.look_at.take_if(|at| now >= *at).is_some();
        agenda.refresh |= agenda.refresh_at.take_if(|at| now >= *at).is_some();
    }

    fn take(&mut self, work: Result<Effect, tokio::task::JoinError>) {
        match work {
            Ok(effect) => drop(self.settle(effect)),
            // A bug in one piece of work is logged and the machine looked at again; jobs are planned anew.
            Err(why) => {
                tracing::error!(pod = %self.subject.uid, "work for a pod broke off: {why}");
                self.broke_off();
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.config.now()
    }

    /// An event about the pod, or one of its containers.
    fn event(&self, part: Option<&Part<'_>>, class: Type, reason: &str, message: &str) {
        self.shared.event(&self.subject, part, class, reason, message);
    }
}

fn is_crash_loop(action: &Action) -> bool {
    matches!(action, Action::NoteWaiting { why: Why::CrashLoop, .. })
}
