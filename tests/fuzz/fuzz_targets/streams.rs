//! Positions and lists of them as clients hand them back, and patterns of names against a plain matcher.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::streams::{Joined, POSITIONS_MAX, Pattern, Position, Positions};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    // One text is one position, whichever way it is read.
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
    }
    match text.parse::<Positions>() {
        Ok(Positions(each)) => {
            assert_eq!(each.len(), text.split(',').count());
            for (position, text) in each.iter().zip(text.split(',')) {
                assert_eq!(*position, text.parse().ok());
            }
            let all: Option<Vec<Position>> = each.into_iter().collect();
            if let Some(all) = all {
                assert_eq!(Joined(&all).to_string(), text);
            }
        }
        Err(error) => {
            assert!(text.split(',').count() > POSITIONS_MAX, "{error}");
        }
    }
    // What is before the first line end is a pattern, what follows a name.
    if let Some((pattern, name)) = text.split_once('\n') {
        let fits = Pattern::new(pattern).fits(name);
        assert_eq!(fits, fits_plainly(pattern.as_bytes(), name.as_bytes()));
    }
});

/// Which ends of the pattern's beginnings the name's beginnings fit, one character after the other.
fn fits_plainly(pattern: &[u8], name: &[u8]) -> bool {
    let mut fits = vec![false; pattern.len() + 1];
    let pass_stars = |fits: &mut [bool]| {
        for (at, wanted) in pattern.iter().enumerate() {
            fits[at + 1] |= *wanted == b'*' && fits[at];
        }
    };
    fits[0] = true;
    pass_stars(&mut fits);
    for given in name {
        let mut next = vec![false; pattern.len() + 1];
        for (at, wanted) in pattern.iter().enumerate() {
            match wanted {
                b'*' => next[at + 1] |= fits[at + 1],
                _ => next[at + 1] |= fits[at] && wanted == given,
            }
        }
        pass_stars(&mut next);
        fits = next;
    }
    fits[pattern.len()]
}
