use super::*;

#[test]
fn lasting_trouble_is_said_once_and_one_that_comes_and_goes_once_a_minute() {
    let mut trouble = Trouble::default();
    let mut said = |seconds: i128, over: bool| {
        if over {
            trouble.is_over();
        }
        trouble.is_news(MINUTE * 10 + seconds * 1_000_000_000)
    };
    let seen = [(0, false), (1, false), (100, false), (101, true), (102, true), (170, true), (500, false)];
    assert_eq!(seen.map(|(at, over)| said(at, over)), [true, false, false, true, false, true, false]);
}
