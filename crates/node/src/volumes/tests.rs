//! Volumes on a real disk; mounts only in a namespace of the test's own (crate tests of the agent).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::view::Pod;
use runtime::MountSource;
use runtime::removal;
use serde_json::{Value, json};

use super::atomic::{self, Contents};
use super::*;
use crate::config::Config;
use crate::downward::Facts;
use crate::sources::Fixed;

fn now(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn pod(volumes: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "shop", "uid": "u1", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c"}], "volumes": volumes}}))
    .unwrap()
}

fn sources(color: &str) -> Fixed {
    let mut sources = Fixed::default();
    let config = json!({"data": {"color": color}, "binaryData": {"raw": "AAE="}});
    sources.config_maps.insert(("shop".into(), "config".into()), serde_json::from_value(config).unwrap());
    sources
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn open(root: &Path, sources: Fixed) -> Volumes {
    // Without root nothing can be mounted: the memory volumes of these tests stay on the disk.
    let (disk, memory) = (root.join("pods"), root.join("memory"));
    fs::create_dir_all(&disk).unwrap();
    fs::create_dir_all(&memory).unwrap();
    let shares = Shares::new(root.join("shares"));
    let (sources, clock) = (Arc::new(sources), Arc::new(|| now(0)));
    Volumes { disk, memory, projected: 64 << 10, sources, clock, plugins: PLUGINS, shares }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_configmap_becomes_files_behind_links_and_follows_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let pod = pod(json!([{"name": "v", "configMap": {"name": "config", "defaultMode": 0o400,
        "items": [{"key": "color", "path": "deep/er", "mode": 0o640}, {"key": "raw", "path": "raw"}]}}]));
    let volumes = open(folder.path(), sources("red"));
    let mounted = block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
    let MountSource::Host(at) = &mounted["v"].source else { panic!("{mounted:?}") };
    assert!(mounted["v"].read_only);
    assert_eq!(fs::read_to_string(at.join("deep/er")).unwrap(), "red");
    assert_eq!(fs::read(at.join("raw")).unwrap(), [0, 1]);
    assert_eq!((mode(&at.join("deep/er")), mode(&at.join("raw"))), (0o640, 0o400));
    assert_eq!(fs::read_link(at.join("deep")).unwrap(), Path::new("..data/deep"));
    assert!(!block_on(volumes.refresh(&pod, &Facts::default())).unwrap(), "nothing changed");

    let later = Volumes { clock: Arc::new(|| now(1)), ..open(folder.path(), sources("blue")) };
    assert!(block_on(later.refresh(&pod, &Facts::default())).unwrap());
    assert_eq!(fs::read_to_string(at.join("deep/er")).unwrap(), "blue");
    let folders = fs::read_dir(at).unwrap().filter(|f| f.as_ref().unwrap().file_type().unwrap().is_dir()).count();
    assert_eq!(folders, 1, "the old folder is gone");

    block_on(volumes.tear_down("u1")).unwrap();
    assert_eq!(volumes.left().unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_missing_is_named_unless_it_is_optional() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = open(folder.path(), sources("red"));
    let error = |source: Value| {
        let mut volume = source;
        volume["name"] = json!("v");
        block_on(volumes.prepare(&pod(json!([volume])), &Facts::default())).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(
        error(json!({"configMap": {"name": "none"}})).unwrap_err(),
        "MountVolume.SetUp failed for volume \"v\" : configmap \"none\" not found"
    );
    assert_eq!(
        error(json!({"configMap": {"name": "config", "items": [{"key": "no", "path": "no"}]}})).unwrap_err(),
        "MountVolume.SetUp failed for volume \"v\" : configmap references non-existent config key: no"
    );
    assert_eq!(
        error(json!({"secret": {"secretName": "none"}})).unwrap_err(),
        "MountVolume.SetUp failed for volume \"v\" : secret \"none\" not found"
    );
    let (file, path) = (folder.path().join("file"), folder.path().display());
    fs::write(&file, "").unwrap();
    let none = "unable to determine its type: path \"/nowhere\" does not exist";
    for (at, kind, why) in [
        ("/nowhere", "Directory", format!(", /nowhere is not a directory, {none}")),
        ("/nowhere", "Socket", format!(", /nowhere is not a socket file, {none}")),
        (file.to_str().unwrap(), "Directory", format!(": {path}/file is not a directory, it's a File")),
        (file.to_str().unwrap(), "DirectoryOrCreate", format!(": {path}/file is not a directory, it's a File")),
        (file.to_str().unwrap(), "BlockDevice", format!(": {path}/file is not a block device, it's a File")),
        ("/proc", "File", ": /proc is not a file, it's a Directory".into()),
        ("/proc", "FileOrCreate", ": /proc is not a file, it's a Directory".into()),
        ("/dev/null", "Socket", ": /dev/null is not a socket file, it's a CharDevice".into()),
        ("/proc", "CharDevice", ": /proc is not a character device, it's a Directory".into()),
    ] {
        let refused = error(json!({"hostPath": {"path": at, "type": kind}})).unwrap_err();
        let text = format!("MountVolume.SetUp failed for volume \"v\" : hostPath type check failed{why}");
        assert_eq!(refused, text);
    }
    error(json!({"hostPath": {"path": "/dev/null", "type": "CharDevice"}})).unwrap();
    error(json!({"secret": {"secretName": "none", "optional": true}})).unwrap();
    error(json!({"hostPath": {"path": "/nowhere"}})).unwrap();
}

#[test]
fn an_empty_dir_is_open_to_all_and_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = open(folder.path(), Fixed::default());
    let pod = pod(json!([{"name": "scratch", "emptyDir": {}}]));
    let mounted = block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
    let MountSource::Host(at) = &mounted["scratch"].source else { panic!("{mounted:?}") };
    assert_eq!(mode(at), 0o777);
    fs::write(at.join("kept"), "x").unwrap();
    fs::set_permissions(at, fs::Permissions::from_mode(0o700)).unwrap();
    block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
    assert!(at.join("kept").exists());
    assert_eq!(mode(at), 0o700, "what a container made of it stays");
}

#[test]
fn a_projected_volume_joins_its_sources() {
    let projected = json!([{"name": "v", "projected": {"sources": [
        {"configMap": {"name": "config", "items": [{"key": "color", "path": "c"}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}}]);
    let pod = pod(projected);
    let folder = tempfile::tempdir().unwrap();
    let mounted = block_on(open(folder.path(), sources("red")).prepare(&pod, &Facts::default())).unwrap();
    let MountSource::Host(at) = &mounted["v"].source else { panic!("{mounted:?}") };
    let text = |name: &str| fs::read_to_string(at.join(name)).unwrap();
    assert_eq!((text("c"), text("labels")), ("red".to_string(), "a=\"b\"".to_string()));
    assert_eq!(text("token"), "token of shop/default for \"\"");
    assert_eq!(sources_of(&pod), [Source::config_map("config")]);
}

#[test]
fn anchors_and_certificates_are_files_of_a_projected_volume() {
    let anchor = |text: &str| kinds::certificates::x509::written("CERTIFICATE", text.into());
    let bundle = |name: &str, signer: &str, label: &str, anchors: String| {
        json!({"metadata": {"name": name, "labels": {"l": label}}, "spec": {"signerName": signer,
            "trustBundle": anchors}})
    };
    let bundles = vec![
        bundle("plain", "", "", format!("words\n{}", anchor("p"))),
        bundle("example.com:s:1", "example.com/s", "a", anchor("1") + &anchor("0")),
        bundle("example.com:s:2", "example.com/s", "b", anchor("2") + &anchor("1")),
        bundle("example.com:t:1", "example.com/t", "a", anchor("t")),
    ];
    let of = |source: Value| {
        let mut sources = vec![];
        for (key, value) in source.as_object().unwrap() {
            sources.push(json!({key: value}));
        }
        let pod = pod(json!([{"name": "v", "projected": {"sources": sources}}]));
        let folder = tempfile::tempdir().unwrap();
        let fixed = Fixed { bundles: bundles.clone(), ..Fixed::default() };
        let mounted = block_on(open(folder.path(), fixed).prepare(&pod, &Facts::default()));
        let mounted = mounted.map_err(|why| why.message)?;
        let MountSource::Host(at) = &mounted["v"].source else { panic!("{mounted:?}") };
        let text = |name: &str| fs::read_to_string(at.join(name)).unwrap_or_default();
        Ok::<_, String>(["t", "k", "c", "b"].map(text).join("|"))
    };
    let trust = |mut source: Value| {
        source["path"] = json!("t");
        of(json!({ "clusterTrustBundle": source })).map(|text| text.trim_end_matches('|').to_owned())
    };
    assert_eq!(trust(json!({"name": "plain"})), Ok(anchor("p")));
    let signer = |labels: Value| trust(json!({"signerName": "example.com/s", "labelSelector": labels}));
    assert_eq!(signer(json!({})), Ok(anchor("0") + &anchor("1") + &anchor("2")), "each once");
    assert_eq!(signer(json!({"matchLabels": {"l": "b"}})), Ok(anchor("1") + &anchor("2")));
    const NONE: &str = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
    assert_eq!(signer(json!({"matchLabels": {"l": "c"}})), Err(NONE.into()));
    assert_eq!(signer(Value::Null), Err(NONE.into()));
    assert_eq!(trust(json!({"signerName": "example.com/s", "optional": true})), Ok(String::new()));
    assert_eq!(
        trust(json!({"name": "gone"})),
        Err("while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"gone\" not found".into())
    );
    let certificate = json!({"signerName": "example.com/s", "keyType": "ED25519", "keyPath": "k",
        "certificateChainPath": "c", "credentialBundlePath": "b"});
    let (key, chain) = ("ED25519 key of v 0\n", "certificate of example.com/s for default\n");
    assert_eq!(of(json!({ "podCertificate": certificate })), Ok(format!("|{key}|{chain}|{key}{chain}")));
    let both = of(json!({"clusterTrustBundle": {"name": "plain", "path": "t"}, "podCertificate": certificate}));
    assert!(both.unwrap().contains("ED25519 key of v 1"), "each source has its own");
}

/// The runtime makes them for what is mounted below the volume.
#[test]
fn mount_points_in_a_volume_stay_and_no_file_takes_their_place_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let named = |names: &[&str]| {
        let one = |name: &&str| (name.to_string(), Contents { data: "x".into(), mode: 0o644, user: None });
        names.iter().map(one).collect()
    };
    atomic::write(at, &named(&["k", "gone"]), None, now(0)).unwrap();
    fs::create_dir(at.join("folder")).unwrap();
    fs::write(at.join("file"), "").unwrap();
    atomic::write(at, &named(&["k"]), None, now(1)).unwrap();
    assert!(at.join("folder").is_dir() && at.join("file").is_file() && !at.join("gone").exists());
    let taken = atomic::write(at, &named(&["k", "file"]), None, now(2)).unwrap_err().to_string();
    assert!(taken.contains("\"file\" is a mount point"), "{taken}");
}

#[test]
fn a_write_that_crashed_half_way_is_completed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let one =
        |text: &str| [("k".to_string(), Contents { data: text.into(), mode: 0o644, user: None })].into_iter().collect();
    atomic::write(at, &one("old"), None, now(0)).unwrap();
    fs::create_dir(at.join("..2027_01_01_00_00_00.000000001")).unwrap();
    std::os::unix::fs::symlink("..2027_01_01_00_00_00.000000001", at.join("..data_tmp")).unwrap();
    assert!(atomic::write(at, &one("new"), None, now(1)).unwrap());
    assert_eq!(fs::read_to_string(at.join("k")).unwrap(), "new");
    assert_eq!(fs::read_dir(at).unwrap().count(), 3, "the name, ..data and one folder");
}

/// Runs in a mount namespace of its own thread's, on a tmpfs; says so where it may not.
fn in_a_mount_namespace(name: &str, test: impl FnOnce(&Path) + Send + 'static) {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let ran = std::thread::spawn(move || {
        if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err() {
            return false;
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
        let folder = tempfile::tempdir().unwrap();
        mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64m")).unwrap();
        test(folder.path());
        umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
        true
    });
    if !ran.join().unwrap() {
        eprintln!("{name}: SKIPPED, it needs root");
        assert!(std::env::var_os("CI").is_none(), "{name} needs root");
    }
}

fn bind(from: &Path, to: &Path) {
    let none = None::<&str>;
    nix::mount::mount(Some(from), to, none, nix::mount::MsFlags::MS_BIND, none).unwrap();
}

/// A folder of the host's, as far as these tests go, reached by the data folder's other name.
fn precious_and_a_data_folder_by_a_link(root: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (precious, data) = (root.join("precious"), root.join("data"));
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("kept"), "kept").unwrap();
    fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink(root.join("real"), &data).unwrap();
    (precious, data)
}

#[test]
fn what_a_container_mounted_into_its_volume_outlives_the_pod_where_the_data_folder_is_a_link() {
    in_a_mount_namespace("volumes", |root| {
        let (precious, data) = precious_and_a_data_folder_by_a_link(root);
        let volumes = open(&data, Fixed::default());
        let pod = pod(json!([{"name": "shared", "emptyDir": {}}]));
        let mounted = block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
        let MountSource::Host(at) = &mounted["shared"].source else { panic!("{mounted:?}") };
        // As mountPropagation: Bidirectional spreads it to the host.
        for name in ["deep/er", "twice"] {
            fs::create_dir_all(at.join(name)).unwrap();
            bind(&precious, &at.join(name));
        }
        bind(&precious, &at.join("twice"));
        fs::write(at.join("file"), "").unwrap();
        bind(&precious.join("kept"), &at.join("file"));
        block_on(volumes.tear_down("u1")).unwrap();
        assert_eq!(fs::read_to_string(precious.join("kept")).unwrap(), "kept");
        assert_eq!(volumes.left().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn memory_is_given_back_where_the_data_folder_is_a_link() {
    in_a_mount_namespace("volumes", |root| {
        let (_, data) = precious_and_a_data_folder_by_a_link(root);
        let volumes = open(&data, Fixed::default());
        let pod = pod(json!([{"name": "fast", "emptyDir": {"medium": "Memory"}}]));
        let mounted = block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
        let MountSource::Host(at) = &mounted["fast"].source else { panic!("{mounted:?}") };
        fs::write(at.join("kept"), "x").unwrap();
        // A restarted agent finds it mounted, and does not mount another one over it.
        block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
        assert!(at.join("kept").exists());
        block_on(volumes.tear_down("u1")).unwrap();
        assert_eq!(volumes.left().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_mount_point_that_is_no_text_keeps_no_pod_from_its_volumes() {
    use std::os::unix::ffi::OsStrExt;
    in_a_mount_namespace("volumes", |root| {
        // Any local user makes one with fusermount.
        let odd = root.join(std::ffi::OsStr::from_bytes(b"odd \xff\xfe"));
        fs::create_dir(&odd).unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &odd, Some("tmpfs"), flags, Some("size=64k")).unwrap();
        // The table that a thread of another namespace must read is its own.
        let volumes = open(root, Fixed::default());
        let pod = pod(json!([{"name": "fast", "emptyDir": {"medium": "Memory"}}]));
        block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
        block_on(volumes.tear_down("u1")).unwrap();
        assert_eq!(volumes.left().unwrap(), Vec::<String>::new());
        assert!(odd.exists());
    });
}

#[test]
fn a_link_swapped_in_for_a_volume_is_removed_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (precious, _) = precious_and_a_data_folder_by_a_link(folder.path());
    let volumes = open(&folder.path().join("data"), Fixed::default());
    let pod = pod(json!([{"name": "a", "emptyDir": {}}]));
    let mounted = block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
    let MountSource::Host(at) = &mounted["a"].source else { panic!("{mounted:?}") };
    fs::create_dir(at.join("x")).unwrap();
    std::os::unix::fs::symlink(&precious, at.join("x/link")).unwrap();
    fs::rename(at, at.with_file_name("b")).unwrap();
    std::os::unix::fs::symlink(&precious, at).unwrap();
    block_on(volumes.tear_down("u1")).unwrap();
    assert_eq!(fs::read_to_string(precious.join("kept")).unwrap(), "kept");
    assert_eq!(volumes.left().unwrap(), Vec::<String>::new());
}

#[test]
fn volume_types_without_a_row_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = open(folder.path(), Fixed::default());
    for source in [
        json!({"nfs": {"server": "s", "path": "/"}}),
        json!({"persistentVolumeClaim": {"claimName": "c"}}),
        json!({"ephemeral": {}}),
        json!({}),
    ] {
        let mut volume = source;
        volume["name"] = json!("v");
        let refused = block_on(volumes.prepare(&pod(json!([volume])), &Facts::default())).unwrap_err();
        let why = "MountVolume.SetUp failed for volume \"v\" : this node does not support the volume's type";
        assert_eq!(refused.to_string(), why);
    }
}

#[test]
fn a_volume_of_a_driver_that_is_not_there_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pod = pod(json!([{"name": "v", "csi": {"driver": "acme.io"}}]));
    let refused = block_on(open(folder.path(), Fixed::default()).prepare(&pod, &Facts::default())).unwrap_err();
    let why = "MountVolume.SetUp failed for volume \"v\" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: \
               driver name acme.io not found in the list of registered CSI drivers";
    assert_eq!(refused.to_string(), why);
}

#[test]
fn rows_are_told_apart_by_their_names() {
    let names: std::collections::BTreeSet<&str> = PLUGINS.iter().map(|plugin| plugin.name).collect();
    assert_eq!(names.len(), PLUGINS.len());
    assert!(names.iter().all(|name| name.starts_with("kubernetes.io~")), "{names:?}");
}

#[test]
fn teardown_of_no_plain_uid_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (precious, _) = precious_and_a_data_folder_by_a_link(folder.path());
    let volumes = open(folder.path(), Fixed::default());
    for uid in ["..", ".", "", "../precious", "/", precious.to_str().unwrap()] {
        assert!(block_on(volumes.tear_down(uid)).is_err(), "{uid:?}");
        assert_eq!(fs::read_to_string(precious.join("kept")).unwrap(), "kept", "{uid:?}");
    }
}

#[test]
fn keys_and_paths_stay_inside_their_volume() {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let long = "x".repeat(256);
    for path in
        ["..", "../x", "a/../../x", "/x", "a//b", "a/./b", "..data", "..data/x", "", "a/", "a\0b", long.as_str()]
    {
        let files = [(path.to_owned(), Contents { data: b"x".to_vec(), mode: 0o644, user: None })].into();
        assert!(atomic::write(&volume, &files, None, now(0)).is_err(), "{path:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
}

/// As upstream's filepath.Clean; the API lets them pass.
#[test]
fn paths_that_only_need_tidying_are_tidied() {
    let root = tempfile::tempdir().unwrap();
    let volumes = open(root.path(), sources("red"));
    let item = |path: &str| json!({"key": "color", "path": path});
    let items = ["./a", "b//c", "b/./d", "e/", "a"].map(item);
    let pod = pod(json!([{"name": "v", "configMap": {"name": "config", "items": items}}]));
    let mounted = block_on(volumes.prepare(&pod, &Facts::default())).unwrap();
    let MountSource::Host(at) = &mounted["v"].source else { panic!("{mounted:?}") };
    for path in ["a", "b/c", "b/d", "e"] {
        assert_eq!(fs::read_to_string(at.join(path)).unwrap(), "red");
    }
    assert!(!block_on(volumes.refresh(&pod, &Facts::default())).unwrap(), "nothing changed");
}

/// A pod's manifest of some kilobytes may name an object of a megabyte thousands of times.
#[test]
fn the_files_of_a_pod_take_no_more_than_they_may_however_often_it_repeats_them() {
    let root = tempfile::tempdir().unwrap();
    let volumes = open(root.path(), sources(&"red".repeat(4096)));
    let item = |number: usize| json!({"key": "color", "path": number.to_string()});
    let items = |count: usize| json!((0..count).map(item).collect::<Vec<_>>());
    let one = |count| json!([{"name": "v", "configMap": {"name": "config", "items": items(count)}}]);
    let source = |_| json!({"configMap": {"name": "config", "items": items(1)}});
    let sources = |count: usize| json!((0..count).map(source).collect::<Vec<_>>());
    let projected = |count| json!([{"name": "v", "projected": {"sources": sources(count)}}]);
    let volume = |number| json!({"name": format!("v{number}"), "configMap": {"name": "config", "items": items(1)}});
    let many = |count: usize| json!((0..count).map(volume).collect::<Vec<_>>());
    // Of 64 KiB, 12 KiB and a page each.
    for shape in [&one as &dyn Fn(usize) -> Value, &projected, &many] {
        block_on(volumes.prepare(&pod(shape(4)), &Facts::default())).unwrap();
        for count in [5, 3000] {
            let refused = block_on(volumes.prepare(&pod(shape(count)), &Facts::default())).unwrap_err();
            assert!(refused.message.contains("take more than 65536 bytes (--pod-max-projected-bytes)"), "{refused}");
            assert!(block_on(volumes.refresh(&pod(shape(count)), &Facts::default())).is_err());
        }
    }
    let label = json!({"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}});
    let labels = json!([{"name": "v", "downwardAPI": {"items": vec![label; 3000]}}]);
    assert!(block_on(volumes.prepare(&pod(labels), &Facts::default())).is_err(), "a small file takes two pages");
}

#[test]
fn secrets_have_a_memory_of_their_own_which_a_restart_finds_again() {
    in_a_mount_namespace("volumes", |root| {
        let (data, run) = (root.join("d"), root.join("run"));
        let entropy: api::Entropy = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
        let mut config = Config::new("n", data, run.clone(), Arc::new(|| now(0)), entropy);
        config.secrets_apart = true;
        let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
        let volumes = Volumes::open(&config, Arc::new(Fixed::default())).unwrap();
        let (outside, inside) = (device(&run), device(&run.join("volumes")));
        assert_ne!(outside, inside, "on a tmpfs too");
        assert!((4 << 20..=64 << 20).contains(&volumes.projected), "{}", volumes.projected);
        Volumes::open(&config, Arc::new(Fixed::default())).unwrap();
        assert_eq!(device(&run.join("volumes")), inside);
        removal::detach_below(&run).unwrap();
        // What an earlier version wrote into the memory of others is not hidden.
        fs::create_dir(run.join("volumes/u1")).unwrap();
        Volumes::open(&config, Arc::new(Fixed::default())).unwrap();
        assert_eq!((device(&run.join("volumes")), volumes.left().unwrap()), (outside, vec!["u1".to_owned()]));
    });
}
