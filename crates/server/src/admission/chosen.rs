//! Which steps are on: upstream's defaults, and what two flags say.

use super::{ADMISSION, Row};

/// The steps that a server goes through, in their order.
#[derive(Clone)]
pub struct Admission(Vec<&'static Row>);

/// Upstream's that are not here, and why.
const ABSENT: &[(&str, &str)] = &[
    ("EventRateLimit", "it needs a configuration, and --admission-control-config-file is not there"),
    ("ImagePolicyWebhook", "it needs a configuration, and --admission-control-config-file is not there"),
    ("NodeDeclaredFeatureValidator", "nodes declare no features"),
    ("PodGroupProtection", "there are no pod groups"),
    ("PodTopologyLabels", "it is not there yet"),
];
/// Together they are one step, which is on (docs/compatibility.md says how far).
const OUTSIDE: [&str; 4] =
    ["MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook"];
/// Not upstream's plugins but checks of its registry: they cannot be left out.
const ALWAYS: [&str; 4] = ["PolicyParameters", "RBACEscalation", "ResourceClaim", "ServiceAccountToken"];

impl Default for Admission {
    fn default() -> Admission {
        Admission(ADMISSION.iter().filter(|row| row.by_default()).collect())
    }
}

impl Admission {
    /// The defaults with these, and without those (apiserver server/options/admission.go). The error is for people.
    pub fn of(on: &[String], off: &[String]) -> Result<Admission, String> {
        const FLAGS: [&str; 2] = ["--enable-admission-plugins", "--disable-admission-plugins"];
        for (flag, names) in FLAGS.into_iter().zip([on, off]) {
            for name in names.iter().map(String::as_str) {
                let absent = ABSENT.iter().find(|(absent, _)| *absent == name);
                if let Some((_, why)) = absent.filter(|_| flag == FLAGS[0]) {
                    return Err(format!("{flag}: there is no {name:?} here: {why}"));
                }
                if absent.is_none() && !known().contains(&name) {
                    return Err(format!(
                        "{flag}: admission plugin {name:?} is unknown; known are {}",
                        known().join(", ")
                    ));
                }
            }
        }
        if let Some(both) = on.iter().find(|name| off.contains(name)) {
            return Err(format!("{} and {} both name {both:?}", FLAGS[0], FLAGS[1]));
        }
        if let Some(name) = off.iter().find(|name| OUTSIDE.contains(&name.as_str())) {
            return Err(format!("{}: {name:?} cannot be left out: delete its configurations instead", FLAGS[1]));
        }
        let names = |row: &Row, list: &[String]| list.iter().any(|name| name == row.name());
        let is_on = |row: &&Row| (row.by_default() || names(row, on)) && !names(row, off);
        Ok(Admission(ADMISSION.iter().filter(is_on).collect()))
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.0.iter().copied()
    }
}

/// By name.
fn known() -> Vec<&'static str> {
    let rows = ADMISSION.iter().map(Row::name).filter(|name| !name.is_empty() && !ALWAYS.contains(name));
    let mut known: Vec<_> = rows.chain(OUTSIDE).collect();
    known.sort_unstable();
    known
}

#[cfg(test)]
mod tests;
