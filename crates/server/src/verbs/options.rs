//! What a request asks beside its object.
//!
//! Of a write `fieldManager`, `dryRun`, `fieldValidation`, `force`; of a list or watch which revision, how much and how
//! long.
//!
//! Judged as upstream does, all at once (apimachinery, meta/v1/validation and meta/internalversion/validation).

use api::decode::FieldValidation;
use api::patch::PatchKind;
use api::{FieldError, Status};
use http::{HeaderMap, Method, header};
use kinds::validate::meta::{MANAGER_MAX, asked_manager};
use serde_json::json;
use wire::query::Query;

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
                let manager = manager_of(call.query, call.headers);
                Ok(WriteOptions { manager, dry_run, validation, force: call.query.flag("force") })
            }
            _ => Err(Status::invalid("meta.k8s.io", kind, "", &errors)),
        }
    }
}

/// The options of a list, of a watch or of the deletion of a collection.
pub struct ListOptions<'a> {
    pub revision: &'a str,
    /// `Exact`, `NotOlderThan` or empty.
    pub matching: &'a str,
    /// Zero or less: no limit.
    pub limit: i64,
    /// Where a former page ended.
    pub token: &'a str,
    /// Whether a watch begins with what is there, where it is said.
    pub initial_events: Option<bool>,
    /// How long a watch lasts.
    pub seconds: Option<i64>,
}

impl ListOptions<'_> {
    /// # Errors
    /// 400 for what cannot be read, 422 of ListOptions for what does not go together.
    pub fn of<'a>(call: &'a Call<'_>, watch: bool) -> Result<ListOptions<'a>, Status> {
        let text = |name: &'static str| call.query.all(name).next();
        let number = |name: &'static str| text(name).map(number).transpose().map_err(Status::bad_request);
        let options = ListOptions {
            revision: call.query.get("resourceVersion"),
            matching: call.query.get("resourceVersionMatch"),
            limit: number("limit")?.unwrap_or(0),
            token: call.query.get("continue"),
            initial_events: text("sendInitialEvents").map(|value| !matches!(value, "false" | "0")),
            seconds: number("timeoutSeconds")?,
        };
        let errors = if watch { options.of_watch() } else { options.of_list() };
        match errors.is_empty() {
            true => Ok(options),
            false => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)),
        }
    }

    fn of_list(&self) -> Vec<FieldError> {
        let (field, matching) = ("resourceVersionMatch", self.matching);
        let mut errors = Vec::new();
        let mut forbidden = |wrong: bool, detail: &str| {
            if wrong {
                errors.push(FieldError::forbidden(field, detail));
            }
        };
        if !matching.is_empty() {
            forbidden(self.revision.is_empty(), "resourceVersionMatch is forbidden unless resourceVersion is provided");
            forbidden(!self.token.is_empty(), "resourceVersionMatch is forbidden when continue is provided");
            if !matches!(matching, "Exact" | "NotOlderThan") {
                errors.push(FieldError::not_supported(field, &json!(matching), &["Exact", "NotOlderThan", ""]));
            }
            if matching == "Exact" && self.revision == "0" {
                let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(field, detail));
            }
        }
        if self.initial_events.is_some() {
            errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn of_watch(&self) -> Vec<FieldError> {
        let (field, matching) = ("resourceVersionMatch", self.matching);
        let mut errors = Vec::new();
        let plain = self.initial_events.is_none() && matching.is_empty();
        if plain && matches!(self.revision, "" | "0") {
            // Such a watch counts as one that asks for what is there (internalversion/defaults.go SetListOptionsDefaults).
            if !self.token.is_empty() {
                let detail = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(FieldError::forbidden(field, detail));
            }
            return errors;
        }
        if self.initial_events.is_some() && matching != "NotOlderThan" {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(field, detail));
        }
        if matching.is_empty() {
            return errors;
        }
        if self.initial_events.is_none() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(field, detail));
        }
        if matching != "NotOlderThan" {
            errors.push(FieldError::not_supported(field, &json!(matching), &["NotOlderThan"]));
        }
        if !self.token.is_empty() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(field, detail));
        }
        errors
    }
}

/// A number of a query; an empty one is zero. The error is Go's.
pub fn number(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|why| format!("strconv.ParseInt: parsing {text:?}: {}", go_words(&why)))
}

/// What Go's strconv says of a text that is no number.
pub fn go_words(why: &std::num::ParseIntError) -> &'static str {
    match why.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    }
}

/// Who writes: by the query, else by its User-Agent (handlers/create.go managerOrUserAgent).
pub fn manager_of(query: &Query, headers: &HeaderMap) -> String {
    let manager = query.get("fieldManager");
    if !manager.is_empty() {
        return manager.into();
    }
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
    let name = agent.split('/').next().unwrap_or_default();
    name.chars().filter(|c| !c.is_ascii_control()).take(MANAGER_MAX).collect()
}

/// `dryRun=All`, once or more; any other value is refused.
pub fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> (bool, Option<FieldError>) {
    let values: Vec<&str> = values.collect();
    let known = values.iter().all(|value| *value == "All");
    (known && !values.is_empty(), (!known).then(|| FieldError::not_supported("dryRun", &json!(values), &["All"])))
}
