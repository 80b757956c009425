//! Writers and watchers over kill -9 of the server: what was acknowledged is there, and was seen.
//!
//! Each writer owns its keys, so that it knows what may stand there; some increase one counter together by
//! compare-and-set, some race for names, some watch from a revision on and take up where they were cut off.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Round;
use crate::chaos::chance::Chance;
use crate::chaos::history::{Event, Record, State, Watch, Write, revision};
use crate::chaos::instance::{Answer, Api, Instance, Over};
use crate::chaos::left;

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WRITERS: u64 = 16;
const COUNTERS: u64 = 4;
const RACERS: u64 = 3;
const WATCHERS: u64 = 3;
const KEYS: u64 = 6;

pub async fn run(round: &Round<'_>) -> Result<()> {
    let mut instance = Instance::new(round.gousse, &round.name, &round.home, round.record.clone())?;
    instance.start().await?;
    let api = instance.api()?;
    let counter = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counter"}, "data": {"n": "0", "log": ""}});
    api.insist("POST", MAPS, Some(&counter)).await?;
    let over = Over::default();
    let tasks = begin(round, &instance, &over)?;
    let mut chance = round.chance("blows");
    let end = Instant::now() + round.span;
    while Instant::now() < end {
        let longest = *chance.pick(&[100, 500, 1500, 3000]);
        sleep(Duration::from_millis(100) + chance.pause(longest)).await;
        turn(&mut instance, &mut chance).await?;
    }
    sleep(Duration::from_secs(1)).await;
    over.set();
    for task in tasks {
        timeout(Duration::from_secs(60), task).await.context("waited 60 s for a writer or watcher to end")??;
    }
    // Once more, and then the reckoning.
    instance.kill().await;
    instance.start().await?;
    reckon(&api, &round.record).await?;
    instance.down().await?;
    round.record.lock().left.extend(left::of_all(&instance));
    Ok(())
}

/// kill -9, and a start, which is killed too sometimes.
async fn turn(instance: &mut Instance, chance: &mut Chance) -> Result<()> {
    let acknowledged =
        |record: &Record| record.lock().writes.acknowledged.iter().map(|write| write.revision).max().unwrap_or(0);
    let before = acknowledged(&instance.record);
    instance.kill().await;
    let mut starting = instance.begin()?;
    while chance.happens(25) {
        sleep(chance.pause(100)).await;
        instance.kill().await;
        starting = instance.begin()?;
    }
    instance.ready(starting).await?;
    let (_, list, _) = instance.api()?.insist("GET", &format!("{MAPS}?limit=1"), None).await?;
    instance.record.lock().writes.turns.push((before, revision(&list)));
    Ok(())
}

/// All of them, each on a connection of its own.
fn begin(round: &Round<'_>, instance: &Instance, over: &Over) -> Result<Vec<JoinHandle<()>>> {
    let mut tasks = Vec::new();
    for number in 0..WRITERS {
        let chance = round.chance(&format!("writer {number}"));
        tasks.push(tokio::spawn(write(number, instance.api()?, round.record.clone(), chance, over.clone())));
    }
    for number in 0..COUNTERS {
        tasks.push(tokio::spawn(count(number, instance.api()?, round.record.clone(), over.clone())));
    }
    for _ in 0..RACERS {
        tasks.push(tokio::spawn(race(instance.api()?, round.record.clone(), over.clone())));
    }
    for _ in 0..WATCHERS {
        tasks.push(tokio::spawn(follow(instance.api()?, round.record.clone(), over.clone())));
    }
    Ok(tasks)
}

/// What stands in a map: its token and revision.
fn state(code: u16, object: &Value) -> Option<State> {
    match code {
        200 | 201 => {
            Some(State { token: object["data"]["t"].as_str().map(String::from), revision: Some(revision(object)) })
        }
        404 => Some(State::default()),
        _ => None,
    }
}

async fn write(number: u64, api: Api, record: Record, mut chance: Chance, over: Over) {
    let mut keys = BTreeMap::<String, Vec<State>>::new();
    let mut step = 0;
    while !over.is_set() {
        let key = format!("w{number}-{}", chance.within(0..=KEYS - 1));
        let may = keys.entry(key.clone()).or_insert_with(|| vec![State::default()]);
        step += 1;
        let known = if let [state] = may.as_slice() { Some(state.clone()) } else { None };
        let path = format!("{MAPS}/{key}");
        let Some(known) = known else {
            if let Answer::Told(code, object) = api.ask("GET", &path, None).await
                && let Some(found) = state(code, &object)
            {
                if !may.iter().any(|state| state.token == found.token) {
                    record.lock().writes.wrong.push(format!("{key}: {found:?} is none of {may:?}"));
                }
                *may = vec![found];
            }
            continue;
        };
        let token = format!("{number}.{step}");
        let pad = chance.noise(1500);
        let map = |version: Option<u64>| {
            let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key}, "data": {"t": token, "pad": pad}});
            if let Some(version) = version {
                map["metadata"]["resourceVersion"] = version.to_string().into();
            }
            map
        };
        let told = match (&known.token, known.revision, chance.within(0..=99)) {
            (None, _, _) => (api.ask("POST", MAPS, Some(&map(None))).await, Some(token.clone())),
            (Some(_), Some(version), 0..45) => {
                (api.ask("PUT", &path, Some(&map(Some(version)))).await, Some(token.clone()))
            }
            (Some(_), Some(version), 45..55) => {
                // Stale: it must be refused, whatever else happens.
                if let Answer::Told(code @ (200 | 201), _) = api.ask("PUT", &path, Some(&map(Some(version - 1)))).await
                {
                    record.lock().writes.wrong.push(format!("{key}: a stale update was taken: {code}"));
                }
                continue;
            }
            (Some(_), _, 55..70) => {
                let patch = json!({"data": {"t": token}});
                (api.ask_as("PATCH", &path, Some(&patch), "application/merge-patch+json").await, Some(token.clone()))
            }
            _ => (api.ask("DELETE", &path, None).await, None),
        };
        match told {
            (Answer::Told(200 | 201, object), Some(token)) => {
                let revision = revision(&object);
                *may = vec![State { token: Some(token.clone()), revision: Some(revision) }];
                record.lock().writes.acknowledged.push(Write { key, revision, token });
            }
            (Answer::Told(200, _), None) => *may = vec![State::default()],
            (Answer::Told(code, answer), token) => {
                record.lock().refused.push(format!("{key}: {code} {}", answer["message"]));
                *may = vec![known, State { token, revision: None }];
            }
            (Answer::Unknown(_), token) => {
                record.lock().writes.unknown += 1;
                *may = vec![known, State { token, revision: None }];
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
    record.lock().writes.may.extend(keys);
}

async fn count(number: u64, api: Api, record: Record, over: Over) {
    let path = format!("{MAPS}/counter");
    let mut step = 0;
    while !over.is_set() {
        let Answer::Told(200, mut map) = api.ask("GET", &path, None).await else { continue };
        step += 1;
        let token = format!("{number}.{step}");
        let (number, log) =
            (map["data"]["n"].as_str().unwrap_or_default(), map["data"]["log"].as_str().unwrap_or_default());
        let next = number.parse::<u64>().unwrap_or_default() + 1;
        map["data"] = json!({"n": next.to_string(), "log": format!("{log} {token}").trim()});
        let answer = api.ask("PUT", &path, Some(&map)).await;
        let mut history = record.lock();
        match answer {
            Answer::Told(200, object) => {
                history.writes.acknowledged.push(Write {
                    key: "counter".into(),
                    revision: revision(&object),
                    token: token.clone(),
                });
                history.writes.counter.acknowledged.push(token);
            }
            Answer::Told(409, _) => {}
            Answer::Told(code, answer) => history.refused.push(format!("counter: {code} {}", answer["message"])),
            Answer::Unknown(_) => history.writes.counter.unknown.push(token),
        }
    }
}

/// Several create the same name at about the same time.
async fn race(api: Api, record: Record, over: Over) {
    while !over.is_set() {
        let name = format!("race-{}", crate::chaos::history::now() / 50_000_000);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        if let Answer::Told(201, object) = api.ask("POST", MAPS, Some(&map)).await {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let mut history = record.lock();
            history.writes.acknowledged.push(Write {
                key: name.clone(),
                revision: revision(&object),
                token: uid.clone(),
            });
            history.writes.races.entry(name).or_default().push(uid);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn follow(api: Api, record: Record, over: Over) {
    let mut span: Option<(Watch, u64)> = None;
    while !over.is_set() {
        let (watch, from) = match span.as_mut() {
            Some(span) => span,
            None => {
                let Answer::Told(200, list) = api.ask("GET", &format!("{MAPS}?limit=1"), None).await else { continue };
                let from = revision(&list);
                span.insert((Watch { from, ..Watch::default() }, from))
            }
        };
        let mut stream =
            match api.watch(&format!("{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={from}")).await {
                Ok(stream) => stream,
                Err(Some(410)) => {
                    record.lock().writes.watches.extend(span.take().map(|(watch, _)| watch));
                    continue;
                }
                Err(_) => {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
        let mut gone = false;
        while !over.is_set() {
            let Ok(Some(event)) = timeout(Duration::from_secs(5), stream.next()).await else { break };
            let object = &event["object"];
            match event["type"].as_str() {
                Some("BOOKMARK") => watch.mark = revision(object),
                Some(kind @ ("ADDED" | "MODIFIED" | "DELETED")) => watch.events.push(Event {
                    revision: revision(object),
                    key: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                    deleted: kind == "DELETED",
                }),
                _ => {
                    gone = object["code"] == 410;
                    break;
                }
            }
            *from = revision(object);
        }
        if gone {
            record.lock().writes.watches.extend(span.take().map(|(watch, _)| watch));
        }
    }
    record.lock().writes.watches.extend(span.map(|(watch, _)| watch));
}

/// What stands there in the end.
pub async fn reckon(api: &Api, record: &Record) -> Result<()> {
    let (code, list, _) = api.insist("GET", MAPS, None).await?;
    if code != 200 {
        bail!("listing what was written: {code}");
    }
    let mut history = record.lock();
    for object in list["items"].as_array().into_iter().flatten() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name == "counter" {
            let text = |field: &str| object["data"][field].as_str().unwrap_or_default().to_owned();
            history.writes.counter.number = text("n").parse().unwrap_or_default();
            history.writes.counter.entries = text("log").split_whitespace().map(String::from).collect();
        }
        history.writes.end.insert(name, state(200, object).unwrap_or_default());
    }
    Ok(())
}
