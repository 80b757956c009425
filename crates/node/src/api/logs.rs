//! A container's log: which lines, from which files, as they come.
//!
//! Files are in the CRI's format, the older ones rotated beside the current one. A follower reads on
//! when inotify says that the folder changed and ends when its container has. Matches
//! pkg/kubelet/kubelet_pods.go (validateContainerLogStatus) and kuberuntime/logs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use runtime::{Container, Phase};

use super::{Body, stream, text};
use crate::Control;
use crate::control::Found;

/// Which lines, as PodLogOptions say it.
#[derive(Clone, Debug, Default)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    /// Only lines from this time on, RFC 3339.
    since: Option<jiff::Timestamp>,
    tail: Option<usize>,
    limit: Option<usize>,
    /// `stdout` or `stderr`; None: both.
    stream: Option<String>,
}

pub async fn answer(control: &Control, namespace: &str, pod: &str, container: &str, query: &str) -> Response<Body> {
    let now = control.config().now();
    let options = match Options::parse(query, now) {
        Ok(options) => options,
        Err(why) => return text(StatusCode::BAD_REQUEST, &why),
    };
    let found = match control.pod(namespace, pod).await {
        Ok(Some(found)) => found,
        Ok(None) => return text(StatusCode::NOT_FOUND, &format!("pod {pod:?} not found")),
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error),
    };
    let instance = match choose(&found, pod, container, options.previous) {
        Ok(instance) => instance,
        Err((code, why)) => return text(code, &why),
    };
    let Some(log) = instance.spec.log.clone() else { return text(StatusCode::OK, "") };
    let running = matches!(instance.phase, Phase::Running { .. } | Phase::Created);
    let follower = if options.follow && running {
        match Follower::open(&log.path) {
            Ok(follower) => Some(follower),
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("following the log: {error}")),
        }
    } else {
        None
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(16);
    let state = Watched { control: control.clone(), namespace: namespace.into(), pod: pod.into(), instance };
    tokio::spawn(async move {
        if let Err(error) = copy(&log.path, options, follower, state, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    stream(pieces.boxed())
}

/// The instance whose log is meant, or why there is none.
fn choose(found: &Found, pod: &str, name: &str, previous: bool) -> Result<Container, (StatusCode, String)> {
    let bad = |why: String| Err((StatusCode::BAD_REQUEST, why));
    let container = found.container(name);
    if !container.in_spec {
        return bad(format!("container {name:?} in pod {pod:?} is not available"));
    }
    if previous {
        let ended = |c: &Container| !matches!(c.phase, Phase::Running { .. } | Phase::Created);
        // Between two instances the one that ended last is the previous one.
        let one = match (container.current, container.previous) {
            (Some(current), _) if ended(&current) && current.spec.attempt > 0 => Some(current),
            (_, previous) => previous,
        };
        let one =
            one.map_or_else(|| bad(format!("previous terminated container {name:?} in pod {pod:?} not found")), Ok);
        return one;
    }
    match container.current {
        Some(current) if current.phase != Phase::Created => Ok(current),
        _ => {
            let reason = waiting_reason(found, name);
            let reason = match reason.as_str() {
                "ErrImagePull" => "image can't be pulled".to_string(),
                "ImagePullBackOff" => "trying and failing to pull image".to_string(),
                _ => reason,
            };
            bad(format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"))
        }
    }
}

fn waiting_reason(found: &Found, name: &str) -> String {
    let value = found.object.value();
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let states = lists.iter().flat_map(|list| value["status"][*list].as_array().into_iter().flatten());
    let state = states.into_iter().find(|s| s["name"] == name);
    let reason = state.and_then(|s| s["state"]["waiting"]["reason"].as_str());
    reason.unwrap_or("ContainerCreating").to_string()
}

impl Options {
    fn parse(query: &str, now: jiff::Timestamp) -> Result<Options, String> {
        let mut options = Options::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            let number = || value.parse::<i64>().map_err(|_| format!("{key}: {value:?} is no number"));
            match key {
                "follow" => options.follow = matches!(value.as_str(), "true" | "1"),
                "previous" => options.previous = matches!(value.as_str(), "true" | "1"),
                "timestamps" => options.timestamps = matches!(value.as_str(), "true" | "1"),
                "tailLines" => {
                    options.tail = Some(usize::try_from(number()?).map_err(|_| "tailLines: must not be negative")?)
                }
                "limitBytes" => {
                    options.limit = Some(usize::try_from(number()?).map_err(|_| "limitBytes: must not be negative")?)
                }
                "sinceSeconds" => options.since = now.checked_sub(jiff::SignedDuration::from_secs(number()?)).ok(),
                "sinceTime" => {
                    options.since = Some(value.parse().map_err(|_| format!("sinceTime: {value:?} is no time"))?)
                }
                "stream" => options.stream = Some(value.to_lowercase()).filter(|s| s == "stdout" || s == "stderr"),
                _ => {}
            }
        }
        Ok(options)
    }

    /// What a line shows, if it does.
    fn shown(&self, line: &[u8]) -> Option<Vec<u8>> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, from, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next().unwrap_or_default());
        if self.stream.as_ref().is_some_and(|wanted| wanted.as_bytes() != from) {
            return None;
        }
        if let Some(since) = self.since {
            let at: jiff::Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
            if at < since {
                return None;
            }
        }
        let mut shown = Vec::with_capacity(line.len());
        if self.timestamps {
            shown.extend_from_slice(time);
            shown.push(b' ');
        }
        shown.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        // A part of a longer line ends without its end.
        if tag.first() != Some(&b'P') {
            shown.push(b'\n');
        }
        Some(shown)
    }
}

/// What a follower looks at to know whether more can come.
struct Watched {
    control: Control,
    namespace: String,
    pod: String,
    instance: Container,
}

impl Watched {
    async fn has_ended(&self) -> bool {
        let Ok(Some(found)) = self.control.pod(&self.namespace, &self.pod).await else { return true };
        let same =
            found.seen.instances(&self.instance.spec.name).into_iter().find(|i| i.container.id == self.instance.id);
        same.is_none_or(|i| !matches!(i.container.phase, Phase::Running { .. } | Phase::Created))
    }
}

type Sender = tokio::sync::mpsc::Sender<io::Result<Bytes>>;

/// Sends what is there, then, to a follower, what comes.
async fn copy(
    path: &Path,
    options: Options,
    follower: Option<Follower>,
    watched: Watched,
    sender: &Sender,
) -> io::Result<()> {
    let mut changes = watched.control.engine().changes();
    let (first, mut tail, mut left) = {
        let (path, options) = (path.to_path_buf(), options.clone());
        let read = tokio::task::spawn_blocking(move || whole(&path, &options));
        read.await.map_err(io::Error::other)??
    };
    if !send(sender, first, &mut left).await {
        return Ok(());
    }
    let Some(follower) = follower else { return Ok(()) };
    loop {
        // The end is looked at before the rest is read: what was written before it is then there.
        let ended = watched.has_ended().await;
        let more = tail.read_on(path, &options)?;
        if !send(sender, more, &mut left).await || ended {
            return Ok(());
        }
        tokio::select! {
            woken = follower.changed() => woken?,
            _ = changes.recv() => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// False once nothing more is wanted.
async fn send(sender: &Sender, mut bytes: Vec<u8>, left: &mut Option<usize>) -> bool {
    if let Some(left) = left {
        bytes.truncate(*left);
        *left -= bytes.len();
    }
    let sent = bytes.is_empty() || sender.send(Ok(Bytes::from(bytes))).await.is_ok();
    sent && *left != Some(0)
}

/// Where reading the current file goes on.
struct Tail {
    file: Option<(u64, File)>,
    offset: u64,
    /// A record whose end is not written yet.
    rest: Vec<u8>,
}

/// All files from the oldest on, filtered; then where the current one goes on.
fn whole(path: &Path, options: &Options) -> io::Result<(Vec<u8>, Tail, Option<usize>)> {
    let mut tail = Tail { file: None, offset: 0, rest: Vec::new() };
    let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
    let keep = options.tail.unwrap_or(usize::MAX);
    let mut unfinished = false;
    let mut push = |shown: Vec<u8>| {
        // Parts of one line count as one.
        match lines.back_mut() {
            Some(last) if unfinished => last.extend_from_slice(&shown),
            _ => lines.push_back(shown.clone()),
        }
        unfinished = !shown.ends_with(b"\n");
        if lines.len() > keep {
            lines.pop_front();
        }
    };
    for old in rotated(path) {
        let file = File::open(&old)?;
        let reader: Box<dyn Read> = match old.extension().is_some_and(|e| e == "gz") {
            true => Box::new(flate2::read::GzDecoder::new(file)),
            false => Box::new(file),
        };
        for line in BufReader::new(reader).split(b'\n') {
            options.shown(&line?).into_iter().for_each(&mut push);
        }
    }
    let (records, _) = tail.records(path)?;
    for record in records {
        options.shown(&record).into_iter().for_each(&mut push);
    }
    if keep == 0 {
        lines.clear();
    }
    Ok((lines.into_iter().flatten().collect(), tail, options.limit))
}

impl Tail {
    fn read_on(&mut self, path: &Path, options: &Options) -> io::Result<Vec<u8>> {
        let mut shown = Vec::new();
        loop {
            let (records, replaced) = self.records(path)?;
            shown.extend(records.iter().filter_map(|record| options.shown(record)).flatten());
            if !replaced {
                return Ok(shown);
            }
        }
    }

    /// New whole records of the open file; true if the path names another file by now, read next.
    fn records(&mut self, path: &Path) -> io::Result<(Vec<Vec<u8>>, bool)> {
        use std::os::unix::fs::MetadataExt;
        if self.file.is_none() {
            match File::open(path) {
                Ok(file) => self.file = Some((file.metadata()?.ino(), file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
                Err(error) => return Err(error),
            }
            self.offset = 0;
            self.rest.clear();
        }
        let Some((inode, file)) = &mut self.file else { return Ok((Vec::new(), false)) };
        file.seek(SeekFrom::Start(self.offset))?;
        self.offset += file.read_to_end(&mut self.rest)? as u64;
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        let records = whole.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let replaced = std::fs::metadata(path).is_ok_and(|now| now.ino() != *inode);
        if replaced {
            self.file = None;
        }
        Ok((records, replaced))
    }
}

/// Older files of this log, the oldest first.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().starts_with(&prefix))
        .map(|file| file.path())
        .filter(|path| path.extension().is_none_or(|e| e != "tmp"))
        .collect();
    files.sort();
    files
}

/// Wakes when anything in the log's folder changes.
struct Follower(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>, Inotify);

impl Follower {
    fn open(path: &Path) -> io::Result<Follower> {
        use std::os::fd::AsFd;
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        inotify.add_watch(folder, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
        let fd = inotify.as_fd().try_clone_to_owned()?;
        Ok(Follower(tokio::io::unix::AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)?, inotify))
    }

    async fn changed(&self) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        while self.1.read_events().is_ok_and(|events| !events.is_empty()) {}
        guard.clear_ready();
        Ok(())
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..2).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        match (first, digits) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
