//! What climbs out of a pod, or into one, on its way through the node: folders, images, manifests.
//!
//! Host folders under attack are the test's own. What a privileged container mounts into its volume with
//! `mountPropagation: Bidirectional` is mounted here from outside, which comes to the same on the host.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::stage::{Instance, Output, Stage, play, tar};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: toolbox
    command: [sleep, inf]
    volumeMounts: [{name: shared, mountPath: /shared}, {name: fast, mountPath: /fast}]
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: fast, emptyDir: {medium: Memory}}
";

/// Data and run folder of an instance behind symlinks; a folder that must stay as it is.
fn behind_links(stage: &Stage, own: &Instance) -> PathBuf {
    for (link, name) in [(&own.data, "real-data"), (&own.run, "real-run")] {
        let real = own.folder.join(name);
        fs::create_dir(&real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        symlink(real, link).unwrap();
    }
    let precious = stage.folder.join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("kept"), "kept").unwrap();
    precious
}

fn bind(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let done = Command::new("mount").arg("--bind").args([from, to]).output_now();
    assert!(done.ok, "{done:?}");
}

fn is_kept(precious: &Path) {
    assert_eq!(fs::read_to_string(precious.join("kept")).unwrap(), "kept");
}

#[test]
fn folders_behind_links_are_emptied_up_to_what_is_mounted_in_them() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let precious = behind_links(stage, &own);
        let up = own.up(&[]);
        for folder in [&own.data, &own.run] {
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o7777, 0o700);
        }
        assert!(own.apply(POD).ok);
        own.must("wait --for=condition=Ready pod/web --timeout=60s");
        let uid = own.json("get pod web")["metadata"]["uid"].as_str().unwrap().to_owned();
        let folder = own.data.join("pods").join(&uid);
        bind(&precious, &folder.join("volumes/kubernetes.io~empty-dir/shared/host"));
        own.must("delete pod web --timeout=60s");
        is_kept(&precious);
        assert!(!folder.exists(), "{} is left", folder.display());

        bind(&precious, &own.data.join("pods/left/volumes/kubernetes.io~empty-dir/shared/host"));
        bind(&precious, &own.run.join("volumes/left/host"));
        own.down(true);
        is_kept(&precious);
        assert!(up.end().ok);
        assert_eq!(fs::read_dir(&own.folder).unwrap().flatten().filter(|e| e.path().is_dir()).count(), 0);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// A folder that somebody else made first, or may write into, is none of ours.
#[test]
fn folders_of_others_are_refused_before_anything_is_believed() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        fs::create_dir(&own.run).unwrap();
        fs::set_permissions(&own.run, fs::Permissions::from_mode(0o777)).unwrap();
        symlink("/etc", own.run.join("volumes")).unwrap();
        let why = own.refused();
        assert!(why.contains("--run-dir") && why.contains("other users may write"), "{why}");
        fs::remove_file(own.run.join("volumes")).unwrap();
        fs::create_dir(own.run.join("volumes")).unwrap();
        std::os::unix::fs::chown(&own.run, Some(65534), None).unwrap();
        assert!(own.refused().contains("belongs to user 65534"));
        fs::remove_dir_all(&own.run).unwrap();

        // Whoever holds its lock says which process `down` is to end.
        fs::create_dir(&own.run).unwrap();
        let mut innocent = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(own.run.join("lock"), innocent.id().to_string()).unwrap();
        for path in [own.run.join("lock"), own.run.clone()] {
            std::os::unix::fs::chown(path, Some(65534), None).unwrap();
        }
        let lock = fs::File::open(own.run.join("lock")).unwrap();
        let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
        let done = own.command("down").output_now();
        assert!(!done.ok && done.err.contains("belongs to user 65534"), "{done:?}");
        assert!(innocent.try_wait().unwrap().is_none(), "it was ended for a stranger");
        drop(held);
        innocent.kill().unwrap();
        innocent.wait().unwrap();
        fs::remove_dir_all(&own.run).unwrap();

        // A data folder that was somebody else's: whose key signs for us?
        let up = own.up(&[]);
        own.down(false);
        assert!(up.end().ok);
        let key = own.data.join("pki/ca.key");
        std::os::unix::fs::chown(&key, Some(65534), None).unwrap();
        let named = format!("{} belongs to user 65534", key.display());
        assert!(own.refused().contains(&named));
        for verb in ["server --listen 127.0.0.1:0", "down --purge"] {
            let done = own.command(verb).output_now();
            assert!(!done.ok && done.err.contains(&named), "{verb}: {done:?}");
        }
        assert!(key.exists());
        std::os::unix::fs::chown(&key, Some(0), None).unwrap();
        own.down(true);
        assert!(!own.data.exists());
    });
}

/// What `down --purge` does not know it does not remove.
#[test]
fn a_purge_removes_what_an_instance_made_and_nothing_else() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        fs::create_dir(&own.data).unwrap();
        fs::set_permissions(&own.data, fs::Permissions::from_mode(0o700)).unwrap();
        for name in ["admin.kubeconfig", "thesis"] {
            fs::write(own.data.join(name), "kept").unwrap();
        }
        let done = own.command("down --purge").output_now();
        assert!(!done.ok && done.err.contains("no instance of gousse ever lived in it"), "{done:?}");
        assert!(own.refused().contains("give it a folder of its own"));
        assert_eq!(fs::read_dir(&own.data).unwrap().count(), 2);
        fs::remove_dir_all(&own.data).unwrap();

        let up = own.up(&[]);
        // A disk that somebody hung there, and a file that somebody keeps there.
        let disk = own.data.join("images/disk");
        fs::create_dir(&disk).unwrap();
        assert!(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=0700", "tmpfs"]).arg(&disk).output_now().ok);
        for file in [disk.join("kept"), own.data.join("thesis")] {
            fs::write(file, "kept").unwrap();
        }
        let done = own.command("down --purge").output_now();
        assert!(!done.ok && done.err.contains("images/disk") && done.err.contains("mounted"), "{done:?}");
        assert!(up.end().ok);
        is_kept(&disk);
        assert!(Command::new("umount").arg(&disk).output_now().ok);
        let done = own.command("down --purge").output_now();
        assert!(done.ok && done.err.contains("stays: there are things in it that gousse did not make"), "{done:?}");
        let left: Vec<_> = fs::read_dir(&own.data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["thesis"]);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

#[test]
fn an_image_whose_user_is_minus_one_is_refused_and_its_pod_goes() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let folder = stage.folder.join("image");
        fs::create_dir_all(folder.join("bin")).unwrap();
        tar(&folder, &["-cf", "layer.tar", "bin"]);
        for (name, user) in [("minus", "4294967295"), ("two31", "2147483648"), ("group", "7:4294967295")] {
            let config = json!({"User": user, "Cmd": ["/bin/x"]});
            let done = own.load_layer(&folder, &format!("{name}:1"), None, config);
            assert!(done.ok, "{done:?}");
            let yaml = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{securityContext: {{runAsNonRoot: true}}, \
                 containers: [{{name: c, image: '{name}:1'}}]}}}}"
            );
            assert!(own.apply(&yaml).ok);
            let reason = "{.status.containerStatuses[0].state.waiting.reason}";
            own.must(&format!("wait --for=jsonpath={reason}=CreateContainerError pod/{name} --timeout=60s"));
            let waiting = own.json(&format!("get pod {name}"))["status"]["containerStatuses"][0]["state"].to_string();
            assert!(waiting.contains("uids and gids must be in range 0-2147483647"), "{waiting}");
            own.must(&format!("delete pod {name} --timeout=60s"));
        }
        own.down(true);
        assert!(up.end().ok);
    });
}

#[test]
fn a_manifest_that_names_a_folder_above_its_own_is_refused_and_removes_nothing() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let manifests = stage.folder.join("manifests");
        fs::create_dir(&manifests).unwrap();
        let manifest = |uid: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "thief", "uid": uid},
                "spec": {"containers": [{"name": "c", "image": "toolbox", "command": ["sleep", "inf"]}]}})
            .to_string()
        };
        fs::write(manifests.join("a.yaml"), manifest("..")).unwrap();
        fs::write(manifests.join("b.yaml"), manifest("good").replace("thief", "good")).unwrap();
        let up = own.up(&["--node-name", "n", "--manifests", manifests.to_str().unwrap()]);
        own.must("wait --for=create pod/good-n --timeout=60s");
        own.must("wait --for=jsonpath={.status.phase}=Running pod/good-n --timeout=60s");
        fs::remove_file(manifests.join("a.yaml")).unwrap();
        fs::remove_file(manifests.join("b.yaml")).unwrap();
        own.down(false);
        assert!(up.end().ok);
        assert!(own.data.join("store").exists() && own.data.join("images").exists());
        let log = own.logged();
        assert!(log.contains("a.yaml") && log.contains("metadata.uid"), "{log}");
        own.down(true);
    });
}

/// What a container writes to is what its limits see.
#[test]
fn storage_outside_of_layers_and_shallow_folders_counts_towards_the_limits() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        for (name, command) in [
            ("hosts", "seq 1 1000000 > /etc/hosts; sleep 1000"),
            ("resolver", "seq 1 1000000 > /etc/resolv.conf; sleep 1000"),
            ("words", "seq 1 1000000 > /dev/termination-log; sleep 1000"),
            ("deep", "sleep 1000"),
        ] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
                "terminationGracePeriodSeconds": 1, "volumes": [{"name": "v", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "toolbox", "command": ["sh", "-c", command],
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "resources": {"limits": {"ephemeral-storage": "2Mi"}}}]}});
            assert!(own.apply(&pod.to_string()).ok);
        }
        own.must("wait --for=condition=Ready pod/deep --timeout=60s");
        let uid = own.json("get pod deep")["metadata"]["uid"].as_str().unwrap().to_owned();
        let volume = own.data.join("pods").join(uid).join("volumes/kubernetes.io~empty-dir/v");
        let deep = volume.join("d/".repeat(700));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), vec![1; 4 << 20]).unwrap();
        for name in ["hosts", "resolver", "words", "deep"] {
            own.must(&format!("wait --for=jsonpath={{.status.phase}}=Failed pod/{name} --timeout=60s"));
            let status = &own.json(&format!("get pod {name}"))["status"];
            let message = "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ";
            assert_eq!((status["reason"].as_str(), status["message"].as_str()), (Some("Evicted"), Some(message)));
        }
        own.down(true);
        assert!(up.end().ok);
    });
}
