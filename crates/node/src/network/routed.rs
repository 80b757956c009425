//! The pod network of this machine (`net`), opened when the node's range is known.
//!
//! What an earlier run left is taken over at once, so that a restarted agent waits for nobody. Pods that
//! need the network before there is one wait. A range other than the one in use is taken when no pod
//! has an address any more; until then no new pod gets one: the old range may be another node's by now.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use net::{AttachSpec, Attachment, Net};
use runtime::engine::Boxed;
use tokio::sync::{Mutex, watch};

use super::{Gate, Network, Subject};

/// How long an attachment waits for the network; whoever asks does so again.
const PATIENCE: Duration = Duration::from_secs(5);
const NO_RANGE: &str = "the server has given this node no range of pod addresses yet (spec.podCIDRs)";

/// How the network is opened with a range.
pub type Opening = dyn Fn(Ipv4Net) -> Result<Net, net::Error> + Send + Sync;

pub struct Routed {
    opening: Arc<Opening>,
    stage: watch::Sender<Stage>,
    /// The network while it is open, for whoever has rules in it.
    nets: watch::Sender<Option<Net>>,
    trouble: watch::Sender<Option<String>>,
    /// One change of the range at a time.
    changing: Mutex<()>,
    /// None: nothing is held to any policy.
    gate: Option<Arc<dyn Gate>>,
}

#[derive(Clone)]
enum Stage {
    Closed,
    Open(Net, Ipv4Net),
    /// Its last pods keep their addresses of the first range; the second one is wanted, if there is one.
    Leaving(Net, Ipv4Net, Option<Ipv4Net>),
    /// For good: `down`.
    Ended,
}

impl Stage {
    fn net(&self) -> Option<Net> {
        match self {
            Stage::Closed | Stage::Ended => None,
            Stage::Open(net, _) | Stage::Leaving(net, ..) => Some(net.clone()),
        }
    }
}

impl Routed {
    /// With what an earlier run left, if there is something.
    pub fn begin(opening: Arc<Opening>, left: Option<Ipv4Net>) -> Result<Routed, net::Error> {
        let (stage, trouble) = match left {
            Some(range) => (Stage::Open(opening(range)?, range), None),
            None => (Stage::Closed, Some(NO_RANGE.to_string())),
        };
        let nets = watch::Sender::new(stage.net());
        let (stage, trouble) = (watch::Sender::new(stage), watch::Sender::new(trouble));
        Ok(Routed { opening, stage, nets, trouble, changing: Mutex::default(), gate: None })
    }

    /// With somebody who judges each attachment before it may send anything.
    pub fn behind(self, gate: Arc<dyn Gate>) -> Routed {
        Routed { gate: Some(gate), ..self }
    }

    /// The network while there is one: what is planned for services, policies and peers is put into each anew.
    pub fn nets(&self) -> watch::Receiver<Option<Net>> {
        self.nets.subscribe()
    }

    /// Removes every link, rule, route and pin: `down`.
    pub async fn close(&self) -> Result<(), net::Error> {
        // What is being opened is closed too.
        let _changing = self.changing.lock().await;
        let current = self.current();
        self.turn(Stage::Ended);
        match current {
            Some(net) => net.close().await,
            None => Ok(()),
        }
    }

    fn current(&self) -> Option<Net> {
        self.stage.borrow().net()
    }

    fn turn(&self, stage: Stage) {
        let (was, is) = (self.current().is_some(), stage.net());
        self.stage.send_replace(stage);
        self.nets.send_if_modified(|net| {
            let turned = was != is.is_some();
            if turned {
                *net = is;
            }
            turned
        });
    }

    async fn enter(&self, ranges: &[IpNet]) -> Result<(), net::Error> {
        let wanted = if ranges.is_empty() { None } else { Some(the_range(ranges)?) };
        let _changing = self.changing.lock().await;
        let stage = self.stage.borrow().clone();
        match stage {
            Stage::Ended => return Err(net::Error::Failed("it is closed".into())),
            Stage::Open(net, range) | Stage::Leaving(net, range, _) if wanted == Some(range) => {
                self.turn(Stage::Open(net, range));
                return Ok(());
            }
            Stage::Open(net, range) | Stage::Leaving(net, range, _) => {
                self.turn(Stage::Leaving(net.clone(), range, wanted));
                let left = net.list().await?.len();
                if left > 0 {
                    let next = wanted.map_or(NO_RANGE.into(), |wanted| format!("the node's range is {wanted} now"));
                    return Err(net::Error::Failed(format!("{left} pods must end before {range} is left: {next}")));
                }
                net.close().await?;
            }
            Stage::Closed => {}
        }
        self.turn(Stage::Closed);
        let Some(wanted) = wanted else { return Err(net::Error::Failed(NO_RANGE.into())) };
        let opening = self.opening.clone();
        let opened = tokio::task::spawn_blocking(move || opening(wanted)).await;
        let net = opened.map_err(|why| net::Error::Failed(why.to_string()))??;
        self.turn(Stage::Open(net, wanted));
        Ok(())
    }

    async fn open_with(&self, ranges: &[IpNet]) -> Result<(), net::Error> {
        let entered = self.enter(ranges).await;
        let why = entered.as_ref().err().map(ToString::to_string);
        self.trouble.send_if_modified(|trouble| std::mem::replace(trouble, why.clone()) != why);
        entered
    }

    /// The network once it is open.
    async fn opened(&self) -> Result<Net, net::Error> {
        let mut stage = self.stage.subscribe();
        let is_open = |stage: &Stage| matches!(stage, Stage::Open(..));
        if let Ok(Ok(stage)) = tokio::time::timeout(PATIENCE, stage.wait_for(is_open)).await
            && let Stage::Open(net, _) = &*stage
        {
            return Ok(net.clone());
        }
        let why = self.trouble.borrow().clone().unwrap_or_default();
        Err(net::Error::Failed(format!("the pod network is not ready: {why}")))
    }
}

/// The range of a family that the network has.
fn the_range(ranges: &[IpNet]) -> Result<Ipv4Net, net::Error> {
    match ranges {
        [IpNet::V4(range)] => Ok(*range),
        _ => {
            let other = ranges.iter().find(|range| matches!(range.addr(), IpAddr::V6(_))).unwrap_or(&ranges[0]);
            Err(net::Error::Failed(format!("the node's range {other}: pods have one IPv4 address here, no other")))
        }
    }
}

impl Network for Routed {
    fn open<'a>(&'a self, ranges: &'a [IpNet]) -> Boxed<'a, Result<(), net::Error>> {
        Box::pin(self.open_with(ranges))
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    fn attach(&self, spec: AttachSpec, pod: Subject) -> Boxed<'_, Result<Attachment, net::Error>> {
        Box::pin(async move {
            let net = self.opened().await?;
            let Some(gate) = &self.gate else { return net.attach(spec).await };
            let made = net.attach_mute(spec).await?;
            gate.enter(&net, &made.spec.id, pod, &made.addresses).await?;
            net.speak(&made.spec.id).await?;
            Ok(made)
        })
    }

    fn detach<'a>(&'a self, id: &'a str) -> Boxed<'a, Result<(), net::Error>> {
        Box::pin(async move {
            let Some(net) = self.current() else { return Ok(()) };
            if let Some(gate) = &self.gate {
                gate.leave(id).await;
            }
            net.detach(id).await?;
            let wanted = match &*self.stage.borrow() {
                Stage::Leaving(_, _, wanted) => *wanted,
                _ => return Ok(()),
            };
            // The last one lets the network change.
            let wanted = wanted.map(IpNet::from);
            let _ = self.open_with(wanted.as_slice()).await;
            Ok(())
        })
    }

    fn list(&self) -> Boxed<'_, Result<Vec<Attachment>, net::Error>> {
        Box::pin(async move {
            match self.current() {
                Some(net) => net.list().await,
                None => Ok(Vec::new()),
            }
        })
    }
}
