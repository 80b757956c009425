//! Streams of exec, attach and port-forward: descriptors as tokio's readers and writers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use super::Commands;
use super::client::{Client, Opened, end_input, kill_session};
use crate::engine::{Duplex, Error, Kill, Reader, Result, Session, Writer};
use crate::spec::ExecSpec;

pub fn of_exec(mut opened: Opened, spec: &ExecSpec, client: &Client) -> io::Result<Session> {
    let (commands, session) = (client.commands(), opened.session);
    let kill: Kill = Box::new(move || kill_session(&commands, session));
    if spec.tty {
        let terminal = Stream::new(opened.fds.pop_front())?;
        let resize = resizes(Some(terminal.clone()));
        let stdin = spec.stdin.then(|| Box::new(terminal.clone()) as Writer);
        let stdout = spec.stdout.then(|| Box::new(terminal) as Reader);
        return Ok(Session { stdin, stdout, stderr: None, resize, exit: opened.exit, kill });
    }
    let mut next = |wanted: bool| wanted.then(|| Stream::new(opened.fds.pop_front())).transpose();
    let (stdin, stdout, stderr) = (next(spec.stdin)?, next(spec.stdout)?, next(spec.stderr)?);
    Ok(Session {
        stdin: stdin.map(|stream| Box::new(stream) as Writer),
        stdout: stdout.map(|stream| Box::new(stream) as Reader),
        stderr: stderr.map(|stream| Box::new(stream) as Reader),
        resize: resizes(None),
        exit: opened.exit,
        kill,
    })
}

pub fn of_attach(
    mut opened: Opened,
    terminal: bool,
    [stdin, stdout, stderr]: [bool; 3],
    client: &Client,
) -> io::Result<Session> {
    let mut next = |wanted: bool| wanted.then(|| Stream::new(opened.fds.pop_front())).transpose();
    let input = next(stdin || terminal)?;
    let (stdout, stderr) = (next(stdout)?, next(stderr && !terminal)?);
    let resize = resizes(input.clone().filter(|_| terminal));
    let (commands, session) = (Some(client.commands()), opened.session);
    let stdin = input.filter(|_| stdin).map(|stream| Box::new(Input { stream, commands, session }) as Writer);
    Ok(Session {
        stdin,
        stdout: stdout.map(|stream| Box::new(stream) as Reader),
        stderr: stderr.map(|stream| Box::new(stream) as Reader),
        resize,
        exit: opened.exit,
        kill: Box::new(|| {}),
    })
}

/// Dials a port on the loopback of the network that the sockets were made in: IPv4, then IPv6.
pub async fn dial(sockets: Vec<OwnedFd>, port: u16) -> Result<Box<dyn Duplex>> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    let loopbacks = [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (socket, address) in sockets.into_iter().zip(loopbacks) {
        let socket = TcpSocket::from_std_stream(socket.into());
        match socket.connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(Box::new(stream));
            }
            Err(error) if failed.kind() == io::ErrorKind::AddrNotAvailable => failed = error,
            Err(_) => {}
        }
    }
    Err(Error::Failed(format!("dial tcp4 127.0.0.1:{port}: connect: {}", super::setup::plain(&failed))))
}

/// A pipe's end or a terminal; None once it was shut down.
#[derive(Clone)]
struct Stream(Option<Arc<AsyncFd<OwnedFd>>>);

impl Stream {
    fn new(fd: Option<OwnedFd>) -> io::Result<Stream> {
        let fd = fd.ok_or_else(|| io::Error::other("a stream did not come with its session"))?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Stream(Some(Arc::new(super::sys::async_fd(fd)?))))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(fd) = &self.0 else { return Poll::Ready(Ok(())) };
        loop {
            let mut guard = ready!(fd.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *space)?)) {
                Ok(Ok(got)) => {
                    buffer.advance(got);
                    return Poll::Ready(Ok(()));
                }
                // What a terminal says when nobody has its other side open any more.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(fd) = &self.0 else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        loop {
            let mut guard = ready!(fd.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes a pipe. A terminal stays: its other half reads from the same file.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

/// The input of an attached container: its end is told to the supervisor, which closes it if it is to
/// be read once.
struct Input {
    stream: Stream,
    /// Until the end was told.
    commands: Option<Commands>,
    session: u64,
}

impl Input {
    fn end(&mut self) {
        self.stream.0 = None;
        if let Some(commands) = self.commands.take() {
            end_input(&commands, self.session);
        }
    }
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes new sizes for a terminal; without one they go nowhere.
fn resizes(terminal: Option<Stream>) -> mpsc::Sender<(u16, u16)> {
    let (sender, mut sizes) = mpsc::channel(4);
    if let Some(terminal) = terminal.and_then(|stream| stream.0) {
        tokio::spawn(async move {
            while let Some((columns, rows)) = sizes.recv().await {
                let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                let _ = rustix::termios::tcsetwinsize(terminal.get_ref().as_fd(), size);
            }
        });
    }
    sender
}
