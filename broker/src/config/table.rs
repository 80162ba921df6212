//! The tables of `docs/settings.md`.

use std::fmt::Write;

use super::SETTINGS;
use super::declaration::SECTIONS;
use super::setting::Setting;

/// One Markdown table a section, from the declaration.
pub fn settings_markdown() -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(text, "## `[{section}]`\n\n{}\n\n", about.trim());
        text.push_str("| Key | Flag and environment | Default | Allowed | Meaning |\n");
        text.push_str("|---|---|---|---|---|\n");
        let inside = |key: &str| {
            key.split_once('.')
                .is_some_and(|(head, _)| head == *section)
        };
        for setting in SETTINGS.iter().filter(|setting| inside(setting.key)) {
            text.push_str(&row(setting));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn row(setting: &Setting) -> String {
    let flag = setting.flag.map(|flag| format!("`--{flag}`")).into_iter();
    let names: Vec<String> = flag
        .chain(setting.env.iter().map(|name| format!("`{name}`")))
        .collect();
    format!(
        "| `{}` ({}) | {} | {} | {} | {} |\n",
        setting.key,
        setting.unit,
        names.join("<br>"),
        setting.default_text(),
        setting.allowed,
        setting.about,
    )
}
