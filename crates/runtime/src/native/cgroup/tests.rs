use super::*;

#[test]
fn shares_become_the_weights_that_upstream_writes() {
    let weights: Vec<u64> = [1, 2, 100, 1024, 2048, 10_000, 262_144, 300_000].map(weight_of).to_vec();
    assert_eq!(weights, [1, 1, 17, 100, 174, 627, 10_000, 10_000]);
}

#[test]
fn absent_limits_are_written_only_on_an_update() {
    let none = Resources::default();
    assert!(limits(&none, true, false).is_empty());
    let lifted: Vec<String> = limits(&none, false, true).into_iter().map(|(_, f, v)| format!("{f}={v}")).collect();
    assert_eq!(lifted, ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=-1", "memory.limit_in_bytes=-1", "pids.max=max"]);
}
