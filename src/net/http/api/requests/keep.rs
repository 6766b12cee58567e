//! How a message is to be kept, as a request says it: [`Keeping`]. Bounds: [`KEEP_MIN`] and `KEEP_MAX`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::KEEP_MAX;
use crate::streams::Wish;

/// A time, as `"10m"`, or whether at all.
#[derive(Default)]
pub struct Keeping(pub Wish);

impl<'de> Deserialize<'de> for Keeping {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;

        impl Visitor<'_> for Read {
            type Value = Keeping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keep: a time such as \"10m\", true or false")
            }

            fn visit_bool<E: Error>(self, keep: bool) -> Result<Keeping, E> {
                Ok(Keeping(if keep { Wish::AsRuled } else { Wish::Never }))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Keeping, E> {
                let most = humantime::format_duration(KEEP_MAX);
                match humantime::parse_duration(text) {
                    Ok(time) if (KEEP_MIN..=KEEP_MAX).contains(&time) => {
                        Ok(Keeping(Wish::For(time)))
                    }
                    Ok(_) => Err(E::custom(format!(
                        "keep: a message is kept for 1s to {most}"
                    ))),
                    Err(error) => Err(E::custom(format!("keep: {error}"))),
                }
            }
        }

        from.deserialize_any(Read)
    }
}

/// The shortest time that a message is kept for.
const KEEP_MIN: Duration = Duration::from_secs(1);
