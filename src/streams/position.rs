//! [`Position`]: how far a client has come in a stream, and its text `EPOCH:OFFSET`, as clients hand it back.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Letters and digits of an epoch.
const EPOCH_CHARS: usize = 10;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Positions in one list: more than a connection has groups, unless somebody has raised that far beyond its default.
pub const POSITIONS_MAX: usize = 256;

/// One life of a stream: a random number below 36^10, some 52 bits, which as text is ten of `0`–`9` and `a`–`z`. Held as
/// one more, so that a position that may be missing takes no more than one that is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "NonZeroU64")]
pub struct Epoch(NonZeroU64);

impl TryFrom<NonZeroU64> for Epoch {
    type Error = &'static str;

    /// What was written down may be anything.
    fn try_from(held: NonZeroU64) -> Result<Epoch, &'static str> {
        match held.get() <= Epoch::COUNT {
            true => Ok(Epoch(held)),
            false => Err("an epoch that is none"),
        }
    }
}

impl Epoch {
    /// How many there are.
    pub(super) const COUNT: u64 = 36_u64.pow(EPOCH_CHARS as u32);

    /// The epoch of this number, whatever it is.
    pub fn of(number: u64) -> Epoch {
        Epoch(NonZeroU64::MIN.saturating_add(number % Epoch::COUNT))
    }

    pub(super) fn number(self) -> u64 {
        self.0.get() - 1
    }

    fn text(self) -> [u8; EPOCH_CHARS] {
        let mut text = [0; EPOCH_CHARS];
        let mut rest = self.number();
        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest % 36) as usize];
            rest /= 36;
        }
        text
    }

    fn parse(text: &[u8]) -> Option<Epoch> {
        if text.len() != EPOCH_CHARS {
            return None;
        }
        let number = text.iter().try_fold(0, |number, char| {
            let digit = match char {
                b'0'..=b'9' => char - b'0',
                b'a'..=b'z' => char - b'a' + 10,
                _ => return None,
            };
            Some(number * 36 + u64::from(digit))
        });
        number.map(Epoch::of)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        // All of `DIGITS` are ASCII.
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// How far somebody has come in a stream: all messages up to this offset of this epoch. As text `EPOCH:OFFSET`, such as
/// `k3v09xq2mh:17`. One text for each position: nothing else reads as it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Of which life of the stream.
    pub epoch: Epoch,
    /// The last message; 0 is before the first.
    pub offset: u64,
}

const _: () = assert!(size_of::<Option<Position>>() == 16);

impl Position {
    /// Whether whoever stands here has what is at that position: nothing of another life of the stream.
    pub fn has(self, other: Position) -> bool {
        self.epoch == other.epoch && self.offset >= other.offset
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

/// Why a text is no position. Whoever brings it is told of a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PositionError {
    /// No colon between an epoch and an offset.
    Colon,
    /// Before the colon are not ten of `0`–`9` and `a`–`z`.
    Epoch,
    /// After the colon is no decimal number of at most 64 bits, or one that begins with a zero.
    Offset,
    /// A list of more than [`POSITIONS_MAX`].
    TooMany,
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PositionError::Colon => "a position is EPOCH:OFFSET",
            PositionError::Epoch => "a position's epoch has ten characters of 0-9 and a-z",
            PositionError::Offset => "a position's offset is a decimal number of at most 64 bits",
            PositionError::TooMany => "at most 256 positions are a list",
        })
    }
}

impl std::error::Error for PositionError {}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        let (epoch, offset) = text.split_once(':').ok_or(PositionError::Colon)?;
        let epoch = Epoch::parse(epoch.as_bytes()).ok_or(PositionError::Epoch)?;
        let offset = match offset.as_bytes() {
            b"0" => 0,
            // `parse` would take a sign.
            [b'1'..=b'9', ..] => offset.parse().map_err(|_| PositionError::Offset)?,
            _ => return Err(PositionError::Offset),
        };
        Ok(Position { epoch, offset })
    }
}

/// Positions in several streams, in their order, as a list joined by commas. What in a list is no position is `None`: a
/// gap in that stream alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Positions(pub Vec<Option<Position>>);

impl FromStr for Positions {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Positions, PositionError> {
        let most = text.split(',').take(POSITIONS_MAX + 1);
        let each: Vec<Option<Position>> = most.map(|one| one.parse().ok()).collect();
        match each.len() {
            0..=POSITIONS_MAX => Ok(Positions(each)),
            _ => Err(PositionError::TooMany),
        }
    }
}

/// Positions as the text of their list.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a>(pub &'a [Position]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, position) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            write!(f, "{position}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Position, PositionError> {
        text.parse()
    }

    #[test]
    fn a_position_has_one_text() {
        let position = Position {
            epoch: Epoch::of(36 * 36 + 35),
            offset: 17,
        };
        assert_eq!(position.to_string(), "000000010z:17");
        assert_eq!(parse("000000010z:17"), Ok(position));
        let last = Position {
            epoch: Epoch::of(Epoch::COUNT - 1),
            offset: u64::MAX,
        };
        assert_eq!(last.to_string(), "zzzzzzzzzz:18446744073709551615");
        assert_eq!(parse("zzzzzzzzzz:18446744073709551615"), Ok(last));
        assert_eq!(parse("0000000000:0").map(|it| it.offset), Ok(0));
    }

    #[test]
    fn what_is_no_position_says_why() {
        for (text, error) in [
            ("", PositionError::Colon),
            ("0000000000", PositionError::Colon),
            ("17", PositionError::Colon),
            (":17", PositionError::Epoch),
            ("000000000:17", PositionError::Epoch),
            ("00000000000:17", PositionError::Epoch),
            ("000000000A:17", PositionError::Epoch),
            ("00000000é:17", PositionError::Epoch),
            (" 000000000:17", PositionError::Epoch),
            ("0000000000:", PositionError::Offset),
            ("0000000000:00", PositionError::Offset),
            ("0000000000:017", PositionError::Offset),
            ("0000000000:+17", PositionError::Offset),
            ("0000000000:-1", PositionError::Offset),
            ("0000000000:1.0", PositionError::Offset),
            ("0000000000:1 ", PositionError::Offset),
            ("0000000000:1:2", PositionError::Offset),
            ("0000000000:18446744073709551616", PositionError::Offset),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_list_tells_which_are_none() {
        let text = "0000000000:1,x,,0000000000:2";
        let positions: Positions = text.parse().expect("four are not too many");
        let offsets = |positions: &Positions| {
            let each = positions.0.iter();
            each.map(|one| one.map(|it| it.offset)).collect::<Vec<_>>()
        };
        assert_eq!(offsets(&positions), [Some(1), None, None, Some(2)]);
        let most = vec!["0000000000:1"; POSITIONS_MAX].join(",");
        assert_eq!(most.parse::<Positions>().map(|it| it.0.len()), Ok(256));
        let more = format!("{most},");
        assert_eq!(more.parse::<Positions>(), Err(PositionError::TooMany));
        assert_eq!(offsets(&"".parse().expect("one that is none")), [None]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(each in prop::collection::vec((any::<u64>(), any::<u64>()), 1..20)) {
            let each: Vec<Position> = each
                .into_iter()
                .map(|(epoch, offset)| Position { epoch: Epoch::of(epoch), offset })
                .collect();
            for position in &each {
                prop_assert_eq!(parse(&position.to_string()), Ok(*position));
            }
            let list: Positions = Joined(&each).to_string().parse().expect("a list");
            prop_assert_eq!(list.0, each.into_iter().map(Some).collect::<Vec<_>>());
        }

        #[test]
        fn what_is_read_is_written_so(text in "[0-9a-z:,+ ]{0,3}[0-9a-z]{8,10}:[0-9]{1,21}") {
            if let Ok(position) = parse(&text) {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }
}
