//! Probes, hooks and what they run.

use crate::validate::at::{At, Errors, invalid_each, non_negative};
use api::names;

/// Liveness, readiness and startup probes of one container.
pub fn probes(container: &At, grace: Option<i64>, errors: &mut Errors) {
    for (field, must_be_one) in [("livenessProbe", true), ("readinessProbe", false), ("startupProbe", true)] {
        let at = container.get(field);
        if !at.has() {
            continue;
        }
        probe(&at, grace, errors);
        let success = at.get("successThreshold");
        if must_be_one && success.number() != 1 {
            errors.push(success.invalid_as(success.number(), "must be 1"));
        }
        let own_grace = at.get("terminationGracePeriodSeconds");
        if field == "readinessProbe" && own_grace.has() {
            errors.push(own_grace.invalid("must not be set for readinessProbes"));
        }
    }
}

fn probe(at: &At, grace: Option<i64>, errors: &mut Errors) {
    action(at, &["exec", "httpGet", "tcpSocket", "grpc"], grace, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        non_negative(&at.get(field), errors);
    }
    let own_grace = at.get("terminationGracePeriodSeconds");
    if own_grace.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(own_grace.invalid("must be greater than 0"));
    }
}

/// `os` is `spec.os.name`, empty if it is not set.
pub fn lifecycle(at: &At, grace: Option<i64>, os: &str, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        if at.has_field(hook) {
            action(&at.get(hook), &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
        }
    }
    let signal = at.get("stopSignal");
    if !signal.has() {
        return;
    }
    match os {
        "" => errors.push(signal.forbidden("may not be set for containers with empty `spec.os.name`")),
        "linux" if !SIGNALS.contains(&signal.text()) => errors.push(signal.not_supported(SIGNALS)),
        "windows" if !matches!(signal.text(), "SIGKILL" | "SIGTERM") => {
            errors.push(signal.not_supported(&["SIGKILL", "SIGTERM"]));
        }
        _ => {}
    }
}

/// Exactly one of the handlers.
fn action(at: &At, handlers: &[&'static str], grace: Option<i64>, errors: &mut Errors) {
    let mut first = true;
    for field in handlers.iter().filter(|field| at.has_field(field)) {
        let part = at.get(field);
        if !first {
            errors.push(part.forbidden("may not specify more than 1 handler type"));
            continue;
        }
        first = false;
        match *field {
            "exec" if part.get("command").is_empty() => errors.push(part.get("command").required("")),
            "httpGet" => http_get(&part, errors),
            "tcpSocket" => port(&part.get("port"), errors),
            "grpc" => {
                port(&part.get("port"), errors);
                one_of(&part.get("mode"), &["Plaintext", "TLS"], errors);
            }
            "sleep" => {
                let seconds = part.get("seconds").number();
                if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.push(part.invalid_as(seconds, &detail));
                }
            }
            _ => {}
        }
    }
    if first {
        errors.push(at.required("must specify a handler type"));
    }
}

fn http_get(at: &At, errors: &mut Errors) {
    if at.get("path").text().is_empty() {
        errors.push(at.get("path").required(""));
    }
    port(&at.get("port"), errors);
    if !matches!(at.get("scheme").text(), "HTTP" | "HTTPS") {
        errors.push(at.get("scheme").not_supported(&["HTTP", "HTTPS"]));
    }
    for header in at.get("httpHeaders").items() {
        let name = header.get("name").text();
        errors.extend(names::http_header(name).iter().map(|m| at.get("httpHeaders").invalid_as(name, m)));
    }
    one_of(&at.get("protocol"), &["HTTP1", "HTTP2"], errors);
}

/// Optional. What is in the list and yet not offered is refused by `kinds::pod::unsupported`.
fn one_of(at: &At, supported: &[&str], errors: &mut Errors) {
    if at.has() && !supported.contains(&at.text()) {
        errors.push(at.not_supported(supported));
    }
}

/// A number or the name of a port.
pub fn port(at: &At, errors: &mut Errors) {
    match at.value.as_str() {
        Some(name) => invalid_each(at, names::port_name(name), errors),
        None => {
            errors.extend(names::port_number(at.number()).iter().map(|m| at.invalid_as(at.number(), m)));
        }
    }
}

/// Sorted, as upstream lists them.
const SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];
