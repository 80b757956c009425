//! New inputs from samples: cut, doubled, crossed, bent, with words of the language put in.

/// A stream of numbers that a seed replays (SplitMix64).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which may be zero.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.draw() % n as u64) as usize }
    }

    /// Up to `most`, rather few than many, and not more than two to the power of `bits`.
    fn some(&mut self, most: usize, bits: usize) -> usize {
        let bound = most.min(1 << self.below(bits));
        self.below(bound + 1)
    }
}

/// Longer inputs teach nothing new and take long.
pub const LENGTH_MAX: usize = 64 << 10;

const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t \"'\\/{}[]<>:;,.-+*!&%|~=@#$0123456789eEnN";
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1e400",
    "-0",
    "0.1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "4294967296",
    "2147483648",
    "1e-400",
    "0x10",
    "0o17",
    "0777",
    "null",
    "true",
    "NaN",
];

/// One to eight changes of a sample; `other` is another one to cross it with.
pub fn mutate(chance: &mut Chance, sample: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
    let mut input = sample.to_vec();
    for _ in 0..1 << chance.below(4) {
        let at = chance.below(input.len() + 1);
        let end = at + chance.some(input.len() - at, 10);
        match chance.below(10) {
            0 => drop(input.drain(at..end)),
            1 => {
                let piece = input[at..end].to_vec();
                let to = chance.below(input.len() + 1);
                splice(&mut input, to, &piece);
            }
            2 => {
                let from = chance.below(other.len() + 1);
                let until = from + chance.some(other.len() - from, 12);
                splice(&mut input, at, &other[from..until]);
            }
            3 if at < input.len() => input[at] ^= 1 << chance.below(8),
            4 if at < input.len() => input[at] = BYTES[chance.below(BYTES.len())],
            5 => splice(&mut input, at, &[BYTES[chance.below(BYTES.len())]]),
            6 => splice(&mut input, at, NUMBERS[chance.below(NUMBERS.len())].as_bytes()),
            7 if !words.is_empty() => splice(&mut input, at, words[chance.below(words.len())].as_bytes()),
            8 => {
                // The same again and again: depth, length, quadratic work.
                let piece = input[at..end.min(at + 16)].to_vec();
                let again = piece.repeat(1 << chance.below(11));
                splice(&mut input, at, &again);
            }
            _ => token(chance, &mut input, at, words),
        }
        input.truncate(LENGTH_MAX);
    }
    input
}

/// Puts a word or a number in the place of the one that stands there.
fn token(chance: &mut Chance, input: &mut Vec<u8>, at: usize, words: &[&str]) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-+".contains(byte);
    let end = at + input[at..].iter().take_while(|byte| is_word(byte)).count();
    let begin = at - input[..at].iter().rev().take_while(|byte| is_word(byte)).count();
    let new = match chance.below(2) {
        0 if !words.is_empty() => words[chance.below(words.len())],
        _ => NUMBERS[chance.below(NUMBERS.len())],
    };
    input.splice(begin..end, new.bytes());
}

fn splice(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}
