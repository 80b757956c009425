//! Events about objects, sent in the background, counted and combined as upstream's clients do.
//!
//! `event` is the core/v1 form (client-go tools/record): the same event again is a PATCH of the
//! count, ten similar ones become one, and one object gets 25 and then one every five minutes.
//! `event_v1` is the events.k8s.io/v1 form of the scheduler (client-go tools/events): repeats are a
//! series. Nothing here blocks; a full queue or a refusing server loses the event, with a log line.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::resource::EVENTS;
use api::{Clock, Entropy, Object, Reason, Status};
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::{Client, PatchKind};

mod correlate;

use correlate::{Correlator, Verdict};

/// client-go: maxQueuedEvents
const QUEUE: usize = 1000;
/// Events that are written side by side: the server makes them durable together.
const TOGETHER: usize = 32;
/// client-go: maxTriesPerEvent, defaultSleepDuration
const TRIES: u32 = 12;
const RETRY: Duration = Duration::from_secs(10);
/// client-go tools/events: finishTime
const TOLD_AGAIN: Duration = Duration::from_secs(60);
const SERIES_END: Duration = Duration::from_secs(6 * 60);
/// An event lives an hour after its last write (events/event_broadcaster.go refreshTime).
const SERIES_REFRESH: Duration = Duration::from_secs(30 * 60);

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ObjectReference {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// `spec.containers{web}`
    pub field_path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Normal,
    Warning,
}

/// Sends events as one component. Clone is a reference count; the task ends with the last one.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
    /// When it was last said that events are lost.
    told: Arc<Mutex<Option<Instant>>>,
    clock: Clock,
}

/// An event as it was said, before it is counted.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub regarding: ObjectReference,
    pub class: Type,
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
    pub annotations: BTreeMap<String, String>,
}

enum Note {
    Core(Said),
    V1 { said: Said, related: Option<ObjectReference>, action: String },
}

impl Recorder {
    /// `component` is `kubelet`, `default-scheduler`; `host` is the node's name or empty.
    pub fn new(client: Client, component: &str, host: &str, clock: Clock, entropy: Entropy) -> Recorder {
        let (queue, notes) = mpsc::channel(QUEUE);
        let sink = Sink {
            client,
            component: component.into(),
            host: host.into(),
            entropy,
            correlator: Correlator::default(),
            series: HashMap::new(),
        };
        tokio::spawn(sink.run(notes));
        Recorder { queue, told: Arc::default(), clock }
    }

    /// Says what happened; `field_path` names a part of the object (`spec.containers{web}`) or is empty.
    pub fn event(
        &self,
        regarding: impl Into<ObjectReference>,
        field_path: &str,
        class: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut regarding = regarding.into();
        if !field_path.is_empty() {
            regarding.field_path = field_path.into();
        }
        self.send(Note::Core(self.said(regarding, class, reason, message.into())));
    }

    /// The same with annotations for whoever reads events by machine.
    pub fn annotated_event(
        &self,
        regarding: impl Into<ObjectReference>,
        annotations: BTreeMap<String, String>,
        class: Type,
        reason: &str,
        message: impl Into<String>,
    ) {
        let said = self.said(regarding.into(), class, reason, message.into());
        self.send(Note::Core(Said { annotations, ..said }));
    }

    /// The events.k8s.io/v1 form: `action` is what was tried (`Scheduling`, `Binding`).
    pub fn event_v1(
        &self,
        regarding: impl Into<ObjectReference>,
        related: Option<ObjectReference>,
        class: Type,
        reason: &str,
        action: &str,
        note: impl Into<String>,
    ) {
        let said = self.said(regarding.into(), class, reason, note.into());
        self.send(Note::V1 { said, related, action: action.into() });
    }

    fn said(&self, regarding: ObjectReference, class: Type, reason: &str, message: String) -> Said {
        Said { regarding, class, reason: reason.into(), message, at: (self.clock)(), annotations: BTreeMap::new() }
    }

    fn send(&self, note: Note) {
        if self.queue.try_send(note).is_ok() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TOLD_AGAIN) {
            *told = Some(Instant::now());
            tracing::warn!("events are lost: {QUEUE} are waiting to be written");
        }
    }
}

impl From<&Object> for ObjectReference {
    fn from(object: &Object) -> ObjectReference {
        let meta = object.meta();
        ObjectReference {
            api_version: meta.api_version.clone(),
            kind: meta.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }
}

impl ObjectReference {
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::Map::new();
        let fields = [
            ("apiVersion", &self.api_version),
            ("kind", &self.kind),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("uid", &self.uid),
            ("resourceVersion", &self.resource_version),
            ("fieldPath", &self.field_path),
        ];
        for (name, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
            value.insert(name.into(), json!(text));
        }
        Value::Object(value)
    }

    /// Where its events live: beside it, or in `default`.
    fn event_namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }
}

impl Type {
    pub fn as_str(self) -> &'static str {
        match self {
            Type::Normal => "Normal",
            Type::Warning => "Warning",
        }
    }
}

/// The task that writes.
struct Sink {
    client: Client,
    component: String,
    host: String,
    entropy: Entropy,
    correlator: Correlator,
    series: HashMap<SeriesKey, Series>,
}

type SeriesKey = (ObjectReference, Option<ObjectReference>, Type, String, String);

/// An event of the v1 form that may repeat.
struct Series {
    body: Value,
    name: String,
    count: u32,
    last: Timestamp,
    ends: Instant,
    written: Instant,
}

/// One event on its way: new, or changed by a patch if it is still there.
struct Write {
    namespace: String,
    name: String,
    patch: Option<Value>,
    body: Value,
}

impl Sink {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        let mut batch = Vec::with_capacity(TOGETHER);
        loop {
            // Only a series that is open wakes this task by itself.
            let end = self.series.values().map(|series| series.ends).min();
            let series_ends = async {
                match end {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                taken = notes.recv_many(&mut batch, TOGETHER) => match taken {
                    0 => return,
                    _ => self.take(batch.drain(..)).await,
                },
                () = series_ends => self.finish().await,
            }
        }
    }

    /// Writes new events side by side; one that is there already, after what was said before it.
    async fn take(&mut self, notes: impl Iterator<Item = Note>) {
        let mut new = Vec::new();
        for note in notes {
            let write = match note {
                Note::Core(said) => self.core(said),
                Note::V1 { said, related, action } => self.v1(said, related, action),
            };
            match write {
                Some(again) if again.patch.is_some() => {
                    join_all(new.drain(..).map(|new| self.write(new))).await;
                    self.write(again).await;
                }
                write => new.extend(write),
            }
        }
        join_all(new.into_iter().map(|new| self.write(new))).await;
    }

    fn core(&mut self, said: Said) -> Option<Write> {
        let name = event_name(&said);
        let namespace = said.regarding.event_namespace().to_owned();
        match self.correlator.judge(&self.component, &self.host, &said, &name) {
            Verdict::Skip => None,
            Verdict::Create { message } => {
                let body = self.core_body(&said, &name, &message, 1, said.at);
                Some(Write { namespace, name, patch: None, body })
            }
            Verdict::Count { name, message, count, first } => {
                let body = self.core_body(&said, &name, &message, count, first);
                let patch = json!({"count": count, "lastTimestamp": api::seconds(said.at), "message": message});
                Some(Write { namespace, name, patch: Some(patch), body })
            }
        }
    }

    fn core_body(&self, said: &Said, name: &str, message: &str, count: u32, first: Timestamp) -> Value {
        let mut source = json!({"component": self.component});
        if !self.host.is_empty() {
            source["host"] = json!(self.host);
        }
        let mut metadata = json!({"name": name, "namespace": said.regarding.event_namespace()});
        // One that stands for several says nothing of who reports (events_cache.go EventAggregate).
        let (mut component, mut instance) = ("", "");
        if message == said.message {
            (component, instance) = (&self.component, &self.host);
            if !said.annotations.is_empty() {
                metadata["annotations"] = json!(said.annotations);
            }
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": metadata,
            "involvedObject": said.regarding.to_value(),
            "reason": said.reason, "message": message, "type": said.class.as_str(), "count": count,
            "firstTimestamp": api::seconds(first), "lastTimestamp": api::seconds(said.at), "source": source,
            "reportingComponent": component, "reportingInstance": instance,
        })
    }

    fn v1(&mut self, said: Said, related: Option<ObjectReference>, action: String) -> Option<Write> {
        let ends = Instant::now() + SERIES_END;
        // Versions of the object differ from time to time; the event is still the same one.
        let unversioned = ObjectReference { resource_version: String::new(), ..said.regarding.clone() };
        let key = (unversioned, related.clone(), said.class, said.reason.clone(), action.clone());
        if let Some(series) = self.series.get_mut(&key) {
            series.count += 1;
            series.last = said.at;
            series.ends = ends;
            // The first repeat is written, later ones when the series ends, and often enough for the event to live.
            let old = series.written.elapsed() >= SERIES_REFRESH;
            if series.count == 2 || old {
                series.written = Instant::now();
                return Some(series.again(&said.regarding));
            }
            return None;
        }
        let name = event_name(&said);
        let instance =
            if self.host.is_empty() { self.component.clone() } else { format!("{}-{}", self.component, self.host) };
        let mut body = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": said.regarding.event_namespace()},
            "involvedObject": said.regarding.to_value(),
            "reason": said.reason, "action": action, "message": said.message, "type": said.class.as_str(),
            "eventTime": micros(said.at), "source": {},
            "reportingComponent": self.component, "reportingInstance": instance,
        });
        if let Some(related) = &related {
            body["related"] = related.to_value();
        }
        let namespace = said.regarding.event_namespace().to_owned();
        let write = Write { namespace, name: name.clone(), patch: None, body: body.clone() };
        self.series.insert(key, Series { body, name, count: 1, last: said.at, ends, written: Instant::now() });
        Some(write)
    }

    /// Writes the last count of every series that has been silent long enough.
    async fn finish(&mut self) {
        let now = Instant::now();
        let over: Vec<SeriesKey> =
            self.series.iter().filter(|(_, s)| s.ends <= now).map(|(key, _)| key.clone()).collect();
        for key in over {
            let series = self.series.remove(&key).expect("taken from the keys just now");
            if series.count > 2 {
                self.write(series.again(&key.0)).await;
            }
        }
    }

    /// Creates, or patches what is there; a refusal is final, silence is tried again.
    async fn write(&self, write: Write) {
        let Write { namespace, name, mut patch, body } = write;
        let (ns, name) = (namespace.as_str(), name.as_str());
        for attempt in 1..=TRIES {
            let result = match &patch {
                Some(patch) => self.client.patch(&EVENTS, ns, name, "", PatchKind::Strategic, patch).await,
                None => self.client.create(&EVENTS, ns, &body).await,
            };
            match result {
                Ok(_) => return,
                // It expired meanwhile: said anew.
                Err(status) if status.reason == Reason::NotFound && patch.is_some() => patch = None,
                Err(status) if !worth_retrying(&status) => {
                    tracing::debug!("the server refuses an event: {status}");
                    return;
                }
                Err(status) if attempt == TRIES => tracing::warn!("an event is lost: {status}"),
                Err(_) => tokio::time::sleep(self.pause(attempt)).await,
            }
        }
    }

    fn pause(&self, attempt: u32) -> Duration {
        if attempt > 1 {
            return RETRY;
        }
        // The first pause is spread, so that a thousand clients do not come back at once.
        let mut random = [0u8; 4];
        (self.entropy)(&mut random);
        RETRY.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
    }
}

impl Series {
    /// That it was said again.
    fn again(&self, regarding: &ObjectReference) -> Write {
        let series = json!({"count": self.count, "lastObservedTime": micros(self.last)});
        let mut body = self.body.clone();
        body["series"] = series.clone();
        let namespace = regarding.event_namespace().to_owned();
        Write { namespace, name: self.name.clone(), patch: Some(json!({"series": series})), body }
    }
}

fn worth_retrying(status: &Status) -> bool {
    matches!(
        status.reason,
        Reason::ServiceUnavailable | Reason::ServerTimeout | Reason::Timeout | Reason::TooManyRequests
    )
}

/// `web.17a3c0ffee`: the object's name and the time in hexadecimal nanoseconds.
fn event_name(said: &Said) -> String {
    format!("{}.{:x}", said.regarding.name, said.at.as_nanosecond())
}

/// `metav1.MicroTime`.
pub(crate) fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests;
