//! Image commands of this machine's node, over a unix socket that only root may open.
//!
//! The running agent owns the images, so commands go to it: `POST /load` with the archive as its
//! body, `POST /pull?name=`, `GET /`, `DELETE /?name=`. Answers are lines of JSON: `{"done","total"}`
//! while work goes on, then `{"images": […]}` or `{"error": "…"}`.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runtime::Image;
use runtime::engine::{Images, Progress};
use runtime::images::Reference;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::io::{ReaderStream, StreamReader};
use wire::query::{decoded, encoded};

use crate::cli;
use crate::instance::Instance;
use kubectl::failure::{Context, Result, all_of, failure};
use kubectl::output;
use kubectl::table;

/// After an accept that failed.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// `--image-size-max`: a quantity of bytes, `64Gi`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let bytes = api::quantity::Quantity::parse(text).ok().and_then(|quantity| u64::try_from(quantity.value()).ok());
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| format!("{text:?} is no amount of bytes, as 64Gi is"))
}

/// Where image commands are taken: a socket that only root may use. It is there when this returns.
pub fn listen(socket: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(format_args!("removing {}", socket.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(socket).context(format_args!("listening on {}", socket.display()))?;
    let only_root = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(socket, only_root).context(format_args!("closing {}", socket.display()))?;
    Ok(listener)
}

/// Answers commands until the task is dropped.
pub async fn serve(listener: UnixListener, images: Arc<dyn Images>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors, say: the caller waits in the queue until there are some again.
            Err(error) => {
                tracing::warn!(%error, "an image command cannot be taken; it is tried again");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let images = images.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| answer(request, images.clone()));
            // A client that goes away has changed its mind.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

type Lines = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn answer(request: Request<Incoming>, images: Arc<dyn Images>) -> Result<Response<Lines>, Infallible> {
    let (sender, receiver) = mpsc::channel::<Value>(16);
    tokio::spawn(async move {
        let last = match work(request, &*images, sender.clone()).await {
            Ok(images) => json!({"images": images}),
            Err(error) => json!({"error": error}),
        };
        let _ = sender.send(last).await;
    });
    let lines = futures::stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from(format!("{line}\n")))), receiver))
    });
    Ok(Response::new(StreamBody::new(lines.boxed())))
}

async fn work(
    request: Request<Incoming>,
    images: &dyn Images,
    lines: mpsc::Sender<Value>,
) -> Result<Vec<Image>, String> {
    let name =
        request.uri().query().and_then(|q| q.strip_prefix("name=")).map(decoded).unwrap_or_default().into_owned();
    let told = |error: runtime::Error| error.to_string();
    match (request.method().clone(), request.uri().path()) {
        (Method::GET, "/") => images.list().await.map_err(told),
        (Method::POST, "/load") => {
            let body = request.into_body().into_data_stream().map_err(std::io::Error::other);
            images.load(Box::new(StreamReader::new(Box::pin(body)))).await.map_err(told)
        }
        (Method::POST, "/pull") => {
            // Whoever shows progress may be slow: what does not fit is left out.
            let progress: Progress = Arc::new(move |done, total| {
                let _ = lines.try_send(json!({"done": done, "total": total}));
            });
            images.pull(&name, Vec::new(), progress).await.map(|image| vec![image]).map_err(told)
        }
        (Method::DELETE, "/") => match images.find(&name).await.map_err(told)? {
            Some(_) => images.remove(&name).await.map(|()| Vec::new()).map_err(told),
            None => Err(format!("no image {name:?} is here; `gousse image ls` lists what is")),
        },
        (method, path) => Err(format!("{method} {path} is no image command")),
    }
}

/// `gousse image …`
pub async fn run(command: cli::Image) -> Result<()> {
    match command {
        cli::Image::Load { file, place } => {
            let source: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match &file {
                Some(path) if path.is_dir() => {
                    let path = path.display();
                    return Err(failure(format!(
                        "{path} is a folder; an OCI layout goes in packed: tar -C {path} -cf - . | gousse image load"
                    )));
                }
                Some(path) if path.as_os_str() != "-" => {
                    Box::new(tokio::fs::File::open(path).await.context(format_args!("opening {}", path.display()))?)
                }
                _ => Box::new(tokio::io::stdin()),
            };
            let body = ReaderStream::with_capacity(source, 1 << 18);
            for image in ask(&place, Method::POST, "/load", body).await? {
                for name in names(&image) {
                    output::line(format_args!("Loaded image: {name}"))?;
                }
            }
        }
        cli::Image::Pull { image, place } => {
            let path = format!("/pull?name={}", encoded(&image));
            for pulled in ask(&place, Method::POST, &path, futures::stream::empty()).await? {
                let asked = Reference::parse(&image).map(|reference| reference.to_string());
                output::line(asked.unwrap_or(pulled.id))?;
            }
        }
        cli::Image::Ls { place } => {
            let mut lines = vec![["IMAGE", "ID", "SIZE"].map(String::from).to_vec()];
            for image in ask(&place, Method::GET, "/", futures::stream::empty()).await? {
                let id = image.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
                for name in names(&image) {
                    lines.push(vec![name, id.clone(), indicatif::HumanBytes(image.size).to_string()]);
                }
            }
            output::text(&table::aligned(&lines))?;
        }
        cli::Image::Rm { images, place } => {
            if images.is_empty() {
                return Err(failure("name the images to remove; `gousse image ls` lists them"));
            }
            let mut failed = Vec::new();
            for image in images {
                let path = format!("/?name={}", encoded(&image));
                match ask(&place, Method::DELETE, &path, futures::stream::empty()).await {
                    Ok(_) => output::line(format_args!("Removed: {image}"))?,
                    Err(why) => failed.push(why),
                }
            }
            all_of(failed)?;
        }
    }
    Ok(())
}

fn names(image: &Image) -> Vec<String> {
    match (&image.tags[..], &image.digests[..]) {
        ([], []) => vec![image.id.clone()],
        ([], digests) => digests.to_vec(),
        (tags, _) => tags.to_vec(),
    }
}

/// Asks the node of that instance; shows progress on a terminal.
async fn ask(
    place: &cli::Place,
    method: Method,
    path: &str,
    body: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Result<Vec<Image>> {
    let instance = Instance::of(place)?;
    let socket = instance.image_socket();
    let stream = UnixStream::connect(&socket).await.map_err(|error| {
        failure(format!(
            "no node of instance {:?} answers on {}: {error}; start one with `gousse up`",
            instance.name,
            socket.display()
        ))
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("speaking to the node")?;
    tokio::spawn(connection);
    // The body's own error (a file that cannot be read) says more than the broken request.
    let broken = Arc::new(Mutex::new(None));
    let seen = broken.clone();
    let frames = body.map_ok(Frame::data).inspect_err(move |error| {
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "node")
        .body(StreamBody::new(Box::pin(frames)))
        .context("making a request")?;
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => {
            let why = broken.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(error.to_string());
            return Err(failure(format!("sending to the node: {why}")));
        }
    };
    let stream = response.into_body().into_data_stream().map_err(std::io::Error::other).boxed();
    let reply = client::Reply {
        status: http::StatusCode::OK,
        headers: http::HeaderMap::new(),
        body: client::Body::Stream(stream),
    };
    let mut lines = kubectl::session::lines(reply)?;
    let bar = indicatif::ProgressBar::hidden();
    while let Some(line) = lines.next().await {
        let line = line.context("reading the node's answer")?;
        let mut value: Value = serde_json::from_slice(&line).context("reading the node's answer")?;
        if let Some(error) = value["error"].as_str() {
            bar.finish_and_clear();
            return Err(failure(error));
        }
        if value.get("images").is_some() {
            bar.finish_and_clear();
            return serde_json::from_value(value["images"].take()).context("reading the node's answer");
        }
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        bar.set_length(value["total"].as_u64().unwrap_or(0));
        bar.set_position(value["done"].as_u64().unwrap_or(0));
    }
    Err(failure("the node ended the connection without an answer; its log says why"))
}
