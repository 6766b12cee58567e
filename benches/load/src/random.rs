//! [`Random`]: choices that a seed repeats (SplitMix64). Not for secrets.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed, and within it of a number.
    pub fn new(seed: u64, stream: usize) -> Random {
        let mut random = Random(seed ^ (stream as u64).wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// One of the numbers below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The bias of a bound of 32 bits is below one in four billion.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}
