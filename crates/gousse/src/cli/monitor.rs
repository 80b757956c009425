//! Flags of a server about nodes that fail, under kube-controller-manager's names.

use std::time::Duration;

use clap::Args;
use controllers::NodeMonitor;

/// How failing nodes are found, and how fast their pods are driven away. There is no --node-monitor-period: nothing polls.
#[derive(Args, Clone, Debug)]
pub struct MonitorFlags {
    /// A node that is silent for longer counts as unreachable
    #[arg(long, default_value = "50s", value_name = "DURATION", value_parser = time)]
    node_monitor_grace_period: Duration,
    /// The same for a node that never told its status
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = time)]
    node_startup_grace_period: Duration,
    /// Failing nodes a second whose pods are driven away, in a zone that is well
    #[arg(long, default_value_t = 0.1, value_name = "RATE", value_parser = rate)]
    node_eviction_rate: f32,
    /// The same in a large zone that is not; in a small one none are
    #[arg(long, default_value_t = 0.01, value_name = "RATE", value_parser = rate)]
    secondary_node_eviction_rate: f32,
    /// A zone of more nodes is large
    #[arg(long, default_value_t = 50, value_name = "NODES")]
    large_cluster_size_threshold: usize,
    /// The part of a zone's nodes that fail, three at least, from which on it is not well
    #[arg(long, default_value_t = 0.55, value_name = "PART", value_parser = part)]
    unhealthy_zone_threshold: f32,
}

impl MonitorFlags {
    pub fn monitor(&self) -> NodeMonitor {
        NodeMonitor {
            grace_period: self.node_monitor_grace_period,
            startup_grace_period: self.node_startup_grace_period,
            eviction_rate: self.node_eviction_rate,
            secondary_eviction_rate: self.secondary_node_eviction_rate,
            large_cluster_size_threshold: self.large_cluster_size_threshold,
            unhealthy_zone_threshold: self.unhealthy_zone_threshold,
        }
    }
}

/// Go's, and longer than nothing: else every node would be dead at once.
fn time(text: &str) -> Result<Duration, String> {
    match api::go::duration(text)? {
        nanos if nanos > 0.0 => Ok(Duration::from_secs_f64(nanos / 1e9)),
        _ => Err("must be longer than nothing".into()),
    }
}

fn rate(text: &str) -> Result<f32, String> {
    let rate: f32 = text.parse().map_err(|_| "expected a number of nodes a second, as 0.1".to_string())?;
    if rate.is_finite() && rate >= 0.0 { Ok(rate) } else { Err("expected a number that is not negative".into()) }
}

fn part(text: &str) -> Result<f32, String> {
    let part: f32 = text.parse().map_err(|_| "expected a part of the whole, as 0.55".to_string())?;
    if (0.0..=1.0).contains(&part) { Ok(part) } else { Err("expected a part of the whole, from 0 to 1".into()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn read(words: &str) -> Result<NodeMonitor, String> {
        let words = ["gousse", "server"].into_iter().chain(words.split_whitespace());
        match Cli::try_parse_from(words).map_err(|why| why.to_string())?.command {
            Command::Server(server) => Ok(server.flags.monitor.monitor()),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn without_flags_it_is_as_upstream() {
        assert_eq!(read(""), Ok(NodeMonitor::default()));
    }

    #[test]
    fn each_flag_is_heard() {
        let default = NodeMonitor::default();
        let seconds = Duration::from_secs;
        for (words, want) in [
            ("--node-monitor-grace-period 1m30s", NodeMonitor { grace_period: seconds(90), ..default.clone() }),
            ("--node-startup-grace-period 5m", NodeMonitor { startup_grace_period: seconds(300), ..default.clone() }),
            ("--node-eviction-rate 3", NodeMonitor { eviction_rate: 3.0, ..default.clone() }),
            ("--secondary-node-eviction-rate 0", NodeMonitor { secondary_eviction_rate: 0.0, ..default.clone() }),
            ("--large-cluster-size-threshold 3", NodeMonitor { large_cluster_size_threshold: 3, ..default.clone() }),
            ("--unhealthy-zone-threshold 0.9", NodeMonitor { unhealthy_zone_threshold: 0.9, ..default.clone() }),
        ] {
            assert_eq!(read(words), Ok(want), "{words}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, why) in [
            ("--node-monitor-grace-period 50", "time: missing unit in duration \"50\""),
            ("--node-monitor-grace-period=0s", "must be longer than nothing"),
            ("--node-monitor-grace-period=-1s", "must be longer than nothing"),
            ("--node-startup-grace-period 99999999999999999h", "time: invalid duration"),
            ("--node-eviction-rate=-1", "expected a number that is not negative"),
            ("--node-eviction-rate NaN", "expected a number that is not negative"),
            ("--secondary-node-eviction-rate x", "expected a number of nodes a second, as 0.1"),
            ("--unhealthy-zone-threshold 1.5", "expected a part of the whole, from 0 to 1"),
            ("--large-cluster-size-threshold=-1", "invalid digit"),
        ] {
            let told = read(words).unwrap_err();
            assert!(told.contains(why), "{words}: {told}");
        }
    }
}
