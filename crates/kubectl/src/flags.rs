//! What all verbs share on the command line: kubectl's booleans, and which server as whom.

use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::{ArgAction, Args};

/// Which server, as whom, in which namespace.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// Path of a kubeconfig; else $KUBECONFIG, ~/.kube/config, this machine's own instance
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Namespace; else the context's
    #[arg(long, short, global = true)]
    pub namespace: Option<String>,
    /// The API server's URL, instead of the kubeconfig's
    #[arg(long, short, global = true, value_name = "URL")]
    pub server: Option<String>,
}

/// A command with kubectl's booleans: `--wait`, `--wait=true`, `--wait=false`, and nothing after a blank
/// belongs to them (pflag, NoOptDefVal).
pub fn booleans(command: clap::Command) -> clap::Command {
    let is_boolean = |arg: &clap::Arg| {
        let of_bool = arg.get_value_parser().type_id() == clap::value_parser!(bool).type_id();
        !arg.is_positional() && of_bool && matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Set)
    };
    let command = command.mut_args(|arg| {
        if !is_boolean(&arg) {
            return arg;
        }
        let off = matches!(arg.get_action(), ArgAction::SetTrue);
        let arg = arg.action(ArgAction::Set).num_args(0..=1).require_equals(true).default_missing_value("true");
        let arg = arg.value_name("BOOL").hide_possible_values(true).hide_default_value(off);
        let arg = arg.value_parser(clap::builder::NonEmptyStringValueParser::new().try_map(|text| truth(&text)));
        if off { arg.default_value("false") } else { arg }
    });
    command.mut_subcommands(booleans)
}

/// As Go's strconv.ParseBool.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}
