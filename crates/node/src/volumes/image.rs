//! image: the files of an image; pulled when a container that mounts it starts (`act::start`).

use runtime::MountSource;

use crate::volumes::plugin::Plugin;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~image",
    is: |volume| volume.image.is_some(),
    read_only: true,
    set_up: |ask| {
        let reference = ask.volume.image.as_ref().and_then(|source| source.reference.clone());
        Box::pin(std::future::ready(Ok(MountSource::Image(reference.unwrap_or_default()))))
    },
    ..Plugin::NEW
};
