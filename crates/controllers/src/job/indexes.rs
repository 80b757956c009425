//! Sets of completion indexes as a Job's status writes them: `0,2-4`. Pure.
//!
//! pkg/controller/job/indexed_job_utils.go orderedIntervals.

use std::collections::BTreeSet;
use std::fmt;

/// First and last of each run, in order, no two of which touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Those below `completions`; what cannot be read is left out.
    pub fn parse(text: &str, completions: i64) -> Indexes {
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else { continue };
            if first >= completions {
                break;
            }
            runs.push((first, last.min(completions - 1)));
        }
        Indexes::default().merged(&Indexes(runs))
    }

    pub fn with(&self, indexes: &BTreeSet<i64>) -> Indexes {
        self.merged(&Indexes(indexes.iter().map(|index| (*index, *index)).collect()))
    }

    pub fn merged(&self, other: &Indexes) -> Indexes {
        let mut runs: Vec<(i64, i64)> = self.0.iter().chain(&other.0).copied().collect();
        runs.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::new();
        for (first, last) in runs {
            match merged.last_mut() {
                Some(end) if first <= end.1 + 1 => end.1 = end.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Indexes(merged)
    }

    pub fn total(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, index: i64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in both.
    pub fn shared(&self, other: &Indexes) -> i64 {
        let (mut at, mut of_other, mut count) = (0, 0, 0);
        while let (Some(one), Some(another)) = (self.0.get(at), other.0.get(of_other)) {
            count += (one.1.min(another.1) - one.0.max(another.0) + 1).max(0);
            at += usize::from(one.1 <= another.1);
            of_other += usize::from(another.1 <= one.1);
        }
        count
    }

    /// The first `count` below `completions` that are not here.
    pub fn missing(&self, count: i64, completions: i64) -> Vec<i64> {
        let mut missing = Vec::new();
        let mut next: i64 = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let free = count - missing.len() as i64;
            missing.extend(next..first.min(completions).min(next.saturating_add(free)));
            next = next.max(last + 1);
        }
        missing
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_and_read_as_upstream_does() {
        for text in ["", "0", "0,1", "0-2", "1,3-5,7,8,10-12"] {
            assert_eq!(Indexes::parse(text, 100).to_string(), text);
        }
        assert_eq!(Indexes::parse("0,2-9,12", 5).to_string(), "0,2-4");
        assert_eq!(Indexes::parse("x,1,2-y,3", 5).to_string(), "1,3");
    }

    #[test]
    fn sets_are_what_they_are_of_any_three_numbers() {
        let of = |bits: u32| (0..8).filter(|bit| bits >> bit & 1 == 1).collect::<BTreeSet<i64>>();
        let index = |bits: u32| Indexes::default().with(&of(bits));
        for one in 0..256_u32 {
            let set = index(one);
            assert_eq!(set.total(), i64::from(one.count_ones()));
            assert!((0..8).all(|index| set.has(index) == of(one).contains(&index)), "{set}");
            assert_eq!(Indexes::parse(&set.to_string(), 8), set);
            for count in 0..=8 {
                let missing: Vec<i64> = (0..8).filter(|index| !set.has(*index)).take(count as usize).collect();
                assert_eq!(set.missing(count, 8), missing, "{count} not of {set}");
            }
            for other in 0..256_u32 {
                let another = index(other);
                assert_eq!(set.merged(&another), index(one | other));
                assert_eq!(set.shared(&another), i64::from((one & other).count_ones()), "{set} and {another}");
            }
        }
    }
}
