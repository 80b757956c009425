//! Images of a fake machine: every well-formed name can be pulled, except where it says otherwise.
//!
//! A registry called `absent.invalid` answers that there is no such image, `broken.invalid` does not
//! answer at all. Ids are digests of the name, so a run replays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::{Boxed, Credential, Error, Images, Progress, Reader, Result};
use crate::images::Reference;
use crate::state::{Image, ImageUser};

const SIZE: u64 = 10 << 20;

pub(super) struct FakeImages {
    /// By id.
    present: Mutex<BTreeMap<String, Image>>,
    pull_time: Duration,
}

impl FakeImages {
    pub fn new(preloaded: &[String], pull_time: Duration) -> FakeImages {
        let images = FakeImages { present: Mutex::default(), pull_time };
        for name in preloaded {
            let mut image = image_of(&Reference::parse(name).expect("the test's configuration names images"));
            image.preloaded = true;
            images.lock().insert(image.id.clone(), image);
        }
        images
    }

    pub fn by_id(&self, id: &str) -> Option<Image> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Image>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, name: &str) -> Option<Image> {
        let present = self.lock();
        if let Some(image) = present.get(name) {
            return Some(image.clone());
        }
        let reference = Reference::parse(name).ok()?;
        let named = |image: &&Image| {
            reference.tagged().is_some_and(|tag| image.tags.contains(&tag))
                || reference.digest.as_ref().is_some_and(|digest| image.digests.contains(&reference.at(digest)))
        };
        present.values().find(named).cloned()
    }
}

impl Images for FakeImages {
    fn list(&self) -> Boxed<'_, Result<Vec<Image>>> {
        let all = self.lock().values().cloned().collect();
        Box::pin(async move { Ok(all) })
    }

    fn find(&self, name: &str) -> Boxed<'_, Result<Option<Image>>> {
        let found = self.found(name);
        Box::pin(async move { Ok(found) })
    }

    fn pull(&self, name: &str, _credentials: Vec<Credential>, progress: Progress) -> Boxed<'_, Result<Image>> {
        let reference = Reference::parse(name);
        Box::pin(async move {
            let reference = reference.map_err(Error::Failed)?;
            tokio::time::sleep(self.pull_time).await;
            match reference.registry.as_str() {
                "absent.invalid" => return Err(Error::Failed(format!("{}: not found", reference.repository()))),
                "broken.invalid" => return Err(Error::Failed("dial tcp: lookup broken.invalid: no such host".into())),
                _ => {}
            }
            progress(SIZE, SIZE);
            let image = image_of(&reference);
            self.lock().entry(image.id.clone()).or_insert_with(|| image.clone());
            Ok(image)
        })
    }

    fn load(&self, _archive: Reader) -> Boxed<'_, Result<Vec<Image>>> {
        Box::pin(async { Err(Error::Failed("the fake engine loads no archives; pull a name instead".into())) })
    }

    fn remove(&self, name: &str) -> Boxed<'_, Result<()>> {
        if let Some(image) = self.found(name) {
            self.lock().remove(&image.id);
        }
        Box::pin(async { Ok(()) })
    }

    fn collect(&self, unused: BTreeSet<String>) -> Boxed<'_, Result<u64>> {
        let mut present = self.lock();
        let freed = unused.iter().filter_map(|id| present.remove(id)).map(|image| image.size).sum();
        Box::pin(async move { Ok(freed) })
    }

    fn folder(&self) -> Option<&Path> {
        None
    }

    fn user(&self, _image: &str, user: &str) -> Boxed<'_, Result<ImageUser>> {
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let number = |text: &str| match text {
            "" | "root" => Ok(0),
            text => text.parse().map_err(|_| Error::Failed(format!("unable to find user {text}: no matching entries"))),
        };
        let numeric = user.is_empty() || user.parse::<u32>().is_ok();
        let result = number(user).and_then(|uid| Ok((uid, number(group)?)));
        let found = result.map(|(uid, gid)| ImageUser { uid, gid, groups: vec![], numeric, home: "/".into() });
        Box::pin(async move { found })
    }
}

fn image_of(reference: &Reference) -> Image {
    let name = reference.tagged().unwrap_or_else(|| reference.at(reference.version()));
    let digest = |what: &str| {
        let hash = ring::digest::digest(&ring::digest::SHA256, format!("{what} {name}").as_bytes());
        format!("sha256:{}", hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let manifest = reference.digest.clone().unwrap_or_else(|| digest("manifest"));
    Image {
        id: digest("configuration"),
        tags: reference.tagged().into_iter().collect(),
        digests: vec![reference.at(&manifest)],
        size: SIZE,
        cmd: vec!["serve".into()],
        ..Image::default()
    }
}
