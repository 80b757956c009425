//! `port-forward`: ports of this machine that lead to ports of a pod.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use wire::spdy::{self, Opener};
use wire::websocket::Tunnel;

use super::Run;
use crate::failure::{Context, Result, failure};
use crate::output;
use crate::session::Login;
use crate::streams;

const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// Lead ports of this machine to a pod's
#[derive(Args, Default)]
pub struct PortForward {
    /// `web` or `pod/web`
    pub target: String,
    /// `8080`, `8080:80`, or `:80` for any free port here
    #[arg(required = true)]
    pub ports: Vec<String>,
    /// Addresses to listen on
    #[arg(long, value_delimiter = ',', default_value = "localhost")]
    pub address: Vec<String>,
}

impl Run for PortForward {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let pod = streams::pod(session, &flags.target).await?;
        if pod.value()["status"]["phase"] != "Running" {
            let phase = pod.value()["status"]["phase"].as_str().unwrap_or("Unknown").to_owned();
            return Err(failure(format!("unable to forward port because pod is not running. Current status={phase}")));
        }
        let ports = flags.ports.iter().map(|text| parse(text)).collect::<Result<Vec<_>>>()?;
        let path = format!("/api/v1/namespaces/{}/pods/{}/portforward", session.namespace, pod.meta().name);
        let (socket, _) = streams::connect(session, &path, &[PROTOCOL]).await?;
        let mut forwarded = spdy::Session::client(Tunnel::over(socket));
        let (lost, mut broken) = tokio::sync::mpsc::channel::<String>(1);
        for (local, remote) in ports {
            let mut listening = false;
            let mut last = None;
            for address in addresses(&flags.address)? {
                match TcpListener::bind(SocketAddr::new(address, local)).await {
                    Ok(listener) => {
                        listening = true;
                        let bound = listener.local_addr().context("asking for our address")?;
                        output::line(format_args!("Forwarding from {bound} -> {remote}"))?;
                        tokio::spawn(serve(listener, remote, forwarded.opener(), lost.clone()));
                    }
                    Err(error) => last = Some(failure(format!("listening on port {local}: {error}"))),
                }
            }
            if let (false, Some(error)) = (listening, last) {
                return Err(error);
            }
        }
        tokio::select! {
            _ = forwarded.accept() => Err(failure("lost connection to pod")),
            Some(why) = broken.recv() => Err(failure(why)),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }
}

async fn serve(listener: TcpListener, remote: u16, opener: Opener, lost: tokio::sync::mpsc::Sender<String>) {
    let local = listener.local_addr().map_or(0, |address| address.port());
    let mut number = 0u64;
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                // Whoever waits hears of the first one.
                let _ = lost.try_send(format!("accepting on port {local}: {error}"));
                return;
            }
        };
        output::tell(format_args!("Handling connection for {local}"));
        number += 1;
        let (opener, id) = (opener.clone(), format!("{local}-{number}"));
        tokio::spawn(async move {
            if let Err(error) = forward(connection, remote, opener, id).await {
                output::note(format_args!("error: an error occurred forwarding {local} -> {remote}: {error}"));
            }
        });
    }
}

async fn forward(mut connection: TcpStream, remote: u16, opener: Opener, id: String) -> std::io::Result<()> {
    let headers = |kind: &str| {
        let pairs = [("streamtype", kind), ("port", &remote.to_string()), ("requestid", &id)];
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let mut told = opener.open(headers("error")).await?;
    let (mut from_pod, mut to_pod) = tokio::io::split(opener.open(headers("data")).await?);
    let (mut from_here, mut to_here) = connection.split();
    let up = async {
        copy(&mut from_here, &mut to_pod).await?;
        to_pod.shutdown().await
    };
    let down = async {
        copy(&mut from_pod, &mut to_here).await?;
        to_here.shutdown().await
    };
    let telling = async {
        let mut why = String::new();
        told.read_to_string(&mut why).await.map(|_| why)
    };
    let (mut up, mut down, mut telling) = (pin!(up), pin!(down), pin!(telling));
    let (mut up_goes, mut down_goes, mut node_goes) = (true, true, true);
    // Once the node has ended it, nothing of here gets there any more.
    while down_goes || (up_goes && node_goes) {
        tokio::select! {
            sent = &mut up, if up_goes => {
                sent?;
                up_goes = false;
            }
            got = &mut down, if down_goes => {
                got?;
                down_goes = false;
            }
            why = &mut telling, if node_goes => match why? {
                why if why.is_empty() => node_goes = false,
                why => return Err(std::io::Error::other(why)),
            },
        }
    }
    Ok(())
}

/// Local port (0: any) and remote one.
fn parse(text: &str) -> Result<(u16, u16)> {
    let bad = || failure(format!("{text:?} is no port: expected PORT, LOCAL:REMOTE or :REMOTE"));
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let remote = remote.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(bad)?;
    let local = if local.is_empty() { 0 } else { local.parse().map_err(|_| bad())? };
    Ok((local, remote))
}

fn addresses(words: &[String]) -> Result<Vec<IpAddr>> {
    let mut all = Vec::new();
    for word in words {
        match word.as_str() {
            "localhost" => all.extend(["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().expect("an address"))),
            text => all.push(text.parse().context(format_args!("reading the address {text:?}"))?),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_kubectl_reads_them() {
        assert_eq!(parse("80").unwrap(), (80, 80));
        assert_eq!(parse("8080:80").unwrap(), (8080, 80));
        assert_eq!(parse(":80").unwrap(), (0, 80));
        assert!(parse("x").is_err() && parse("80:").is_err() && parse("80:0").is_err());
    }
}
