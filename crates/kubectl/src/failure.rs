//! The one error of the command line: a sentence for a person, with what led to it.

use std::fmt::Display;

/// What went wrong, as it is printed: what the server refused in kubectl's words for it, everything
/// else after `error: `.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    /// The message says itself who refused.
    pub is_servers: bool,
    /// The process's exit code.
    pub code: u8,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failure of our own.
pub fn failure(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), is_servers: false, code: 1 }
}

/// A refusal of the server, in kubectl's words (kubectl pkg/cmd/util/helpers.go); `doing` stands
/// before the message.
pub fn refused(status: &api::Status, doing: &str) -> Failure {
    let message = match status.reason {
        // Nobody refused: nobody answered.
        _ if status.code == 0 => status.message.clone(),
        api::Reason::Invalid if doing.is_empty() => invalid(status),
        _ => format!("Error from server ({}): {doing}{}", status.reason.as_str(), status.message),
    };
    Failure { message, is_servers: true, code: 1 }
}

/// What is wrong with an object, or with a request that names none: a cause in the line, several below it.
fn invalid(status: &api::Status) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in &status.causes {
        let line = format!("{}: {}", cause.field, cause.message);
        if !causes.contains(&line) {
            causes.push(line);
        }
    }
    let what = match (status.kind.as_str(), status.name.as_str()) {
        ("", "") if causes.is_empty() && !status.message.is_empty() => {
            return format!("The request is invalid: {}", status.message);
        }
        ("", "") => "The request is invalid".to_string(),
        (kind, name) => format!("The {kind} {name:?} is invalid"),
    };
    match &causes[..] {
        [] => what,
        [one] => format!("{what}: {one}"),
        all => format!("{what}: \n{}", all.iter().map(|cause| format!("* {cause}")).collect::<Vec<_>>().join("\n")),
    }
}

/// Several as one: each on a line of its own, the first one's kind for all.
pub fn all_of(failures: Vec<Failure>) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = failures.iter().map(|failure| failure.printed()).collect();
    Err(Failure { message: lines.join("\n"), is_servers: true, code: 1 })
}

impl Failure {
    /// The line for standard error.
    pub fn printed(&self) -> String {
        if self.is_servers { self.message.clone() } else { format!("error: {}", self.message) }
    }
}

/// Adds what was being done.
pub trait Context<T> {
    fn context(self, doing: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl Display) -> Result<T> {
        self.map_err(|error| failure(format!("{doing}: {error}")))
    }
}

impl From<api::Status> for Failure {
    fn from(status: api::Status) -> Failure {
        refused(&status, "")
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use api::{FieldError, Reason, Status};

    use super::refused;

    #[test]
    fn what_is_invalid_is_told_as_kubectl_tells_it() {
        let (one, other) = (FieldError::required("spec.a", ""), FieldError::required("spec.b", "now"));
        let told = |errors: &[FieldError]| refused(&Status::invalid("apps", "Deployment", "web", errors), "").message;
        let head = "The Deployment \"web\" is invalid: ";
        assert_eq!(told(&[one.clone(), one.clone()]), format!("{head}spec.a: Required value"));
        let both = format!("{head}\n* spec.a: Required value\n* spec.b: Required value: now");
        assert_eq!(told(&[one, other]), both);
        let bare = Status::new(Reason::Invalid, "the server rejected it");
        assert_eq!(refused(&bare, "").message, "The request is invalid: the server rejected it");
    }
}
