//! What Redis does for the nodes in one step each: [`Script`], by `lua/`; asked by a [`ScriptCall`], answered by a
//! [`ScriptValue`].
//!
//! A later release that asks or stores something else gets keys or scripts of other names: Redis knows a script by its text.

/// A script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Script {
    Append,
    Read,
    Forget,
    Delivered,
    Claim,
    Settle,
    Handled,
    HandledOf,
    Stick,
    Unstick,
    Stuck,
    List,
    Listed,
    Marked,
    Groups,
}

impl Script {
    pub const ALL: [Script; 15] = [
        Script::Append,
        Script::Read,
        Script::Forget,
        Script::Delivered,
        Script::Claim,
        Script::Settle,
        Script::Handled,
        Script::HandledOf,
        Script::Stick,
        Script::Unstick,
        Script::Stuck,
        Script::List,
        Script::Listed,
        Script::Marked,
        Script::Groups,
    ];

    pub fn text(self) -> &'static str {
        match self {
            Script::Append => include_str!("lua/append.lua"),
            Script::Read => include_str!("lua/read.lua"),
            Script::Forget => include_str!("lua/forget.lua"),
            Script::Delivered => include_str!("lua/delivered.lua"),
            Script::Claim => include_str!("lua/claim.lua"),
            Script::Settle => include_str!("lua/settle.lua"),
            Script::Handled => include_str!("lua/handled.lua"),
            Script::HandledOf => include_str!("lua/handled_of.lua"),
            Script::Stick => include_str!("lua/stick.lua"),
            Script::Unstick => include_str!("lua/unstick.lua"),
            Script::Stuck => include_str!("lua/stuck.lua"),
            Script::List => include_str!("lua/list.lua"),
            Script::Listed => include_str!("lua/listed.lua"),
            Script::Marked => include_str!("lua/marked.lua"),
            Script::Groups => include_str!("lua/groups.lua"),
        }
    }

    /// Its place among all.
    pub fn nth(self) -> usize {
        self as usize
    }
}

/// A script with what it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptCall {
    pub script: Script,
    pub keys: Vec<String>,
    pub args: Vec<Vec<u8>>,
}

/// What Redis answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScriptValue {
    Nothing,
    Number(i64),
    Bytes(Vec<u8>),
    List(Vec<ScriptValue>),
}

impl ScriptValue {
    pub fn number(&self) -> Option<i64> {
        match self {
            ScriptValue::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            ScriptValue::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        str::from_utf8(self.bytes()?).ok()
    }

    pub fn list(&self) -> Option<&[ScriptValue]> {
        match self {
            ScriptValue::List(list) => Some(list),
            _ => None,
        }
    }
}
