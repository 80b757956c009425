//! projected: what several sources have to say, in one folder; PROJECTIONS is their table.

use crate::view::VolumeProjection;

use crate::volumes::files::{self, Collect, Projection};
use crate::volumes::plugin::{Medium, Plugin};
use crate::volumes::{config_map, downward_api, pod_certificate, secret, token, trust_bundle};

static PROJECTIONS: &[Projection] = &[
    config_map::PROJECTION,
    secret::PROJECTION,
    downward_api::PROJECTION,
    token::PROJECTION,
    trust_bundle::PROJECTION,
    pod_certificate::PROJECTION,
];

pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~projected",
    is: |volume| volume.projected.is_some(),
    medium: Medium::Memory,
    read_only: true,
    needs: |volume| {
        let parts = volume.projected.iter().flat_map(|source| source.sources.iter().flatten());
        parts.filter_map(|part| Some((of(part)?.needs)(part))).flatten().collect()
    },
    set_up: |ask| Box::pin(files::set_up(ask, OWN)),
    refresh: Some(|ask| Box::pin(files::refresh(ask, OWN))),
    ..Plugin::NEW
};

const OWN: Collect = |ask, files| {
    Box::pin(async move {
        let Some(source) = &ask.volume.projected else { return Ok(()) };
        for part in source.sources.iter().flatten() {
            let projection = of(part).ok_or("this node does not support one of the projected volume's sources")?;
            (projection.collect)(ask, part, source.default_mode, files).await?;
        }
        Ok(())
    })
};

fn of(part: &VolumeProjection) -> Option<&'static Projection> {
    PROJECTIONS.iter().find(|projection| (projection.is)(part))
}
