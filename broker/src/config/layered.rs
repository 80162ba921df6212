//! Layers of values: flag over environment over file over default.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::SETTINGS;
use super::error::{ConfigError, Problem, Source, Warning};
use super::foreign::{self, Foreign};
use super::kind::Kind;
use super::setting::Setting;

/// Largest settings file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The text of every key that somebody set, with where it came from.
#[derive(Debug, Default)]
pub(super) struct Layered {
    values: BTreeMap<&'static str, (String, Source)>,
}

impl Layered {
    /// Adds a problem if the value of `key` is not one of `K`.
    pub(super) fn check<K: Kind>(&self, key: &'static str, problems: &mut Vec<Problem>) {
        problems.extend(self.parse::<K>(key).err());
    }

    /// The value of `key`, or its default.
    pub(super) fn parse<K: Kind>(&self, key: &'static str) -> Result<K::Out, Problem> {
        let Some(setting) = setting(key) else {
            return Err(Problem::Conflict(format!("{key} is not declared")));
        };
        let (text, source) = match self.values.get(key) {
            Some((text, source)) => (text.as_str(), source.clone()),
            None => (setting.default, Source::Default),
        };
        K::parse(text, setting.allowed)
            .map_err(|reason| Problem::value(setting, text, source, reason))
    }

    /// True if somebody set `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Sets `key`, over what a lower layer said.
    pub(super) fn set(&mut self, key: &'static str, text: String, source: Source) {
        self.values.insert(key, (text, source));
    }

    /// Lays a TOML file down. Unknown keys and values that are neither scalar nor list of text
    /// become problems.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        problems: &mut Vec<Problem>,
    ) -> Result<(), ConfigError> {
        let failed = |cause| ConfigError::Read {
            path: path.to_owned(),
            cause,
        };
        if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(failed(std::io::Error::other("larger than 1 MiB")));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let table = text
            .parse::<toml::Table>()
            .map_err(|cause| syntax(path, &text, &cause))?;
        let mut leaves = Vec::new();
        flatten(String::new(), &table, &mut leaves);
        for (key, value) in leaves {
            let Some(setting) = setting(&key) else {
                problems.push(unknown_key(key, path));
                continue;
            };
            let source = Source::File(path.to_owned());
            match text_of(value) {
                Some(text) => self.set(setting.key, text, source),
                None => {
                    let reason = format!("a {} does not fit", value.type_str());
                    problems.push(Problem::value(setting, value.type_str(), source, reason));
                }
            }
        }
        Ok(())
    }

    /// Lays the environment over it. An empty variable counts as unset.
    pub(super) fn add_env(
        &mut self,
        env: &BTreeMap<String, String>,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<Warning>,
    ) {
        let taken = |name: &str| env.get(name).filter(|value| is_ours(name, value));
        for setting in SETTINGS {
            let mut set = setting
                .env
                .iter()
                .filter_map(|name| Some((*name, taken(name)?)));
            let Some((name, value)) = set.next() else {
                continue;
            };
            self.set(setting.key, value.clone(), Source::Env(name));
            for (alias, other) in set.filter(|(_, other)| *other != value) {
                let (value, other) = match setting.secret {
                    true => (super::secret::MASK, super::secret::MASK),
                    false => (value.as_str(), other.as_str()),
                };
                let text = format!("{alias}={other} is ignored: {name}={value} is set too");
                warnings.push(Warning(text));
            }
        }
        for (name, value) in env {
            if setting_of_env(name).is_none() && name != CONFIG_ENV && !value.is_empty() {
                add_foreign(name, value, problems, warnings);
            }
        }
    }
}

/// Names the settings file.
pub(super) const CONFIG_ENV: &str = "KAFSCALE_CONFIG";

/// The declaration of `key`.
pub(super) fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

fn setting_of_env(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.env.contains(&name))
}

fn is_ours(name: &str, value: &str) -> bool {
    !value.is_empty() && !foreign::is_injected(name, value)
}

fn add_foreign(name: &str, value: &str, problems: &mut Vec<Problem>, warnings: &mut Vec<Warning>) {
    match foreign::classify(name, value) {
        Foreign::Injected => {}
        Foreign::Refused(reason) => {
            let (name, value) = (name.to_owned(), format!("{value:?}"));
            problems.push(Problem::Refused {
                name,
                value,
                reason,
            });
        }
        Foreign::Unneeded(why) => warnings.push(Warning(format!("{name} is not needed: {why}"))),
        Foreign::OtherProgram => {
            let text = format!("{name} is ignored: it belongs to another program of KafScale");
            warnings.push(Warning(text));
        }
        Foreign::Unknown => {
            let names = SETTINGS
                .iter()
                .flat_map(|setting| setting.env.iter().copied());
            let hint = hint(foreign::nearest(name, names.chain([CONFIG_ENV])));
            warnings.push(Warning(format!("{name} is ignored: no such setting{hint}")));
        }
    }
}

/// The parser's own message shows the line, which may hold a secret.
fn syntax(path: &Path, text: &str, cause: &toml::de::Error) -> ConfigError {
    let at = cause.span().map_or(0, |span| span.start).min(text.len());
    let line = 1 + text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();
    ConfigError::Syntax {
        path: path.to_owned(),
        line,
        reason: cause.message().to_owned(),
    }
}

fn unknown_key(key: String, file: &Path) -> Problem {
    let known = SETTINGS.iter().map(|setting| setting.key);
    let hint = hint(foreign::nearest(&key, known));
    Problem::UnknownKey {
        key,
        file: PathBuf::from(file),
        hint,
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

fn flatten<'a>(
    prefix: String,
    table: &'a toml::Table,
    leaves: &mut Vec<(String, &'a toml::Value)>,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) if setting(&key).is_none() => flatten(key, inner, leaves),
            _ => leaves.push((key, value)),
        }
    }
}

/// The text that the same value would be in a flag.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
