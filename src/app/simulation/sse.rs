//! What a simulated client of Server-Sent Events reads, by the steps of section 9.2.6 of the HTML standard.

use super::client::Seen;

/// What stands between two empty lines.
#[derive(Default, Debug)]
pub struct Block {
    pub id: Option<String>,
    pub kind: String,
    pub data: Option<String>,
    /// Where it ends in the bytes.
    pub end: usize,
}

/// All blocks that came whole, and how many bytes are left over. An answer that is no stream has none.
pub fn blocks(bytes: &[u8]) -> (Vec<Block>, usize) {
    let text = std::str::from_utf8(bytes).expect("a stream of events is UTF-8");
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return (Vec::new(), 0);
    };
    if !head.starts_with("HTTP/1.1 200 ") {
        return (Vec::new(), 0);
    }
    let mut at = head.len() + 4;
    let (mut blocks, mut block) = (Vec::new(), Block::default());
    let mut whole = at;
    for line in text[at..].split_inclusive('\n') {
        at += line.len();
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        if line.is_empty() {
            block.end = at;
            whole = at;
            blocks.push(std::mem::take(&mut block));
            continue;
        }
        let (field, value) = line.split_once(": ").unwrap_or((line, ""));
        match field {
            "id" => block.id = Some(value.to_owned()),
            "event" => block.kind = value.to_owned(),
            "data" => assert!(block.data.replace(value.to_owned()).is_none()),
            // A line that ends a block's part: it holds nothing that a client keeps.
            "retry" | ":" => whole = if is_empty(&block) { at } else { whole },
            other => panic!("no field of ours: {other:?}"),
        }
    }
    (blocks, text.len() - whole)
}

fn is_empty(block: &Block) -> bool {
    block.id.is_none() && block.kind.is_empty() && block.data.is_none()
}

/// The blocks as what any client sees: messages, and its end.
pub fn seen((blocks, left): (Vec<Block>, usize)) -> (Vec<Seen>, usize) {
    let events = blocks.into_iter().filter_map(|block| {
        let data = block.data?;
        match &*block.kind {
            "" => Some(Seen::Text(data)),
            "gap" | "presence" => None,
            "close" => {
                let said: serde_json::Value = serde_json::from_str(&data).expect("JSON");
                let code = said["code"].as_u64().expect("a code");
                Some(Seen::Close(code as u16))
            }
            other => panic!("no event of ours: {other:?}"),
        }
    });
    (events.collect(), left)
}
