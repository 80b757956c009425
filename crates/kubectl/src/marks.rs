//! `label` and `annotate`: keys and values that users put on objects, changed by one merge patch each.
//!
//! The two differ in a few words and in what they refuse (kubectl pkg/cmd/label, pkg/cmd/annotate).

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::change::{DryRun, DryRunFlag, MERGE_PATCH, OutputFlag, Patch, Said, aggregate, patch};
use crate::failure::{Failure, Result, failure};
use crate::output;
use crate::selection::{self, Found, Given, Nameless, Selection, Wider, unmanaged};
use crate::session::{Login, Session};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Label,
    Annotation,
}

/// What both take.
#[derive(Args, Default)]
pub struct Marking {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    wider: Wider,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// All of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// Other values than those that are there
    #[arg(long)]
    overwrite: bool,
    /// Show what is there instead
    #[arg(long)]
    list: bool,
    /// Only of files, and ask no server
    #[arg(long)]
    local: bool,
    /// Only at this version of one object
    #[arg(long, default_value = "", hide_default_value = true)]
    resource_version: String,
    /// Name of the field manager
    #[arg(long)]
    field_manager: Option<String>,
}

/// What is to be put there and taken away.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    put: BTreeMap<String, String>,
    taken: Vec<String>,
}

impl Mark {
    fn word(self) -> &'static str {
        if self == Mark::Label { "label" } else { "annotation" }
    }

    /// Where they stand in the metadata.
    fn field(self) -> &'static str {
        if self == Mark::Label { "labels" } else { "annotations" }
    }

    fn manager(self) -> &'static str {
        if self == Mark::Label { "kubectl-label" } else { "kubectl-annotate" }
    }
}

impl Marking {
    pub async fn run(self, login: &Login, mark: Mark) -> Result<()> {
        let dry_run = self.dry_run.wanted()?;
        let said = self.output.said(dry_run)?;
        let (words, pairs) = divided(&self.selection.given.resources, mark)?;
        let changes = changes_of(&pairs, mark).map_err(failure)?;
        let selection = Selection {
            given: Given { resources: words, ..self.selection.given.clone() },
            selector: self.selection.selector.clone(),
        };
        if self.list && said.is_form() {
            return Err(failure("--list and --output may not be specified together"));
        }
        for (given, flag) in [(&selection.selector, "selector"), (&self.wider.field_selector, "field-selector")] {
            if self.all && given.is_some() {
                return Err(failure(format!("cannot set --all and --{flag} at the same time")));
            }
        }
        if self.local {
            local_only(&selection.given, dry_run)?;
        }
        if selection.is_empty() {
            return Err(failure("one or more resources must be specified as <resource> <name> or <resource>/<name>"));
        }
        if changes == Changes::default() && !self.list {
            return Err(failure(format!("at least one {} update is required", mark.word())));
        }
        let nameless = if self.all { Nameless::All } else { Nameless::Refused };
        let session = if self.local { None } else { Some(login.session()?) };
        let objects = match &session {
            Some(session) => selection.objects_of(session, nameless, &self.wider).await?,
            None => selection::local(&selection.given)?,
        };
        let is_many = self.all || selection.selector.is_some() || self.wider.field_selector.is_some();
        let is_one = objects.found.len() + objects.failed.len() == 1 && !is_many;
        if !is_one && !self.resource_version.is_empty() {
            return Err(failure("--resource-version may only be used with a single resource"));
        }
        let mut failed = objects.failed;
        for found in &objects.found {
            let done = match self.list {
                true => listed(found, mark, is_one),
                false => self.one(session.as_ref(), found, mark, &changes, dry_run, &said).await,
            };
            failed.extend(done.err());
        }
        aggregate(failed)
    }

    async fn one(
        &self,
        session: Option<&Session>,
        found: &Found,
        mark: Mark,
        changes: &Changes,
        dry_run: DryRun,
        said: &Said,
    ) -> Result<()> {
        let (kind, name) = (&found.kind, found.name());
        let mut object = unmanaged(&found.object);
        let own = object["metadata"][mark.field()].as_object().cloned().unwrap_or_default();
        if !self.overwrite {
            overwrites(&own, changes, mark).map_err(failure)?;
        }
        let is_new = |(key, value): &(&String, &String)| own.get(*key).and_then(Value::as_str) != Some(value.as_str());
        let is_put = changes.put.iter().any(|pair| is_new(&pair));
        let is_taken = changes.taken.iter().any(|key| own.contains_key(key));
        let done = match (mark, is_put, is_taken) {
            (Mark::Annotation, ..) => "annotated",
            (_, true, true) => "modified",
            (_, true, false) => "labeled",
            (_, false, true) => "unlabeled",
            _ => "not labeled",
        };
        let Some(session) = session.filter(|_| dry_run != DryRun::Client) else {
            apply(&mut object["metadata"][mark.field()], changes);
            return said.done(kind, name, &object, done);
        };
        if mark == Mark::Label {
            for key in changes.taken.iter().filter(|key| !own.contains_key(*key)) {
                output::line(format_args!("label {key:?} not found."))?;
            }
        }
        // Labels that stand so already are no reason to write.
        if mark == Mark::Annotation || is_put || is_taken {
            let body = self.body(&own, changes, mark);
            let manager = self.field_manager.as_deref().unwrap_or(mark.manager());
            let change = Patch { content: MERGE_PATCH, body: &body, sub: "", manager, dry_run };
            object = unmanaged(&patch(session, kind, &found.namespace, name, &change).await?);
        }
        said.done(kind, name, &object, done)
    }

    /// The merge patch: only what changes, and the version that it is for.
    fn body(&self, own: &Map<String, Value>, changes: &Changes, mark: Mark) -> Value {
        let mut marks = Map::new();
        for (key, value) in &changes.put {
            if own.get(key).and_then(Value::as_str) != Some(value) {
                marks.insert(key.clone(), json!(value));
            }
        }
        marks.extend(changes.taken.iter().filter(|key| own.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
        let mut metadata = Map::new();
        if !marks.is_empty() {
            metadata.insert(mark.field().into(), Value::Object(marks));
        }
        if !self.resource_version.is_empty() {
            metadata.insert("resourceVersion".into(), json!(self.resource_version));
        }
        if metadata.is_empty() { json!({}) } else { json!({"metadata": metadata}) }
    }
}

/// What is done to files alone (label.go, Validate).
fn local_only(given: &Given, dry_run: DryRun) -> Result<()> {
    if dry_run == DryRun::Server {
        return Err(failure("cannot specify --local and --dry-run=server - did you mean --dry-run=client?"));
    }
    if !given.resources.is_empty() {
        let why = "can only use local files by -f pod.yaml or --filename=pod.json when --local=true is set";
        return Err(failure(why));
    }
    match given.filename.is_empty() {
        true => Err(failure("one or more files must be specified as -f pod.yaml or --filename=pod.json")),
        false => Ok(()),
    }
}

/// Puts and takes in a map that may not be there yet.
fn apply(marks: &mut Value, changes: &Changes) {
    let mut map = marks.as_object().cloned().unwrap_or_default();
    map.extend(changes.put.iter().map(|(key, value)| (key.clone(), json!(value))));
    changes.taken.iter().for_each(|key| drop(map.remove(key)));
    *marks = Value::Object(map);
}

fn listed(found: &Found, mark: Mark, is_one: bool) -> Result<()> {
    let object = found.object.value();
    if !is_one {
        let (field, kind) = (mark.field(), &found.kind);
        output::line(format_args!("Listing {field} for {}.{}/{}:", kind.kind, kind.group, found.name()))?;
    }
    for (key, value) in object["metadata"][mark.field()].as_object().into_iter().flatten() {
        let indent = if is_one { "" } else { " " };
        output::line(crate::table::escaped(&format!("{indent}{key}={}", value.as_str().unwrap_or_default())))?;
    }
    Ok(())
}

/// Words for objects, and what follows them (cmd/util/helpers.go, GetResourcesAndPairs).
fn divided(words: &[String], mark: Mark) -> Result<(Vec<String>, Vec<String>), Failure> {
    let is_pair =
        |word: &String| (word.contains('=') && !word.starts_with('=')) || (word.ends_with('-') && word != "-");
    let first = words.iter().position(is_pair).unwrap_or(words.len());
    let (objects, pairs) = words.split_at(first);
    match pairs.iter().find(|word| !is_pair(word)) {
        Some(word) => Err(failure(format!("all resources must be specified before {} changes: {word}", mark.word()))),
        None => Ok((objects.to_vec(), pairs.to_vec())),
    }
}

/// `KEY=VALUE`, `KEY-` (parseLabels, ParsePairs).
fn changes_of(pairs: &[String], mark: Mark) -> Result<Changes, String> {
    let mut changes = Changes::default();
    for pair in pairs {
        match pair.split_once('=') {
            Some((_, value)) if mark == Mark::Label && value.contains('=') => {
                return Err(format!("invalid label spec: {pair}"));
            }
            Some((key, value)) => {
                let wrong = if mark == Mark::Label { api::names::label_value(value) } else { Vec::new() };
                if !wrong.is_empty() {
                    return Err(format!("invalid label value: {pair:?}: {}", wrong.join(";")));
                }
                changes.put.insert(key.into(), value.into());
            }
            None => changes.taken.push(pair.strip_suffix('-').unwrap_or(pair).into()),
        }
    }
    let both: Vec<&str> =
        changes.taken.iter().filter(|key| changes.put.contains_key(*key)).map(String::as_str).collect();
    match (both.as_slice(), mark) {
        ([], _) => Ok(changes),
        (_, Mark::Label) => Err("can not both modify and remove a label in the same command".into()),
        (both, Mark::Annotation) => Err(format!(
            "can not both modify and remove the following annotation(s) in the same command: {}",
            both.join(", ")
        )),
    }
}

/// What has another value already (validateNoOverwrites, validateNoAnnotationOverwrites).
fn overwrites(own: &Map<String, Value>, changes: &Changes, mark: Mark) -> Result<(), String> {
    let other = |(key, value): (&String, &String)| {
        let there = own.get(key).and_then(Value::as_str).filter(|there| there != value)?;
        // What caused a change may be told anew at each.
        let is_free = mark == Mark::Annotation && key == "kubernetes.io/change-cause";
        (!is_free).then(|| format!("'{key}' already has a value ({there})"))
    };
    let others: Vec<String> = changes.put.iter().filter_map(other).collect();
    match (others.as_slice(), mark) {
        ([], _) => Ok(()),
        (others, Mark::Label) => {
            let each: Vec<String> = others.iter().map(|other| format!("{other}, and --overwrite is false")).collect();
            Err(each.join("\n"))
        }
        (others, Mark::Annotation) => {
            Err(format!("--overwrite is false but found the following declared annotation(s): {}", others.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(words: &str, mark: Mark) -> Result<Changes, String> {
        let words: Vec<String> = words.split(' ').map(String::from).collect();
        let (_, pairs) = divided(&words, mark).map_err(|why| why.message)?;
        changes_of(&pairs, mark)
    }

    #[test]
    fn words_are_divided_and_what_contradicts_is_refused_in_kubectls_words() {
        let changes = pairs("pods web a=b c- d=", Mark::Label).unwrap();
        let put = [("a", "b"), ("d", "")].map(|(key, value)| (key.to_string(), value.to_string()));
        assert_eq!(changes, Changes { put: put.into(), taken: vec!["c".into()] });
        let note = pairs("pods web a=b=c", Mark::Annotation).unwrap();
        assert_eq!(note.put["a"], "b=c");
        for (words, mark, why) in [
            ("pods a=b web", Mark::Label, "all resources must be specified before label changes: web"),
            ("pods web a=b=c", Mark::Label, "invalid label spec: a=b=c"),
            ("pods web a=b a-", Mark::Label, "can not both modify and remove a label in the same command"),
            (
                "pods web a=b a-",
                Mark::Annotation,
                "can not both modify and remove the following annotation(s) in the same command: a",
            ),
        ] {
            assert_eq!(pairs(words, mark).unwrap_err(), why, "{words}");
        }
        assert!(pairs("pods web a=-", Mark::Label).unwrap_err().starts_with("invalid label value: \"a=-\": "));
    }

    #[test]
    fn a_value_that_is_there_is_kept_unless_it_was_said_otherwise() {
        let own = json!({"a": "1", "kubernetes.io/change-cause": "x"});
        let own = own.as_object().unwrap();
        let why = |words: &str, mark| overwrites(own, &pairs(words, mark).unwrap(), mark);
        assert_eq!(why("x a=1 b=2", Mark::Label), Ok(()));
        assert_eq!(why("x a=2", Mark::Label), Err("'a' already has a value (1), and --overwrite is false".into()));
        let found = "--overwrite is false but found the following declared annotation(s): 'a' already has a value (1)";
        assert_eq!(why("x a=2 kubernetes.io/change-cause=y", Mark::Annotation), Err(found.into()));
    }

    #[test]
    fn the_patch_holds_what_changes_and_the_version_that_was_asked_for() {
        let own = json!({"a": "1", "b": "2"});
        let flags = Marking { resource_version: "7".into(), ..Marking::default() };
        let body = |words: &str| flags.body(own.as_object().unwrap(), &pairs(words, Mark::Label).unwrap(), Mark::Label);
        assert_eq!(
            body("x a=1 c=3 b- d-"),
            json!({"metadata": {"labels": {"c": "3", "b": null}, "resourceVersion": "7"}})
        );
        assert_eq!(Marking::default().body(&Map::new(), &Changes::default(), Mark::Annotation), json!({}));
    }
}
