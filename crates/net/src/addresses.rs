//! Who has which address: one claim file per attachment, written before its link is made.
//!
//! Law: no two live attachments share an address, across crashes too. A claim is the attachment
//! itself, as JSON in `<run_dir>/attachments/<id>`, put there by a rename; the files are the truth
//! and live as long as the kernel's own state (a run directory is gone after a reboot), so they
//! need no fsync. Addresses are handed out in turn, so that a freed one rests for a whole round.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

use crate::spec::{Attachment, Error, failed};

pub(crate) struct Addresses {
    range: Ipv4Net,
    folder: PathBuf,
    attachments: BTreeMap<String, Attachment>,
    taken: BTreeSet<Ipv4Addr>,
    last: u32,
}

impl Addresses {
    /// Reads the claims of an earlier run. A file that is no claim is reported and removed: its
    /// writer died before the rename.
    pub fn open(range: Ipv4Net, run_dir: &Path) -> Result<Addresses, Error> {
        let folder = run_dir.join("attachments");
        fs::create_dir_all(&folder).map_err(failed(format_args!("making {}", folder.display())))?;
        let mut addresses = Addresses {
            range,
            folder: folder.clone(),
            attachments: BTreeMap::new(),
            taken: BTreeSet::new(),
            last: u32::from(range.network()) + 1,
        };
        for file in fs::read_dir(&folder).map_err(failed(format_args!("reading {}", folder.display())))? {
            let path = file.map_err(failed(format_args!("reading {}", folder.display())))?.path();
            let text = fs::read(&path).map_err(failed(format_args!("reading {}", path.display())))?;
            match serde_json::from_slice::<Attachment>(&text) {
                Ok(attachment) => addresses.remember(attachment),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "removed a file that is no attachment");
                    fs::remove_file(&path).map_err(failed(format_args!("removing {}", path.display())))?;
                }
            }
        }
        addresses.last = addresses.taken.last().map_or(addresses.last, |a| u32::from(*a));
        Ok(addresses)
    }

    pub fn get(&self, id: &str) -> Option<&Attachment> {
        self.attachments.get(id)
    }

    pub fn all(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.values()
    }

    /// The next free address after the last one handed out; network, gateway and broadcast are not.
    pub fn next(&mut self) -> Result<Ipv4Addr, Error> {
        let first = u32::from(self.range.network()) + 2;
        let end = u32::from(self.range.broadcast());
        if end <= first {
            return Err(Error::Exhausted(self.range));
        }
        let count = end - first;
        let start = (self.last + 1).saturating_sub(first) % count;
        let free = (0..count)
            .map(|step| Ipv4Addr::from(first + (start + step) % count))
            .find(|address| !self.taken.contains(address))
            .ok_or(Error::Exhausted(self.range))?;
        self.last = u32::from(free);
        Ok(free)
    }

    /// Makes a claim that survives a crash, before anything is made in the kernel.
    pub fn claim(&mut self, attachment: Attachment) -> Result<(), Error> {
        let path = self.folder.join(&attachment.spec.id);
        let draft = self.folder.join(format!(".{}", attachment.spec.id));
        let text = serde_json::to_vec(&attachment).expect("an attachment is plain data");
        fs::write(&draft, text).map_err(failed(format_args!("writing {}", draft.display())))?;
        fs::rename(&draft, &path).map_err(failed(format_args!("writing {}", path.display())))?;
        self.remember(attachment);
        Ok(())
    }

    /// Lets a claim go, after everything in the kernel that used it.
    pub fn release(&mut self, id: &str) -> Result<(), Error> {
        let Some(attachment) = self.attachments.remove(id) else { return Ok(()) };
        let path = self.folder.join(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                self.attachments.insert(id.to_string(), attachment);
                Err(failed(format_args!("removing {}", path.display()))(error))
            }
            _ => {
                for address in v4(&attachment) {
                    self.taken.remove(&address);
                }
                Ok(())
            }
        }
    }

    fn remember(&mut self, attachment: Attachment) {
        self.taken.extend(v4(&attachment));
        self.attachments.insert(attachment.spec.id.clone(), attachment);
    }
}

/// The IPv4 addresses of an attachment.
pub(crate) fn v4(attachment: &Attachment) -> impl Iterator<Item = Ipv4Addr> + '_ {
    attachment.addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    })
}
