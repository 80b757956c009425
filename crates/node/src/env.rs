//! A container's environment: service links, `envFrom`, `env` in order, each seeing the ones before.
//!
//! Matches makeEnvironmentVariables of pkg/kubelet/kubelet_pods.go: a later variable replaces an
//! earlier one of its name, and the service links come last and never replace what the pod says.

use std::collections::BTreeMap;

use crate::view::{Container, EnvVar, EnvVarSource, FileKeySelector, Pod};
use runtime::MountSource;

use crate::downward::{self, Facts};
use crate::expand::expand;
use crate::pod;
use crate::sources::Sources;
use crate::spec::Mounted;

/// Variables from files in volumes.
mod file;
/// Variables that link to services.
pub mod services;

/// Why a container has no environment yet: waiting reason CreateContainerConfigError, retried.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct EnvError {
    pub message: String,
}

/// The variables in order, and what is worth an event (reason, message): names that are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Environment {
    pub variables: Vec<(String, String)>,
    pub warnings: Vec<(&'static str, String)>,
}

impl Environment {
    /// The last value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.variables.iter_mut().find(|(n, _)| n == name) {
            Some(known) => known.1 = value,
            None => self.variables.push((name.to_string(), value)),
        }
    }
}

/// The whole environment of one container, without what its image adds.
pub async fn environment(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    sources: &dyn Sources,
    volumes: &BTreeMap<String, Mounted>,
) -> Result<Environment, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let links = service_links(pod, namespace, sources).await?;
    let mut environment = Environment::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (what, name, data) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(reference), _) => {
                let optional = reference.optional.unwrap_or(false);
                ("configMap", &reference.name, config_map_data(sources, namespace, &reference.name, optional).await?)
            }
            (None, Some(reference)) => {
                let optional = reference.optional.unwrap_or(false);
                ("secret", &reference.name, secret_data(sources, namespace, &reference.name, optional).await?)
            }
            (None, None) => continue,
        };
        let mut invalid = Vec::new();
        for (key, value) in data {
            let variable = format!("{prefix}{key}");
            if is_variable_name(&variable) { environment.set(&variable, value) } else { invalid.push(key) }
        }
        if !invalid.is_empty() {
            let keys = invalid.join(", ");
            environment.warnings.push((
                "InvalidEnvironmentVariableNames",
                format!(
                    "Keys [{keys}] from the EnvFrom {what} {namespace}/{name} were skipped since they are considered invalid environment variable names."
                ),
            ));
        }
    }
    let known = Known { pod, container, facts, sources, namespace, volumes };
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) if !text.is_empty() => Some(expand(text, |name| {
                environment.get(name).map(str::to_string).or_else(|| links.get(name).cloned())
            })),
            (_, Some(source)) => known.referenced(variable, source).await?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            environment.set(&variable.name, value);
        }
    }
    for (name, value) in links {
        if environment.get(&name).is_none() {
            environment.variables.push((name, value));
        }
    }
    Ok(environment)
}

/// What a reference may lead to.
struct Known<'a> {
    pod: &'a Pod,
    container: &'a Container,
    facts: &'a Facts,
    sources: &'a dyn Sources,
    namespace: &'a str,
    volumes: &'a BTreeMap<String, Mounted>,
}

impl Known<'_> {
    /// None: an optional reference that leads nowhere, so the variable is not set.
    async fn referenced(&self, variable: &EnvVar, source: &EnvVarSource) -> Result<Option<String>, EnvError> {
        let (pod, namespace) = (self.pod, self.namespace);
        if let Some(reference) = &source.field_ref {
            return downward::field(pod, self.facts, &reference.field_path).map(Some).map_err(failed);
        }
        if let Some(reference) = &source.resource_field_ref {
            let of = match reference.container_name.as_deref() {
                None | Some("") => self.container,
                Some(name) => pod::container(pod, name).ok_or_else(|| failed(format!("container {name} not found")))?,
            };
            return downward::resource(of, self.facts, reference).map(Some).map_err(failed);
        }
        if let Some(reference) = &source.config_map_key_ref {
            let optional = reference.optional.unwrap_or(false);
            let name = &reference.name;
            let data = config_map_data(self.sources, namespace, name, optional).await?;
            return under(data, &reference.key, optional, format_args!("ConfigMap {namespace}/{name}"));
        }
        if let Some(reference) = &source.secret_key_ref {
            let optional = reference.optional.unwrap_or(false);
            let name = &reference.name;
            let data = secret_data(self.sources, namespace, name, optional).await?;
            return under(data, &reference.key, optional, format_args!("Secret {namespace}/{name}"));
        }
        if let Some(reference) = &source.file_key_ref {
            return self.in_file(reference);
        }
        Err(failed(format!("environment variable {} has a source that this node does not support", variable.name)))
    }

    /// A file that another container wrote to a volume (KEP 3721, gate EnvFiles).
    fn in_file(&self, reference: &FileKeySelector) -> Result<Option<String>, EnvError> {
        let FileKeySelector { key, path, volume_name, .. } = reference;
        let Some(MountSource::Host(root)) = self.volumes.get(volume_name).map(|v| &v.source) else {
            return Err(failed(format!("cannot find the volume {volume_name:?} referenced by FileKeyRef")));
        };
        let value = file::value(root, path, key).map_err(|why| {
            // Of every cause upstream says the same, and more in its log only (kubelet_pods.go
            // makeEnvironmentVariables): who reads a pod's status need not see what its files are like.
            tracing::warn!(pod = self.pod.metadata.name, volume = volume_name, "{why}");
            failed("couldn't parse env file")
        })?;
        match value.is_empty() {
            false => Ok(Some(value)),
            true if reference.optional.unwrap_or(false) => Ok(None),
            true => {
                let file = root.join(path);
                Err(failed(format!("environment variable key {key:?} not found in file {:?}", file.display())))
            }
        }
    }
}

/// A key of an object's data.
fn under(
    mut data: BTreeMap<String, String>,
    key: &str,
    optional: bool,
    whose: std::fmt::Arguments<'_>,
) -> Result<Option<String>, EnvError> {
    match data.remove(key) {
        None if !optional => Err(failed(format!("couldn't find key {key} in {whose}"))),
        found => Ok(found),
    }
}

async fn config_map_data(
    sources: &dyn Sources,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, String>, EnvError> {
    match sources.config_map(namespace, name).await.map_err(failed)? {
        Some(found) => Ok(found.data.unwrap_or_default()),
        None if optional => Ok(BTreeMap::new()),
        None => Err(failed(format!("configmap \"{name}\" not found"))),
    }
}

async fn secret_data(
    sources: &dyn Sources,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, String>, EnvError> {
    match sources.secret(namespace, name).await.map_err(failed)? {
        Some(found) => {
            let text =
                |(key, value): (String, crate::view::ByteString)| (key, String::from_utf8_lossy(&value.0).into_owned());
            Ok(found.data.unwrap_or_default().into_iter().map(text).collect())
        }
        None if optional => Ok(BTreeMap::new()),
        None => Err(failed(format!("secret \"{name}\" not found"))),
    }
}

/// The API server's service for every pod, all of the namespace's where the pod wants them.
async fn service_links(
    pod: &Pod,
    namespace: &str,
    sources: &dyn Sources,
) -> Result<BTreeMap<String, String>, EnvError> {
    let wanted = pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
    let mut linked = sources.services("default").await.map_err(failed)?;
    linked.retain(|s| s.metadata.name.as_deref() == Some("kubernetes"));
    if wanted {
        // A service of the pod's own namespace comes first where two share a name.
        let own = sources.services(namespace).await.map_err(failed)?;
        linked.retain(|s| own.iter().all(|o| o.metadata.name != s.metadata.name));
        linked.extend(own);
    }
    Ok(services::variables(&linked))
}

/// Printable ASCII without `=` (relaxed validation, general since 1.34).
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

fn failed(message: impl Into<String>) -> EnvError {
    EnvError { message: message.into() }
}

#[cfg(test)]
mod tests;
