//! A DNS server of one node: a zone from memory, and everything else from this machine's resolvers.
//!
//! What the zone's names are is told from outside (`Names::change`); nothing is asked for a name of the
//! zone, so that answers go on while those who know are away. `Server` answers pods and this machine.

/// Answers from memory.
mod answer;
/// Answers of others, kept.
mod cache;
/// Names of ours that lead to others'.
mod chase;
/// Asking others.
mod forward;
/// Names in messages.
mod name;
/// Questions.
mod query;
/// The sockets.
mod serve;
/// What names stand for.
mod table;
/// This machine's resolvers.
mod upstreams;

pub use forward::Entropy;
pub use name::Name;
pub use serve::{Server, Service};
pub use table::{Difference, Names, Records, Target};
pub use upstreams::{Files, Upstreams};

/// As the server hears a packet by UDP, for whoever feeds it with what nobody would ask: true if it is a
/// question.
pub fn reads(packet: &[u8], names: &Names) -> bool {
    let Ok(query) = query::Query::parse(packet) else { return false };
    let (mut scratch, mut out) = (answer::Scratch::new(1), Vec::new());
    let outcome = answer::answer(&names.table(), &query, query.limit(), &mut scratch, &mut out);
    assert!(out.len() <= query.limit() || out.len() <= query.end() + 11, "an answer is longer than may be");
    let key = cache::Key::of(&query);
    // An answer of ours is one that we would believe.
    if outcome == answer::Outcome::Done {
        let read = cache::Answer::parse(&out, &key, tokio::time::Instant::now());
        assert!(read.is_some(), "an answer answers its question");
    }
    true
}

/// The same for what a resolver answers: true if it is believed.
pub fn believes(packet: &[u8]) -> bool {
    let mut reader = query::Reader { bytes: packet, at: query::HEADER };
    let Some((name, Some(kind), Some(class))) = reader.name().map(|name| (name, reader.pair(), reader.pair())) else {
        return false;
    };
    let asked = query::Query { id: 7, flags: query::RECURSION_DESIRED, name, kind, class, extended: None };
    let now = tokio::time::Instant::now();
    let Some(answer) = cache::Answer::parse(packet, &cache::Key::of(&asked), now) else { return false };
    let mut out = Vec::new();
    answer.write(&asked, query::PACKET_MAX, now, &mut out);
    assert!(out.len() <= query::PACKET_MAX.max(asked.end()), "an answer is longer than may be");
    true
}

#[cfg(test)]
mod tests;
