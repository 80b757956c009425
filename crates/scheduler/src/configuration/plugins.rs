//! Which plugins run at which extension point, and with what weight.

use std::collections::BTreeMap;

use super::fields::Fields;
use crate::filters::{FILTERS, Filter};
use crate::profile::Profile;
use crate::scores::SCORES;

/// Upstream's default plugins in their order, with the points that they extend; those without points are not built.
/// No pod that needs one of these gets here.
const PLUGINS: &[(&str, &[&str])] = &[
    ("SchedulingGates", &["preEnqueue"]),
    ("PrioritySort", &["queueSort"]),
    ("NodeName", &["filter"]),
    ("NodeUnschedulable", &["filter"]),
    ("TaintToleration", &["filter", "preScore", "score"]),
    ("NodeAffinity", &["preFilter", "filter", "preScore", "score"]),
    ("NodePorts", &["preFilter", "filter"]),
    ("NodeResourcesFit", &["preFilter", "filter", "preScore", "score"]),
    ("VolumeRestrictions", &[]),
    ("NodeVolumeLimits", &[]),
    ("VolumeBinding", &[]),
    ("VolumeZone", &[]),
    ("PodTopologySpread", &["preFilter", "filter", "preScore", "score"]),
    ("InterPodAffinity", &["preFilter", "filter", "preScore", "score"]),
    ("DynamicResources", &[]),
    ("DefaultPreemption", &["postFilter"]),
    ("NodeResourcesBalancedAllocation", &["preScore", "score"]),
    ("ImageLocality", &["score"]),
    ("DefaultBinder", &["bind"]),
    ("NodeDeclaredFeatures", &[]),
];

const POINTS: &[&str] = &[
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "placementGenerate",
    "placementScore",
    "podGroupPostFilter",
];

/// A plugin and the weight that is given for it; 0: none is.
type Weighted = (&'static str, i64);

/// What one point says.
#[derive(Default)]
struct Set {
    enabled: Vec<Weighted>,
    disabled: Vec<String>,
}

/// The points that a plugin extends; None: there is no such plugin.
pub fn points_of(name: &str) -> Option<&'static [&'static str]> {
    PLUGINS.iter().find(|(known, _)| *known == name).map(|(_, points)| *points)
}

/// Reads `plugins` of a profile.
pub fn read(profile: &Fields<'_>, into: &mut Profile) -> Result<(), String> {
    let fields = profile.object("plugins")?;
    let everywhere = merged(Set::read(&fields, "multiPoint")?);
    let mut chosen = BTreeMap::new();
    for point in POINTS {
        chosen.insert(*point, expanded(point, &everywhere, Set::read(&fields, point)?));
    }
    fields.done()?;
    let has = |point: &str, name: &str| chosen[point].iter().any(|(chosen, _)| *chosen == name);
    for (point, name) in [("preEnqueue", "SchedulingGates"), ("queueSort", "PrioritySort"), ("bind", "DefaultBinder")] {
        if !has(point, name) {
            return Err(format!("{}: refused: without {name} no pod would be scheduled rightly", fields.at(point)));
        }
    }
    for (before, point) in [("preFilter", "filter"), ("preScore", "score")] {
        for (name, _) in &chosen[point] {
            let extends = points_of(name).unwrap_or_default();
            if extends.contains(&before) && !has(before, name) {
                let at = fields.at(before);
                return Err(format!("{at}: refused: {name} is disabled there and not in {point}, which needs it"));
            }
        }
    }
    let named = |name: &'static str| FILTERS.iter().filter(move |filter| filter.name == name);
    let mut filters: Vec<&'static Filter> = chosen["filter"].iter().flat_map(|(name, _)| named(name)).collect();
    // Nodes that are not asked for by name are out before any filter looks at them.
    filters.sort_by_key(|filter| !std::ptr::eq(*filter, &FILTERS[0]));
    into.filters = filters;
    let scores = chosen["score"].iter().filter_map(|(name, weight)| {
        let score = SCORES.iter().find(|score| score.name == *name)?;
        Some((score, (*weight).max(1)))
    });
    into.scores = scores.collect();
    into.preempts = has("postFilter", "DefaultPreemption");
    Ok(())
}

impl Set {
    fn read(fields: &Fields<'_>, point: &str) -> Result<Set, String> {
        let of = fields.object(point)?;
        let mut set = Set::default();
        for plugin in of.objects("enabled")? {
            let name = plugin.text("name")?;
            let weight = plugin.int("weight")?.unwrap_or(0);
            plugin.done()?;
            let at = plugin.at("name");
            let Some((name, points)) = PLUGINS.iter().find(|(known, _)| *known == name) else {
                return Err(format!("{at}: {name:?}: there is no such plugin"));
            };
            if points.is_empty() {
                return Err(format!("{at}: refused: {name} is not built"));
            }
            if point != "multiPoint" && !points.contains(&point) {
                return Err(format!("{at}: plugin {name:?} does not extend {point} plugin"));
            }
            if set.enabled.iter().any(|(known, _)| known == name) {
                return Err(format!("{at}: Duplicate value: {name:?}"));
            }
            if weight < 0 || (weight > 0 && point != "multiPoint" && point != "score") {
                return Err(plugin.invalid("weight", weight, "only scores have one, which is positive"));
            }
            set.enabled.push((name, weight));
        }
        for plugin in of.objects("disabled")? {
            let name = plugin.text("name")?;
            plugin.refuse("weight", "what is disabled has none")?;
            plugin.done()?;
            if name != "*" && points_of(name).is_none() {
                return Err(format!("{}: {name:?}: there is no such plugin", plugin.at("name")));
            }
            set.disabled.push(name.into());
        }
        of.done()?;
        Ok(set)
    }

    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|disabled| disabled == "*" || disabled == name)
    }
}

/// The default plugins with what `multiPoint` changes of them (mergePluginSet).
fn merged(custom: Set) -> Vec<Weighted> {
    let weight = |name: &str| SCORES.iter().find(|score| score.name == name).map_or(0, |score| score.weight);
    let given = |name: &str| custom.enabled.iter().find(|(known, _)| *known == name).copied();
    let defaults = PLUGINS.iter().map(|(name, _)| *name).filter(|name| !custom.disables(name));
    let mut all: Vec<Weighted> = defaults.map(|name| given(name).unwrap_or((name, weight(name)))).collect();
    let more: Vec<Weighted> =
        custom.enabled.iter().filter(|(name, _)| !all.iter().any(|(known, _)| known == name)).copied().collect();
    all.extend(more);
    all
}

/// What runs at a point: first what is named for the point and everywhere, then what is only everywhere, then what is
/// only for the point (expandMultiPointPlugins).
fn expanded(point: &str, everywhere: &[Weighted], set: Set) -> Vec<Weighted> {
    let extends = |name: &str| points_of(name).is_some_and(|points| points.contains(&point));
    let given = |name: &str| set.enabled.iter().find(|(known, _)| *known == name);
    let here: Vec<&Weighted> = everywhere.iter().filter(|(name, _)| extends(name) && !set.disables(name)).collect();
    let both = here.iter().filter_map(|(name, _)| given(name));
    let mut all: Vec<Weighted> = both.copied().collect();
    all.extend(here.iter().filter(|(name, _)| given(name).is_none()).map(|plugin| **plugin));
    let more: Vec<Weighted> =
        set.enabled.iter().filter(|(name, _)| !all.iter().any(|(known, _)| known == name)).copied().collect();
    all.extend(more);
    all
}
