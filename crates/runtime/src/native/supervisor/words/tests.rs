use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

fn pair() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    know_senders(&ours).unwrap();
    (ours, theirs)
}

fn name(word: &Word) -> String {
    match word {
        Word::Nothing => "nothing".into(),
        Word::Over => "over".into(),
        Word::Terminal(_) => "terminal".into(),
        Word::Moved(_) => "moved".into(),
        Word::Proc(_) => "proc".into(),
        Word::Failed(why) => format!("failed: {why}"),
        Word::Forged => "forged".into(),
    }
}

#[test]
fn only_the_process_on_record_is_believed_and_after_its_move_only_its_failure() {
    let own = std::process::id();
    let cases: &[(&[u8], usize, u32, bool, &str)] = &[
        (b"Eno such file", 0, own, false, "failed: no such file"),
        (b"Eno such file", 0, own, true, "failed: no such file"),
        (b"Eno such file", 0, own + 1, false, "forged"),
        (b"T", 1, own, false, "terminal"),
        (b"T", 1, own, true, "forged"),
        (b"T", 0, own, false, "forged"),
        (b"T", 3, own, false, "forged"),
        (b"M", 1, own, false, "moved"),
        (b"P", 1, own, false, "proc"),
        (b"P", 1, own, true, "forged"),
        (b"P", 1, own + 1, false, "forged"),
        (b"P", 0, own, false, "forged"),
        (b"M", 1, own, true, "forged"),
        (b"M", 1, own + 1, false, "forged"),
        (b"M", 0, own, false, "forged"),
        (b"x", 0, own, true, "forged"),
        (b"", 0, own, false, "forged"),
        (b"", 0, own + 1, true, "forged"),
    ];
    for (bytes, count, speaker, moved, wanted) in cases {
        let (ours, theirs) = pair();
        let fds = vec![theirs.as_fd(); *count];
        channel::send(&theirs, bytes, &fds).unwrap();
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(name(&next(&ours, *speaker, *moved, true)), *wanted, "{text} {count} {moved}, left there");
        assert_eq!(name(&next(&ours, *speaker, *moved, false)), *wanted, "{text} {count} {moved}");
        assert_eq!(name(&next(&ours, *speaker, *moved, false)), "nothing");
        drop(theirs);
        assert_eq!(name(&next(&ours, *speaker, *moved, false)), "over");
    }
}
