//! Not too far, not too fast, not to and fro: of what metrics recommend, what is done now. Pure but for its memory.
//!
//! horizontal.go normalizeDesiredReplicas, with and without `spec.behavior`. What no window reaches any more is
//! forgotten. Laws: never beyond the bounds, never more in a period than its policy allows, never against a
//! recommendation of the stabilization window.

use api::tree;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// --horizontal-pod-autoscaler-downscale-stabilization, in seconds.
const STABILIZATION: i64 = 300;
/// Without a behavior: at most twice as many, but at least up to so many.
const UP_FACTOR: i64 = 2;
const UP_LEAST: i64 = 4;

/// What was recommended and done lately, of one autoscaler.
#[derive(Default, Debug)]
pub struct Memory {
    recommendations: Vec<(Timestamp, i64)>,
    /// How many were added, or taken away, and when.
    up: Vec<(Timestamp, i64)>,
    down: Vec<(Timestamp, i64)>,
}

/// Why it is as it is: a reason and its message.
pub type Why = (&'static str, &'static str);

/// What is done of what was recommended.
#[derive(Debug, PartialEq)]
pub struct Limited {
    pub desired: i64,
    /// Of the condition AbleToScale.
    pub able: Why,
    /// Of ScalingLimited, and whether it is.
    pub limited: (bool, Why),
}

/// How fast it goes in one direction (`spec.behavior.scaleUp`, `scaleDown`).
#[derive(Debug, Clone, PartialEq)]
struct Rules {
    /// Seconds.
    window: i64,
    select: Select,
    policies: Vec<Policy>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Select {
    Max,
    Min,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Policy {
    is_percent: bool,
    value: i64,
    /// Seconds.
    period: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// From how many to how many it may go.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub min: i64,
    pub max: i64,
}

const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const WITHIN: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: Why = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const UP_STABLE: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABLE: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);

impl Rules {
    fn of(behavior: &Value, direction: Direction) -> Rules {
        let rules = &behavior[if direction == Direction::Up { "scaleUp" } else { "scaleDown" }];
        let select = match tree::text(rules, "selectPolicy") {
            "Min" => Select::Min,
            "Disabled" => Select::Disabled,
            _ => Select::Max,
        };
        let number = |of: &Value, field: &str| tree::int(of, field).unwrap_or(0);
        let policy = |policy: &Value| Policy {
            is_percent: tree::text(policy, "type") == "Percent",
            value: number(policy, "value"),
            period: number(policy, "periodSeconds"),
        };
        let window = tree::int(rules, "stabilizationWindowSeconds");
        Rules {
            window: window.unwrap_or(if direction == Direction::Up { 0 } else { STABILIZATION }),
            select,
            policies: tree::list(rules, "policies").iter().map(policy).collect(),
        }
    }

    /// The longest of its periods, in seconds.
    fn longest(&self) -> i64 {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or(0)
    }

    /// How far it may go now, in that direction (calculateScaleUpLimitWithScalingRules, calculateScaleDownLimit…).
    fn limit(&self, direction: Direction, current: i64, memory: &Memory, now: Timestamp) -> i64 {
        let proposed = self.policies.iter().map(|policy| {
            let since = before(now, policy.period);
            let changed = |events: &[(Timestamp, i64)]| -> i64 {
                events.iter().filter(|(at, _)| *at > since).map(|(_, change)| change).sum()
            };
            let start = current - changed(&memory.up) + changed(&memory.down);
            let share = policy.value as f64 / 100.0;
            match (policy.is_percent, direction) {
                (false, Direction::Up) => start + policy.value,
                (false, Direction::Down) => start - policy.value,
                // Rounded up: else few would never become more.
                (true, Direction::Up) => (start as f64 * (1.0 + share)).ceil() as i64,
                (true, Direction::Down) => (start as f64 * (1.0 - share)) as i64,
            }
        });
        let furthest = (self.select == Select::Max) == (direction == Direction::Up);
        match self.select {
            Select::Disabled => Some(current),
            _ if furthest => proposed.max(),
            _ => proposed.min(),
        }
        .unwrap_or(current)
    }
}

impl Memory {
    /// What was there when it was first seen counts as recommended (recordInitialRecommendation).
    pub fn begin(&mut self, current: i64, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// That it was scaled (storeScaleEvent). Without a behavior nobody asks for it.
    pub fn scaled(&mut self, behavior: &Value, from: i64, to: i64, now: Timestamp) {
        if behavior.is_null() {
            return;
        }
        let (events, direction) = match to > from {
            true => (&mut self.up, Direction::Up),
            false => (&mut self.down, Direction::Down),
        };
        let since = before(now, Rules::of(behavior, direction).longest());
        events.retain(|(at, _)| *at >= since);
        events.push((now, (to - from).abs()));
    }

    /// What is done now of what is recommended.
    pub fn limit(&mut self, behavior: &Value, current: i64, wanted: i64, bounds: Bounds, now: Timestamp) -> Limited {
        if behavior.is_null() {
            return self.plainly(current, wanted, bounds, now);
        }
        let (up, down) = (Rules::of(behavior, Direction::Up), Rules::of(behavior, Direction::Down));
        let stable = self.stabilized(&up, &down, current, wanted, now);
        let able = match (stable == wanted, wanted >= current) {
            (true, _) => READY,
            (false, true) => UP_STABLE,
            (false, false) => DOWN_STABLE,
        };
        let (desired, why) = self.within_rate(&up, &down, current, stable, bounds, now);
        Limited { desired, able, limited: (desired != stable, why) }
    }

    /// normalizeDesiredReplicas
    fn plainly(&mut self, current: i64, wanted: i64, bounds: Bounds, now: Timestamp) -> Limited {
        let since = before(now, STABILIZATION);
        self.recommendations.retain(|(at, _)| *at >= since);
        let stable = self.recommendations.iter().map(|(_, count)| *count).fold(wanted, i64::max);
        self.recommendations.push((now, wanted));
        let able = if stable == wanted { READY } else { DOWN_STABLE };
        let fastest = (current * UP_FACTOR).max(UP_LEAST);
        let (max, why) = if bounds.max > fastest { (fastest, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
        let (desired, why) = match stable {
            few if few < bounds.min => (bounds.min, TOO_FEW),
            many if many > max => (max, why),
            stable => (stable, WITHIN),
        };
        Limited { desired, able, limited: (desired != stable, why) }
    }

    /// stabilizeRecommendationWithBehaviors
    fn stabilized(&mut self, up: &Rules, down: &Rules, current: i64, wanted: i64, now: Timestamp) -> i64 {
        let (since_up, since_down) = (before(now, up.window), before(now, down.window));
        let after = |since: Timestamp| self.recommendations.iter().filter(move |(at, _)| *at > since).map(|(_, n)| *n);
        let least = after(since_up).fold(wanted, i64::min);
        let most = after(since_down).fold(wanted, i64::max);
        self.recommendations.retain(|(at, _)| *at >= since_up || *at >= since_down);
        self.recommendations.push((now, wanted));
        current.max(least).min(most)
    }

    /// convertDesiredReplicasWithBehaviorRate
    fn within_rate(
        &self,
        up: &Rules,
        down: &Rules,
        current: i64,
        wanted: i64,
        bounds: Bounds,
        now: Timestamp,
    ) -> (i64, Why) {
        if wanted > current {
            let fastest = up.limit(Direction::Up, current, self, now).max(current);
            let (max, why) = if bounds.max > fastest { (fastest, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if wanted > max {
                return (max, why);
            }
        } else if wanted < current {
            let fastest = down.limit(Direction::Down, current, self, now).min(current);
            let (min, why) = if bounds.min < fastest { (fastest, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if wanted < min {
                return (min, why);
            }
        }
        (wanted, WITHIN)
    }
}

/// So many seconds earlier, or the first moment that there is.
fn before(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}
