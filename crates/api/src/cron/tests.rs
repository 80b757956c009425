use super::*;

fn times(schedule: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(schedule).unwrap();
    let mut at: Option<Timestamp> = Some(after.parse().unwrap());
    let mut times = Vec::new();
    while times.len() < count {
        at = at.and_then(|at| schedule.next(at));
        let Some(at) = at else { break };
        times.push(at.to_string());
    }
    times
}

#[test]
fn the_next_time_is_that_of_the_library_that_upstream_uses() {
    // spec_test.go of robfig/cron v3: a time after, a schedule, the next.
    for (after, schedule, next) in [
        ("2012-07-09T14:45:00Z", "0/15 * * * *", "2012-07-09T15:00:00Z"),
        ("2012-07-09T14:59:59Z", "0/15 * * * *", "2012-07-09T15:00:00Z"),
        ("2012-07-09T15:45:00Z", "20-35/15 * * * *", "2012-07-09T16:20:00Z"),
        ("2012-07-09T23:46:00Z", "*/15 * * * *", "2012-07-10T00:00:00Z"),
        ("2012-07-09T23:35:51Z", "20-35 1/2 */2 * *", "2012-07-11T01:20:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 9 Apr-Oct ?", "2012-08-09T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 */5 Apr,Aug,Oct Mon", "2012-08-01T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 * Feb Mon", "2013-02-04T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 * Feb Mon/2", "2013-02-01T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 29 Feb ?", "2016-02-29T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "0 0 30 Feb ?", ""),
        ("2012-07-09T23:35:00Z", "0 0 31 Apr ?", ""),
        ("2012-07-09T23:35:00Z", "@monthly", "2012-08-01T00:00:00Z"),
        ("2012-07-09T23:35:00Z", "@weekly", "2012-07-15T00:00:00Z"),
        ("2012-07-09T23:35:00.5Z", "@every 1m30.9s", "2012-07-09T23:36:30Z"),
        ("2012-07-09T23:35:00Z", "@every -5h", "2012-07-09T23:35:01Z"),
        // Spring forward, fall back.
        ("2012-03-11T04:00:00Z", "TZ=America/New_York 30 2 11 Mar ?", "2013-03-11T06:30:00Z"),
        ("2012-03-11T05:00:00Z", "TZ=America/New_York 0 * * * ?", "2012-03-11T06:00:00Z"),
        ("2012-03-11T06:00:00Z", "TZ=America/New_York 0 * * * ?", "2012-03-11T07:00:00Z"),
        ("2012-11-04T04:00:00Z", "TZ=America/New_York 30 2 04 Nov ?", "2012-11-04T07:30:00Z"),
        ("2012-11-04T04:45:00Z", "TZ=America/New_York 30 1 04 Nov ?", "2012-11-04T05:30:00Z"),
        ("2012-11-04T05:30:00Z", "TZ=America/New_York 30 1 04 Nov ?", "2012-11-04T06:30:00Z"),
        // No midnight on that day.
        ("2018-10-17T05:00:00Z", "TZ=America/Sao_Paulo 0 9 10 * ?", "2018-11-10T11:00:00Z"),
        ("2018-02-14T05:00:00Z", "TZ=America/Sao_Paulo 0 9 22 * ?", "2018-02-22T12:00:00Z"),
    ] {
        assert_eq!(times(schedule, after, 1).concat(), next, "{schedule} after {after}");
    }
}

#[test]
fn times_follow_each_other() {
    let expected = ["2026-01-02T08:30:00Z", "2026-01-02T09:30:00Z", "2026-01-05T08:30:00Z", "2026-01-05T09:30:00Z"];
    assert_eq!(times("30 8-9 * * mon-fri", "2026-01-02T00:00:00Z", 4), expected);
}
