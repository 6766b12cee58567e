//! `[[groups]]`: what holds for groups by their names, read from the file's tables and shown to people.

use humantime::format_duration;
use ringpost::config::{GROUP_RULES_MAX, GroupRule, PRESENCE_GRACE_DEFAULT, PRESENCE_GRACE_MAX};
use toml::de::{DeTable, DeValue};

use super::file::File;
use super::rule_tables::{
    PATTERN_EXPECTED, RuleTables, changed_rules, is_pattern, quoted, rule_value,
};
use super::slot::SettingSlot;
use super::value_origin::ValueOrigin;

/// The keys of a `[[groups]]` table.
const GROUP_KEYS: [&str; 4] = ["name", "public", "presence", "presence_grace"];

impl File<'_> {
    /// All tables of that name.
    pub(super) fn read_groups(
        &self,
        value: &DeValue<'_>,
        origin: &ValueOrigin,
        rules: &mut Vec<GroupRule>,
        problems: &mut Vec<String>,
    ) {
        let tables = RuleTables {
            name: "groups",
            needs: "name, and public or presence",
            most: GROUP_RULES_MAX,
        };
        let read = |table: &DeTable<'_>, origin: &ValueOrigin| self.read_group(table, origin);
        self.read_rules(&tables, value, origin, read, rules, problems);
    }

    fn read_group(&self, table: &DeTable<'_>, origin: &ValueOrigin) -> Result<GroupRule, String> {
        let mut named = false;
        let mut grace_from = None;
        let mut rule = GroupRule {
            name: String::new(),
            public: false,
            presence: false,
            presence_grace: PRESENCE_GRACE_DEFAULT,
        };
        for (key, value) in table.iter() {
            let origin = self.origin(key.span());
            let key = &**key.get_ref();
            let text = rule_value("groups", &GROUP_KEYS, key, value.get_ref())
                .map_err(|problem| format!("{origin}: {problem}"))?;
            let taken = match key {
                "public" => SettingSlot::Switch(&mut rule.public).put(&text),
                "presence" => SettingSlot::Switch(&mut rule.presence).put(&text),
                "presence_grace" => {
                    grace_from = Some(origin.clone());
                    parse_grace(&text, &mut rule)
                }
                _ if is_pattern(&text) => {
                    named = true;
                    rule.name.clone_from(&text);
                    Ok(())
                }
                _ => Err(PATTERN_EXPECTED.to_owned()),
            };
            taken.map_err(|expected| {
                let shown = quoted(&text);
                format!("{origin}: groups.{key} = {shown}: expected {expected}")
            })?;
        }
        match grace_from {
            _ if !named => Err(format!(
                "{origin}: [[groups]] needs a key \"name\": {PATTERN_EXPECTED}"
            )),
            Some(origin) if !rule.presence => Err(format!(
                "{origin}: groups.presence_grace: nobody is told who leaves without presence = true"
            )),
            _ => Ok(rule),
        }
    }
}

fn parse_grace(text: &str, rule: &mut GroupRule) -> Result<(), String> {
    let grace = humantime::parse_duration(text.trim()).ok();
    rule.presence_grace = grace
        .filter(|grace| *grace <= PRESENCE_GRACE_MAX)
        .ok_or("a time from \"0s\" to \"10m\", such as \"3s\"")?;
    Ok(())
}

/// A rule for people: `"room.*": public, presence after 3s`.
pub fn show(rule: &GroupRule) -> String {
    let mut what = Vec::new();
    if rule.public {
        what.push("public".to_owned());
    }
    if rule.presence {
        let grace = format_duration(rule.presence_grace);
        what.push(format!("presence, who is gone for {grace} has left"));
    }
    if what.is_empty() {
        what.push("nothing".to_owned());
    }
    format!("{}: {}", quoted(&rule.name), what.join(", "))
}

/// What a reload says of rules that have changed.
pub fn changed(old: &[GroupRule], new: &[GroupRule]) -> Option<String> {
    changed_rules("groups", old, new, show)
}
