use super::*;

#[test]
fn the_table_is_read_whole() {
    let lines = include_str!("../defaults.txt").lines().filter(|line| !line.starts_with('#')).count();
    let of = |role: &Default| {
        let bound = role.subjects.as_ref().map_or(0, |subjects| subjects.len().max(1));
        1 + role.labels.len() + role.gathers.len() + role.rules.len() + bound
    };
    assert_eq!(TABLE.iter().map(of).sum::<usize>(), lines);
    let rules = || TABLE.iter().flat_map(|role| &role.rules);
    assert!(rules().all(|rule| rule.paths.iter().all(|path| path == "*" || path.starts_with('/'))));
    assert!(rules().all(|rule| rule.paths.is_empty() != rule.resources.is_empty()));
    assert!(rules().all(|rule| rule.api_groups.is_empty() == rule.resources.is_empty()));
    assert!(node_rules().len() > 20);
    // With what upstream has, and ours (bootstrappolicy/testdata counts them so).
    let objects: Vec<_> = TABLE.iter().flat_map(Default::objects).map(|(plural, ..)| plural).collect();
    let count = |plural: &str| objects.iter().filter(|of| **of == plural).count();
    let counts = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"].map(count);
    assert_eq!(counts, [73 + 8, 54 + 8, 7, 7]);
}
