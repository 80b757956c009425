//! Single expressions, for rules that lay out the registers themselves.
//!
//! A register is named by its first word, 0 to 15 (NFT_REG32_00 and on); an address of IPv6 fills four.

use super::{Name, Part};

/// One expression of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Load(Part, u32),
    Constant(u32, Vec<u8>),
    Mask(u32, Vec<u8>),
    Equal(u32, Vec<u8>),
    Unequal(u32, Vec<u8>),
    /// The key that begins there is in the set.
    Within(Name, u32),
    Without(Name, u32),
    /// What stands under the key that begins at the first register goes to the second.
    Lookup(Name, u32, u32),
    /// Goes where the map says, if it says so.
    Verdict(Name, u32),
    /// Any number below, in the machine's own order of bytes.
    Random(u32, u32),
    /// Key and data stand in the map for so many seconds from now on; data that stand there stay.
    Remember {
        map: Name,
        key: u32,
        data: u32,
        seconds: u32,
    },
    Forget {
        map: Name,
        key: u32,
        data: u32,
    },
    /// To the address and the port in these registers.
    Destination(u32, u32),
    Goto(Name),
    Return,
    /// Says no: a reset, or that there is nobody at the port.
    Reset,
    Unreachable,
}
