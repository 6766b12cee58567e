//! Random choices that can be repeated: each test's generator prints its seed.

use fastrand::Rng;

/// A generator whose seed is printed; `E2E_SEED` fixes it.
pub fn rng() -> Rng {
    let seed = match std::env::var("E2E_SEED") {
        Ok(seed) => seed.parse().expect("E2E_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("repeat with E2E_SEED={seed}");
    Rng::with_seed(seed)
}

/// So many different uids, random so that they fall on all cores.
pub fn uids(rng: &mut Rng, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{}-{n}", uid(rng))).collect()
}

/// One random uid, without a colon.
pub fn uid(rng: &mut Rng) -> String {
    let length = rng.usize(4..20);
    (0..length).map(|_| rng.alphanumeric()).collect()
}

/// Text of so many bytes without line ends or colons.
pub fn text(rng: &mut Rng, bytes: usize) -> String {
    (0..bytes).map(|_| rng.alphanumeric()).collect()
}
