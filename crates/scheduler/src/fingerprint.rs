//! Fingerprints: what is alike has the same, so that it is counted once.

use std::hash::{DefaultHasher, Hasher};

use api::selector::{Labels, Requirement};
use serde::Serialize;

/// Equal only of what is equal, as good as certainly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64, u64);

impl Fingerprint {
    /// Of anything that is JSON. Twice SipHash with the fixed keys of `DefaultHasher`, the second time behind one
    /// more word: 128 bits, so that two are not alike by chance. The keys are no secret; but what is alike on purpose
    /// would only be counted as one when pods are placed.
    pub fn of(what: &impl Serialize) -> Fingerprint {
        let mut both = Both(DefaultHasher::new(), DefaultHasher::new());
        both.1.write_u64(1);
        // Writing into a hasher does not fail, nor does what is made of JSON.
        let _ = serde_json::to_writer(&mut both, what);
        Fingerprint(both.0.finish(), both.1.finish())
    }

    /// Of a selector; that of one that selects everything is the default.
    pub fn of_labels(labels: &Labels) -> Fingerprint {
        if labels.is_empty() {
            return Fingerprint::default();
        }
        let one = |r: &Requirement| (r.key.clone(), r.operator as u8, r.values.clone());
        Fingerprint::of(&labels.requirements.iter().map(one).collect::<Vec<_>>())
    }
}

struct Both(DefaultHasher, DefaultHasher);

impl std::io::Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes);
        self.1.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
