//! configMap: a file for each key of a ConfigMap, which follow it.

use std::collections::BTreeMap;

use crate::sources::Source;
use crate::volumes::files::{self, Choice, Collect, Files, Projection};
use crate::volumes::plugin::{Ask, Plugin};

/// No secrets: on the disk.
pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~configmap",
    is: |volume| volume.config_map.is_some(),
    read_only: true,
    needs: |volume| volume.config_map.iter().map(|source| Source::config_map(&source.name)).collect(),
    set_up: |ask| Box::pin(files::set_up(ask, OWN)),
    refresh: Some(|ask| Box::pin(files::refresh(ask, OWN))),
    ..Plugin::NEW
};

const OWN: Collect = |ask, files| {
    Box::pin(async move {
        let Some(source) = &ask.volume.config_map else { return Ok(()) };
        collect(ask, &source.name, Choice::new(&source.items, source.optional, source.default_mode), files).await
    })
};

pub(super) const PROJECTION: Projection = Projection {
    is: |part| part.config_map.is_some(),
    needs: |part| part.config_map.iter().map(|source| Source::config_map(&source.name)).collect(),
    collect: |ask, part, mode, files| {
        Box::pin(async move {
            let Some(source) = &part.config_map else { return Ok(()) };
            collect(ask, &source.name, Choice::new(&source.items, source.optional, mode), files).await
        })
    },
};

async fn collect(ask: Ask<'_>, name: &str, choice: Choice<'_>, files: &mut Files<'_>) -> Result<(), String> {
    let data = match ask.sources.config_map(ask.namespace(), name).await? {
        Some(found) => {
            let texts = found.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
            texts.chain(found.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0))).collect()
        }
        None if choice.optional => BTreeMap::new(),
        None => return Err(format!("configmap \"{name}\" not found")),
    };
    choice.pick(data, "configmap references non-existent config key", files)
}
