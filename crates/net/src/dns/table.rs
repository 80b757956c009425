//! The names of a zone and of addresses, and what they stand for: plain values, found at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::name::{Name, address_of, split, within};
use super::query::PTR;

/// What a name stands for. No name of ours has records of two kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Records {
    /// The zone itself.
    Apex,
    /// There are names below it, and that is all.
    Nothing,
    /// Of either family.
    Addresses(Box<[IpAddr]>),
    /// The same, and the labels below it are some addresses: these.
    Host {
        addresses: Box<[IpAddr]>,
        below: Box<[IpAddr]>,
    },
    Targets(Box<[Target]>),
    Pointers(Box<[Name]>),
    /// Another name.
    Alias(Name),
    Text(Box<str>),
    /// The labels below it are addresses: `10-1-2-3`.
    Pods,
}

/// Where a service is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub port: u16,
    pub weight: u16,
    pub name: Name,
    /// Those of the name.
    pub addresses: Box<[IpAddr]>,
}

/// What changes at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    pub put: Vec<(Name, Records)>,
    pub gone: Vec<Name>,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }
}

/// The names that are answered from memory, shared by whoever changes them and whoever answers.
#[derive(Clone)]
pub struct Names(Arc<RwLock<Table>>);

pub struct Table {
    zone: Name,
    records: HashMap<Name, Records>,
    /// Counts the changes.
    pub serial: u32,
    /// A name that is not here does not exist.
    whole: bool,
}

/// What is known of a name.
pub enum Found<'a> {
    Records(&'a Records),
    /// The name of a pod.
    Address(IpAddr),
    /// The name does not exist.
    Nothing,
    /// It may exist: not all is known yet.
    Unknown,
    /// It is none of ours.
    Elsewhere,
}

impl Names {
    /// The zone's own name with nothing below it yet.
    pub fn new(zone: Name) -> Names {
        Names(Arc::new(RwLock::new(Table { zone, records: HashMap::new(), serial: 1, whole: false })))
    }

    pub fn change(&self, difference: Difference) {
        if difference.is_empty() {
            return;
        }
        let mut table = self.write();
        table.serial = table.serial.wrapping_add(1).max(1);
        for name in &difference.gone {
            table.records.remove(name.bytes());
        }
        table.records.extend(difference.put);
    }

    /// All is in: what is asked for from now on and not here does not exist.
    pub fn are_whole(&self) {
        self.write().whole = true;
    }

    pub fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// What a name in small letters stands for.
    pub fn find(&self, name: &[u8], kind: u16) -> Found<'_> {
        match self.records.get(name) {
            // Other records of a reverse name are for whoever has the reverse zone.
            Some(Records::Pointers(_)) if kind != PTR => return Found::Elsewhere,
            Some(records) => return Found::Records(records),
            None => {}
        }
        if within(name, self.zone.bytes()).is_none() {
            return Found::Elsewhere;
        }
        match self.address_of(name) {
            Some(address) => Found::Address(address),
            None if self.whole => Found::Nothing,
            None => Found::Unknown,
        }
    }

    /// What a label stands for by itself, below a name that has such labels.
    fn address_of(&self, name: &[u8]) -> Option<IpAddr> {
        let (label, above) = split(name)?;
        match self.records.get(above)? {
            Records::Pods => address_of(label),
            Records::Host { below, .. } => address_of(label).filter(|address| below.contains(address)),
            _ => None,
        }
    }
}
