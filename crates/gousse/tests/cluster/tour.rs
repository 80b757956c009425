//! The README's tour: up with a file, Ctrl-C, `--detach`, adoption by the next start, down, purge.

use nix::sys::signal::Signal;

use crate::stage::{Instance, Output, Stage, gone, play, processes};

const SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/site.yaml");

#[test]
fn up_shows_a_fetched_page_and_ctrl_c_leaves_nothing() {
    play(|stage: &Stage| {
        let site = stage.instance("site");
        let mut up = site.up(&[SITE]);
        up.line("http://");
        up.line("Ctrl-C deletes");
        assert!(up.seen.contains("<h1>Hello from a pod</h1>"), "{}", up.seen);
        let table = site.must("get pods");
        assert!(table.lines().any(|l| l.starts_with("site ") && l.contains("2/2") && l.contains("Running")), "{table}");
        up.signal(Signal::SIGINT);
        let ended = up.end();
        assert!(ended.ok, "{ended:?}");
        for what in ["pod/site deleted", "pod/origin deleted", "configmap/origin deleted"] {
            assert!(ended.out.contains(what), "{}", ended.out);
        }
        assert_eq!(ended.err, "");
        assert_eq!(stage.left(), Vec::<String>::new());
        assert!(site.data.exists());
        site.down(true);
        assert!(!site.data.exists() && !site.run.exists());
    });
}

#[test]
fn pods_outlive_their_up_and_the_next_one_takes_them_over() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let first = own.detached("");
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&own.data).unwrap());
        assert_eq!(mode & 0o777, 0o700, "what containers leave there is not for the host's users");
        let again = own.command("up").output_now();
        assert!(!again.ok && again.err.contains("runs already"), "{again:?}");
        own.must(&format!("apply -f {SITE}"));
        own.must("wait --for=condition=Ready pod/site --timeout=60s");
        let before = running(&own);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), Signal::SIGTERM).unwrap();
        gone(first);
        let alive = |command: &str| processes().into_iter().any(|p| p.command.starts_with(command));
        assert!(alive("web -p 80 /site") && alive("fetch "), "{:?}", processes());
        let second = own.detached("");
        own.must("wait --for=condition=Ready node --all --timeout=60s");
        own.must("wait --for=condition=Ready pod/site --timeout=60s");
        assert_eq!(running(&own), before, "containers are the same, none was restarted");
        let told = own.down(false);
        assert!(told.contains("pod/site ends") && own.data.exists(), "{told}");
        gone(second);
        assert_eq!(stage.left(), Vec::<String>::new());
        own.down(true);
        assert!(!own.data.exists());
    });
}

#[test]
fn two_instances_run_side_by_side_and_end_one_by_one() {
    play(|stage: &Stage| {
        let (red, blue) = (stage.instance("red"), stage.instance("blue"));
        let mut first = red.up(&["--cluster-cidr", "10.245.0.0/16"]);
        let mut second = blue.up(&["--cluster-cidr", "10.246.0.0/16", SITE]);
        second.line("http://");
        second.line("Ctrl-C");
        assert_eq!(red.must("get pods -A -o name"), "");
        red.must(&format!("apply -f {SITE}").replace(SITE, &stage.file("pod.yaml", POD).display().to_string()));
        red.must("wait --for=condition=Ready pod/alone --timeout=60s");
        second.signal(Signal::SIGINT);
        let ended = second.end();
        assert!(ended.ok, "{ended:?}");
        blue.down(true);
        assert_eq!(red.must("get pods -o name"), "pod/alone\n");
        let address = red.must("get pod alone -o jsonpath={.status.podIP}");
        assert!(std::net::TcpStream::connect((address.as_str(), 80)).is_ok(), "{address} no longer answers");
        red.down(true);
        first.seen.clear();
        assert!(first.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: toolbox
    command: [web, -p, '80', /]
";

/// Id and restarts of every container.
fn running(own: &Instance) -> String {
    own.must("get pods -o 'jsonpath={range .items[*]}{.metadata.name}{range .status.containerStatuses[*]},{.containerID},{.restartCount}{end}{end}'")
}
