//! What every verb shares that changes objects: `--dry-run`, `-o`, the line that says what was done.

use std::sync::atomic::{AtomicBool, Ordering};

use api::{Object, Resource, Status};
use clap::Args;
use http::Method;
use serde_json::Value;

use crate::failure::{Failure, Result, failure};
use crate::form::{self, Output};
use crate::output;
use crate::resource::shown;
use crate::session::Session;

/// Content types of patches.
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// `--dry-run`.
#[derive(Args, Clone, Debug, Default)]
pub struct DryRunFlag {
    /// `none`, `server` (decided, not stored) or `client` (not sent)
    #[arg(long, default_value = "none", num_args = 0..=1, require_equals = true, default_missing_value = "unchanged",
        value_name = "WHERE")]
    pub dry_run: String,
}

/// How far a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    None,
    /// Nothing is sent.
    Client,
    /// The server decides and does not store.
    Server,
}

/// `-o`.
#[derive(Args, Clone, Debug, Default)]
pub struct OutputFlag {
    /// name, yaml, json, jsonpath=…
    #[arg(short, long)]
    pub output: Option<String>,
}

/// Says what was done to objects.
pub struct Said {
    form: Option<Output>,
    dry_run: DryRun,
    /// A document was printed already.
    is_second: AtomicBool,
}

impl DryRunFlag {
    /// kubectl pkg/cmd/util/helpers.go, GetDryRunStrategy.
    pub fn wanted(&self) -> Result<DryRun> {
        let deprecated = |instead: &str| {
            output::note(format_args!(
                "Warning: --dry-run={} is deprecated (boolean value) and can be replaced with --dry-run={instead}.",
                self.dry_run
            ));
        };
        match (crate::flags::truth(&self.dry_run), self.dry_run.as_str()) {
            (Ok(true), _) => {
                deprecated("client");
                Ok(DryRun::Client)
            }
            (Ok(false), _) => {
                deprecated("none");
                Ok(DryRun::None)
            }
            (_, "unchanged") => {
                output::note("Warning: --dry-run is deprecated and can be replaced with --dry-run=client.");
                Ok(DryRun::Client)
            }
            (_, "client") => Ok(DryRun::Client),
            (_, "server") => Ok(DryRun::Server),
            (_, "none" | "") => Ok(DryRun::None),
            (_, other) => {
                Err(failure(format!("Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\".")))
            }
        }
    }
}

impl DryRun {
    /// What follows the word for what was done.
    pub fn suffix(self) -> &'static str {
        match self {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }

    /// The `dryRun` of a request's query.
    pub fn query(self) -> &'static str {
        if self == DryRun::Server { "All" } else { "" }
    }
}

impl OutputFlag {
    /// # Errors
    /// A form that does not exist.
    pub fn said(&self, dry_run: DryRun) -> Result<Said> {
        let form = self.output.as_deref().filter(|form| !form.is_empty()).map(|form| match form::output_of(Some(form))? {
            Output::Table { .. } => Err(failure(
                "unable to match a printer suitable for the output format \"wide\", allowed formats are: json,jsonpath,name,yaml",
            )),
            form => Ok(form),
        });
        Ok(Said { form: form.transpose()?, dry_run, is_second: AtomicBool::new(false) })
    }
}

impl Said {
    /// Whether the objects themselves are printed, not what was done to them.
    pub fn is_form(&self) -> bool {
        self.form.is_some()
    }

    /// `deployment.apps/web scaled`, or the object in the form that was asked for (cli-runtime printers/name.go).
    pub fn done(&self, kind: &Resource, name: &str, object: &Value, operation: &str) -> Result<()> {
        match &self.form {
            None => {
                let suffix = self.dry_run.suffix();
                output::line(crate::table::escaped(&format!("{} {operation}{suffix}", shown(kind, name))))
            }
            Some(Output::Name) => output::line(shown(kind, name)),
            Some(form) => {
                let is_second = self.is_second.swap(true, Ordering::Relaxed);
                if is_second && matches!(form, Output::Yaml) {
                    output::line("---")?;
                }
                form::show(form, object)
            }
        }
    }
}

/// One patch.
pub struct Patch<'a> {
    pub content: &'static str,
    pub body: &'a Value,
    /// "" for the object itself.
    pub sub: &'a str,
    /// "" for the client's own.
    pub manager: &'a str,
    pub dry_run: DryRun,
}

/// Sends a patch; the object afterwards.
pub async fn patch(
    session: &Session,
    kind: &Resource,
    namespace: &str,
    name: &str,
    patch: &Patch<'_>,
) -> Result<Object, Status> {
    let path = client::path(kind, namespace, &[name, patch.sub]);
    let query = [("dryRun", patch.dry_run.query()), ("fieldManager", patch.manager)];
    let body = Some((patch.content, patch.body));
    session.client.call(Method::PATCH, &path, &query, body).await?.object().await
}

/// Several failures as kubectl tells them: one with `error: ` before it, more as plain lines
/// (kubectl pkg/cmd/util/helpers.go, checkErr).
pub fn aggregate(mut failures: Vec<Failure>) -> Result<()> {
    match failures.len() {
        0 => Ok(()),
        1 => {
            let only = failures.remove(0);
            let is_servers = only.is_servers || only.message.starts_with("error: ");
            Err(Failure { is_servers, ..only })
        }
        _ => {
            let lines: Vec<String> = failures.into_iter().map(|failure| failure.message).collect();
            Err(Failure { message: lines.join("\n"), is_servers: true, code: 1 })
        }
    }
}

/// The same as one text, for a sentence: `[a, b]` (apimachinery util/errors, aggregate).
pub fn one_text(failures: &[Failure]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for failure in failures {
        if !texts.contains(&failure.message.as_str()) {
            texts.push(&failure.message);
        }
    }
    if let [only] = texts[..] { only.to_string() } else { format!("[{}]", texts.join(", ")) }
}
