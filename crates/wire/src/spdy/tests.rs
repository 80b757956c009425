use super::*;

fn pair() -> (Session, Session) {
    let (a, b) = tokio::io::duplex(1 << 16);
    (Session::client(a), Session::server(b))
}

fn headers(kind: &str) -> Headers {
    vec![("streamtype".into(), kind.into()), ("port".into(), "80".into())]
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_end_each_half_alone() {
    let (client, mut server) = pair();
    let echo = tokio::spawn(async move {
        while let Some(stream) = server.accept().await {
            assert_eq!(stream.header("port"), Some("80"));
            stream.reply().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(stream);
                tokio::io::copy(&mut from, &mut to).await.unwrap();
                to.write_all(b"!").await.unwrap();
                to.shutdown().await.unwrap();
            });
        }
    });
    let opener = client.opener();
    let talk = async |size: usize| {
        let stream = opener.open(headers("data")).await.unwrap();
        let (mut from, mut to) = tokio::io::split(stream);
        let sent = vec![b'x'; size];
        let back = async {
            let mut text = Vec::new();
            from.read_to_end(&mut text).await.unwrap();
            text
        };
        let send = async {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (text, ()) = tokio::join!(back, send);
        assert_eq!(text.len(), size + 1, "after its own end it still hears the other");
    };
    tokio::join!(talk(0), talk(5), talk(300_000));
    drop((client, opener));
    echo.abort();
}

#[tokio::test]
async fn a_dropped_stream_is_reset_and_a_lost_connection_ends_all() {
    let (a, b) = tokio::io::duplex(1 << 16);
    let (client, mut server) = (Session::client(a), Session::server(b));
    let opener = client.opener();
    let opening = tokio::spawn(async move { opener.open(headers("error")).await });
    drop(server.accept().await.unwrap());
    let refused = opening.await.unwrap().err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionReset);

    let (mut raw, end) = tokio::io::duplex(1 << 16);
    let mut session = Session::server(end);
    let mut frame = Vec::new();
    Frame::Open { id: 1, headers: headers("data"), end: false }.write(&mut Packer::new().unwrap(), &mut frame).unwrap();
    Frame::Ping { id: 7 }.write(&mut Packer::new().unwrap(), &mut frame).unwrap();
    raw.write_all(&frame).await.unwrap();
    let mut stream = session.accept().await.unwrap();
    let mut pong = [0; 12];
    raw.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong[8..], 7u32.to_be_bytes());
    raw.write_all(b"\x80\x02\x00\x01\x00\x00\x00\x00").await.unwrap();
    assert!(stream.read_to_end(&mut Vec::new()).await.is_err(), "SPDY/2 is another protocol");
    assert!(session.accept().await.is_none());
}
