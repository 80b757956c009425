use std::str::FromStr;

use rcgen::{BasicConstraints as Constraints, CertificateParams, IsCa};
use serde_json::json;
use x509_cert::name::Name;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::super::tests::{params, request};
use super::*;

const NOW: i64 = 1_790_000_000;

/// An authority that ends so many days on.
fn authority(days: u64) -> (Authority, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::default();
    own.is_ca = IsCa::Ca(Constraints::Unconstrained);
    let since = |second: i64| Duration::from_secs(u64::try_from(second).unwrap());
    own.not_after = rcgen::date_time_ymd(1970, 1, 1) + since(NOW) + Duration::from_secs(days * 86_400);
    let certificate = own.self_signed(&key).unwrap();
    let made = Authority::new(&certificate.pem(), &key.serialize_pem(), Arc::new(|bytes| bytes.fill(0xff)));
    (made.unwrap(), certificate.der().to_vec())
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn approved(mut request: Value) -> Value {
    request["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    request
}

fn signed(authority: &Authority, request: &Value) -> Vec<u8> {
    let asked = Asked::of(request).unwrap();
    pem::parse(authority.sign(&asked, request, now()).unwrap()).unwrap().into_contents()
}

#[test]
fn what_is_signed_is_what_was_asked_for_and_for_what() {
    let (authority, own) = authority(3650);
    let usages = ["digital signature", "key encipherment", "server auth", "client auth", "s/mime", "email protection"];
    let names = ["a.example.com", "10.0.0.1", "fd00::1"];
    let request = request("kubernetes.io/legacy-unknown", params("x", "o", &names), &usages);
    let der = signed(&authority, &request);
    let (rest, made) = X509Certificate::from_der(&der).unwrap();
    let (_, own) = X509Certificate::from_der(&own).unwrap();
    assert!(rest.is_empty());
    assert!(made.verify_signature(Some(own.public_key())).is_ok());
    assert_eq!((made.issuer(), made.subject().to_string().as_str()), (own.subject(), "O=o, CN=x"));
    assert_eq!(made.version(), x509_parser::x509::X509Version::V3);
    let usage = made.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign() && !usage.crl_sign());
    let purpose = made.extended_key_usage().unwrap().unwrap().value;
    assert!(purpose.server_auth && purpose.client_auth && purpose.email_protection && !purpose.any);
    assert!(!made.basic_constraints().unwrap().unwrap().value.ca);
    let names = &made.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert!(matches!(names[..], [GeneralName::DNSName("a.example.com"), GeneralName::IPAddress(_), _]));
    let pem = STANDARD.decode(request["spec"]["request"].as_str().unwrap()).unwrap();
    let asked = pem::parse(pem).unwrap().into_contents();
    let key = made.public_key().raw;
    assert!(asked.windows(key.len()).any(|part| part == key));
    assert_eq!(made.raw_serial(), [&[0x7f][..], &[0xff; 15]].concat());
}

#[test]
fn a_subject_of_several_organizations_keeps_them_all() {
    let (authority, _) = authority(3650);
    let request = request("kubernetes.io/legacy-unknown", params("x", "o", &[]), &["client auth"]);
    let mut asked = Asked::of(&request).unwrap();
    asked.subject = Name::from_str("CN=x,O=two,O=one").unwrap();
    let pem = authority.sign(&asked, &request, now()).unwrap();
    let der = pem::parse(pem).unwrap().into_contents();
    let (_, made) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(made.subject().iter_organization().count(), 2);
}

#[test]
fn a_life_is_what_was_asked_for_within_bounds() {
    let (authority, _) = authority(3650);
    let life = |authority: &Authority, seconds: Option<i64>| {
        authority.validity(seconds, now()).map(|validity| {
            [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs() as i64 - NOW)
        })
    };
    let year = 365 * 86_400;
    for (asked, until) in [
        (None, year - 300),
        (Some(3600), 3600),
        (Some(60), 600),
        (Some(8 * 3600), 8 * 3600 - 300),
        (Some(2 * year), year - 300),
    ] {
        assert_eq!(life(&authority, asked), Ok([-300, until]), "{asked:?}");
    }
    // Nor longer than whoever signs.
    let (short, _) = self::authority(1);
    assert_eq!(life(&short, None), Ok([-300, 86_400]));
    let (ended, _) = self::authority(0);
    assert_eq!(life(&ended, None).unwrap_err(), "refusing to sign a certificate that expired in the past");
}

#[test]
fn only_what_is_approved_and_may_be_is_signed() {
    let word = |request: &Value| match verdict(request) {
        Verdict::Wait => "wait".to_string(),
        Verdict::Fail(why) => why,
        Verdict::Sign(_) => "sign".to_string(),
    };
    let of = |signer: &str, usages: &[&str]| request(signer, params("x", "o", &[]), usages);
    let good = of(CLIENTS, &["client auth"]);
    assert_eq!(word(&good), "wait");
    let good = approved(good);
    assert_eq!(word(&good), "sign");
    for kind in ["Denied", "Failed"] {
        let mut decided = good.clone();
        decided["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": kind, "status": "True"}));
        assert_eq!(word(&decided), "wait", "{kind}");
    }
    let mut issued = good.clone();
    issued["status"]["certificate"] = json!("eA==");
    assert_eq!(word(&issued), "wait");
    assert_eq!(word(&approved(of("example.com/s", &["client auth"]))), "wait");
    assert_eq!(
        word(&approved(of(CLIENTS, &["client auth", "server auth"]))),
        "invalid usage for client certificate: server auth"
    );
    assert_eq!(
        word(&approved(of(CLIENTS, &["digital signature"]))),
        "missing required usage for client certificate: client auth"
    );
    assert_eq!(word(&approved(of(KUBELET_SERVING, &["server auth"]))), "subject organization is not system:nodes");
    assert_eq!(word(&approved(of(LEGACY, &["cert sign"]))), "sign");
}
