use super::*;

/// It gave the keeper what a container needs, and was killed before the keeper had looked.
#[test]
fn what_a_supervisor_said_before_it_ended_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let folders = Folders { data: path.clone(), run: path.clone(), cgroup: String::new() };
    let listener = UnixListener::bind(path.join("socket")).unwrap();
    for still_open in [false, true] {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while sys::peek_ended(Some(child.id())).unwrap().is_none() {
            std::thread::yield_now();
        }
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let keep = ToKeeper::Keep { key: "c/1".into(), names: vec!["sync".into()] };
        channel::send(&theirs, &serde_json::to_vec(&keep).unwrap(), &[theirs.as_fd()]).unwrap();
        // A set-up holds all that its supervisor had open.
        let _set_up = still_open.then_some(theirs);
        let mut keeper = Keeper {
            folders: &folders,
            listener: &listener,
            program: std::fs::File::open("/proc/self/exe").unwrap().into(),
            upgrade: None,
            kept: Kept::new(),
            supervisor: Some((ours, child.id())),
            told: None,
            ended: BTreeMap::new(),
            failures: 0,
            pause: None,
            quit: false,
        };
        keeper.tell_ended();
        assert!(keeper.supervisor.is_none());
        assert_eq!(keeper.failures, 1);
        assert_eq!(keeper.kept["c/1"].len(), 1);
        // Reaped.
        assert!(sys::peek_ended(Some(child.id())).is_err());
        let _ = child.wait();
    }
}
