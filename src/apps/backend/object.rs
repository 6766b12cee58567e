//! The uid of a JSON object that is written as programs write them: [`find`], for each pushed line.
//!
//! A shortcut, and a strict one: what it takes is JSON (RFC 8259), and the uid is the one that
//! serde_json would find. Of everything else, be it a mistake or merely unusual, it says nothing, and
//! serde_json is asked. One pass, which neither recurses nor allocates nor copies.

use memchr::memchr2;

/// Deepest nesting below the line's own object: a bit for each.
const DEPTH_MAX: u32 = 64;

/// The uid, a string without escapes or an integer as it is written; of two the last. Whether somebody
/// could have it is for the caller to check.
pub fn find(line: &str) -> Option<&str> {
    let mut scan = ObjectScan { line, at: 0 };
    let mut uid = None;
    scan.spaces();
    scan.take(b'{')?;
    loop {
        scan.spaces();
        let key = scan.plain_string()?;
        scan.colon()?;
        if key == "uid" {
            uid = Some(scan.uid()?);
        } else {
            scan.value()?;
        }
        scan.spaces();
        match scan.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scan.spaces();
    // Control characters are no part of strings, and elsewhere they are rare.
    let is_whole = scan.at == line.len() && !has_control(line);
    uid.filter(|_| is_whole)
}

/// All of it, for a fixed work on each byte is what compilers make wide instructions of.
fn has_control(line: &str) -> bool {
    line.bytes()
        .fold(false, |found, byte| found | (byte < b' '))
}

/// The highest bit of the first byte that is a quote or a backslash, where there is one. Those above may
/// be set wrongly, by a borrow.
fn mark(eight: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let eight = u64::from_le_bytes(eight);
    let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & (ONES << 7);
    zeros(eight ^ (ONES * u64::from(b'"'))) | zeros(eight ^ (ONES * u64::from(b'\\')))
}

struct ObjectScan<'a> {
    line: &'a str,
    /// What is before it has been read. On a character's first byte.
    at: usize,
}

impl<'a> ObjectScan<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn colon(&mut self) -> Option<()> {
        self.spaces();
        self.take(b':')?;
        self.spaces();
        Some(())
    }

    /// Up to the next quote or backslash, and which of them it is. It is passed over.
    fn run(&mut self) -> Option<u8> {
        let rest = &self.line.as_bytes()[self.at..];
        // Names and uids mostly end before the wide search would have begun.
        self.at += match rest.first_chunk().map(|eight| mark(*eight)) {
            None | Some(0) => memchr2(b'"', b'\\', rest)?,
            Some(marks) => marks.trailing_zeros() as usize / 8,
        };
        self.next()
    }

    /// What is between two quotes, without escapes.
    fn plain_string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        match self.run()? {
            b'"' => self.line.get(start..self.at - 1),
            _ => None,
        }
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        while self.run()? == b'\\' {
            match self.next()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                b'u' => {
                    for _ in 0..4 {
                        self.next().filter(u8::is_ascii_hexdigit)?;
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn uid(&mut self) -> Option<&'a str> {
        if self.peek()? == b'"' {
            return self.plain_string();
        }
        let start = self.at;
        self.number()?;
        let number = self.line.get(start..self.at)?;
        let digits = number.strip_prefix('-').unwrap_or(number);
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then_some(number)
    }

    /// At least one.
    fn digits(&mut self) -> Option<()> {
        self.next().filter(u8::is_ascii_digit)?;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn literal(&mut self, name: &str) -> Option<()> {
        let rest = &self.line.as_bytes()[self.at..];
        self.at += name.len();
        rest.starts_with(name.as_bytes()).then_some(())
    }

    /// Passes over any value. What is open around the place where it reads: a bit for each, the
    /// innermost the lowest, set for an object.
    fn value(&mut self) -> Option<()> {
        let (mut objects, mut depth) = (0_u64, 0);
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                bracket @ (b'{' | b'[') => {
                    let is_object = bracket == b'{';
                    self.at += 1;
                    self.spaces();
                    if self.peek()? == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else if depth == DEPTH_MAX {
                        return None;
                    } else {
                        objects = objects << 1 | u64::from(is_object);
                        depth += 1;
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            // It may have been the last of what it is in.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.spaces();
                let is_object = objects & 1 == 1;
                match (self.next()?, is_object) {
                    (b'}', true) | (b']', false) => {
                        objects >>= 1;
                        depth -= 1;
                    }
                    (b',', _) => {
                        self.spaces();
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    _ => return None,
                }
            }
        }
    }

    /// A name and its colon.
    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.colon()
    }
}

#[cfg(test)]
mod tests {
    use super::super::any_object::uid_of;
    use super::*;

    #[test]
    fn what_programs_write_is_taken() {
        for (line, uid) in [
            (r#"{"uid":"uid1","percent":"88%"}"#, "uid1"),
            (r#" { "a" : [ 1 , { "uid" : "no" } ] , "uid" : "b" } "#, "b"),
            (r#"{"uid":"a","uid":"b"}"#, "b"),
            (r#"{"uid":42}"#, "42"),
            (r#"{"uid":-0}"#, "-0"),
            (
                r#"{"uid":"李雷","text":"\u674e\ud800 \"quoted\" \\ \/\b\f\n\r\t"}"#,
                "李雷",
            ),
            (
                r#"{"a":[],"b":{},"c":[[],{}],"d":true,"e":false,"f":null,"uid":"x"}"#,
                "x",
            ),
            (
                r#"{"a":0,"b":-1.5,"c":1e9,"d":2.25E-3,"e":10E+1,"uid":"x"}"#,
                "x",
            ),
            (r#"{"uid":""}"#, ""),
        ] {
            assert_eq!(find(line), Some(uid), "{line}");
        }
        let nested = |depth| {
            format!(
                "{{\"x\":{}{},\"uid\":1}}",
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        // The innermost is empty, so it needs no bit.
        assert_eq!(find(&nested(DEPTH_MAX as usize + 1)), Some("1"));
        assert_eq!(find(&nested(DEPTH_MAX as usize + 2)), None);
    }

    #[test]
    fn what_is_unusual_or_wrong_is_left_to_serde_json() {
        for line in [
            "",
            "{",
            "{}",
            r#"{"uid":"a""#,
            r#"{"uid":"a"}x"#,
            r#"{"uid":"a",}"#,
            r#"{"uid":"a" "b":1}"#,
            r#"{"uid":"\u0061"}"#,
            r#"{"\u0075id":"a"}"#,
            r#"{"uid":1.0}"#,
            r#"{"uid":null}"#,
            r#"{"uid":"a","x":01}"#,
            r#"{"uid":"a","x":tru}"#,
            r#"{"uid":"a","x":t"#,
            r#"{"uid":"a","x":-}"#,
            r#"{"uid":"a","x":1.}"#,
            r#"{"uid":"a","x":1e}"#,
            r#"{"uid":"a","x":"\x"}"#,
            r#"{"uid":"a","x":"\u12é4"}"#,
            r#"{"uid":"a","x":[}"#,
            r#"{"uid":"a","x":[1,]}"#,
            r#"{"uid":"a","x":[1:2]}"#,
            r#"{"uid":"a","x":{"y",1}}"#,
            r#"{"uid":"a","x":{"y":1,}}"#,
            r#"{"uid":"a","x":{1:2}}"#,
            "{\"uid\":\"a\tb\"}",
            "{\t\"uid\":\"a\"}",
            "{\"uid\":\"a\"}\n",
        ] {
            assert_eq!(find(line), None, "{line}");
        }
    }

    /// A value, mostly as it should be written.
    fn json(random: &mut fastrand::Rng, depth: usize, out: &mut String) {
        const ATOMS: [&str; 22] = [
            "0",
            "-7",
            "42",
            "1.5",
            "1e3",
            "-0.5E+2",
            "true",
            "false",
            "null",
            "\"\"",
            "\"a\"",
            "\"uid\"",
            "\"é\\\"\"",
            "\"\\u0041\"",
            "\"\\ud800\"",
            "\"a\\\\\"",
            "01",
            "-",
            "\"\\q\"",
            "tru",
            "\"\u{1}\"",
            "\"\\",
        ];
        let separator = |random: &mut fastrand::Rng| match random.usize(0..60) {
            0 => ";",
            1 => "",
            2 => "\t,",
            3 => ", ",
            4 => ",,",
            _ => ",",
        };
        match random.usize(0..6) {
            0 if depth < 4 => {
                out.push('[');
                for nth in 0..random.usize(0..4) {
                    out.push_str(if nth == 0 { "" } else { separator(random) });
                    json(random, depth + 1, out);
                }
                out.push(']');
            }
            1 if depth < 4 => object_of(random, depth + 1, separator, out),
            // Of the last, which are wrong, few.
            _ if random.usize(0..40) == 0 => out.push_str(ATOMS[random.usize(16..22)]),
            _ => out.push_str(ATOMS[random.usize(0..16)]),
        }
    }

    fn object_of(
        random: &mut fastrand::Rng,
        depth: usize,
        separator: impl Fn(&mut fastrand::Rng) -> &'static str,
        out: &mut String,
    ) {
        const KEYS: [&str; 6] = [
            "\"uid\"",
            "\"a\"",
            "\"\"",
            "\"\\u0075id\"",
            "\"u\\u0069d\"",
            "uid",
        ];
        out.push('{');
        for nth in 0..random.usize(0..4) {
            out.push_str(if nth == 0 { "" } else { separator(random) });
            out.push_str(match random.usize(0..60) {
                0 => KEYS[5],
                1..=4 => KEYS[random.usize(3..5)],
                5..=30 => KEYS[0],
                _ => KEYS[random.usize(1..3)],
            });
            out.push_str([" : ", ":", ":", ":"][random.usize(0..4)]);
            json(random, depth, out);
        }
        out.push('}');
    }

    #[test]
    fn the_shortcut_finds_no_other_uid() {
        let (mut taken, mut left) = (0, 0);
        for seed in 0..60_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut line = String::new();
            object_of(
                &mut random,
                0,
                |random| [",", ",", " , "][random.usize(0..3)],
                &mut line,
            );
            // Now and then a byte is lost, doubled or another.
            if random.usize(0..4) == 0 {
                let at = random.usize(0..line.len());
                if line.is_char_boundary(at) && line.is_char_boundary(at + 1) {
                    let with = ["", "\"", "}", "]", "{", "[", ",", "\\", " ", "0"];
                    line.replace_range(at..=at, with[random.usize(0..with.len())]);
                }
            }
            let by_serde = uid_of(&line);
            match find(&line) {
                Some(uid) => {
                    assert_eq!(by_serde.expect(&line), uid, "{line}");
                    taken += 1;
                }
                None => left += usize::from(by_serde.is_ok()),
            }
        }
        // Both must occur: or it were no shortcut, or nothing were left to be unusual.
        assert!(taken > 3_000 && left > 3_000, "{taken} {left}");
    }
}
