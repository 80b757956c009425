use super::*;

fn source(fd: &OwnedFd) -> Source<'_> {
    Source { fd: fd.as_fd(), terminal: false, stream: "stdout", take: Take::Lines }
}

fn log(folder: &std::path::Path, name: &str) -> LogFile {
    LogFile::open(&spec::LogFile { path: folder.join(name), size_max: 0, files_max: 2 }).unwrap()
}

fn texts(log: &LogFile) -> String {
    let text = std::fs::read_to_string(&log.spec().path).unwrap();
    text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned() + "\n").collect()
}

/// What is taken between the look and the move, and what then gets into the log.
fn stolen(bytes: usize, writer_goes: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut pump = Pump::new(None).unwrap();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    let (mut own, mut other) = (log(folder.path(), "own"), log(folder.path(), "other"));
    rustix::io::write(&write, b"one\ntwo\nthree\n").unwrap();
    let seen = pump.look(source(&read)).unwrap().unwrap();
    assert_eq!(rustix::io::read(&read, &mut vec![0; bytes]).unwrap(), bytes);
    if writer_goes {
        drop(write);
    }
    let _ = pump.take(source(&read), Some(&mut own), seen).unwrap();
    // Nothing of it is left for another container's terminal or restart.
    assert_eq!(rustix::io::ioctl_fionread(&pump.stage.0).unwrap(), 0);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    rustix::io::write(&write, b"mine\n").unwrap();
    assert_eq!(pump.drain(source(&read), Some(&mut other), |_| {}).unwrap(), Left::Nothing);
    assert_eq!(texts(&other), "mine\n");
    texts(&own)
}

#[test]
fn bytes_that_a_container_takes_back_neither_hang_nor_leak() {
    assert_eq!(stolen(4, false), "two\nthree\n");
    assert_eq!(stolen(4, true), "two\nthree\n");
    assert_eq!(stolen(14, false), "");
    assert_eq!(stolen(14, true), "");
}

#[test]
fn stage_is_empty_after_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut pump = Pump::new(None).unwrap();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    rustix::io::write(&write, b"one\n").unwrap();
    let mut own = log(folder.path(), "own");
    // The stage has no other end: nothing can be moved off it.
    pump.null = std::fs::File::open("/dev/null").unwrap();
    assert!(pump.drain(source(&read), Some(&mut own), |_| {}).is_err());
    assert_eq!(rustix::io::ioctl_fionread(&pump.stage.0).unwrap(), 0);
}

#[test]
fn note_that_leads_nowhere_does_not_keep_the_supervisor_from_starting() {
    let pump = Pump::new(None).unwrap();
    rustix::io::write(&pump.stage.1, b"left\n").unwrap();
    let log = spec::LogFile { path: "/dev/full".into(), size_max: 0, files_max: 2 };
    let note = Note { log, stream: "stdout".into(), offset: 0 };
    pump.note.write_all_at(&serde_json::to_vec(&note).unwrap(), 0).unwrap();
    let kept = pump.to_keep().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).unwrap());
    let pump = Pump::new(Some(kept)).unwrap();
    assert_eq!(rustix::io::ioctl_fionread(&pump.stage.0).unwrap(), 0);
}
