//! Requests in an order: a case. Each server gets its requests one after the other, both get the same.
//!
//! A request may name what its server told before: `{uid}`, `{revision}`, `{continue}`, `{etag}` and `{location}` of the
//! latest answer that had one. Each case has objects of its own, so that none depends on another.

use anyhow::{Context, Result};
use bytes::Bytes;

use super::difference::{self, Difference};
use super::level::Seen;
use super::servers::{Answer, Servers};
use super::subjects::Subject;

/// New objects, right and wrong.
mod create;
/// The end of objects.
mod delete;
/// Discovery and OpenAPI.
mod documents;
/// Each verb in protobuf.
mod forms;
/// Paths that are no kind's.
mod outside;
/// Patches of every type.
mod patch;
/// Objects and lists, in every form.
mod read;
/// Objects that change.
mod update;

/// What is no kind's; `served` is what both have.
pub fn outside(served: &[Subject]) -> Vec<Case> {
    let mut cases = outside::outside(served);
    cases.extend(documents::cases(served));
    cases
}

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

/// All cases of a kind.
pub fn of(subject: &Subject) -> Vec<Case> {
    let mut cases = vec![prepared(subject)];
    cases.extend(create::cases(subject));
    cases.extend(read::cases(subject));
    cases.extend(update::cases(subject));
    cases.extend(patch::cases(subject));
    cases.extend(forms::cases(subject));
    cases.extend(delete::cases(subject));
    cases
}

/// The kind's namespace, and what a controller puts into it.
fn prepared(subject: &Subject) -> Case {
    let mut case = Case::new(subject, "prepare");
    if subject.namespaced {
        let name = subject.namespace();
        let namespace = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}"}}}}"#);
        let account = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#;
        case.quietly(Step::new("POST", "/api/v1/namespaces").body(namespace));
        // A controller of Gousse's may have been quicker.
        case.silently(Step::new("POST", format!("/api/v1/namespaces/{name}/serviceaccounts")).body(account.to_owned()));
    }
    case
}

#[derive(Clone)]
pub struct Case {
    /// `pods/v1`, or `outside`.
    pub kind: String,
    /// `create/missing spec.containers`: what is before the slash is the same for every kind.
    pub name: String,
    pub steps: Vec<Step>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Step {
    pub method: &'static str,
    /// With the query.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<String>,
    heed: Heed,
}

/// What of an answer is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heed {
    All,
    /// Whether one refuses what the other does.
    Refusal,
    Nothing,
}

/// What a case told.
pub struct Told {
    pub kind: String,
    pub name: String,
    pub requests: usize,
    pub differences: Vec<(Step, Difference)>,
}

impl Step {
    pub fn new(method: &'static str, path: impl Into<String>) -> Step {
        Step { method, path: path.into(), headers: Vec::new(), body: None, heed: Heed::All }
    }

    pub fn get(path: impl Into<String>) -> Step {
        Step::new("GET", path)
    }

    /// With a body of JSON.
    pub fn body(self, body: impl Into<String>) -> Step {
        self.typed(JSON, body)
    }

    pub fn typed(mut self, content: &str, body: impl Into<String>) -> Step {
        self.body = Some(body.into());
        if content.is_empty() { self } else { self.header("content-type", content) }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Step {
        self.headers.push((name, value.into()));
        self
    }

    pub fn accept(self, media: &str) -> Step {
        self.header("accept", media)
    }
}

impl Case {
    pub fn new(subject: &Subject, name: impl Into<String>) -> Case {
        Case { kind: subject.name(), name: name.into(), steps: Vec::new() }
    }

    pub fn then(&mut self, step: Step) -> &mut Case {
        self.steps.push(step);
        self
    }

    /// What must be so first: told only where one refuses what the other does.
    pub fn quietly(&mut self, step: Step) -> &mut Case {
        self.steps.push(Step { heed: Heed::Refusal, ..step });
        self
    }

    /// What is as good as done if it was done before.
    pub fn silently(&mut self, step: Step) -> &mut Case {
        self.steps.push(Step { heed: Heed::Nothing, ..step });
        self
    }

    /// A case of one request.
    pub fn one(subject: &Subject, name: impl Into<String>, step: Step) -> Case {
        let mut case = Case::new(subject, name);
        case.then(step);
        case
    }

    /// Sends it to both.
    pub async fn run(&self, servers: &Servers) -> Result<Told> {
        let mut seen = [Seen::default(), Seen::default()];
        let mut known = [Known::default(), Known::default()];
        let mut differences = Vec::new();
        for step in &self.steps {
            let [of_stock, of_gousse] = [known[0].fill(step)?, known[1].fill(step)?];
            let (stock, gousse) = tokio::join!(servers.stock.send(of_stock), servers.gousse.send(of_gousse));
            let about = || format!("{} {}: {} {}", self.kind, self.name, step.method, step.path);
            // An answer that does not come is an answer.
            let silent = |why: anyhow::Error| Answer { body: format!("{why:#}").into(), ..Answer::default() };
            let answers = [stock.unwrap_or_else(silent), gousse.unwrap_or_else(silent)];
            for (known, answer) in known.iter_mut().zip(&answers) {
                known.learn(answer).with_context(about)?;
            }
            let found = difference::between(&answers[0], &answers[1], &mut seen);
            let told = found.into_iter().filter(|difference| match step.heed {
                Heed::All => true,
                Heed::Refusal => difference.place.starts_with("code "),
                Heed::Nothing => false,
            });
            differences.extend(told.map(|difference| (step.clone(), difference)));
        }
        Ok(Told { kind: self.kind.clone(), name: self.name.clone(), requests: self.steps.len(), differences })
    }
}

/// What a server told in a case, for the requests that follow.
#[derive(Default)]
struct Known {
    uid: String,
    revision: String,
    goes_on: String,
    etag: String,
    location: String,
}

impl Known {
    fn learn(&mut self, answer: &Answer) -> Result<()> {
        for (into, name) in [(&mut self.etag, "etag"), (&mut self.location, "location")] {
            if let Some((_, value)) = answer.headers.iter().find(|(known, _)| known == name) {
                into.clone_from(value);
            }
        }
        let Some(body) = super::forms::read(answer) else { return Ok(()) };
        if answer.code >= 300 {
            return Ok(());
        }
        for (into, name) in
            [(&mut self.uid, "uid"), (&mut self.revision, "resourceVersion"), (&mut self.goes_on, "continue")]
        {
            if let Some(text) = body["metadata"][name].as_str().filter(|text| !text.is_empty()) {
                *into = text.to_owned();
            }
        }
        Ok(())
    }

    fn fill(&self, step: &Step) -> Result<http::Request<Bytes>> {
        let filled = |text: &str| {
            let text = text.replace("{etag}", &self.etag).replace("{location}", &self.location);
            text.replace("{uid}", &self.uid).replace("{revision}", &self.revision).replace("{continue}", &self.goes_on)
        };
        let mut request = http::Request::builder().method(step.method).uri(filled(&step.path));
        request = request.header("user-agent", "compare/1");
        if !step.headers.iter().any(|(name, _)| *name == "accept") {
            request = request.header("accept", JSON);
        }
        for (name, value) in &step.headers {
            request = request.header(*name, filled(value));
        }
        let media = step.headers.iter().find(|(name, _)| *name == "content-type").map_or("", |(_, value)| value);
        let body = super::forms::sent(media, step.body.as_deref().map(filled).unwrap_or_default());
        request.body(body.into()).with_context(|| format!("{} {}", step.method, step.path))
    }
}
