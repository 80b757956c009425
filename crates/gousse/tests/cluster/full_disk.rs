//! A full disk: writes fail with a clear error, reads and deletes go on; with room again writes do too.

use std::fs;
use std::io::Write;

use nix::mount::{MsFlags, mount};

use crate::stage::{Instance, Stage, Up, play};

#[test]
fn a_full_disk_refuses_writes_clearly_and_recovers() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        fs::create_dir(&own.data).unwrap();
        mount(Some("disk"), &own.data, Some("tmpfs"), MsFlags::empty(), Some("size=96m,mode=700")).unwrap();
        let up = started(&own);
        let made = own.apply(&config_maps(0..3));
        assert!(made.ok, "{made:?}");
        let made = own.apply(&format!("{}{}", pod("one"), pod("two")));
        assert!(made.ok, "{made:?}");
        own.must("wait --for=condition=Ready pod/one pod/two");
        let filler = own.data.join("filler");
        fill(&filler);
        let refused = own.apply(&config_maps(3..4));
        assert!(!refused.ok && refused.err.contains("the disk is full"), "{refused:?}");
        assert_eq!(names(&own), ["map-0", "map-1", "map-2"]);
        own.must("delete configmap map-1");
        assert_eq!(names(&own), ["map-0", "map-2"]);
        // Pods end, also of a process that starts on the full disk; it waits until they are gone.
        own.must("delete pod one");
        up.kill();
        fill(&filler);
        let up = started(&own);
        assert_eq!(names(&own), ["map-0", "map-2"]);
        own.must("delete pod two");
        assert!(own.must("get pods -o name").trim().is_empty());
        fs::remove_file(&filler).unwrap();
        let made = own.apply(&config_maps(3..4));
        assert!(made.ok, "{made:?}");
        up.kill();
        let up = started(&own);
        assert_eq!(names(&own), ["map-0", "map-2", "map-3"]);
        own.down(false);
        assert!(up.end().ok);
    });
}

/// On one port: with another one there would be something to write at the start.
fn started(own: &Instance) -> Up {
    own.start("up", &["--node-port", "0", "--listen", "127.0.0.1:6443"], &[], "gousse is ready after ")
}

fn names(own: &Instance) -> Vec<String> {
    let all = own.must("get configmaps -o name");
    all.lines().filter_map(|line| line.strip_prefix("configmap/map-")).map(|n| format!("map-{n}")).collect()
}

fn pod(name: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 1, \
         containers: [{{name: main, image: toolbox, command: [puppet]}}]}}}}\n"
    )
}

fn config_maps(numbers: std::ops::Range<u32>) -> String {
    let one = |number| {
        format!("---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: map-{number}}}, data: {{k: v}}}}\n")
    };
    numbers.map(one).collect()
}

/// Takes all the space that there is.
fn fill(path: &std::path::Path) {
    let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}
