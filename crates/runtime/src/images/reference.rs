//! An image's name, as a user writes it and as Docker resolves it.
//!
//! `nginx` is `docker.io/library/nginx:latest`; the first part is a registry only if it has a dot, a
//! colon, a capital letter or is `localhost` (distribution/reference). One short name is ours: `toolbox`
//! is `gousse.dev/toolbox`, the image built into the binary (docs/decisions/images).

use std::fmt;

/// The registry of the built-in image. It exists on no network.
pub const BUILTIN_REGISTRY: &str = "gousse.dev";
/// Short names that are not Docker's.
const SHORT_NAMES: &[(&str, &str)] = &[("toolbox", "gousse.dev/toolbox")];
const NAME_LENGTH_MAX: usize = 255;

/// A resolved name. It has a tag, a digest, or both (then the digest decides).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`
    pub registry: String,
    /// `library/nginx`
    pub path: String,
    pub tag: Option<String>,
    /// `sha256:…`
    pub digest: Option<String>,
}

impl Reference {
    /// Resolves a name; the error is the text of upstream's parser (util/parsers ParseImageName,
    /// distribution/reference ParseNormalizedNamed).
    pub fn parse(name: &str) -> Result<Reference, String> {
        let refused = |why: &str| format!("couldn't parse image name {name:?}: {why}");
        let invalid = || refused("invalid reference format");
        if is_hex(name, 64) {
            let why = format!("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings");
            return Err(refused(&why));
        }
        let (_, remainder) = split_registry(name);
        let repository = remainder.split(':').next().unwrap_or_default();
        if repository.chars().any(char::is_uppercase) {
            let why = format!("invalid reference format: repository name ({repository}) must be lowercase");
            return Err(refused(&why));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_string())),
            Some(_) => return Err(invalid()),
            None => (name, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag.to_string())),
            _ => (rest, None),
        };
        if tag.as_deref().is_some_and(|t| !is_tag(t)) {
            return Err(invalid());
        }
        let rest = SHORT_NAMES.iter().find(|(short, _)| *short == rest).map_or(rest, |(_, long)| long);
        let (registry, path) = split_registry(rest);
        if !is_registry(&registry) || !path.split('/').all(is_path_part) {
            return Err(invalid());
        }
        if registry.len() + 1 + path.len() > NAME_LENGTH_MAX {
            return Err(refused(&format!("repository name must not be more than {NAME_LENGTH_MAX} characters")));
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".into()) } else { tag };
        Ok(Reference { registry, path, tag, digest })
    }

    /// `docker.io/library/nginx`
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// `docker.io/library/nginx:latest`, where it has a tag.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}/{}:{tag}", self.registry, self.path))
    }

    /// `docker.io/library/nginx@sha256:…` for a digest of this repository.
    pub fn at(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.registry, self.path)
    }

    /// What the registry is asked for: the digest where there is one, else the tag.
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// The image that the binary itself carries.
    pub fn is_builtin(&self) -> bool {
        self.registry == BUILTIN_REGISTRY
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// `sha256:` and 64 lower-case hex digits: the only digest that stores and registries here use.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
}

/// The hex digits of a digest that `is_digest`.
pub fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// Lower-case hex digits, as many as said.
pub fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn split_registry(rest: &str) -> (String, String) {
    let (registry, path) = match rest.split_once('/') {
        Some((first, path))
            if first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (first, path)
        }
        _ => ("docker.io", rest),
    };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    let library = registry == "docker.io" && !path.contains('/');
    (registry.to_string(), if library { format!("library/{path}") } else { path.to_string() })
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((v6, port)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port.strip_prefix(':')),
        Some(_) => return false,
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty()
        && text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let Some((first, last)) = bytes.first().zip(bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|joint| !joint.is_empty())
        .all(|joint| matches!(joint, "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests;
