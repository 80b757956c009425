//! Service-account tokens: signed and checked here, ES256 with a key of our own.
//!
//! A token names its account and, when bound, the pod, secret or node with whose end it ends too.
//! Claims and texts match upstream's pkg/serviceaccount (claims.go, jwt.go). Whether what a token is
//! bound to still exists is asked of the store at every use; only the signature's check is cached.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use api::Entropy;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::certificates::write_private;

/// When Secrets' tokens were used.
pub mod used;

/// Who issues our tokens, and the audience that means the API server itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Who issues those that lie in Secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// The type of those Secrets.
pub const SECRET_TYPE: &str = "kubernetes.io/service-account-token";
/// Where the keys are published (`/openid/v1/jwks`), as the discovery document says.
pub const JWKS_PATH: &str = "/openid/v1/jwks";
/// More checked signatures are not remembered.
const REMEMBERED: usize = 4096;

/// Signs and checks.
pub struct Tokens {
    pair: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
    entropy: Entropy,
    checked: Mutex<HashMap<[u8; 32], Arc<Said>>>,
    /// Those that lie in Secrets and were shown.
    pub used: used::Used,
}

/// What a token of ours says.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Said {
    Bound(Box<Claims>),
    Legacy(Legacy),
}

/// What a token says that lies in a Secret and holds as long as that one (pkg/serviceaccount/legacy.go).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Legacy {
    pub iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
    pub sub: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub bound: Bound,
    pub nbf: i64,
    pub sub: String,
}

/// The private claims.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    pub serviceaccount: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What upstream says of a token that none of its authenticators takes (request/bearertoken).
const NO_TOKEN: &str = "invalid bearer token";

impl Tokens {
    /// Reads the signing key from `dir/sa.key`, or makes it.
    pub fn open(dir: &Path, entropy: Entropy) -> io::Result<Tokens> {
        let path = dir.join("sa.key");
        let key = match std::fs::read_to_string(&path) {
            Ok(text) => rcgen::KeyPair::from_pem(&text).map_err(io::Error::other)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = rcgen::KeyPair::generate().map_err(io::Error::other)?;
                write_private(&path, &key.serialize_pem())?;
                key
            }
            Err(e) => return Err(e),
        };
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random)
            .map_err(|e| io::Error::other(e.to_string()))?;
        let key_id = BASE64.encode(Sha256::digest(pair.public_key().as_ref()));
        Ok(Tokens { pair, key_id, random, entropy, checked: Mutex::default(), used: used::Used::default() })
    }

    /// Signs claims; `jti` is filled in.
    pub fn sign(&self, claims: &mut Claims) -> String {
        claims.jti = uuid(&self.entropy);
        self.signed(claims)
    }

    /// Signs what a Secret is to hold.
    pub fn sign_legacy(&self, claims: &Legacy) -> String {
        self.signed(claims)
    }

    fn signed(&self, claims: &impl Serialize) -> String {
        let header = json!({"alg": "ES256", "kid": self.key_id});
        let body = serde_json::to_vec(claims).expect("claims are plain strings and numbers");
        let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(body));
        let signature = self.pair.sign(&self.random, text.as_bytes()).expect("signing a short text does not fail");
        format!("{text}.{}", BASE64.encode(signature.as_ref()))
    }

    /// What a token says that we signed and that is valid at `now` (Unix seconds); the reason if not. Whether what
    /// it names is still there is not looked at.
    pub fn check(&self, token: &str, now: i64) -> Result<Arc<Said>, String> {
        let said = self.read(token)?;
        let claims = match &*said {
            Said::Bound(claims) if claims.iss == ISSUER => claims,
            Said::Legacy(claims) if claims.iss == LEGACY_ISSUER => return Ok(said),
            _ => return Err("token was issued by somebody else".into()),
        };
        if claims.exp <= now {
            return Err("service account token has expired".into());
        }
        if claims.nbf > now + 60 {
            return Err("service account token is not valid yet".into());
        }
        Ok(said)
    }

    /// The public keys as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..65])}]})
    }

    /// The OpenID discovery document.
    pub fn discovery(&self, address: std::net::SocketAddr) -> Value {
        json!({"issuer": ISSUER, "jwks_uri": format!("https://{address}{JWKS_PATH}"), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]})
    }

    fn read(&self, token: &str) -> Result<Arc<Said>, String> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(claims) = self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            return Ok(claims.clone());
        }
        let (text, signature) = token.rsplit_once('.').ok_or(NO_TOKEN)?;
        let (_, body) = text.split_once('.').ok_or(NO_TOKEN)?;
        let decoded = |part: &str| BASE64.decode(part).map_err(|_| NO_TOKEN.to_string());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(text.as_bytes(), &decoded(signature)?)
            .map_err(|_| "token's signature does not hold")?;
        let claims = serde_json::from_slice(&decoded(body)?).map_err(|e| format!("token's claims: {e}"))?;
        let claims: Arc<Said> = Arc::new(claims);
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= REMEMBERED {
            checked.clear();
        }
        checked.insert(hash, claims.clone());
        Ok(claims)
    }
}

/// A random UUID (version 4).
pub fn uuid(entropy: &Entropy) -> String {
    let mut b = [0u8; 16];
    entropy(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let n = u128::from_be_bytes(b);
    let (a, b, c, d, e) = (n >> 96, (n >> 80) & 0xffff, (n >> 64) & 0xffff, (n >> 48) & 0xffff, n & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_believed_only_whole_ours_and_in_time() {
        let dir = std::env::temp_dir().join(format!("gousse-tokens-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let entropy: Entropy = Arc::new(|b| b.fill(7));
        let tokens = Tokens::open(&dir, entropy.clone()).unwrap();
        let mut claims = Claims { iss: ISSUER.into(), exp: 100, nbf: 10, iat: 10, ..Claims::default() };
        let token = tokens.sign(&mut claims);
        assert_eq!(tokens.check(&token, 50).unwrap().as_ref(), &Said::Bound(Box::new(claims)));
        assert!(tokens.check(&token, 100).is_err());
        let (text, signature) = token.rsplit_once('.').unwrap();
        assert!(tokens.check(&format!("{text}x.{signature}"), 50).is_err());
        // The same key after a restart, another one elsewhere.
        assert!(Tokens::open(&dir, entropy.clone()).unwrap().check(&token, 50).is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir_all(&dir).unwrap();
        assert!(Tokens::open(&dir, entropy).unwrap().check(&token, 50).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
