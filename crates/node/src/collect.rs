//! Which images go when their disk fills up: pure; the sampler looks, the runtime removes.
//!
//! Matches pkg/kubelet/images/image_gc_manager.go with its defaults: above 85 % of the file system the
//! images that were not used for the longest time go until it is at 80 %, none that was first seen less
//! than two minutes ago, none that a container stands on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use runtime::{Image, MountSource, Sandbox};

const HIGH: u64 = 85;
const LOW: u64 = 80;
const AGE_MIN: SignedDuration = SignedDuration::from_mins(2);

/// What there is of something and what of it is free: bytes, or inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    pub available: u64,
    pub capacity: u64,
}

/// What earlier looks remember of images, by id.
#[derive(Debug, Default)]
pub struct Known {
    images: BTreeMap<String, Past>,
    looked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Past {
    first_seen: Timestamp,
    last_used: Option<Timestamp>,
}

impl Room {
    /// Bytes that have to go; 0 below the high mark.
    pub fn excess(self) -> u64 {
        if self.capacity == 0 {
            return 0;
        }
        let used = self.capacity.saturating_sub(self.available);
        if u128::from(used) * 100 < u128::from(self.capacity) * u128::from(HIGH) {
            return 0;
        }
        let wanted = u128::from(self.capacity) * u128::from(100 - LOW) / 100;
        u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(self.available)
    }
}

/// Ids of images that containers stand on, or have mounted.
pub fn in_use(sandboxes: &[Sandbox]) -> BTreeSet<String> {
    let containers = sandboxes.iter().flat_map(|s| &s.containers);
    let of = |c: &runtime::Container| {
        let mounted = c.spec.mounts.iter().filter_map(|m| match &m.source {
            MountSource::Image(id) => Some(id.clone()),
            MountSource::Host(_) | MountSource::Own => None,
        });
        mounted.chain([c.spec.image.clone()]).collect::<Vec<_>>()
    };
    containers.flat_map(of).collect()
}

impl Known {
    /// Takes one look in: what is there, and what of it is used.
    pub fn note(&mut self, images: &[Image], in_use: &BTreeSet<String>, now: Timestamp) {
        // What was there before the first look may be of any age.
        let first_seen = if self.looked { now } else { Timestamp::UNIX_EPOCH };
        self.looked = true;
        self.images.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let past = self.images.entry(image.id.clone()).or_insert(Past { first_seen, last_used: None });
            if in_use.contains(&image.id) {
                past.last_used = Some(now);
            }
        }
    }

    /// The images to remove, for so many bytes; `note` the same look before.
    pub fn choose(&self, images: &[Image], in_use: &BTreeSet<String>, excess: u64, now: Timestamp) -> BTreeSet<String> {
        let mut old: Vec<(Past, &Image)> = images
            .iter()
            .filter(|image| !in_use.contains(&image.id) && !runtime::images::builtin::is_it(image))
            .filter_map(|image| Some((*self.images.get(&image.id)?, image)))
            .filter(|(past, _)| now.duration_since(past.first_seen) >= AGE_MIN)
            .collect();
        old.sort_by_key(|(past, image)| (past.last_used, past.first_seen, &image.id));
        let mut freed = 0;
        let enough = |(_, image): &(Past, &Image)| {
            let go_on = freed < excess;
            freed += image.size;
            go_on
        };
        old.into_iter().take_while(enough).map(|(_, image)| image.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
