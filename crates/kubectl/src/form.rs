//! The forms that `-o` shows objects in.

use api::jsonpath::Template;
use serde_json::Value;

use crate::failure::{Result, failure};
use crate::output;

/// The forms that objects are shown in.
pub enum Output {
    Table { wide: bool },
    Yaml,
    Json,
    Name,
    Path(Template),
}

const TEMPLATELESS: &str = "template format specified but no template given";

/// What `-o` says.
pub fn output_of(text: Option<&str>) -> Result<Output> {
    match text {
        None | Some("") => Ok(Output::Table { wide: false }),
        Some("wide") => Ok(Output::Table { wide: true }),
        Some("yaml") => Ok(Output::Yaml),
        Some("json") => Ok(Output::Json),
        Some("name") => Ok(Output::Name),
        Some(other) => match other.split_once('=') {
            None if other == "jsonpath" => Err(failure(TEMPLATELESS)),
            Some(("jsonpath", "")) => Err(failure(TEMPLATELESS)),
            Some(("jsonpath", path)) => Ok(Output::Path(Template::parse(path).map_err(failure)?)),
            _ => Err(failure(format!(
                "unable to match a printer suitable for the output format {other:?}, allowed formats are: json,jsonpath,name,wide,yaml"
            ))),
        },
    }
}

/// Prints one object.
pub fn show(output: &Output, value: &Value) -> Result<()> {
    match output {
        Output::Yaml => output::text(&crate::yaml::print(value)),
        Output::Json => output::line(indented(value)),
        Output::Path(template) => output::text(&template.render(value).map_err(failure)?),
        Output::Name | Output::Table { .. } => Ok(()),
    }
}

/// JSON with four blanks, as kubectl prints it.
fn indented(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("a JSON tree is printable");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}
