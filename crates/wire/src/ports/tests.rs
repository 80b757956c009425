use futures::{SinkExt, StreamExt};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::spdy::Session;
use crate::streams::protocol_of;
use crate::websocket::{self, Message};

/// The client's stream of data, the pod's end, the connection under way, and the client's session.
async fn forwarded() -> (Stream, DuplexStream, JoinHandle<()>, Session) {
    let (a, b) = duplex(1 << 16);
    let (client, mut server) = (Session::client(a), Session::server(b));
    let (pod, ours) = duplex(1 << 16);
    let carried = tokio::spawn(async move {
        let data = server.accept().await.unwrap();
        data.reply().await.unwrap();
        over_spdy(data, ours).await;
        // The session goes on until its client leaves.
        tokio::spawn(async move { server.accept().await });
    });
    (client.opener().open(vec![("streamtype".into(), "data".into())]).await.unwrap(), pod, carried, client)
}

async fn frame(stream: &mut Stream) -> Vec<u8> {
    let mut buffer = vec![0; 8 << 20];
    let length = stream.read(&mut buffer).await.unwrap();
    buffer.truncate(length);
    buffer
}

/// client-go before 0.32 keeps its half open until then, and the local program waits for the end.
#[tokio::test(start_paused = true)]
async fn once_the_pod_has_ended_the_client_has_a_second() {
    let (mut client, mut pod, carried, _session) = forwarded().await;
    client.write_all(b"GET").await.unwrap();
    pod.read_exact(&mut [0; 3]).await.unwrap();
    pod.write_all(b"page").await.unwrap();
    pod.shutdown().await.unwrap();
    let ended = Instant::now();
    assert_eq!(frame(&mut client).await, b"page");
    assert_eq!(frame(&mut client).await, b"");
    client.write_all(b"late").await.unwrap();
    pod.read_exact(&mut [0; 4]).await.unwrap();
    carried.await.unwrap();
    assert_eq!(ended.elapsed(), LINGER);
    assert_eq!(pod.read(&mut [0]).await.unwrap(), 0);
}

/// At its second frame old clients that do not read it hang with everything else.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_after_the_clients_end_comes_whole_and_in_one_frame() {
    let (mut client, mut pod, carried, _session) = forwarded().await;
    client.write_all(b"ask").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    pod.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "ask");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    for part in 0..5 {
        pod.write_all(format!("{part} ").as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(pod);
    assert_eq!(frame(&mut client).await, b"0 1 2 3 4 ");
    assert_eq!(frame(&mut client).await, b"");
    carried.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_end_is_ended_after_its_client() {
    let (mut client, mut pod, carried, _session) = forwarded().await;
    client.shutdown().await.unwrap();
    assert_eq!(pod.read(&mut [0]).await.unwrap(), 0);
    let said = tokio::spawn(async move {
        let mut said = Vec::new();
        while pod.write_all(b"tick ").await.is_ok() {
            said.extend_from_slice(b"tick ");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        said
    });
    let begun = Instant::now();
    let heard = frame(&mut client).await;
    assert_eq!(frame(&mut client).await, b"");
    carried.await.unwrap();
    assert!(begun.elapsed() <= ANSWER_MAX + Duration::from_millis(10), "{:?}", begun.elapsed());
    let said = said.await.unwrap();
    assert!(said.starts_with(&heard) && heard.len() >= 5 * 190, "{} of {}", heard.len(), said.len());
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_after_the_clients_end_comes_whole_however_slow_its_reader() {
    let (mut client, mut pod, carried, _session) = forwarded().await;
    client.shutdown().await.unwrap();
    let answer: Vec<u8> = (0..5 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let said = answer.clone();
    tokio::spawn(async move { pod.write_all(&said).await });
    let mut heard = Vec::new();
    loop {
        let piece = frame(&mut client).await;
        if piece.is_empty() {
            break;
        }
        heard.extend(piece);
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert!(heard == answer, "{} of {}", heard.len(), answer.len());
    carried.await.unwrap();
}

/// Whose local connection is gone says so since client-go 0.32, be it after the end of its half.
#[tokio::test(start_paused = true)]
async fn a_client_that_resets_ends_the_pods_connection_at_once() {
    for half_closed in [true, false] {
        let (mut client, mut pod, carried, _session) = forwarded().await;
        if half_closed {
            client.shutdown().await.unwrap();
            assert_eq!(pod.read(&mut [0]).await.unwrap(), 0);
        }
        let begun = Instant::now();
        client.reset();
        carried.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(pod.write_all(b"x").await.is_err());
    }
}

/// The client's socket; each port that is asked for leads to the next of these pods.
async fn channels(name: &'static str, ports: &'static [u16]) -> (Socket, Vec<DuplexStream>, JoinHandle<()>) {
    let (ours, theirs) = duplex(1 << 16);
    let (pods, ends): (Vec<_>, Vec<_>) =
        ports.iter().map(|port| (*port, duplex(1 << 16))).map(|(port, (a, b))| (a, (port, b))).unzip();
    let ends = std::sync::Mutex::new(ends.into_iter().collect::<std::collections::HashMap<_, _>>());
    let socket = websocket::server(Box::new(ours)).await;
    let carried = tokio::spawn(async move {
        let connect = |port: u16| {
            let pod = ends.lock().unwrap().remove(&port).filter(|_| port != 1);
            async { pod.ok_or("refused".to_owned()) }
        };
        over_websocket(socket, protocol_of(name).unwrap(), ports, connect).await;
    });
    let socket = WebSocketStream::from_raw_socket(Box::new(theirs) as crate::Duplex, Role::Client, None).await;
    (socket, pods, carried)
}

async fn next(socket: &mut Socket) -> Message {
    socket.next().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_port_has_two_channels_of_a_websocket() {
    let (mut socket, mut pods, carried) = channels("v4.channel.k8s.io", &[80, 1, 8080]).await;
    for greeting in [[0, 80, 0], [1, 80, 0], [2, 1, 0], [3, 1, 0], [4, 0x90, 0x1f], [5, 0x90, 0x1f]] {
        assert_eq!(next(&mut socket).await, Message::binary(greeting.to_vec()));
    }
    assert_eq!(next(&mut socket).await, Message::binary(&b"\x03refused"[..]));
    socket.send(Message::binary(&b"\x04hello"[..])).await.unwrap();
    // Nobody's: the channel of what went wrong, and one beyond.
    for other in [&b"\x05x"[..], b"\x06x", b""] {
        socket.send(Message::binary(other)).await.unwrap();
    }
    let mut hello = [0; 5];
    pods[2].read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
    pods[2].write_all(b"answer").await.unwrap();
    assert_eq!(next(&mut socket).await, Message::binary(&b"\x04answer"[..]));
    // One pod's end is not the other's.
    pods.remove(2);
    tokio::time::sleep(LINGER * 2).await;
    pods[0].write_all(b"still").await.unwrap();
    assert_eq!(next(&mut socket).await, Message::binary(&b"\x00still"[..]));
    drop(pods);
    let ended = Instant::now();
    assert!(matches!(next(&mut socket).await, Message::Close(Some(end)) if u16::from(end.code) == 1000));
    assert!(ended.elapsed() <= LINGER + Duration::from_millis(10));
    drop(socket);
    carried.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_websocket_of_text_has_base64_and_its_end_ends_the_pods_connection() {
    let (mut socket, mut pods, carried) = channels("v4.base64.channel.k8s.io", &[80]).await;
    assert_eq!([next(&mut socket).await, next(&mut socket).await], [Message::text("0UAA="), Message::text("1UAA=")]);
    socket.send(Message::text("0aGk=")).await.unwrap();
    let mut hi = [0; 2];
    pods[0].read_exact(&mut hi).await.unwrap();
    assert_eq!(&hi, b"hi");
    drop(socket);
    carried.await.unwrap();
    assert_eq!(pods[0].read(&mut [0]).await.unwrap(), 0);
}
