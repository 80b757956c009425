use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn delays_double_from_ten_seconds_to_the_cap() {
    let max = secs(300);
    assert_eq!(next(None, at(0), max), Next::Start(secs(0)));
    let mut delay = secs(0);
    let mut seen = Vec::new();
    for _ in 0..8 {
        let past = Past { created_at: at(0), finished_at: at(1), delay, same: true, stopped: None };
        match next(Some(past), at(1), max) {
            Next::Start(d) => {
                seen.push(0);
                delay = d;
            }
            Next::Wait { until, delay: waited } => {
                assert_eq!(until, at(1) + waited);
                seen.push(waited.as_secs());
                let Next::Start(d) = next(Some(past), until, max) else { panic!("due at until") };
                delay = d;
            }
        }
    }
    assert_eq!(seen, [0, 10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn a_long_run_or_another_image_starts_anew() {
    let max = secs(300);
    let long = Past { created_at: at(0), finished_at: at(601), delay: secs(160), same: true, stopped: None };
    assert_eq!(next(Some(long), at(601), max), Next::Start(secs(10)));
    let not_quite = Past { finished_at: at(600), ..long };
    assert_eq!(next(Some(not_quite), at(600), max), Next::Wait { until: at(760), delay: secs(160) });
    let changed = Past { same: false, ..not_quite };
    assert_eq!(next(Some(changed), at(600), max), Next::Start(secs(10)));
}

#[test]
fn durations_are_printed_as_go_does() {
    for (seconds, text) in [(10, "10s"), (80, "1m20s"), (160, "2m40s"), (300, "5m0s"), (3600, "1h0m0s")] {
        assert_eq!(go_duration(secs(seconds)), text);
    }
}
