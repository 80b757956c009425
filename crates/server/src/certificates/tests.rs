use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use super::*;

fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("gousse-certificates-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    dir
}

fn authority(dir: &Path, now: Arc<AtomicI64>) -> Authority {
    let clock: Clock = Arc::new(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap());
    let counter = AtomicU8::new(0);
    let entropy: Entropy = Arc::new(move |bytes| bytes.fill(counter.fetch_add(1, Ordering::SeqCst)));
    Authority::open(dir, clock, entropy).unwrap()
}

#[test]
fn a_kept_certificate_is_made_anew_only_when_it_must() {
    let dir = folder("kept");
    let now = Arc::new(AtomicI64::new(1_800_000_000));
    let authority = authority(&dir, now.clone());
    let hosts = vec!["localhost".to_string(), "10.96.0.1".to_string()];
    let subject = |hosts| Subject::new("kube-apiserver", &[], hosts);
    let first = authority.keep("server", &subject(hosts.clone())).unwrap();
    assert_eq!(authority.keep("server", &subject(hosts.clone())).unwrap().certificate, first.certificate);
    let more = vec!["localhost".to_string(), "10.96.0.1".to_string(), "fd00::1".to_string()];
    let second = authority.keep("server", &subject(more.clone())).unwrap();
    assert_ne!(second.certificate, first.certificate);
    now.store(authority.renewal(&second.certificate).unwrap().as_second(), Ordering::SeqCst);
    assert_ne!(authority.keep("server", &subject(more.clone())).unwrap().certificate, second.certificate);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_certificate_in_use_is_replaced_before_its_end() {
    let dir = folder("renewed");
    let now = Arc::new(AtomicI64::new(1_800_000_000));
    let authority = authority(&dir, now.clone());
    let subject = Subject::new("kube-apiserver-kubelet-client", &["system:masters"], vec![]);
    let first = authority.keep("kubelet-client", &subject).unwrap();
    let shown = Presented::new(&first).unwrap();
    let kept = Kept { file: "kubelet-client".into(), subject, shown };
    let due = authority.renew(&kept).unwrap();
    let read = || read_pair(&dir, "kubelet-client").unwrap().unwrap().certificate;
    assert_eq!(read(), first.certificate);
    now.store(due.as_second(), Ordering::SeqCst);
    assert!(authority.renew(&kept).unwrap() > due);
    assert_ne!(read(), first.certificate);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_certificate_names_its_user_and_groups_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder("names");
    let authority = authority(&dir, Arc::new(AtomicI64::new(1_800_000_000)));
    let subject = Subject::new("system:node:n1", &["system:nodes"], vec!["n1".to_string()]);
    let pair = authority.keep("node", &subject).unwrap();
    let der = &wire::tls::chain(&pair.certificate).unwrap()[0];
    assert_eq!(wire::tls::subject(der).unwrap(), ("system:node:n1".to_string(), vec!["system:nodes".to_string()]));
    for file in ["ca.crt", "ca.key", "node.crt", "node.key"] {
        assert_eq!(fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_signing_request_gets_our_subject_not_its_own() {
    let dir = folder("csr");
    let authority = authority(&dir, Arc::new(AtomicI64::new(1_800_000_000)));
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let signed = authority.sign(&request, &Subject::new("system:node:a", &["system:nodes"], vec![])).unwrap();
    let (name, groups) = wire::tls::subject(&wire::tls::chain(&signed).unwrap()[0]).unwrap();
    assert_eq!((name.as_str(), groups), ("system:node:a", vec!["system:nodes".to_string()]));
    fs::remove_dir_all(dir).unwrap();
}
