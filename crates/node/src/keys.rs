//! Keys of pods, which never leave the node, and the empty requests that are signed by them.
//!
//! pkg/kubelet/podcertificate generateKeyAndProof; PKCS#8 as Go writes it, which every library reads. ring
//! makes no RSA and knows no P-521.

use kinds::certificates::x509;
use p521::ecdsa::signature::Signer;
use p521::ecdsa::{Signature, SigningKey};
use p521::elliptic_curve::rand_core::OsRng;
use p521::pkcs8::{EncodePrivateKey, EncodePublicKey, SecretDocument};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

/// A private key, and what a signer needs to know of it.
pub struct Key {
    /// `PRIVATE KEY`, PEM.
    pub pem: String,
    /// PKCS#10 without a name, DER.
    pub request: Vec<u8>,
}

/// A new key: `RSA3072`, `RSA4096`, `ECDSAP256`, `ECDSAP384`, `ECDSAP521`, `ED25519`. RSA takes its time.
pub fn make(kind: &str) -> Result<Key, String> {
    let key = match kind {
        "RSA3072" => rsa(3072)?,
        "RSA4096" => rsa(4096)?,
        "ECDSAP256" => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(said)?,
        "ECDSAP384" => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(said)?,
        "ECDSAP521" => return p521(),
        "ED25519" => ed25519()?,
        other => return Err(format!("unknown key type {other:?}")),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(said)?.der().to_vec();
    Ok(Key { pem: x509::written("PRIVATE KEY", key.serialize_der()), request })
}

fn rsa(bits: usize) -> Result<KeyPair, String> {
    let key = rsa::RsaPrivateKey::new(&mut OsRng, bits).map_err(said)?;
    let der: SecretDocument = rsa::pkcs8::EncodePrivateKey::to_pkcs8_der(&key).map_err(said)?;
    KeyPair::try_from(der.as_bytes()).map_err(said)
}

/// Of the first version of PKCS#8: with the public key in it, OpenSSL before 3.1 reads none.
fn ed25519() -> Result<KeyPair, String> {
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut der = [0; 48];
    der[..16].copy_from_slice(&HEAD);
    p521::elliptic_curve::rand_core::RngCore::fill_bytes(&mut OsRng, &mut der[16..]);
    KeyPair::try_from(&der[..]).map_err(said)
}

fn p521() -> Result<Key, String> {
    let key = p521::SecretKey::random(&mut OsRng);
    let public = key.public_key().to_public_key_der().map_err(said)?;
    // Version 0, no name, the key, no attributes.
    let body = der(0x30, &[&[2, 1, 0], &[0x30, 0], public.as_bytes(), &[0xa0, 0]]);
    let signer = SigningKey::from_slice(&key.to_bytes()).map_err(said)?;
    let signature: Signature = signer.sign(&body);
    let signature = signature.to_der();
    // ecdsa-with-SHA512
    const ALGORITHM: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
    let request = der(0x30, &[&body, &ALGORITHM, &der(3, &[&[0], signature.as_bytes()])]);
    let private = key.to_pkcs8_der().map_err(said)?;
    Ok(Key { pem: x509::written("PRIVATE KEY", private.as_bytes().to_vec()), request })
}

/// A value of ASN.1: its tag, its length, its parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut value = vec![tag];
    match content.len() {
        short @ ..0x80 => value.extend(short.to_be_bytes().last()),
        _ => {
            value.extend((0x80 | length.len()).to_be_bytes().last());
            value.extend(length);
        }
    }
    value.extend(content);
    value
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
