//! `pluginConfig`: the arguments of the plugins that have some.

use std::collections::{BTreeMap, BTreeSet};

use api::names;

use super::fields::Fields;
use super::plugins::points_of;
use crate::pod::{NodeTerm, Spread};
use crate::profile::{Candidates, Defaults, Profile, Strategy};

type Read = fn(&Fields<'_>, &mut Profile) -> Result<(), String>;

const ARGS: &[(&str, Read)] = &[
    ("DefaultPreemption", preemption),
    ("InterPodAffinity", pod_affinity),
    ("NodeAffinity", node_affinity),
    ("NodeResourcesBalancedAllocation", balanced),
    ("NodeResourcesFit", fit),
    ("PodTopologySpread", spread),
];

/// Reads `pluginConfig` of a profile.
pub fn read(profile: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for config in profile.objects("pluginConfig")? {
        let name = config.text("name")?;
        if !seen.insert(name.to_string()) {
            return Err(format!("{}: Duplicate value: {name:?}", config.at("name")));
        }
        let args = config.object("args")?;
        let Some((_, read)) = ARGS.iter().find(|(known, _)| *known == name) else {
            return Err(match points_of(name) {
                None => format!("{}: {name:?}: there is no such plugin", config.at("name")),
                Some([]) => format!("{}: refused: {name} is not built", config.at("name")),
                Some(_) => format!("{}: {name} has no arguments", config.at("args")),
            });
        };
        let (version, kind) = (args.text("apiVersion")?, args.text("kind")?);
        if !(version.is_empty() || version == super::API_VERSION) || !(kind.is_empty() || kind == format!("{name}Args"))
        {
            return Err(format!("{}: expected {}, {name}Args", config.at("args"), super::API_VERSION));
        }
        read(&args, into)?;
        args.done()?;
        config.done()?;
    }
    Ok(())
}

fn preemption(args: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let percentage = args.int("minCandidateNodesPercentage")?.unwrap_or(10);
    let absolute = args.int("minCandidateNodesAbsolute")?.unwrap_or(100);
    if !(0..=100).contains(&percentage) {
        return Err(args.invalid("minCandidateNodesPercentage", percentage, "not in valid range [0, 100]"));
    }
    if absolute < 0 {
        return Err(args.invalid("minCandidateNodesAbsolute", absolute, "not in valid range [0, inf)"));
    }
    if percentage == 0 && absolute == 0 {
        let why = "cannot be zero at the same time as minCandidateNodesAbsolute";
        return Err(args.invalid("minCandidateNodesPercentage", percentage, why));
    }
    into.preemption = Candidates { percentage: percentage as usize, absolute: absolute as usize };
    Ok(())
}

fn pod_affinity(args: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let weight = args.int("hardPodAffinityWeight")?.unwrap_or(1);
    if !(0..=100).contains(&weight) {
        return Err(args.invalid("hardPodAffinityWeight", weight, "not in valid range [0, 100]"));
    }
    into.hard_affinity_weight = weight;
    into.ignores_wishes_of_others = args.flag("ignorePreferredTermsOfExistingPods")?.unwrap_or(false);
    Ok(())
}

fn node_affinity(args: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let Some(added) = args.get("addedAffinity") else { return Ok(()) };
    let of = args.object("addedAffinity")?;
    if of.get("requiredDuringSchedulingIgnoredDuringExecution").is_some() {
        let required = of.object("requiredDuringSchedulingIgnoredDuringExecution")?;
        let terms = required.objects("nodeSelectorTerms")?;
        if terms.is_empty() {
            return Err(format!("{}: Required value", required.at("nodeSelectorTerms")));
        }
        terms.iter().try_for_each(term)?;
        required.done()?;
    }
    for wish in of.objects("preferredDuringSchedulingIgnoredDuringExecution")? {
        let weight = wish.int("weight")?.unwrap_or(0);
        if !(1..=100).contains(&weight) {
            return Err(wish.invalid("weight", weight, "must be in the range 1-100"));
        }
        term(&wish.object("preference")?)?;
        wish.done()?;
    }
    of.done()?;
    (into.added_terms, into.added_wishes) = (NodeTerm::required(added), NodeTerm::preferred(added));
    Ok(())
}

/// A node selector term: its requirements can be read.
fn term(term: &Fields<'_>) -> Result<(), String> {
    for list in ["matchExpressions", "matchFields"] {
        for requirement in term.objects(list)? {
            let key = requirement.text("key")?;
            let values = requirement.texts("values")?;
            let operator = requirement.text("operator")?;
            let number = |text: &&str| text.parse::<i64>().is_ok();
            let fits = match operator {
                "In" | "NotIn" => !values.is_empty(),
                "Exists" | "DoesNotExist" => values.is_empty(),
                "Gt" | "Lt" => values.len() == 1 && values.iter().all(number),
                _ => return Err(requirement.invalid("operator", operator, "not a valid selector operator")),
            };
            if !fits {
                return Err(requirement.invalid("values", format!("{values:?}"), "not what the operator takes"));
            }
            let is_field = list == "matchFields";
            if is_field && (key != "metadata.name" || !matches!(operator, "In" | "NotIn") || values.len() != 1) {
                let why = "of fields only metadata.name is In or NotIn one value";
                return Err(requirement.invalid("key", key, why));
            }
            if let Some(why) = names::qualified(key).first().filter(|_| !is_field) {
                return Err(requirement.invalid("key", key, why));
            }
            requirement.done()?;
        }
    }
    term.done()
}

fn balanced(args: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let mut resources: Vec<String> = Vec::new();
    for resource in args.objects("resources")? {
        let name = resource.text("name")?;
        let weight = resource.int("weight")?.unwrap_or(0);
        resource.done()?;
        if !matches!(weight, 0 | 1) {
            return Err(resource.invalid("weight", weight, "must be 1"));
        }
        if resources.iter().any(|known| known == name) {
            return Err(format!("{}: Duplicate value: {name:?}", resource.at("name")));
        }
        resources.push(name.into());
    }
    if !resources.is_empty() {
        into.balanced = resources;
    }
    Ok(())
}

fn fit(args: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let fit = &mut into.fit;
    for (index, name) in args.texts("ignoredResources")?.into_iter().enumerate() {
        if let Some(why) = names::qualified(name).first() {
            return Err(args.invalid(&format!("ignoredResources[{index}]"), name, why));
        }
        fit.ignored.insert(name.into());
    }
    for (index, group) in args.texts("ignoredResourceGroups")?.into_iter().enumerate() {
        let at = format!("ignoredResourceGroups[{index}]");
        if group.contains('/') {
            return Err(args.invalid(&at, group, "resource group name can't contain '/'"));
        }
        if let Some(why) = names::qualified(group).first() {
            return Err(args.invalid(&at, group, why));
        }
        fit.ignored_groups.insert(group.into());
    }
    if args.get("scoringStrategy").is_none() {
        return Ok(());
    }
    let strategy = args.object("scoringStrategy")?;
    let mut resources = Vec::new();
    for resource in strategy.objects("resources")? {
        let name = resource.text("name")?;
        let weight = match resource.int("weight")?.unwrap_or(0) {
            0 => 1,
            weight => weight,
        };
        resource.done()?;
        if !(1..=100).contains(&weight) {
            let why = format!("resource weight of {name} not in valid range (0, 100]");
            return Err(resource.invalid("weight", weight, &why));
        }
        resources.push((name.to_string(), weight));
    }
    if !resources.is_empty() {
        fit.resources = resources;
    }
    let has_ratio = strategy.get("requestedToCapacityRatio").is_some();
    let of = strategy.object("requestedToCapacityRatio")?;
    fit.strategy = match (strategy.text("type")?, has_ratio) {
        ("LeastAllocated", false) => Strategy::Least,
        ("MostAllocated", false) => Strategy::Most,
        ("RequestedToCapacityRatio", true) => Strategy::Ratio(shape(&of)?),
        ("RequestedToCapacityRatio", false) => {
            return Err(format!("{}: Required value", strategy.at("requestedToCapacityRatio")));
        }
        ("LeastAllocated" | "MostAllocated", true) => {
            let at = strategy.at("requestedToCapacityRatio");
            return Err(format!("{at}: Forbidden: must be nil when type is not RequestedToCapacityRatio"));
        }
        (other, _) => {
            let why = "supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"";
            return Err(strategy.invalid("type", format!("{other:?}"), why));
        }
    };
    of.done()?;
    strategy.done()
}

/// Points of 0…100 of scores of 0…10.
fn shape(ratio: &Fields<'_>) -> Result<Vec<(i64, i64)>, String> {
    let mut points: Vec<(i64, i64)> = Vec::new();
    for point in ratio.objects("shape")? {
        let (at, score) = (point.int("utilization")?.unwrap_or(0), point.int("score")?.unwrap_or(0));
        if points.last().is_some_and(|(before, _)| *before >= at) {
            return Err(point.invalid("utilization", at, "values must be sorted in increasing order"));
        }
        for (field, value, most) in [("utilization", at, 100), ("score", score, 10)] {
            if !(0..=most).contains(&value) {
                return Err(point.invalid(field, value, &format!("not in valid range [0, {most}]")));
            }
        }
        point.done()?;
        points.push((at, score * 10));
    }
    if points.is_empty() {
        return Err(format!("{}: Required value: at least one point must be specified", ratio.at("shape")));
    }
    Ok(points)
}

fn spread(args: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let constraints = args.objects("defaultConstraints")?;
    let is_system = match args.text("defaultingType")? {
        "" | "System" => true,
        "List" => false,
        other => return Err(args.invalid("defaultingType", other, "supported values: \"System\", \"List\"")),
    };
    if is_system {
        match constraints.is_empty() {
            true => return Ok(()),
            false => return Err(args.invalid("defaultingType", "System", "when .defaultConstraints are not empty")),
        }
    }
    let mut defaults: Vec<Spread> = Vec::new();
    for (constraint, value) in constraints.iter().zip(args.list("defaultConstraints")?) {
        let skew = constraint.int("maxSkew")?.unwrap_or(0);
        if skew <= 0 {
            return Err(constraint.invalid("maxSkew", skew, "not in valid range (0, inf)"));
        }
        let key = constraint.text("topologyKey")?;
        if let Some(why) = names::qualified(key).first() {
            return Err(constraint.invalid("topologyKey", format!("{key:?}"), why));
        }
        if !matches!(constraint.text("whenUnsatisfiable")?, "DoNotSchedule" | "ScheduleAnyway") {
            return Err(format!("{}: expected DoNotSchedule or ScheduleAnyway", constraint.at("whenUnsatisfiable")));
        }
        for field in ["labelSelector", "matchLabelKeys"] {
            constraint.refuse(field, "constraint must not define a selector, as they deduced for each pod")?;
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if !matches!(constraint.text(field)?, "" | "Honor" | "Ignore") {
                return Err(format!("{}: expected Honor or Ignore", constraint.at(field)));
            }
        }
        constraint.int("minDomains")?;
        constraint.done()?;
        let default = Spread::read(value, &BTreeMap::new());
        if defaults.iter().any(|known| known.topology == default.topology && known.hard == default.hard) {
            return Err(format!("{}: Duplicate value: {key:?}", constraint.at("topologyKey")));
        }
        defaults.push(default);
    }
    into.spread = Defaults { constraints: defaults, is_system: false };
    Ok(())
}
