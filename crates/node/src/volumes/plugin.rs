//! One volume type: how its volumes are made, kept up to date and taken away.
//!
//! A row of `PLUGINS`; upstream's word for it is volume plugin. Every function is idempotent and looks at
//! the disk, not at what an earlier run did.

use runtime::engine::Boxed;
use std::path::Path;

use crate::view::{Pod, Volume};
use jiff::Timestamp;
use runtime::MountSource;

use crate::downward::Facts;
use crate::sources::{Source, Sources};
use crate::volumes::room::Room;

/// What came of it, or why not.
pub(super) type Done<'a, T = ()> = Boxed<'a, Result<T, String>>;

type OfVolume<T> = for<'a> fn(Ask<'a>) -> Done<'a, T>;
type OfFolder = for<'a> fn(&'a Path) -> Done<'a>;

pub(super) struct Plugin {
    /// As upstream names its folder below a pod's `volumes`: `kubernetes.io~secret`. Unique.
    pub name: &'static str,
    /// Whether the volume is of this type: which of its fields is set.
    pub is: fn(&Volume) -> bool,
    /// Where its folder is.
    pub medium: Medium,
    /// Contents that only the node writes: read-only in every container.
    pub read_only: bool,
    /// The objects whose change changes the volume.
    pub needs: fn(&Volume) -> Vec<Source>,
    /// Makes the volume, and says what is mounted into containers.
    pub set_up: OfVolume<MountSource>,
    /// Brings it up to date; true if anything changed. None: it never changes by itself.
    pub refresh: Option<OfVolume<bool>>,
    /// Takes down what it made outside its folder; files and mounts in there go by themselves.
    pub tear_down: Option<OfFolder>,
    /// What its volumes share with those of other pods.
    pub share: Option<Share>,
}

/// Where a volume's folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// `<data_dir>/pods/<uid>/volumes`
    Disk,
    /// `<run_dir>/volumes/<uid>/volumes`, a tmpfs: what may be secret.
    Memory,
}

/// What several pods of a node share: staged for the first of them, unstaged after the last.
pub(super) struct Share {
    /// Volumes of the same name share it.
    pub name: fn(&Volume) -> String,
    /// Makes it in the folder.
    pub stage: for<'a> fn(&'a Volume, &'a Path) -> Done<'a>,
    /// Takes away all that is in the folder.
    pub unstage: OfFolder,
}

/// One volume of one pod, and what may be used for it.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub pod: &'a Pod,
    pub volume: &'a Volume,
    /// Its own folder, not made yet.
    pub folder: &'a Path,
    /// Where what it shares is staged.
    #[cfg_attr(not(test), allow(dead_code, reason = "no volume of today shares anything: CSI and NFS will"))]
    pub staged: Option<&'a Path>,
    pub facts: &'a Facts,
    pub sources: &'a dyn Sources,
    pub room: &'a Room,
    pub now: Timestamp,
}

impl<'a> Ask<'a> {
    pub fn namespace(&self) -> &'a str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }

    /// The account that the pod runs as.
    pub fn account(&self) -> &'a str {
        let named = self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        named.filter(|name| !name.is_empty()).unwrap_or("default")
    }
}

impl Plugin {
    /// What a row need not say.
    pub const NEW: Plugin = Plugin {
        name: "",
        is: |_| false,
        medium: Medium::Disk,
        read_only: false,
        needs: |_| Vec::new(),
        set_up: |_| Box::pin(async { Err(NOT_BUILT.into()) }),
        refresh: None,
        tear_down: None,
        share: None,
    };
}

/// Of volumes without a row.
pub(super) const NOT_BUILT: &str = "this node does not support the volume's type";
