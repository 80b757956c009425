//! Ten seconds of what nobody would write, for everything that parses (`cargo xtask fuzz` goes on).

use std::time::Duration;

use fuzz::{TARGETS, drive};

#[test]
fn whatever_is_sent_breaks_no_law() {
    let share = Duration::from_secs(10) / TARGETS.len() as u32;
    for target in TARGETS {
        let (found, runs, _) = drive(target, 1, share, None);
        assert!(found.is_none(), "{}: {:?}", target.name, found);
        assert!(runs > 0, "{}: nothing was fed", target.name);
    }
}
