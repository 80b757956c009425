//! What a persistent volume is made of: one source, in upstream's order and words.
//!
//! Matches ValidatePersistentVolumeSpec (pkg/apis/core/validation). A source that no node mounts any more is
//! judged all the same, as upstream judges it.

use api::names;
use serde_json::Value;

use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::paths::{host_path, local_path, no_backsteps};
use crate::validate::volume;

type Judge = fn(&At, &str, &mut Errors);

struct Source {
    field: &'static str,
    judge: Judge,
    /// Upstream's name of it in paths: of its parts, and of one too many.
    shown: &'static str,
    shown_twice: &'static str,
}

const fn source(field: &'static str, judge: Judge) -> Source {
    Source { field, judge, shown: field, shown_twice: field }
}

static SOURCES: &[Source] = &[
    source("hostPath", |at, _, errors| host_path(at, errors)),
    Source { shown: "persistentDisk", ..source("gcePersistentDisk", |at, _, errors| disk(at, "pdName", errors)) },
    source("awsElasticBlockStore", |at, _, errors| disk(at, "volumeID", errors)),
    source("glusterfs", |at, _, errors| glusterfs(at, errors)),
    source("flocker", |at, _, errors| flocker(at, errors)),
    source("nfs", |at, _, errors| nfs(at, errors)),
    source("rbd", |at, _, errors| needs(at, &["monitors", "image"], errors)),
    source("quobyte", |at, _, errors| quobyte(at, errors)),
    Source { shown_twice: "cephFS", ..source("cephfs", |at, _, errors| needs(at, &["monitors"], errors)) },
    source("iscsi", iscsi),
    source("cinder", |at, _, errors| {
        needs(at, &["volumeID"], errors);
        secret(&at.get("secretRef"), errors);
    }),
    source("fc", |at, _, errors| fibre_channel(at, errors)),
    source(FLEX, |at, _, errors| flex(at, errors)),
    source("azureFile", |at, _, errors| {
        needs(at, &["secretName", "shareName"], errors);
        if at.has_field("secretNamespace") {
            needs(at, &["secretNamespace"], errors);
        }
    }),
    source("vsphereVolume", |at, _, errors| needs(at, &["volumePath"], errors)),
    source("photonPersistentDisk", |at, _, errors| needs(at, &["pdID"], errors)),
    source("portworxVolume", |at, _, errors| needs(at, &["volumeID"], errors)),
    source("azureDisk", |at, _, errors| azure_disk(at, errors)),
    source("scaleIO", |at, _, errors| needs(at, &["gateway", "system", "volumeName"], errors)),
    source("local", |at, _, errors| {
        needs(at, &["path"], errors);
        no_backsteps(&at.get("path"), errors);
    }),
    source("storageos", |at, _, errors| storage_os(at, errors)),
    source("csi", |at, _, errors| csi(at, errors)),
];

/// Upstream never counts it as one too many.
const FLEX: &str = "flexVolume";

/// The first one counts, each further one is one too many. `name` is the volume's.
pub fn sources(spec: &At, name: &str, errors: &mut Errors) {
    let mut first = true;
    for source in SOURCES.iter().filter(|source| spec.has_field(source.field)) {
        if first || source.field == FLEX {
            let at = spec.get(source.shown).with(spec.get(source.field).value);
            (source.judge)(&at, name, errors);
        } else {
            errors.push(spec.get(source.shown_twice).forbidden("may not specify more than 1 volume type"));
        }
        first = false;
        // On one node only.
        if source.field == "local" && !spec.has_field("nodeAffinity") {
            errors.push(spec.get("nodeAffinity").required("Local volume requires node affinity"));
        }
    }
    if first {
        errors.push(spec.required("must specify a volume type"));
    }
}

/// Judges a source of a pod's volume, if it is one that volumes have too: of the pod's namespace are the secrets and
/// endpoints that it names.
pub fn of_pod(volume: &At, field: &'static str, errors: &mut Errors) {
    let at = volume.get(field);
    match field {
        "gcePersistentDisk" => disk(&volume.get("persistentDisk").with(at.value), "pdName", errors),
        "cinder" => needs(&at, &["volumeID"], errors),
        "storageos" => {
            needs(&at, &["volumeName"], errors);
            storage_os_names(&at, errors);
        }
        "iscsi" => {
            let name = volume.get("name");
            iscsi_target(&at, errors);
            if too_long_together(&at, name.text()) {
                errors.push(name.invalid(TOO_LONG_TOGETHER));
            }
        }
        "gitRepo" => {
            needs(&at, &["repository"], errors);
            local_path(&at.get("directory"), errors);
        }
        _ => {
            if let Some(source) = SOURCES.iter().find(|source| source.field == field) {
                (source.judge)(&at, "", errors);
            }
        }
    }
    let secret = at.get("secretRef");
    if matches!(field, "cinder" | "storageos") && secret.has() {
        needs(&secret, &["name"], errors);
    }
}

/// The sources alone, of a spec that has other fields too.
pub fn only(spec: &Value) -> Value {
    let known = |field: &str| SOURCES.iter().any(|source| source.field == field);
    let fields = spec.as_object().into_iter().flatten().filter(|(field, _)| known(field));
    fields.map(|(field, value)| (field.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

/// Texts and lists that hold something.
fn needs(at: &At, fields: &[&'static str], errors: &mut Errors) {
    let missing = fields.iter().map(|field| at.get(field)).filter(|field| field.text().is_empty() && field.is_empty());
    errors.extend(missing.map(|field| field.required("")));
}

/// By name and namespace, if there is one.
fn secret(at: &At, errors: &mut Errors) {
    if at.has() {
        needs(at, &["name", "namespace"], errors);
    }
}

fn disk(at: &At, name: &'static str, errors: &mut Errors) {
    needs(at, &[name], errors);
    let partition = at.get("partition");
    if !(0..=255).contains(&partition.number()) {
        errors.push(partition.invalid("must be between 1 and 255, inclusive"));
    }
}

fn glusterfs(at: &At, errors: &mut Errors) {
    needs(at, &["endpoints", "path"], errors);
    let namespace = at.get("endpointsNamespace");
    match namespace.text() {
        _ if !namespace.has() => {}
        "" => errors.push(namespace.invalid("if the endpointnamespace is set, it must be a valid namespace name")),
        text => invalid_each(&namespace, names::dns_label(text), errors),
    }
}

fn flocker(at: &At, errors: &mut Errors) {
    let (name, uuid) = (at.get("datasetName"), at.get("datasetUUID"));
    match (name.text(), uuid.text()) {
        ("", "") => errors.push(at.required("one of datasetName and datasetUUID is required")),
        ("", _) | (_, "") => {}
        _ => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(at.invalid_as("resource", why));
        }
    }
    if name.text().contains('/') {
        errors.push(name.invalid("must not contain '/'"));
    }
}

fn nfs(at: &At, errors: &mut Errors) {
    needs(at, &["server", "path"], errors);
    if !at.get("path").text().starts_with('/') {
        errors.push(at.get("path").invalid("must be an absolute path"));
    }
}

fn quobyte(at: &At, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant) = (at.get("registry"), at.get("tenant"));
    if registry.text().is_empty() {
        errors.push(registry.required(PAIRS));
    } else if tenant.text().len() > 64 {
        errors.push(tenant.required("must be a UUID and may not exceed a length of 64 characters"));
    } else {
        let wrong = registry.text().split(',').filter(|pair| !is_host_and_port(pair));
        errors.extend(wrong.map(|_| registry.invalid(PAIRS)));
    }
    needs(at, &["volume"], errors);
}

/// As Go's net.SplitHostPort takes it: one colon, or brackets around the host.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_bare = |host: &str| !host.contains(['[', ']']);
    bare.map_or(is_bare(host) && !host.contains(':'), is_bare) && is_bare(port)
}

const TOO_LONG_TOGETHER: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                                 iscsi.initiatorName is specified.";

fn too_long_together(at: &At, name: &str) -> bool {
    at.has_field("initiatorName") && name.len() + 1 + at.get("targetPortal").text().len() > 64
}

fn iscsi(at: &At, name: &str, errors: &mut Errors) {
    needs(at, &["targetPortal"], errors);
    let (portal, secret) = (at.get("targetPortal"), at.get("secretRef"));
    if too_long_together(at, name) {
        errors.push(at.get("targetportal").with(portal.value).invalid(TOO_LONG_TOGETHER));
    }
    let iqn = at.get("iqn");
    if iqn.text().is_empty() {
        errors.push(iqn.required(""));
    } else if !is_qualified_name(iqn.text()) {
        errors.push(iqn.invalid("must be valid format"));
    }
    iscsi_lun(at, errors);
    if secret.has() {
        needs(&secret, &["name"], errors);
    }
    let initiator = at.get("initiatorName");
    if initiator.has() && !is_qualified_name(initiator.text()) {
        errors.push(at.get("initiatorname").with(initiator.value).invalid("must be valid format"));
    }
}

/// In a pod, where names that begin wrongly are told apart from those that go on wrongly.
fn iscsi_target(at: &At, errors: &mut Errors) {
    const START: &str = "must be valid format starting with iqn, eui, or naa";
    let begins = |name: &At| ["iqn", "eui", "naa"].iter().any(|start| name.text().starts_with(start));
    needs(at, &["targetPortal", "iqn"], errors);
    let name = |name: &At, errors: &mut Errors| match begins(name) {
        false => errors.push(name.invalid(START)),
        true if !is_qualified_name(name.text()) => errors.push(name.invalid("must be valid format")),
        true => {}
    };
    let (iqn, initiator) = (at.get("iqn"), at.get("initiatorName"));
    if !iqn.text().is_empty() {
        name(&iqn, errors);
    }
    iscsi_lun(at, errors);
    if initiator.has() {
        name(&at.get("initiatorname").with(initiator.value), errors);
    }
}

fn iscsi_lun(at: &At, errors: &mut Errors) {
    let (lun, secret) = (at.get("lun"), at.get("secretRef"));
    invalid_each(&lun, names::within(lun.number(), 0, 255), errors);
    if (at.get("chapAuthDiscovery").flag() || at.get("chapAuthSession").flag()) && !secret.has() {
        errors.push(secret.required(""));
    }
}

/// `iqn.2001-04.com.example:storage.disk`, `eui.` and 16 letters and digits, `naa.` and 32.
fn is_qualified_name(text: &str) -> bool {
    let letters = |rest: &str, count: usize| {
        // Upstream's dot stands for any character.
        let mut rest = rest.chars();
        rest.next().is_some_and(|c| c != '\n')
            && rest.as_str().len() == count
            && rest.as_str().bytes().all(|b| b.is_ascii_alphanumeric())
    };
    match text.get(..3) {
        Some("iqn") => is_dated_name(&text[3..]),
        Some("eui") => letters(&text[3..], 16),
        Some("naa") => letters(&text[3..], 32),
        _ => false,
    }
}

/// `.2001-04.com.example:storage`: the owner's name since a month, and what they call it.
fn is_dated_name(text: &str) -> bool {
    let digits = |text: Option<&str>| text.is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let Some((owner, called)) = text.split_once(':') else { return false };
    let is_dated = owner.starts_with('.')
        && digits(owner.get(1..5))
        && owner.get(5..6) == Some("-")
        && digits(owner.get(6..8))
        && owner.get(8..9) == Some(".");
    let name = owner.get(9..).unwrap_or_default();
    is_dated
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && !called.is_empty()
        && !called.contains([',', ';', '&', '*', '$', '|', ' ', '\t', '\n', '\r', '\u{c}'])
}

fn fibre_channel(at: &At, errors: &mut Errors) {
    let (targets, ids, lun) = (at.get("targetWWNs"), at.get("wwids"), at.get("lun"));
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => errors.push(targets.required("must specify either targetWWNs or wwids, but not both")),
        (false, false) => errors.push(targets.invalid("targetWWNs and wwids can not be specified simultaneously")),
        _ => {}
    }
    if targets.is_empty() {
        return;
    }
    match lun.int() {
        None => errors.push(lun.required("lun is required if targetWWNs is specified")),
        Some(number) => invalid_each(&lun, names::within(number, 0, 255), errors),
    }
}

fn flex(at: &At, errors: &mut Errors) {
    needs(at, &["driver"], errors);
    for (key, option) in at.get("options").entries() {
        let owner = format!(".{}", key.split_once('/').map_or(key.as_str(), |(owner, _)| owner).to_lowercase());
        if owner.ends_with(".kubernetes.io") || owner.ends_with(".k8s.io") {
            let keyed = at.get("options").key(key).with(option.value);
            errors.push(keyed.invalid_as(key.as_str(), "kubernetes.io and k8s.io namespaces are reserved"));
        }
    }
}

fn azure_disk(at: &At, errors: &mut Errors) {
    needs(at, &["diskName", "diskURI"], errors);
    let (caching, kind, uri) = (at.get("cachingMode"), at.get("kind"), at.get("diskURI"));
    let one_of = |at: &At, known: &[&str], errors: &mut Errors| {
        if at.has() && !known.contains(&at.text()) {
            errors.push(at.not_supported(known));
        }
    };
    one_of(&caching, &["None", "ReadOnly", "ReadWrite"], errors);
    one_of(&kind, &["Dedicated", "Managed", "Shared"], errors);
    let (start, form) = match kind.text() {
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if kind.has() && !uri.text().starts_with(start) {
        errors.push(uri.not_supported(&[form]));
    }
}

fn storage_os(at: &At, errors: &mut Errors) {
    needs(at, &["volumeName"], errors);
    storage_os_names(at, errors);
    secret(&at.get("secretRef"), errors);
}

fn storage_os_names(at: &At, errors: &mut Errors) {
    for name in ["volumeName", "volumeNamespace"].map(|field| at.get(field)) {
        if !name.text().is_empty() {
            invalid_each(&name, names::dns_label(name.text()), errors);
        }
    }
}

fn csi(at: &At, errors: &mut Errors) {
    volume::driver(&at.get("driver"), errors);
    needs(at, &["volumeHandle"], errors);
    let secrets =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for reference in secrets.map(|field| at.get(field)).iter().filter(|reference| reference.has()) {
        for (field, rule) in [("name", names::dns_subdomain as fn(&str) -> _), ("namespace", names::dns_label)] {
            let part = reference.get(field);
            match part.text() {
                "" => errors.push(part.required("")),
                text => invalid_each(&part, rule(text), errors),
            }
        }
    }
}
