//! Whole clusters on the real kernel, driven through the binary as a user drives it.
//!
//! Every test is a story in namespaces of its own (network, mounts, processes): it starts `gousse up`,
//! works with the command line and a stock kubectl, and ends with nothing left on the machine. Nothing
//! here sleeps: the tests wait on what the programs print and on watches, with bounds as a guard only.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

/// Bad input gets clear errors, and the rest goes on.
#[path = "cluster/bad_input.rs"]
mod bad_input;
/// What climbs out of a pod, or into one.
#[path = "cluster/climbs.rs"]
mod climbs;
/// Pods from Debian's own software: a web server, and a database with a site in front.
#[path = "cluster/debian.rs"]
mod debian;
/// What `up` and `down` delete, and what does not hold them up.
#[path = "cluster/ends.rs"]
mod ends;
/// kill -9 of any part loses nothing.
#[path = "cluster/faults.rs"]
mod faults;
/// What files say, judged as kubectl judges it.
#[path = "cluster/files.rs"]
mod files;
/// Port-forward with clients of several ages.
#[path = "cluster/forwards.rs"]
mod forwards;
/// A disk that is full, and has room again.
#[path = "cluster/full_disk.rs"]
mod full_disk;
/// A site behind the ingress.
#[path = "cluster/ingress.rs"]
mod ingress;
/// Transcripts of a stock kubectl, and our own verbs beside it.
#[path = "cluster/kubectl.rs"]
mod kubectl;
/// Storage, bandwidth, and the node's own room.
#[path = "cluster/limits.rs"]
mod limits;
/// Several machines.
#[path = "cluster/machines.rs"]
mod machines;
/// Names of services.
#[path = "cluster/names.rs"]
mod names;
/// One cluster on two machines.
#[path = "cluster/nodes.rs"]
mod nodes;
/// Standard output that is full, or that nobody reads.
#[path = "cluster/output.rs"]
mod output;
/// Images of what Debian installed on this machine.
#[path = "cluster/packed.rs"]
mod packed;
/// Pods that become more and fewer by what they use.
#[path = "cluster/scaling.rs"]
mod scaling;
/// Services, by hand.
#[path = "cluster/services.rs"]
mod services;
/// Exec and attach with clients of several ages and languages.
#[path = "cluster/sessions.rs"]
mod sessions;
/// Namespaces, instances, programs and their output.
#[path = "cluster/stage.rs"]
mod stage;
/// The README's tour.
#[path = "cluster/tour.rs"]
mod tour;
/// Our own verbs beyond transcripts.
#[path = "cluster/verbs.rs"]
mod verbs;
/// Images as volumes, and paths below volumes.
#[path = "cluster/volumes.rs"]
mod volumes;
/// The nine verbs of ARCHITECTURE.md, in their order.
#[path = "cluster/walk.rs"]
mod walk;
/// Our verbs for workloads and nodes beside kubectl's.
#[path = "cluster/workloads.rs"]
mod workloads;
