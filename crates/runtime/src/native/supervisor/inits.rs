//! Inits of shared PID namespaces: begun, waited for without waiting, ended.
//!
//! An init begins in its pod's group, with that pod's share of CPU, which may be next to none: nobody else
//! is held up by it. Its sandbox is answered for, and told of, when it has laid down its rights.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::sandboxes::{PROC, Sandboxed, key};
use super::words::{self, Word};
use super::{Child, Source, Supervisor, Ticket};
use crate::native::journal::{Entry, Process};
use crate::native::protocol::{Answer, Refusal, Told};
use crate::native::setup::beside::{self, Init};
use crate::native::sys::{self, Cloned};
use crate::spec::{ContainerSpec, Resources, SandboxId};

/// An init that has not laid down its rights yet.
pub struct Beginning {
    process: Process,
    told: OwnedFd,
    token: u64,
    proc: Option<OwnedFd>,
    /// Who asked for the sandbox.
    pub tickets: Vec<Ticket>,
}

impl Supervisor {
    pub(super) fn begin_init(&mut self, id: &SandboxId, held: &mut Sandboxed, ticket: Ticket) -> Result<(), Refusal> {
        let path = format!("{}/{}", held.record.spec.cgroup, id.0);
        let none = Resources::default();
        self.tree.make_container(&path, &none)?;
        let group = self.tree.open(&path)?;
        let join = self.tree.join_files(&path, &none);
        let filter = self.filter_of(&ContainerSpec::default())?;
        let (told, tell) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
        words::know_senders(&told)?;
        let (namespaces, template) = (held.namespaces(), self.namespaces.template.as_fd());
        let init = Init { join, namespaces, template, null: self.null.as_fd(), filter, told: tell.as_fd() };
        let flags = (libc::CLONE_PARENT | libc::CLONE_NEWPID) as u64;
        let (pid, pidfd) = match sys::clone3(flags, group.as_ref().map(|g| g.as_fd()))? {
            Cloned::Child => beside::init(&init),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(tell);
        self.children.insert(pid, Child::Init(id.clone()));
        let unique = sys::unique_of(pid, pidfd.as_fd());
        held.kept.init = Some(pidfd);
        let process = Process { pid, unique: unique? };
        let token = self.watch(told.as_fd(), Source::Init(id.clone()), EventFlags::IN)?;
        held.beginning = Some(Beginning { process, told, token, proc: None, tickets: vec![ticket] });
        Ok(())
    }

    /// Hears an init: its namespace's /proc, why it failed, or (by closing) that it has begun.
    pub(super) fn hear_init(&mut self, id: &SandboxId) {
        loop {
            let Some(Sandboxed { beginning: Some(beginning), .. }) = self.sandboxes.get_mut(id) else { return };
            match words::next(&beginning.told, beginning.process.pid, false, false) {
                Word::Nothing => return,
                Word::Proc(proc) => beginning.proc = Some(proc),
                Word::Over => return self.init_begun(id, String::new()),
                Word::Failed(why) => return self.init_begun(id, why),
                Word::Terminal(_) | Word::Moved(_) | Word::Forged => return self.init_begun(id, words::FORGED.into()),
            }
        }
    }

    fn init_begun(&mut self, id: &SandboxId, failed: String) {
        let Some(held) = self.sandboxes.get_mut(id) else { return };
        let Some(Beginning { process, told, token, proc, tickets }) = held.beginning.take() else { return };
        held.record.init = Some(process);
        let record = held.record.clone();
        self.unwatch(token, told.as_fd());
        let refused = |text: &str| Refusal::Failed(format!("the sandbox's init: {text}"));
        let begun = proc.filter(|_| failed.is_empty()).ok_or_else(|| refused(&failed)).and_then(|proc| {
            self.hang(id, PROC, &proc)?;
            self.keep(&key(id), &[PROC], &[proc.as_fd()])?;
            self.record(&Entry::Sandbox(id.clone(), Box::new(record)))?;
            Ok(proc)
        });
        match begun {
            Ok(proc) => {
                if let Some(held) = self.sandboxes.get_mut(id) {
                    held.kept.proc = Some(proc);
                    let sandbox = Box::new(held.seen(id));
                    self.publish(Told::Sandbox { sandbox });
                }
                tickets.into_iter().for_each(|ticket| self.answer(ticket, Ok(Answer::Done), Vec::new()));
            }
            Err(refusal) => {
                if let Some(held) = self.sandboxes.remove(id) {
                    self.unmake_sandbox(id, held);
                }
                tickets.into_iter().for_each(|ticket| self.answer(ticket, Err(refusal.clone()), Vec::new()));
            }
        }
    }

    pub(super) fn init_ended(&mut self, id: &SandboxId) -> io::Result<()> {
        self.hear_init(id);
        self.init_begun(id, "it ended".into());
        if let Some(held) = self.sandboxes.get_mut(id) {
            held.kept.init = None;
            held.record.init = None;
            if !held.is_ending() {
                self.lose_sandbox(id);
            }
            self.look_for_end(id);
        }
        Ok(())
    }
}
