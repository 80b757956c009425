use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Longer than anything takes that is to come.
const LONG: Duration = Duration::from_secs(20);

fn entropy() -> Entropy {
    let state = Mutex::new(Scratch::new(3));
    Arc::new(move |bytes: &mut [u8]| {
        let mut state = state.lock().unwrap();
        bytes.iter_mut().for_each(|byte| *byte = state.below(256) as u8);
    })
}

/// A server that asks these.
async fn server(upstreams: &[SocketAddr]) -> (SocketAddr, watch::Sender<Upstreams>) {
    let (sender, receiver) = watch::channel(Upstreams::from(upstreams));
    let clients = "192.0.2.0/24".parse().unwrap();
    let service = Arc::new(Service::new(names(), receiver.clone(), clients, entropy()));
    let server = Server::bind(LOOPBACK, &[0]).await.unwrap();
    let address = server.address();
    tokio::spawn(server.run(service.clone()));
    tokio::spawn(async move { service.look_for_loops(receiver).await });
    (address, sender)
}

async fn by_udp(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut bytes = vec![0; 65_536];
    let length = timeout(LONG, socket.recv(&mut bytes)).await.unwrap().unwrap();
    Message::from_vec(&bytes[..length]).unwrap()
}

async fn by_tcp(stream: &mut TcpStream, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len() as u16).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = timeout(LONG, stream.read_u16()).await.unwrap().unwrap();
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

/// A resolver that answers as it is told: None is silence. It counts what it is asked.
struct Resolver {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

type Told = dyn Fn(&Message, bool) -> Option<Message> + Send + Sync;

async fn resolver(told: impl Fn(&Message, bool) -> Option<Message> + Send + Sync + 'static) -> Resolver {
    let (told, asked): (Arc<Told>, _) = (Arc::new(told), Arc::new(AtomicUsize::new(0)));
    let (listener, address) = loop {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        if let Ok(socket) = UdpSocket::bind(address).await {
            let (told, asked) = (told.clone(), asked.clone());
            tokio::spawn(async move {
                let mut bytes = vec![0; 4096];
                while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                    asked.fetch_add(1, Ordering::SeqCst);
                    if let Some(answer) = told(&Message::from_vec(&bytes[..length]).unwrap(), false) {
                        socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                    }
                }
            });
            break (listener, address);
        }
    };
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; length.into()];
            stream.read_exact(&mut bytes).await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = told(&Message::from_vec(&bytes).unwrap(), true) {
                let bytes = answer.to_vec().unwrap();
                stream.write_u16(bytes.len() as u16).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        }
    });
    Resolver { address, asked }
}

impl Resolver {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// An address for whatever is asked, but for what our own look for loops asks.
fn always(message: &Message, _tcp: bool) -> Option<Message> {
    let mut answer = Message::response(message.metadata.id, OpCode::Query);
    answer.add_queries(message.queries.clone());
    let asked = &message.queries[0];
    if asked.query_type() == RecordType::A {
        let data = RData::A("203.0.113.5".parse::<Ipv4Addr>().unwrap().into());
        answer.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
    }
    Some(answer)
}

fn with_code(message: &Message, code: hickory_proto::op::ResponseCode) -> Option<Message> {
    let mut answer = always(message, false)?;
    answer.answers.clear();
    answer.metadata.response_code = code;
    Some(answer)
}

#[tokio::test]
async fn both_protocols_answer_and_long_answers_come_by_tcp() {
    let (server, _upstreams) = server(&[]).await;
    let many = asked("many.default.svc.cluster.local.", RecordType::A);
    let short = by_udp(server, &many).await;
    assert!(short.metadata.truncation && short.answers.len() == 29);
    let mut stream = TcpStream::connect(server).await.unwrap();
    for _ in 0..3 {
        let whole = by_tcp(&mut stream, &many).await;
        assert!(!whole.metadata.truncation && whole.answers.len() == 100);
    }
}

#[tokio::test]
async fn a_burst_is_answered_whole() {
    let (server, _upstreams) = server(&[]).await;
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let mut ids = BTreeSet::new();
    for id in 0..100 {
        let mut message = asked("web.default.svc.cluster.local.", RecordType::A);
        message.metadata.id = id;
        socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    }
    let mut bytes = vec![0; 1024];
    for _ in 0..100 {
        let length = timeout(LONG, socket.recv(&mut bytes)).await.unwrap().unwrap();
        ids.insert(Message::from_vec(&bytes[..length]).unwrap().metadata.id);
    }
    assert_eq!(ids.len(), 100);
}

#[tokio::test]
async fn strangers_are_not_answered() {
    let (_sender, receiver) = watch::channel(Upstreams::from([]));
    let service = Service::new(names(), receiver, "10.244.0.0/16".parse().unwrap(), entropy());
    let admits = |address: &str| service.admits(address.parse().unwrap());
    assert!(admits("10.244.3.4") && admits("127.0.0.1") && admits("::ffff:10.244.0.9"));
    assert!(!admits("203.0.113.9") && !admits("10.245.0.1") && !admits("2001:db8::1"));
}

#[tokio::test]
async fn answers_of_others_are_kept_for_as_long_as_they_hold() {
    let upstream = resolver(always).await;
    let (server, _upstreams) = server(&[upstream.address]).await;
    let message = asked("Example.com.", RecordType::A);
    let first = by_udp(server, &message).await;
    assert_eq!(shown(&first), "NoError ra\nExample.com. 60 A 203.0.113.5");
    let before = upstream.asked();
    let again = by_udp(server, &asked("eXample.com.", RecordType::A)).await;
    assert_eq!(again.queries[0].name().to_ascii(), "eXample.com.");
    assert!(again.answers[0].ttl <= 60 && upstream.asked() == before, "asked again");
    // Another kind is another question.
    by_udp(server, &asked("example.com.", RecordType::TXT)).await;
    assert_eq!(upstream.asked(), before + 1);
}

#[tokio::test]
async fn who_does_not_answer_is_passed_over() {
    let silent = resolver(|message, _| {
        let is_probe = message.queries[0].query_type() == RecordType::HINFO;
        if is_probe { always(message, false) } else { None }
    })
    .await;
    let failing = resolver(|message, _| with_code(message, hickory_proto::op::ResponseCode::ServFail)).await;
    let good = resolver(always).await;
    let (server, _upstreams) = server(&[silent.address, failing.address, good.address]).await;
    let found = by_udp(server, &asked("example.com.", RecordType::A)).await;
    assert_eq!(found.answers.len(), 1);
    let before = silent.asked();
    let found = by_udp(server, &asked("example.org.", RecordType::A)).await;
    assert_eq!((found.answers.len(), silent.asked()), (1, before), "the one that answered is asked first");
}

#[tokio::test]
async fn nobody_to_ask_is_a_failure_and_other_resolvers_are_asked_anew() {
    let (server, upstreams) = server(&[]).await;
    let message = asked("example.com.", RecordType::A);
    let failed = by_udp(server, &message).await;
    assert_eq!(failed.metadata.response_code, hickory_proto::op::ResponseCode::ServFail);
    let good = resolver(always).await;
    upstreams.send_replace([good.address].into());
    assert_eq!(by_udp(server, &message).await.answers.len(), 1, "the failure was of others");
}

#[tokio::test]
async fn what_is_cut_short_is_asked_for_by_tcp() {
    let upstream = resolver(|message, tcp| {
        let mut answer = always(message, tcp)?;
        let asked = message.queries[0].clone();
        answer.answers.clear();
        answer.metadata.truncation = !tcp;
        let data = |last: u8| RData::A(Ipv4Addr::new(203, 0, 113, last).into());
        let all = (0..if tcp { 200 } else { 0 }).map(|last| Record::from_rdata(asked.name().clone(), 60, data(last)));
        answer.add_answers(all.collect::<Vec<_>>());
        Some(answer)
    })
    .await;
    let (server, _upstreams) = server(&[upstream.address]).await;
    let message = asked("example.com.", RecordType::A);
    let short = by_udp(server, &message).await;
    assert!(short.metadata.truncation && short.answers.is_empty());
    let mut stream = TcpStream::connect(server).await.unwrap();
    assert_eq!(by_tcp(&mut stream, &message).await.answers.len(), 200);
}

#[tokio::test]
async fn answers_to_other_questions_are_not_believed() {
    let upstream = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let address = upstream.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while let Ok((length, from)) = upstream.recv_from(&mut bytes).await {
            let message = Message::from_vec(&bytes[..length]).unwrap();
            let good = always(&message, false).unwrap();
            let mut guessed = good.clone();
            guessed.metadata.id = guessed.metadata.id.wrapping_add(1);
            let mut other = good.clone();
            other.queries[0].set_name(Labels::from_ascii("evil.example.").unwrap());
            let mut question = message.clone();
            question.metadata.message_type = MessageType::Query;
            for message in [guessed, other, question] {
                let mut bytes = message.to_vec().unwrap();
                let length = bytes.len();
                if length > 40 {
                    bytes[length - 1] = 66;
                }
                upstream.send_to(&bytes, from).await.unwrap();
            }
            upstream.send_to(b"", from).await.unwrap();
            upstream.send_to(&good.to_vec().unwrap(), from).await.unwrap();
        }
    });
    let (server, _upstreams) = server(&[address]).await;
    let found = by_udp(server, &asked("example.com.", RecordType::A)).await;
    assert_eq!(shown(&found), "NoError ra\nexample.com. 60 A 203.0.113.5");
}

#[tokio::test]
async fn the_same_question_is_asked_once_at_a_time() {
    let (release, released) = watch::channel(false);
    let upstream = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let (address, count) = (upstream.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    let mut released = released;
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while let Ok((length, from)) = upstream.recv_from(&mut bytes).await {
            let message = Message::from_vec(&bytes[..length]).unwrap();
            if message.queries[0].query_type() == RecordType::A {
                counted.fetch_add(1, Ordering::SeqCst);
                released.wait_for(|released| *released).await.unwrap();
            }
            upstream.send_to(&always(&message, false).unwrap().to_vec().unwrap(), from).await.unwrap();
        }
    });
    let (server, _upstreams) = server(&[address]).await;
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    for id in 0..20 {
        let mut message = asked("example.com.", RecordType::A);
        message.metadata.id = id;
        socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    }
    // A question from memory is answered meanwhile, so those before it are under way.
    by_udp(server, &asked("web.default.svc.cluster.local.", RecordType::A)).await;
    release.send_replace(true);
    let mut bytes = vec![0; 1024];
    for _ in 0..20 {
        timeout(LONG, socket.recv(&mut bytes)).await.unwrap().unwrap();
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_resolver_that_asks_us_is_not_asked_any_more() {
    let socket = Arc::new(UdpSocket::bind((LOOPBACK, 0)).await.unwrap());
    let (server, upstreams) = server(&[]).await;
    // It sends on what it is asked, and sends back what is answered.
    let circle = socket.clone();
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while let Ok((length, from)) = circle.recv_from(&mut bytes).await {
            let (circle, question) = (circle.clone(), bytes[..length].to_vec());
            tokio::spawn(async move {
                let onward = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
                onward.send_to(&question, server).await.unwrap();
                let mut answer = vec![0; 4096];
                let length = onward.recv(&mut answer).await.unwrap();
                circle.send_to(&answer[..length], from).await.unwrap();
            });
        }
    });
    let good = resolver(always).await;
    upstreams.send_replace([socket.local_addr().unwrap(), good.address].into());
    let found = by_udp(server, &asked("example.com.", RecordType::A)).await;
    assert_eq!(found.answers.len(), 1, "the other one is asked");
    upstreams.send_replace([socket.local_addr().unwrap()].into());
    let failed = by_udp(server, &asked("example.org.", RecordType::A)).await;
    assert_eq!(failed.metadata.response_code, hickory_proto::op::ResponseCode::ServFail);
}

#[tokio::test]
async fn an_alias_is_answered_with_what_others_know_of_it() {
    let upstream = resolver(always).await;
    let (server, _upstreams) = server(&[upstream.address]).await;
    let mut message = asked("out.default.svc.cluster.local.", RecordType::A);
    message.set_edns(Edns::new());
    let found = by_udp(server, &message).await;
    let expected =
        "NoError ra\nout.default.svc.cluster.local. 5 CNAME www.example.com.\nwww.example.com. 60 A 203.0.113.5";
    assert_eq!(shown(&found), expected);
    assert!(found.edns.is_some());
}

#[tokio::test]
async fn connections_are_bounded_and_end_when_nothing_is_asked() {
    let (server, _upstreams) = server(&[]).await;
    let message = asked("web.default.svc.cluster.local.", RecordType::A);
    let mut held = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(server).await.unwrap();
        assert_eq!(by_tcp(&mut stream, &message).await.answers.len(), 1);
        held.push(stream);
    }
    let mut more = TcpStream::connect(server).await.unwrap();
    // Whatever is written, it is closed.
    let _ = more.write_all(&[0, 1]).await;
    assert!(timeout(LONG, more.read_u8()).await.unwrap().is_err(), "one too many is answered");
    let mut last = held.pop().unwrap();
    last.write_all(&[0, 12]).await.unwrap();
    // Half a question is waited for ten seconds.
    assert!(timeout(LONG, last.read_u8()).await.unwrap().is_err());
}

#[test]
fn what_is_kept_is_bounded() {
    let (now, mut cache) = (tokio::time::Instant::now(), super::super::cache::Cache::default());
    for number in 0..20_000u32 {
        let name = Labels::from_ascii(format!("n{number}.example.com.")).unwrap();
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.add_query(Asked::query(name, RecordType::A));
        let bytes = message.to_vec().unwrap();
        let query = Query::parse(&bytes).unwrap();
        let key = super::super::cache::Key::of(&query);
        let mut answer = always(&message, false).unwrap();
        if number % 2 == 0 {
            answer.answers[0].data = RData::TXT(hickory_proto::rr::rdata::TXT::new(vec!["x".repeat(250); 8]));
        }
        let answer = super::super::cache::Answer::parse(&answer.to_vec().unwrap(), &key, now).unwrap();
        cache.put(key, Arc::new(answer));
    }
    let (count, bytes) = cache.size();
    assert!(count <= 10_000 && bytes <= 8 << 20 && count > 1000, "{count} answers, {bytes} bytes");
}

#[test]
fn a_denial_holds_as_long_as_its_zone_says() {
    let life = |negative: Option<(u32, u32)>, code| {
        let message = asked("none.example.com.", RecordType::A);
        let mut answer = with_code(&message, code).unwrap();
        if let Some((ttl, minimum)) = negative {
            let root = Labels::root();
            let soa = hickory_proto::rr::rdata::SOA::new(root.clone(), root.clone(), 1, 2, 3, 4, minimum);
            answer.add_authority(Record::from_rdata(root, ttl, RData::SOA(soa)));
        }
        let bytes = message.to_vec().unwrap();
        let key = super::super::cache::Key::of(&Query::parse(&bytes).unwrap());
        let now = tokio::time::Instant::now();
        super::super::cache::Answer::parse(&answer.to_vec().unwrap(), &key, now).unwrap().life.as_secs()
    };
    use hickory_proto::op::ResponseCode::{NXDomain, NoError, ServFail};
    assert_eq!([life(Some((60, 30)), NXDomain), life(Some((20, 30)), NoError)], [30, 20]);
    assert_eq!([life(None, NXDomain), life(Some((90_000, 90_000)), NXDomain), life(None, ServFail)], [0, 300, 5]);
}

#[tokio::test]
async fn the_machines_resolvers_are_read_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, resolved) = (folder.path().join("resolv.conf"), folder.path().join("run/resolv.conf"));
    std::fs::create_dir(folder.path().join("run")).unwrap();
    let files = Files { resolv_conf: plain.clone(), resolved: resolved.clone() };
    std::fs::write(&plain, "# nameserver 192.0.2.1\nsearch x\nnameserver 192.0.2.53\nnameserver 192.0.2.53\n").unwrap();
    let own: BTreeSet<IpAddr> = ["10.96.0.10".parse().unwrap()].into();
    let (_own, own) = watch::channel(own);
    let (sender, mut upstreams) = watch::channel(Upstreams::from([]));
    tokio::spawn(files.follow(own, sender));
    let mut until = async |expected: &[&str]| {
        let expected: Vec<SocketAddr> = expected.iter().map(|a| SocketAddr::new(a.parse().unwrap(), 53)).collect();
        timeout(LONG, upstreams.wait_for(|now| **now == expected[..])).await.unwrap().unwrap();
    };
    until(&["192.0.2.53"]).await;
    // Written in place, replaced, removed.
    std::fs::write(&plain, "nameserver 10.96.0.10\nnameserver 192.0.2.54\n").unwrap();
    until(&["192.0.2.54"]).await;
    std::fs::write(folder.path().join("new"), "nameserver 2001:db8::53\nnameserver fe80::1%eth0\n").unwrap();
    std::fs::rename(folder.path().join("new"), &plain).unwrap();
    until(&["2001:db8::53"]).await;
    std::fs::remove_file(&plain).unwrap();
    until(&[]).await;
    // A stub has its real ones elsewhere; ours is not among those.
    std::fs::write(&resolved, "nameserver 10.96.0.10\nnameserver 192.0.2.55\n").unwrap();
    std::fs::write(&plain, "nameserver 127.0.0.53\n").unwrap();
    until(&["192.0.2.55"]).await;
    std::fs::write(&resolved, "nameserver 192.0.2.56\n").unwrap();
    until(&["192.0.2.56"]).await;
}
