//! Amounts as the scheduler counts them: thousandths of a cpu, bytes, pieces.

use std::collections::BTreeMap;

use api::pod::Amounts;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Thousandths.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// `ephemeral-storage`, bytes.
    pub storage: i64,
    /// Everything else, by name.
    pub others: BTreeMap<String, i64>,
}

impl Resources {
    pub fn of(amounts: &Amounts) -> Resources {
        let mut resources = Resources::default();
        for (name, amount) in amounts {
            match name.as_str() {
                "cpu" => resources.cpu = amount.milli_value(),
                "memory" => resources.memory = amount.value(),
                "ephemeral-storage" => resources.storage = amount.value(),
                "pods" => {}
                _ => {
                    resources.others.insert(name.clone(), amount.value());
                }
            }
        }
        resources
    }

    /// Amounts are clamped when they are read, so that sums may overflow. They wrap, as upstream's do: so
    /// `subtract` always undoes `add`.
    pub fn add(&mut self, more: &Resources) {
        self.change(more, i64::wrapping_add);
    }

    pub fn subtract(&mut self, less: &Resources) {
        self.change(less, i64::wrapping_sub);
    }

    pub fn of_name(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.storage,
            _ => self.others.get(name).copied().unwrap_or(0),
        }
    }

    fn change(&mut self, by: &Resources, op: fn(i64, i64) -> i64) {
        self.cpu = op(self.cpu, by.cpu);
        self.memory = op(self.memory, by.memory);
        self.storage = op(self.storage, by.storage);
        for (name, amount) in &by.others {
            let known = self.others.entry(name.clone()).or_default();
            *known = op(*known, *amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_subtracted_undoes_what_was_added_whatever_the_amounts() {
        let others = [("gpu".to_string(), i64::MAX)].into();
        let huge = Resources { cpu: i64::MAX, memory: i64::MAX, storage: i64::MAX, others };
        let mut sum = huge.clone();
        sum.add(&huge);
        sum.add(&huge);
        sum.subtract(&huge);
        sum.subtract(&huge);
        assert_eq!(sum, huge);
    }
}
