//! What a write asks beside its object: `fieldManager`, `dryRun`, `fieldValidation`, `force`.
//!
//! Judged as upstream does, all at once (apimachinery, meta/v1/validation).

use api::decode::FieldValidation;
use api::patch::PatchKind;
use api::{FieldError, Status};
use http::{Method, header};
use kinds::validate::meta::{MANAGER_MAX, asked_manager};
use serde_json::json;

use crate::verbs::Call;

/// The options of a POST, PUT or PATCH.
pub struct WriteOptions {
    /// `fieldManager`, else the start of the User-Agent.
    pub manager: String,
    pub dry_run: bool,
    pub validation: FieldValidation,
    /// Of an apply patch: take fields from other managers.
    pub force: bool,
}

impl WriteOptions {
    /// # Errors
    /// 422 of CreateOptions, UpdateOptions or PatchOptions.
    pub fn of(call: &Call<'_>) -> Result<WriteOptions, Status> {
        let (kind, patch) = match *call.method {
            Method::PATCH => ("PatchOptions", PatchKind::of(call.content_type())),
            Method::PUT => ("UpdateOptions", None),
            _ => ("CreateOptions", None),
        };
        let (manager, mut errors) = (call.query.get("fieldManager"), Vec::new());
        match patch {
            Some(PatchKind::Apply) if manager.is_empty() => {
                errors.push(FieldError::required("fieldManager", "is required for apply patch"));
            }
            Some(PatchKind::Apply) | None => {}
            Some(_) if call.query.get("force").is_empty() => {}
            Some(_) => errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch")),
        }
        errors.extend(asked_manager(manager));
        let (dry_run, refused) = dry_run(call.query.all("dryRun"));
        errors.extend(refused);
        let text = call.query.get("fieldValidation");
        let validation = FieldValidation::parse(text);
        if validation.is_none() {
            let supported = ["", "Ignore", "Strict", "Warn"];
            errors.push(FieldError::not_supported("fieldValidation", &json!(text), &supported));
        }
        match validation {
            Some(validation) if errors.is_empty() => {
                let manager = if manager.is_empty() { agent(call) } else { manager.into() };
                Ok(WriteOptions { manager, dry_run, validation, force: call.query.flag("force") })
            }
            _ => Err(Status::invalid("meta.k8s.io", kind, "", &errors)),
        }
    }
}

/// Who asks, by its User-Agent (handlers/create.go prefixFromUserAgent).
fn agent(call: &Call<'_>) -> String {
    let agent = call.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
    let name = agent.split('/').next().unwrap_or_default();
    name.chars().filter(|c| !c.is_ascii_control()).take(MANAGER_MAX).collect()
}

/// `dryRun=All`, once or more; any other value is refused.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> (bool, Option<FieldError>) {
    let values: Vec<&str> = values.collect();
    let known = values.iter().all(|value| *value == "All");
    (known && !values.is_empty(), (!known).then(|| FieldError::not_supported("dryRun", &json!(values), &["All"])))
}
