use std::sync::atomic::Ordering;

use super::*;
use crate::images::registries::Registries;

mod built;
pub mod fixtures;
mod hostile;
mod peer;
mod real;

use fixtures::{Archive, Sample, digest, gzip, is_root_or_skip, skip, tar_of};
use peer::Peer;

fn store() -> (tempfile::TempDir, Arc<ImagesStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = ImagesStore::open(dir.path()).unwrap();
    (dir, store)
}

fn quiet() -> Progress {
    Arc::new(|_, _| {})
}

fn reader(bytes: Vec<u8>) -> Reader {
    Box::new(std::io::Cursor::new(bytes))
}

async fn pull(store: &ImagesStore, name: &str) -> Result<Image> {
    Images::pull(store, name, vec![], quiet()).await
}

/// Names of what lies in the store's folders: layers and blobs.
fn inventory(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["layers", "blobs/sha256", "tmp"] {
        let entries = fs::read_dir(dir.join(folder)).unwrap();
        names.extend(entries.map(|e| format!("{folder}/{}", e.unwrap().file_name().display())));
    }
    names.sort();
    names
}

#[tokio::test]
async fn an_oci_layout_loads_from_tar_gzip_and_folder() {
    if !is_root_or_skip("an_oci_layout_loads_from_tar_gzip_and_folder") {
        return;
    }
    let sample = Sample::usual();
    let folder = tempfile::tempdir().unwrap();
    sample.write_layout(folder.path(), "docker.io/library/app:1");
    for form in 0..3 {
        let (dir, store) = store();
        let images = match form {
            0 => store.load(reader(tar_of(folder.path()))).await.unwrap(),
            1 => store.load(reader(gzip(&tar_of(folder.path())))).await.unwrap(),
            _ => store.load_folder(folder.path()).await.unwrap(),
        };
        let [image] = images.as_slice() else { panic!("{images:?}") };
        assert_eq!(image.id, sample.id());
        assert_eq!(image.tags, ["docker.io/library/app:1"]);
        assert_eq!(image.digests, [format!("docker.io/library/app@{}", sample.digest())]);
        assert_eq!((image.cmd[0].as_str(), image.stop_signal.as_str()), ("/bin/run", "SIGQUIT"));
        assert_eq!(image.env, [("A".into(), "b=c".into())]);
        assert!(image.preloaded && image.size > 0);
        let user = store.user("app:1", &image.user).await.unwrap();
        assert_eq!((user.uid, user.gid, user.groups.as_slice(), user.numeric), (7, 8, &[9][..], false));
        let roots = store.rootfs(&image.id).unwrap();
        assert_eq!(roots.len(), 2);
        assert!(roots[0].join("etc/group").is_symlink(), "the topmost comes first");
        assert_eq!(store.config(&image.id).unwrap()["os"], "linux");

        // The same after a restart, found by every name it has.
        drop(store);
        let store = ImagesStore::open(dir.path()).unwrap();
        let by_digest = format!("app@{}", sample.digest());
        for name in ["app:1", &sample.id(), sample.id().trim_start_matches("sha256:"), &by_digest] {
            assert_eq!(store.find(name).await.unwrap().map(|i| i.id), Some(sample.id()), "{name}");
        }
        assert!(store.find("app").await.unwrap().is_none(), "latest is another tag");
    }
}

#[tokio::test]
async fn a_docker_archive_loads_and_a_tag_moves() {
    if !is_root_or_skip("a_docker_archive_loads_and_a_tag_moves") {
        return;
    }
    let (_dir, store) = store();
    let old = Sample::usual();
    store.load(reader(old.docker_archive("app:latest"))).await.unwrap();
    let new = Sample::new(vec![old.layers[0].clone()]);
    let images = store.load(reader(zstd::encode_all(new.docker_archive("app:latest").as_slice(), 1).unwrap())).await;
    assert_eq!(images.unwrap()[0].tags, ["docker.io/library/app:latest"]);
    assert_eq!(store.find("app").await.unwrap().unwrap().id, new.id());
    assert!(store.find(&old.id()).await.unwrap().unwrap().tags.is_empty());
    assert_eq!(store.rootfs(&new.id()).unwrap()[0], store.rootfs(&old.id()).unwrap()[1], "layers are shared");
}

#[tokio::test]
async fn a_bad_archive_leaves_nothing_behind() {
    let (dir, store) = store();
    let refusal = async |bytes: Vec<u8>| store.load(reader(bytes)).await.unwrap_err().to_string();

    let evil = Sample::new(vec![Archive::new().raw_file(b"../../evil", b"x").bytes()]);
    assert!(refusal(evil.docker_archive("evil:1")).await.contains("leads outside the image's root"));

    let mut wrong = Sample::usual();
    wrong.layers[1] = Archive::new().file("other", b"x", 0o644, 0, 0).bytes();
    let text = refusal(wrong.docker_archive("wrong:1")).await;
    assert!(text.contains("its content has the digest"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let sample = Sample::usual();
    sample.write_layout(folder.path(), "x:1");
    let manifest = folder.path().join("blobs/sha256").join(sample.digest().trim_start_matches("sha256:"));
    fs::write(&manifest, [sample.manifest.as_slice(), b" "].concat()).unwrap();
    assert!(refusal(tar_of(folder.path())).await.contains("has the digest"));

    assert!(refusal(b"no tar at all".to_vec()).await.contains("reading the archive"));
    assert!(refusal(Archive::new().bytes()).await.contains("neither an OCI layout"));
    let whole = Sample::usual().docker_archive("x:1");
    assert!(!refusal(whole[..whole.len() / 2].to_vec()).await.is_empty());

    assert_eq!(inventory(dir.path()), Vec::<String>::new());
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_crash_leaves_is_gone_and_what_was_committed_is_there() {
    if !is_root_or_skip("what_a_crash_leaves_is_gone_and_what_was_committed_is_there") {
        return;
    }
    let (dir, store) = store();
    let sample = Sample::usual();
    store.load(reader(sample.docker_archive("app:1"))).await.unwrap();
    assert!(ImagesStore::open(dir.path()).is_err(), "two at once would harm each other");
    drop(store);
    fs::create_dir_all(dir.path().join("tmp/layerXYZ/fs")).unwrap();
    fs::create_dir_all(dir.path().join("layers").join("f".repeat(64))).unwrap();
    fs::write(dir.path().join(".tmpABC"), b"half an index").unwrap();
    let store = ImagesStore::open(dir.path()).unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert_eq!(store.collect(&BTreeSet::new()).unwrap(), 0);
    assert_eq!(inventory(dir.path()).iter().filter(|n| n.starts_with("layers/")).count(), 2);
}

#[tokio::test]
async fn images_go_when_unused_and_not_before() {
    if !is_root_or_skip("images_go_when_unused_and_not_before") {
        return;
    }
    let (dir, store) = store();
    let (one, two) = (Sample::usual(), Sample::new(vec![Sample::usual().layers[0].clone()]));
    store.load(reader(one.docker_archive("one:1"))).await.unwrap();
    store.load(reader(one.docker_archive("one:2"))).await.unwrap();
    store.load(reader(two.docker_archive("two:1"))).await.unwrap();
    store.remove("one:1").await.unwrap();
    assert!(store.find("one:2").await.unwrap().is_some(), "by one tag of two only the tag goes");
    let used = one.id();
    store.protect(Arc::new(move || BTreeSet::from([used.clone()])));
    assert_eq!(store.remove("one:2").await.unwrap_err().to_string(), "image one:2 is used by a container");
    assert!(store.collect(&BTreeSet::from([one.id(), two.id(), "sha256:unknown".into()])).unwrap() > 0);
    assert!(store.find("two:1").await.unwrap().is_none());
    assert_eq!(inventory(dir.path()).iter().filter(|n| n.starts_with("layers/")).count(), 2, "one still needs both");
    store.protect(Arc::new(BTreeSet::new));
    store.remove("one:2").await.unwrap();
    store.remove("one:2").await.unwrap();
    assert_eq!(inventory(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_pull_asks_for_a_token_resumes_and_verifies() {
    if !is_root_or_skip("a_pull_asks_for_a_token_resumes_and_verifies") {
        return;
    }
    let (dir, store) = store();
    let peer = Peer::start().await;
    let sample = Sample::usual();
    peer.publish("team/app", "1", &sample);
    *peer.password.lock().unwrap() = "YTpi".into();
    peer.cut.store(100, Ordering::SeqCst);
    let name = peer.name("team/app:1");

    let refused = pull(&store, &name).await.unwrap_err().to_string();
    assert!(refused.contains("pull access denied"), "{refused}");

    let wrong = Credential { username: "a".into(), password: "wrong".into(), ..Credential::default() };
    let registry = peer.address.lock().unwrap().clone();
    let right = Credential { registry, username: "a".into(), password: "b".into(), ..Credential::default() };
    let other = Credential { registry: "other.example".into(), ..right.clone() };
    let seen = Arc::new(Mutex::new((0, 0)));
    let tell = seen.clone();
    let progress: Progress = Arc::new(move |done, total| *tell.lock().unwrap() = (done, total));
    let image = Images::pull(&*store, &name, vec![other, wrong, right], progress).await.unwrap();

    assert_eq!(image.id, sample.id());
    assert_eq!(image.digests, [peer.name(&format!("team/app@{}", sample.digest()))]);
    assert!(!image.preloaded);
    let size: u64 = sample.packed.iter().map(|l| l.len() as u64).sum();
    assert_eq!(*seen.lock().unwrap(), (size, size));
    assert_eq!(peer.count("bytes=100-"), 2, "each layer was cut once and resumed: {:?}", peer.requests.lock().unwrap());
    let blobs = inventory(dir.path()).iter().filter(|n| n.starts_with("blobs/")).count();
    assert_eq!(blobs, 1, "the layers' archives are gone, the configuration stays");
    assert_eq!(fs::read(store.rootfs(&image.id).unwrap()[1].join("etc/old")).unwrap(), b"old");

    // By digest, and again: nothing is downloaded twice.
    let before = peer.count("/blobs/");
    *peer.password.lock().unwrap() = String::new();
    let name = peer.name(&format!("team/app@{}", sample.digest()));
    assert_eq!(pull(&store, &name).await.unwrap().id, sample.id());
    assert_eq!(peer.count("/blobs/"), before + 1, "only the configuration");
}

#[tokio::test]
async fn a_manifest_list_gives_this_machines_image() {
    if !is_root_or_skip("a_manifest_list_gives_this_machines_image") {
        return;
    }
    let (_dir, store) = store();
    let peer = Peer::start().await;
    let sample = Sample::usual();
    peer.publish("app", "x", &sample);
    let arch = manifest::Platform::ours().architecture;
    let list = |arch: &str| {
        let list = serde_json::json!({"schemaVersion": 2, "manifests": [
            {"digest": digest(b"none"), "size": 1, "platform": {"os": "linux", "architecture": "mips"}},
            {"digest": sample.digest(), "size": 1, "platform": {"os": "linux", "architecture": arch}},
        ]});
        serde_json::to_vec(&list).unwrap()
    };
    peer.put("/v2/app/manifests/multi", list(&arch));
    peer.put("/v2/app/manifests/foreign", list("sparc"));
    let image = pull(&store, &peer.name("app:multi")).await.unwrap();
    assert_eq!(image.id, sample.id());
    assert_eq!(image.digests, [peer.name(&format!("app@{}", digest(&list(&arch))))], "the list's digest names it");
    let refused = pull(&store, &peer.name("app:foreign")).await.unwrap_err().to_string();
    assert!(refused.contains("no image for linux/") && refused.contains("linux/sparc"), "{refused}");
    let absent = pull(&store, &peer.name("app:absent")).await.unwrap_err();
    assert!(matches!(absent, Error::NotFound(_)), "{absent}");
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_says_and_not_for_ever() {
    if !is_root_or_skip("a_busy_registry_is_asked_again_when_it_says_and_not_for_ever") {
        return;
    }
    let (_dir, store) = store();
    let peer = Peer::start().await;
    let sample = Sample::usual();
    peer.publish("app", "x", &sample);
    *peer.busy.lock().unwrap() = vec![(503, ""), (429, "Retry-After: 1\r\n")];
    let began = std::time::Instant::now();
    pull(&store, &peer.name("app:x")).await.unwrap();
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "the registry said how long");
    let (_dir, store) = self::store();
    *peer.busy.lock().unwrap() = vec![(429, "Retry-After: 0\r\n"); 5];
    let refused = pull(&store, &peer.name("app:x")).await.unwrap_err().to_string();
    assert!(refused.contains("429"), "{refused}");
    assert_eq!(peer.busy.lock().unwrap().len(), 1, "four times");
}

#[tokio::test]
async fn a_load_tells_the_names_that_the_archive_has() {
    if !is_root_or_skip("a_load_tells_the_names_that_the_archive_has") {
        return;
    }
    let (_dir, store) = store();
    let sample = Sample::usual();
    for tag in ["first:1", "second:1"] {
        let images = store.load(reader(sample.docker_archive(tag))).await.unwrap();
        assert_eq!(images[0].tags, [format!("docker.io/library/{tag}")]);
    }
    assert_eq!(store.find("first:1").await.unwrap().unwrap().tags.len(), 2);
}

#[tokio::test]
async fn wrong_content_is_refused_and_leaves_nothing() {
    let (dir, store) = store();
    let peer = Peer::start().await;
    let sample = Sample::usual();
    peer.publish("app", "1", &sample);
    let layer = format!("/v2/app/blobs/{}", digest(&sample.packed[0]));
    let mut bytes = sample.packed[0].clone();
    bytes[20] ^= 1;
    peer.put(&layer, bytes);
    let refused = pull(&store, &peer.name("app:1")).await.unwrap_err().to_string();
    assert!(refused.contains("came with the digest sha256:"), "{refused}");
    peer.put(&layer, [sample.packed[0].as_slice(), b"more"].concat());
    let refused = pull(&store, &peer.name("app:1")).await.unwrap_err().to_string();
    assert!(refused.contains("bytes that the manifest states"), "{refused}");
    let name = peer.name(&format!("app@{}", sample.digest()));
    peer.put(&format!("/v2/app/manifests/{}", sample.digest()), Sample::new(vec![]).manifest);
    let refused = pull(&store, &name).await.unwrap_err().to_string();
    assert!(refused.contains("came with the digest"), "{refused}");
    let left: Vec<String> = inventory(dir.path()).into_iter().filter(|n| !n.starts_with("blobs/")).collect();
    assert_eq!(left, Vec::<String>::new());
    store.collect(&BTreeSet::new()).unwrap();
    assert_eq!(inventory(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn an_archive_that_a_crash_damaged_is_downloaded_again() {
    if !is_root_or_skip("an_archive_that_a_crash_damaged_is_downloaded_again") {
        return;
    }
    let (dir, store) = store();
    let peer = Peer::start().await;
    let sample = Sample::usual();
    peer.publish("app", "1", &sample);
    let blob = |layer: &[u8]| dir.path().join("blobs/sha256").join(hex_of(&digest(layer)));
    fs::write(blob(&sample.packed[0]), b"").unwrap();
    fs::write(blob(&sample.packed[1]), &sample.packed[1]).unwrap();
    assert_eq!(pull(&store, &peer.name("app:1")).await.unwrap().id, sample.id());
    assert_eq!((peer.count(&digest(&sample.packed[0])), peer.count(&digest(&sample.packed[1]))), (1, 0));
}

#[tokio::test]
async fn pulls_of_one_layer_at_once_download_it_once() {
    if !is_root_or_skip("pulls_of_one_layer_at_once_download_it_once") {
        return;
    }
    let (_dir, store) = store();
    let peer = Peer::start().await;
    let one = Sample::usual();
    let two = Sample::new(vec![one.layers[0].clone()]);
    peer.publish("one", "1", &one);
    peer.publish("two", "1", &two);
    let (one_name, two_name) = (peer.name("one:1"), peer.name("two:1"));
    let pulls = tokio::join!(pull(&store, &one_name), pull(&store, &two_name), pull(&store, &one_name));
    assert_eq!(pulls.0.unwrap().id, one.id());
    assert_eq!(pulls.1.unwrap().id, two.id());
    assert_eq!(pulls.2.unwrap().id, one.id());
    assert_eq!(peer.count(&digest(&one.packed[0])), 1);
}

#[tokio::test]
async fn a_dropped_pull_is_taken_up_again() {
    if !is_root_or_skip("a_dropped_pull_is_taken_up_again") {
        return;
    }
    let (_dir, store) = store();
    let peer = Peer::start().await;
    let sample = Sample::usual();
    peer.publish("app", "1", &sample);
    peer.stalled.store(true, Ordering::SeqCst);
    let name = peer.name("app:1");
    {
        let mut pulling = Box::pin(pull(&store, &name));
        while peer.count("/blobs/") == 0 {
            tokio::select! {
                _ = &mut pulling => panic!("it cannot end"),
                _ = tokio::task::yield_now() => {}
            }
        }
    }
    peer.stalled.store(false, Ordering::SeqCst);
    assert_eq!(pull(&store, &name).await.unwrap().id, sample.id());
}

#[tokio::test]
async fn a_mirror_serves_and_the_registry_follows_where_it_fails() {
    if !is_root_or_skip("a_mirror_serves_and_the_registry_follows_where_it_fails") {
        return;
    }
    let (empty, full) = (Peer::start().await, Peer::start().await);
    let sample = Sample::usual();
    full.publish("library/app", "latest", &sample);
    let addresses = (empty.address.lock().unwrap().clone(), full.address.lock().unwrap().clone());
    let yaml =
        format!("mirrors:\n  docker.io:\n    endpoint: [\"http://{}\", \"http://{}/v2\"]\n", addresses.0, addresses.1);
    let dir = tempfile::tempdir().unwrap();
    let config = Config { registries: Registries::parse(&yaml).unwrap(), ..Config::default() };
    let store = ImagesStore::open_with(dir.path(), config).unwrap();
    let image = pull(&store, "app").await.unwrap();
    assert_eq!(image.tags, ["docker.io/library/app:latest"]);
    assert_eq!(empty.count("/v2/library/app/manifests/latest?ns=docker.io"), 1);
    assert!(Registries::parse("mirrors: {x: {endpoint: [\"ftp://x\"]}}").is_err());
    assert!(Registries::parse("mirors: {}").is_err(), "an unknown key is not ignored");
}

#[tokio::test]
async fn the_built_in_image_is_its_own_registry() {
    if !is_root_or_skip("the_built_in_image_is_its_own_registry") {
        return;
    }
    let (dir, store) = store();
    let refused = pull(&store, "toolbox").await.unwrap_err().to_string();
    assert!(refused.contains("is no registry"), "{refused}");
    let first = store.load_builtin(&b"one program"[..]).await.unwrap();
    assert_eq!(first.tags, ["gousse.dev/toolbox:latest"]);
    assert_eq!(pull(&store, "toolbox").await.unwrap().id, first.id, "policy Always works without a network");
    let root = &store.rootfs(&first.id).unwrap()[0];
    assert_eq!(fs::read(root.join("bin/sh")).unwrap(), b"one program");
    assert_eq!(store.load_builtin(&b"one program"[..]).await.unwrap().id, first.id);
    // An archive may hold that very image, and no other one by its name.
    let other = Sample::usual();
    let refused = store.load(reader(other.docker_archive("gousse.dev/toolbox:latest"))).await.unwrap_err().to_string();
    assert!(refused.contains("built into this program"), "{refused}");
    let layout = tempfile::tempdir().unwrap();
    other.write_layout(layout.path(), "gousse.dev/toolbox:latest");
    assert!(store.load_folder(layout.path()).await.is_err());
    assert_eq!(store.find("toolbox").await.unwrap().unwrap().id, first.id);
    assert!(store.find(&other.id()).await.unwrap().is_none(), "all of it is refused");
    store.load(reader(other.docker_archive("gousse.dev/toolbox:mine"))).await.unwrap();
    // A newer binary brings a newer image; containers of the old one keep theirs until it is collected.
    let second = store.load_builtin(&b"another program"[..]).await.unwrap();
    assert_eq!(store.find("toolbox").await.unwrap().unwrap().id, second.id);
    assert!(store.rootfs(&first.id).is_ok());
    store.collect(&BTreeSet::from([first.id, second.id])).unwrap();
    assert!(store.find("toolbox").await.unwrap().is_some(), "never the built-in one");
    assert_eq!(inventory(dir.path()).len(), 5);
}

/// Debian's own registry, as a peer that we did not write.
#[tokio::test]
async fn a_real_registry_is_understood() {
    const NAME: &str = "a_real_registry_is_understood";
    let binary = Path::new("/usr/bin/docker-registry");
    if !binary.exists() {
        return skip(NAME, "docker-registry is not installed");
    }
    if !is_root_or_skip(NAME) {
        return;
    }
    real::registry_round_trip(binary).await;
}
