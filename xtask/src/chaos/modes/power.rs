//! Power loss of an emulated machine with a server under writes.
//!
//! A client in the machine says on the console what it tries and what was acknowledged. What had been said before the
//! cut must be there after the next boot (law 11), on whatever part of the unflushed sectors the disk kept.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::{Https, kubeconfig};
use serde_json::json;

use self::disk::Disk;
use super::Round;
use super::writes::MAPS;
use crate::chaos::chance::Chance;
use crate::chaos::history::{State, Write, revision};
use crate::chaos::instance::{Answer, Api};
use crate::conformance::cache::{Cache, run as command};
use crate::machine;

/// The disk that loses its cache.
mod disk;

pub const NEEDS: &[crate::needs::Need] =
    &[("mkfs.ext4", "e2fsprogs", "makes the machine's file system"), ("truncate", "coreutils", "makes its disk")];

/// Of the disk.
const SIZE: &str = "160M";
/// For a boot until the server has answered, emulated and beside other work.
const BOOT: Duration = Duration::from_secs(240);
const SECONDS_MAX: &str = "900";
const WRITERS: u64 = 6;
const KEYS: u64 = 8;

/// What the machine boots from, put into the run's folder: built outside its namespaces.
pub fn bring(home: &Path, gousse: &Path) -> Result<()> {
    let cache = Cache::open()?;
    let product = machine::machine(&cache)?;
    std::fs::copy(product.path.join("vmlinuz"), home.join("vmlinuz"))?;
    let own = std::env::current_exe()?;
    let programs = [("gousse", gousse), ("chaos", own.as_path())];
    machine::pack(&product, &programs, &[("init", true, INIT.as_bytes())], &home.join("initrd"))
}

const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /bin/busybox /sbin/modprobe
for module in virtio_pci virtio_blk; do modprobe $module; done
mkdir /disk
mount -t ext4 /dev/vda /disk || echo REFUSED the disk cannot be mounted
ip link set lo up
gousse server --data-dir /disk/data --run-dir /run/gousse --listen 127.0.0.1:6443 > /tmp/server 2>&1 &
server=$!
until grep -q 'is ready' /tmp/server; do
    kill -0 $server 2> /tmp/gone || { echo REFUSED $(cat /tmp/server); break; }
    sleep 1
done
echo
chaos chaos --write /disk/data/admin.kubeconfig
echo REFUSED $(cat /tmp/server)
sleep 1000
";

pub async fn run(round: &Round<'_>) -> Result<()> {
    let folder = round.home.parent().context("a round's folder stands in the run's")?;
    std::fs::create_dir_all(&round.home)?;
    let image = round.home.join("disk.ext4");
    command(Command::new("truncate").args(["-s", SIZE]).arg(&image))?;
    command(Command::new("mkfs.ext4").arg("-q").arg(&image)).context("making a file system (e2fsprogs)")?;
    let disk = Disk::new(std::fs::read(&image)?);
    let socket = round.home.join("disk.socket");
    disk.serve(&socket)?;
    let mut chance = round.chance("power");
    let mut may = BTreeMap::<String, Vec<State>>::new();
    let end = Instant::now() + round.span;
    let mut boots = 0;
    // Each boot looks at what the ones before wrote: the last one writes nothing that is asked for.
    while boots < 3 || Instant::now() < end {
        let mut emulator = machine::emulator(&folder.join("vmlinuz"), &folder.join("initrd"), SECONDS_MAX);
        emulator
            .arg("-drive")
            .arg(format!("file=nbd:unix:{}:exportname=disk,format=raw,if=virtio,cache=writeback", socket.display()));
        let mut child = emulator.spawn().context("starting the emulator")?;
        let lines = lines(&mut child)?;
        let ended = boot(round, boots, &lines, &mut may, &mut chance);
        let lost = disk.cut(&mut chance);
        let _ = child.kill();
        let _ = child.wait();
        disk.revive();
        std::fs::write(round.home.join(format!("cut-{boots}")), format!("{lost} sectors lost\n"))?;
        ended?;
        boots += 1;
    }
    Ok(())
}

/// The console's lines as they come.
fn lines(child: &mut Child) -> Result<Receiver<String>> {
    let output = child.stdout.take().context("the console is piped")?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(|line| line.ok()) {
            let Some(line) = machine::console(&line) else { continue };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// One life of the machine: what is there is held against what may be, then it writes until the cut.
fn boot(
    round: &Round<'_>,
    number: u64,
    lines: &Receiver<String>,
    may: &mut BTreeMap<String, Vec<State>>,
    chance: &mut Chance,
) -> Result<()> {
    let mut there = BTreeMap::<String, State>::new();
    let mut until = Instant::now() + BOOT;
    let mut said = Vec::new();
    let mut listed = false;
    loop {
        let line = match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) if listed => return Ok(()),
            Err(why) => bail!("boot {number}: nothing was listed ({why}) after {said:?}"),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let state = |token: &str, revision: &str| State {
            token: (token != "-").then(|| token.to_owned()),
            revision: revision.parse().ok(),
        };
        match words.as_slice() {
            ["HAVE", key, token, revision] => drop(there.insert((*key).to_owned(), state(token, revision))),
            ["LISTED"] => {
                listed = true;
                let mut history = round.record.lock();
                for (key, may) in may.iter_mut() {
                    let named = format!("{key} at boot {number}");
                    history.writes.may.insert(named.clone(), may.clone());
                    // What is there now is what may be there from now on.
                    let now = there.get(key).cloned().unwrap_or_default();
                    history.writes.end.insert(named, now.clone());
                    *may = vec![now];
                }
                until = Instant::now() + Duration::from_secs(1) + chance.pause(6000);
            }
            ["TRY", key, token] => {
                may.entry((*key).to_owned()).or_insert_with(|| vec![State::default()]).push(state(token, ""))
            }
            ["ACK", key, token, revision] => {
                let state = state(token, revision);
                let write = Write {
                    key: (*key).to_owned(),
                    revision: state.revision.unwrap_or_default(),
                    token: (*token).to_owned(),
                };
                may.insert((*key).to_owned(), vec![state]);
                if write.revision > 0 {
                    round.record.lock().writes.acknowledged.push(write);
                }
            }
            ["REFUSED", ..] => bail!("boot {number}: {line}"),
            _ => said.push(line),
        }
    }
}

/// In the machine: lists what is there, and writes until there is no power; each line is whole.
pub fn write(words: &[String]) -> Result<bool> {
    let [path] = words else { bail!("chaos --write KUBECONFIG") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let loaded = kubeconfig::load(Some(Path::new(path)), None)?;
        let api = Api::new(Https::new(loaded.https)?);
        let (_, list, _) = api.insist("GET", MAPS, None).await?;
        for object in list["items"].as_array().into_iter().flatten() {
            let (name, token) =
                (object["metadata"]["name"].as_str().unwrap_or_default(), object["data"]["t"].as_str().unwrap_or("-"));
            println!("HAVE {name} {token} {}", revision(object));
        }
        println!("LISTED");
        let begun = crate::chaos::history::now();
        let writers = (0..WRITERS).map(|writer| write_on(api.clone(), writer, begun));
        futures::future::join_all(writers).await;
        Ok(false)
    })
}

async fn write_on(api: Api, writer: u64, begun: u64) {
    let uptime = boot_id();
    let mut chance = Chance::new(begun, writer, &uptime);
    for step in 0u64.. {
        let key = format!("w{writer}-{}", chance.within(0..=KEYS - 1));
        let token = format!("{uptime}.{writer}.{step}");
        let path = format!("{MAPS}/{key}");
        let length = chance.within(10..=6000) as usize;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key}, "data": {"t": token, "pad": chance.noise(length)}});
        if chance.happens(20) {
            println!("TRY {key} -");
            if let Answer::Told(200 | 404, _) = api.ask("DELETE", &path, None).await {
                println!("ACK {key} - -");
            }
            continue;
        }
        println!("TRY {key} {token}");
        let mut answer = api.ask("PUT", &path, Some(&map)).await;
        if let Answer::Told(404, _) = answer {
            answer = api.ask("POST", MAPS, Some(&map)).await;
        }
        match answer {
            Answer::Told(200 | 201, object) => println!("ACK {key} {token} {}", revision(&object)),
            Answer::Told(code, answer) => println!("REFUSED {key}: {code} {}", answer["message"]),
            Answer::Unknown(why) => println!("REFUSED {key}: no answer: {why}"),
        }
    }
}

/// The kernel's name for this boot: tokens of two boots are never the same.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.chars().take(8).collect()
}
