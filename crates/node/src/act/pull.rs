//! The image of a container: found here or pulled, as its policy says; told in upstream's words.

use std::sync::Arc;

use crate::view as core;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::recorder::Type;
use jiff::SignedDuration;
use runtime::Image;
use runtime::engine::Credential;
use runtime::images::Reference;
use serde_json::Value;
use tokio::sync::watch;

use crate::act::{Failure, Voice};
use crate::plan::backoff;
use crate::pod;
use crate::shared::Shared;

/// What an image is for, and so of what its pull is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Container,
    /// An image volume: its pull is the pod's, its failure holds the container all the same
    /// (kuberuntime_manager.go getImageVolumes, toKubeContainerImageVolumes).
    Volume,
}

/// Whose images they are, and who hears of them.
pub(super) struct Puller<'a> {
    pub shared: &'a Shared,
    pub pod: &'a core::Pod,
    /// About the container that is started.
    pub container: &'a Voice,
    pub cancel: &'a watch::Sender<bool>,
}

impl Puller<'_> {
    /// The image, present on this machine.
    pub async fn image(&self, what: For, name: &str, policy: &str) -> Result<Image, Failure> {
        if let Err(why) = Reference::parse(name) {
            let message = format!("Failed to apply default image tag \"{name}\": {why}");
            self.tell(what, Type::Warning, "InspectFailed", &message);
            self.container.event(Type::Warning, "Failed", "Error: InvalidImageName");
            return Err(Failure::waiting("InvalidImageName", message));
        }
        let images = self.shared.engine.images();
        let found = match images.find(name).await {
            Ok(found) => found,
            Err(why) => {
                let message = format!("Failed to inspect image \"{name}\": {why}");
                self.tell(what, Type::Warning, "InspectFailed", &message);
                self.container.event(Type::Warning, "Failed", "Error: ImageInspectError");
                return Err(Failure::waiting("ImageInspectError", message));
            }
        };
        match (policy, found) {
            ("Never", None) => {
                let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                self.tell(what, Type::Warning, "ErrImageNeverPull", &message);
                self.container.event(Type::Warning, "Failed", "Error: ErrImageNeverPull");
                Err(Failure::waiting("ErrImageNeverPull", message))
            }
            ("Never" | "IfNotPresent", Some(image)) => {
                let message =
                    format!("Container image \"{name}\" already present on machine and can be accessed by the pod");
                self.tell(what, Type::Normal, "Pulled", &message);
                Ok(image)
            }
            _ => self.pull(what, name).await,
        }
    }

    async fn pull(&self, what: For, name: &str) -> Result<Image, Failure> {
        self.tell(what, Type::Normal, "Pulling", &format!("Pulling image \"{name}\""));
        let credentials = self.credentials().await;
        let images = self.shared.engine.images();
        let begun = self.shared.config.now();
        let mut cancel = self.cancel.subscribe();
        let pulled = tokio::select! {
            biased;
            pulled = images.pull(name, credentials, Arc::new(|_, _| {})) => pulled,
            _ = cancel.wait_for(|given_up| *given_up) => return Err(Failure::cancelled()),
        };
        match pulled {
            Ok(image) => {
                let took = printed(self.shared.config.now().duration_since(begun));
                let message = format!(
                    "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {} bytes.",
                    image.size
                );
                self.tell(what, Type::Normal, "Pulled", &message);
                self.shared.standing.change();
                Ok(image)
            }
            Err(why) => {
                let error = why.to_string();
                self.tell(what, Type::Warning, "Failed", &format!("Failed to pull image \"{name}\": {error}"));
                self.container.event(Type::Warning, "Failed", "Error: ErrImagePull");
                Err(Failure { pull: Some((name.to_owned(), error.clone())), ..Failure::waiting("ErrImagePull", error) })
            }
        }
    }

    fn tell(&self, what: For, class: Type, reason: &str, message: &str) {
        match what {
            For::Container => self.container.event(class, reason, message),
            For::Volume => self.container.event_of_pod(class, reason, message),
        }
    }

    /// What the pod's pull secrets say; one that is missing is told and done without.
    async fn credentials(&self) -> Vec<Credential> {
        let namespace = pod::namespace(self.pod);
        let mut all = Vec::new();
        let mut missing = Vec::new();
        for reference in self.pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()) {
            match self.shared.sources.secret(namespace, &reference.name).await {
                Ok(Some(secret)) => all.extend(credentials_of(&secret)),
                Ok(None) | Err(_) => missing.push(reference.name.clone()),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.container.event_of_pod(Type::Warning, "FailedToRetrieveImagePullSecret", &message);
        }
        all
    }
}

/// `.dockerconfigjson` or the older `.dockercfg`.
fn credentials_of(secret: &core::Secret) -> Vec<Credential> {
    let Some(data) = &secret.data else { return Vec::new() };
    let tree = |key: &str| data.get(key).and_then(|bytes| serde_json::from_slice::<Value>(&bytes.0).ok());
    let auths = match (tree(".dockerconfigjson"), tree(".dockercfg")) {
        (Some(config), _) => config["auths"].clone(),
        (None, Some(auths)) => auths,
        (None, None) => return Vec::new(),
    };
    let credential = |(registry, auth): (&String, &Value)| {
        let text = |key: &str| auth[key].as_str().unwrap_or("").to_owned();
        let (mut username, mut password) = (text("username"), text("password"));
        let pair = STANDARD.decode(text("auth")).ok().and_then(|b| String::from_utf8(b).ok());
        if let Some((u, p)) = pair.as_deref().and_then(|p| p.split_once(':')) {
            (username, password) = (u.to_owned(), p.trim_end_matches('\0').to_owned());
        }
        Credential { registry: registry.clone(), username, password, identity_token: text("identitytoken") }
    };
    auths.as_object().into_iter().flatten().map(credential).collect()
}

/// As Go prints a time: `1.2s`, `350ms`.
fn printed(duration: SignedDuration) -> String {
    let millis = duration.as_millis();
    match millis {
        m if m < 1000 => format!("{m}ms"),
        m if m < 60_000 => {
            let text = format!("{:.3}", m as f64 / 1000.0);
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => backoff::go_duration(duration),
    }
}

#[cfg(test)]
mod tests;
