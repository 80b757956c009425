//! secret: a file in memory for each key of a Secret, which follow it.

use std::collections::BTreeMap;

use crate::sources::Source;
use crate::volumes::files::{self, Choice, Collect, Files, Projection};
use crate::volumes::plugin::{Ask, Medium, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~secret",
    is: |volume| volume.secret.is_some(),
    medium: Medium::Memory,
    read_only: true,
    needs: |volume| volume.secret.iter().filter_map(|s| Some(Source::secret(s.secret_name.as_deref()?))).collect(),
    set_up: |ask| Box::pin(files::set_up(ask, OWN)),
    refresh: Some(|ask| Box::pin(files::refresh(ask, OWN))),
    ..Plugin::NEW
};

pub(super) const PROJECTION: Projection = Projection {
    is: |part| part.secret.is_some(),
    needs: |part| part.secret.iter().map(|source| Source::secret(&source.name)).collect(),
    collect: |ask, part, mode, files| {
        Box::pin(async move {
            let Some(source) = &part.secret else { return Ok(()) };
            collect(ask, &source.name, Choice::new(&source.items, source.optional, mode), files).await
        })
    },
};

const OWN: Collect = |ask, files| {
    Box::pin(async move {
        let Some(source) = &ask.volume.secret else { return Ok(()) };
        let name = source.secret_name.as_deref().unwrap_or_default();
        collect(ask, name, Choice::new(&source.items, source.optional, source.default_mode), files).await
    })
};

async fn collect(ask: Ask<'_>, name: &str, choice: Choice<'_>, files: &mut Files<'_>) -> Result<(), String> {
    let data = match ask.sources.secret(ask.namespace(), name).await? {
        Some(found) => found.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect(),
        None if choice.optional => BTreeMap::new(),
        None => return Err(format!("secret \"{name}\" not found")),
    };
    choice.pick(data, "references non-existent secret key", files)
}
