//! A profile: which filters and scores decide for the pods of one scheduler name, and with what.
//!
//! The defaults are upstream's (pkg/scheduler/apis/config/v1: default_plugins.go, defaults.go); a
//! KubeSchedulerConfiguration changes them (`configuration`).

use std::collections::BTreeSet;

use api::selector::Labels;

use crate::filters::{FILTERS, Filter};
use crate::pod::{NodeTerm, Spread};
use crate::scores::{SCORES, Score};

#[derive(Clone)]
pub struct Profile {
    /// `spec.schedulerName` of its pods.
    pub name: String,
    /// Its place among the profiles.
    pub number: usize,
    /// How many of the nodes are looked at for those that fit, in percent; None: by the number of nodes.
    pub percentage: Option<usize>,
    pub filters: Vec<&'static Filter>,
    /// With their weights.
    pub scores: Vec<(&'static Score, i64)>,
    /// Whether pods of lower priority are pushed out for its pods.
    pub preempts: bool,
    pub preemption: Candidates,
    pub fit: Fit,
    /// Resources whose balance counts.
    pub balanced: Vec<String>,
    pub spread: Defaults,
    /// What a required affinity of a pod that is there counts for one that it attracts.
    pub hard_affinity_weight: i64,
    /// Only the pod's own wishes count, unless it has none.
    pub ignores_wishes_of_others: bool,
    /// One of these must match, for every pod.
    pub added_terms: Option<Vec<NodeTerm>>,
    pub added_wishes: Vec<(i64, NodeTerm)>,
}

/// How many nodes are tried for victims.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidates {
    pub percentage: usize,
    pub absolute: usize,
}

/// NodeResourcesFitArgs.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Extended resources that somebody else looks after.
    pub ignored: BTreeSet<String>,
    /// The part before the `/`.
    pub ignored_groups: BTreeSet<String>,
    pub strategy: Strategy,
    /// Resources that count, by weight.
    pub resources: Vec<(String, i64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    Least,
    Most,
    /// Points (0…100) by use in percent, straight between.
    Ratio(Vec<(i64, i64)>),
}

/// Topology spread constraints of pods that have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Their selector is empty here; it is found for each pod.
    pub constraints: Vec<Spread>,
    /// The built-in ones, which hold on nodes without their labels too.
    pub is_system: bool,
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            name: "default-scheduler".into(),
            number: 0,
            percentage: None,
            filters: FILTERS.iter().collect(),
            scores: SCORES.iter().map(|score| (score, score.weight)).collect(),
            preempts: true,
            preemption: Candidates { percentage: 10, absolute: 100 },
            fit: Fit::default(),
            balanced: vec!["cpu".into(), "memory".into()],
            spread: Defaults::default(),
            hard_affinity_weight: 1,
            ignores_wishes_of_others: false,
            added_terms: None,
            added_wishes: Vec::new(),
        }
    }
}

impl Profile {
    pub fn has_filter(&self, name: &str) -> bool {
        self.filters.iter().any(|filter| filter.name == name)
    }
}

impl Default for Fit {
    fn default() -> Fit {
        let resources = vec![("cpu".into(), 1), ("memory".into(), 1)];
        Fit { ignored: BTreeSet::new(), ignored_groups: BTreeSet::new(), strategy: Strategy::Least, resources }
    }
}

impl Fit {
    /// Only extended resources can be ignored: those with a domain of their own.
    pub fn ignores(&self, resource: &str) -> bool {
        let Some((group, _)) = resource.split_once('/') else { return false };
        !resource.contains("kubernetes.io/") && (self.ignored.contains(resource) || self.ignored_groups.contains(group))
    }
}

impl Default for Defaults {
    fn default() -> Defaults {
        let soft = |topology: &str, max_skew| Spread { max_skew, topology: topology.into(), ..Spread::default() };
        let constraints = vec![soft("kubernetes.io/hostname", 3), soft("topology.kubernetes.io/zone", 5)];
        Defaults { constraints, is_system: true }
    }
}

impl Defaults {
    pub fn of(&self, selector: &Labels) -> Vec<Spread> {
        let with = |c: &Spread| Spread { selector: selector.clone(), ..c.clone() };
        self.constraints.iter().map(with).collect()
    }
}
