use super::*;
use crate::tests::{kind, told};

fn cidr(ranges: &[&str]) -> Value {
    json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": {"cidrs": ranges}})
}

#[test]
fn ranges_are_one_of_a_family() {
    let judged = |ranges: &[&str]| told(&kind("servicecidrs").validate(&cidr(ranges), None, &Context::default()));
    assert_eq!(judged(&["10.0.0.0/16", "fd00::/112"]), [""; 0]);
    assert_eq!(judged(&[]), ["spec.cidrs: Required value: at least one CIDR required"]);
    assert_eq!(
        judged(&["a", "b", "c"]),
        [r#"spec.cidrs: Invalid value: {"CIDRs":["a","b","c"]}: may only hold up to 2 values"#]
    );
    assert_eq!(
        judged(&["10.0.0.0/16", "10.1.0.0/16"]),
        ["spec.cidrs: Invalid value: [\"10.0.0.0/16\",\"10.1.0.0/16\"]: may specify no more than one IP for each IP \
             family, i.e 192.168.0.0/24 and 2001:db8::/64"]
    );
    assert_eq!(
        judged(&["fd00:0::/112"]),
        ["spec.cidrs[0]: Invalid value: \"fd00:0::/112\": must be in canonical form (\"fd00::/112\")"]
    );
}

#[test]
fn a_range_stays_and_another_family_may_come() {
    let kind = kind("servicecidrs");
    let changed = |was: &[&str], now: &[&str]| told(&kind.validate(&cidr(now), Some(&cidr(was)), &Context::default()));
    assert_eq!(changed(&["10.0.0.0/16"], &["10.0.0.0/16", "fd00::/112"]), [""; 0]);
    assert_eq!(
        changed(&["10.0.0.0/16"], &["10.1.0.0/16"]),
        ["spec.cidrs[0]: Invalid value: \"10.1.0.0/16\": field is immutable"]
    );
    assert_eq!(
        changed(&["10.0.0.0/16", "fd00::/112"], &["10.0.0.0/16"]),
        ["spec.cidrs: Invalid value: [\"10.0.0.0/16\"]: field is immutable"]
    );
    assert_eq!(changed(&["10.0.0.0/16"], &["10.0.0.0/16", "10.1.0.0/16"]).len(), 1);
}
