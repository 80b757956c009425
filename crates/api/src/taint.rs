//! Taints of nodes, and which tolerations of pods stand them. Pure.
//!
//! One rule for scheduler, controllers and node agents: core/v1/toleration.go ToleratesTaint. `Lt` and `Gt` are of a
//! feature that is off (TaintTolerationComparisonOperators): they stand nothing.

use serde::Deserialize;
use serde_json::Value;

use crate::tree;

/// What a node keeps pods off with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What a pod stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toleration {
    /// Empty: every key.
    pub key: String,
    /// Empty is `Equal`.
    pub operator: String,
    pub value: String,
    /// Empty: every effect.
    pub effect: String,
}

impl Taint {
    pub fn of(taint: &Value) -> Taint {
        let text = |field| tree::text(taint, field).to_owned();
        Taint { key: text("key"), value: text("value"), effect: text("effect") }
    }
}

impl Toleration {
    pub fn of(toleration: &Value) -> Toleration {
        let text = |field| tree::text(toleration, field).to_owned();
        Toleration { key: text("key"), operator: text("operator"), value: text("value"), effect: text("effect") }
    }

    pub fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator.as_str() {
                "Exists" => true,
                "" | "Equal" => self.value == taint.value,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_toleration_stands_what_its_key_operator_value_and_effect_say() {
        let taint = Taint::of(&json!({"key": "k", "value": "5", "effect": "NoExecute"}));
        for (toleration, stands) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Exists", "value": "other"}), true),
            (json!({"key": "k", "value": "5"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "5", "effect": "NoExecute"}), true),
            (json!({"value": "5"}), true),
            (json!({"key": "k"}), false),
            (json!({"key": "l", "operator": "Exists"}), false),
            (json!({"key": "k", "value": "6"}), false),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), false),
            // Of a feature that is off.
            (json!({"key": "k", "operator": "Lt", "value": "5"}), false),
            (json!({"key": "k", "operator": "Gt", "value": "5"}), false),
        ] {
            assert_eq!(Toleration::of(&toleration).tolerates(&taint), stands, "{toleration}");
        }
    }
}
