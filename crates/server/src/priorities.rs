//! In which order groups and their versions are listed, by upstream's numbers.
//!
//! cmd/kube-apiserver/app/aggregator.go, pkg/controlplane/apiserver/aggregator.go. The registration of
//! services has no number there: it is always listed first.

/// The group that is always listed first, and in which nothing registers it.
pub const REGISTRATION: &str = "apiregistration.k8s.io";

/// A group, its number, and the numbers of its versions.
type Group = (&'static str, i64, &'static [(&'static str, i64)]);

static GROUPS: &[Group] = &[
    ("", 18000, &[("v1", 1)]),
    ("apps", 17800, V1),
    ("events.k8s.io", 17750, V1),
    ("authentication.k8s.io", 17700, V1),
    ("authorization.k8s.io", 17600, V1),
    ("autoscaling", 17500, &[("v2", 30), ("v1", 15)]),
    ("batch", 17400, V1),
    ("certificates.k8s.io", 17300, V1),
    ("networking.k8s.io", 17200, V1),
    ("policy", 17100, V1),
    ("rbac.authorization.k8s.io", 17000, V1),
    ("storage.k8s.io", 16800, V1),
    ("admissionregistration.k8s.io", 16700, V1),
    ("apiextensions.k8s.io", 16700, V1),
    ("scheduling.k8s.io", 16600, V1),
    ("coordination.k8s.io", 16500, V1),
    ("node.k8s.io", 16300, V1),
    ("discovery.k8s.io", 16200, V1),
    ("resource.k8s.io", 16200, &[("v1", 21)]),
    ("flowcontrol.apiserver.k8s.io", 16100, &[("v1", 21)]),
    ("storagemigration.k8s.io", 15800, V1),
    // As metrics-server registers it.
    ("metrics.k8s.io", 100, &[("v1beta1", 100)]),
];

const V1: &[(&str, i64)] = &[("v1", 15)];

/// Those of a group and of its version; None if upstream registers no such version.
pub fn of(group: &str, version: &str) -> Option<(i64, i64)> {
    let (_, number, versions) = GROUPS.iter().find(|(name, ..)| *name == group)?;
    let (_, of_version) = versions.iter().find(|(name, _)| *name == version)?;
    Some((*number, *of_version))
}

/// What groups are sorted by: those without a number come last, by name.
pub fn rank(group: &str) -> usize {
    let position = |name: &str| GROUPS.iter().position(|(known, ..)| *known == name);
    match group {
        "" => 0,
        REGISTRATION => 1,
        _ => position(group).map_or(usize::MAX, |position| position + 1),
    }
}
