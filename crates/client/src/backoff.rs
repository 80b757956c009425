//! A pause that doubles with every failure, with jitter and a cap.
//!
//! The jitter is a hash of a seed and a counter: no random source is needed, a simulated run
//! replays, and two clients with different seeds do not march in step.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub min: Duration,
    pub max: Duration,
    pub seed: u64,
}

impl Backoff {
    /// The pause after the n-th failure in a row, n from 1: between half and all of min·2ⁿ⁻¹.
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = 1u32 << failures.saturating_sub(1).min(20);
        let full = self.min.saturating_mul(doubled).min(self.max);
        let part = splitmix(self.seed ^ u64::from(failures)) >> 11;
        full.mul_f64(0.5 + part as f64 / (1u64 << 54) as f64)
    }
}

/// A seed from a name.
pub(crate) fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_the_cap_with_at_most_half_jitter() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(1), seed: 7 };
        for (failures, full) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (40, 1000)] {
            let pause = backoff.after(failures).as_millis();
            assert!((full / 2..=full).contains(&pause), "{failures}: {pause}");
        }
        let other = Backoff { seed: 8, ..backoff };
        assert_ne!(other.after(3), backoff.after(3));
        assert_eq!(backoff.after(3), backoff.after(3));
    }
}
