//! csrsigning: what was approved is signed by the authority, for the signers of kubernetes.io.
//!
//! pkg/controller/certificates/{signer,authority}. What is asked for is what is signed, but for extensions,
//! which are made of the usages; a request that its signer may not grant fails.

use std::sync::Arc;
use std::time::Duration;

use api::resource::CERTIFICATE_SIGNING_REQUESTS;
use api::{Entropy, Status, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Key;
use client::reconcile::{self, Requeue};
use jiff::{SignedDuration, Timestamp};
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::der::asn1::{BitString, GeneralizedTime, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use super::{
    Asked, CLIENTS, KUBELET_CLIENTS, KUBELET_SERVING, LEGACY, has_condition, is_issued, of_kubelet_client,
    of_kubelet_serving, usages_of,
};
use crate::Parts;

/// The longest life (--cluster-signing-duration), and the shortest.
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(365 * 24);
const LIFE_MIN: SignedDuration = SignedDuration::from_mins(10);
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// Below it the whole of a life is given, beside what is backdated.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

pub async fn run(parts: Arc<Parts>) {
    let (certificate, key) = (&parts.config.authority, &parts.config.authority_key);
    if key.is_empty() {
        return std::future::pending().await;
    }
    let authority = match Authority::new(certificate, key, parts.config.entropy.clone()) {
        Ok(authority) => Arc::new(authority),
        Err(why) => {
            tracing::error!("the signers of kubernetes.io do not sign: {why}");
            return std::future::pending().await;
        }
    };
    let requests = parts.cache(&CERTIFICATE_SIGNING_REQUESTS);
    requests.synced().await;
    let work = |key: Key| {
        let (parts, authority) = (parts.clone(), authority.clone());
        async move { sign(&parts, &authority, &key).await }
    };
    reconcile::run(requests.subscribe().keys(), 4, work).await;
}

async fn sign(parts: &Parts, authority: &Authority, key: &Key) -> Result<Requeue, Status> {
    let Some(request) = parts.cache(&CERTIFICATE_SIGNING_REQUESTS).get("", &key.name) else {
        return Ok(Requeue::Done);
    };
    let mut request = request.value();
    match verdict(&request) {
        Verdict::Wait => return Ok(Requeue::Done),
        Verdict::Fail(why) => {
            let failed = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure",
                "message": why});
            let conditions = request["status"]["conditions"].as_array_mut();
            conditions.expect("it is approved").push(failed);
        }
        Verdict::Sign(asked) => {
            let certificate = authority.sign(&asked, &request, (parts.config.clock)()).map_err(Status::internal)?;
            request["status"]["certificate"] = STANDARD.encode(certificate).into();
        }
    }
    parts.client.update_sub(&CERTIFICATE_SIGNING_REQUESTS, "", &key.name, "status", &request).await?;
    Ok(Requeue::Done)
}

enum Verdict {
    /// Nothing to do: it is not approved, it is done, or another one's.
    Wait,
    Fail(String),
    Sign(Box<Asked>),
}

fn verdict(request: &Value) -> Verdict {
    let signer = tree::text(request, "spec.signerName");
    let is_ours = [CLIENTS, KUBELET_CLIENTS, KUBELET_SERVING, LEGACY].contains(&signer);
    let is_approved = has_condition(request, "Approved") && !has_condition(request, "Denied");
    if !is_ours || !is_approved || is_issued(request) || has_condition(request, "Failed") {
        return Verdict::Wait;
    }
    let asked = match Asked::of(request) {
        Ok(asked) => asked,
        Err(why) => return Verdict::Fail(why),
    };
    let judged = match signer {
        KUBELET_CLIENTS => of_kubelet_client(&asked, request),
        KUBELET_SERVING => of_kubelet_serving(&asked, request),
        CLIENTS => of_client(request),
        _ => Ok(()),
    };
    match judged {
        Ok(()) => Verdict::Sign(Box::new(asked)),
        Err(why) => Verdict::Fail(why),
    }
}

fn of_client(request: &Value) -> Result<(), String> {
    let usages = usages_of(request);
    const KNOWN: [&str; 3] = ["client auth", "digital signature", "key encipherment"];
    match usages.iter().find(|usage| !KNOWN.contains(usage)) {
        Some(other) => Err(format!("invalid usage for client certificate: {other}")),
        None if usages.contains("client auth") => Ok(()),
        None => Err("missing required usage for client certificate: client auth".into()),
    }
}

/// The cluster's authority, as far as it signs.
struct Authority {
    certificate: Certificate,
    key: KeyPair,
    entropy: Entropy,
}

impl Authority {
    fn new(certificate: &str, key: &str, entropy: Entropy) -> Result<Authority, String> {
        let certificate = pem::parse(certificate).map_err(said)?;
        let certificate = Certificate::from_der(certificate.contents()).map_err(said)?;
        Ok(Authority { certificate, key: KeyPair::from_pem(key).map_err(said)?, entropy })
    }

    /// PEM. It is signed as the authority signed itself.
    fn sign(&self, asked: &Asked, request: &Value, now: Timestamp) -> Result<String, String> {
        let own = &self.certificate.tbs_certificate;
        let body = TbsCertificate {
            version: Version::V3,
            serial_number: self.serial()?,
            signature: own.signature.clone(),
            issuer: own.subject.clone(),
            validity: self.validity(tree::int(request, "spec.expirationSeconds"), now)?,
            subject: asked.subject.clone(),
            subject_public_key_info: asked.key.clone(),
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(self.extensions(asked, request)?),
        };
        let signature = self.key.sign(&body.to_der().map_err(said)?).map_err(said)?;
        let certificate = Certificate {
            tbs_certificate: body,
            signature_algorithm: own.signature.clone(),
            signature: BitString::from_bytes(&signature).map_err(said)?,
        };
        let block = Pem::new("CERTIFICATE", certificate.to_der().map_err(said)?);
        Ok(pem::encode_config(&block, EncodeConfig::new().set_line_ending(LineEnding::LF)))
    }

    /// Positive, of 16 bytes.
    fn serial(&self) -> Result<SerialNumber, String> {
        let mut bytes = [0; 16];
        (self.entropy)(&mut bytes);
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        SerialNumber::new(&bytes).map_err(said)
    }

    /// Never longer than the authority's own.
    fn validity(&self, wanted: Option<i64>, now: Timestamp) -> Result<Validity, String> {
        let life = wanted.map_or(LIFE_MAX, SignedDuration::from_secs).clamp(LIFE_MIN, LIFE_MAX);
        let end = if life < SHORT { now + life } else { now + life - BACKDATE };
        let end = end.as_second();
        let last = self.certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
        let last = i64::try_from(last).map_err(said)?;
        if now.as_second() >= last {
            return Err("refusing to sign a certificate that expired in the past".into());
        }
        Ok(Validity { not_before: time((now - BACKDATE).as_second())?, not_after: time(end.min(last))? })
    }

    fn extensions(&self, asked: &Asked, request: &Value) -> Result<Vec<Extension>, String> {
        let usages = usages_of(request);
        let bits: Vec<KeyUsages> = BITS.iter().filter(|(name, _)| usages.contains(name)).map(|(_, bit)| *bit).collect();
        let mut purposes: Vec<ObjectIdentifier> =
            PURPOSES.iter().filter(|(name, _)| usages.contains(name)).map(|(_, oid)| *oid).collect();
        purposes.dedup();
        let mut made = Vec::new();
        if !bits.is_empty() {
            let bits = bits.into_iter().fold(FlagSet::<KeyUsages>::default(), |all, bit| all | bit);
            made.push(extension(true, &KeyUsage(bits))?);
        }
        if !purposes.is_empty() {
            made.push(extension(false, &ExtendedKeyUsage(purposes))?);
        }
        made.push(extension(true, &BasicConstraints { ca: false, path_len_constraint: None })?);
        let own = self.certificate.tbs_certificate.get::<SubjectKeyIdentifier>().map_err(said)?;
        if let Some((_, own)) = own {
            let key_identifier = Some(own.0);
            made.push(extension(false, &AuthorityKeyIdentifier { key_identifier, ..Default::default() })?);
        }
        if !asked.names.is_empty() {
            // Without a subject the names are all there is (RFC 5280, 4.2.1.6).
            made.push(extension(asked.subject.0.is_empty(), &SubjectAltName(asked.names.clone()))?);
        }
        Ok(made)
    }
}

const BITS: &[(&str, KeyUsages)] = &[
    ("signing", KeyUsages::DigitalSignature),
    ("digital signature", KeyUsages::DigitalSignature),
    ("content commitment", KeyUsages::NonRepudiation),
    ("key encipherment", KeyUsages::KeyEncipherment),
    ("key agreement", KeyUsages::KeyAgreement),
    ("data encipherment", KeyUsages::DataEncipherment),
    ("cert sign", KeyUsages::KeyCertSign),
    ("crl sign", KeyUsages::CRLSign),
    ("encipher only", KeyUsages::EncipherOnly),
    ("decipher only", KeyUsages::DecipherOnly),
];

/// In the order of Go's crypto/x509.
const PURPOSES: &[(&str, ObjectIdentifier)] = &[
    ("any", ObjectIdentifier::new_unwrap("2.5.29.37.0")),
    ("server auth", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1")),
    ("client auth", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2")),
    ("code signing", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3")),
    ("email protection", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4")),
    ("s/mime", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4")),
    ("ipsec end system", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.5")),
    ("ipsec tunnel", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.6")),
    ("ipsec user", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.7")),
    ("timestamping", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8")),
    ("ocsp signing", ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9")),
    ("microsoft sgc", ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.10.3.3")),
    ("netscape sgc", ObjectIdentifier::new_unwrap("2.16.840.1.113730.4.1")),
];

fn extension<T: Encode + AssociatedOid>(critical: bool, value: &T) -> Result<Extension, String> {
    let extn_value = OctetString::new(value.to_der().map_err(said)?).map_err(said)?;
    Ok(Extension { extn_id: T::OID, critical, extn_value })
}

/// As RFC 5280 writes it: in two digits of the year until 2050.
fn time(second: i64) -> Result<Time, String> {
    let since = Duration::from_secs(u64::try_from(second).map_err(said)?);
    match UtcTime::from_unix_duration(since) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => GeneralizedTime::from_unix_duration(since).map(Time::GeneralTime).map_err(said),
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
