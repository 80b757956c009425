//! PEM, PKCS#10 and X.509, as far as objects hold them: taken apart and checked, never signed.
//!
//! ring verifies every signature but those of P-521.

use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{Signature, VerifyingKey};
use pem::{EncodeConfig, LineEnding, Pem};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::nom::Err;
use x509_parser::nom::error::ErrorKind;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
    OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

/// A public key's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Ed25519,
    P256,
    P384,
    P521,
    P224,
    /// Bits of the modulus.
    Rsa(usize),
    Unknown,
}

const P224: &str = "1.3.132.0.33";

/// The blocks of a text. What stands between them, or is none that can be read, is passed over (Go's
/// pem.Decode).
pub fn blocks(text: &str) -> Vec<Pem> {
    const BEGIN: &str = "-----BEGIN ";
    let starts: Vec<usize> =
        text.match_indices(BEGIN).map(|(at, _)| at).filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n').collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| pem::parse(&text[*start..end]).ok()).collect()
}

/// One block, with nothing in front of it.
pub fn written(tag: &str, der: Vec<u8>) -> String {
    pem::encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// The DER of a signing request (pkg/apis/certificates/helpers.go ParseCSR).
pub fn request_of(pem: &[u8]) -> Result<Vec<u8>, String> {
    let text = String::from_utf8_lossy(pem);
    // Of two some would read the one and some the other: what is judged is what is signed.
    if text.matches("-----BEGIN ").count() != 1 {
        return Err("PEM block type must be CERTIFICATE REQUEST".into());
    }
    match blocks(&text).into_iter().next() {
        Some(block) if block.tag() == "CERTIFICATE REQUEST" => Ok(block.into_contents()),
        _ => Err("PEM block type must be CERTIFICATE REQUEST".into()),
    }
}

pub fn request(der: &[u8]) -> Result<X509CertificationRequest<'_>, String> {
    whole(X509CertificationRequest::from_der(der).map_err(unreadable)?)
}

pub fn certificate(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    whole(X509Certificate::from_der(der).map_err(unreadable)?)
}

/// What ends too early in the words of Go's encoding/asn1; anything else in the parser's own.
fn unreadable(why: Err<X509Error>) -> String {
    match why {
        Err::Incomplete(_) | Err::Error(X509Error::NomError(ErrorKind::Eof)) => {
            "asn1: syntax error: data truncated".into()
        }
        why => why.to_string(),
    }
}

fn whole<T>((rest, parsed): (&[u8], T)) -> Result<T, String> {
    if rest.is_empty() { Ok(parsed) } else { Err("x509: trailing data".into()) }
}

/// Whether a request is signed by its own key.
pub fn check_signature(request: &X509CertificationRequest<'_>) -> Result<(), String> {
    let body = &request.certification_request_info;
    let key = &body.subject_pki;
    let good = match Key::of(key) {
        Key::P521 if request.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA512 => {
            let signature = Signature::from_der(&request.signature_value.data);
            let key = VerifyingKey::from_sec1_bytes(&key.subject_public_key.data);
            matches!((key, signature), (Ok(key), Ok(signature)) if key.verify(body.raw, &signature).is_ok())
        }
        _ => request.verify_signature().is_ok(),
    };
    if good { Ok(()) } else { Err("x509: the signature does not match the public key".into()) }
}

/// The organizations of a subject. One in an encoding that cannot be read is an error: nobody may judge
/// a name without them.
pub fn organizations(subject: &X509Name<'_>) -> Result<Vec<String>, String> {
    let read = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().map(str::to_string).map_err(|e| format!("the subject's organization: {e}"))
    };
    subject.iter_organization().map(read).collect()
}

impl Key {
    pub fn of(key: &SubjectPublicKeyInfo<'_>) -> Key {
        let algorithm = &key.algorithm.algorithm;
        if *algorithm == OID_SIG_ED25519 {
            return Key::Ed25519;
        }
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            let Ok(PublicKey::RSA(rsa)) = key.parsed() else { return Key::Unknown };
            let modulus = &rsa.modulus[rsa.modulus.iter().take_while(|b| **b == 0).count()..];
            return Key::Rsa(modulus.len() * 8);
        }
        if *algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return Key::Unknown;
        }
        match key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok()) {
            Some(curve) if curve == OID_EC_P256 => Key::P256,
            Some(curve) if curve == OID_NIST_EC_P384 => Key::P384,
            Some(curve) if curve == OID_NIST_EC_P521 => Key::P521,
            Some(curve) if curve.to_id_string() == P224 => Key::P224,
            _ => Key::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
