//! Which controllers run: what `--controllers` says, as kube-controller-manager understands it.
//!
//! `*` is all, `foo` is foo, `-foo` is not foo; of two words on the same one the first counts, and who is not named
//! runs if there is a `*` (k8s.io/controller-manager app/helper.go IsControllerEnabled; options/generic.go).

use crate::CONTROLLERS;

/// What a controller was called before its name of today (`aliases:` in cmd/kube-controller-manager/app); it still may be.
const ALIASES: &[(&str, &str)] = &[
    ("clusterrole-aggregation", "clusterrole-aggregation-controller"),
    ("cronjob", "cronjob-controller"),
    ("csrapproving", "certificatesigningrequest-approving-controller"),
    ("csrcleaner", "certificatesigningrequest-cleaner-controller"),
    ("csrsigning", "certificatesigningrequest-signing-controller"),
    ("daemonset", "daemonset-controller"),
    ("deployment", "deployment-controller"),
    ("disruption", "disruption-controller"),
    ("endpoint", "endpoints-controller"),
    ("endpointslice", "endpointslice-controller"),
    ("endpointslicemirroring", "endpointslice-mirroring-controller"),
    ("garbagecollector", "garbage-collector-controller"),
    ("horizontalpodautoscaling", "horizontal-pod-autoscaler-controller"),
    ("job", "job-controller"),
    ("namespace", "namespace-controller"),
    ("nodeipam", "node-ipam-controller"),
    ("nodelifecycle", "node-lifecycle-controller"),
    ("podgc", "pod-garbage-collector-controller"),
    ("pv-protection", "persistentvolume-protection-controller"),
    ("pvc-protection", "persistentvolumeclaim-protection-controller"),
    ("replicaset", "replicaset-controller"),
    ("replicationcontroller", "replicationcontroller-controller"),
    ("resourcequota", "resourcequota-controller"),
    ("root-ca-cert-publisher", "root-ca-certificate-publisher-controller"),
    ("serviceaccount", "serviceaccount-controller"),
    ("serviceaccount-token", "serviceaccount-token-controller"),
    ("statefulset", "statefulset-controller"),
    ("ttl-after-finished", "ttl-after-finished-controller"),
];

/// A choice among the controllers.
#[derive(Clone, Debug)]
pub struct Chosen(Vec<Word>);

#[derive(Clone, Debug)]
enum Word {
    All,
    With(&'static str),
    Without(&'static str),
}

/// All.
impl Default for Chosen {
    fn default() -> Chosen {
        Chosen(vec![Word::All])
    }
}

impl Chosen {
    /// Of the flag's words; none, or only empty ones, choose nobody. The error is for people.
    pub fn of(words: &[String]) -> Result<Chosen, String> {
        let words = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
        let word = |word: &str| {
            if word == "*" {
                return Ok(Word::All);
            }
            let name = word.strip_prefix('-').unwrap_or(word);
            let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
            let wanted = alias.map_or(name, |(_, name)| name);
            let Some(known) = names().find(|known| *known == wanted) else {
                let known: Vec<&str> = names().collect();
                return Err(format!("{name:?} is not in the list of known controllers: {}", known.join(", ")));
            };
            Ok(if word.starts_with('-') { Word::Without(known) } else { Word::With(known) })
        };
        words.map(word).collect::<Result<_, _>>().map(Chosen)
    }

    pub fn has(&self, name: &str) -> bool {
        let said = self.0.iter().find_map(|word| match word {
            Word::With(named) => (*named == name).then_some(true),
            Word::Without(named) => (*named == name).then_some(false),
            Word::All => None,
        });
        said.unwrap_or_else(|| self.0.iter().any(|word| matches!(word, Word::All)))
    }

    /// Nobody runs.
    pub fn is_empty(&self) -> bool {
        !names().any(|name| self.has(name))
    }
}

/// As the table has them.
fn names() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.iter().map(|controller| controller.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a few: those that run, or what is said.
    fn run(flag: &str) -> Result<String, String> {
        const FEW: [&str; 3] = ["job-controller", "deployment-controller", "garbage-collector-controller"];
        let words: Vec<String> = flag.split(',').map(str::to_owned).collect();
        let chosen =
            Chosen::of(&words).map_err(|why| why.split(" controllers:").next().unwrap_or_default().to_owned())?;
        Ok(FEW.into_iter().filter(|name| chosen.has(name)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn who_runs_is_said_as_upstream_says_it() {
        let all = "job-controller deployment-controller garbage-collector-controller";
        for (flag, who) in [
            ("*", all),
            ("*,-deployment-controller", "job-controller garbage-collector-controller"),
            ("*,-job,-garbagecollector", "deployment-controller"),
            ("-job,*", "deployment-controller garbage-collector-controller"),
            ("job-controller", "job-controller"),
            ("job,deployment", "job-controller deployment-controller"),
            ("-job", ""),
            ("", ""),
            // The first word on a controller counts.
            ("job,-job,*", all),
            ("-job,job,*", "deployment-controller garbage-collector-controller"),
        ] {
            assert_eq!(run(flag), Ok(who.to_owned()), "{flag:?}");
        }
        for (flag, name) in [("*,-jobs", "jobs"), ("-*", "*"), ("*,--job", "-job"), ("Job", "Job")] {
            assert_eq!(run(flag), Err(format!("{name:?} is not in the list of known")), "{flag:?}");
        }
        assert!(Chosen::of(&["x".into()]).unwrap_err().contains("job-controller"), "the names are told");
        assert!(Chosen::of(&[]).unwrap().is_empty() && !Chosen::default().is_empty());
    }

    #[test]
    fn names_are_distinct_and_no_alias_hides_one() {
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(ALIASES.iter().all(|(alias, _)| !all.contains(alias)));
    }
}
