//! downwardAPI: files that say what a pod may know of itself.

use crate::view::DownwardAPIVolumeFile;

use crate::downward;
use crate::pod;
use crate::volumes::atomic::{Contents, clean};
use crate::volumes::files::{self, Collect, Files, Projection, mode_of};
use crate::volumes::plugin::{Ask, Medium, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~downward-api",
    is: |volume| volume.downward_api.is_some(),
    medium: Medium::Memory,
    read_only: true,
    set_up: |ask| Box::pin(files::set_up(ask, OWN)),
    refresh: Some(|ask| Box::pin(files::refresh(ask, OWN))),
    ..Plugin::NEW
};

pub(super) const PROJECTION: Projection = Projection {
    is: |part| part.downward_api.is_some(),
    needs: |_| Vec::new(),
    collect: |ask, part, mode, files| {
        let items = part.downward_api.iter().flat_map(|source| source.items.iter().flatten());
        Box::pin(std::future::ready(collect(ask, items, mode, files)))
    },
};

const OWN: Collect = |ask, files| {
    let source = ask.volume.downward_api.as_ref();
    let items = source.iter().flat_map(|source| source.items.iter().flatten());
    Box::pin(std::future::ready(collect(ask, items, source.and_then(|source| source.default_mode), files)))
};

fn collect<'a>(
    ask: Ask<'_>,
    items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
    mode: Option<i32>,
    files: &mut Files<'_>,
) -> Result<(), String> {
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => downward::field(ask.pod, ask.facts, &reference.field_path)?,
            (None, Some(reference)) => {
                let name = reference.container_name.as_deref().unwrap_or_default();
                let container = pod::container(ask.pod, name).ok_or_else(|| format!("container {name} not found"))?;
                downward::resource(container, ask.facts, reference)?
            }
            (None, None) => return Err(format!("item {} names neither a field nor a resource", item.path)),
        };
        let mode = mode_of(item.mode.or(mode));
        files.insert(clean(&item.path), Contents { data: text.into_bytes(), mode, user: None })?;
    }
    Ok(())
}
