use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::*;

#[test]
fn folder_has_no_name_before_it_is_complete() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("scratch");
    let group = Some(nix::unistd::getegid().as_raw());
    // What it is made under cannot be made: as if the agent were killed there.
    fs::write(parent.path().join(".scratch"), "").unwrap();
    set_up(&folder, &Pod::default(), &EmptyDirVolumeSource::default(), group).unwrap_err();
    assert!(!folder.exists());
    // The next agent finds it half made.
    fs::remove_file(parent.path().join(".scratch")).unwrap();
    fs::create_dir(parent.path().join(".scratch")).unwrap();
    set_up(&folder, &Pod::default(), &EmptyDirVolumeSource::default(), group).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o2777);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn mount_is_the_groups_from_the_first_moment() {
    assert_eq!(options(0o777, None, None), "mode=0777");
    assert_eq!(options(0o1777, Some(("size", 4096)), Some(1000)), "mode=3777,gid=1000,size=4096");
}

#[test]
fn huge_pages_are_of_a_size_that_the_pod_asks_for() {
    let of = |medium: &str, sizes: &[&str]| {
        let requests: BTreeMap<String, &str> = sizes.iter().map(|size| (format!("hugepages-{size}"), "1Gi")).collect();
        let containers = json!([{"name": "c", "resources": {"requests": requests}}]);
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap();
        page_size(&pod, medium)
    };
    assert_eq!(of("HugePages", &["2Mi"]), Ok(2 << 20));
    assert_eq!(of("HugePages-1Gi", &["2Mi", "1Gi"]), Ok(1 << 30));
    let several = "medium: HugePages can't be used if container requests multiple huge page sizes";
    assert_eq!(of("HugePages", &["2Mi", "1Gi"]), Err(several.into()));
    for (medium, sizes) in [("HugePages", &[][..]), ("HugePages-1Gi", &["2Mi"])] {
        let none =
            format!("medium {medium}: hugePages storage requested, but there is no resource request for huge pages");
        assert_eq!(of(medium, sizes), Err(none));
    }
}
