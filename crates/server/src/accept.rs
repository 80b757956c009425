//! Which form of an answer a client wants: JSON or YAML, whole objects, a Table or metadata only.
//!
//! Matches upstream's negotiation (apiserver pkg/endpoints/handlers/negotiation): clauses in order
//! of their quality, the first that we can serve wins. JSON is what is stored, so protobuf is for
//! those only who do not take JSON as gladly.

use api::{Reason, Status};
use kinds::Served;

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    Table,
    /// PartialObjectMetadata
    Partial,
    /// PartialObjectMetadataList
    PartialList,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    pub form: Form,
    pub encoding: Encoding,
    /// A form of meta.k8s.io/v1beta1.
    pub beta: bool,
}

pub const PLAIN: Accept = Accept { form: Form::Whole, encoding: Encoding::Json, beta: false };

/// Picks from an `Accept` header; absent or empty means JSON.
pub fn negotiate(header: Option<&str>) -> Result<Accept, Status> {
    pick(header, |_| true)
}

/// The same for an answer that is no object of a kind, and so has no Table and no metadata.
pub fn whole(header: Option<&str>) -> Result<Accept, Status> {
    pick(header, |accept| accept.form == Form::Whole)
}

fn pick(header: Option<&str>, served: impl Fn(&Accept) -> bool) -> Result<Accept, Status> {
    let header = header.unwrap_or("").trim();
    if header.is_empty() {
        return Ok(PLAIN);
    }
    let mut clauses: Vec<(u32, Accept)> = header.split(',').filter_map(clause).filter(|(_, a)| served(a)).collect();
    clauses.sort_by_key(|(quality, accept)| (std::cmp::Reverse(*quality), accept.encoding == Encoding::Protobuf));
    clauses.first().map(|(_, accept)| *accept).ok_or_else(not_acceptable)
}

/// What an endpoint of a kind can answer with: as routed (emicklei/go-restful route.go matchesAccept), then as its
/// handler has it.
///
/// # Errors
/// 406.
pub fn fits(
    header: Option<&str>,
    accepted: &Result<Accept, Status>,
    verb: &str,
    served: &Served,
) -> Result<(), Status> {
    let of_collection = matches!(verb, "list" | "watch");
    routed(header, if of_collection { STREAMED } else { "" })?;
    let accept = accepted.as_ref().map_err(Clone::clone)?;
    let refused = |message: String| Err(Status::new(Reason::NotAcceptable, message));
    let package = served.package();
    match (verb, accept.form) {
        ("watch", _) if accept.encoding == Encoding::Yaml => {
            refused(format!("only the following media types are accepted: {STREAMED}"))
        }
        ("list", Form::Partial) => refused(format!(
            "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{})",
            served.kind.list_kind
        )),
        // Of what is read only it is looked for first (`request`).
        ("get" | "create" | "update" | "patch", Form::PartialList) => refused(format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{})",
            served.kind.kind
        )),
        _ => Ok(()),
    }
}

/// What a document of discovery can be answered with.
///
/// # Errors
/// 406, of the route or of what answers there.
pub fn document(header: Option<&str>) -> Result<Accept, Status> {
    routed(header, "")?;
    whole(header)
}

const MADE: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAMED: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// Routes are found by what they produce (emicklei/go-restful route.go matchesAccept); `also`: what this one produces
/// beside.
fn routed(header: Option<&str>, also: &str) -> Result<(), Status> {
    let mut clauses =
        header.unwrap_or_default().split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
    let made = |media: &str| media == "*/*" || MADE.split(", ").any(|one| one == media);
    if header.is_none_or(str::is_empty) || clauses.any(made) {
        return Ok(());
    }
    let also = if also.is_empty() { String::new() } else { format!(", {also}") };
    let message = format!("406: Not Acceptable\n\nAvailable representations: {MADE}{also}");
    Err(Status::generic(Reason::NotAcceptable, message))
}

/// 406 with the types that we have.
pub fn not_acceptable() -> Status {
    let message = "only the following media types are accepted: application/json, application/yaml, \
                   application/vnd.kubernetes.protobuf";
    Status::new(Reason::NotAcceptable, message)
}

fn clause(text: &str) -> Option<(u32, Accept)> {
    let mut parts = text.split(';').map(str::trim);
    let encoding = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        api::proto::MEDIA_TYPE => Encoding::Protobuf,
        "application/yaml" | "text/yaml" | "application/x-yaml" => Encoding::Yaml,
        _ => return None,
    };
    let (mut quality, mut form, mut group, mut version) = (1000, Form::Whole, "meta.k8s.io", "v1");
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim_matches('"');
        match name {
            // What is no number counts as if it were not there (munnerz/goautoneg).
            "q" => quality = (value.parse::<f32>().unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32,
            "as" => {
                form = match value {
                    "Table" => Form::Table,
                    "PartialObjectMetadata" => Form::Partial,
                    "PartialObjectMetadataList" => Form::PartialList,
                    _ => return None,
                }
            }
            "g" => group = value,
            "v" => version = value,
            // `stream`, `charset`, `pretty`: JSON is JSON.
            _ => {}
        }
    }
    // A Table has no message (meta/v1 types.go).
    if (form, encoding) == (Form::Table, Encoding::Protobuf) {
        return None;
    }
    let known = form == Form::Whole || (group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1"));
    let beta = form != Form::Whole && version == "v1beta1";
    (known && quality > 0).then_some((quality, Accept { form, encoding, beta }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_we_have_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (header, want) in [
            (None, Some((Form::Whole, Encoding::Json))),
            (Some("*/*"), Some((Form::Whole, Encoding::Json))),
            (Some(kubectl), Some((Form::Table, Encoding::Json))),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Some((Form::Whole, Encoding::Json))),
            (Some("application/vnd.kubernetes.protobuf, */*;q=0.1"), Some((Form::Whole, Encoding::Protobuf))),
            (Some("application/cbor"), None),
            (Some("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1"), None),
            (Some("application/json;q=0.2, application/yaml"), Some((Form::Whole, Encoding::Yaml))),
            (
                Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
                Some((Form::PartialList, Encoding::Json)),
            ),
            (Some("application/json;as=Table;g=meta.k8s.io;v=v9"), None),
        ] {
            let got = negotiate(header).ok().map(|a| (a.form, a.encoding));
            assert_eq!(got, want, "{header:?}");
        }
    }
}
