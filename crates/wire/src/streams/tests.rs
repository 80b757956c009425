use super::*;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

async fn session(name: &str) -> (Socket, Remote) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let protocol = protocol_of(name).unwrap();
    let (remote, local) = pair(protocol.status);
    let socket = websocket::server(Box::new(ours)).await;
    tokio::spawn(over_websocket(socket, protocol, local));
    (WebSocketStream::from_raw_socket(Box::new(theirs) as crate::Duplex, Role::Client, None).await, remote)
}

#[tokio::test]
async fn channels_go_both_ways_and_input_ends_before_the_session() {
    let (mut client, mut remote) = session("v5.channel.k8s.io").await;
    client.send(message(STDIN, b"hello")).await.unwrap();
    client.send(message(RESIZE, br#"{"Width":80,"Height":24}"#)).await.unwrap();
    client.send(end_of_input()).await.unwrap();
    assert_eq!(remote.stdin.recv().await.unwrap(), "hello");
    assert_eq!(remote.stdin.recv().await, None);
    assert_eq!(remote.resize.recv().await, Some((80, 24)));
    remote.out.send((STDOUT, "out".into())).await.unwrap();
    remote.out.send((END, "{}".into())).await.unwrap();
    drop(remote);
    assert_eq!(channel_of(client.next().await.unwrap().unwrap()).unwrap(), (STDOUT, "out".into()));
    assert_eq!(channel_of(client.next().await.unwrap().unwrap()).unwrap(), (END, "{}".into()));
    assert!(
        matches!(client.next().await.unwrap().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1000)
    );
}

#[tokio::test]
async fn old_clients_speak_base64() {
    let (mut client, mut remote) = session("base64.channel.k8s.io").await;
    client.send(Message::text("0aGk=")).await.unwrap();
    assert_eq!(remote.stdin.recv().await.unwrap(), "hi");
    remote.out.send((STDOUT, "out".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("1b3V0"));
}

#[tokio::test]
async fn pings_are_answered_while_nobody_takes_the_input() {
    let (mut client, _remote) = session("v4.channel.k8s.io").await;
    for _ in 0..WAITING / 2 {
        client.send(message(STDIN, b"x")).await.unwrap();
    }
    client.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("p".into()));
}

#[tokio::test]
async fn a_client_that_leaves_closes_both_ways() {
    let (client, mut remote) = session("v4.channel.k8s.io").await;
    drop(client);
    assert_eq!(remote.stdin.recv().await, None);
    remote.out.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_without_data_is_given_up() {
    let (_client, remote) = session("v4.channel.k8s.io").await;
    let begun = Instant::now();
    remote.out.closed().await;
    assert_eq!(begun.elapsed(), IDLE_MAX);
}

#[tokio::test]
async fn spdy_carries_the_same_session() {
    use crate::spdy::Session;
    use over_spdy::Wanted;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (mut remote, local) = pair(true);
    let wanted = Wanted { stdin: true, stdout: true, resize: true, ..Wanted::default() };
    tokio::spawn(over_spdy::over_spdy(Session::server(ours), wanted, local));
    let session = Session::client(theirs);
    let open = async |kind: &str| session.opener().open(vec![("streamtype".into(), kind.into())]).await.unwrap();
    let (mut end, mut stdin) = (open("error").await, open("stdin").await);
    let (mut stdout, mut resize) = (open("stdout").await, open("resize").await);
    resize.write_all(b"{\"Width\":80,\"Height\":24}\n").await.unwrap();
    stdin.write_all(b"in").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(remote.resize.recv().await, Some((80, 24)));
    assert_eq!(remote.stdin.recv().await.unwrap(), "in");
    assert_eq!(remote.stdin.recv().await, None);
    remote.out.send((STDOUT, "out".into())).await.unwrap();
    remote.out.send((END, "{}".into())).await.unwrap();
    drop(remote);
    let (mut out, mut ended) = (String::new(), String::new());
    stdout.read_to_string(&mut out).await.unwrap();
    end.read_to_string(&mut ended).await.unwrap();
    assert_eq!((out.as_str(), ended.as_str()), ("out", "{}"));
}
