//! What happens to requests for certificates: pkg/controller/certificates.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::tree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, ExtensionReq};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Who approves by themselves: certificates of nodes' agents.
pub mod approver;
/// What is old goes.
pub mod cleaner;
/// The bundle by which the server is known.
pub mod publisher;
/// The signers of kubernetes.io.
pub mod signer;

const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENTS: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const ALT_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Whether a name is of a sort.
type IsName = fn(&GeneralName) -> bool;

/// What a request asks for, taken from its PKCS#10. Whether it is signed by its key was judged at its create.
struct Asked {
    subject: Name,
    /// Of several the last (Go's pkix.Name), and how many there are.
    common_name: String,
    common_names: usize,
    organizations: Vec<String>,
    /// DNS names, addresses, mail addresses and URIs; others are dropped.
    names: Vec<GeneralName>,
    key: SubjectPublicKeyInfoOwned,
}

impl Asked {
    fn of(request: &Value) -> Result<Asked, String> {
        let pem = STANDARD.decode(tree::text(request, "spec.request")).map_err(|e| e.to_string())?;
        let block = pem::parse(pem).map_err(|e| e.to_string())?;
        if block.tag() != "CERTIFICATE REQUEST" {
            return Err("PEM block type must be CERTIFICATE REQUEST".into());
        }
        let info = CertReq::from_der(block.contents()).map_err(|e| e.to_string())?.info;
        let mut asked = Asked {
            common_name: String::new(),
            common_names: 0,
            organizations: Vec::new(),
            names: Vec::new(),
            key: info.public_key,
            subject: info.subject,
        };
        for attribute in asked.subject.0.iter().flat_map(|set| set.0.iter()) {
            // One that is not read here is not judged, and might be read by others.
            let text = text_of(attribute).ok_or_else(|| format!("subject {} cannot be read", attribute.oid))?;
            match attribute.oid {
                COMMON_NAME => (asked.common_name, asked.common_names) = (text, asked.common_names + 1),
                ORGANIZATION => asked.organizations.push(text),
                _ => {}
            }
        }
        for attribute in info.attributes.iter().filter(|attribute| attribute.oid == EXTENSION_REQUEST) {
            for value in attribute.values.iter() {
                let der = value.to_der().map_err(|e| e.to_string())?;
                let extensions = ExtensionReq::from_der(&der).map_err(|e| e.to_string())?;
                for names in extensions.0.iter().filter(|extension| extension.extn_id == ALT_NAMES) {
                    let names = SubjectAltName::from_der(names.extn_value.as_bytes()).map_err(|e| e.to_string())?;
                    asked.names.extend(names.0.into_iter().filter(is_known));
                }
            }
        }
        Ok(asked)
    }

    fn has(&self, wanted: IsName) -> bool {
        self.names.iter().any(wanted)
    }
}

fn text_of(attribute: &AttributeTypeAndValue) -> Option<String> {
    let value = &attribute.value;
    let text = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
    let text = text.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()));
    text.or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned())).ok()
}

fn is_known(name: &GeneralName) -> bool {
    is_dns(name) || is_ip(name) || is_mail(name) || is_uri(name)
}

fn is_dns(name: &GeneralName) -> bool {
    matches!(name, GeneralName::DnsName(_))
}

fn is_ip(name: &GeneralName) -> bool {
    matches!(name, GeneralName::IpAddress(bytes) if address(bytes.as_bytes()).is_some())
}

fn is_mail(name: &GeneralName) -> bool {
    matches!(name, GeneralName::Rfc822Name(_))
}

fn is_uri(name: &GeneralName) -> bool {
    matches!(name, GeneralName::UniformResourceIdentifier(_))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// What a node's agent may ask for (pkg/apis/certificates/helpers.go ValidateKubeletClientCSR); the first
/// complaint.
fn of_kubelet_client(asked: &Asked, request: &Value) -> Result<(), String> {
    organization(asked)?;
    let kinds = [("DNS", is_dns as IsName), ("Email", is_mail), ("IP", is_ip), ("URI", is_uri)];
    if let Some((kind, _)) = kinds.iter().find(|(_, is)| asked.has(*is)) {
        return Err(format!("{kind} subjectAltNames are not allowed"));
    }
    name(asked)?;
    usages(request, "client auth")
}

/// What it may serve with (ValidateKubeletServingCSR).
fn of_kubelet_serving(asked: &Asked, request: &Value) -> Result<(), String> {
    organization(asked)?;
    if !asked.has(is_dns) && !asked.has(is_ip) {
        return Err("DNS or IP subjectAltName is required".into());
    }
    if asked.has(is_mail) {
        return Err("Email subjectAltNames are not allowed".into());
    }
    if asked.has(is_uri) {
        return Err("URI subjectAltNames are not allowed".into());
    }
    usages(request, "server auth")?;
    name(asked)
}

fn organization(asked: &Asked) -> Result<(), String> {
    match asked.organizations == ["system:nodes"] {
        true => Ok(()),
        false => Err("subject organization is not system:nodes".into()),
    }
}

fn name(asked: &Asked) -> Result<(), String> {
    match asked.common_name.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".into()),
    }
}

/// The purpose and what it needs, with or without what only RSA needs.
fn usages(request: &Value, purpose: &str) -> Result<(), String> {
    let usages = usages_of(request);
    let needed = BTreeSet::from(["digital signature", purpose]);
    let mut with_rsa = needed.clone();
    with_rsa.insert("key encipherment");
    if usages == needed || usages == with_rsa {
        return Ok(());
    }
    let mut listed = ["digital signature", "key encipherment", purpose];
    listed.sort_unstable();
    Err(format!("usages did not match [{}]", listed.join(" ")))
}

fn usages_of(request: &Value) -> BTreeSet<&str> {
    tree::list(request, "spec.usages").iter().filter_map(Value::as_str).collect()
}

fn has_condition(request: &Value, kind: &str) -> bool {
    tree::list(request, "status.conditions").iter().any(|condition| condition["type"] == kind)
}

fn is_issued(request: &Value) -> bool {
    !tree::text(request, "status.certificate").is_empty()
}

#[cfg(test)]
mod tests;
