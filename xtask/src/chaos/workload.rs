//! Pods that come and go while something is being struck; then rest, and what is looked at there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::behaviours::{self, BEHAVIOURS, Behaviour};
use super::chance::Chance;
use super::history::{Deletion, Lived, Log, Record, Rest, Seen, now};
use super::image::PUPPET;
use super::instance::{Answer, Api, Over, until};
use super::{diary, follow};

pub const PODS: &str = "/api/v1/namespaces/default/pods";

/// For everything to be as the API says once nothing is struck any more: a crasher waits up to ten seconds.
const REST: Duration = Duration::from_secs(20);
/// For all pods to go: the longest grace, and half as much again.
const GONE: Duration = Duration::from_secs(60);

pub struct Workload {
    pub api: Api,
    pub record: Record,
    /// Where the puppets write.
    pub diaries: PathBuf,
    chance: Chance,
    number: u64,
    /// Pods that nobody has deleted yet: UID, name, behaviour.
    live: BTreeMap<String, (String, &'static Behaviour)>,
}

impl Workload {
    pub fn new(api: Api, record: Record, home: &Path, chance: Chance) -> Result<Workload> {
        let diaries = home.join("diaries");
        std::fs::create_dir_all(&diaries)?;
        Ok(Workload { api, record, diaries, chance, number: 0, live: BTreeMap::new() })
    }

    /// Creates one; none if it was refused, which is written down.
    pub async fn create(&mut self, behaviour: &'static Behaviour, name: Option<String>) -> Result<Option<String>> {
        self.create_from(behaviour, name, PUPPET).await
    }

    pub async fn create_from(
        &mut self,
        behaviour: &'static Behaviour,
        name: Option<String>,
        image: &str,
    ) -> Result<Option<String>> {
        self.number += 1;
        let name = name.unwrap_or_else(|| format!("{}-{}", behaviour.name, self.number));
        let (manifest, pod) = behaviours::pod(&name, behaviour, image, &self.diaries, &mut self.chance);
        let (mut code, mut object, unknown) = self.api.insist("POST", PODS, Some(&manifest)).await?;
        if code == 409 && unknown > 0 {
            // An earlier try may have gone through.
            (code, object, _) = self.api.insist("GET", &format!("{PODS}/{name}"), None).await?;
        }
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let known = self.record.lock().pods.contains_key(&uid);
        if !matches!(code, 200 | 201) || uid.is_empty() || known {
            self.record.lock().refused.push(format!("creating {name}: {code} {}", object["message"]));
            return Ok(None);
        }
        self.record.lock().pods.insert(uid.clone(), pod);
        follow::see(&self.record, &object);
        self.live.insert(uid.clone(), (name, behaviour));
        Ok(Some(uid))
    }

    /// Each behaviour's share.
    pub async fn populate(&mut self) -> Result<()> {
        let mut all: Vec<&'static Behaviour> =
            BEHAVIOURS.iter().flat_map(|row| std::iter::repeat_n(row, row.share)).collect();
        self.chance.shuffle(&mut all);
        for behaviour in all {
            self.create(behaviour, None).await?;
        }
        Ok(())
    }

    /// Deletes it; the grace in seconds, its own without.
    pub async fn delete(&mut self, uid: &str, grace: Option<u64>) -> Result<()> {
        let live = self.live.remove(uid);
        let (name, own, before) = match self.record.lock().pods.get(uid) {
            Some(pod) => (pod.name.clone(), pod.grace, pod.deletion.clone()),
            None => return Ok(()),
        };
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}});
        if let Some(grace) = grace {
            body["gracePeriodSeconds"] = grace.into();
        }
        let asked = now();
        // Known to be under way before the answer: whoever looks meanwhile must not take it for a loss.
        let deletion = Deletion { asked, acknowledged: asked, grace: grace.unwrap_or(own), shrunk: before.is_some() };
        let first = before.as_ref().map_or(asked, |before| before.asked);
        self.mark(uid, Deletion { asked: first, ..deletion.clone() });
        let (code, answer, unknown) = self.api.insist("DELETE", &format!("{PODS}/{name}"), Some(&body)).await?;
        let may_be_gone = before.is_some() || unknown > 0;
        let taken = matches!(code, 200 | 202) || may_be_gone && matches!(code, 404 | 409);
        if !taken {
            // It is not deleted then: somebody asks again in the end.
            self.live.extend(live.map(|live| (uid.to_owned(), live)));
            let mut history = self.record.lock();
            history.refused.push(format!("deleting {name}: {code} {}", answer["message"]));
            if let Some(pod) = history.pods.get_mut(uid) {
                pod.deletion = before;
            }
            return Ok(());
        }
        self.mark(uid, Deletion { asked: first, acknowledged: now(), ..deletion });
        Ok(())
    }

    fn mark(&self, uid: &str, deletion: Deletion) {
        if let Some(pod) = self.record.lock().pods.get_mut(uid) {
            pod.deletion = Some(deletion);
        }
    }

    fn any(&mut self) -> Option<String> {
        let at = self.chance.within(0..=(self.live.len() as u64).checked_sub(1)?) as usize;
        self.live.keys().nth(at).cloned()
    }

    /// Deletes, forces, replaces, until the time is over.
    pub async fn churn(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            tokio::time::sleep(self.chance.pause(500)).await;
            let Some(uid) = self.any() else { continue };
            let (name, behaviour) = self.live[&uid].clone();
            let another = *self.chance.pick(&BEHAVIOURS.iter().collect::<Vec<_>>());
            match self.chance.within(0..=99) {
                0..30 => {
                    self.delete(&uid, None).await?;
                    self.create(another, None).await?;
                }
                // Another one under its name at once.
                30..45 => {
                    self.delete(&uid, Some(0)).await?;
                    self.create(behaviour, Some(name)).await?;
                }
                // With less grace than it had a moment ago.
                45..53 => {
                    self.delete(&uid, None).await?;
                    tokio::time::sleep(self.chance.pause(1000)).await;
                    let grace = self.chance.within(0..=2);
                    self.delete(&uid, Some(grace)).await?;
                    self.create(behaviours::named("runner"), None).await?;
                }
                // Under the same name, as soon as it is free.
                53..60 => {
                    self.delete(&uid, Some(1)).await?;
                    self.wait_gone(&name, &uid).await?;
                    self.create(behaviour, Some(name)).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn wait_gone(&self, name: &str, uid: &str) -> Result<()> {
        let path = format!("{PODS}/{name}");
        let gone = async || match self.api.ask("GET", &path, None).await {
            Answer::Told(404, _) => Some(()),
            Answer::Told(200, object) => (object["metadata"]["uid"] != uid).then_some(()),
            _ => None,
        };
        if let Err(why) = until(&format!("the name of {name}"), GONE, gone).await {
            self.record.lock().late.push(format!("{why:#}"));
        }
        Ok(())
    }

    /// Waits until what the API says is what the diaries say, and writes down the last look in any case; then the logs.
    pub async fn rest(&self) -> Result<()> {
        let end = Instant::now() + REST;
        loop {
            let looked = self.look().await?;
            if self.is_at_rest(looked) || Instant::now() > end {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.read_logs().await;
        Ok(())
    }

    /// Writes a look down; whether it fits the diaries.
    fn is_at_rest(&self, looked: BTreeMap<String, Rest>) -> bool {
        let mut history = self.record.lock();
        for (uid, rest) in looked {
            if let Some(pod) = history.pods.get_mut(&uid) {
                pod.rest = Some(rest);
            }
        }
        self.read_into(&mut history);
        super::checks::pods::rest_is_reached(&history).is_empty()
    }

    /// Each live pod: lives before, the status, lives after.
    async fn look(&self) -> Result<BTreeMap<String, Rest>> {
        let names = |uid: &str| -> Vec<String> {
            let history = self.record.lock();
            history
                .pods
                .get(uid)
                .map(|pod| pod.containers.iter().map(|container| container.name.clone()).collect())
                .unwrap_or_default()
        };
        let count = |uid: &str| {
            let lives = |name: String| {
                let (count, exit) = diary::lives(&self.diaries, uid, &name);
                Lived { container: name, before: count, after: count, exit }
            };
            names(uid).into_iter().map(lives).collect::<Vec<_>>()
        };
        let before: Vec<_> = self.live.keys().map(|uid| (uid, count(uid))).collect();
        let (code, list, _) = self.api.insist("GET", PODS, None).await?;
        if code != 200 {
            bail!("listing the pods: {code}");
        }
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let seen = |uid: &str| items.iter().find(|object| object["metadata"]["uid"] == uid).map(Seen::of);
        let rest = |(uid, before): (&String, Vec<Lived>)| {
            let lives = before
                .into_iter()
                .zip(count(uid))
                .map(|(lived, later)| Lived { after: later.after, ..lived })
                .collect();
            (uid.clone(), Rest { seen: seen(uid), lives })
        };
        Ok(before.into_iter().map(rest).collect())
    }

    /// Reads every diary into the history.
    pub fn read_diaries(&self) {
        self.read_into(&mut self.record.lock());
    }

    fn read_into(&self, history: &mut super::history::History) {
        for (uid, pod) in &mut history.pods {
            pod.containers.iter_mut().for_each(|container| diary::read(&self.diaries, uid, container));
        }
    }

    /// What clients read of the live pods' logs, this life and the one before.
    async fn read_logs(&self) {
        for uid in self.live.keys() {
            let Some((pod, containers)) = self.record.lock().pods.get(uid).map(|pod| {
                (pod.name.clone(), pod.containers.iter().map(|container| container.name.clone()).collect::<Vec<_>>())
            }) else {
                continue;
            };
            for container in containers {
                for previous in [false, true] {
                    if let Some(log) = self.read_log(uid, &pod, &container, previous).await {
                        let mut history = self.record.lock();
                        let known = history
                            .pods
                            .get_mut(uid)
                            .and_then(|pod| pod.containers.iter_mut().find(|known| known.name == container));
                        if let Some(known) = known {
                            known.logs.push(log);
                        }
                    }
                }
            }
        }
    }

    /// None where the container began anew meanwhile, or there is no such life.
    async fn read_log(&self, uid: &str, pod: &str, container: &str, previous: bool) -> Option<Log> {
        let path = format!("{PODS}/{pod}/log?container={container}&previous={previous}");
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let before = diary::written(&self.diaries, uid, container);
            let count = before.len() as u64;
            let life = if previous { count.checked_sub(2)? } else { count.checked_sub(1)? };
            let (code, text) = self.api.text(&path).await?;
            let after = diary::written(&self.diaries, uid, container);
            if after.len() as u64 != count {
                return None;
            }
            let source = if previous { "its log of before" } else { "its log" };
            let (least, most) = (&before[&life], &after[&life]);
            let within = ((least.out.written, most.out.begun), (least.err.written, most.err.begun));
            let mut log = Log { source, life, out_within: within.0, err_within: within.1, ..Log::default() };
            match code {
                200 => diary::log(&text, &mut log),
                _ if previous => return None,
                _ => log.torn.push(format!("{code} {text}")),
            }
            // Of several lives, which one is the current depends on whether it waits for the next.
            if count > 1 && log.out.first().is_some_and(|(of, _)| *of != life) {
                return None;
            }
            // What is in the pipe may be a moment late.
            if log.out.len() as u64 >= log.out_within.0 && log.err.len() as u64 >= log.err_within.0
                || Instant::now() > end
            {
                return Some(log);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Every log file that the node keeps, of lives that have ended.
    pub fn read_files(&self, data: &Path) {
        for (uid, container, life, text) in diary::files(data) {
            let written = diary::written(&self.diaries, &uid, &container);
            let Some(own) = written.get(&life).filter(|own| own.exit.is_some()).cloned() else { continue };
            let mut history = self.record.lock();
            let Some(pod) = history.pods.get_mut(&uid) else { continue };
            let Some(known) = pod.containers.iter_mut().find(|known| known.name == container) else { continue };
            let within = ((own.out.written, own.out.begun), (own.err.written, own.err.begun));
            let mut log =
                Log { source: "its file", life, out_within: within.0, err_within: within.1, ..Log::default() };
            match diary::plain(&text) {
                Ok(text) => diary::log(&text, &mut log),
                Err(line) => log.torn.push(line),
            }
            known.logs.push(log);
        }
    }

    /// Deletes what is there.
    pub async fn delete_all(&mut self) -> Result<()> {
        for uid in self.live.keys().cloned().collect::<Vec<_>>() {
            self.delete(&uid, None).await?;
        }
        Ok(())
    }

    /// Waits until no pod is there; one that stays is written down.
    pub async fn all_gone(&self) {
        let mut there: Vec<Value> = Vec::new();
        let gone = async || {
            if let Answer::Told(200, list) = self.api.ask("GET", PODS, None).await {
                there = list["items"].as_array().cloned().unwrap_or_default();
                return there.is_empty().then_some(());
            }
            None
        };
        if let Err(why) = until("all pods to go", GONE, gone).await {
            let names: Vec<_> = there
                .iter()
                .map(|object| format!("{} {}", object["metadata"]["name"], object["status"]["containerStatuses"]))
                .collect();
            self.record.lock().late.push(format!("{why:#}: {names:?}"));
        }
    }
}

/// Follows the pods in a task of its own until the flag is set.
pub fn followed(workload: &Workload) -> (tokio::task::JoinHandle<()>, Over) {
    let over = Over::default();
    (tokio::spawn(follow::follow(workload.api.clone(), workload.record.clone(), over.clone())), over)
}
