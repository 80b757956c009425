//! Host names without getaddrinfo.
//!
//! IP literals, /etc/hosts, then DNS over UDP with /etc/resolv.conf's servers and search list.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::{Outcome, sys};

const TIMEOUT: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
const A: u16 = 1;
const AAAA: u16 = 28;

/// All addresses of a name, IPv4 first; an error if it has none.
pub fn look_up(name: &str) -> Result<Vec<IpAddr>, String> {
    let literal = name.trim_matches(['[', ']']);
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let listed = from_hosts(name);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let servers = Servers::read();
    let mut last = format!("{name}: no such name");
    for candidate in servers.candidates(name) {
        match servers.ask(&candidate) {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => {}
            Err(text) => last = format!("{name}: {text}"),
        }
    }
    Err(last)
}

/// One address with a port, of `host:port`.
pub fn address(host_and_port: &str) -> Result<SocketAddr, String> {
    let (host, port) = host_and_port.rsplit_once(':').ok_or_else(|| format!("{host_and_port}: no port"))?;
    let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    Ok(SocketAddr::new(look_up(host)?[0], port))
}

/// The first name that /etc/hosts gives beside this one: what `hostname -f` shows.
pub fn full_name(name: &str) -> String {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let line =
        hosts.lines().find(|line| line.split('#').next().unwrap_or("").split_whitespace().skip(1).any(|n| n == name));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or(name).to_string()
}

pub fn nslookup(arguments: &[String]) -> Outcome {
    let [name] = arguments else { return Err("needs one name".into()) };
    for address in look_up(name)? {
        println!("Name:\t{name}\nAddress: {address}");
    }
    Ok(0)
}

fn from_hosts(name: &str) -> Vec<IpAddr> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split('#').next()?.split_whitespace();
        let address: IpAddr = fields.next()?.parse().ok()?;
        fields.any(|known| known.eq_ignore_ascii_case(name)).then_some(address)
    };
    let mut found: Vec<IpAddr> = hosts.lines().filter_map(line).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

struct Servers {
    addresses: Vec<IpAddr>,
    search: Vec<String>,
    dots: usize,
}

impl Servers {
    fn read() -> Servers {
        let mut servers = Servers { addresses: Vec::new(), search: Vec::new(), dots: 1 };
        for line in fs::read_to_string("/etc/resolv.conf").unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => servers.addresses.extend(words.next().and_then(|a| a.parse::<IpAddr>().ok())),
                Some("search") => servers.search = words.map(str::to_string).collect(),
                Some("options") => {
                    let dots = words.filter_map(|w| w.strip_prefix("ndots:")?.parse().ok()).next();
                    servers.dots = dots.unwrap_or(servers.dots);
                }
                _ => {}
            }
        }
        if servers.addresses.is_empty() {
            servers.addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        servers
    }

    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_string()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let whole = std::iter::once(name.to_string());
        if name.matches('.').count() >= self.dots {
            whole.chain(searched).collect()
        } else {
            searched.chain(whole).collect()
        }
    }

    fn ask(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let mut last = String::from("no answer");
        for _ in 0..TRIES {
            for server in &self.addresses {
                let asked = query(*server, name, A).map(|mut found| {
                    // Some servers know no AAAA and do not answer; what A gave is enough then.
                    found.extend(query(*server, name, AAAA).unwrap_or_default());
                    found
                });
                match asked {
                    Ok(found) => return Ok(found),
                    Err(e) => last = format!("{server}: {}", crate::arguments::plain(&e)),
                }
            }
        }
        Err(last)
    }
}

fn query(server: IpAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let here: IpAddr = if server.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((here, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let id = (sys::now() as u16) ^ (std::process::id() as u16);
    let mut question = Vec::from(id.to_be_bytes());
    // Recursion wanted, one question.
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n));
        question.push(length.ok_or_else(|| io::Error::other("no host name"))?);
        question.extend(label.bytes());
    }
    question.push(0);
    question.extend(kind.to_be_bytes());
    question.extend([0, 1]);
    socket.send(&question)?;
    let mut answer = [0; 4096];
    loop {
        let n = socket.recv(&mut answer)?;
        if n >= 12 && answer[..2] == id.to_be_bytes() {
            return Ok(addresses(&answer[..n], kind).unwrap_or_default());
        }
    }
}

/// The addresses of an answer, in whatever order the server gave them.
fn addresses(answer: &[u8], kind: u16) -> Option<Vec<IpAddr>> {
    let word = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let (questions, answers) = (word(4)?, word(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(answer, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = skip_name(answer, at)?;
        let (this, length) = (word(at)?, usize::from(word(at + 8)?));
        let value = answer.get(at + 10..at + 10 + length)?;
        if this == kind {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            found.extend(v4.or(<[u8; 16]>::try_from(value).map(IpAddr::from)));
        }
        at += 10 + length;
    }
    Some(found)
}

fn skip_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}
