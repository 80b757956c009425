//! serve-echo (TCP, UDP, HTTP) and a small nc.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::arguments::{Arguments, at, parse};
use crate::http::{Response, bind, serve};
use crate::{Outcome, names, sys};

/// Echoes on as many ports as are named; without any, TCP and UDP on 7777 and HTTP on 8080.
pub fn serve_echo(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "tcp= udp= http=", false)?;
    let none = arguments.is_empty();
    let port = |name: &str, otherwise: u16| -> Result<Option<u16>, String> {
        if given.has(name) || none { given.number(name, otherwise).map(Some) } else { Ok(None) }
    };
    let (tcp, udp, http) = (port("tcp", 7777)?, port("udp", 7777)?, port("http", 8080)?);
    let mut threads = Vec::new();
    if let Some(port) = tcp {
        let listener = bind(port)?;
        println!("echo over TCP on {port}");
        threads.push(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    // The peer that breaks off has its echo.
                    let _ = io::copy(&mut &stream, &mut &stream);
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        }));
    }
    if let Some(port) = udp {
        let socket = bind_udp(port)?;
        println!("echo over UDP on {port}");
        threads.push(std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok((n, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..n], peer);
            }
        }));
    }
    if let Some(port) = http {
        return serve(port, |request| {
            let [_, host, ..] = sys::uname();
            let path = request.target.split('?').next().unwrap_or("/");
            if path == "/hostname" {
                return Response::text(200, format!("{host}\n"));
            }
            let headers: String = request.headers.iter().map(|(n, v)| format!("{n}: {v}\n")).collect();
            let (peer, method, target) = (request.peer, &request.method, &request.target);
            let body = String::from_utf8_lossy(&request.body);
            Response::text(200, format!("host: {host}\nclient: {peer}\n{method} {target}\n{headers}\n{body}"))
        });
    }
    io::stdout().flush().map_err(|e| e.to_string())?;
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(0)
}

fn bind_udp(port: u16) -> Result<UdpSocket, String> {
    let v6 = UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, port));
    at(&format!("port {port}"), v6.or_else(|_| UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, port))))
}

pub fn nc(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "l p= u z w= v n", false)?;
    let wait = given.duration("w")?;
    if given.has("l") {
        let port = given.value("p").or(given.operands.last().map(String::as_str)).ok_or("needs a port")?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        return if given.has("u") { listen_udp(port) } else { talk(at("accept", bind(port)?.accept())?.0, None) };
    }
    let [host, port] = given.operands.as_slice() else { return Err("needs a host and a port".into()) };
    let address = names::address(&format!("{host}:{port}"))?;
    if given.has("u") { send_udp(address, wait) } else { connect(address, &given, wait) }
}

fn connect(address: SocketAddr, given: &Arguments, wait: Option<Duration>) -> Outcome {
    let name = address.to_string();
    let stream = match wait {
        Some(wait) => TcpStream::connect_timeout(&address, wait),
        None => TcpStream::connect(address),
    };
    let stream = at(&name, stream)?;
    if given.has("v") {
        eprintln!("{name} open");
    }
    if given.has("z") { Ok(0) } else { talk(stream, wait) }
}

/// Standard input to the peer, the peer to standard output, until the peer ends.
fn talk(stream: TcpStream, wait: Option<Duration>) -> Outcome {
    at("socket", stream.set_read_timeout(wait))?;
    let mut sending = at("socket", stream.try_clone())?;
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut sending);
        let _ = sending.shutdown(Shutdown::Write);
    });
    let (mut reading, mut buffer) = (stream, [0; 16384]);
    loop {
        match reading.read(&mut buffer) {
            Ok(0) => return Ok(0),
            Ok(n) => {
                let mut out = io::stdout().lock();
                out.write_all(&buffer[..n]).and_then(|()| out.flush()).map_err(|e| e.to_string())?;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(e) => return Err(crate::arguments::plain(&e)),
        }
    }
}

fn send_udp(address: SocketAddr, wait: Option<Duration>) -> Outcome {
    let here: std::net::IpAddr =
        if address.is_ipv6() { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
    let socket = at("socket", UdpSocket::bind((here, 0)))?;
    let mut text = Vec::new();
    at("standard input", io::stdin().take(65507).read_to_end(&mut text))?;
    at("socket", socket.send_to(&text, address))?;
    at("socket", socket.set_read_timeout(Some(wait.unwrap_or(Duration::from_secs(1)))))?;
    let mut buffer = vec![0; 65536];
    while let Ok((n, _)) = socket.recv_from(&mut buffer) {
        io::stdout().write_all(&buffer[..n]).map_err(|e| e.to_string())?;
    }
    Ok(0)
}

fn listen_udp(port: u16) -> Outcome {
    let socket = bind_udp(port)?;
    let mut buffer = vec![0; 65536];
    loop {
        let (n, _) = at("socket", socket.recv_from(&mut buffer))?;
        let mut out = io::stdout().lock();
        out.write_all(&buffer[..n]).and_then(|()| out.flush()).map_err(|e| e.to_string())?;
    }
}
