//! A connection as the flags, the kubeconfig or this machine's own instance give it.

use std::path::PathBuf;
use std::sync::Arc;

use api::Clock;
use bytes::{Buf, Bytes, BytesMut};
use client::{Body, Client, Https, Reply, kubeconfig};
use futures::{Stream, StreamExt};

use crate::discovery::Kinds;
use crate::failure::{Context, Result, failure};
use crate::flags::Connection;
use crate::manifest::Place;
use crate::output;

/// What a session is opened with.
#[derive(Clone)]
pub struct Login {
    pub connection: Connection,
    /// The kubeconfig where neither flags, $KUBECONFIG nor ~/.kube/config name one.
    pub own: PathBuf,
    pub clock: Clock,
}

/// One server, one user, one namespace.
pub struct Session {
    pub client: Client,
    /// For connections of one's own.
    pub https: client::HttpsConfig,
    pub namespace: String,
    /// `--namespace` named it.
    is_demanded: bool,
    pub clock: Clock,
    kinds: tokio::sync::OnceCell<Kinds>,
}

impl Login {
    /// $KUBECONFIG and ~/.kube/config come first, as with kubectl.
    pub fn session(&self) -> Result<Session> {
        let Login { connection, own, clock } = self;
        let demanded = connection.namespace.as_ref().filter(|namespace| !namespace.is_empty());
        demanded.map_or(Ok(()), |namespace| segment(namespace))?;
        let given = connection.kubeconfig.clone();
        let named_elsewhere = std::env::var_os("KUBECONFIG").is_some_and(|v| !v.is_empty())
            || std::env::home_dir().is_some_and(|home| home.join(".kube/config").exists());
        let path = given.or_else(|| (!named_elsewhere && own.exists()).then(|| own.clone()));
        let loaded = kubeconfig::load(path.as_deref(), connection.context.as_deref()).map_err(|error| {
            failure(format!("{error}; start a server with `gousse up`, or name a kubeconfig with --kubeconfig"))
        })?;
        let mut https = loaded.https;
        if let Some(server) = &connection.server {
            https.server = server.clone();
        }
        let transport = Https::new(https.clone()).context(format_args!("connecting to {}", https.server))?;
        Ok(Session {
            client: Client::new(Arc::new(transport)).named("gousse").warning(warned),
            https,
            is_demanded: demanded.is_some(),
            namespace: demanded.cloned().unwrap_or(loaded.namespace),
            clock: clock.clone(),
            kinds: tokio::sync::OnceCell::new(),
        })
    }
}

#[cfg(test)]
impl Session {
    /// Over a server that a test plays.
    pub fn played(transport: impl client::Transport) -> Session {
        Session {
            client: Client::new(Arc::new(transport)),
            https: client::HttpsConfig::default(),
            namespace: "default".into(),
            is_demanded: false,
            clock: Arc::new(|| jiff::Timestamp::UNIX_EPOCH),
            kinds: tokio::sync::OnceCell::new(),
        }
    }
}

impl Session {
    /// What the server serves; asked for once.
    pub async fn kinds(&self) -> Result<&Kinds> {
        self.kinds.get_or_try_init(|| Kinds::of(&self.client)).await
    }

    /// Where objects of files go.
    pub fn place(&self) -> Place<'_> {
        Place { namespace: &self.namespace, is_demanded: self.is_demanded }
    }
}

/// A namespace becomes a part of a path (apimachinery pkg/api/validation/path, IsValidPathSegmentName).
fn segment(namespace: &str) -> Result<()> {
    let why = match namespace {
        "." | ".." => format!("may not be '{namespace}'"),
        _ => {
            let unfit: Vec<String> = ["/", "%"]
                .iter()
                .filter(|part| namespace.contains(**part))
                .map(|part| format!("may not contain '{part}'"))
                .collect();
            unfit.join(" ")
        }
    };
    if why.is_empty() { Ok(()) } else { Err(failure(format!("invalid namespace {namespace:?}: [{why}]"))) }
}

/// As kubectl shows what the server warns about.
pub fn warned(text: &str) {
    output::note(format_args!("Warning: {text}"));
}

/// The lines of an answer as they come: a watch's events, a log.
pub fn lines(reply: Reply) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Unpin> {
    let stream = match reply.body {
        Body::Stream(stream) => stream,
        Body::Bytes(bytes) => futures::stream::once(async move { Ok(bytes) }).boxed(),
        Body::List { .. } | Body::Events(_) => return Err(failure("the answer is no stream of lines")),
    };
    let state = (stream, BytesMut::new());
    Ok(Box::pin(futures::stream::unfold(state, |(mut stream, mut rest)| async move {
        loop {
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end).freeze();
                rest.advance(1);
                return Some((Ok(line), (stream, rest)));
            }
            match stream.next().await {
                Some(Ok(bytes)) => rest.extend_from_slice(&bytes),
                Some(Err(error)) => return Some((Err(error), (stream, rest))),
                None if rest.is_empty() => return None,
                None => return Some((Ok(rest.split().freeze()), (stream, rest))),
            }
        }
    })))
}
