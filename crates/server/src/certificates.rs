//! Our own certificate authority and what it signs: the server's, the administrator's, the nodes'.
//!
//! Everything is ECDSA P-256 and made at the first start in a few milliseconds. Files lie in
//! `DATA/pki`, readable by their owner only. A certificate that lacks a name it needs, or nears its
//! end, is made anew; those in use without a restart.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Clock, Entropy};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use wire::Pair;
use wire::tls::Presented;

/// How long what the authority signs is valid, and the rest at which it is made anew.
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(60 * 24);
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(3650 * 24);
/// Clocks of other machines may be behind ours (upstream's csr signer backdates by as much).
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// Signs certificates; its own one is what every client of this cluster trusts.
pub struct Authority {
    dir: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    clock: Clock,
    entropy: Entropy,
}

/// Whom a certificate names, and what for.
#[derive(Clone)]
pub struct Subject {
    /// Common name: the user's name.
    pub name: String,
    /// Organizations: the user's groups.
    pub groups: Vec<&'static str>,
    /// DNS names and addresses.
    pub hosts: Vec<String>,
    /// Whether the certificate also serves: one that names a host does.
    pub serves: bool,
}

/// A certificate in use, and how it is made anew.
#[derive(Clone)]
pub struct Kept {
    pub file: String,
    pub subject: Subject,
    pub shown: Arc<Presented>,
}

impl Subject {
    pub fn new(name: &str, groups: &[&'static str], hosts: Vec<String>) -> Subject {
        Subject { name: name.into(), groups: groups.to_vec(), serves: !hosts.is_empty(), hosts }
    }
}

impl Authority {
    /// Reads the authority from `dir`, or makes it.
    pub fn open(dir: &Path, clock: Clock, entropy: Entropy) -> io::Result<Authority> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let (certificate, key) = match read_pair(dir, "ca")? {
            Some(pair) => (pair.certificate, KeyPair::from_pem(&pair.key).map_err(io::Error::other)?),
            None => {
                let key = KeyPair::generate().map_err(io::Error::other)?;
                let mut params = validity(CertificateParams::default(), clock(), AUTHORITY_LIFETIME);
                params.distinguished_name.push(DnType::CommonName, "gousse");
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages =
                    vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
                params.serial_number = Some(serial(&entropy));
                let certificate = params.self_signed(&key).map_err(io::Error::other)?.pem();
                write_pair(dir, "ca", &Pair { certificate: certificate.clone(), key: key.serialize_pem() })?;
                (certificate, key)
            }
        };
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(io::Error::other)?;
        Ok(Authority { dir: dir.into(), certificate, issuer, clock, entropy })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// With its key, PEM.
    pub fn pair(&self) -> Pair {
        Pair { certificate: self.certificate.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// The pair kept under `file`; made if it is missing, ends soon or lacks one of the hosts.
    pub fn keep(&self, file: &str, subject: &Subject) -> io::Result<Pair> {
        if let Some(pair) = read_pair(&self.dir, file)?
            && self.is_good(&pair.certificate, subject)
        {
            return Ok(pair);
        }
        let pair = self.issue(subject)?;
        write_pair(&self.dir, file, &pair)?;
        Ok(pair)
    }

    /// Makes one anew if it is time; when that will be.
    pub fn renew(&self, kept: &Kept) -> io::Result<Timestamp> {
        let pair = self.keep(&kept.file, &kept.subject)?;
        kept.shown.replace(&pair)?;
        self.renewal(&pair.certificate)
    }

    /// A fresh key and its certificate.
    pub fn issue(&self, subject: &Subject) -> io::Result<Pair> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = self.params(subject)?.signed_by(&key, &self.issuer).map_err(io::Error::other)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }

    /// A certificate for the key of a signing request; everything else the request says is ignored.
    pub fn sign(&self, request: &str, subject: &Subject) -> io::Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(io::Error::other)?;
        request.params = self.params(subject)?;
        Ok(request.signed_by(&self.issuer).map_err(io::Error::other)?.pem())
    }

    /// When `keep` will make the certificate anew.
    fn renewal(&self, certificate: &str) -> io::Result<Timestamp> {
        let end = Timestamp::from_second(wire::tls::ends(certificate)?).map_err(io::Error::other)?;
        Ok(end - RENEW_BEFORE)
    }

    fn params(&self, subject: &Subject) -> io::Result<CertificateParams> {
        let params = CertificateParams::new(subject.hosts.to_vec()).map_err(io::Error::other)?;
        let mut params = validity(params, (self.clock)(), LIFETIME);
        for group in &subject.groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.distinguished_name.push(DnType::CommonName, subject.name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if subject.serves {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial(&self.entropy));
        Ok(params)
    }

    fn is_good(&self, certificate: &str, subject: &Subject) -> bool {
        let Ok(facts) = wire::tls::Facts::of(certificate) else { return false };
        // A certificate of another authority (a restored folder, say) would never be believed.
        wire::tls::is_signed_by(certificate, &self.certificate)
            && (self.clock)().as_second() < facts.until - RENEW_BEFORE.as_secs()
            && subject.hosts.iter().all(|host| facts.hosts.contains(host))
    }
}

/// Writes a file that only its owner may read; whole or not at all.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

fn read_pair(dir: &Path, file: &str) -> io::Result<Option<Pair>> {
    let read = |suffix| match fs::read_to_string(dir.join(format!("{file}.{suffix}"))) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    };
    Ok(match (read("crt")?, read("key")?) {
        (Some(certificate), Some(key)) => Some(Pair { certificate, key }),
        _ => None,
    })
}

/// The key first: a certificate without its key would be taken for neither present nor absent.
fn write_pair(dir: &Path, file: &str, pair: &Pair) -> io::Result<()> {
    write_private(&dir.join(format!("{file}.key")), &pair.key)?;
    write_private(&dir.join(format!("{file}.crt")), &pair.certificate)
}

fn validity(mut params: CertificateParams, now: Timestamp, lifetime: SignedDuration) -> CertificateParams {
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds)
    };
    params.not_before = at(now - BACKDATE);
    params.not_after = at(now + lifetime);
    params
}

fn serial(entropy: &Entropy) -> SerialNumber {
    let mut bytes = [0; 16];
    entropy(&mut bytes);
    // Positive and of full length, as RFC 5280 wants it.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

#[cfg(test)]
mod tests;
