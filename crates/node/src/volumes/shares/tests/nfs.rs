//! nfs, where a folder of this machine plays the server: mounted once a node, mounted on into each pod.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::view::Volume;
use runtime::MountSource;

use crate::volumes::plugin::{NOT_BUILT, Plugin, Share};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "example.com~nfs",
    is: |volume| volume.others.contains_key("nfs"),
    set_up: |ask| {
        let mounted = ask.staged.map(|staged| MountSource::Host(staged.to_owned()));
        Box::pin(std::future::ready(mounted.ok_or_else(|| NOT_BUILT.to_owned())))
    },
    share: Some(Share {
        name: |volume| path_of(volume).into(),
        stage: |volume, folder| {
            Box::pin(async move { mount(path_of(volume), folder).await.map_err(|e| e.to_string()) })
        },
        unstage: |folder| Box::pin(async move { unmount(folder).await.map_err(|e| e.to_string()) }),
    }),
    ..Plugin::NEW
};

fn path_of(volume: &Volume) -> &str {
    volume.others.get("nfs").and_then(|nfs| nfs["path"].as_str()).unwrap_or("")
}

async fn mount(server: &str, folder: &Path) -> io::Result<()> {
    tell(server, "mounted").await?;
    fs::write(folder.join("server"), server)
}

async fn unmount(folder: &Path) -> io::Result<()> {
    let server = fs::read_to_string(folder.join("server"))?;
    tell(&server, "unmounted").await?;
    fs::remove_file(folder.join("server"))
}

/// The server answers in its own time, and keeps a log.
async fn tell(server: &str, word: &str) -> io::Result<()> {
    tokio::task::yield_now().await;
    let mut log = File::options().append(true).open(Path::new(server).join("log"))?;
    writeln!(log, "{word}")
}
