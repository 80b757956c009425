//! `taint`: what keeps pods off nodes, put there and taken away (kubectl pkg/cmd/taint).

use api::names;
use clap::Args;
use serde_json::{Value, json};

use super::Run;
use crate::change::{DryRun, DryRunFlag, OutputFlag, Patch, STRATEGIC_PATCH, Said, aggregate, patch};
use crate::failure::{Result, failure};
use crate::selection::{Found, Given, Nameless, Selection, unmanaged};
use crate::session::{Login, Session};

/// Put taints on nodes, or take them away
#[derive(Args)]
pub struct Taint {
    /// `nodes NAME…`, then `KEY=VALUE:EFFECT` and `KEY:EFFECT-`
    pub words: Vec<String>,
    /// Label selector, instead of names
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// Other values than those that are there
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// Name of the field manager
    #[arg(long, default_value = "kubectl-taint")]
    field_manager: String,
}

/// One taint as a word says it; the effect is empty where all of the key are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    key: String,
    value: String,
    effect: String,
}

/// What is to be put there and taken away.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    put: Vec<Word>,
    taken: Vec<Word>,
}

impl Run for Taint {
    async fn run(self, login: Login) -> Result<()> {
        let session = &login.session()?;
        let dry_run = self.dry_run.wanted()?;
        let said = self.output.said(dry_run)?;
        let (objects, changes) = read(&self.words).map_err(failure)?;
        let kind = session.kinds().await?.named(&objects[0])?;
        if kind.kind != "Node" {
            let kind = objects[0].to_lowercase();
            return Err(failure(format!("invalid resource type {kind}, only node types are supported")));
        }
        let selector = self.selector.clone().filter(|selector| !selector.is_empty());
        if self.all && selector.is_some() {
            return Err(failure("setting 'all' parameter with a non empty selector is prohibited"));
        }
        let is_named = !self.all && selector.is_none();
        if is_named && objects.len() < 2 {
            return Err(failure("at least one resource name must be specified since 'all' parameter is not set"));
        }
        let resources = if is_named { objects } else { vec![objects[0].clone()] };
        let selection = Selection { given: Given { resources, ..Given::default() }, selector };
        let objects = selection.objects(session, Nameless::All).await?;
        let mut failed = objects.failed;
        for node in &objects.found {
            failed.extend(self.one(session, node, &changes, dry_run, &said).await.err());
        }
        aggregate(failed)
    }
}

impl Taint {
    async fn one(
        &self,
        session: &Session,
        node: &Found,
        changes: &Changes,
        dry_run: DryRun,
        said: &Said,
    ) -> Result<()> {
        let mut object = unmanaged(&node.object);
        let own = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let (taints, done) = changed(&own, changes, self.overwrite, node.name()).map_err(failure)?;
        if dry_run == DryRun::Client {
            object["spec"]["taints"] = json!(taints);
        } else {
            let body = match taints == own {
                true => json!({}),
                false if taints.is_empty() => json!({"spec": {"taints": null}}),
                false => json!({"spec": {"taints": taints}}),
            };
            let manager = &self.field_manager;
            let change = Patch { content: STRATEGIC_PATCH, body: &body, sub: "", manager, dry_run };
            object = unmanaged(&patch(session, &node.kind, "", node.name(), &change).await?);
        }
        said.done(&node.kind, node.name(), &object, done)
    }
}

/// The words for nodes, and what follows them.
fn read(words: &[String]) -> Result<(Vec<String>, Changes), String> {
    let is_taint = |word: &String| word.contains(['=', ':']) || word.ends_with('-');
    let first = words.iter().position(is_taint).unwrap_or(words.len());
    let (objects, taints) = words.split_at(first);
    if let Some(word) = taints.iter().find(|word| !is_taint(word)) {
        return Err(format!("all resources must be specified before taint changes: {word}"));
    }
    if objects.is_empty() {
        return Err("one or more resources must be specified as <resource> <name>".into());
    }
    if taints.is_empty() {
        return Err("at least one taint update is required".into());
    }
    let changes = changes_of(taints).map_err(|why| format!("{why}\nSee 'gousse taint -h' for help and examples"))?;
    let is_both = |taken: &&Word| {
        let same = |put: &Word| put.key == taken.key && (taken.effect.is_empty() || put.effect == taken.effect);
        changes.put.iter().any(same)
    };
    let both: Vec<String> =
        changes.taken.iter().filter(is_both).map(|taken| format!("{}={}", taken.key, taken.effect)).collect();
    if !both.is_empty() {
        return Err(format!(
            "can not both modify and remove the following taint(s) in the same command: {}",
            both.join(", ")
        ));
    }
    Ok((objects.to_vec(), changes))
}

fn changes_of(words: &[String]) -> Result<Changes, String> {
    let mut changes = Changes::default();
    for text in words {
        if let Some(taken) = text.strip_suffix('-') {
            changes.taken.push(Word { value: String::new(), ..word(taken)? });
            continue;
        }
        let put = word(text)?;
        if put.effect.is_empty() {
            return Err(format!("invalid taint spec: {text}"));
        }
        if changes.put.iter().any(|known| (&known.key, &known.effect) == (&put.key, &put.effect)) {
            let Word { key, value, effect } = put;
            return Err(format!("duplicated taints with the same key and effect: {{{key} {value} {effect} <nil>}}"));
        }
        changes.put.push(put);
    }
    Ok(changes)
}

/// `KEY=VALUE:EFFECT`, `KEY:EFFECT`, `KEY` (parseTaint).
fn word(text: &str) -> Result<Word, String> {
    let wrong = |why: Vec<String>| match why.as_slice() {
        [] => Ok(()),
        why => Err(format!("invalid taint spec: {text}, {}", why.join("; "))),
    };
    let (pair, effect) = match text.split(':').collect::<Vec<_>>()[..] {
        [key] => (key, ""),
        [pair, effect] => (pair, effect),
        _ => return Err(format!("invalid taint spec: {text}")),
    };
    if text.contains(':') && !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(format!("invalid taint effect: {effect}, unsupported taint effect"));
    }
    let (key, value) = match pair.split('=').collect::<Vec<_>>()[..] {
        // Without an effect, the whole is the key, which then is none.
        _ if effect.is_empty() => (pair, ""),
        [key] => (key, ""),
        [key, value] => (key, value),
        _ => return Err(format!("invalid taint spec: {text}")),
    };
    wrong(names::label_value(value))?;
    wrong(names::qualified(key))?;
    Ok(Word { key: key.into(), value: value.into(), effect: effect.into() })
}

impl Word {
    fn is_of(&self, taint: &Value) -> bool {
        taint["key"] == *self.key && (self.effect.is_empty() || taint["effect"] == *self.effect)
    }

    fn taint(&self) -> Value {
        let mut taint = json!({"effect": self.effect, "key": self.key});
        if !self.value.is_empty() {
            taint["value"] = json!(self.value);
        }
        taint
    }

    fn shown(&self) -> String {
        if self.effect.is_empty() { self.key.clone() } else { format!("{}:{}", self.key, self.effect) }
    }
}

/// The taints afterwards, and the word for what was done (reorganizeTaints).
fn changed(
    own: &[Value],
    changes: &Changes,
    overwrite: bool,
    node: &str,
) -> Result<(Vec<Value>, &'static str), String> {
    let there: Vec<&str> =
        changes.put.iter().filter(|put| own.iter().any(|taint| put.is_of(taint))).map(|put| put.key.as_str()).collect();
    if !overwrite && !there.is_empty() {
        let there = there.join(",");
        return Err(format!("node {node} already has {there} taint(s) with same effect(s) and --overwrite is false"));
    }
    let mut taints: Vec<Value> = changes.put.iter().map(Word::taint).collect();
    taints.extend(own.iter().filter(|taint| !changes.put.iter().any(|put| put.is_of(taint))).cloned());
    let is_added = taints.len() != own.len();
    let (mut is_taken, mut missing) = (false, Vec::new());
    for taken in &changes.taken {
        let before = taints.len();
        taints.retain(|taint| !taken.is_of(taint));
        is_taken = taints.len() != before;
        if !is_taken {
            missing.push(format!("taint {:?} not found", taken.shown()));
        }
    }
    match missing.as_slice() {
        [] => {}
        [only] => return Err(only.clone()),
        several => return Err(format!("[{}]", several.join(", "))),
    }
    let done = match (is_added, is_taken) {
        (true, true) => "modified",
        _ if overwrite => "modified",
        (true, false) => "tainted",
        _ => "untainted",
    };
    Ok((taints, done))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn words_that_are_no_taints_are_refused_in_kubectls_words() {
        let told = [
            "n a b=c:NoSchedule d",
            "a=b:NoSchedule",
            "n a",
            "n a b=c",
            "n a b:Never",
            "n a b:NoSchedule:x",
            "n a b=c=d:NoExecute",
            "n a b:NoExecute b=x:NoExecute",
            "n a b=c:NoExecute b:NoExecute-",
            "n a b-",
        ];
        let told = told.map(|text| match read(&words(text)) {
            Ok(read) => format!("{text}: {read:?}\n"),
            Err(why) => format!("{text}: error: {}\n", why.lines().next().unwrap_or_default()),
        });
        expect![[r#"
            n a b=c:NoSchedule d: error: all resources must be specified before taint changes: d
            a=b:NoSchedule: error: one or more resources must be specified as <resource> <name>
            n a: error: at least one taint update is required
            n a b=c: error: invalid taint spec: b=c, name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            n a b:Never: error: invalid taint effect: Never, unsupported taint effect
            n a b:NoSchedule:x: error: invalid taint spec: b:NoSchedule:x
            n a b=c=d:NoExecute: error: invalid taint spec: b=c=d:NoExecute
            n a b:NoExecute b=x:NoExecute: error: duplicated taints with the same key and effect: {b x NoExecute <nil>}
            n a b=c:NoExecute b:NoExecute-: error: can not both modify and remove the following taint(s) in the same command: b=NoExecute
            n a b-: (["n", "a"], Changes { put: [], taken: [Word { key: "b", value: "", effect: "" }] })
        "#]]
        .assert_eq(&told.concat());
    }

    #[test]
    fn taints_are_put_taken_and_overwritten_only_if_it_was_said() {
        let own =
            [json!({"key": "a", "value": "1", "effect": "NoSchedule"}), json!({"key": "b", "effect": "NoExecute"})];
        let told = |text: &str, overwrite: bool| {
            let (_, changes) = read(&words(&format!("nodes n {text}"))).unwrap();
            match changed(&own, &changes, overwrite, "n") {
                Ok((taints, done)) => {
                    let shown = taints.iter().map(|taint| {
                        format!(" {}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap())
                    });
                    format!("{text}: {done}{}\n", shown.collect::<String>())
                }
                Err(why) => format!("{text}: error: {why}\n"),
            }
        };
        let all = [
            told("c:NoExecute", false),
            told("a=2:NoSchedule", false),
            told("a=2:NoSchedule", true),
            told("a:NoSchedule-", false),
            told("a-", false),
            told("c=1:NoSchedule a-", false),
            told("d:NoExecute- e-", false),
        ];
        expect![[r#"
            c:NoExecute: tainted c:NoExecute a:NoSchedule b:NoExecute
            a=2:NoSchedule: error: node n already has a taint(s) with same effect(s) and --overwrite is false
            a=2:NoSchedule: modified a:NoSchedule b:NoExecute
            a:NoSchedule-: untainted b:NoExecute
            a-: untainted b:NoExecute
            c=1:NoSchedule a-: modified c:NoSchedule b:NoExecute
            d:NoExecute- e-: error: [taint "d:NoExecute" not found, taint "e" not found]
        "#]]
        .assert_eq(&all.concat());
    }
}
