//! `POST /v1/batch`: an array of commands, carried out in their order, with as many answers.
//!
//! All of it is read before anything is done, so that what is no JSON does nothing. Bounds: [`BATCH_MAX`] entries,
//! [`BATCH_UIDS_MAX`] uids in all of them; and the core goes on with other things between any two small parts.

use super::errors::ApiError;
use super::pacing::RequestPace;
use super::requests::{self, ApiCommand, PushCommand, PushTarget};
use super::service::Api;
use crate::auth::backend_tokens::Rights;
use crate::protocol::http::Request;
use crate::protocol::json::string_end;

/// Most entries of a batch.
pub const BATCH_MAX: usize = 10_000;
/// Most uids in the `uids` of all its entries.
const BATCH_UIDS_MAX: usize = 100_000;
/// Bytes that are read before the core goes on with other things.
const BYTES_PER_STEP: usize = 64 << 10;

impl Api {
    pub(super) async fn batch(&self, request: &Request) -> Result<String, ApiError> {
        let mut entries = Entries::new(requests::text(request)?);
        let mut commands = Vec::new();
        let (mut uids, mut step) = (0, 0);
        let may = |right| self.access.authorize(request, right).is_ok();
        let (may_push, may_kick) = (may(Rights::PUSH), may(Rights::KICK));
        while let Some(text) = entries.next().map_err(ApiError::bad_request)? {
            let nth = commands.len();
            if nth == BATCH_MAX {
                let words = format!("a batch has at most {BATCH_MAX} entries");
                return Err(ApiError::new(400, "too_many", words));
            }
            let command = requests::entry(text)
                .map_err(|error| ApiError::bad_request(format!("entry {nth}: {error}")))?;
            if let Ok(ApiCommand::Push(PushCommand {
                target: PushTarget::Uids(many),
                ..
            })) = &command
            {
                uids += many.len();
            }
            if uids > BATCH_UIDS_MAX {
                let words = format!("a batch has at most {BATCH_UIDS_MAX} uids");
                return Err(ApiError::new(400, "too_many", words));
            }
            let may = match &command {
                Ok(ApiCommand::Kick(..)) => may_kick,
                Ok(_) => may_push,
                Err(_) => true,
            };
            commands.push(match may {
                true => command,
                false => Err(ApiError::new(
                    403,
                    "no_right",
                    "this token has no right to it",
                )),
            });
            step += text.len();
            if step > BYTES_PER_STEP {
                step = 0;
                RequestPace::new(self).rest().await;
            }
        }
        let mut answers = String::from("{\"answers\":[");
        for (nth, outcome) in self.execute_all(commands).await.into_iter().enumerate() {
            if nth > 0 {
                answers.push(',');
            }
            match outcome {
                Ok(text) => answers.push_str(&text),
                Err(error) => answers.push_str(&error.text()),
            }
        }
        answers.push_str("]}");
        Ok(answers)
    }
}

/// The texts of an array's entries, one after another. What an entry is, is looked at no closer than finding its
/// end takes.
struct Entries<'t> {
    text: &'t str,
    at: usize,
    state: ScanState,
}

#[derive(PartialEq)]
enum ScanState {
    Before,
    Within,
    After,
}

const NO_ARRAY: &str = "expected an array of {\"push\":{…}} and its like";

impl<'t> Entries<'t> {
    fn new(text: &'t str) -> Entries<'t> {
        Entries {
            text,
            at: 0,
            state: ScanState::Before,
        }
    }

    fn next(&mut self) -> Result<Option<&'t str>, &'static str> {
        if self.state == ScanState::Before {
            if self.take_byte() != Some(b'[') {
                return Err(NO_ARRAY);
            }
            self.state = ScanState::Within;
            self.skip_space();
            if self.text.as_bytes().get(self.at) == Some(&b']') {
                self.at += 1;
                self.state = ScanState::After;
            }
        }
        if self.state == ScanState::After {
            return match self.take_byte() {
                None => Ok(None),
                Some(_) => Err("something follows the array"),
            };
        }
        let entry = self.take_entry();
        match self.take_byte() {
            Some(b',') => {}
            Some(b']') => self.state = ScanState::After,
            _ => return Err("the array has no end"),
        }
        Ok(Some(entry))
    }

    /// All up to the comma or the bracket that ends it.
    fn take_entry(&mut self) -> &'t str {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'"' => self.at = string_end(bytes, self.at),
                b'{' | b'[' => depth += 1,
                b',' | b']' if depth == 0 => break,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
        self.at = self.at.min(bytes.len());
        &self.text[start..self.at]
    }

    fn skip_space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.at += rest.iter().take_while(|byte| space(byte)).count();
    }

    fn take_byte(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.text.as_bytes().get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<&str>, &'static str> {
        let mut entries = Entries::new(text);
        let mut all = Vec::new();
        while let Some(entry) = entries.next()? {
            all.push(entry.trim());
        }
        Ok(all)
    }

    #[test]
    fn an_array_in_its_entries() {
        assert_eq!(all("[]"), Ok(vec![]));
        assert_eq!(all(" [ ] \n"), Ok(vec![]));
        assert_eq!(all("[1]"), Ok(vec!["1"]));
        assert_eq!(
            all(r#" [ {"a":[1,2]} , "],\"" ,[[],{}],null ] "#),
            Ok(vec![r#"{"a":[1,2]}"#, r#""],\"""#, "[[],{}]", "null"])
        );
        // Whoever reads it finds that an empty entry is no JSON.
        assert_eq!(all("[1,]"), Ok(vec!["1", ""]));
        assert_eq!(all("[,]"), Ok(vec!["", ""]));
        for bad in [
            "", "{}", "1", "[", "[1", "[1 2", "[\"", "[\"\\", "[1] 2", "[1]]", "[{]}",
        ] {
            assert!(all(bad).is_err(), "{bad}");
        }
    }

    /// Every valid array gives what serde_json finds in it.
    #[test]
    fn as_another_reader_has_it() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let pieces = [
                "1",
                "\"a,]\"",
                "[1,[]]",
                "{\"k\":[{}]}",
                "\"\\\\\"",
                "null",
                "\"é\\\"\"",
            ];
            let count = random.usize(0..6);
            let blank = |random: &mut fastrand::Rng| ["", " ", "\n\t"][random.usize(0..3)];
            let mut text = format!("{}[", blank(&mut random));
            for nth in 0..count {
                let comma = if nth > 0 { "," } else { "" };
                let piece = pieces[random.usize(0..pieces.len())];
                text += &format!("{comma}{}{piece}{}", blank(&mut random), blank(&mut random));
            }
            text += &format!("]{}", blank(&mut random));
            let theirs: Vec<serde_json::Value> = serde_json::from_str(&text).expect("valid");
            let ours = all(&text).expect("valid").into_iter();
            let ours: Vec<serde_json::Value> = ours
                .map(|entry| serde_json::from_str(entry).expect("valid"))
                .collect();
            assert_eq!(ours, theirs, "seed {seed}: {text}");
        }
    }
}
