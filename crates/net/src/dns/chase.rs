//! A name of ours that leads to one of others: our alias, and what they answered, in one message.
//!
//! Names in their answer are told by pointers into it, so it is taken apart and put together anew
//! (hickory-proto). It happens once for an ExternalName that somebody asks for, not on the fast path.

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name as Labels, RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::answer::{ALIASES_MAX, LIFE};
use super::name::{NAME_MAX, lowered};
use super::query::{CHECKING_DISABLED, PACKET_MAX, Query, RECURSION_DESIRED};
use super::table::{Found, Names, Records};

/// Writes the whole answer; `tail` answers the last name that ours lead to. What they do not know leaves the
/// alias alone (CoreDNS, plugin/backend_lookup.go A).
pub fn joined(
    names: &Names,
    query: &Query<'_>,
    tail: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    let tail = Message::from_vec(tail)?;
    let question = Labels::read(&mut BinDecoder::new(query.name))?;
    let mut message = Message::response(query.id, hickory_proto::op::OpCode::Query);
    message.metadata.recursion_desired = query.flags & RECURSION_DESIRED != 0;
    message.metadata.checking_disabled = query.flags & CHECKING_DISABLED != 0;
    message.metadata.recursion_available = true;
    message.metadata.response_code = ResponseCode::NoError;
    let mut asked = hickory_proto::op::Query::query(question.clone(), query.kind.into());
    asked.set_query_class(query.class.into());
    message.add_query(asked);
    message.answers = aliases(names, query, question)?;
    message.answers.extend(tail.answers);
    if let Some(extended) = query.extended {
        let mut edns = Edns::new();
        edns.set_max_payload(PACKET_MAX as u16).set_dnssec_ok(extended.dnssec);
        message.set_edns(edns);
    }
    let mut bytes = message.to_vec()?;
    if bytes.len() > limit {
        message.answers.clear();
        message.metadata.truncation = true;
        bytes = message.to_vec()?;
    }
    *out = bytes;
    Ok(())
}

/// From our name to the last of ours.
fn aliases(names: &Names, query: &Query<'_>, question: Labels) -> Result<Vec<Record>, ProtoError> {
    let table = names.table();
    let mut small = [0; NAME_MAX];
    let length = lowered(query.name, &mut small);
    let (mut current, mut owner, mut found) = (small[..length].to_vec(), question, Vec::new());
    while let Found::Records(Records::Alias(name)) = table.find(&current, query.kind)
        && found.len() <= ALIASES_MAX
    {
        let target = Labels::read(&mut BinDecoder::new(name.bytes()))?;
        found.push(Record::from_rdata(owner, LIFE, RData::CNAME(CNAME(target.clone()))));
        (owner, current) = (target, name.bytes().to_vec());
    }
    Ok(found)
}
