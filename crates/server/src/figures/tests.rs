use super::read::{Containers, Point};
use super::*;

fn point(at: i64, started: i64, cpu: u64) -> Point {
    Point { at: at * 1000, started: Some(started * 1000), cpu: cpu * 1_000_000_000, memory: 7 }
}

#[test]
fn a_window_begins_at_a_look_or_at_a_fresh_start() {
    let check = |before: Option<Point>, last: Point, want: &str| {
        let told = usage::between(before.as_ref(), &last).map(|used| (used.at, used.window, used.cpu));
        assert_eq!(format!("{told:?}"), want, "{last:?}");
    };
    check(Some(point(100, 50, 10)), point(115, 50, 25), "Some((115000, 15000, 1000000000))");
    check(None, point(115, 50, 25), "None");
    // Started since: of what ran before nothing counts.
    check(Some(point(100, 50, 10)), point(115, 105, 5), "Some((115000, 10000, 500000000))");
    check(Some(point(100, 50, 10)), point(114, 105, 5), "None");
    check(None, point(115, 55, 6), "Some((115000, 60000, 100000000))");
    // The same look, and clocks and counts that go back.
    check(Some(point(115, 50, 25)), point(115, 50, 25), "None");
    check(Some(point(116, 50, 25)), point(115, 50, 26), "None");
    check(Some(point(100, 50, 26)), point(115, 50, 25), "None");
    let wild = Point { at: i64::MAX, started: Some(i64::MIN), cpu: u64::MAX, memory: u64::MAX };
    check(None, wild, "None");
    check(Some(Point { at: i64::MIN, started: None, cpu: 0, memory: 1 }), Point { started: None, ..wild }, "None");
}

#[test]
fn a_pod_has_figures_once_all_its_containers_have() {
    let pod = |names: &[&str]| -> Containers { names.iter().map(|name| ((*name).into(), point(115, 1, 2))).collect() };
    let mut before = pod(&["a", "b"]);
    before.values_mut().for_each(|point| point.at = 1000 * 100);
    let names = |before: Option<&Containers>, last: &Containers| {
        usage::of_pod(before, last).map(|all| all.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(Some(&before), &pod(&["a", "b"])), Some(vec!["a".to_owned(), "b".into()]));
    assert_eq!(names(Some(&before), &pod(&["a"])), Some(vec!["a".to_owned()]));
    assert_eq!(names(Some(&before), &pod(&["a", "b", "c"])), None);
    assert_eq!(names(None, &pod(&["a"])), None);
}

#[test]
fn what_a_node_says_is_read_and_nonsense_is_left_out() {
    let now = Timestamp::from_second(1000).unwrap();
    let check = |text: &str, want: &str| {
        let own = HashSet::from([("n".to_owned(), "p".to_owned())]);
        let look = read::look(text, &own, now);
        let mut told: Vec<String> = look.node.iter().map(|point| format!("node {point:?}\n")).collect();
        for ((namespace, name), containers) in &look.pods {
            told.extend(
                containers.iter().map(|(container, point)| format!("{namespace}/{name}/{container} {point:?}\n")),
            );
        }
        told.sort();
        assert_eq!(told.concat(), want);
    };
    let labels = r#"{container="c",namespace="n",pod="p"}"#;
    check(
        &format!(
            "# TYPE x gauge\ncontainer_cpu_usage_seconds_total{labels} 1.5 2000\n\
             container_memory_working_set_bytes{labels} 4096 2000\ncontainer_start_time_seconds{labels} 1.25\n\
             node_cpu_usage_seconds_total 3\nnode_memory_working_set_bytes 1e3\nresource_scrape_error 0\n"
        ),
        "n/p/c Point { at: 2000, started: Some(1250), cpu: 1500000000, memory: 4096 }\n\
             node Point { at: 1000000, started: None, cpu: 3000000000, memory: 1000 }\n",
    );
    // Of another's pod nothing is kept, nor is a pod spoilt by series that nobody asks for.
    let (other, more) = (labels.replace("pod=\"p\"", "pod=\"q\""), labels.replace("\"c\"", "\"d\""));
    check(
        &format!(
            "container_cpu_usage_seconds_total{labels} 1 2000\ncontainer_memory_working_set_bytes{labels} 1 2000\n\
             container_cpu_usage_seconds_total{other} 1 2000\ncontainer_memory_working_set_bytes{other} 1 2000\n\
             container_swap_usage_bytes{more} 1\nnode_swap_usage_bytes 1\n"
        ),
        "n/p/c Point { at: 2000, started: None, cpu: 1000000000, memory: 1 }\n",
    );
    // Without its memory a container is not whole, and its pod is unknown.
    check(&format!("container_cpu_usage_seconds_total{labels} 1.5 2000\n"), "");
    check(
        "container_cpu_usage_seconds_total{ 1\nnode_cpu_usage_seconds_total{x} NaN\nnode_cpu_usage_seconds_total -3 x\n\
         container_cpu_usage_seconds_total{pod=p} 1\nnode\n{}\n\u{0}\n",
        "",
    );
}
