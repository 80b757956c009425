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

    pub fn add(&mut self, more: &Resources) {
        self.change(more, 1);
    }

    pub fn subtract(&mut self, less: &Resources) {
        self.change(less, -1);
    }

    pub fn of_name(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.storage,
            _ => self.others.get(name).copied().unwrap_or(0),
        }
    }

    fn change(&mut self, by: &Resources, sign: i64) {
        self.cpu += sign * by.cpu;
        self.memory += sign * by.memory;
        self.storage += sign * by.storage;
        for (name, amount) in &by.others {
            *self.others.entry(name.clone()).or_default() += sign * amount;
        }
    }
}
