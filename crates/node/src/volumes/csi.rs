//! csi: a driver that runs beside the node makes the volume. None can register with this node yet.
//!
//! A pod waits for its driver, which may come at any time. The text is upstream's (pkg/volume/csi).

use crate::volumes::plugin::Plugin;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~csi",
    is: |volume| volume.others.contains_key("csi"),
    set_up: |ask| {
        let driver = ask.volume.others.get("csi").and_then(|csi| csi["driver"].as_str()).unwrap_or_default();
        let why = format!(
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name {driver} not found in the list of \
             registered CSI drivers"
        );
        Box::pin(std::future::ready(Err(why)))
    },
    ..Plugin::NEW
};
