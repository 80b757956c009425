//! How many pods a Deployment shall have, and how many more or fewer meanwhile. Pure.

use api::tree;
use serde_json::Value;

use crate::workload::share;

/// How many there shall be.
pub struct Numbers {
    pub desired: i64,
    /// How many more there may be meanwhile.
    pub surge: i64,
    /// How many of them may be missing meanwhile.
    pub unavailable: i64,
    pub is_rolling: bool,
}

impl Numbers {
    pub fn of(deployment: &Value) -> Result<Numbers, String> {
        let spec = &deployment["spec"];
        let desired = tree::int(deployment, "spec.replicas").unwrap_or(1);
        let is_rolling = match tree::text(spec, "strategy.type") {
            "Recreate" => false,
            "RollingUpdate" => true,
            other => return Err(format!("unexpected deployment strategy type: {other}")),
        };
        if !is_rolling {
            return Ok(Numbers { desired, surge: 0, unavailable: 0, is_rolling });
        }
        let rolling = tree::at(spec, "strategy.rollingUpdate");
        let surge = share(&rolling["maxSurge"], desired, true)?.min(i64::from(i32::MAX));
        let mut unavailable = share(&rolling["maxUnavailable"], desired, false)?;
        // Two percentages may both come to nothing; something must move.
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Ok(Numbers { desired, surge, unavailable: unavailable.min(desired), is_rolling })
    }

    /// How many there may be at most.
    pub fn most(&self) -> i64 {
        self.desired + self.surge
    }
}
