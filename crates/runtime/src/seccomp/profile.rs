//! Rules as data, and the OCI runtime-spec's JSON form of them (config-linux.md, seccomp).

use serde::Deserialize;

/// What a filter answers, as seccomp(2) encodes it.
pub const ALLOW: u32 = 0x7fff_0000;
pub const KILL_THREAD: u32 = 0;
pub const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

#[derive(Clone, Debug)]
pub struct Profile {
    pub default: u32,
    pub arches: Vec<Arch>,
    pub rules: Vec<Rule>,
    pub flags: u32,
}

/// All conditions hold → the action. A name that an architecture lacks is skipped there.
#[derive(Clone, Debug)]
pub struct Rule {
    pub names: Vec<String>,
    pub action: u32,
    pub conditions: Vec<Condition>,
}

/// `argument & mask` compared with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub index: u32,
    pub mask: u64,
    pub compare: Compare,
    pub value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    GreaterOrEqual,
    Greater,
}

pub fn errno(number: i32) -> u32 {
    ERRNO | (number as u32 & 0xffff)
}

pub fn is_errno(action: u32) -> bool {
    action & 0xffff_0000 == ERRNO
}

impl Arch {
    /// The column of the table of numbers.
    pub fn column(self) -> usize {
        self as usize
    }

    /// This machine's own.
    pub fn native() -> Arch {
        if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }
    }

    /// With those whose programs its kernel may also run.
    pub fn all_here() -> Vec<Arch> {
        match Arch::native() {
            Arch::Aarch64 => vec![Arch::Aarch64, Arch::Arm],
            _ => vec![Arch::X86_64, Arch::X86, Arch::X32],
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Json {
    default_action: String,
    default_errno_ret: Option<i32>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    listener_metadata: String,
    #[serde(default)]
    syscalls: Vec<JsonRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonRule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<i32>,
    #[serde(default)]
    args: Option<Vec<JsonArgument>>,
    #[serde(default, rename = "comment")]
    _comment: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonArgument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

impl Profile {
    pub fn parse(json: &str) -> Result<Profile, String> {
        let json: Json = serde_json::from_str(json).map_err(|e| format!("the seccomp profile cannot be read: {e}"))?;
        if !json.listener_path.is_empty() || !json.listener_metadata.is_empty() {
            return Err("the seccomp profile wants a listener, and there is none".into());
        }
        let mut arches = Vec::new();
        for name in &json.architectures {
            arches.extend(arch(name)?);
        }
        // libseccomp always has the native one.
        if !arches.contains(&Arch::native()) {
            arches.push(Arch::native());
        }
        let mut rules = Vec::new();
        for rule in json.syscalls {
            let action = action(&rule.action, rule.errno_ret)?;
            let mut conditions = Vec::new();
            for argument in rule.args.unwrap_or_default() {
                conditions.push(argument.condition()?);
            }
            // Upstream (runc libcontainer/seccomp): one argument named twice makes alternatives.
            let twice = |c: &Condition| conditions.iter().filter(|other| other.index == c.index).count() > 1;
            if conditions.iter().any(twice) {
                for condition in conditions {
                    rules.push(Rule { names: rule.names.clone(), action, conditions: vec![condition] });
                }
            } else {
                rules.push(Rule { names: rule.names, action, conditions });
            }
        }
        let flags = json.flags.iter().map(|name| flag(name)).collect::<Result<Vec<u32>, String>>()?;
        let default = action(&json.default_action, json.default_errno_ret)?;
        Ok(Profile { default, arches, rules, flags: flags.into_iter().fold(0, |all, flag| all | flag) })
    }
}

impl JsonArgument {
    fn condition(&self) -> Result<Condition, String> {
        if self.index > 5 {
            return Err(format!("a system call has six arguments; the seccomp profile names index {}", self.index));
        }
        let (mask, compare, value) = match self.op.as_str() {
            "SCMP_CMP_MASKED_EQ" => (self.value, Compare::Equal, self.value_two),
            "SCMP_CMP_EQ" => (u64::MAX, Compare::Equal, self.value),
            "SCMP_CMP_NE" => (u64::MAX, Compare::NotEqual, self.value),
            "SCMP_CMP_LT" => (u64::MAX, Compare::Less, self.value),
            "SCMP_CMP_LE" => (u64::MAX, Compare::LessOrEqual, self.value),
            "SCMP_CMP_GE" => (u64::MAX, Compare::GreaterOrEqual, self.value),
            "SCMP_CMP_GT" => (u64::MAX, Compare::Greater, self.value),
            other => return Err(format!("the seccomp profile has the unknown comparison {other:?}")),
        };
        Ok(Condition { index: self.index, mask, compare, value })
    }
}

fn action(name: &str, errno_ret: Option<i32>) -> Result<u32, String> {
    let number = errno_ret.unwrap_or(libc::EPERM);
    if !(0..=4095).contains(&number) {
        return Err(format!("the seccomp profile has the error number {number}"));
    }
    let plain = match name {
        "SCMP_ACT_ERRNO" => return Ok(errno(number)),
        "SCMP_ACT_TRACE" => return Ok(TRACE | number as u32),
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_NOTIFY" => return Err("SCMP_ACT_NOTIFY needs a listener, and there is none".into()),
        other => return Err(format!("the seccomp profile has the unknown action {other:?}")),
    };
    match errno_ret {
        None => Ok(plain),
        Some(_) => Err(format!("errnoRet goes with SCMP_ACT_ERRNO and SCMP_ACT_TRACE, not with {name}")),
    }
}

/// None for one that no kernel of this machine's kind runs; an error for one that does not exist.
fn arch(name: &str) -> Result<Option<Arch>, String> {
    let found = match name {
        "SCMP_ARCH_X86_64" => Arch::X86_64,
        "SCMP_ARCH_X86" => Arch::X86,
        "SCMP_ARCH_X32" => Arch::X32,
        "SCMP_ARCH_AARCH64" => Arch::Aarch64,
        "SCMP_ARCH_ARM" => Arch::Arm,
        other if other.starts_with("SCMP_ARCH_") => return Ok(None),
        other => return Err(format!("the seccomp profile has the unknown architecture {other:?}")),
    };
    Ok(Arch::all_here().contains(&found).then_some(found))
}

fn flag(name: &str) -> Result<u32, String> {
    match name {
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(1),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(2),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(4),
        other => Err(format!("the seccomp profile has the unknown flag {other:?}")),
    }
}
