//! The error that a client gets: the API `Status`, and the field errors that fill its causes.
//!
//! The words are upstream's (apimachinery util/validation/field/errors.go and api/errors): clients
//! match on them. Only the server maps a reason to an HTTP code, by `Reason::code`.

use serde_json::{Value, json};

use crate::go;

/// Why a request failed, as `status.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Invalid,
    Gone,
    Expired,
    MethodNotAllowed,
    NotAcceptable,
    UnsupportedMediaType,
    RequestEntityTooLarge,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
    ServerTimeout,
    NotImplemented,
    /// None is given: upstream never meant to answer with it.
    Unknown,
}

/// One entry of `status.details.causes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, …
    pub reason: String,
    /// Without the field's path.
    pub message: String,
    pub field: String,
}

/// An API error. `message` is for people, `reason` and `causes` for programs.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{message}")]
pub struct Status {
    pub reason: Reason,
    /// 0: no answer came.
    pub code: u16,
    pub message: String,
    /// `details`: name, group, kind (the resource's plural for most reasons) and uid.
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: Option<u32>,
    /// Made of a code alone, before anything is known of a resource: upstream gives it empty details.
    pub generic: bool,
    /// `Warning` headers of the answer: what was found before the refusal.
    pub warnings: Vec<String>,
    /// Refused before any handler was asked: no browser shall take the answer for anything else.
    pub nosniff: bool,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub class: FieldErrorClass,
    /// `spec.containers[0].name`
    pub field: String,
    /// The offending value, already printed as upstream prints it; empty where none is shown.
    pub value: String,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorClass {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl Reason {
    /// `status.reason` as a string; equals the variant's name but for `Timeout` and its like.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadRequest => "BadRequest",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Invalid => "Invalid",
            Reason::Gone => "Gone",
            Reason::Expired => "Expired",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::InternalError => "InternalError",
            Reason::ServiceUnavailable => "ServiceUnavailable",
            Reason::Timeout => "Timeout",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::NotImplemented => "NotImplemented",
            Reason::Unknown => "",
        }
    }

    /// The HTTP code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError | Reason::ServerTimeout | Reason::Unknown => 500,
            Reason::NotImplemented => 501,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }
}

impl Status {
    pub fn new(reason: Reason, message: impl Into<String>) -> Status {
        Status {
            reason,
            code: reason.code(),
            message: message.into(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: None,
            generic: false,
            warnings: Vec::new(),
            nosniff: false,
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message)
    }

    pub fn internal(message: impl Into<String>) -> Status {
        Status::new(Reason::InternalError, format!("Internal error occurred: {}", message.into()))
    }

    /// What upstream's router says (api/errors NewGenericServerResponse).
    pub fn generic(reason: Reason, message: impl Into<String>) -> Status {
        Status { generic: true, ..Status::new(reason, message) }
    }

    /// What upstream has no kind of error for: 500, and the bare words (responsewriters/status.go).
    pub fn unknown(message: impl Into<String>) -> Status {
        Status::new(Reason::Unknown, message)
    }

    /// With what was found before, ahead of what it says itself.
    pub fn warned(mut self, warnings: &[String]) -> Status {
        self.warnings.splice(..0, warnings.iter().cloned());
        self
    }

    /// Says what the error is about: `details.group`, `details.kind`, `details.name`.
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        self.group = group.into();
        self.kind = kind.into();
        self.name = name.into();
        self
    }

    /// `pods "x" not found`
    pub fn not_found(group: &str, plural: &str, name: &str) -> Status {
        let resource = qualified(plural, group);
        Status::new(Reason::NotFound, format!("{resource} {} not found", go::quoted(name))).about(group, plural, name)
    }

    /// `pods "x" already exists`
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Status {
        let resource = qualified(plural, group);
        Status::new(Reason::AlreadyExists, format!("{resource} {} already exists", go::quoted(name)))
            .about(group, plural, name)
    }

    /// `Operation cannot be fulfilled on pods "x": why`
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let resource = qualified(plural, group);
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", go::quoted(name));
        Status::new(Reason::Conflict, message).about(group, plural, name)
    }

    /// `pods "x" is forbidden: why`
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let resource = qualified(plural, group);
        let message = match name {
            "" => format!("{resource} is forbidden: {why}"),
            _ => format!("{resource} {} is forbidden: {why}", go::quoted(name)),
        };
        Status::new(Reason::Forbidden, message).about(group, plural, name)
    }

    /// `Pod "x" is invalid: [spec.a: Required value, …]`; `kind` is the kind, not the plural. The message says the same
    /// once, the causes are all (api/errors NewInvalid, field.ErrorList ToAggregate).
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Status {
        let mut told = std::collections::HashSet::new();
        let texts = errors.iter().map(ToString::to_string).filter(|text| told.insert(text.clone()));
        let texts: Vec<String> = texts.collect();
        let list = match &texts[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {} is invalid: {list}", qualified(kind, group), go::quoted(name));
        let mut status = Status::new(Reason::Invalid, message).about(group, kind, name);
        status.causes = errors.iter().map(FieldError::cause).collect();
        status
    }

    /// The `v1.Status` object that goes over the wire.
    pub fn to_value(&self) -> Value {
        let mut details = serde_json::Map::new();
        for (key, value) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !value.is_empty() {
                details.insert(key.into(), json!(value));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|c| {
                let mut cause = serde_json::Map::new();
                for (key, value) in [("reason", &c.reason), ("message", &c.message), ("field", &c.field)] {
                    if !value.is_empty() {
                        cause.insert(key.into(), json!(value));
                    }
                }
                Value::Object(cause)
            });
            details.insert("causes".into(), causes.collect());
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code});
        if self.reason != Reason::Unknown {
            status["reason"] = self.reason.as_str().into();
        }
        if self.generic || !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}

/// `deployments.apps`, or `pods` for the core group.
fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_string() } else { format!("{name}.{group}") }
}

impl FieldError {
    fn new(class: FieldErrorClass, field: &str, value: String, detail: &str) -> FieldError {
        FieldError { class, field: field.into(), value, detail: detail.into() }
    }

    pub fn required(field: &str, detail: &str) -> FieldError {
        FieldError::new(FieldErrorClass::Required, field, String::new(), detail)
    }

    pub fn invalid(field: &str, value: &Value, detail: &str) -> FieldError {
        FieldError::new(FieldErrorClass::Invalid, field, printed(value), detail)
    }

    /// Like `invalid`, where upstream shows no value.
    pub fn invalid_unshown(field: &str, detail: &str) -> FieldError {
        FieldError::new(FieldErrorClass::Invalid, field, String::new(), detail)
    }

    pub fn duplicate(field: &str, value: &Value) -> FieldError {
        FieldError::new(FieldErrorClass::Duplicate, field, printed(value), "")
    }

    pub fn not_found(field: &str, value: &Value) -> FieldError {
        FieldError::new(FieldErrorClass::NotFound, field, printed(value), "")
    }

    /// `Unsupported value: "x": supported values: "a", "b"`
    pub fn not_supported(field: &str, value: &Value, supported: &[&str]) -> FieldError {
        let list = supported.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        let detail = if supported.is_empty() { String::new() } else { format!("supported values: {list}") };
        FieldError::new(FieldErrorClass::NotSupported, field, printed(value), &detail)
    }

    pub fn forbidden(field: &str, detail: &str) -> FieldError {
        FieldError::new(FieldErrorClass::Forbidden, field, String::new(), detail)
    }

    /// `Too long: may not be more than 63 bytes`
    pub fn too_long(field: &str, limit: usize) -> FieldError {
        FieldError::new(FieldErrorClass::TooLong, field, String::new(), &format!("may not be more than {limit} bytes"))
    }

    /// `Too many: 5: must have at most 3 items`
    pub fn too_many(field: &str, actual: usize, limit: usize) -> FieldError {
        let items = if limit == 1 { "item" } else { "items" };
        FieldError::new(
            FieldErrorClass::TooMany,
            field,
            actual.to_string(),
            &format!("must have at most {limit} {items}"),
        )
    }

    fn word(&self) -> &'static str {
        match self.class {
            FieldErrorClass::NotFound => "Not found",
            FieldErrorClass::Required => "Required value",
            FieldErrorClass::Duplicate => "Duplicate value",
            FieldErrorClass::Invalid | FieldErrorClass::TypeInvalid => "Invalid value",
            FieldErrorClass::NotSupported => "Unsupported value",
            FieldErrorClass::Forbidden => "Forbidden",
            FieldErrorClass::TooLong => "Too long",
            FieldErrorClass::TooMany => "Too many",
            FieldErrorClass::Internal => "Internal error",
        }
    }

    /// The error without its path: `Invalid value: "X": a lowercase …`.
    pub fn body(&self) -> String {
        let mut body = self.word().to_string();
        for part in [&self.value, &self.detail] {
            if !part.is_empty() {
                body.push_str(": ");
                body.push_str(part);
            }
        }
        body
    }

    fn cause(&self) -> Cause {
        let reason = match self.class {
            FieldErrorClass::NotFound => "FieldValueNotFound",
            FieldErrorClass::Required => "FieldValueRequired",
            FieldErrorClass::Duplicate => "FieldValueDuplicate",
            FieldErrorClass::Invalid => "FieldValueInvalid",
            FieldErrorClass::NotSupported => "FieldValueNotSupported",
            FieldErrorClass::Forbidden => "FieldValueForbidden",
            FieldErrorClass::TooLong => "FieldValueTooLong",
            FieldErrorClass::TooMany => "FieldValueTooMany",
            FieldErrorClass::TypeInvalid => "FieldValueTypeInvalid",
            FieldErrorClass::Internal => "InternalError",
        };
        Cause { reason: reason.into(), message: self.body(), field: self.field.clone() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// Strings are quoted, everything else is JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::String(s) => go::quoted(s),
        Value::Null => "null".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_the_same_once_and_has_all_causes() {
        let (one, other) = (FieldError::required("spec.a", ""), FieldError::required("spec.b", "now"));
        let told = |errors: &[FieldError]| {
            let status = Status::invalid("apps", "Deployment", "web", errors);
            (status.message, status.causes.len())
        };
        let message = |list: &str| format!("Deployment.apps \"web\" is invalid: {list}");
        assert_eq!(told(std::slice::from_ref(&one)), (message("spec.a: Required value"), 1));
        assert_eq!(told(&[one.clone(), one.clone()]), (message("spec.a: Required value"), 2));
        let list = "[spec.a: Required value, spec.b: Required value: now]";
        assert_eq!(told(&[one.clone(), other, one]), (message(list), 3));
    }
}
